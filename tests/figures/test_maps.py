import functools
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from trajhmm.errors import TrajHMMWarning
from trajhmm.figures import plot_training_map, save_figure, state_colors

from .made import (
    arrows,
    crowded,
    discs,
    drawn,
    looping,
    made_certificate,
    made_map,
    misplaced,
    outside,
    overlapping,
    six_states,
    ten_states,
    text_boxes,
    unsure,
)


def irreproducible():
    return replace(ten_states(), certificate=unsure(10))


MAPS = {
    "ten": ten_states,
    "irreproducible": irreproducible,
    "crowded": crowded,
    "six": six_states,
    "looping": looping,
}
WIDTHS = (3.25, 6.75)
# Dear, and without names of metrics little but what the others show: a crowded map, and one that differs in its badge.
CASES = [
    pytest.param(
        make, width, shown, id=f"{name}-{width}-{'metrics' if shown else 'runs'}",
        marks=pytest.mark.slow if name in ("crowded", "irreproducible") and not shown else (),
    )
    for name, make in MAPS.items() for width in WIDTHS for shown in (True, False)
]  # fmt: skip


@functools.cache
def plotted(make, width=6.75, *, show_metrics=True):
    """Axes for tests that only look at them."""
    return plot_training_map(make(), width=width, show_metrics=show_metrics)


@functools.cache
def boxes(make, width=6.75, *, show_metrics=True):
    """What each text of it says, and its box."""
    return text_boxes(plotted(make, width, show_metrics=show_metrics).figure)


