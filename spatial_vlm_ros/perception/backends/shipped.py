# SPDX-License-Identifier: Apache-2.0
"""Find the models that are shipped with this package."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

from spatial_vlm_ros.errors import ModelError


def shipped_model(name: str, file: str = "model.onnx") -> Path:
    """Find the folder of a shipped model: in the checkout, else in an overlay, else in this environment.

    Args:
        file: file that the folder must contain.
    """
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sysconfig.get_path("data")]
    tried = [Path(__file__).resolve().parents[3], *(Path(p) / "share" / "spatial_vlm_ros" for p in prefixes)]
    for place in tried:
        folder = place / "models" / name
        if (folder / file).is_file():
            return folder
    raise ModelError(name, "no model is shipped with this installation", "set model=FOLDER")
