"""The small language of conditions."""

import math
import operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajhmm import TrajHMMError
from trajhmm.errors import ConditionError
from trajhmm.logs import parse_condition

NAN = math.nan
COLUMNS = {
    "x": np.array([1.0, 2.0, 3.0, NAN, math.inf]),
    "y": np.array([2.0, 2.0, 2.0, 2.0, NAN]),
    "seed": np.array([1234567.0, 7.0, 0.5, -1.0, NAN]),
    "t": np.array(["ln", "bn", None, "", "20240101"], dtype=object),
    "u": np.array(["ln", "ln", None, "x", None], dtype=object),
    "train/loss": np.array([1.0, 0.0, 0.0, 0.0, 0.0]),
    "train-loss": np.array([0.0, 1.0, 0.0, 0.0, 0.0]),
    "L1/L2": np.array([0.0, 0.0, 1.0, 0.0, 0.0]),
    "acc@1": np.array([0.0, 0.0, 0.0, 1.0, 0.0]),
    "a.b:c%d_9": np.array([0.0, 0.0, 0.0, 0.0, 1.0]),
    "inf-norm": np.array([1.0, 1.0, 0.0, 0.0, 0.0]),
    "nan_count": np.array([0.0, 1.0, 1.0, 0.0, 0.0]),
    "train loss (mean)": np.array([0.0, 0.0, 1.0, 1.0, 0.0]),
    "and": np.array([1.0, 0.0, 0.0, 0.0, 1.0]),
    "µ": np.array([0.0, 1.0, 0.0, 1.0, 0.0]),
    "order": np.array([1.0, 0.0, 1.0, 0.0, 0.0]),
}


def rows_of(text, columns=COLUMNS):
    """Which of the five rows meet a condition."""
    condition = parse_condition(text)
    return np.flatnonzero(condition.evaluate({name: columns[name] for name in condition.columns})).tolist()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("x > 2", [2, 4]),
        ("x >= 2", [1, 2, 4]),
        ("x < 2", [0]),
        ("x <= 2", [0, 1]),
        ("x == 2", [1]),
        ("x != 2", [0, 2, 4]),
        ("2 < x", [2, 4]),
        ("x>2", [2, 4]),
        ("  x\t>\n2 ", [2, 4]),
        ("x > y", [2]),
        ("x == y", [1]),
        ("x < inf", [0, 1, 2]),
        ("x == inf", [4]),
        ("x > -inf", [0, 1, 2, 4]),
        ("x < 1.5e0", [0]),
        ("x < +1.5", [0]),
        ("x < 15e-1", [0]),
        ("x > .5 and x < 2.", [0]),
    ],
)
def test_comparisons(text, rows):
    assert rows_of(text) == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("1 < x < 3", [1]),
        ("1 <= x <= 3", [0, 1, 2]),
        ("3 > x > 1", [1]),
        ("0 < 1 < x", [1, 2, 4]),
        ("1 < x == y", [1]),
        ("x < y < 3", [0]),
        ("0 < x < y < 3", [0]),
        ("0 < 1 < x < 3", [1]),
    ],
)
def test_chained_comparisons_hold_link_by_link(text, rows):
    assert rows_of(text) == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("x == 1 or x == 2 and x == 3", [0]),
        ("(x == 1 or x == 2) and x == 2", [1]),
        ("x == 3 and x == 2 or x == 1", [0]),
        ("not x == 1 and x == 2", [1]),
        ("not (x == 1 and x == 2)", [0, 1, 2, 3, 4]),
        ("not x == 1 or x == 1", [0, 1, 2, 3, 4]),
        ("not not x == 1", [0]),
        ("x == 1 or not x < 3", [0, 2, 3, 4]),
        ("((x == 1))", [0]),
        ("x == 1 or x == 2 or x == 3", [0, 1, 2]),
    ],
)
def test_not_binds_before_and_before_or(text, rows):
    assert rows_of(text) == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("train/loss > 0", [0]),
        ("train-loss > 0", [1]),
        ("L1/L2 > 0", [2]),
        ("acc@1 > 0", [3]),
        ("a.b:c%d_9 > 0", [4]),
        ("inf-norm > 0", [0, 1]),
        ("nan_count > 0", [1, 2]),
        ("`train loss (mean)` > 0", [2, 3]),
        ("`and` > 0", [0, 4]),
        ("`x` == 1", [0]),
        ("µ > 0", [1, 3]),
        ("order > 0 and nan_count > 0", [2]),
        ("0<train-loss", [1]),
    ],
)
def test_names_may_hold_slashes_and_dashes_and_others_go_in_backquotes(text, rows):
    assert rows_of(text) == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("x in (1, 3)", [0, 2]),
        ("x in [1, 3]", [0, 2]),
        ("x in (2)", [1]),
        ("not x in (1, 3)", [1, 3, 4]),
        ("t in ('ln', 'bn')", [0, 1]),
        ('t in ("ln", 20240101)', [0, 4]),
        ("x in (y, 3)", [1, 2]),
        ("2 in (x, y)", [0, 1, 2, 3]),
        ("x in (1, nan)", [0]),
    ],
)
def test_membership(text, rows):
    assert rows_of(text) == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("x > 0", [0, 1, 2, 4]),
        ("x < 0", []),
        ("x == nan", []),
        ("x != nan", []),
        ("x != 1", [1, 2, 4]),
        ("y != x", [0, 2]),
        ("not x > 0", [3]),
        ("t == u", [0]),
        ("t != u", [1, 3]),
        ("t != 'ln'", [1, 3, 4]),
        ("t < 'm'", [0, 1, 3, 4]),
        ("t >= u", [0]),
        ("u in ('ln', 'x')", [0, 1, 3]),
    ],
)
def test_a_comparison_with_a_blank_or_nan_is_false(text, rows):
    assert rows_of(text) == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("t == 'ln'", [0]),
        ('t == "ln"', [0]),
        ("t == ''", [3]),
        ("t == 20240101", [4]),
        ("t != 20240101", [0, 1, 3]),
        ("seed == '1234567'", [0]),
        ("seed == 1234567", [0]),
        ("seed == '7'", [1]),
        ("seed == '7.0'", []),
        ("seed == '0.5'", [2]),
        ("seed == '-1'", [3]),
        ("seed != '7'", [0, 2, 3]),
        ("x == 'inf'", [4]),
    ],
)
def test_text_equals_a_number_that_is_typed_alike(text, rows):
    assert rows_of(text) == rows


