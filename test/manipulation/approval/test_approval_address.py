# SPDX-License-Identifier: Apache-2.0
"""The page's secret stands in a file of its owner alone, and reaches the terminal of that user and nothing else."""

from __future__ import annotations

import os
import pty
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spatial_vlm_ros.cli.live import print_progress
from spatial_vlm_ros.cli.up import _link
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.manipulation.approval.address import PageAddress, address_in, forget_link, keep_link, page_file

ADDRESS = "http://127.0.0.1:8080/"
LINK = f"{ADDRESS}?token={'t' * 43}"


@pytest.fixture
def where(tmp_path: Path) -> PageAddress:
    (tmp_path / "a folder (mine)").mkdir()
    found = PageAddress(ADDRESS, page_file(tmp_path / "a folder (mine)" / "audit.jsonl"))
    keep_link(LINK, found.file)
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
    keep_link(LINK, where.file)  # replaces the link, and does not follow it
    assert (other.read_text(), where.link()) == ("x", LINK)
    where.file.chmod(0o644)
    keep_link(LINK, where.file)
    assert stat.S_IMODE(where.file.stat().st_mode) == 0o600
    with pytest.raises(FileError, match="audit_log"):
        keep_link(LINK, tmp_path / "nowhere" / "audit.jsonl.page")


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
    for words in (
        "",
        ADDRESS,
        f"{ADDRESS}?token=x (with its token: /x)",
        "javascript:alert(1) (with its token: /x)",
        f"{ADDRESS} (with its token: /x)\nmore",
    ):
        assert address_in(words and f"approve at {words}") is None


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
