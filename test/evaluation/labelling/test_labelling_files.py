# SPDX-License-Identifier: Apache-2.0
"""The truth file keeps its bytes and notices others; frames to label are those of a folder or of a bag."""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_builder import FIXED, MS, WORDS, BagBuilder, scene, seconds
from hypothesis import given
from hypothesis import strategies as st
from waiting import DEADLINE

from spatial_vlm_lab.labelling.label_file import LabelFile, LabelSource, bag_source, folder_source
from spatial_vlm_lab.labelling.session import LabelSession
from spatial_vlm_lab.scoring.sources import load_truth
from spatial_vlm_ros.errors import FileChangedError, FileError, InputError
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.recording.bags.topics import choose_roles, open_bag
from spatial_vlm_ros.recording.replay import replay
from spatial_vlm_ros.resolver import Resolver

pytest.importorskip("rosbags")

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


def test_lines_that_are_not_understood_keep_their_bytes_when_others_change(tmp_path: Path) -> None:
    path = file_of(tmp_path, *ODD, ONE + b"\r", TWO)  # with an end of Windows
    with LabelFile(path) as file:
        line = file.lines[len(ODD)]
        file.put(line, {**line.value, "by": "corrected"})
        file.save()
        assert file.is_saved
    changed = json.dumps({**json.loads(ONE), "by": "corrected"}).encode() + b"\r"
    assert path.read_bytes().split(b"\n") == [*ODD, changed, TWO, b""]
    assert list(tmp_path.iterdir()) == [path]  # no lock


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
        assert json.loads(now)["instruction"] == str(n) if n in touched else now == before


def test_a_file_that_nobody_changes_stays_and_a_new_line_stands_behind_its_frame(tmp_path: Path) -> None:
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
import sys; from spatial_vlm_lab.labelling.label_file import LabelFile
file = LabelFile(sys.argv[1]); n = 0
while True:
    n += 1; file.put(file.lines[0], {'frame': 'f1', 'instruction': str(n) * 40000}); file.save()
    if n == 5: print('saving', flush=True)
