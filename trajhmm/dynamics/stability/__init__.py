"""How stable training is: Lyapunov exponents, freezing, instability that helps or harms, perturbation audits."""

from trajhmm.dynamics.stability.exponents.convergence_in_probability import (
    ConvergenceInProbability,
    convergence_in_probability,
    convergence_table,
)
from trajhmm.dynamics.stability.exponents.finite_time import FiniteTime, finite_time_exponent, log_separation
from trajhmm.dynamics.stability.exponents.multipliers import jacobian_exponents, multiplier_exponent
from trajhmm.dynamics.stability.exponents.rank import participation_proxy, rank_proxies, stable_rank_proxy
from trajhmm.dynamics.stability.exponents.tables import (
    GroupExponent,
    exponent_remarks,
    group_exponents,
    lyapunov_table,
    phase_table,
)
from trajhmm.dynamics.stability.rates import Rate

__all__ = [
    "ConvergenceInProbability",
    "FiniteTime",
    "GroupExponent",
    "Rate",
    "convergence_in_probability",
    "convergence_table",
    "exponent_remarks",
    "finite_time_exponent",
    "group_exponents",
    "jacobian_exponents",
    "log_separation",
    "lyapunov_table",
    "multiplier_exponent",
    "participation_proxy",
    "phase_table",
    "rank_proxies",
    "stable_rank_proxy",
]
