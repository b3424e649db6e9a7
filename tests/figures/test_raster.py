from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from trajhmm.errors import AnalysisError
from trajhmm.figures import plot_state_raster, state_colors
from trajhmm.figures.raster import IMAGE_COLUMNS

from .made import STEP, drawn, made_convergence, made_map, misplaced, ten_states, text_boxes


def states_of(ax, k):
    """States read back from the colours of the image; −1 where it is clear."""
    image = ax.images[0].get_array()
    colors = np.array([np.round(255 * np.array(to_rgba(color))) for color in state_colors(k)])
    states = np.full(image.shape[:2], -1)
    for state in range(k):
        states[(image == colors[state]).all(axis=2)] = state
    clear = image[..., 3] == 0
    assert ((states >= 0) ^ clear).all()
    return states


def bands(training_map):
    stops = np.cumsum(training_map.lengths)
    return [training_map.path[a:b] for a, b in zip(stops - training_map.lengths, stops, strict=True)]


def four_runs():
    return made_map([[0, 1, 2], [0, 2], [1, 2, 0], [2, 1]], 3)


def names(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def test_every_row_of_every_run_has_the_colour_of_its_state():
    training_map = four_runs()
    states = states_of(plot_state_raster(training_map), 3)
    for band, path in enumerate(bands(training_map)):
        assert states[band, : len(path)].tolist() == path.tolist()
        assert (states[band, len(path) :] == -1).all()


def test_runs_are_sorted_by_convergence_and_the_others_come_last():
    training_map = four_runs()
    ax = plot_state_raster(training_map, convergence=made_convergence(training_map, [900, None, 300, 600]))
    assert names(ax) == ["seed_02", "seed_03", "seed_00", "seed_01"]
    states = states_of(ax, 3)
    for band, run in enumerate((2, 3, 0, 1)):
        path = bands(training_map)[run]
        assert states[band, : len(path)].tolist() == path.tolist()


def test_ticks_stand_in_the_band_and_at_the_step_of_convergence():
    training_map = four_runs()
    ax = plot_state_raster(training_map, convergence=made_convergence(training_map, [900, None, 300, 600]))
    (marks,) = [collection for collection in ax.collections if collection.get_gid() == "convergence"]
    middles = [segment.mean(axis=0).tolist() for segment in marks.get_segments()]
    assert middles == [[300, 0], [600, 1], [900, 2]]
    assert marks.get_colors()[0].tolist() == [0, 0, 0, 1]
    for segment in marks.get_segments():
        assert np.ptp(segment[:, 1]) < 1


def test_convergence_is_matched_by_name_and_missing_runs_count_as_never_converged():
    training_map = four_runs()
    full = made_convergence(training_map, [900, None, 300, 600])
    shuffled = replace(
        full, runs=("seed_03", "other", "seed_00"), steps=np.array([600, 1, 900]), converged=np.array([True] * 3)
    )
    ax = plot_state_raster(training_map, convergence=shuffled)
    assert names(ax) == ["seed_03", "seed_00", "seed_01", "seed_02"]
    with pytest.raises(AnalysisError, match=r"seed_00.*found other"):
        plot_state_raster(
            training_map,
            convergence=replace(full, runs=("other",), steps=np.array([1]), converged=np.array([True])),
        )


def test_pixels_on_paper_have_the_colours_of_the_states():
    training_map = four_runs()
    ax = plot_state_raster(training_map)
    figure = ax.figure
    drawn(figure)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())
    for band, path in enumerate(bands(training_map)):
        for row in range(0, len(path), 7):
            x, y = ax.transData.transform(((row + 0.5) * STEP, band))
            seen = pixels[pixels.shape[0] - 1 - int(y), int(x)]
            assert seen.tolist() == np.round(255 * np.array(to_rgba(state_colors(3)[path[row]]))).tolist()


def test_uneven_steps_hold_their_state_until_the_next_row():
    training_map = made_map([[0, 1]], 2)
    training_map = replace(
        training_map, lengths=np.array([4]), steps=np.array([0, 10, 100, 130]), path=np.array([0, 1, 0, 1])
    )
    ax = plot_state_raster(training_map)
    states = states_of(ax, 2)[0]
    assert ax.get_xlim() == (0, 160)  # the last row holds as long as the one before
    at = lambda step: states[int(step / 160 * len(states))]  # noqa: E731
    assert [at(step) for step in (0, 9, 10, 99, 100, 129, 130, 159)] == [0, 0, 1, 1, 0, 0, 1, 1]


