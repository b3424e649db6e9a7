"""Which runs stand still while others go on: what they gained, and not how long they are, tells it."""

from trajhmm.cli.warn.silence import Silence


def names(word, n):
    return [f"{word}{number}" for number in range(n)]


def test_a_run_is_told_once_the_others_gained_so_many_rows_and_again_after_it_went_on():
    silence = Silence(20)
    going = names("r", 5)
    silence.after(dict.fromkeys([*going, "hung"], 100))
    told = [silence.after(dict.fromkeys(going, 4)) for _ in range(8)]
    assert told == [[]] * 4 + [["hung"]] + [[]] * 3
    assert silence.after(dict.fromkeys([*going, "hung"], 4)) == []
    assert [silence.after(dict.fromkeys(going, 10)) for _ in range(3)] == [[], ["hung"], []]


def test_long_logs_that_come_make_nobody_silent():
    silence = Silence(20)
    silence.after(dict.fromkeys(names("short", 10), 5) | dict.fromkeys(names("long", 9), 1000))
    assert silence.after({"long9": 1000}) == []


def test_a_run_that_hangs_is_told_though_many_begin():
    silence = Silence(20)
    old, new = names("old", 9), names("new", 11)
    for _ in range(1000):
        silence.after(dict.fromkeys([*old, "hung"], 1))
    told = [silence.after(dict.fromkeys([*old, *new], 1)) for _ in range(30)]
    assert [place for place, runs in enumerate(told) if runs] == [20]
    assert told[20] == ["hung"]


def test_one_run_alone_is_never_silent():
    silence = Silence(1)
    assert [silence.after({"a": 5}), silence.after({}), silence.after({"a": 1})] == [[], [], []]
