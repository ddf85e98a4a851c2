# SPDX-License-Identifier: Apache-2.0
"""Draw the answer on the camera image: the meant object, its anchors, the region on the ground, poses, spots."""

from __future__ import annotations

import cv2
import numpy as np

from spatial_vlm_ros.geometry.camera import normalised_axes, project
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.output import drawing
from spatial_vlm_ros.output.answer_content import AnswerContent, in_camera
from spatial_vlm_ros.output.answer_roles import Role
from spatial_vlm_ros.output.drawing import COLOURS, Labels, Pixels
from spatial_vlm_ros.output.label_placement import Rectangle
from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.spatial.layout import Array
from spatial_vlm_ros.types import Rgb, SceneObject

_AXIS_LENGTH = 0.05  # metres
_CROSS = 0.015  # metres: half of a spot's cross
_ARROW = 24.0  # pixels; a shorter arrow between two objects is not drawn
_SPECK = 0.1  # share of the largest part of a mask; smaller parts are not outlined
_NOWHERE = 100.0  # score where there is no ground to tint
_EVERY = 2  # pixels of the depth image between samples for the region, along rows and columns
_PATCH = 0.001  # share of the image; smaller patches of the region have no border line
_ON_GROUND = 0.012  # metres from the region's height, plus three deviations of depth, within which it is tinted
_STRONG = (Role.CARRIER, Role.ANCHOR, Role.RIVAL, Role.REFUSED, Role.CHOSEN)  # drawn in this order
_RANKS = {Role.CHOSEN: 0.0, Role.REFUSED: 0.0, Role.RIVAL: 1.0, Role.ANCHOR: 2.0, Role.CARRIER: 4.0}


def draw_camera_view(canvas: Rgb, scale: int, content: AnswerContent, depth: DepthConfig, size: float) -> None:
    """Draw an answer on its image.

    Args:
        canvas: (H, W, 3) uint8, the image enlarged by `scale`; changed.
        scale: canvas pixels per image pixel.
        size: letter size, pixels.
    """
    view = _ImagePen(canvas, scale, content, size)
    view.region(depth)
    for row in content.rows(Role.OTHER):
        view.other(row)
    for role in _STRONG:
        for row in content.rows(role):
            view.marked(row, role)
    for row in content.rows(Role.CHOSEN):
        view.pose(content.layout.scene.objects[row])
    view.arrows()
    view.length()
    view.spots()
    view.labels.write(canvas, (2.0, 2.0, canvas.shape[1] - 2.0, canvas.shape[0] - 2.0))