def words(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("make", MAPS.values(), ids=MAPS)
def test_states_stand_from_left_to_right_by_entry(make):
    training_map = make()
    placed = discs(plotted(make))
    by_entry = sorted(placed, key=lambda state: training_map.states[state].entry_step)
    across = [placed[state].center[0] for state in by_entry]
    assert across == sorted(across)
    gaps = np.diff(sorted(set(across)))
    assert gaps == pytest.approx(gaps[0])


def test_states_entered_together_are_stacked_unless_runs_go_between_them():
    fork = discs(plot_training_map(made_map([[0, 1, 3], [0, 2, 3]] * 4, 4, dwell=(10, 11))))
    assert fork[1].center[0] == fork[2].center[0]
    assert fork[1].center[1] != fork[2].center[1]
    chain = discs(plot_training_map(made_map([[0, 1, 3], [0, 1, 2, 3]] * 4, 4, dwell=(10, 11))))
    assert chain[1].center[0] < chain[2].center[0]


def test_rarely_visited_states_and_detours_leave_the_main_line():
    placed = discs(plotted(ten_states))
    height = {state: disc.center[1] for state, disc in placed.items()}
    assert {state for state in height if height[state] == height[0]} == {0, 1, 2, 4, 5, 7, 8, 9}
    everywhere = replace(six_states(), detours=(1,))
    height = {state: disc.center[1] for state, disc in discs(plot_training_map(everywhere)).items()}
    assert height[1] != height[0]


@pytest.mark.slow
def test_discs_and_arrows_grow_with_runs():
    for make in MAPS.values():
        training_map = make()
        ax = plotted(make)
        radii = [(training_map.states[state].runs, disc.radius) for state, disc in discs(ax).items()]
        runs = {(edge.source, edge.target): edge.runs for edge in training_map.edges}
        widths = [(runs[ends], arrow.get_linewidth()) for ends, arrow in arrows(ax).items()]
        assert set(runs) == set(arrows(ax))
        for pairs in (radii, widths):
            for count, size in pairs:
                for other_count, other_size in pairs:
                    assert (count < other_count) == (size < other_size - 1e-9)


@pytest.mark.once
def test_arrows_start_and_end_at_the_rims_of_their_states():
    for width in WIDTHS:
        ax = plotted(ten_states, width)
        placed = discs(ax)
        for (source, target), arrow in arrows(ax).items():
            ends = arrow._path_original.vertices
            for state, point in ((source, ends[0]), (target, ends[-1])):
                away = np.hypot(*(np.array(placed[state].center) - point)) - placed[state].radius
                assert 0 < away < 6, (source, target)


def test_arrows_back_curve_below_and_arrows_that_skip_states_above():
    ax = plotted(ten_states)
    placed = discs(ax)
    level = placed[0].center[1]
    curves = {ends: arrow._path_original.vertices for ends, arrow in arrows(ax).items()}
    for back in ((2, 1), (5, 4), (8, 7)):
        assert curves[back][1:3, 1].max() < level
    for skip in ((0, 2), (5, 8), (7, 9), (4, 7)):
        assert curves[skip][1:3, 1].min() > level


@pytest.mark.once
def test_arrows_keep_clear_of_states_that_they_do_not_touch():
    for make in MAPS.values():
        ax = plotted(make)
        for ends, arrow in arrows(ax).items():
            points = arrow._path_original.interpolated(1).to_polygons(closed_only=False)[0]
            for state, disc in discs(ax).items():
                if state not in ends:
                    away = np.hypot(*(points - disc.center).T).min()
                    assert away > disc.radius, (ends, state)


def test_a_detour_has_an_outline_of_its_own_and_says_so():
    ax = plotted(six_states)
    plain = plot_training_map(replace(six_states(), detours=()))
    rings = [patch for patch in ax.patches if (patch.get_gid() or "").startswith("detour-")]
    (ring,) = rings
    disc = discs(ax)[2]
    assert ring.get_gid() == "detour-2"
    assert ring.center == disc.center
    assert ring.radius > disc.radius
    assert to_hex(ring.get_edgecolor()).upper() == "#D55E00"
    assert ring.get_linewidth() > 2 * disc.get_linewidth()
    assert words(ax).count("detour") == 1
    assert "detour" not in words(plain)
    assert not [patch for patch in plain.patches if (patch.get_gid() or "").startswith("detour-")]


def test_the_outline_shows_around_a_state_of_the_same_colour():
    training_map = made_map([[0, 1, 2, 3, 4, 5]] * 3 + [[0, 1, 2, 3, 5]] * 5, 6, detours=(4,))
    ax = plot_training_map(training_map)
    disc = discs(ax)[4]
    (ring,) = [patch for patch in ax.patches if patch.get_gid() == "detour-4"]
    assert to_hex(disc.get_facecolor()) == to_hex(ring.get_edgecolor())
    inner_edge = ring.radius - ring.get_linewidth() / 2
    assert inner_edge - disc.radius > 1  # points of white between them


def test_states_have_their_colours_numbers_and_captions():
    training_map = six_states()
    ax = plot_training_map(training_map)
    for state, disc in discs(ax).items():
        assert to_hex(disc.get_facecolor()) == state_colors(6)[state].lower()
        at_middle = [text.get_text() for text in ax.texts if text.get_position() == disc.center]
        assert at_middle == [str(state)]
    captions = sorted(word for word in words(ax) if " of " in word)
    assert captions == sorted(f"{state.runs} of 36 runs" for state in training_map.states)


def test_unvisited_states_are_left_out():
    ax = plot_training_map(made_map([[0, 2], [0, 2]], 4))
    assert set(discs(ax)) == {0, 2}


def test_labels_give_runs_and_the_top_metric_with_its_direction():
    training_map = six_states()
    labels = {word.replace("_\n", "_") for word in words(plot_training_map(training_map))}
    for edge in training_map.edges:
        top = edge.top_metrics[0]
        assert f"{edge.runs} runs\n{top.metric} {'↑' if top.movement > 0 else '↓'}" in labels


def test_a_crowded_map_has_a_key_of_all_metrics_instead():
    training_map = ten_states()
    said = words(plotted(ten_states))
    for edge in training_map.edges:
        top = edge.top_metrics[0]
        assert f"{edge.source}→{edge.target}  {top.metric} {'↑' if top.movement > 0 else '↓'}" in said
    counts = sorted(int(word) for word in said if word.isdigit())
    assert counts == sorted([edge.runs for edge in training_map.edges] + list(range(10)))


@pytest.mark.parametrize("show_metrics", [True, False], ids=["metrics", "runs"])
def test_where_states_stand_close_all_counts_are_in_the_key(show_metrics):
    training_map = ten_states()
    said = words(plotted(ten_states, 3.25, show_metrics=show_metrics))
    for state in training_map.states:
        assert f"{state.state}:  {state.runs}" in said
    for edge in training_map.edges:
        top = edge.top_metrics[0]
        metric = f"  {top.metric} {'↑' if top.movement > 0 else '↓'}" if show_metrics else ""
        assert f"{edge.source}→{edge.target}  {edge.runs}{metric}" in said
    assert sorted(word for word in said if word.isdigit()) == [str(state) for state in range(10)]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("make", "width", "show_metrics"), CASES)
def test_a_caption_stands_nearest_to_its_own_state(make, width, show_metrics):
    ax = plotted(make, width, show_metrics=show_metrics)
    placed = discs(ax)
    of = {state.state: f"{state.runs} of {len(make().runs)} runs" for state in make().states}
    for text in ax.texts:
        caption = text.get_text().replace("\n", " ")
        if caption not in of.values():
            continue
        x, y = text.get_position()
        near = min(placed, key=lambda state: np.hypot(placed[state].center[0] - x, placed[state].center[1] - y))
        assert of[near] == caption
        assert abs(placed[near].center[0] - x) < 4


def test_without_metrics_only_runs_are_named():
    training_map = six_states()
    said = words(plot_training_map(training_map, show_metrics=False))
    assert not [word for word in said for metric in training_map.metrics if metric in word.replace("\n", "")]
    assert sorted(word for word in said if word.endswith(" runs") and " of " not in word) == sorted(
        f"{edge.runs} runs" for edge in training_map.edges
    )


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("make", "width", "show_metrics"), CASES)
def test_no_labels_overlap_or_are_cut_off(make, width, show_metrics):
    figure = plotted(make, width, show_metrics=show_metrics).figure
    assert figure.get_size_inches()[0] == width
    found = boxes(make, width, show_metrics=show_metrics)
    assert overlapping(found) + outside(found, figure) == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.sampled(4)
