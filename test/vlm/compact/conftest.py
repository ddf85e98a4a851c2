# SPDX-License-Identifier: Apache-2.0
"""One thread: the machine is shared, and sums keep their order."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def noun() -> type:
    """Phrases of a category alone."""
    from spatial_vlm_ros.types import NounPhrase

    return NounPhrase
