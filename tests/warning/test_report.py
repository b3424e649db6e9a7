"""Adding up outcomes."""

import json

import numpy as np
import pytest
from scipy.stats import beta

from trajhmm.warning import RunTruth
from trajhmm.warning.evaluation import Estimate, judge, report_on
from trajhmm.warning.evaluation.intervals import group_counts, percentile_interval, share, weighted_median
from trajhmm.warning.evaluation.report import chance_of_true_alarm

STEPS = 10 * np.arange(20)
HEALTHY, SURVIVED, COLLAPSED = RunTruth(), RunTruth(onset=100), RunTruth(onset=100, collapse_step=150)


def judged(*cases):
    return [judge(f"run {i}", STEPS, truth, alarm) for i, (truth, alarm) in enumerate(cases)]


@pytest.fixture
def outcomes():
    return judged(
        *[(HEALTHY, None)] * 3,
        (HEALTHY, 7),
        (SURVIVED, None),
        (SURVIVED, 12),
        (SURVIVED, 4),
        (COLLAPSED, 10),
        (COLLAPSED, 14),
        (COLLAPSED, 15),
        (COLLAPSED, None),
        (COLLAPSED, 9),
        (RunTruth(collapse_step=0), None),
    )


@pytest.fixture
def report(outcomes):
    return report_on(outcomes, rng=np.random.default_rng(0))


def test_counts_and_shares(report):
    assert (report.healthy, report.survived, report.collapsed) == (4, 3, 6)
    assert (report.unwarnable, report.early) == (1, 2)
    assert report.recall.value == 2 / 6
    assert report.precision.value == 2 / (2 + 4)  # false: a healthy run, a survivor, and two before the onset
    assert report.precision_apart.value == 2 / (2 + 3)
    assert report.healthy_alarmed.value == 1 / 4
    assert report.survived_alarmed.value == 1 / 3


def test_false_alarms_a_thousand_steps(report):
    rows = 3 * 20 + 8 + (10 + 10 + 5) + (4 * 10 + 10) + 0
    assert report.false_per_1000_steps.value == pytest.approx(1000 * 3 / (10 * rows))


def test_leads_count_misses_as_zero(report):
    # 50, 10, and four times 0 (late, none, before the onset, unwarnable): the median is 0.
    assert (report.lead_steps.value, report.lead_share.value) == (0.0, 0.0)
    better = report_on(judged(*[(COLLAPSED, at) for at in (10, 14, None)] * 3), rng=np.random.default_rng(0))
    assert (better.lead_steps.value, better.lead_share.value) == (10.0, 0.2)
    assert (better.lead_steps.low, better.lead_steps.high) == (0.0, 50.0)


def test_a_median_of_five_runs_has_no_interval():
    """Five draws lie on one side of the median once in 16 times: no two of them hold it in 95% of samples."""
    five, six = (report_on(judged(*[(COLLAPSED, 11)] * n), rng=np.random.default_rng(0)) for n in (5, 6))
    assert (five.lead_steps.value, six.lead_steps.value) == (40.0, 40.0)
    assert np.isnan([five.lead_steps.low, five.lead_share.high]).all()
    assert (six.lead_steps.low, six.lead_steps.high) == (40.0, 40.0)
    assert str(five.lead_steps) == "40 (too few to tell an interval)"


def test_no_false_alarm_is_not_none_for_certain():
    """Of none in so many steps a rate of 3.69 / steps would show as little once in 40 times (rule of three)."""
    report = report_on(judged(*[(HEALTHY, None)] * 10, *[(COLLAPSED, 12)] * 8), rng=np.random.default_rng(0))
    watched = 10 * (10 * 20 + 8 * 10)
    rate = report.false_per_1000_steps
    assert (rate.value, rate.low) == (0.0, 0.0)
    assert rate.high == pytest.approx(1000 * -np.log(0.025) / watched)
    by_row = -np.log(0.025) / (watched / 10)
    assert report.chance_recall.high == pytest.approx((1 - by_row) ** 10 * (1 - (1 - by_row) ** 5))
    assert (report.chance_recall.value, report.chance_recall.low) == (0.0, 0.0)


