# SPDX-License-Identifier: Apache-2.0
"""The only access to MuJoCo: imported on first use, and set up to draw without a screen."""

from __future__ import annotations

import ctypes.util
import importlib
import os
from functools import lru_cache
from typing import Any

from spatial_vlm_ros.errors import ModelError

_NAME = "mujoco"


@lru_cache(maxsize=1)
def load_mujoco() -> Any:
    """Import mujoco for drawing off screen: with EGL, or OSMesa without EGL, unless MUJOCO_GL is set.

    Returns:
        The module. MUJOCO_GL is set in the environment before the import, which reads it.
    """
    if not os.environ.get("MUJOCO_GL"):
        os.environ["MUJOCO_GL"] = "osmesa" if not _has("EGL") and _has("OSMesa") else "egl"
    try:
        return importlib.import_module(_NAME)
    except ModuleNotFoundError as error:
        if error.name == _NAME:
            raise ModelError(_NAME, "not installed", "pip install mujoco") from error
        raise no_drawing(error) from error
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        raise no_drawing(error) from error


def drawing_context() -> Any:
    """Make a new OpenGL context without a window, of the kind that MUJOCO_GL names, and make it current.

    MuJoCo makes its own choice at its first import, perhaps before MUJOCO_GL was set.
    """
    mj, kind = load_mujoco(), os.environ["MUJOCO_GL"].lower()
    try:
        source = importlib.import_module(f"{_NAME}.{kind}") if kind in ("egl", "osmesa", "glfw") else mj
        context = source.GLContext(64, 64)
        context.make_current()
    except Exception as error:  # drivers fail in different ways
        raise no_drawing(error) from error
    return context


def no_drawing(error: Exception) -> ModelError:
    """The error if no off-screen drawing context is available."""
    reason = f"it cannot draw with MUJOCO_GL={os.environ.get('MUJOCO_GL')}: {type(error).__name__}: {error}"
    repair = "apt install libegl1 libegl-mesa0 libgl1-mesa-dri (MUJOCO_GL=egl) or libosmesa6 (MUJOCO_GL=osmesa)"
    return ModelError(_NAME, reason, repair)


def _has(library: str) -> bool:
    return ctypes.util.find_library(library) is not None
