"""`write_atomically`: the old contents or the new ones, whole, and one sentence when it fails."""

import errno
import os

import pytest

from course_lib.files import write_atomically


@pytest.fixture
def old(tmp_path):
    """Two files with contents."""
    files = {tmp_path / "a": b"old a", tmp_path / "b": b"old b"}
    for path, content in files.items():
        path.write_bytes(content)
    return files


def contents(folder):
    return {path: path.read_bytes() for path in folder.iterdir()}


def fail_after(good, what, monkeypatch):
    """Let ``os.what`` do its work ``good`` times and then run out of space."""
    calls, original = [], getattr(os, what)

    def fails(*arguments):
        calls.append(arguments)
        if len(calls) > good:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*arguments)

    monkeypatch.setattr(os, what, fails)


def test_files_are_made_with_their_folders_and_replaced(tmp_path):
    path = tmp_path / "new" / "folder" / "a"
    for content in (b"first", b"", b"second\r\n\0"):
        write_atomically({path: content, tmp_path / "b": content})
        assert path.read_bytes() == (tmp_path / "b").read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == ["a"]


@pytest.mark.parametrize(("good", "named"), [(0, "a"), (1, "b")])
def test_without_space_no_file_changes(good, named, old, tmp_path, monkeypatch):
    fail_after(good, "fsync", monkeypatch)
    with pytest.raises(OSError) as told:
        write_atomically({path: b"new" for path in old})
    path = tmp_path / named
    assert str(told.value) == f"cannot write {path} (No space left on device); what was there before is unharmed."
    assert contents(tmp_path) == old


@pytest.mark.parametrize(("good", "named"), [(0, "a"), (1, "b")])
def test_a_renaming_that_fails_leaves_every_file_whole(good, named, old, tmp_path, monkeypatch):
    fail_after(good, "replace", monkeypatch)
    with pytest.raises(OSError, match=rf"^cannot write .*{named} \(.*\); what was there before is unharmed\.$"):
        write_atomically({path: b"new" for path in old})
    assert contents(tmp_path) == dict(zip(old, [b"new"] * good + list(old.values())[good:], strict=True))


def test_an_interrupt_leaves_the_old_files_and_no_draft(old, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically({path: b"new" for path in old})
    assert contents(tmp_path) == old


def test_a_file_system_that_takes_no_more_leaves_the_old_files(old, tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, hard))
    try:
        with pytest.raises(OSError, match=r"^cannot write .*b \(File too large\); what was there before is unharmed"):
            write_atomically({tmp_path / "a": b"new", tmp_path / "b": bytes(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(tmp_path) == old


def test_what_a_killed_process_left_half_written_is_swept_up(old, tmp_path):
    (tmp_path / ".a.new").write_bytes(b"half")
    write_atomically({path: b"new" for path in old})
    assert contents(tmp_path) == dict.fromkeys(old, b"new")


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"^cannot write .*a\.state \(.*\); what was there before is unharmed\.$"):
        write_atomically({tmp_path / "file" / "a.state": b""})
