# SPDX-License-Identifier: Apache-2.0
"""No line is lost, no edit unseen, and what cannot be written is said. A limit on file sizes makes the disk full."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spatial_vlm_ros.errors import AuditError, FileError
from spatial_vlm_ros.manipulation.approval import audit
from spatial_vlm_ros.manipulation.approval.audit import FIRST, AuditLog, verify


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A record of five lines."""
    path = tmp_path / "record" / "audit.jsonl"
    with AuditLog(path) as log:
        for n in range(4):
            log.add("EVENT", number=n, operator="Ånn\n")
    return path


def test_a_record_is_json_lines_that_say_when(tmp_path: Path) -> None:
    with AuditLog(tmp_path / "a", clock=lambda: 12.5, utc=lambda: 1_800_000_000.25) as log:
        log.add("APPROVED", operator="Ann", sync=True)
    first, second = map(json.loads, log.path.read_text("ascii").splitlines())
    assert (first["event"], first["previous"]) == ("LOG_OPENED", FIRST)
    assert (second["event"], second["operator"]) == ("APPROVED", "Ann")
    assert (second["utc"], second["monotonic_s"]) == ("2027-01-15T08:00:00.250000Z", 12.5)


def test_a_restart_goes_on_with_the_chain_for_its_owner_alone(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    before = verify(path)
    for _ in range(2):
        with AuditLog(path) as log:
            log.add("EVENT", words="x" * 200_000)
    after = verify(path)
    assert (before.lines, after.lines, after.cut_short) == (5, 9, ())
    assert json.loads(path.read_text().splitlines()[5])["previous"] == before.last
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def edited(lines: list[bytes]) -> list[bytes]:
    return [line.replace(b'"number":1', b'"number":7') for line in lines]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (edited, "line 4"),
        (lambda lines: lines[:2] + lines[3:], "line 3"),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "line 2"),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], "line 3"),
        (lambda lines: lines[1:], "line 1"),
        (lambda lines: [*lines[:2], b"no record\n", *lines[2:]], "line 3"),
        (lambda lines: [*lines[:2], b"\n", *lines[2:]], "line 3"),
        (lambda lines: [*lines[:2], b"[]\n", *lines[2:]], "line 3"),
        (lambda lines: [*lines[:-1], lines[-1][:-1]], "line 5"),
        (lambda lines: [*lines[:-1], lines[-1][:9]], "line 5"),
    ],
)
def test_a_change_shows(path: Path, change: Callable[[list[bytes]], list[bytes]], where: str) -> None:
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(FileError) as caught:
        verify(path)
    assert caught.value.field == where


def test_what_the_chain_does_not_show_the_last_hash_does(path: Path) -> None:
    whole = verify(path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    assert verify(path).last != whole.last
    with pytest.raises(FileError, match="Pass the path of the audit log"):
        verify(path.parent / "nothing")


@pytest.mark.parametrize("cut", [1, 2, 30])
def test_a_line_cut_short_by_a_crash_is_kept_and_noted(path: Path, cut: int) -> None:
    path.write_bytes(path.read_bytes()[:-cut])
    with AuditLog(path) as log:
        log.add("EVENT")
    verified = verify(path)
    assert (verified.lines, verified.cut_short) == (7, (5,))


def test_writers_on_many_threads_lose_nothing(tmp_path: Path, aside: Callable[..., Callable[[], Any]]) -> None:
    with AuditLog(tmp_path / "a") as log:

        def write(who: int) -> None:
            for n in range(100):
                log.add("EVENT", who=who, n=n)

        for result in [aside(lambda who=who: write(who)) for who in range(8)]:
            result()
    assert verify(tmp_path / "a").lines == 801
    records = [json.loads(line) for line in (tmp_path / "a").read_text().splitlines()[1:]]
    for who in range(8):
        assert [record["n"] for record in records if record["who"] == who] == list(range(100))


def test_one_process_writes_it_until_it_is_closed(path: Path) -> None:
    log = AuditLog(path)
    with pytest.raises(FileError, match="another process is writing to it"):
        AuditLog(path)
    log.close()
    log.close()
    with pytest.raises(AuditError, match="closed"):
        log.add("EVENT")
    AuditLog(path).close()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_permission_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(FileError, match="Permission denied"):
        AuditLog(tmp_path / "audit.jsonl")


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "link", Path("/dev/full")):
        with pytest.raises(FileError):
            AuditLog(path)
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="Choose a writable path"):
        AuditLog(tmp_path / "file" / "audit.jsonl")


FULL = """
import json, resource, signal, sys
from pathlib import Path
from spatial_vlm_ros.manipulation.approval.audit import AuditLog, verify
from spatial_vlm_ros.errors import AuditError, FileError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, hard = Path(sys.argv[1]), resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
try:
    AuditLog(path / "small")
except FileError as error:
    print("start:", error.got)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
log = AuditLog(path / "audit")
refused = 0
for n in range(20):
    try:
        log.add("EVENT", n=n, sync=True)
    except AuditError as error:
        refused += 1
whole = verify(path / "audit")
print("refused:", refused > 0, whole.lines == 21 - refused, (path / "audit").stat().st_size <= 1000)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
log.add("EVENT", n="after")
print("again:", verify(path / "audit").lines - whole.lines)
"""


@pytest.mark.live
def test_a_full_disk_refuses_whole_lines_and_is_said_at_the_start(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["start: File too large", "refused: True True True", "again: 1"]


def test_after_a_failed_sync_nothing_more_is_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a disk holds after it failed once is not known."""

    def fails(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with AuditLog(path) as log:
        lines = verify(path).lines
        monkeypatch.setattr(audit.os, "fsync", fails)
        with pytest.raises(AuditError, match="the disk failed"):
            log.add("APPROVED", sync=True)
        monkeypatch.undo()
        with pytest.raises(AuditError, match="restart the node"):
            log.add("APPROVED", sync=True)
    assert verify(path).lines == lines
    AuditLog(path).close()
