"""`Store`: what was put there is found again, and whatever is wrong with a folder or an entry, nothing is."""

import json
import multiprocessing
import os
import pickle
import sys
import zipfile
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from trajhmm.cache import NO_CACHE, Cache, digest_of, keeper
from trajhmm.cache.packed import Packed, pack, unpack
from trajhmm.cache.store import Store
from trajhmm.stored import StoredError

KEY, OTHER = "a" * 64, "b" * 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Inner:
    name: str
    share: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    path: NDArray[np.int64]
    again: NDArray[np.int64]
    probs: NDArray[np.float64]
    inner: tuple[Inner, ...]
    others: dict[int, tuple[int, ...]]
    done: bool


def result():
    path = np.array([0, 1, 1])
    probs = np.asfortranarray([[0.1, 0.9], [np.nan, 1.0], [np.inf, 0.0]])
    inner = (Inner(name="é\ud800", share=np.float64(0.1)), Inner(name="", share=None), Inner(name="x", share=np.nan))
    return Result(path=path, again=path, probs=probs, inner=inner, others={3: (1, 2), 5: ()}, done=True)


def packed(value=1.0):
    return Packed(tree={"states": [0]}, arrays=(np.array([value, 2.0]),))


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "cache")
    store.put(KEY, packed())
    assert store.get(KEY) is not None
    return store


def entry(store, key=KEY):
    return store.folder / f"{key}.npz"


def test_results_come_back_bit_for_bit(tmp_path):
    store = Store(tmp_path)
    store.put(KEY, pack(result()))
    found, made = unpack(store.get(KEY), Result), result()
    np.testing.assert_array_equal(found.probs, made.probs)
    assert found.probs.flags.f_contiguous, "sums depend on the order in memory"
    np.testing.assert_array_equal(found.path, made.path)
    assert found.again is found.path, "one array in two places is kept once"
    assert [one.name for one in found.inner] == [one.name for one in made.inner]
    assert found.inner[0].share == 0.1
    assert found.inner[1].share is None
    assert np.isnan(found.inner[2].share)
    assert (found.others, found.done) == (made.others, True)


def test_optional_results_and_bare_tuples():
    assert unpack(pack(None), Result | None) is None
    assert unpack(pack(()), tuple[Inner, ...]) == ()


@pytest.mark.parametrize(
    ("spoil", "value"),
    [
        ("path", "text"),
        ("path", True),
        ("path", 7),
        ("path", 2),  # the number of an array of floats
        ("probs", 0),  # and of whole numbers
        ("inner", {"name": "x"}),
        ("inner", [{"name": "x"}]),
        ("inner", [{"share": 0.5, "name": "x"}]),
        ("inner", [{"name": 5, "share": None}]),
        ("inner", [{"name": "x", "share": "0.5"}]),
        ("inner", [{"name": "x", "share": True}]),
        ("others", [[1]]),
        ("others", [["1", []]]),
        ("done", 1),
    ],
)
def test_parts_of_another_type_are_refused(spoil, value):
    parts = pack(result())
    with pytest.raises(StoredError):
        unpack(parts._replace(tree={**parts.tree, spoil: value}), Result)


def test_what_is_no_plain_data_is_not_packed():
    for odd in (object(), np.array(["text"]), {"a": lambda: 0}):
        with pytest.raises(TypeError):
            pack(odd)


def test_there_is_no_entry_of_another_key(store):
    assert store.get(OTHER) is None
    entry(store).rename(entry(store, OTHER))
    assert store.get(OTHER) is None, "an entry under a name that is not its own"
    assert not entry(store, OTHER).exists()


@pytest.mark.parametrize("at", [0, 1, 60, 200, 400, 700, -40, -1])
def test_damaged_entries_are_none(store, at):
    raw = bytearray(entry(store).read_bytes())
    raw[at] ^= 0x10
    entry(store).write_bytes(raw)
    found = store.get(KEY)
    # What zip files say of dates and systems is not what is kept.
    assert found is None or (found.tree, found.arrays[0].tolist()) == ({"states": [0]}, [1.0, 2.0])


