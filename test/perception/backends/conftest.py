# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the backends' tests: an image for model servers, an address without one, and folders of tiny models."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from contract_server import image, unused_address

from spatial_vlm_ros.types import Rgb

if TYPE_CHECKING:
    from tiny_folders import Folders


@pytest.fixture(scope="session")
def rgb() -> Rgb:
    return image()


@pytest.fixture
def away() -> Iterator[str]:
    with unused_address() as url:
        yield url


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Tiny models by name, each saved when it is first asked for; a test that spoils one takes `copied`."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tiny_folders import Folders

    return Folders(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def copied(folders: Folders, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(folders[name], tmp_path / "model"))


@pytest.fixture(scope="session")
def detector(folders: Folders) -> Path:
    return folders["grounding-dino"]
