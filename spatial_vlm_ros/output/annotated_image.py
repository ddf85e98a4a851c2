# SPDX-License-Identifier: Apache-2.0
"""The answer drawn on the image: boxes, the chosen, anchors, the relation on the ground, poses, places, verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.geometry.camera import project
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.perception.validation import check_detections
from spatial_vlm_ros.spatial.layout import Layout, lay_out
from spatial_vlm_ros.spatial.relations import RELATIONS
from spatial_vlm_ros.types import (
    Detection,
    FrameOfReference,
    Place,
    Pose,
    Resolution,
    Rgb,
    RgbdFrame,
    Scene,
    SceneObject,
    Status,
    Target,
)

Array = npt.NDArray[np.float64]
_Colour = tuple[int, int, int]

_OTHER: _Colour = (150, 150, 150)
_CANDIDATE: _Colour = (255, 190, 0)
_ANCHOR: _Colour = (80, 160, 255)
_CHOSEN: _Colour = (40, 220, 70)
_REFUSED: _Colour = (230, 60, 50)
_SPOT: _Colour = (255, 80, 255)
_FURTHER: _Colour = (190, 120, 190)
_AXES: tuple[_Colour, ...] = ((255, 60, 60), (60, 220, 60), (80, 120, 255))
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LINE_HEIGHT = 20
_AXIS_LENGTH = 0.06  # metres
_CROSS = 0.015  # metres: half of a spot's cross
_SMALLEST_WIDTH = 640  # images are enlarged to this width, so that the words can be read


def draw(
    frame: RgbdFrame,
    detections: Sequence[Detection],
    resolution: Resolution,
    config: ResolverConfig | None = None,
    scene: Scene | None = None,
) -> Rgb:
    """Draw a resolution on its frame.

    Args:
        frame: the frame that was resolved.
        detections: the detections it was resolved with.
        resolution: the answer.
        config: the resolver's.
        scene: that the answer rests on; None = lifted from the detections where that is possible.

    Returns:
        (H', W', 3) uint8: the image, enlarged to 640 pixels' width if smaller, over a panel of words.
    """
    config = config or ResolverConfig()
    try:
        if scene is None:
            checked = check_detections(detections, frame.camera.width, frame.camera.height)
            scene = build_scene(frame, checked, config.depth, config.lift)
        layout = lay_out(scene, config.depth, config.relation)
    except SpatialVlmError:
        layout = None
    rgb = frame.rgb if layout is None else layout.scene.frame.rgb
    scale = max(1, -(-_SMALLEST_WIDTH // rgb.shape[1]))
    canvas = np.repeat(np.repeat(rgb, scale, axis=0), scale, axis=1)
    if layout is not None:
        _draw_scene(canvas, scale, layout, resolution)
    return np.vstack((canvas, _panel(canvas.shape[1], resolution)))


def _draw_scene(canvas: Rgb, scale: int, layout: Layout, resolution: Resolution) -> None:
    """All detections, then what the answer is about."""
    objects = {obj.id: obj for obj in layout.scene.objects}
    candidates = [c.id for c in resolution.candidates]
    chosen = {target.id for target in _targets(resolution)}
    first = resolution.candidates[0] if resolution.candidates else None
    anchors = {a for clause in (first.clauses if first else ()) for a in clause.anchor_ids if a in objects}
    pen = _Pen(canvas, scale, layout, resolution.frame_of_reference)
    for obj in objects.values():
        role = _OTHER
        if obj.id in chosen:
            role = _CHOSEN
        elif obj.id in anchors:
            role = _ANCHOR
        elif obj.id in candidates:
            role = _CANDIDATE
        pen.detection(obj, role)
    for number, place in enumerate(_places(resolution), 1):
        pen.place(place, resolution.target, number)
    if first is None or first.id not in objects:
        return
    subject = objects[first.id]
    for clause in first.clauses:
        words = clause.relation if clause.margin_m is None else f"{clause.relation} {clause.margin_m:+.3f} m"
        for number, anchor in enumerate(clause.anchor_ids):
            if anchor in objects and anchor != subject.id:
                pen.arrow(objects[anchor], subject, words if number == 0 else "", _CHOSEN if chosen else _REFUSED)
                relation = RELATIONS.get(clause.relation.removeprefix("not "))
                if relation is not None and relation.framed:
                    pen.axes(objects[anchor])
    for id_ in chosen & objects.keys():
        pen.pose(objects[id_])


class _Pen:
    """Draws objects of the scene on the canvas."""

    def __init__(self, canvas: Rgb, scale: int, layout: Layout, frame: FrameOfReference | None) -> None:
        self._canvas, self._scale, self._layout = canvas, scale, layout
        try:
            self._view = layout.viewpoint(frame or FrameOfReference.VIEWER)
        except SpatialVlmError:  # a refusal may name a frame that is not defined here
            self._view = layout.viewpoint(FrameOfReference.VIEWER)

    def _pixels(self, points: Array) -> list[tuple[int, int]] | None:
        """Whole canvas pixels of (N, 3) points in the camera frame; None when one is behind the camera."""
        pixels = project(self._layout.scene.frame.camera, points) * self._scale
        if not np.isfinite(pixels).all() or np.abs(pixels).max() > 1e5:
            return None
        return [(round(float(u)), round(float(v))) for u, v in pixels]

    def _on_ground(self, places: Array) -> Array:
        """Camera-frame points on the support plane at (N, 2) ground places."""
        heights = np.full(len(places), -self._layout.floor)
        return np.column_stack((places, heights)) @ self._layout.axes.T

    def detection(self, obj: SceneObject, colour: _Colour) -> None:
        x0, y0, x1, y1 = (round(c * self._scale) for c in obj.detection.box_xyxy)
        cv2.rectangle(self._canvas, (x0, y0), (x1, y1), colour, 1 if colour == _OTHER else 2)
        text = f"{obj.id} {obj.detection.label}"
        if obj.depth_problem is not None:
            text += " (no depth)"
        _text(self._canvas, text, (x0 + 2, y0 - 4 if y0 > 14 else y1 + 14), colour)

    def place(self, place: Place, load: Target | None, number: int) -> None:
        """Cross, number and, where it is known what is put there, its outline; the best spot has the strong colour."""
        camera_T_place = _in_camera(place.pose, self._layout.scene.frame)
        colour = _SPOT if number == 1 else _FURTHER
        half = np.array(load.size[:2]) / 2 if load is not None else np.zeros(2)
        corners = np.array([(x, y, 0.0) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]) * (*half, 0.0)
        outline = self._pixels(camera_T_place(corners))
        if outline is not None and half.any():
            cv2.polylines(self._canvas, [np.array(outline)], True, colour, 1, cv2.LINE_AA)
        arms = np.array([(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0)]) * _CROSS
        ends = self._pixels(camera_T_place(arms))
        if ends is None:
            return
        cv2.line(self._canvas, ends[0], ends[1], colour, 2, cv2.LINE_AA)
        cv2.line(self._canvas, ends[2], ends[3], colour, 2, cv2.LINE_AA)
        _text(self._canvas, str(number), (ends[1][0] + 4, ends[1][1] - 4), colour)

    def _row(self, obj: SceneObject) -> int:
        return next(row for row, other in enumerate(self._layout.scene.objects) if other is obj)

    def _place(self, obj: SceneObject) -> Array:
        """(2,) ground place of an object; NaN where it was not measured."""
        place: Array = self._layout.centre[self._row(obj), :2]
        return place

    def arrow(self, anchor: SceneObject, subject: SceneObject, words: str, colour: _Colour) -> None:
        """Arrow on the ground from anchor to subject."""
        ends = self._pixels(self._on_ground(np.stack((self._place(anchor), self._place(subject)))))
        if ends is None:
            return
        cv2.arrowedLine(self._canvas, ends[0], ends[1], colour, 2, cv2.LINE_AA, tipLength=0.12)
        if words:
            middle = ((ends[0][0] + ends[1][0]) // 2 + 6, (ends[0][1] + ends[1][1]) // 2)
            _text(self._canvas, words, middle, colour)

    def axes(self, anchor: SceneObject) -> None:
        """What the frame of reference calls behind and right, on the ground at the anchor."""
        row = self._row(anchor)
        try:
            ahead, right = self._layout.rays(self._view, np.array([row]))
        except SpatialVlmError:  # the anchor has no front of its own
            return
        place = self._layout.centre[row, :2]
        for direction, name, shade in ((ahead[0], "behind", _AXES[2]), (right[0], "right", _AXES[0])):
            tip = self._pixels(self._on_ground(np.stack((place, place + _AXIS_LENGTH * direction))))
            if tip is not None:
                cv2.arrowedLine(self._canvas, tip[0], tip[1], shade, 1, cv2.LINE_AA, tipLength=0.2)
                _text(self._canvas, name, tip[1], shade, 0.35)

    def pose(self, obj: SceneObject) -> None:
        """Gravity-up box and axes of the pose."""
        corners = self._pixels(obj.box.corners())
        if corners is not None:
            for a in range(8):
                for step in (1, 2, 4):
                    if not a & step:
                        cv2.line(self._canvas, corners[a], corners[a | step], _CHOSEN, 1, cv2.LINE_AA)
        tips = obj.box.centre + np.vstack((np.zeros(3), _AXIS_LENGTH * obj.box.axes.T))
        pixels = self._pixels(tips)
        if pixels is not None:
            for tip, colour in zip(pixels[1:], _AXES, strict=True):
                cv2.arrowedLine(self._canvas, pixels[0], tip, colour, 2, cv2.LINE_AA, tipLength=0.25)


def _targets(resolution: Resolution) -> tuple[Target, ...]:
    return resolution.targets or ((resolution.target,) if resolution.target is not None else ())


def _places(resolution: Resolution) -> tuple[Place, ...]:
    return resolution.places or ((resolution.place,) if resolution.place is not None else ())


def _in_camera(pose: Pose, frame: RgbdFrame) -> Callable[[Array], Array]:
    """From (N, 3) metres along a pose's axes to the camera frame."""
    axes, position = matrix_from_quaternion_xyzw(pose.orientation), np.array(pose.position)

    def mapped(points: Array) -> Array:
        there = points @ axes.T + position
        base = frame.base_T_camera
        return base.inverse().apply(there) if base is not None and pose.frame_id == base.parent else there

    return mapped


