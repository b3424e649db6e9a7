"""Phase diagrams and convergence in probability: what is drawn is what the tables say."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection

from trajhmm import figures
from trajhmm.errors import AnalysisError

PHASES = pd.DataFrame(
    {
        "mu": [0.1, 0.1, 1.0, 1.0],
        "learning_rate": [0.5, 0.01, 0.01, 0.5],
        "exponent_plus": [1.0, 1.0, 1.0, -1.0],
        "exponent_minus": [1.0, -1.0, -1.0, -1.0],
        "phase": ["unstable", "correct", "correct", "saddle"],
    }
)


def letters(ax):
    """Letter of each cell by its place, from left to right and from below upwards."""
    return {(text.get_position()[0] - 0.5, text.get_position()[1] - 0.5): text.get_text() for text in ax.texts}


def test_each_cell_says_the_phase_of_its_place():
    ax = figures.plot_phase_diagram(PHASES)
    assert letters(ax) == {(0, 0): "C", (1, 0): "U", (0, 1): "C", (1, 1): "S"}
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0.01", "0.5"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0.1", "1"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("learning rate", "mu")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["C  correct", "S  saddle", "U  unstable"]


def test_axes_can_be_chosen_and_one_attribute_is_a_strip():
    turned = figures.plot_phase_diagram(PHASES, x="mu", y="learning_rate")
    assert letters(turned) == {(0, 0): "C", (0, 1): "U", (1, 0): "C", (1, 1): "S"}
    strip = figures.plot_phase_diagram(PHASES[PHASES["mu"] == 0.1].drop(columns="mu"))
    assert letters(strip) == {(0, 0): "C", (1, 0): "U"}
    assert not strip.get_yticklabels()


def test_what_cannot_be_drawn_is_an_error():
    with pytest.raises(AnalysisError, match=r"no attribute 'sigma' \(found: mu, learning_rate"):
        figures.plot_phase_diagram(PHASES, x="sigma")
    with pytest.raises(AnalysisError, match="several phases at mu"):
        figures.plot_phase_diagram(PHASES, x="mu", y="mu")
    with pytest.raises(AnalysisError, match="no phases"):
        figures.plot_phase_diagram(PHASES.iloc[:0])


def convergence(rates):
    steps = np.arange(5)
    parts = [
        pd.DataFrame(
            {
                "learning_rate": rate,
                "step": steps,
                "share": steps / 4 * rate,
                "ci_low": steps / 4 * rate - 0.1,
                "ci_high": steps / 4 * rate + 0.1,
                "log_second_moment": np.log(10.0) * (3 - steps * rate),
            }
        )
        for rate in rates
    ]
    return pd.concat(parts)


def test_shares_with_their_bands_and_moments_in_powers_of_ten():
    ax = figures.plot_convergence_in_probability(convergence([0.5, 1.0]), by=["learning_rate"])
    for line, rate in zip(ax.get_lines(), (0.5, 1.0), strict=True):
        np.testing.assert_allclose(line.get_ydata(), np.arange(5) / 4 * rate)
    bands = [one.get_paths()[0].get_extents() for one in ax.collections if isinstance(one, PolyCollection)]
    np.testing.assert_allclose([(band.y0, band.y1) for band in bands], [(-0.1, 0.6), (-0.1, 1.1)])
    (right,) = [other for other in ax.figure.axes if other is not ax]
    np.testing.assert_allclose(right.get_lines()[1].get_ydata(), 3 - np.arange(5))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["learning rate 0.5", "learning rate 1"]


def test_more_curves_than_can_be_told_apart_are_an_error():
    with pytest.raises(AnalysisError, match="5 groups; expected 1 to 4"):
        figures.plot_convergence_in_probability(convergence([0.1, 0.2, 0.3, 0.4, 0.5]), by=["learning_rate"])
