"""How well warnings did: truth, protocol, report, thresholds, risk, decisions, and detectors side by side."""

from trajhmm.warning.evaluation.comparison import Comparison, ComparisonRow, compare
from trajhmm.warning.evaluation.decisions import Decision, decide
from trajhmm.warning.evaluation.intervals import Estimate
from trajhmm.warning.evaluation.protocol import Outcome, RunOutcome, first_alarm, judge
from trajhmm.warning.evaluation.report import Report, report_on
from trajhmm.warning.evaluation.risk import ReliabilityBin, RiskAt, evaluate_risk, moments_after_onset
from trajhmm.warning.evaluation.thresholds import Threshold, conformal_threshold, runs_needed
from trajhmm.warning.evaluation.truth import attribute_onsets, derive_truth, read_truth

__all__ = [
    "Comparison",
    "ComparisonRow",
    "Decision",
    "Estimate",
    "Outcome",
    "ReliabilityBin",
    "Report",
    "RiskAt",
    "RunOutcome",
    "Threshold",
    "attribute_onsets",
    "compare",
    "conformal_threshold",
    "decide",
    "derive_truth",
    "evaluate_risk",
    "first_alarm",
    "judge",
    "moments_after_onset",
    "read_truth",
    "report_on",
    "runs_needed",
]
