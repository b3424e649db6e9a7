"""What each view of the portfolio is worth, and what its HMM is.

Run with ``pytest tests/benchmarks/test_views.py -s --override-ini addopts=``: recall, lead, and healthy runs that
alarmed, at a budget of 10%, with the protocol of ``test_detectors.py``.
"""

from __future__ import annotations

from trajhmm.warning.detectors.portfolio import ViewPortfolio
from trajhmm.warning.evaluation import compare

from .families import FAMILIES, audit, sweep

PHASE, SUM, RISE, COURSE = "phase", "loss sum", "loss rise", "course"
VARIANTS = {
    "all views": ViewPortfolio(),
    "phase alone": ViewPortfolio(views=(PHASE,)),
    "loss sum alone": ViewPortfolio(views=(SUM,)),
    "loss rise alone": ViewPortfolio(views=(RISE,)),
    "course alone": ViewPortfolio(views=(COURSE,)),
    "without phase": ViewPortfolio(views=(SUM, RISE, COURSE)),
    "without loss sum": ViewPortfolio(views=(PHASE, RISE, COURSE)),
    "without loss rise": ViewPortfolio(views=(PHASE, SUM, COURSE)),
    "without course": ViewPortfolio(views=(PHASE, SUM, RISE)),
    "one state": ViewPortfolio(states=1),
    "eight states": ViewPortfolio(states=8),
    "full covariances": ViewPortfolio(covariance="full"),
}
WEIGHTS = ("weight", "bias", "trace", "spectral", "singular")


def cells(of, variants):
    """Variant to what the table says of it on one set."""
    rows = compare(of, variants, budgets=(0.1,), resamples=10).frame().to_dict("records")
    return {
        row["detector"]: f"{row['recall']:.2f}, {row['lead_share']:.2f}, {row['healthy_alarmed']:.0%}" for row in rows
    }


def test_what_each_view_is_worth():
    found = {}
    for family in FAMILIES:
        for name, of in ((family, audit), (f"{family}, sweep", lambda *which: sweep(*which)[0])):
            metrics = of(family)[0].run.metrics
            found[name] = cells(of(family), VARIANTS)
            for what, some in {
                "losses alone": [metric for metric in metrics if "loss" in metric],
                "all but weights": [metric for metric in metrics if not metric.startswith(WEIGHTS)],
                "weights alone": [metric for metric in metrics if metric.startswith(WEIGHTS)],
            }.items():
                found[name] |= cells(of(family, tuple(some)), {what: ViewPortfolio()})
    print("\n| | " + " | ".join(found) + " |\n" + "|---" * (len(found) + 1) + "|")
    for variant in next(iter(found.values())):
        print(f"| {variant} | " + " | ".join(table[variant] for table in found.values()) + " |")
