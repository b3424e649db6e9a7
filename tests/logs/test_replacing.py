"""Files are written whole or not at all."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from trajhmm import RunSet, TrajHMMError, write_logs
from trajhmm.files import replacing, write_text

OLD = "the old file, whole"


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "file.json"
    path.write_text(OLD)
    return path


def write_half(target, error):
    with replacing(target) as temporary:
        temporary.write_text("half of the n")
        raise error


def assert_untouched(target):
    assert target.read_text() == OLD
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_the_new_file_takes_the_place_of_the_old_one_at_the_end(target):
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == OLD
        assert temporary.parent == target.parent
    assert target.read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == [target.name]


class Stop(BaseException):
    """As Ctrl-C is: not an `Exception`."""


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, Stop, SystemExit])
def test_an_exception_leaves_the_old_file_and_goes_on(kind, target):
    with pytest.raises(kind):
        write_half(target, kind())
    assert_untouched(target)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_leaves_the_old_file_and_says_so(code, target):
    with pytest.raises(TrajHMMError) as error:
        write_half(target, OSError(code, os.strerror(code)))
    assert str(error.value) == f"{target}: cannot be written ({os.strerror(code)})"
    assert_untouched(target)


def test_a_disk_that_fills_up_only_at_the_end_leaves_the_old_file(target, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrajHMMError, match="No space left on device"):
        write_text(target, "new")
    assert_untouched(target)


def test_a_writer_that_fails_leaves_the_old_log(target, monkeypatch):
    import pyarrow.parquet as pq

    def full(table, where, **settings):
        Path(where).write_bytes(b"PAR1 and a part")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pq, "write_table", full)
    runs = RunSet.from_frame(pd.DataFrame({"step": [0, 1], "loss": [2.0, 1.0]}))
    with pytest.raises(TrajHMMError, match="No space left on device"):
        write_logs(runs, target)
    assert_untouched(target)


def test_a_kill_during_the_write_leaves_the_old_file(target):
    """Nothing can tidy up after SIGKILL, but what is left over is hidden and no log."""
    program = (
        "import os, signal, sys; from trajhmm.files import replacing\n"
        "with replacing(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half of the n'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(target)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert target.read_text() == OLD
    assert all(path.name.startswith(".") for path in target.parent.iterdir() if path != target)


def test_missing_folders_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "file", "ü")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == "ü".encode()


def test_a_folder_or_a_file_in_the_way_is_an_error(tmp_path, target):
    with pytest.raises(TrajHMMError, match="is a folder; expected the name of a file to write"):
        write_text(tmp_path, "new")
    with pytest.raises(TrajHMMError, match="cannot be written"):
        write_text(target / "file", "new")
    assert_untouched(target)


def test_a_file_is_as_readable_as_the_user_wants_files_to_be(tmp_path):
    mask = os.umask(0o027)
    try:
        write_text(tmp_path / "file", "new")
    finally:
        os.umask(mask)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