@pytest.mark.parametrize("sign", ["<", "<=", ">", ">="])
@pytest.mark.parametrize("pair", ["t {} 3", "x {} 'a'", "t {} x", "'a' {} 3"])
def test_text_and_numbers_have_no_order(pair, sign):
    text = pair.format(sign)
    with pytest.raises(ConditionError, match=rf"{sign} compares a text with a number"):
        rows_of(text if "'a' " not in text else f"{text} or x > 0")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "expected a column, a number or a text in quotes, found its end"),
        ("   ", "found its end"),
        ("x", "expected one of == != < <= > >= in, found its end"),
        ("x >", "expected a column, a number or a text in quotes, found its end"),
        ("> 1", "found '>'"),
        ("x > 1 and", "found its end"),
        ("x > 1 or or x > 2", "found 'or'"),
        ("and x > 1", "found 'and'"),
        ("not", "found its end"),
        ("(x > 1", r"expected '\)', found its end"),
        ("x > 1)", r"expected 'and', 'or' or the end, found '\)'"),
        ("x > 1 x < 2", "expected 'and', 'or' or the end, found 'x'"),
        ("x in 3", r"expected '\(', found '3'"),
        ("x in ()", r"found '\)'"),
        ("x in (1, 2", r"expected '\)', found its end"),
        ("x in (1, 2]", r"expected '\)', found ']'"),
        ("x in (1 2)", r"expected '\)', found '2'"),
        ("x = 1", "cannot read it from '= 1' on; write '=='"),
        ("x > 1 && x < 2", "cannot read it from '&& x < 2' on; write 'and'"),
        ("x > 1 | x < 0", "write 'or'"),
        ("x > 'a", "cannot read it from"),
        ("`x > 1", "cannot read it from"),
        ("x > 1_000", "cannot read it from '1_000' on; expected such as 'loss < 0.1' or"),
        ("x > 90%", "cannot read it from '90%' on; write 0.9, or 90 if that is how it is logged"),
        ("x > 99.5 %", "cannot read it from '%' on; expected such as"),
        ("x + 1 > 2", r"cannot read it from '\+ 1 > 2' on"),
        ("x ! 1", "cannot read it from '! 1' on"),
        ("x > $y", r"cannot read it from '\$y' on"),
        ("__import__('os').system('true')", "cannot read it from"),
        ("1 < 2", "names no column"),
        ("'a' == 'a'", "names no column"),
    ],
)
def test_what_does_not_parse_is_an_error_that_says_where(text, complaint):
    with pytest.raises(ConditionError, match=complaint) as error:
        parse_condition(text)
    assert isinstance(error.value, TrajHMMError)
    assert repr(text) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


LOOKING_BACK = {
    "x": np.array([0.2, 0.8, 0.5, NAN, 0.7, 0.9, 0.3]),
    "y": np.array([-2.0, -1.0, 0.0, 4.0, 2.0, math.inf, 3.0]),
    "drop": np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
    "t": np.array(["a"] * 7, dtype=object),
}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("drop(x) > 0.25", [2, 6]),
        ("drop(x) < 0.05", [0, 1, 5]),
        ("ratio(x) < 0.6", [6]),
        ("ratio( `x` ) < 0.65", [2, 6]),
        ("0.1 < ratio(x) < 0.9", [2, 4, 6]),
        ("ratio(y) <= 1", [3, 4, 6]),
        ("drop(y) == 1", [6]),
        ("drop(y) == 0", [0, 1, 2, 3]),
        ("drop(x) > 0.25 and not ratio(x) < 0.6", [2]),
        ("drop(x) > drop", [2, 4, 6]),
        ("best(y) >= 4 and y < 3.5", [4, 6]),
        ("best(x) >= 0.8 and x < 0.6", [2, 6]),
        ("drop > 0 or x in (0.9)", [0, 5]),
    ],
)
def test_best_drop_and_ratio_look_back_on_the_best_so_far(text, rows):
    assert rows_of(text, LOOKING_BACK) == rows