def test_many_rows_are_sampled_not_mixed():
    rng = np.random.default_rng(0)
    n_runs, rows = 400, 10_000
    training_map = made_map([[0, 1, 2, 3, 4, 5]], 6)
    path = np.sort(rng.integers(0, 6, (n_runs, rows)), axis=1)
    training_map = replace(
        training_map,
        runs=tuple(f"r{run}" for run in range(n_runs)),
        lengths=np.full(n_runs, rows),
        steps=np.tile(np.arange(rows), n_runs),
        path=path.ravel(),
    )
    ax = plot_state_raster(training_map)
    states = states_of(ax, 6)
    assert states.shape == (n_runs, IMAGE_COLUMNS)
    middles = ((np.arange(IMAGE_COLUMNS) + 0.5) * rows / IMAGE_COLUMNS).astype(int)
    assert (states == path[:, middles]).all()
    # So many names would not fit: counts instead.
    assert all(name.isdigit() and 1 <= int(name) <= n_runs for name in names(ax))
    assert "runs" in ax.get_ylabel()


def test_names_are_shown_only_where_they_fit():
    training_map = made_map([[0, 1]] * 30, 2)
    assert len(names(plot_state_raster(training_map))) == 30
    low = plot_state_raster(training_map, ax=Figure(figsize=(3.25, 1.5)).add_subplot())
    assert all(name.isdigit() for name in names(low))
    long = replace(training_map, runs=tuple("x" * 60 + str(run) for run in range(30)))
    assert all(name.isdigit() for name in names(plot_state_raster(long, width=3.25)))


@pytest.mark.parametrize("width", [3.25, 6.75])
@pytest.mark.parametrize("runs", [1, 4, 45, 46])
def test_names_legend_and_labels_do_not_overlap(runs, width):
    training_map = made_map([list(range(10))] * runs, 10)
    steps = list(range(100, 100 * runs, 100))
    ax = plot_state_raster(training_map, convergence=made_convergence(training_map, [*steps, None]), width=width)
    assert misplaced(ax.figure) == []


def test_the_legend_names_the_visited_states_in_one_row_above_the_data():
    ax = plot_state_raster(ten_states(), width=3.25)
    drawn(ax.figure)
    legend = ax.get_legend()
    boxes = [text.get_window_extent() for text in legend.get_texts()]
    assert [text.get_text() for text in legend.get_texts()] == ["state 0", *map(str, range(1, 10))]
    assert np.ptp([box.y0 for box in boxes]) < 1
    assert min(box.y0 for box in boxes) > ax.bbox.y1
    unvisited = plot_state_raster(made_map([[0, 2]], 4))
    assert [text.get_text() for text in unvisited.get_legend().get_texts()] == ["state 0", "2"]


def test_many_states_wrap_the_legend_in_reading_order():
    ax = plot_state_raster(made_map([list(range(24))], 24), width=3.25)
    found = {text: box for text, box in text_boxes(ax.figure) if box.y0 > ax.bbox.y1}
    read = sorted(found, key=lambda text: (-round(found[text].y1), found[text].x0))
    assert [int(text.removeprefix("state ")) for text in read] == list(range(24))


def test_states_beyond_eight_are_hatched_where_they_are_visited():
    training_map = made_map([[0, 8, 9]], 10)
    ax = plot_state_raster(training_map)
    (hatched,) = [collection for collection in ax.collections if collection.get_hatch()]
    left, right = training_map.steps[np.flatnonzero(training_map.path >= 8)[[0, -1]]]
    corners = np.concatenate([path.vertices for path in hatched.get_paths()])
    assert corners[:, 0].min() == left
    assert corners[:, 0].max() == right + STEP
    assert not [c for c in plot_state_raster(four_runs()).collections if c.get_hatch()]


def test_one_run_and_one_row_are_drawn():
    one = made_map([[0]], 1, dwell=(1, 2))
    figure = plot_state_raster(one, width="column").figure
    assert misplaced(figure) == []
    assert np.ptp(figure.axes[0].get_xlim()) > 0
