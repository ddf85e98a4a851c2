# SPDX-License-Identifier: Apache-2.0
"""Models in processes of their own, which import them from this folder."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spatial_vlm_ros.perception.worker import WorkerGrounder


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        yield


@pytest.fixture
def worker() -> Iterator[Callable[..., WorkerGrounder]]:
    """Makes grounders of a model of this folder; its process starts with the first request."""
    made: list[WorkerGrounder] = []

    def make(name: str, options: dict[str, str] | None = None) -> WorkerGrounder:
        made.append(WorkerGrounder(name, options or {}, 20.0, 60.0))
        return made[-1]

    yield make
    for one in made:
        one.close()
