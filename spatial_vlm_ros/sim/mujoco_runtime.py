# SPDX-License-Identifier: Apache-2.0
"""The one door to MuJoCo: imported when first needed, set up to draw without a screen."""

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
    """The module mujoco, drawing off screen: with EGL, or with OSMesa where there is no EGL, unless MUJOCO_GL is set.

    Returns:
        The module. MUJOCO_GL is set in the environment before it is imported, for it is read then.

    Raises:
        ModelError: MuJoCo is not installed, or its drawing library cannot be loaded.
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
    """A new OpenGL context without a window, made current, of the kind that MUJOCO_GL names.

    MuJoCo's own choice was made when somebody first imported it, perhaps before MUJOCO_GL was set.

    Raises:
        ModelError: no such context can be had.
    """
    mj, kind = load_mujoco(), os.environ["MUJOCO_GL"].lower()
    try:
        source = importlib.import_module(f"{_NAME}.{kind}") if kind in ("egl", "osmesa", "glfw") else mj
        context = source.GLContext(64, 64)
        context.make_current()
    except Exception as error:  # drivers fail in their own ways
        raise no_drawing(error) from error
    return context


def no_drawing(error: Exception) -> ModelError:
    """What to say when no off-screen drawing context can be had."""
    reason = f"no drawing with MUJOCO_GL={os.environ.get('MUJOCO_GL')}: {type(error).__name__}: {error}"
    repair = "apt install libegl1 libegl-mesa0 libgl1-mesa-dri (MUJOCO_GL=egl) or libosmesa6 (MUJOCO_GL=osmesa)"
    return ModelError(_NAME, reason, repair)


def _has(library: str) -> bool:
    return ctypes.util.find_library(library) is not None