def test_one_run_that_alarmed_does_not_tell_its_rate():
    """Exact limits of a count of one: 0.0253 and 5.57."""
    rate = report_on(judged((HEALTHY, 9)), rng=np.random.default_rng(0)).false_per_1000_steps
    assert rate.value == pytest.approx(10.0)
    assert (rate.low, rate.high) == pytest.approx((0.2532, 55.72), rel=1e-3)


@pytest.mark.once
def test_intervals_of_rates_hold_the_truth_as_often_as_they_say():
    """Rare alarms on few runs, where a bootstrap alone would say "0 (0 to 0)" in a third of the samples."""
    inside = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        first = [int(row) if row < 20 else None for row in rng.geometric(0.005, size=12) - 1]
        rate = report_on(judged(*[(HEALTHY, at) for at in first]), rng=rng, resamples=200).false_per_1000_steps
        inside.append(rate.low <= 0.5 <= rate.high)
    assert np.mean(inside) >= 0.93


def test_runs_of_a_seed_are_drawn_together():
    """Ten copies of each of six runs tell no more than the six: intervals as wide, not a third of that."""
    cases = [(HEALTHY, 3), (HEALTHY, None), (HEALTHY, 12), (HEALTHY, None), (HEALTHY, None), (HEALTHY, 18)]
    cases += [(COLLAPSED, at) for at in (10, 11, 12, 13, 14, None, None)]

    def reported(copies, grouped):
        outcomes = [
            judge(f"{i} {copy}", STEPS, truth, alarm, group=str(i) if grouped else None)
            for i, (truth, alarm) in enumerate(cases)
            for copy in range(copies)
        ]
        return report_on(outcomes, rng=np.random.default_rng(0))

    alone, together, apart = reported(1, grouped=False), reported(10, grouped=True), reported(10, grouped=False)
    for name in ("false_per_1000_steps", "lead_steps", "chance_recall"):
        wide, same, narrow = (getattr(one, name).high - getattr(one, name).low for one in (alone, together, apart))
        assert same == pytest.approx(wide, rel=0.1), name
        assert narrow < 0.6 * wide, name


def test_medians_of_what_was_drawn():
    rng = np.random.default_rng(4)
    values, counts = rng.integers(0, 5, size=9).astype(float), rng.integers(0, 4, size=(50, 9))
    counts[7] = 0
    found = weighted_median(values, counts)
    for row, drawn in zip(found, counts, strict=True):
        expected = np.median(np.repeat(values, drawn)) if drawn.any() else np.nan
        assert row == expected or (np.isnan(row) and np.isnan(expected))
    assert np.isnan(weighted_median(np.zeros(0), np.zeros((3, 0), dtype=np.int64))).all()


def test_recall_by_chance(report):
    rate = 3 / (3 * 20 + 8 + 25 + 50)
    one = (1 - rate) ** 10 * (1 - (1 - rate) ** 5)
    assert report.chance_recall.value == pytest.approx(5 * one / 6)


def test_chance_against_alarms_drawn_at_random():
    rng = np.random.default_rng(1)
    before, in_time, rate = 12, 20, 0.03
    rows = rng.random((20_000, before + in_time + 10)) < rate
    first = np.where(rows.any(axis=1), rows.argmax(axis=1), -1)
    hits = ((first >= before) & (first < before + in_time)).mean()
    expected = float(chance_of_true_alarm(np.array(rate), np.array(before), np.array(in_time)))
    assert abs(hits - expected) < 4 * np.sqrt(expected * (1 - expected) / len(rows))


