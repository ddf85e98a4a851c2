# SPDX-License-Identifier: Apache-2.0
"""The truth file: what is not changed keeps its bytes, what fails changes nothing, and others are noticed."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_vlm_ros.errors import FileChangedError, FileError
from spatial_vlm_ros.evaluation.labelling.label_file import LabelFile

ONE = b'{"frame": "f1", "instruction": "the cup", "expect": {"status": "OK", "id": "d1"}}'
TWO = b'{ "frame":"f2" ,"instruction":"the mug", "note": 1.10, "note_2": [1,2]}'
ODD = (b"# a comment", b"", b'{"frame": "f1", "instruction": "a", "instruction": "b"}', b'{"frame": NaN}', b"[1, 2]",
       b"\xff\xfe not text", b'{"frame": "f1"', b'{"a":' * 2000)  # fmt: skip


def file_of(folder: Path, *lines: bytes, end: bytes = b"\n") -> Path:
    path = folder / "cases.jsonl"
    path.write_bytes(b"\n".join(lines) + end)
    return path


def test_lines_that_are_not_understood_keep_their_bytes_when_others_change(tmp_path: Path) -> None:
    path = file_of(tmp_path, *ODD, ONE, TWO)
    with LabelFile(path) as file:
        line = file.lines[len(ODD)]
        assert line.value is not None
        file.put(line, {**line.value, "by": "corrected"})
        file.save()
    assert path.read_bytes().split(b"\n") == [
        *ODD,
        json.dumps({**json.loads(ONE), "by": "corrected"}).encode(),
        TWO,
        b"",
    ]


def test_a_file_that_nobody_changes_is_not_written(tmp_path: Path) -> None:
    path = file_of(tmp_path, ONE, TWO, end=b"")
    before = path.stat()
    with LabelFile(path) as file:
        file.save()
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert path.read_bytes() == ONE + b"\n" + TWO


def test_line_ends_of_windows_stay(tmp_path: Path) -> None:
    path = file_of(tmp_path, ONE + b"\r", TWO + b"\r")
    with LabelFile(path) as file:
        file.put(file.lines[0], {"frame": "f1", "instruction": "x"})
        file.save()
    assert path.read_bytes() == b'{"frame": "f1", "instruction": "x"}\r\n' + TWO + b"\r\n"


def test_a_new_line_stands_behind_those_of_its_frame(tmp_path: Path) -> None:
    path = file_of(tmp_path, ONE, TWO, end=b"")
    with LabelFile(path) as file:
        file.add({"frame": "f1", "instruction": "the plate"})
        file.add({"frame": "f3", "instruction": "the pan"})
        file.save()
    assert [json.loads(line)["frame"] for line in path.read_bytes().splitlines()] == ["f1", "f1", "f2", "f3"]


def test_a_missing_file_is_made_and_no_lock_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new.jsonl"
    with LabelFile(path) as file:
        assert not path.exists()
        file.add({"frame": "f1", "instruction": "the cup"})
        assert not file.is_saved
        file.save()
        assert file.is_saved
    assert [one.name for one in tmp_path.iterdir()] == ["new.jsonl"]


def test_the_mode_of_the_file_and_a_link_to_it_stay(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    real.mkdir()
    path = file_of(real, ONE)
    path.chmod(0o640)
    link = tmp_path / "cases.jsonl"
    link.symlink_to(path)
    with LabelFile(link) as file:
        file.add({"frame": "f1", "instruction": "x"})
        file.save()
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert len(path.read_bytes().splitlines()) == 2


def test_a_write_that_fails_changes_nothing_and_can_be_tried_again(tmp_path: Path) -> None:
    path = file_of(tmp_path, ONE)
    with LabelFile(path) as file:
        file.add({"frame": "f1", "instruction": "long " * 4000})
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # as a disk that is full after 4 kB
        try:
            with pytest.raises(FileError, match="nothing was changed"):
                file.save()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.read_bytes() == ONE + b"\n"
        assert sorted(one.name for one in tmp_path.iterdir()) == [".cases.jsonl.lock", "cases.jsonl"]
        assert not file.is_saved
        file.save()
    assert len(path.read_bytes().splitlines()) == 2


def test_a_file_that_somebody_else_wrote_is_not_overwritten(tmp_path: Path) -> None:
    path = file_of(tmp_path, ONE, TWO)
    with LabelFile(path) as file:
        file.add({"frame": "f1", "instruction": "ours"})
        theirs = ONE + b"\n" + TWO + b"\n" + b'{"frame": "f9", "instruction": "theirs"}\n'
        path.write_bytes(theirs)
        with pytest.raises(FileChangedError, match="another program has changed it"):
            file.save()
        assert path.read_bytes() == theirs
        file.rebase()
        file.save()
    words = [json.loads(line)["instruction"] for line in path.read_bytes().splitlines()]
    assert words == ["the cup", "ours", "the mug", "theirs"]


def test_a_line_that_both_changed_keeps_theirs_beside_ours(tmp_path: Path) -> None:
    path = file_of(tmp_path, ONE, TWO)
    with LabelFile(path) as file:
        ours = {**json.loads(ONE), "expect": {"status": "NOT_FOUND"}}
        file.put(file.lines[0], ours)
        theirs = {**json.loads(ONE), "expect": {"status": "OCCLUDED"}, "note": "by hand"}
        file_of(tmp_path, TWO, json.dumps(theirs).encode())
        file.rebase()
        file.save()
    second = json.loads(path.read_bytes().splitlines()[1])
    assert second["expect"] == {"status": "NOT_FOUND"}
    assert second["note"] == "by hand"
    assert second["replaced"] == {"by_somebody_else": theirs}


def test_a_line_that_was_taken_out_is_taken_out_of_the_new_file(tmp_path: Path) -> None:
    path = file_of(tmp_path, ONE, TWO)
    with LabelFile(path) as file:
        file.remove(file.lines[0])
        file_of(tmp_path, b"# new", ONE, TWO)
        file.rebase()
        file.save()
    assert path.read_bytes() == b"# new\n" + TWO + b"\n"


def test_two_pages_on_one_file_are_refused(tmp_path: Path) -> None:
    path = file_of(tmp_path, ONE)
    link = tmp_path / "link.jsonl"
    link.symlink_to(path)
    with LabelFile(path), pytest.raises(FileError, match=r"another labelling page \(process \d+\) has it open"):
        LabelFile(link)
    LabelFile(path).close()


def test_a_page_that_was_killed_leaves_the_file_free(tmp_path: Path) -> None:
    path = file_of(tmp_path, ONE)
    code = (
        "import sys, time; from spatial_vlm_ros.evaluation.labelling.label_file import LabelFile\n"
        "file = LabelFile(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(FileError, match="has it open"):
            LabelFile(path)
        other.send_signal(signal.SIGKILL)
        other.wait(30)
    LabelFile(path).close()


def test_a_page_that_is_killed_while_it_saves_leaves_a_whole_file(tmp_path: Path) -> None:
    path = file_of(tmp_path, ONE)
    code = (
        "import sys; from spatial_vlm_ros.evaluation.labelling.label_file import LabelFile\n"
        "file = LabelFile(sys.argv[1]); n = 0\n"
        "while True:\n"
        "    n += 1; file.put(file.lines[0], {'frame': 'f1', 'instruction': str(n) * 40000}); file.save()\n"
        "    if n == 5: print('saving', flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "saving\n"
        other.send_signal(signal.SIGKILL)
        other.wait(30)
    (line,) = path.read_bytes().splitlines()
    words = json.loads(line)["instruction"]
    assert words == words[: len(words) // 40000] * 40000


@pytest.mark.parametrize("kind", ["folder", "pipe", "missing folder"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "cases.jsonl"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path = tmp_path / "no" / "cases.jsonl"
    with pytest.raises(FileError):
        LabelFile(path)
    assert not [one for one in tmp_path.iterdir() if one.name.endswith(".lock")]


@given(st.lists(st.binary(max_size=30).filter(lambda raw: b"\n" not in raw), max_size=8), st.data())
def test_any_line_that_is_not_touched_keeps_its_bytes_and_its_place(lines: list[bytes], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cases.jsonl"
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        touched = data.draw(st.sets(st.integers(0, len(lines) - 1))) if lines else set()
        with LabelFile(path) as file:
            for number in touched:
                file.put(file.lines[number], {"frame": "f1", "instruction": str(number)})
            file.save()
        after = path.read_bytes().split(b"\n")[:-1]
    assert len(after) == len(lines)
    assert [line for n, line in enumerate(after) if n not in touched] == [
        line for n, line in enumerate(lines) if n not in touched
    ]
    assert [json.loads(after[n])["instruction"] for n in sorted(touched)] == [str(n) for n in sorted(touched)]


def test_what_killed_pages_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text("")
    old, new, other = (tmp_path / name for name in (".cases.jsonl.1a2b3c4d.part", ".cases.jsonl.new.part", ".b.part"))
    for left in (old, new, other):
        left.write_text("{}")
    for left in (old, other):
        os.utime(left, (time.time() - 120, time.time() - 120))
    with LabelFile(path):
        assert not old.exists()
        assert new.exists()
        assert other.exists()


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    path.symlink_to(path)
    with pytest.raises(FileError, match=r"cases\.jsonl"):
        LabelFile(path)
