# SPDX-License-Identifier: Apache-2.0
"""A port of shared memory whose file is removed under the process that listens at it, as Linux shows it."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import pytest

from spatial_vlm_ros.nodes.shared_memory import removed_ports


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Path]:
    """A file of the name of a port, mapped as Fast DDS maps it."""
    path = tmp_path / "fastdds_port65001"
    path.write_bytes(bytes(4096))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0):
        yield path


def test_a_port_that_is_there_is_reached(port: Path) -> None:
    with port.with_name("fastdds_port65001_el").open("w"):
        assert removed_ports() == ()


@pytest.mark.parametrize("lock_removed", [False, True])
def test_a_port_that_was_removed_is_not(port: Path, lock_removed: bool) -> None:
    lock = port.with_name("fastdds_port65001_el")
    with lock.open("w"):
        port.unlink()
        if lock_removed:
            lock.unlink()
        assert removed_ports() == ("fastdds_port65001",)


def test_a_removed_port_of_another_process_is_no_matter(port: Path) -> None:
    port.unlink()
    assert removed_ports() == ()


def test_what_cannot_be_read_has_none(tmp_path: Path) -> None:
    assert removed_ports(tmp_path / "nothing") == ()