def _panel(width: int, resolution: Resolution) -> Rgb:
    """The verdict in words, on black."""
    lines = list(_words(resolution))
    wrapped = [part for line in lines for part in _wrap(line, width - 16)]
    panel = np.zeros((_LINE_HEIGHT * len(wrapped) + 12, width, 3), np.uint8)
    colour = _CHOSEN if resolution.status is Status.OK else _REFUSED
    for number, line in enumerate(wrapped):
        place = (8, _LINE_HEIGHT * (number + 1))
        cv2.putText(panel, line, place, _FONT, 0.45, colour if number == 0 else (235, 235, 235), 1, cv2.LINE_AA)
    return panel


def _words(resolution: Resolution) -> Iterable[str]:
    frame = f" | frame of reference: {resolution.frame_of_reference.value}" if resolution.frame_of_reference else ""
    yield f"{resolution.status.value} | {resolution.instruction}{frame}"
    yield resolution.message
    for target in _targets(resolution):
        yield f"{target.id} at {_whereabouts(target.pose)}, p = {resolution.confidence:.2f}"
    for number, place in enumerate(_places(resolution), 1):
        spot = f"place {number} at {_whereabouts(place.pose)} on {place.carrier_id}: margin {place.margin_m:+.3f} m"
        yield f"{spot}, clearance {place.clearance_m:.3f} m, p = {place.probability:.2f}"
    if resolution.question:
        yield resolution.question