class _ImagePen:
    """Draws on the camera image."""

    def __init__(self, canvas: Rgb, scale: int, content: AnswerContent, size: float) -> None:
        self._canvas, self._scale, self._content, self._size = canvas, scale, content, size
        self.labels = Labels(size)

    def _pixels(self, points: Array) -> Pixels:
        """Project (N, 3) points in the camera frame to canvas pixels; NaN behind the camera."""
        pixels = project(self._content.layout.scene.frame.camera, points) * self._scale
        return np.where(np.abs(pixels) < 2e4, pixels, np.nan)

    def _on_ground(self, places: Array, height: float) -> Pixels:
        return self._pixels(in_camera(self._content.layout, places, height))

    def region(self, config: DepthConfig) -> None:
        """Tint the visible ground where the deciding relation holds."""
        region, layout = self._content.region, self._content.layout
        if region is None:
            return
        frame = layout.scene.frame
        z = frame.depth[::_EVERY, ::_EVERY].astype(np.float32)
        xs, ys = (axis[::_EVERY].astype(np.float32) for axis in normalised_axes(frame.camera))
        g1, g2, height = (
            (xs * np.float32(a) + (ys * np.float32(b) + np.float32(c))[:, None]) * z for a, b, c in layout.axes.T
        )
        with np.errstate(invalid="ignore"):
            off = np.abs(height + np.float32(layout.floor - region.height))
            ground = off < _ON_GROUND + 3 * depth_noise(z, config)
        cells = (np.array(region.score.shape) - 1) / (region.high - region.low)
        score = cv2.remap(
            region.score.astype(np.float32), ((g2 - region.low[1]) * cells[1]).astype(np.float32),
            ((g1 - region.low[0]) * cells[0]).astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT,
            borderValue=-_NOWHERE,
        )  # fmt: skip
        score = np.where(ground, score, -_NOWHERE).astype(np.float32)
        score = cv2.medianBlur(score, 3)
        size = (self._canvas.shape[1], self._canvas.shape[0])
        score = cv2.resize(score, size, interpolation=cv2.INTER_LINEAR)
        drawing.tint_region(self._canvas, np.asarray(score, np.float32), region.limit, 0.2)
        whole = (score >= region.limit).astype(np.uint8)
        for part in cv2.findContours(whole, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]:
            if cv2.contourArea(part) > _PATCH * whole.size:
                drawing.line(self._canvas, part[:, 0].astype(np.float64), drawing.HOLDS, 1, closed=True, border=False)

    def other(self, row: int) -> None:
        obj = self._content.layout.scene.objects[row]
        around = self._box(obj)
        drawing.line(self._canvas, _corners(around), COLOURS[Role.OTHER], 1, closed=True, border=False)
        self.labels.ask(self._content.label(row), around, COLOURS[Role.OTHER], 6.0, plain=True, farthest=6.0)
        self.labels.seen.append(around)

    def marked(self, row: int, role: Role) -> None:
        """Draw the outline and label of an object that the answer is about."""
        obj = self._content.layout.scene.objects[row]
        around, mask = self._box(obj), obj.detection.mask
        broken = role is Role.RIVAL
        parts = [_corners(around)]
        if mask is not None and mask.shape == self._content.layout.scene.frame.depth.shape:
            found = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
            areas = [cv2.contourArea(part) for part in found]
            whole = [p[:, 0] for p, area in zip(found, areas, strict=True) if area > _SPECK * max(areas)]
            parts = [part.astype(np.float64) * self._scale for part in whole] or parts
        for part in parts:
            drawing.line(self._canvas, part, COLOURS[role], 2, closed=True, dashed=broken)
        self.labels.ask(self._content.label(row), around, COLOURS[role], _RANKS[role])
        (self.labels.clear if role in (Role.CHOSEN, Role.REFUSED) else self.labels.seen).append(around)

    def _box(self, obj: SceneObject) -> Rectangle:
        x0, y0, x1, y1 = (float(c) * self._scale for c in obj.detection.box_xyxy)
        return x0, y0, x1, y1

    def pose(self, obj: SceneObject) -> None:
        """Draw the gravity-up box and the axes of the pose."""
        if obj.depth_problem is not None:
            return
        corners = self._pixels(obj.box.corners())
        for a in range(8):
            for step in (1, 2, 4):
                if not a & step:
                    drawing.line(self._canvas, corners[[a, a | step]], COLOURS[Role.CHOSEN], 1, border=False)
        tips = self._pixels(obj.box.centre + np.vstack((np.zeros(3), _AXIS_LENGTH * obj.box.axes.T)))
        for tip, colour in zip(tips[1:], drawing.AXES, strict=True):
            drawing.arrow(self._canvas, tips[0], tip, colour)

    def arrows(self) -> None:
        """Draw arrows on the ground from each anchor of the deciding clause to its subject."""
        layout, found = self._content.layout, self._content.deciding
        if found is None or not layout.measured[found.subject] or self._content.spots:
            return
        height = max(float(layout.bottom[found.subject]), 0.0)
        for number, anchor in enumerate((*found.anchors, *found.rivals)):
            if not layout.measured[anchor]:
                continue
            ends = self._on_ground(layout.centre[[anchor, found.subject], :2], height)
            if not np.isfinite(ends).all():
                continue
            if np.hypot(*(ends[1] - ends[0])) > _ARROW:
                drawing.arrow(self._canvas, ends[0], ends[1], drawing.INK, 2)
            if number == 0:
                middle = ends.mean(axis=0)
                self.labels.ask(found.short, (*(middle - 3), *(middle + 3)), drawing.INK, 3.0)

    def length(self) -> None:
        """Draw the line along which a distance was measured, and its value."""
        found = self._content.length
        if found is None:
            return
        ends = self._pixels(in_camera(self._content.layout, found.ends[:, :2], found.ends[:, 2]))
        seen = ends[np.isfinite(ends).all(axis=1)]
        if len(seen) < 2:  # from the camera itself: its end is not visible
            return
        drawing.line(self._canvas, seen, drawing.LENGTH, 3)
        for end in seen:
            drawing.line(self._canvas, end + np.array([(-4.0, 0.0), (4.0, 0.0)]), drawing.LENGTH, 2)
        middle = seen.mean(axis=0)
        self.labels.ask(found.words, (*(middle - 3), *(middle + 3)), drawing.LENGTH, 0.2)

    def spots(self) -> None:
        """Draw the outline of the load at each spot, and a cross at the best."""
        for spot in reversed(self._content.spots):
            best = spot.number == 1
            outline = self._on_ground(spot.corners, spot.height)
            if not np.isfinite(outline).all():
                continue
            if best:
                drawing.fill(self._canvas, outline, drawing.SPOT, 0.5)
                arms = spot.middle + _CROSS * np.array([(-1, 0), (1, 0), (0, -1), (0, 1)])
                ends = self._on_ground(arms, spot.height)
                drawing.line(self._canvas, ends[:2], drawing.SPOT)
                drawing.line(self._canvas, ends[2:], drawing.SPOT)
            drawing.line(self._canvas, outline, drawing.SPOT, 2 if best else 1, closed=True, border=best)
            around = drawing.rectangle_of(outline)
            if best:
                self.labels.ask("place 1", around, drawing.SPOT, 0.5)
            else:
                self.labels.ask(str(spot.number), around, drawing.SPOT, 5.0, plain=True, farthest=30.0)
            (self.labels.clear if best else self.labels.seen).append(around)


def _corners(around: Rectangle) -> Pixels:
    x0, y0, x1, y1 = around
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
