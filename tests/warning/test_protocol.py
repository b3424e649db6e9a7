"""What a first alarm is worth: cases made by hand."""

import numpy as np
import pytest

from trajhmm.warning import Kind, RunTruth
from trajhmm.warning.evaluation import Outcome, first_alarm, judge

STEPS = 10 * np.arange(10)  # rows 0 to 9 at steps 0, 10, …, 90
HEALTHY, SURVIVED, COLLAPSED = RunTruth(), RunTruth(onset=30), RunTruth(onset=30, collapse_step=70)
ON_ITS_OWN, FIRST_ROW = RunTruth(collapse_step=70), RunTruth(collapse_step=0)


def outcome(truth, alarm_row, lead=None):
    return judge("run", STEPS, truth, alarm_row, lead=lead).outcome


@pytest.mark.parametrize(
    ("truth", "alarm_row", "lead", "expected"),
    [
        (HEALTHY, None, None, "quiet"),
        (HEALTHY, 0, None, "false"),
        (HEALTHY, 9, None, "false"),
        (SURVIVED, None, None, "quiet"),
        (SURVIVED, 2, None, "false"),
        (SURVIVED, 3, None, "false"),
        (SURVIVED, 9, None, "false"),
        (COLLAPSED, None, None, "miss"),
        (COLLAPSED, 2, None, "false"),  # before the onset
        (COLLAPSED, 3, None, "true"),  # at the onset
        (COLLAPSED, 6, None, "true"),  # the last row before the collapse
        (COLLAPSED, 7, None, "miss"),  # at the collapse
        (COLLAPSED, 9, None, "miss"),
        (COLLAPSED, 5, 20, "true"),  # exactly as far ahead as asked
        (COLLAPSED, 6, 20, "miss"),
        (COLLAPSED, 4, 21, "true"),
        (COLLAPSED, 5, 21, "miss"),
        (COLLAPSED, 7, 0, "miss"),  # at the collapse is too late even then
        (COLLAPSED, 3, 41, "miss"),  # asked for more than there is
        (ON_ITS_OWN, 0, None, "true"),
        (ON_ITS_OWN, 7, None, "miss"),
        (FIRST_ROW, 0, None, "miss"),
        (FIRST_ROW, None, None, "miss"),
    ],
)
def test_outcome_of_the_first_alarm(truth, alarm_row, lead, expected):
    assert outcome(truth, alarm_row, lead) == Outcome(expected)


@pytest.mark.parametrize(
    ("truth", "alarm_row", "steps", "share"),
    [
        (COLLAPSED, 3, 40, 1.0),
        (COLLAPSED, 6, 10, 0.25),
        (COLLAPSED, 7, 0, 0.0),
        (COLLAPSED, 2, 0, 0.0),
        (COLLAPSED, None, 0, 0.0),
        (SURVIVED, 4, 0, 0.0),
        (ON_ITS_OWN, 0, 70, 1.0),
        (RunTruth(onset=25, collapse_step=65), 3, 35, 35 / 40),  # between rows
    ],
)
def test_lead_of_true_alarms(truth, alarm_row, steps, share):
    judged = judge("run", STEPS, truth, alarm_row)
    assert (judged.lead_steps, judged.lead_share) == (steps, share)


@pytest.mark.parametrize(
    ("truth", "rows_before", "rows_in_time"),
    [
        (HEALTHY, 0, 0),
        (SURVIVED, 3, 0),
        (COLLAPSED, 3, 4),
        (ON_ITS_OWN, 0, 7),
        (FIRST_ROW, 0, 0),
        (RunTruth(onset=70, collapse_step=70), 7, 0),
        (RunTruth(onset=30, collapse_step=500), 3, 7),  # after the log's end
    ],
)
def test_rows_at_which_an_alarm_would_be_true(truth, rows_before, rows_in_time):
    judged = judge("run", STEPS, truth, None)
    assert (judged.rows_before, judged.rows_in_time) == (rows_before, rows_in_time)
    truths = [row for row in range(10) if outcome(truth, row) is Outcome.TRUE]
    assert truths == list(range(rows_before, rows_before + rows_in_time))


@pytest.mark.parametrize(
    ("truth", "alarm_row", "rows", "while_healthy"),
    [
        (HEALTHY, None, 10, False),
        (HEALTHY, 0, 1, True),
        (HEALTHY, 4, 5, True),
        (SURVIVED, None, 3, False),
        (SURVIVED, 2, 3, True),
        (SURVIVED, 3, 3, False),
        (COLLAPSED, 1, 2, True),
        (COLLAPSED, 5, 3, False),
        (ON_ITS_OWN, 5, 0, False),
    ],
)
def test_what_was_watched_before_anything_was_wrong(truth, alarm_row, rows, while_healthy):
    judged = judge("run", STEPS, truth, alarm_row)
    assert (judged.healthy_rows, judged.healthy_steps, judged.while_healthy) == (rows, 10 * rows, while_healthy)


def test_one_row():
    judged = judge("run", np.array([5]), HEALTHY, 0)
    assert (judged.outcome, judged.healthy_steps, judged.alarm_step) == (Outcome.FALSE, 1, 5)


def test_kinds():
    assert [judge("run", STEPS, truth, None).kind for truth in (HEALTHY, SURVIVED, COLLAPSED)] == list(Kind)


def test_an_alarm_is_a_score_above_the_threshold():
    scores = np.array([0.0, 1.0, 0.5, 2.0, np.inf])
    assert first_alarm(scores, 0.5) == 1
    assert first_alarm(scores, 1.0) == 3
    assert first_alarm(scores, 2.0) == 4
    assert first_alarm(scores[:4], 2.0) is None
