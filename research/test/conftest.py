# SPDX-License-Identifier: Apache-2.0
"""What the tests of research share."""

from __future__ import annotations

import importlib.util
import os

import pytest

# Before any import of NumPy or torch: threads that wait for each other spin, and cost minutes where a core is busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def _mujoco() -> None:
    if importlib.util.find_spec("mujoco") is None:
        pytest.skip("mujoco is not installed: pip install mujoco")
