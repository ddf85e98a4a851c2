# SPDX-License-Identifier: Apache-2.0
"""Folders of tiny models, shared by all tests; what spoils them; and an image whose boxes all differ."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from tiny_models import OWL_SIDES, owl, published, sam3, saved_detector, saved_owl, saved_sam3, saved_segmenter

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception import load_grounder

SIZE = (90, 128)


class Folders(dict[str, Path]):
    """Name → folder, made when it is first asked for, of random weights.

    " taught" (SAM 2: for boxes; " points" for points) learnt two images; " graph" is one graph, as published, " graphs"
    two.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def __missing__(self, name: str) -> Path:
        kind, _, how = name.partition(" ")
        folder = self.root / name.replace(" ", "-")
        if how == "graph":
            published(folder, owl(kind))
        elif how == "graphs":
            from spatial_vlm_ros.perception.model_export import export_model

            export_model(str(self[kind]), folder)
        elif kind in OWL_SIDES:
            saved_owl(folder, kind)
        elif kind == "sam2":
            saved_segmenter(folder, taught=bool(how), points=how == "points")
        elif kind == "sam3":
            saved_sam3(folder, sam3())
        else:
            saved_detector(folder, kind, taught=bool(how))
        self[name] = folder
        return folder


def patches(size: tuple[int, int] = SIZE) -> npt.NDArray[np.uint8]:
    coarse = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)


def edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def opened(folder: Path, **options: str) -> Any:
    from spatial_vlm_ros.perception.backends.onnx_detector import load

    return load(model=str(folder), **{"device": "cpu", "threads": "1", **options})


def refusal(backend: str, folder: Path, **options: str) -> str:
    with pytest.raises(ModelError) as raised:
        load_grounder(backend, {"model": str(folder), "device": "cpu", **options})
    assert raised.value.repair
    assert "\n" not in str(raised.value)
    return str(raised.value)


WITHOUT = """
import sys
for name in sys.argv[2].split(","):
    sys.modules[name] = None  # importing it fails
import numpy as np
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.types import NounPhrase
for folder in sys.argv[3:]:
    grounder = load_grounder(sys.argv[1], {"model": folder, "device": "cpu", "warm_up": "yes"})
    found = grounder.ground(np.zeros((40, 60, 3), np.uint8), [NounPhrase("cat"), NounPhrase("dog")])
    print(found.match.shape[0], *getattr(grounder, "providers", ()))
"""


def answered_without(packages: str, backend: str, *folders: Path) -> list[str]:
    """Rows of the match, and ONNX Runtime's providers, of each folder in a process that cannot import the packages."""
    command = [sys.executable, "-c", WITHOUT, backend, packages, *map(str, folders)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