def test_a_condition_says_whether_it_looks_back():
    assert parse_condition("x > 1 or ratio(y) < 0.5").ordered
    assert not parse_condition("drop > 1").ordered


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("drop(0.5) > 1", "expected the column that drop looks back on, found '0.5'"),
        ("ratio(x > 1", r"expected '\)', found '>'"),
        ("ratio() > 1", "expected the column that ratio looks back on, found '\\)'"),
        ("mean(x) > 1", r"found '\('"),
        ("drop(drop(x)) > 1", r"expected '\)', found '\('"),
    ],
)
def test_only_a_column_is_looked_back_on(text, complaint):
    with pytest.raises(ConditionError, match=complaint):
        parse_condition(text)


def test_text_has_no_best():
    with pytest.raises(ConditionError, match="drop needs numbers, found text"):
        rows_of("drop(t) > 1", LOOKING_BACK)


def test_columns_are_named_in_order_of_appearance():
    assert parse_condition("z > 1 and (a < `b c` or z in (q, 1))").columns == ("z", "a", "b c", "q")


def test_no_rows_is_no_error():
    assert rows_of("x > 1 and t == 'ln'", {"x": np.array([]), "t": np.array([], dtype=object)}) == []


# An independent reading: a tree of plain Python over one row at a time, written out with random brackets and spaces.

SIGNS = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
NUMBERS = [-1.0, 0.0, 0.5, 2.0, 1e12, math.inf, NAN]


def compare(sign, one, other):
    return not (math.isnan(one) or math.isnan(other)) and SIGNS[sign](one, other)


@st.composite
def trees(draw, depth=3):
    kind = draw(st.sampled_from(["chain", "in"] if depth == 0 else ["chain", "in", "and", "or", "not"]))
    if kind in ("and", "or"):
        return (kind, [draw(trees(depth=depth - 1)) for _ in range(draw(st.integers(2, 3)))])
    if kind == "not":
        return (kind, draw(trees(depth=depth - 1)))
    operand = st.one_of(st.sampled_from(["a", "b/c", "d-e"]), st.sampled_from(NUMBERS))
    if kind == "in":
        return (kind, draw(st.sampled_from(["a", "b/c"])), draw(st.lists(operand, min_size=1, max_size=3)))
    first = draw(st.sampled_from(["a", "b/c", "d-e"]))
    return (kind, first, draw(st.lists(st.tuples(st.sampled_from(list(SIGNS)), operand), min_size=1, max_size=3)))


def truth(tree, row):
    def value(operand):
        return row[operand] if isinstance(operand, str) else operand

    kind = tree[0]
    if kind == "and":
        return all(truth(part, row) for part in tree[1])
    if kind == "or":
        return any(truth(part, row) for part in tree[1])
    if kind == "not":
        return not truth(tree[1], row)
    if kind == "in":
        return any(compare("==", value(tree[1]), value(member)) for member in tree[2])
    operands = [tree[1], *(operand for _, operand in tree[2])]
    return all(compare(sign, value(left), value(right)) for (sign, right), left in zip(tree[2], operands, strict=False))


STRENGTH = {"or": 0, "and": 1, "not": 2, "chain": 3, "in": 3}


def written(tree, draw):
    """The tree as text, with only the brackets that it needs, and now and then more."""
    gap = " " * draw(st.integers(1, 2))

    def operand(one):
        return one if isinstance(one, str) else repr(one)

    def part(inner):
        text = written(inner, draw)
        needed = STRENGTH[inner[0]] < STRENGTH[tree[0]] or (inner[0] == tree[0] and tree[0] in ("and", "or"))
        return f"({text})" if needed or draw(st.integers(0, 4)) == 0 else text

    if tree[0] in ("and", "or"):
        return f"{gap}{tree[0]}{gap}".join(part(inner) for inner in tree[1])
    if tree[0] == "not":
        return f"not{gap}{part(tree[1])}"
    if tree[0] == "in":
        return f"{tree[1]}{gap}in{gap}({f',{gap}'.join(map(operand, tree[2]))})"
    return gap.join([tree[1], *(word for sign, right in tree[2] for word in (sign, operand(right)))])


@pytest.mark.once
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_conditions_mean_what_python_means_row_by_row(data):
    tree = data.draw(trees())
    text = written(tree, data.draw)
    number = st.sampled_from(NUMBERS)
    rows = data.draw(
        st.lists(st.fixed_dictionaries({"a": number, "b/c": number, "d-e": number}), min_size=1, max_size=5)
    )
    columns = {name: np.array([row[name] for row in rows]) for name in ("a", "b/c", "d-e")}
    assert rows_of(text, columns) == [index for index, row in enumerate(rows) if truth(tree, row)], text