def test_no_changed_byte_gives_another_result(store):
    whole = entry(store).read_bytes()
    for at in range(0, len(whole), 3):
        raw = bytearray(whole)
        raw[at] ^= 0x01
        entry(store).write_bytes(raw)
        found = store.get(KEY)
        assert found is None or (found.tree, found.arrays[0].tolist()) == ({"states": [0]}, [1.0, 2.0]), at


@pytest.mark.parametrize("length", [0, 1, 100, 400])
def test_torn_entries_are_none(store, length):
    entry(store).write_bytes(entry(store).read_bytes()[:length])
    assert store.get(KEY) is None


def members_of(path):
    with np.load(path, allow_pickle=False) as parts:
        return {name: parts[name] for name in parts.files}


def test_forged_entries_are_none(store):
    """Whoever knows the format but not the secret of this user can put nothing in the place of a result."""
    members = members_of(entry(store))
    np.savez(entry(store), **{**members, "array_0": np.array([9.0, 9.0])})
    assert store.get(KEY) is None
    np.savez(entry(store), **{**members, "tree": np.frombuffer(b'{"states":[1]}', dtype=np.uint8)})
    assert store.get(KEY) is None
    np.savez(entry(store), **{**members, "array_0": members["array_0"].reshape(2, 1)})
    assert store.get(KEY) is None
    np.savez(entry(store), **members)
    assert store.get(KEY) is not None, "the same parts are the same entry"


def test_an_entry_of_somebody_elses_folder_is_none(store, tmp_path):
    other = Store(tmp_path / "other")
    other.put(KEY, packed(5.0))
    entry(store).write_bytes(entry(other).read_bytes())
    assert store.get(KEY) is None


def test_nothing_that_is_pickled_is_loaded(store):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(store.folder / "exploded"),)

    members = members_of(entry(store))
    np.savez(entry(store), **{**members, "array_0": np.array([Bomb()], dtype=object)})
    assert store.get(KEY) is None
    entry(store).write_bytes(pickle.dumps(Bomb()))
    assert store.get(KEY) is None
    assert not (store.folder / "exploded").exists()


def test_nothing_that_is_compressed_is_loaded(store):
    members = members_of(entry(store))
    np.savez_compressed(entry(store), **members)
    assert zipfile.is_zipfile(entry(store))
    assert store.get(KEY) is None


@pytest.mark.skipif(sys.platform == "win32", reason="modes of files")
def test_a_secret_that_others_can_read_seals_nothing(store):
    (store.folder / "seal").chmod(0o644)
    assert store.get(KEY) is None
    store.put(OTHER, packed())
    assert not entry(store, OTHER).exists()


