"""States of runs whose shifts are not known yet, told row by row: the loop of `trajhmm.hmm.inference.forwards`."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled
from trajhmm.hmm.kernels.exact import VANISHING, log_sum

Floats = NDArray[np.float64]

# A beginning that is exp(-30) times as likely as the likeliest is given up. What begins where no run of the fit did is
# exp(-18) times as likely, see `trajhmm.hmm.inference.shifts.possible`, and lives; that it then does what none did, as
# if it had begun elsewhere, is less than this.
GIVEN_UP = 30.0
# Variances whose product is taken before its logarithm: each is at most 2e60 and at least 1e-60.
_AT_ONCE = 4


@takes(
    values="N D",
    starts="H1+ K1+",
    transmat="K K",
    means="D K",
    variances="D K",
    counts="K",
    reach="D",
    log_weights="H filled",
    log_alpha="H K filled",
    precision="H D filled",
    pull="H D filled",
    log_probs="N K filled",
)
@compiled(error_model="numpy")
def forward_shifted(
    values: Floats,
    starts: Floats,
    transmat: Floats,
    means: Floats,
    variances: Floats,
    counts: Floats,
    reach: Floats,
    begun: bool,  # noqa: FBT001 (compiled loops take their arguments by position)
    log_weights: Floats,
    log_alpha: Floats,
    precision: Floats,
    pull: Floats,
    log_probs: Floats,
) -> None:
    """Filter a stretch of rows of one run under H beginnings.

    Parameters
    ----------
    values : (n, D), NaN where missing.
    starts : (H, K) probabilities of the first state under each beginning.
    transmat : (K, K).
    means, variances : (D, K), so that states stand beside each other.
    counts : (K,) rows that a row in each state counts for, when the shift is learnt.
    reach : (D,) a value further from where a state expects it counts as that far.
    begun : whether the run has rows before these.
    log_weights : (H,) log p(beginning | rows so far); moved on, -inf if it is given up.
    log_alpha : (H, K) log p(s_t = k | beginning, rows so far); moved on.
    precision, pull : (H, D) precision of the shift, and that times its mean; moved on. Infinite and 0 without shifts.
    log_probs : (n, K), filled with log p(s_t = k | rows so far).
    """
    n_begins, n_states = starts.shape
    n_metrics = values.shape[1]
    log_transmat = np.log(transmat)
    inverse = 1.0 / variances
    here = np.empty(n_metrics, dtype=np.int64)
    away = np.empty((n_metrics, n_states))
    squares = np.empty(n_states)
    products = np.empty(n_states)
    scaled = np.empty(n_states)
    for t in range(len(values)):
        n_here = 0
        for d in range(n_metrics):
            if not math.isnan(values[t, d]):
                here[n_here] = d
                n_here += 1
        best = -np.inf
        for h in range(n_begins):
            if log_weights[h] == -np.inf:
                continue
            for k in range(n_states):
                squares[k] = 0.0
                products[k] = 1.0
                scaled[k] = math.exp(log_alpha[h, k])
            for i in range(n_here):
                d = here[i]
                doubt = 1.0 / precision[h, d]
                value = values[t, d] - pull[h, d] * doubt
                far = reach[d]
                for k in range(n_states):
                    off = value - means[d, k]
                    off = min(off, far)
                    off = max(off, -far)
                    away[i, k] = off
                    variance = variances[d, k] + doubt
                    squares[k] += off * off / variance
                    products[k] *= variance
                if i % _AT_ONCE == _AT_ONCE - 1:
                    for k in range(n_states):
                        squares[k] += math.log(products[k])
                        products[k] = 1.0
            largest = -np.inf
            for k in range(n_states):
                if not begun:
                    before = math.log(starts[h, k])
                else:
                    predicted = 0.0
                    for i in range(n_states):
                        predicted += scaled[i] * transmat[i, k]
                    before = math.log(predicted) if predicted > VANISHING else log_sum(log_alpha[h], log_transmat[:, k])
                squares[k] = before - 0.5 * (squares[k] + math.log(products[k]))
                largest = max(largest, squares[k])
            total = 0.0
            for k in range(n_states):
                total += math.exp(squares[k] - largest)
            log_total = math.log(total)
            log_weights[h] += largest + log_total
            best = max(best, log_weights[h])
            for k in range(n_states):
                # Less the largest first: log-densities of rows far off have no digits to spare.
                log_alpha[h, k] = squares[k] - largest - log_total
                scaled[k] = math.exp(log_alpha[h, k]) * counts[k]
            for i in range(n_here):
                d = here[i]
                shift = pull[h, d] / precision[h, d]
                more = 0.0
                toward = 0.0
                for k in range(n_states):
                    weight = scaled[k] * inverse[d, k]
                    more += weight
                    toward += weight * (shift + away[i, k])
                if precision[h, d] < np.inf:
                    precision[h, d] += more
                    pull[h, d] += toward
        total = 0.0
        for h in range(n_begins):
            log_weights[h] -= best
            if log_weights[h] < -GIVEN_UP:
                log_weights[h] = -np.inf
            total += math.exp(log_weights[h])
        log_total = math.log(total)
        for k in range(n_states):
            scaled[k] = 0.0
        for h in range(n_begins):
            log_weights[h] -= log_total
            if log_weights[h] > -np.inf:
                for k in range(n_states):
                    scaled[k] += math.exp(log_weights[h] + log_alpha[h, k])
        for k in range(n_states):
            log_probs[t, k] = math.log(scaled[k]) if scaled[k] > 0.0 else -np.inf
        begun = True
