"""Densities of rows in each state, and their moments: what a state emits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from trajhmm.arrays import floats_of
from trajhmm.hmm.kernels.densities import LOG_TWO_PI, diagonal_densities, full_densities, full_densities_by_row
from trajhmm.hmm.kernels.moments import diagonal_moments, full_moments
from trajhmm.hmm.parameters import Parameters

# Patterns of missing metrics that are remembered.
_PATTERNS = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Emissions:
    """The normal distributions of K states over D metrics, ready for many rows.

    Attributes
    ----------
    parameters : the parameters.
    centre : (D,) a point amid the means, about which moments are taken so that offsets cost no digits.
    precision : (K, D) 1/σ² if metrics are independent; (K, D, D) inverse Cholesky factors W, Σ⁻¹ = WᵀW, if not.
    """

    parameters: Parameters
    centre: NDArray[np.float64]
    precision: NDArray[np.float64]

    @classmethod
    def of(cls, parameters: Parameters) -> Emissions:
        """Prepare.

        Raises
        ------
        numpy.linalg.LinAlgError
            A covariance matrix is not positive definite.
        """
        # The median: one state far off must not move it away from where the rows are.
        ordered, k = np.sort(parameters.means, axis=0), parameters.n_states
        centre = (ordered[(k - 1) // 2] + ordered[k // 2]) / 2
        if parameters.is_diagonal:
            return cls(parameters=parameters, centre=centre, precision=1.0 / parameters.variances())
        roots = np.linalg.cholesky(parameters.matrices())
        whitening = np.array([solve_triangular(root, np.eye(len(root)), lower=True) for root in roots], order="C")
        return cls(parameters=parameters, centre=centre, precision=whitening)

    @cached_property
    def _log_norms(self) -> NDArray[np.float64]:
        """(K, D) -½ log 2πσ² of independent metrics."""
        return np.asarray(0.5 * (np.log(self.precision) - LOG_TWO_PI))

    def diagonal(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """(K, D) means, precisions and -½ log 2πσ² of independent metrics."""
        return self.parameters.means, self.precision, self._log_norms

    def densities(
        self,
        values: NDArray[np.float64],
        densities: NDArray[np.float64],
        *,
        complete: bool,
        scaled: bool,
        offsets: NDArray[np.int64] | None = None,
        doubt: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Fill (N, K) ``densities`` for (N, D) rows, NaN where missing.

        Log-densities in nats; if ``scaled`` densities over the largest of their row.

        Parameters
        ----------
        offsets, doubt : (R + 1,) row offsets of the runs, and (R, D) variances of the shifts that were taken from their
            rows; the log-densities are then means over the shift. None if runs are not shifted.

        Returns
        -------
        (N,) logarithm of that largest density; 0 if not ``scaled``.
        """
        largest, means = np.empty(len(values)), self.parameters.means
        if offsets is None or doubt is None:
            offsets, doubt = np.array([0, len(values)]), np.empty((0, values.shape[1]))
        if self.parameters.is_diagonal:
            diagonal_densities(
                values, complete, means, self.precision, self._log_norms, offsets, doubt, scaled, densities, largest
            )
        else:
            partial, place = self._partial_densities(values, complete=complete)
            w, centre = self.precision, self.centre
            full_densities(values, partial, place, means, w, centre, offsets, doubt, scaled, densities, largest)
        return largest

    def log_densities_by_row(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, K) log-densities of (N, D) rows, the same to the last bit whatever rows come after."""
        log_densities = np.empty((len(values), self.parameters.n_states))
        complete = not np.isnan(values.sum())
        if self.parameters.is_diagonal:
            self.densities(values, log_densities, complete=complete, scaled=False)
        elif complete:
            self._by_row(values, log_densities)
        else:
            patterns, of_row = np.unique(np.isnan(values), axis=0, return_inverse=True)
            for number, missing in enumerate(patterns):
                rows = np.flatnonzero(of_row.ravel() == number)
                part = np.zeros((len(rows), self.parameters.n_states))
                if not missing.all():
                    self._without(missing)._by_row(values[rows][:, ~missing], part)  # noqa: SLF001
                log_densities[rows] = part
        return log_densities

    def _by_row(self, values: NDArray[np.float64], log_densities: NDArray[np.float64]) -> None:
        """Fill log-densities of complete rows under full covariances, each row by itself."""
        roots = np.diagonal(self.precision, axis1=1, axis2=2)
        constants = np.log(roots).sum(axis=1) - 0.5 * values.shape[1] * LOG_TWO_PI
        full_densities_by_row(values, self.parameters.means, self.precision, constants, log_densities)

    def _without(self, missing: NDArray[np.bool_]) -> Emissions:
        """The distributions of the other metrics, under full covariances."""
        known = np.flatnonzero(~missing)
        pattern = missing.tobytes()
        if pattern not in self._narrower:
            if len(self._narrower) >= _PATTERNS:
                self._narrower.clear()
            of_them = replace(
                self.parameters,
                means=self.parameters.means[:, known],
                covars=self.parameters.matrices()[:, known[:, np.newaxis], known],
                covariance_type="full",
                shift_variance=None,
                scale_variance=None,
                autoregression=None,
            )
            self._narrower[pattern] = Emissions.of(of_them)
        return self._narrower[pattern]

    @cached_property
    def _narrower(self) -> dict[bytes, Emissions]:
        """Of some metrics, by which are missing: few such patterns at a time, as metrics are carried forward."""
        return {}

    def moments(
        self,
        values: NDArray[np.float64],
        weights: NDArray[np.float64],
        *,
        complete: bool,
        groups: NDArray[np.int64] | None = None,
    ) -> Moments:
        """Moments of (N, D) rows, NaN where missing, with (N, K) weights, about ``centre``.

        Parameters
        ----------
        groups : (G + 1,) group g holds the rows ``groups[g]:groups[g + 1]``; all are one group if None.
        """
        k, d = self.parameters.means.shape
        groups = np.array([0, len(values)]) if groups is None else groups
        g = len(groups) - 1
        mass, absent = np.zeros((g, k)), np.zeros((g, k, d))
        if self.parameters.is_diagonal:
            sums = np.zeros((g, k, 2 * d))
            diagonal_moments(values, complete, weights, self.centre, groups, mass, absent, sums)
            squares = sums[:, :, d:]
            return Moments(mass=mass, absent=absent, first=sums[:, :, :d], second=squares.sum(axis=0), squares=squares)
        first, second = np.zeros((g, k, d)), np.zeros((k, d, d))
        skip: NDArray[np.bool_] = np.zeros(len(values), dtype=bool)
        if not complete:
            skip[:] = np.isnan(values).any(axis=1)
        full_moments(values, weights, skip, self.centre, groups, mass, first, second)
        for gap in () if complete else self._gaps(values):
            owner = np.searchsorted(groups, gap.rows, side="right") - 1
            self._add_expected(gap, values[gap.rows], weights[gap.rows], owner, first, second)
        return Moments(mass=mass, absent=absent, first=first, second=second, squares=np.zeros((g, k, d)))

    def _gaps(self, values: NDArray[np.float64]) -> Iterator[_Gap]:
        """The rows with missing values, those that miss the same metrics together."""
        missing = np.isnan(values)
        rows = np.flatnonzero(missing.any(axis=1))
        patterns, which = np.unique(missing[rows], axis=0, return_inverse=True)
        covars = self.parameters.matrices()
        for number, pattern in enumerate(patterns):
            there, gone = np.flatnonzero(~pattern), np.flatnonzero(pattern)
            observed = covars[:, there[:, np.newaxis], there]
            inverse: NDArray[np.float64] = np.linalg.inv(observed).astype(np.float64)
            across = covars[:, gone[:, np.newaxis], there]
            regression = across @ inverse
            yield _Gap(
                rows=rows[which.ravel() == number],
                there=there,
                gone=gone,
                inverse=inverse,
                log_norms=-0.5 * (np.linalg.slogdet(observed)[1] + len(there) * LOG_TWO_PI),
                regression=regression,
                residual=covars[:, gone[:, np.newaxis], gone] - regression @ across.transpose(0, 2, 1),
            )

    def _partial_densities(
        self, values: NDArray[np.float64], *, complete: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """(M, K) log-densities of the rows with missing values, and (N,) which row has which; see `full_densities`."""
        if complete:
            return np.empty((0, self.parameters.n_states)), np.empty(0, dtype=np.int64)
        partial, place = np.empty((len(values), self.parameters.n_states)), np.full(len(values), -1)
        for gap in self._gaps(values):
            place[gap.rows] = gap.rows
            away = values[gap.rows][:, np.newaxis, gap.there] - self.parameters.means[:, gap.there]
            partial[gap.rows] = gap.log_norms - 0.5 * np.einsum("nki,kij,nkj->nk", away, gap.inverse, away)
        return partial, place

    def _add_expected(
        self,
        gap: _Gap,
        values: NDArray[np.float64],
        weights: NDArray[np.float64],
        owner: NDArray[np.int64],
        first: NDArray[np.float64],
        second: NDArray[np.float64],
    ) -> None:
        """Add rows with missing values as each state expects them, and what remains unknown of them."""
        means = self.parameters.means
        for k in range(self.parameters.n_states):
            expected = values - self.centre
            away = values[:, gap.there] - means[k, gap.there]
            expected[:, gap.gone] = means[k, gap.gone] - self.centre[gap.gone] + away @ gap.regression[k].T
            weighted = weights[:, k, np.newaxis] * expected
            np.add.at(first[:, k], owner, weighted)
            second[k] += weighted.T @ expected
            second[k][np.ix_(gap.gone, gap.gone)] += weights[:, k].sum() * gap.residual[k]


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """Moments of G groups of rows about the centre of the states; see `trajhmm.hmm.inference.statistics.Statistics`.

    ``mass`` (G, K), ``absent`` and ``first`` (G, K, D); ``second`` (K, D) or (K, D, D), of all groups together;
    ``squares`` (G, K, D), of each group, 0 where metrics hang together.
    """

    mass: NDArray[np.float64]
    absent: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    squares: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Gap:
    """Rows that miss the same metrics, and the normal distribution of these given the others, in each state.

    Attributes
    ----------
    rows : which.
    there, gone : metrics that are there, and that are missing.
    inverse : (K, O, O) Σ_OO⁻¹.
    log_norms : (K,) -½ log det 2πΣ_OO.
    regression : (K, M, O) Σ_MO Σ_OO⁻¹.
    residual : (K, M, M) Σ_MM - Σ_MO Σ_OO⁻¹ Σ_OM.
    """

    rows: NDArray[np.int64]
    there: NDArray[np.int64]
    gone: NDArray[np.int64]
    inverse: NDArray[np.float64]
    log_norms: NDArray[np.float64]
    regression: NDArray[np.float64]
    residual: NDArray[np.float64]


def log_density(values: NDArray[np.float64], parameters: Parameters) -> NDArray[np.float64]:
    """(N, K) log-density of each of (N, D) rows in each state, in nats; a missing value (NaN) takes no part."""
    values = floats_of("values", values, (None, parameters.n_metrics))
    complete = not np.isnan(values.sum())
    densities = np.empty((len(values), parameters.n_states))
    Emissions.of(parameters).densities(values, densities, complete=complete, scaled=False)
    return densities
