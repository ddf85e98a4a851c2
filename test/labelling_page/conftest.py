# SPDX-License-Identifier: Apache-2.0
"""A folder of two frames, and the labelling page on it."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from frame_files import write_two_frames

from spatial_vlm_lab.labelling.label_file import LabelFile, folder_source
from spatial_vlm_lab.labelling.session import LabelSession
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.web.serving import Page


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two_frames(tmp_path_factory.mktemp("recorded"))


@dataclasses.dataclass
class Desk:
    page: Page
    session: LabelSession
    path: Path

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def expect(self, number: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = self.lines()[number]["expect"]
        return found


@pytest.fixture
def served(recorded: Path, tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    from spatial_vlm_lab.labelling.session import serve_labels

    with ExitStack() as stack:

        def serve(*sentences: str, lines: list[dict[str, Any]] | None = None, frames: int = 1, bare: bool = False,
                  **options: Any) -> Desk:  # fmt: skip
            folder = tmp_path / "frames"
            for name in ("f1", "f2")[:frames]:
                shutil.copytree(recorded / name, folder / name)
                if bare:
                    (folder / name / "detections.json").unlink()
            path = folder / "cases.jsonl"
            if lines is not None:
                path.write_text("".join(json.dumps(line) + "\n" for line in lines))
            file = stack.enter_context(LabelFile(path))
            source = folder_source(folder, ask_grounder=False)
            session = LabelSession(source, file, Resolver(), sentences, **options)
            return Desk(stack.enter_context(serve_labels(session, "two chicks")), session, path)

        yield serve
