# SPDX-License-Identifier: Apache-2.0
"""The folder of evidence: caps, order, permissions; what a kill, a full disk or another node leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("rosbags")


from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.evaluation.evidence.store import NAME, EvidenceStore, bundles_in, evidence_folder, hash_of

T0 = 1_700_000_000.25
HERE = Path(__file__).parent
DEADLINE = 60.0  # s for a child


def writes(size: int) -> Callable[[Path], Path]:
    def write(out: Path) -> Path:
        out.mkdir()
        file = out / "bundle.mcap"
        file.write_bytes(os.urandom(size))
        return file

    return write


def child(code: str, *prefix: str, **environment: str) -> subprocess.Popen[str]:
    """A Python process that can use the helpers of this folder."""
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    known = {**os.environ, "PYTHONPATH": paths, **environment}
    return subprocess.Popen([*prefix, sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=known)


def test_a_bundle_is_named_by_time_status_and_content_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    folder, seen = tmp_path / "a" / "evidence", list[Path]()

    def write(out: Path) -> Path:
        assert stat.S_IMODE(out.parent.stat().st_mode) == 0o700  # also while it is written
        seen.append(writes(1000)(out))
        return seen[0]

    path = EvidenceStore(folder, 10**6, 10).keep("NOT_FOUND", T0, write)
    assert NAME.fullmatch(path.name)
    assert not NAME.fullmatch(seen[0].name)
    assert path.name.startswith("20231114T221320.250000Z_NOT_FOUND_")
    assert path.stem[-8:] == hash_of(path)[:8]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(folder.iterdir()) == [path]


def test_the_default_folder_is_that_of_the_users_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert evidence_folder("") == tmp_path / "spatial_vlm_ros" / "evidence"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert evidence_folder("") == Path.home() / ".local" / "state" / "spatial_vlm_ros" / "evidence"
    assert evidence_folder("~/x") == Path.home() / "x"


def test_the_oldest_bundles_go_first_and_the_caps_hold_at_all_times(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path, most_bytes=5000, most_files=4)
    sizes = [900, 900, 900, 900, 900, 3000, 100, 4900]
    kept: list[Path] = []
    for n, size in enumerate(sizes):
        kept.append(store.keep("OK", T0 + n, writes(size)))
        there = bundles_in(tmp_path)
        assert there == kept[-len(there) :]  # the newest, in the order in which they came
        assert len(there) <= 4
        assert sum(path.stat().st_size for path in there) <= 5000
    assert bundles_in(tmp_path) == kept[-2:]


def test_a_bundle_that_is_larger_than_the_cap_removes_none_and_other_files_are_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "recording.mcap"
    mine.write_bytes(bytes(100_000))
    store = EvidenceStore(tmp_path, most_bytes=5000, most_files=1)
    for n in range(3):
        last = store.keep("OK", T0 + n, writes(1000))
    with pytest.raises(FileError, match=r"a bundle of 5001 bytes.*Raise evidence.most_bytes"):
        store.keep("OK", T0 + 3, writes(5001))
    assert bundles_in(tmp_path) == [last]
    assert sorted(tmp_path.iterdir()) == sorted([mine, last])
    assert mine.stat().st_size == 100_000


def test_two_nodes_that_share_a_folder_keep_the_caps_together_and_do_not_sweep_away_each_others_work(
    tmp_path: Path,
) -> None:
    busy = tmp_path / ".20231114T221320.250000Z_1_1.part"
    busy.mkdir()
    stores = [EvidenceStore(tmp_path, 10**6, 3), EvidenceStore(tmp_path, 10**6, 3)]
    for n in range(6):
        stores[n % 2].keep("OK", T0 + n, writes(10))
    assert len(bundles_in(tmp_path)) == 3
    assert busy.exists()


def test_what_fails_while_it_is_written_leaves_nothing(tmp_path: Path) -> None:
    def broken(out: Path) -> Path:
        writes(10)(out)
        raise OSError(5, "Input/output error")

    with pytest.raises(FileError, match="Input/output error"):
        EvidenceStore(tmp_path, 10**6, 10).keep("OK", T0, broken)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import time
from pathlib import Path
from evidence_desk import EvidenceDesk
import spatial_vlm_ros.evaluation.evidence.store as store

def waits(self, target):
    print("written", flush=True)
    time.sleep(600)

store.Path.rename = waits
desk = EvidenceDesk(Path(%r)).standing()
desk.answered("the chick")
desk.end()
"""


@pytest.mark.live
def test_a_node_that_is_killed_before_the_rename_leaves_no_bundle(tmp_path: Path) -> None:
    whole = EvidenceStore(tmp_path, 10**9, 10).keep("OK", T0, writes(10))
    with child(KILLED % str(tmp_path)) as killed:
        assert killed.stdout.readline() == "written\n"
        killed.send_signal(signal.SIGKILL)
        killed.wait(DEADLINE)
    assert bundles_in(tmp_path) == [whole]
    (left,) = [path for path in tmp_path.iterdir() if path != whole]
    assert left.name.startswith(".")
    assert list(left.rglob("*.mcap"))  # it was whole, and has no name of a bundle
    os.utime(left, (T0, T0))  # long ago
    EvidenceStore(tmp_path, 10**9, 10).keep("OK", T0 + 1, writes(10))
    assert not left.exists()
    assert len(bundles_in(tmp_path)) == 2


FULL = """
import json, os, subprocess, sys
from pathlib import Path
from evidence_desk import EvidenceDesk

folder, read_only = Path(%r), %r
desk = EvidenceDesk(folder, most_bytes=10**9).standing()
if read_only:
    desk.answered("the chick")
    desk.until_kept(1)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
statuses = [desk.answered("the chick").status.value for _ in range(6)]
desk.keeper.close(30.0)
state = desk.keeper.state
from spatial_vlm_ros.evaluation.evidence.bundle import read_bundle
from spatial_vlm_ros.evaluation.evidence.store import bundles_in
whole = [read_bundle(path).record.instruction for path in bundles_in(folder)]
print(json.dumps({"statuses": statuses, "kept": state.kept, "failed": state.failed, "trouble": state.trouble,
                  "warned": desk.warned, "whole": len(whole), "others": len(os.listdir(folder)) - len(whole)}))
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> list[str]:
    """Words before a command that give it a disk of 2 MB at tmp_path/disk, which nobody else sees."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare")
    (tmp_path / "disk").mkdir()
    mount = f'mount -t tmpfs -o size=2m tmpfs {tmp_path}/disk && exec "$@"'
    words = ["unshare", "-rm", "sh", "-c", mount, "sh"]
    if subprocess.run([*words, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this user may mount nothing in a namespace of its own")
    return words


@pytest.mark.live
@pytest.mark.parametrize("read_only", [False, True])
def test_a_full_or_read_only_disk_is_said_and_costs_no_answer_and_no_bundle_that_was_kept(
    tmp_path: Path, small_disk: list[str], read_only: bool
) -> None:
    with child(FULL % (str(tmp_path / "disk"), read_only), *small_disk) as done:
        out, _ = done.communicate(timeout=DEADLINE)
    said = json.loads(out)
    assert said["statuses"] == ["AMBIGUOUS"] * 6
    assert said["kept"] == said["whole"] >= 1
    assert said["failed"] == (6 if read_only else 6 - said["kept"]) > 0
    assert len(said["warned"]) == 1
    assert ("Read-only" if read_only else "No space left") in said["trouble"]
    if not read_only:
        assert said["others"] == 0
