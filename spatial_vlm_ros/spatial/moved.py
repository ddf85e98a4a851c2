# SPDX-License-Identifier: Apache-2.0
"""The object to put down: its outline, and its width at each height, down to the foot it stands on.

Handles and rims reach beyond the foot. They need free space, but no support.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from spatial_vlm_ros.geometry.extent import FOOTPRINT_CORNERS
from spatial_vlm_ros.spatial.layout import Array, Layout

_CORNERS = ((-1, -1), (-1, 1), (1, 1), (1, -1))
_SLICES = 8  # heights at which the width is measured
_FEW = 12  # points that a slice needs for a width
_FOOT = 0.15  # fraction of the height that is the foot
_UNSEEN_FOOT = 0.35  # lowest fraction of the height that may be out of sight if the foot is measured
_COVERED = 0.9  # visible fraction below which a low slice may look narrow because something covers it
_NARROWEST = 0.5  # fraction of its outline: a foot is never assumed narrower, because so little would show nothing
_STRAY = 1.0  # percent of the points at either end that may be strays


@dataclass(frozen=True, eq=False)
class Moved:
    """The object to put down.

    Args:
        outline: (16, 2) around its middle, metres.
        size: (3,) of its box, metres.
        axes: (3, 3) of its box, camera frame.
        widths: ((height, outline (16, 2)), ...) of the whole part below increasing heights, metres; empty if not
            measured.
    """

    outline: Array
    size: Array
    axes: Array
    name: str
    widths: tuple[tuple[float, Array], ...] = ()

    @property
    def reach(self) -> float:
        """Metres from its middle to its farthest corner."""
        return float(np.hypot(*self.outline.T).max())

    @property
    def foot(self) -> Array:
        """(16, 2) outline of what it stands on, metres; its whole outline if that is not measured."""
        return self.below(_FOOT * float(self.size[2]))

    def below(self, height: float) -> Array:
        """(16, 2) outline of the part below a height over its underside, metres."""
        return next((outline for top, outline in self.widths if top >= height), self.outline)

    def turned(self, degrees: float) -> Moved:
        """The same object, rotated about up, counter-clockwise seen from above."""
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        x, y, z = self.axes.T
        turn = np.array([[c, -s], [s, c]])  # g1 is ahead and g2 to the right
        return dataclasses.replace(
            self,
            outline=self.outline @ turn,
            axes=np.stack((c * x + s * y, c * y - s * x, z), axis=1),
            widths=tuple((top, outline @ turn) for top, outline in self.widths),
        )

    def upright(self, layout: Layout) -> Moved:
        """The same object with its long side up: a pen in a mug. Its foot is the rectangle of its other two sides."""
        x, y, z = self.axes.T
        side, ahead = y @ layout.axes[:, :2], x @ layout.axes[:, :2]
        corners = np.array([(a * self.size[1] * side + b * self.size[2] * ahead) / 2 for a, b in _CORNERS])
        return dataclasses.replace(
            self,
            outline=np.repeat(corners, FOOTPRINT_CORNERS // len(corners), axis=0),
            size=np.array((self.size[1], self.size[2], self.size[0])),
            axes=np.stack((z, y, -x), axis=1),
            widths=(),
        )


def measured_widths(layout: Layout, row: int) -> tuple[tuple[float, Array], ...]:
    """Measure the width of an object below each height: `Moved.widths`.

    Only its front is visible, so each slice is assumed to have the shape of the whole outline, reduced: as much
    narrower as its sides look, and as far back as its front is. Empty if its foot is hidden, covered or cut off, or if
    the object was cut out of a box.
    """
    obj = layout.scene.objects[row]
    outline = layout.footprint[row] - layout.centre[row, :2]
    height = float(layout.size[row, 2])
    if obj.detection.mask is None:  # cut out of a box by depth, it loses its lower corners to its support
        return ()
    if obj.visible_fraction < _COVERED or obj.truncated or obj.cut > 0.1 * float(layout.size[row, 1]):
        return ()
    points = obj.points.astype(np.float64) @ layout.axes + (0.0, 0.0, layout.floor)
    if len(points) < _SLICES * _FEW:
        return ()
    away = layout.centre[row, :2] / max(float(np.hypot(*layout.centre[row, :2])), 1e-6)
    right = np.array([-away[1], away[0]])
    local = points[:, :2] - layout.centre[row, :2]
    along, across, rise = local @ away, local @ right, points[:, 2] - layout.bottom[row]
    if np.percentile(rise, _STRAY) > _UNSEEN_FOOT * height:
        return ()
    whole_low, whole_high = np.percentile(across, (_STRAY, 100 - _STRAY))
    near, deep = float((outline @ away).min()), float(np.ptp(outline @ away))
    widths = []
    for n in range(1, _SLICES):
        part = rise <= n / _SLICES * height
        if np.count_nonzero(part) < _FEW:
            continue
        low, high = np.percentile(across[part], (_STRAY, 100 - _STRAY))
        scale = float(np.clip((high - low) / max(whole_high - whole_low, 1e-6), _NARROWEST, 1.0))
        aside = (low + high - whole_low - whole_high) / 2
        back = float(np.percentile(along[part], _STRAY)) - scale * near
        spare = (1.0 - scale) * deep / 2
        widths.append((n / _SLICES * height, scale * outline + aside * right + np.clip(back, -spare, spare) * away))
    return tuple(widths)