"""


@pytest.mark.live
def test_a_page_that_is_killed_while_it_saves_leaves_the_file_whole_and_free(tmp_path: Path) -> None:
    path = file_of(tmp_path, ONE)
    with subprocess.Popen([sys.executable, "-c", WRITES_ON, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "saving\n"
        with pytest.raises(FileError, match="has it open"):
            LabelFile(path)
        other.kill()
        other.wait(2 * DEADLINE)
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


CONFIG = StreamConfig()


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """Five frames half a second apart."""
    seen = scene()
    with BagBuilder(tmp_path / "run1") as builder:
        builder.stands(FIXED, seconds(0.0))
        for n in range(5):
            builder.frame(seen, seconds(0.1 + 0.5 * n), seconds(0.1 + 0.5 * n) + 20 * MS)
    return tmp_path / "run1"


@contextmanager
def source_of(bag: Path, apart: float = 0.0) -> Iterator[LabelSource]:
    with open_bag(bag) as opened:
        roles = choose_roles(opened.contents, CONFIG)
        with bag_source(opened, bag.parent, roles, CONFIG, apart) as source:
            yield source


def stamps_of(source: LabelSource) -> list[Any]:
    return [source.naming(n)["stamp_ns"] for n in range(len(source.names))]


def test_each_complete_frame_is_as_a_replay_sees_it(bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kept").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "kept"))
    with open_bag(bag) as opened:
        roles = choose_roles(opened.contents, CONFIG)
        replayed = list(replay(opened, Resolver(), roles, CONFIG, [WORDS], every=True))
    with source_of(bag) as source:
        assert list((tmp_path / "kept").iterdir())
        assert len(source.names) == len(replayed) == 5
        answer: Any
        for number, answer in enumerate(replayed):
            kept: Any = source.load(number)
            assert kept.frame.stamp_ns == answer.frame.stamp_ns == source.naming(number)["stamp_ns"]
            np.testing.assert_array_equal(kept.frame.rgb, answer.frame.rgb)
            np.testing.assert_array_equal(kept.frame.depth, answer.frame.depth)
            np.testing.assert_array_equal(kept.base_T_camera.matrix, answer.frame.base_T_camera.matrix)
            assert [one.id for one in kept.detections] == [one.id for one in answer.detections]
            for one, other in zip(kept.detections, answer.detections, strict=True):
                np.testing.assert_array_equal(one.mask, other.mask)
            resolved = Resolver().resolve(kept.frame, WORDS, kept.detections)
            assert resolved.target == answer.resolution.target
    assert not list((tmp_path / "kept").iterdir())


def test_frames_are_as_far_apart_as_is_asked_and_stamps_come_once(bag: Path, tmp_path: Path) -> None:
    with source_of(bag, apart=1.0) as source:
        assert np.diff(stamps_of(source)).tolist() == [10**9, 10**9]
    seen = scene()
    with BagBuilder(tmp_path / "back") as builder:
        builder.stands(FIXED, seconds(0.0))
        for n, stamp in enumerate((20.1, 20.6, 0.1, 0.6, 20.1)):  # set back
            builder.frame(seen, seconds(stamp), seconds(0.2 + 0.5 * n))
    with source_of(tmp_path / "back") as source:
        stamps = stamps_of(source)
    assert len(set(stamps)) == len(stamps)
    assert stamps[0] in (seconds(20.1), seconds(0.1))


def test_truth_of_a_bag_is_read_back_by_its_stamp_and_lines_of_others_are_left_alone(bag: Path) -> None:
    path = bag.with_name("truth.jsonl")
    with LabelFile(path) as file, source_of(bag, 1.0) as source:
        session = LabelSession(source, file, Resolver(), [WORDS])
        for number in range(3):
            session.decide(number, session.case(number)["proposal"])
        stamps = stamps_of(source)
    assert {json.loads(line)["bag"] for line in path.read_text().splitlines()} == {"run1"}
    cases = load_truth(path)
    assert [one.stamp_ns for one in cases] == stamps
    assert all(one.expect is not None and one.expect.status.value == "OK" for one in cases)
    with LabelFile(path) as file, source_of(bag) as source:
        found = LabelSession(source, file, Resolver()).overview()["cases"]
        assert [one["frame"] for one in found] == [0, 2, 4]
        stamp = stamps_of(source)[1]
        for name in ({}, {"bag": "run1"}, {"bag": "./run1/../run1"}):
            assert source.number_of({"stamp_ns": stamp, **name}) == 1
        for other in ({"stamp_ns": stamp, "bag": "run2"}, {"stamp_ns": stamp + 1}, {"stamp_ns": "1"}, {"frame": "f1"},
                      {"stamp_ns": stamp, "bag": 3}):  # fmt: skip
            assert source.number_of(other) is None


def test_folders_and_bags_without_a_complete_frame_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such folder"):
        folder_source(tmp_path / "nothing", ask_grounder=False)
    with pytest.raises(InputError, match="without a frame"):
        folder_source(tmp_path, ask_grounder=False)
    with BagBuilder(tmp_path / "empty") as builder:
        builder.frame(scene(), seconds(0.1), leave_out=("rgb/camera_info",))
    with pytest.raises(InputError), source_of(tmp_path / "empty"):
        pass


def test_places_may_be_told_where_truth_has_the_cameras_pose(two_frames: Path, tmp_path: Path) -> None:
    """The resolver never reads truth.json; whoever writes truth does."""
    folder = Path(shutil.copytree(two_frames / "f2", tmp_path / "frames" / "f2")).parent
    assert folder_source(folder, ask_grounder=False).load(0).base_T_camera is None
    pose = json.loads((two_frames / "f1" / "base_T_camera.json").read_text())
    (folder / "f2" / "truth.json").write_text(json.dumps({"base_T_camera": pose}))
    kept = folder_source(folder, ask_grounder=False).load(0)
    assert (kept.base_T_camera is None, kept.frame.base_T_camera) == (False, None)
