"""Model files whose views are damaged: refused in one line that says what is wrong, before a row is scored."""

import copy
import json
from dataclasses import replace

import pytest

from trajhmm.errors import ModelFileError
from trajhmm.hmm import load_model
from trajhmm.warning.calibration import PORTFOLIO
from trajhmm.warning.monitor import Monitor
from trajhmm.warning.reference import fit_warning

from .logs import healthy_logs

NAN, INFINITE = float("nan"), float("inf")


@pytest.fixture(scope="module")
def model():
    """Of three views, three metrics, three phases."""
    model = fit_warning(healthy_logs(6), states=2, restarts=1, iterations=10)
    section = model.sections[PORTFOLIO]
    assert [len(section[name]) for name in ("bands", "views")] == [3, 2]
    assert [len(row) for row in section["rarity"]["centre"]] == [3, 3, 3]
    return model


def put(*path, to):
    """Set what stands at a place of the section."""

    def damage(section):
        for name in path[:-1]:
            section = section[name]
        section[path[-1]] = to(section[path[-1]]) if callable(to) else to

    return damage


def without(*path):
    def damage(section):
        for name in path[:-1]:
            section = section[name]
        del section[path[-1]]

    return damage


def less(stored):
    return stored[:-1]


DAMAGES = {
    "no phases": without("phases"),
    "no rarity": without("rarity"),
    "no views": without("views"),
    "phases: no begins": without("phases", "begins"),
    "phases: no spacing": without("phases", "spacing"),
    "phases: no last step": without("phases", "last_step"),
    "phases: a begin that is text": put("phases", "begins", 0, to="early"),
    "phases: begins that fall": put("phases", "begins", to=lambda steps: steps[::-1]),
    "phases: fewer begins": put("phases", "begins", to=less),
    "phases: fewer spacings": put("phases", "spacing", to=less),
    "phases: a spacing that is NaN": put("phases", "spacing", 0, to=NAN),
    "phases: a spacing that is zero": put("phases", "spacing", 0, to=0.0),
    "phases: a spacing that is negative": put("phases", "spacing", 0, to=-10.0),
    "phases: spacing is null": put("phases", "spacing", to=None),
    "phases: a last step that is text": put("phases", "last_step", to="late"),
    "rarity: no knots": without("rarity", "knots"),
    "rarity: fewer phases": put("rarity", "centre", to=lambda rows: [row[:-1] for row in rows]),
    "rarity: fewer views": put("rarity", to=lambda kept: {k: v[:-1] if k != "n_runs" else v for k, v in kept.items()}),
    "rarity: ragged": put("rarity", "size", 0, to=less),
    "rarity: a centre that is NaN": put("rarity", "centre", 0, 0, to=NAN),
    "rarity: a centre that is text": put("rarity", "centre", 0, 0, to="far"),
    "rarity: a size that is zero": put("rarity", "size", 0, 0, to=0.0),
    "rarity: a size that is negative": put("rarity", "size", 0, 0, to=-1.0),
    "rarity: a size that is infinite": put("rarity", "size", 0, 0, to=INFINITE),
    "rarity: knots that coincide": put("rarity", "knots", 0, to=[1.0, 1.0, 1.0]),
    "rarity: knots that fall": put("rarity", "knots", 0, to=[3.0, 2.0, 1.0]),
    "rarity: two knots": put("rarity", "knots", to=lambda rows: [row[:2] for row in rows]),
    "rarity: no run": put("rarity", "n_runs", to=0),
    "rarity: a negative number of runs": put("rarity", "n_runs", to=-6),
    "rarity: runs are text": put("rarity", "n_runs", to="six"),
    "views: an unknown one": put("views", 0, "name", to="loss wonder"),
    "views: no name": without("views", 0, "name"),
    "views: one fewer": put("views", to=less),
    "views: a column that is not there": put("views", 0, "columns", to=[7]),
    "views: a negative column": put("views", 0, "columns", to=[-1]),
    "views: no column": put("views", 0, "columns", to=[]),
    "views: a column that is text": put("views", 0, "columns", to=["train_loss"]),
    "views: a column that is half": put("views", 0, "columns", to=[0.5]),
    "views: fewer floors": put("views", 0, "floors", to=less),
    "views: a floor that is NaN": put("views", 0, "floors", 0, to=NAN),
    "views: a floor that is negative": put("views", 0, "floors", 0, to=-1.0),
    "views: floors of zero": put("views", 0, "floors", to=[0.0, 0.0, 0.0]),
    "views: a view that is text": put("views", 0, to="loss sum"),
    "views: null": put("views", to=None),
    "bands: none": without("bands"),
    "bands: fewer phases": put("bands", to=less),
    "bands: fewer metrics": put("bands", 0, to=less),
    "bands: three ends": put("bands", 0, 0, to=[1.0, 2.0, 3.0]),
    "bands: text": put("bands", 0, 0, 0, to="low"),
    "agreement: none": without("agreement"),
    "agreement: text": put("agreement", to="much"),
    "agreement: NaN": put("agreement", to=NAN),
}


def test_a_file_that_was_edited_is_refused(model, tmp_path):
    path = tmp_path / "model.json"
    model.save(path)
    assert Monitor(load_model(path)).metrics == model.metrics
    content = json.loads(path.read_text())
    content[PORTFOLIO]["agreement"] += 0.01
    path.write_text(json.dumps(content))
    with pytest.raises(ModelFileError, match="edited or damaged since it was written"):
        load_model(path)


@pytest.mark.parametrize("what", DAMAGES)
def test_damaged_views_are_refused_in_one_line(model, what):
    """Though the file be signed: as another version, or another program, may have written it."""
    section = copy.deepcopy(dict(model.sections[PORTFOLIO]))
    DAMAGES[what](section)
    with pytest.raises(ModelFileError) as told:
        Monitor(replace(model, sections={**model.sections, PORTFOLIO: section}))
    assert "\n" not in str(told.value)
