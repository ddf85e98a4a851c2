# SPDX-License-Identifier: Apache-2.0
"""A folder with two frames of two chicks and a cup, and sessions on it."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from frame_files import write_two_frames

from spatial_vlm_lab.labelling.label_file import LabelFile, folder_source
from spatial_vlm_lab.labelling.session import LabelSession
from spatial_vlm_ros.resolver import Resolver


@pytest.fixture(scope="session")
def two_frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two_frames(tmp_path_factory.mktemp("recorded"))


@pytest.fixture
def frames(two_frames: Path, tmp_path: Path) -> Path:
    """The same, where each test may write."""
    return Path(shutil.copytree(two_frames, tmp_path / "frames"))


@pytest.fixture
def opened(frames: Path) -> Iterator[Callable[..., LabelSession]]:
    """Opens sessions on the folder; closes their files."""
    files: list[LabelFile] = []

    def open_session(*sentences: str, lines: list[dict[str, Any]] | None = None, **options: Any) -> LabelSession:
        path = frames / "cases.jsonl"
        if lines is not None:
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        asks = options.pop("grounder", None)
        for file in files:
            file.close()
        files.append(LabelFile(path))
        source = folder_source(frames, ask_grounder=asks is not None)
        return LabelSession(source, files[-1], Resolver(grounder=asks), sentences, **options)

    yield open_session
    for file in files:
        file.close()
