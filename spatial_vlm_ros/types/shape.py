# SPDX-License-Identifier: Apache-2.0
"""How the hidden side of an object was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ShapeKind = Literal["measured", "box", "rotation", "mirror", "assumed"]


@dataclass(frozen=True)
class ObjectShape:
    """How the extent of an object along the view was found; docs/shape.md.

    Args:
        kind: "measured": its whole depth is visible; "box": its outline is a rectangle, complete as seen or after half
            a turn; "rotation": its level slices lie on circles about one axis, seen in front and behind; "mirror": half
            a turn about a vertical axis contradicts nothing that is seen; "assumed": neither, or that axis is
            uncertain.
        completed: part of its depth that is not seen, metres.
        sigma: resulting standard deviation of its middle along the view, metres.
    """

    kind: ShapeKind
    completed: float
    sigma: float
