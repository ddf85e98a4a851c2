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
        kind: "measured": its whole depth is seen; "box": its outline is a rectangle, whole as seen or by half a turn;
            "rotation": its level slices lie on circles about one axis, seen in front and behind; "mirror": half a turn
            about a vertical axis contradicts nothing that is seen; "assumed": neither, or that axis is not known well.
        completed: metres of its depth that are not seen.
        sigma: standard deviation of its middle along the view from that, metres.
    """

    kind: ShapeKind
    completed: float
    sigma: float