def _whereabouts(pose: Pose) -> str:
    x, y, z = pose.position
    return f"({x:.3f}, {y:.3f}, {z:.3f}) m in {pose.frame_id}"


def _wrap(line: str, width: int) -> list[str]:
    """Break a line at spaces so that it fits `width` pixels; signs the font lacks become question marks."""
    parts = [""]
    for word in line.encode("ascii", "replace").decode().split(" "):
        longer = f"{parts[-1]} {word}".strip()
        if parts[-1] and cv2.getTextSize(longer, _FONT, 0.45, 1)[0][0] > width:
            parts.append(word)
        else:
            parts[-1] = longer
    return parts


def _text(canvas: Rgb, text: str, place: tuple[int, int], colour: _Colour, size: float = 0.42) -> None:
    """Text on a dark ground, kept inside the image."""
    text = text.encode("ascii", "replace").decode()
    (width, height), _ = cv2.getTextSize(text, _FONT, size, 1)
    x = min(max(place[0], 2), max(2, canvas.shape[1] - width - 2))
    y = min(max(place[1], height + 2), canvas.shape[0] - 3)
    ground = canvas[max(0, y - height - 2) : y + 4, max(0, x - 2) : x + width + 2]
    ground //= 3
    cv2.putText(canvas, text, (x, y), _FONT, size, colour, 1, cv2.LINE_AA)
