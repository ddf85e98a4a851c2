# SPDX-License-Identifier: Apache-2.0
"""The truth file: what is not changed keeps its bytes, what fails changes nothing, and others are noticed."""

from __future__ import annotations

import json
import os
import resource
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


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return file_of(tmp_path, ONE, TWO)


def file_of(folder: Path, *lines: bytes, end: bytes = b"\n") -> Path:
    path = folder / "cases.jsonl"
    path.write_bytes(b"\n".join(lines) + end)
    return path


def fields(path: Path, name: str = "instruction") -> list[str]:
    return [json.loads(line)[name] for line in path.read_bytes().splitlines()]


# ------------------------------------------------------------------------------------------------ bytes


def test_lines_that_are_not_understood_keep_their_bytes_when_others_change(tmp_path: Path) -> None:
    path = file_of(tmp_path, *ODD, ONE + b"\r", TWO)  # with an end of Windows
    with LabelFile(path) as file:
        line = file.lines[len(ODD)]
        assert line.value is not None
        file.put(line, {**line.value, "by": "corrected"})
        file.save()
    changed = json.dumps({**json.loads(ONE), "by": "corrected"}).encode() + b"\r"
    assert path.read_bytes().split(b"\n") == [*ODD, changed, TWO, b""]


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
    for n, (now, before) in enumerate(zip(after, lines, strict=True)):
        if n in touched:
            assert json.loads(now)["instruction"] == str(n)
        else:
            assert now == before


def test_a_file_that_nobody_changes_is_not_written_and_a_new_line_stands_behind_those_of_its_frame(
    tmp_path: Path,
) -> None:
    path = file_of(tmp_path, ONE, TWO, end=b"")
    before = path.stat()
    with LabelFile(path) as file:
        file.save()
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        assert path.read_bytes() == ONE + b"\n" + TWO
        file.add({"frame": "f1", "instruction": "the plate"})
        file.add({"frame": "f3", "instruction": "the pan"})
        file.save()
    assert fields(path, "frame") == ["f1", "f1", "f2", "f3"]


def test_a_missing_file_is_made_and_no_lock_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new.jsonl"
    with LabelFile(path) as file:
        assert not path.exists()
        file.add({"frame": "f1", "instruction": "the cup"})
        assert not file.is_saved
        file.save()
        assert file.is_saved
    assert [one.name for one in tmp_path.iterdir()] == ["new.jsonl"]


def test_the_mode_of_the_file_and_a_link_to_it_stay_and_two_pages_on_it_are_refused(path: Path) -> None:
    link = path.with_name("link.jsonl")
    link.symlink_to(path)
    path.chmod(0o640)
    with LabelFile(link) as file:
        file.add({"frame": "f1", "instruction": "x"})
        file.save()
        with pytest.raises(FileError, match=r"another labelling page \(process \d+\) has it open"):
            LabelFile(path)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert len(fields(path)) == 3


# ------------------------------------------------------------------------------------------------ what fails


def test_a_write_that_fails_changes_nothing_and_can_be_tried_again(path: Path) -> None:
    before = path.read_bytes()
    with LabelFile(path) as file:
        file.add({"frame": "f1", "instruction": "long " * 4000})
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # as a disk that is full after 4 kB
        try:
            with pytest.raises(FileError, match="nothing was changed"):
                file.save()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.read_bytes() == before
        assert {one.name for one in path.parent.iterdir()} == {".cases.jsonl.lock", "cases.jsonl"}
        assert not file.is_saved
        file.save()
    assert len(fields(path)) == 3


def test_a_file_that_somebody_else_wrote_is_not_overwritten(path: Path) -> None:
    with LabelFile(path) as file:
        file.add({"frame": "f1", "instruction": "ours"})
        theirs = path.read_bytes() + b'{"frame": "f9", "instruction": "theirs"}\n'
        path.write_bytes(theirs)
        with pytest.raises(FileChangedError, match="another program has changed it"):
            file.save()
        assert path.read_bytes() == theirs
        file.rebase()
        file.save()
    assert fields(path) == ["the cup", "ours", "the mug", "theirs"]


def test_a_line_that_both_changed_keeps_theirs_beside_ours_and_one_taken_out_stays_out(path: Path) -> None:
    theirs = {**json.loads(ONE), "expect": {"status": "OCCLUDED"}, "note": "by hand"}
    with LabelFile(path) as file:
        file.put(file.lines[0], {**json.loads(ONE), "expect": {"status": "NOT_FOUND"}})
        file_of(path.parent, TWO, json.dumps(theirs).encode())
        file.rebase()
        file.save()
        second = json.loads(path.read_bytes().splitlines()[1])
        assert (second["expect"], second["note"]) == ({"status": "NOT_FOUND"}, "by hand")
        assert second["replaced"] == {"by_somebody_else": theirs}
    file_of(path.parent, ONE, TWO)
    with LabelFile(path) as file:
        file.remove(file.lines[0])
        file_of(path.parent, b"# new", ONE, TWO)
        file.rebase()
        file.save()
    assert path.read_bytes() == b"# new\n" + TWO + b"\n"


WRITES_ON = """
import sys; from spatial_vlm_ros.evaluation.labelling.label_file import LabelFile
file = LabelFile(sys.argv[1]); n = 0
while True:
    n += 1; file.put(file.lines[0], {'frame': 'f1', 'instruction': str(n) * 40000}); file.save()
    if n == 5: print('saving', flush=True)
"""


@pytest.mark.live
def test_a_page_that_is_killed_while_it_saves_leaves_the_file_whole_and_free(tmp_path: Path) -> None:
    path = file_of(tmp_path, ONE)
    with subprocess.Popen([sys.executable, "-c", WRITES_ON, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "saving\n"
        with pytest.raises(FileError, match="has it open"):
            LabelFile(path)
        other.kill()
        other.wait(60)
    (words,) = fields(path)
    assert words == words[: len(words) // 40000] * 40000
    LabelFile(path).close()


@pytest.mark.parametrize("kind", ["folder", "pipe", "missing folder", "loop of links"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("no/cases.jsonl" if kind == "missing folder" else "cases.jsonl")
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop of links":
        path.symlink_to(path)
    with pytest.raises(FileError, match=r"cases\.jsonl"):
        LabelFile(path)
    assert not [one for one in tmp_path.iterdir() if one.name.endswith(".lock")]


def test_what_killed_pages_left_is_removed_by_the_next_one(path: Path) -> None:
    names = (".cases.jsonl.1a2b3c4d.part", ".cases.jsonl.new.part", ".b.part")
    old, new, other = (path.with_name(name) for name in names)
    for left in (old, new, other):
        left.write_text("{}")
    for left in (old, other):
        os.utime(left, (time.time() - 120, time.time() - 120))
    with LabelFile(path):
        assert (old.exists(), new.exists(), other.exists()) == (False, True, True)
