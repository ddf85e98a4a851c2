# SPDX-License-Identifier: Apache-2.0
"""Where the models are that this package brings."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

from spatial_vlm_ros.errors import ModelError


def shipped_model(name: str, file: str = "model.onnx") -> Path:
    """The folder of a shipped model: the checkout's, else that of an overlay, else that of this environment.

    Args:
        name: of the folder below models/.
        file: that it has to hold.

    Raises:
        ModelError: none of them has it.
    """
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sysconfig.get_path("data")]
    tried = [Path(__file__).resolve().parents[3], *(Path(p) / "share" / "spatial_vlm_ros" for p in prefixes)]
    for place in tried:
        folder = place / "models" / name
        if (folder / file).is_file():
            return folder
    raise ModelError(name, "no model is shipped with this installation", "set model=FOLDER")
