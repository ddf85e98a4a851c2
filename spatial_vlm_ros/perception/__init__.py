# SPDX-License-Identifier: Apache-2.0
"""What is in the picture: detections, the models that give them, and the one protocol they answer."""

from __future__ import annotations

from collections.abc import Callable

from spatial_vlm_ros.errors import UnknownNameError
from spatial_vlm_ros.perception.grounder import Grounder

BACKENDS: dict[str, Callable[[], Grounder]] = {}
"""Backend name → function that loads it. A backend imports what it needs when it is loaded, never before.

Given detections are no entry here: they come with each frame (`Resolver.resolve(..., detections=...)`).
"""


def load_grounder(name: str) -> Grounder:
    """Load a backend by name.

    Raises:
        UnknownNameError: no such backend; lists those that exist.
    """
    if name not in BACKENDS:
        raise UnknownNameError("grounder", name, BACKENDS or ("none yet: pass --detections instead",))
    return BACKENDS[name]()
