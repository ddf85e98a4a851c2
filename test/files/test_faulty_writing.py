# SPDX-License-Identifier: Apache-2.0
"""A full disk, a folder that cannot be written, a killed process: no earlier result is lost, no partial one is left."""

import errno
import gc
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from click.testing import CliRunner

pytest.importorskip("rosbags")

from faulty_writing import WRITERS, contents, is_whole

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files import writing as folders
from spatial_vlm_ros.files.writing import (
    PART,
    UnfinishedFolder,
    write_bytes,
    write_json,
    write_text,
    writing,
    written_by_name,
)
from spatial_vlm_ros.recording.frame_folder import write_frame
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame

pytestmark = pytest.mark.live
HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
SMALL, ROOM = 60_000, 1 << 20


def place_of(writer: str, folder: Path) -> Path:
    return folder / ("result.png" if writer == "image" else "result")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(place)]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {made.stderr.decode().strip()}")
    try:
        yield place
    finally:
        gc.collect()  # an error keeps what it came from: SQLite's connection, where rosbags could not open it
        ended = subprocess.run(["umount", str(place)], check=False)
        if ended.returncode:  # a writer left a file open
            subprocess.run(["umount", "-l", str(place)], check=True)
        assert ended.returncode == 0


@pytest.mark.parametrize("kept", [False, True])
def test_folders_that_were_made_for_what_failed_go_again(tmp_path: Path, kept: bool) -> None:
    (tmp_path / "a").mkdir()
    for write in (writing, written_by_name, UnfinishedFolder):
        with suppress(ZeroDivisionError), write(tmp_path / "a" / "b" / "c" / "result"):
            if kept:
                (tmp_path / "a" / "b" / "other").touch()
            raise ZeroDivisionError
    assert (tmp_path / "a").exists()
    assert [*(tmp_path / "a").rglob("*")] == [tmp_path / "a" / "b", tmp_path / "a" / "b" / "other"][: 2 * kept]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_leaves_the_earlier_result_and_nothing_of_a_new_one(writer: str, small_disk: Path) -> None:
    write, place = WRITERS[writer], place_of(writer, small_disk)
    with pytest.raises(FileError, match=r"enough (free )?space"):
        write(place, 3 * ROOM)
    assert not list(small_disk.iterdir())
    write(place, SMALL)
    assert (before := contents(place))
    with pytest.raises(FileError, match=r"No space|disk is full|disk I/O error"):
        write(place, 3 * ROOM)
    assert contents(place) == before
    assert is_whole(writer, place)
    assert [path.name for path in small_disk.iterdir()] == [place.name]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_disk_that_fills_up_anywhere_leaves_the_earlier_result_or_the_new_one(writer: str, small_disk: Path) -> None:
    write, place = WRITERS[writer], place_of(writer, small_disk)
    write(place, SMALL)
    filler = small_disk / "filler"
    failed = 0
    for left in range(4096, 9 * 4096, 4096):
        free = os.statvfs(small_disk)
        filler.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - left)))
        before = contents(place)
        try:
            write(place, SMALL)
        except FileError:
            failed += 1
            assert contents(place) == before, left
        assert is_whole(writer, place), left
        filler.unlink()
    assert failed or writer == "changed folder"  # it needs a quarter of the room at a time, of which some is left


@pytest.mark.parametrize("writer", WRITERS)
def test_a_folder_that_cannot_be_written_leaves_the_earlier_result(writer: str, small_disk: Path) -> None:
    write, place = WRITERS[writer], place_of(writer, small_disk)
    write(place, SMALL)
    before = contents(place)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(FileError, match="writable location"):
        write(place, SMALL)
    assert contents(place) == before


