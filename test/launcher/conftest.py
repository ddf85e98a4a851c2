# SPDX-License-Identifier: Apache-2.0
"""The live graph of test/nodes, and the launcher as a process of its own."""

from collections.abc import Callable
from pathlib import Path

import live_fixtures
import pytest
from live_process import Started

domain, graph, collect_ignore_glob = live_fixtures.domain, live_fixtures.graph, live_fixtures.collect_ignore_glob
start = live_fixtures.start


@pytest.fixture
def up(start: Callable[..., Started], domain: int, tmp_path: Path) -> Callable[..., Started]:
    own = {"ROS_DOMAIN_ID": str(domain), "TMPDIR": str(tmp_path)}
    return lambda *words: start("-m", "spatial_vlm_ros.cli", "up", *words, **own)