def test_a_random_detector_has_the_recall_of_chance():
    """The whole of it: alarms at random on runs of all kinds; the rate is found again from those on healthy rows."""
    rng = np.random.default_rng(2)
    outcomes = []
    for i in range(3000):
        truth = (HEALTHY, SURVIVED, COLLAPSED)[i % 3]
        rows = np.flatnonzero(rng.random(20) < 0.05)
        outcomes.append(judge(str(i), STEPS, truth, int(rows[0]) if len(rows) else None))
    report = report_on(outcomes, rng=rng, resamples=200)
    expected = 0.95**10 * (1 - 0.95**5)
    assert abs(report.chance_recall.value - expected) < 4 * 0.006  # standard error of the rate, carried over
    assert report.recall.low < expected < report.recall.high
    assert abs(report.recall.value - report.chance_recall.value) < 4 * np.sqrt(expected * (1 - expected) / 1000)


def test_clopper_and_pearson():
    assert share(10, 10).low == pytest.approx(0.025**0.1)  # "at least 69%"
    assert share(10, 10).high == 1.0
    found = share(3, 12)
    assert found.low == pytest.approx(beta.ppf(0.025, 3, 10))
    assert found.high == pytest.approx(beta.ppf(0.975, 4, 9))
    assert np.isnan(share(0, 0).value)


@pytest.mark.once
def test_bootstrap_intervals_hold_the_truth_as_often_as_they_say():
    """Median lead of runs with a known distribution; 200 samples of 40 runs."""
    inside = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        alarms = [
            None if late else int(row) for late, row in zip(rng.random(41) < 0.3, rng.integers(10, 15, 41), strict=True)
        ]
        report = report_on(judged(*[(COLLAPSED, alarm) for alarm in alarms]), rng=rng, resamples=200)
        inside += report.lead_steps.low <= 20 <= report.lead_steps.high  # the true median: 0 with 0.3, then 10, 20, …
    assert 175 <= inside <= 200


def test_intervals_come_from_the_generator_alone(outcomes):
    one, other = (report_on(outcomes, rng=np.random.default_rng(3)) for _ in range(2))
    assert one == other
    wide = judged(*[(COLLAPSED, row) for row in range(10, 15)] * 3, *[(HEALTHY, row) for row in [3, None, None, 8]])
    first, second = (report_on(wide, rng=np.random.default_rng(seed), resamples=50) for seed in (0, 1))
    assert first.chance_recall != second.chance_recall


def test_nothing_to_report_on_is_no_number():
    report = report_on([], rng=np.random.default_rng(0))
    assert np.isnan([report.recall.value, report.lead_steps.value, report.chance_recall.low]).all()
    only_healthy = report_on(judged((HEALTHY, None)), rng=np.random.default_rng(0))
    assert only_healthy.false_per_1000_steps.value == 0.0
    assert np.isnan(only_healthy.recall.value)


def test_as_json_and_as_a_row(report):
    stored = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert stored["collapsed"] == 6
    assert stored["recall"]["value"] == report.recall.value
    row = report.row()
    assert row["recall_low"] == report.recall.low
    empty = report_on([], rng=np.random.default_rng(0)).to_dict()
    assert json.loads(json.dumps(empty, allow_nan=False))["recall"] == {"value": None, "low": None, "high": None}


def test_estimates_in_words():
    assert str(Estimate(value=0.5, low=0.25, high=0.75)) == "0.5 (0.25 to 0.75)"
    assert str(share(0, 0)) == "–"
    undefined = percentile_interval(np.nan, np.array([1.0, 2.0]))
    assert np.isnan([undefined.value, undefined.low]).all()


def test_groups_are_drawn_whole():
    counts = group_counts(["a", "b", "a", "c"], 500, np.random.default_rng(0))
    np.testing.assert_array_equal(counts[:, 0], counts[:, 2])
    assert (counts[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert abs(counts.mean() - 1) < 0.1
    assert group_counts([], 5, np.random.default_rng(0)).shape == (5, 0)


def test_where_no_run_was_healthy_nothing_is_known_of_chance():
    report = report_on(judged(*[(RunTruth(collapse_step=150), 10)] * 8), rng=np.random.default_rng(0))
    assert np.isnan([report.false_per_1000_steps.value, report.chance_recall.value]).all()
