# SPDX-License-Identifier: Apache-2.0
"""Finds which object a sentence means and where it is in metres: spatial language grounded in measured depth.

The public names load on first use, so that importing the package costs little. Start reading in `resolver.py`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spatial_vlm_ros.errors import SpatialVlmError
    from spatial_vlm_ros.language import parse
    from spatial_vlm_ros.parameters import ResolverConfig
    from spatial_vlm_ros.recording.frame_folder import load_frame
    from spatial_vlm_ros.resolver import Resolver
    from spatial_vlm_ros.types import (
        Detection,
        FrameOfReference,
        PinholeCamera,
        Resolution,
        RgbdFrame,
        SpatialQuery,
        Status,
        Transform,
    )

__version__ = "0.1.0"

_HOME = {  # of all other names: types
    "Resolver": "resolver",
    "ResolverConfig": "parameters",
    "SpatialVlmError": "errors",
    "load_frame": "recording.frame_folder",
    "parse": "language",
}

__all__ = [
    "Detection",
    "FrameOfReference",
    "PinholeCamera",
    "Resolution",
    "Resolver",
    "ResolverConfig",
    "RgbdFrame",
    "SpatialQuery",
    "SpatialVlmError",
    "Status",
    "Transform",
    "__version__",
    "load_frame",
    "parse",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(f"{__name__}.{_HOME.get(name, 'types')}")
    return globals().setdefault(name, getattr(home, name))


def __dir__() -> list[str]:
    return sorted(__all__)
