# SPDX-License-Identifier: Apache-2.0
"""The record loses no line and hides no edit; the secret of the page is for its owner alone."""

import errno
import json
import os
import pty
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tables import tables

from spatial_vlm_ros.cli.live import print_progress
from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.cli.up import _link
from spatial_vlm_ros.errors import AuditError, FileError
from spatial_vlm_ros.files.writing import PART
from spatial_vlm_ros.manipulation.approval import audit
from spatial_vlm_ros.manipulation.approval.address import PageAddress, address_in, forget_link, keep_secret, page_file
from spatial_vlm_ros.manipulation.approval.audit import FIRST, AuditLog, verify


@pytest.fixture
def path(tmp_path: Path) -> Path:
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


@pytest.mark.parametrize(("order", "where"), tables(__file__)["changes"])
def test_a_change_shows(path: Path, order: list[Any], where: str) -> None:
    """Lines by their numbers, counted from 0; [number, old, new] for one that is edited; words in place of one."""
    lines = path.read_text().splitlines(keepends=True)
    for k, told in enumerate(order):
        if isinstance(told, list):
            order[k] = lines[told[0]].replace(*told[1:])
    path.write_text("".join(lines[each] if isinstance(each, int) else each for each in order))
    with pytest.raises(FileError) as caught:
        verify(path)
    assert caught.value.field == where


PROPOSED = {"goal_id": "g", "sentence": "the mug", "plan_hash": "0" * 64, "scene_stamp_ns": 1, "answered": None}


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, "line 7: Object missing required field `content`"),
        ({"content": {**PROPOSED, "goal_id": 5}}, r"line 7 \$\.content\.goal_id: Expected `str`, got"),
        ({"content": {"goal_id": "g", "sentence": ""}}, r"line 7 \$\.content: Object missing required field `plan"),
        ({"content": {**PROPOSED, "preview": []}}, r"line 7 \$\.content\.preview: Expected `object \| null`"),
        ({"content": {**PROPOSED, "preview": {"plan": {"file": "x"}}}}, "FAILED  file of the plan is as recorded"),
        ({"content": {**PROPOSED, "picture": {"sha256": "x", "file": []}}}, "FAILED  file of the camera is as"),
        ({"content": {**PROPOSED, "warnings": 5}}, r"line 7 \$\.content\.warnings: Expected `array`"),
        ({"content": {**PROPOSED, "preview": {"phases": [{"name": "a"}]}}}, r"\.phases\[0\]: Object missing required"),
        ({"content": PROPOSED, "goal_id": []}, r"line 7 \$\.goal_id: Expected `str \| null`"),
    ],
)
def test_a_line_of_another_shape_is_named(path: Path, facts: dict[str, Any], words: str) -> None:
    with AuditLog(path) as log:
        log.add("PROPOSED", **facts)
    assert re.search(words, CliRunner().invoke(main, ["audit", str(path)]).output)


@pytest.mark.parametrize("raw", [b"[]", b"null", b"[" * 20_000, b"9" * 5000])
def test_a_line_that_is_no_object_and_that_a_restart_has_noted_is_passed_over(path: Path, raw: bytes) -> None:
    path.write_bytes(path.read_bytes() + raw)
    with AuditLog(path) as log:
        log.add("PROPOSED", content=PROPOSED)
    assert "1 proposals; the record is complete" in CliRunner().invoke(main, ["audit", str(path)]).output
    page = CliRunner().invoke(main, ["audit", str(path), "--goal", "g", "--out", str(path.parent / "shown")])
    assert page.exit_code == 0, page.output


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


def test_what_a_killed_process_left_is_removed_and_what_it_kept_is_not(path: Path) -> None:
    with AuditLog(path) as log:
        kept = audit.files_of(path) / log.keep(b"{}")
    left = kept.with_name(f".{kept.name}.1.1{PART}")
    left.write_bytes(b"{")
    AuditLog(path).close()
    assert (left.exists(), kept.exists()) == (False, True)


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