def test_no_label_covers_a_state(width):
    ax = plotted(ten_states, width)
    renderer = drawn(ax.figure)
    for text in ax.texts:
        box = text.get_window_extent(renderer).transformed(ax.transData.inverted())
        for disc in discs(ax).values():
            x, y = disc.center
            gap = np.hypot(max(box.x0 - x, x - box.x1, 0), max(box.y0 - y, y - box.y1, 0))
            assert text.get_position() == disc.center or gap > disc.radius - 0.2, text.get_text()


def test_overlaps_are_seen_where_there_are_some():
    figure = plot_training_map(six_states()).figure
    figure.set_size_inches(figure.get_size_inches() * 0.6)
    assert overlapping(text_boxes(figure))
    figure = plot_training_map(six_states()).figure
    figure.axes[0].set_xlim(60, 486)
    assert outside(text_boxes(figure), figure)


def test_long_names_of_metrics_are_broken_rather_than_cut():
    name = "model.layers.11.self_attention.weight_l1_over_l2"
    training_map = made_map([[0, 1, 2]] * 4 + [[0, 2]] * 3, 3, metrics=(name,) * 3)
    figure = plot_training_map(training_map, width=3.25).figure
    assert misplaced(figure) == []
    labels = [word.replace("\n", "") for word, _ in text_boxes(figure) if "runs" in word and " of " not in word]
    assert labels
    assert all(name in label for label in labels)


def test_more_than_eight_states_are_told_apart_by_hatches():
    ax = plotted(ten_states)
    placed = discs(ax)
    assert placed[8].get_facecolor() == placed[0].get_facecolor()
    assert placed[8].get_hatch() != placed[0].get_hatch()


def test_axes_of_ones_own_are_filled_to_their_size():
    figure = Figure(figsize=(6.75, 3.0))
    left, right = figure.subplots(1, 2)
    assert plot_training_map(six_states(), ax=left, show_metrics=False) is left
    assert set(discs(left)) == set(range(6))
    assert not right.patches
    assert overlapping(text_boxes(figure)) == []
    renderer = drawn(figure)
    for text in left.texts:
        box = text.get_window_extent(renderer)
        assert left.bbox.x0 - 0.5 <= box.x0
        assert box.x1 <= left.bbox.x1 + 0.5


@pytest.mark.once
def test_axes_too_small_for_the_key_warn_and_those_too_low_for_the_map_too():
    with pytest.warns(TrajHMMWarning, match="names of metrics"):
        plot_training_map(six_states(), ax=Figure(figsize=(3.0, 1.6)).add_subplot())
    low = Figure(figsize=(6.75, 0.5)).add_subplot()
    with pytest.warns(TrajHMMWarning, match="inches of height"):
        plot_training_map(six_states(), ax=low, show_metrics=False)


@pytest.mark.parametrize(
    ("certificate", "said"),
    [
        (None, ["reproducibility not tested"]),
        (made_certificate(6), ["reproducible: halves .85 · seeds 1.00"]),
        (unsure(6), ["no reproducible map", "halves .55 · worst state .31 · seeds .85"]),
    ],
    ids=["none", "good", "bad"],
)
@pytest.mark.once
def test_a_map_says_how_far_it_comes_back_above_all_else(certificate, said):
    ax = plot_training_map(replace(six_states(), certificate=certificate), width="column")
    badge = [text for text in ax.texts if text.get_gid() == "badge"]
    assert [text.get_text() for text in badge] == said
    renderer = drawn(ax.figure)
    highest = max(text.get_window_extent(renderer).y1 for text in ax.texts if text not in badge)
    assert all(text.get_window_extent(renderer).y0 > highest for text in badge)
    assert [text.get_fontweight() for text in badge] == ["bold", "normal"][2 - len(said) :]
    assert [text.get_bbox_patch() is not None for text in badge] == [True, False][2 - len(said) :]


def test_a_badge_that_is_too_long_for_a_narrow_map_is_broken():
    ax = plot_training_map(made_map([[0, 1]] * 4, 2), width=1.4, show_metrics=False)
    assert "reproducibility not tested" in words(ax)
    tight = replace(made_map([[0, 1]] * 4, 2), certificate=unsure(2))
    figure = plot_training_map(tight, width=1.4, show_metrics=False).figure
    assert next(text for text in words(figure.axes[0]) if "·" in text).startswith("halves .55")
    assert misplaced(figure) == []


def test_odd_maps_draw(tmp_path):
    alone = plot_training_map(made_map([[0]], 1))
    assert words(alone) == ["0", "1 of 1 run", "reproducibility not tested"]
    nothing = made_map([[0]], 1)
    nothing = replace(nothing, states=(replace(nothing.states[0], runs=0, entry_step=None),), edges=())
    ax = plot_training_map(nothing)
    assert words(ax) == []
    save_figure(ax.figure, tmp_path / "nothing.pdf")
    thirds = plot_training_map(made_map([[0], [1], [2]], 3))
    assert len({disc.center for disc in discs(thirds).values()}) == 3