@pytest.mark.parametrize("times", [1, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_killed_process_leaves_the_earlier_result_or_a_new_one(writer: str, times: int, tmp_path: Path) -> None:
    place, dice = place_of(writer, tmp_path), random.Random(0)
    WRITERS[writer](place, 200_000)
    for _ in range(times):
        command = [sys.executable, str(HERE / "faulty_writing.py"), writer, str(place)]
        own = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=own) as process:
            assert process.stdout.readline()
            time.sleep(dice.uniform(0.0, 0.2))
            process.send_signal(signal.SIGKILL)
        assert is_whole(writer, place)
        found = contents(place)
        assert found
        if writer in ("bytes", "text", "stream", "by name"):
            assert 199_995 <= len(found[""]) <= 249_004
        left = [path.name for path in tmp_path.iterdir() if path != place]
        assert all(name.startswith(".") and name.endswith(PART) for name in left), left


@pytest.mark.parametrize("call", ["fsync", "rename", "link", "replace"])
def test_an_error_of_each_step_leaves_the_earlier_file(call: str, tmp_path: Path, monkeypatch: Any) -> None:
    place, fail = tmp_path / "result", Mock(side_effect=OSError(errno.EIO, "Input/output error"))
    write_bytes(place, b"before")
    for owner in (os, Path):
        if hasattr(owner, call):
            monkeypatch.setattr(owner, call, fail)
    if call in ("fsync", "replace"):
        with pytest.raises(FileError, match="Input/output error"):
            write_bytes(place, b"after", force=True)
    else:
        said, to = ("Input/output error", tmp_path / "new") if call == "link" else ("exists", place)
        for write, content in ((write_bytes, b"after"), (write_text, "after"), (write_json, "after")):
            with pytest.raises(FileError, match=said):
                write(to, content)
    monkeypatch.undo()
    assert place.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_a_folder_is_exchanged_where_the_system_cannot_do_it_in_one_step(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(folders, "_rename", lambda *_: False)
    for content in (b"one", b"two"):
        with folders.new_folder(tmp_path / "out", force=True) as folder:
            write_bytes(folder / "a", content)
        assert (tmp_path / "out" / "a").read_bytes() == content
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(FileError, match="already exists"), folders.new_folder(tmp_path / "out"):
        pass


def test_a_mount_point_is_refused_by_name_and_a_folder_in_it_is_not(small_disk: Path) -> None:
    with pytest.raises(FileError, match=r"mount point.*Choose a folder inside it"):
        folders.require_new_folder(small_disk)
    with folders.new_folder(small_disk / "result") as folder:
        write_bytes(folder / "a", b"1")
    assert [path.name for path in small_disk.iterdir()] == ["result"]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recordings")
    write_frame(root / "f0", *chicks_and_cup_frame())
    case = {"frame": "f0", "instruction": "the chick", "expect": {"status": "OK", "id": "bonnet"}}  # fails: AMBIGUOUS
    (root / "cases.jsonl").write_text(json.dumps(case) + "\n")
    return root


@pytest.mark.parametrize(
    ("command", "option", "name"),
    [
        ("evaluate", "--out", "scores.json"),
        ("evaluate", "--html", "report.html"),
        ("evaluate", "--markdown", "summary.md"),
        ("evaluate", "--junit", "report.xml"),
        ("resolve", "--out", "images"),
        ("record", "", "bag"),
    ],
)
def test_a_command_on_a_full_disk_says_so_and_keeps_the_earlier_result(
    command: str, option: str, name: str, recordings: Path, small_disk: Path
) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("junitparser")
    place, filler = small_disk / name, small_disk / "filler"
    given = [str(recordings), str(place)] if command == "record" else ["--frames", str(recordings), option, str(place)]
    if command != "record":  # a bag is larger than this disk
        assert CliRunner().invoke(main, [command, *given]).exit_code == 0
    before = {path.name: contents(path) for path in small_disk.iterdir()}
    free = os.statvfs(small_disk)
    filler.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - (0 if command != "record" else 500_000))))
    done = CliRunner().invoke(main, [command, *given, "--force"])
    assert done.exit_code == (1 if command == "evaluate" else 3), done.output
    assert any(words in done.output for words in ("enough space", "enough free space"))
    filler.unlink()
    assert {path.name: contents(path) for path in small_disk.iterdir()} == before