ADDRESS = "http://127.0.0.1:8080/"
LINK = f"{ADDRESS}?token={'t' * 43}"


@pytest.fixture
def where(tmp_path: Path) -> PageAddress:
    (tmp_path / "a folder (mine)").mkdir()
    found = PageAddress(ADDRESS, page_file(tmp_path / "a folder (mine)" / "audit.jsonl"))
    keep_secret(LINK, found.file)
    return found


def test_the_link_is_for_its_owner_alone_and_is_told_without_its_secret(where: PageAddress, tmp_path: Path) -> None:
    assert stat.S_IMODE(where.file.stat().st_mode) == 0o600
    assert "token=" not in str(where)
    assert address_in(f"[INFO] [1.2] [planner_gate]: {where}") == where
    assert where.link() == LINK
    forget_link(where.file)
    forget_link(where.file)
    assert where.link() is None
    assert list(where.file.parent.iterdir()) == []
    other = tmp_path / "another user's"
    other.write_text("x")
    where.file.symlink_to(other)
    assert where.link() is None
    keep_secret(LINK, where.file)  # replaces the link, and does not follow it
    assert (other.read_text(), where.link()) == ("x", LINK)
    where.file.chmod(0o644)
    keep_secret(LINK, where.file)
    assert stat.S_IMODE(where.file.stat().st_mode) == 0o600
    with pytest.raises(FileError, match="writable folder"):
        keep_secret(LINK, tmp_path / "nowhere" / "audit.jsonl.page")


SPOILT: dict[str, Callable[[Path], object]] = {
    "others may read it": lambda file: file.chmod(0o640),
    "it is of another page": lambda file: file.write_text(LINK.replace("8080", "8081")),
    "it is of another host": lambda file: file.write_text(LINK.replace("127.0.0.1", "127.0.0.1.evil.example")),
    "it has more in it": lambda file: file.write_text(f"{LINK}&next=\x1b[2J"),
    "it is no text": lambda file: file.write_bytes(b"\xff" * 10_000),
    "it is a folder": lambda file: (file.unlink(), file.mkdir()),
    "it is a pipe": lambda file: (file.unlink(), os.mkfifo(file, 0o600)),
    "it is a device": lambda file: (file.unlink(), file.symlink_to("/dev/zero")),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_file_that_is_not_what_it_should_be_is_not_shown(where: PageAddress, how: str) -> None:
    SPOILT[how](where.file)
    assert where.link() is None


def test_other_words_tell_no_address() -> None:
    told = "(with its token: /x)"
    others = (ADDRESS, f"{ADDRESS}?token=x {told}", f"javascript:alert(1) {told}", f"{ADDRESS} {told}\nmore")
    for words in ("", *(f"approve at {other}" for other in others)):
        assert address_in(words) is None


@pytest.mark.parametrize("shown", [True, False])
@pytest.mark.parametrize("told", ["waiting", "drawing the plan"])
def test_the_secret_reaches_a_terminal_and_no_file(
    where: PageAddress, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shown: bool, told: str
) -> None:
    """As `pick` tells it where it waits, and `up` after the line of the gate."""
    ours, theirs = pty.openpty()
    target = os.fdopen(theirs, "w") if shown else (tmp_path / "log").open("w")
    with target:
        monkeypatch.setattr(sys, "stderr", target)
        monkeypatch.setattr(sys, "stdout", target)
        print_progress(f"{told}; {where}" if told == "waiting" else f"{told}; see it at {where.place}")
        target.flush()
        beside = _link(f"[INFO] [1.2] [planner_gate]: {where}")
        text = os.read(ours, 4096).decode() if shown else (tmp_path / "log").read_text()
    os.close(ours)
    to = "approve at" if told == "waiting" else "see it at"
    assert text.strip() == f"… {told}; {to} {LINK if shown else where.place}"
    assert beside == (f"approve at {LINK}" if shown else None)