def test_folders_that_cannot_be_written_are_none(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        store = Store(folder)
        store.put(KEY, packed())
        assert store.get(KEY) is None
        store.drop(KEY)


def test_entries_that_are_folders_or_links_to_nothing_are_none(tmp_path):
    store = Store(tmp_path)
    store.put(OTHER, packed())
    entry(store).mkdir()
    assert store.get(KEY) is None
    store.put(KEY, packed())
    assert store.get(KEY) is None
    entry(store).rmdir()
    entry(store).symlink_to(tmp_path / "nowhere")
    assert store.get(KEY) is None


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    store = Store(tmp_path)
    keys = [f"{number:064d}" for number in range(5)]
    for age, key in enumerate(keys[:4]):
        store.put(key, Packed(tree=None, arrays=(np.zeros(300),)))
        os.utime(entry(store, key), (1000 + age, 1000 + age))
    assert store.get(keys[0]) is not None, "used, so that it is the youngest"
    store.most_bytes = 12_000
    store.put(keys[4], Packed(tree=None, arrays=(np.zeros(300),)))
    assert [key for key in keys if entry(store, key).exists()] == [keys[0], keys[3], keys[4]]
    store.put(OTHER, Packed(tree=None, arrays=(np.zeros(10_000),)))
    assert not entry(store, OTHER).exists(), "larger than what there is room for"


def test_what_was_never_finished_goes(tmp_path):
    store = Store(tmp_path)
    for name, age in (("trajhmm-old.tmp", 4000), ("trajhmm-new.tmp", 0)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, ((tmp_path / name).stat().st_mtime - age,) * 2)
    store.put(KEY, packed())
    assert {path.name for path in tmp_path.iterdir()} == {"trajhmm-new.tmp", "seal", f"{KEY}.npz"}


def _put_and_get(folder, number):
    store = Store(folder, most_bytes=20_000)
    for turn in range(60):
        key = f"{turn % 7:064d}"
        store.put(key, Packed(tree=turn % 7, arrays=(np.full(200, float(turn % 7)),)))
        found = store.get(key)
        if found is not None and not (found.arrays[0] == found.tree).all():
            sys.exit(3)
    sys.exit(number)


@pytest.mark.once
def test_several_processes_use_one_folder_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_put_and_get, args=(tmp_path / "cache", 40 + n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
    assert [worker.exitcode for worker in workers] == [40, 41, 42]
    assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.npz")) <= 20_000
    assert not list((tmp_path / "cache").glob("*.tmp"))


def test_keys_tell_apart_all_that_matters(tmp_path):
    cache = Cache(store=Store(tmp_path)).about(runs="r", model="m")
    made = []

    def work(value):
        def work_out():
            made.append(value)
            return value

        return work_out

    assert cache.keep("kind", int, work(1), seed=0) == 1
    assert cache.keep("kind", int, work(2), seed=0) == 1
    assert cache.keep("kind", int, work(3), seed=1) == 3
    assert cache.keep("other", int, work(4), seed=0) == 4
    assert cache.about(runs="s").keep("kind", int, work(5), seed=0) == 5
    assert NO_CACHE.keep("kind", int, work(6), seed=0) == 6
    assert cache.keep("kind", str, work("seven"), seed=0) == "seven", "what is found is of another type"
    assert made == [1, 3, 4, 5, 6, "seven"]


def test_other_code_and_other_libraries_find_nothing(tmp_path, monkeypatch):
    cache = Cache(store=Store(tmp_path))
    assert cache.keep("kind", int, lambda: 1) == 1
    known = keeper._code()
    assert {"trajhmm", "numpy", "scipy", "numba", "rooms"} <= set(known)
    for name in known:
        monkeypatch.setattr(keeper, "_code", lambda name=name: {**known, name: "other"})
        assert cache.keep("kind", int, lambda: 2) == 2
    monkeypatch.setattr(keeper, "_code", lambda: known)
    assert cache.keep("kind", int, lambda: 3) == 1


def test_digests_depend_on_values_shapes_and_types():
    values = np.arange(6.0)
    different = [
        (values,),
        (values.reshape(2, 3),),
        (values.astype(np.int64),),
        (values[:5], values[5:]),
        (np.append(values[:5], np.nan),),
        (["a", "b"],),
        (["a"], ["b"]),
        ("ab",),
    ]
    assert len({digest_of(*parts) for parts in different}) == len(different)
    assert digest_of(np.asfortranarray(values.reshape(2, 3))) == digest_of(values.reshape(2, 3))


def test_where_the_users_entries_are(tmp_path, monkeypatch):
    monkeypatch.delenv("TRAJHMM_CACHE")
    monkeypatch.delenv("TRAJHMM_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert Cache.of_user().store.folder == tmp_path / "xdg" / "trajhmm"
    monkeypatch.setenv("TRAJHMM_CACHE_DIR", str(tmp_path / "named"))
    assert Cache.of_user().store.folder == tmp_path / "named"
    monkeypatch.setenv("TRAJHMM_CACHE", "OFF")
    assert Cache.of_user().store is None


def test_entries_are_plain(store):
    members = members_of(entry(store))
    assert json.loads(members["tree"].tobytes()) == {"states": [0]}
    assert members["array_0"].tolist() == [1.0, 2.0]
