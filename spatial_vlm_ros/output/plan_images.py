# SPDX-License-Identifier: Apache-2.0
"""Draw a plan as images: in the camera image, from above and from the side. The same motion gives the same pixels.

The images show the arm at its start, at the grasp and at the place, the path of the tip at every waypoint, the object,
its place, and the measured surroundings. Hidden parts are drawn, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.images import decode
from spatial_vlm_ros.geometry.camera import project
from spatial_vlm_ros.geometry.rotation import matrix_from_pose
from spatial_vlm_ros.manipulation.planned_motion import MotionFrame, PlannedMotion, Seven, ShownBox
from spatial_vlm_ros.output import drawing
from spatial_vlm_ros.output.drawing import Labels, Pixels
from spatial_vlm_ros.spatial.layout import Array
from spatial_vlm_ros.types import PinholeCamera, Rgb

Side = Literal["above", "side"]

_WIDE = 640  # pixels: narrower scene images are enlarged to this width, which is also the width of views
_EDGE = 28.0  # pixels around the content of a view
_HEAD = 30.0  # pixels above it, for the title
_LETTERS = 13.0
_FARTHEST = 1000.0  # metres: what a motion may be away
_NEAR = 0.05  # metres in front of the camera; nearer parts are not drawn
_LEAST = 0.3  # least extent of a view, metres
_STEPS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # metres between lines of the raster
_ROUGH = 60  # least pixels between them
_SHOWN: dict[str, drawing.Colour] = {
    "target": drawing.GREEN, "place": drawing.PURPLE, "neighbour": drawing.SKY_BLUE, "keep_out": drawing.VERMILLION,
    "support": drawing.LINE, "occupied": drawing.VERMILLION, "unseen": drawing.FAINT,
}  # fmt: skip
_WIDE_SPREAD = ("support", "occupied", "unseen")  # roles that a view need not show completely
_ARM, _HAND = drawing.BLUE, drawing.ORANGE
_GRID = (232, 236, 240)
_GROUND = (251, 252, 253)


def motion_from(data: bytes) -> PlannedMotion:
    """Read a motion that `PlannedMotion.data` wrote."""
    import msgspec

    try:
        motion = msgspec.json.decode(data.decode("ascii"), type=PlannedMotion)
        poses = [pose for frame in motion.frames for pose in (*frame.links, frame.target, *frame.others)]
        poses += [motion.camera.pose] if motion.camera is not None else []
        points = [*motion.tip_path, *(point for link in motion.links for point in link.vertices)]
        points += [side for box in motion.boxes for side in (box.solid.centre, box.solid.size)]
        if any(abs(number) > _FARTHEST for place in (*poses, *points) for number in place):
            raise ValueError(f"a place more than {_FARTHEST:g} m away")
        shapes = {len(motion.links)} | {len(frame.links) for frame in motion.frames}
        if len(shapes) > 1 or not all(link.vertices for link in motion.links) or not all(any(p[3:]) for p in poses):
            raise ValueError("links without a shape or a pose")
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        expected, repair = "JSON in the form stored with the audit log", "use the same package version on both sides"
        raise InputError("planned motion", str(error), expected, repair) from error
    return motion


def draw_on_scene(motion: PlannedMotion, image: bytes) -> Rgb:
    """Draw the plan into the JPEG or PNG of the scene: (H', W', 3) uint8, enlarged to a width of 640 if narrower."""
    camera = motion.camera
    decoded = _decoded(image)
    size = None if decoded is None else (decoded.shape[1], decoded.shape[0])
    if camera is None or decoded is None or size != (camera.width, camera.height):
        got = "no image" if decoded is None else f"{decoded.shape[1]} x {decoded.shape[0]} pixels"
        expected = f"{camera.width} x {camera.height} pixels" if camera else "none, because the camera is unknown"
        raise InputError("image of the scene", got, expected, "pass the image that came with the answer")
    scale = max(1, -(-_WIDE // camera.width))
    canvas: Rgb = np.ascontiguousarray(decoded[:, :, ::-1])
    canvas = np.repeat(np.repeat(canvas, scale, axis=0), scale, axis=1)
    fx, fy, cx, cy = camera.intrinsics
    pinhole = PinholeCamera(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), camera.width, camera.height)
    pen = _Pen(canvas, _CameraEye(pinhole, matrix_from_pose(camera.pose), scale), motion)
    pen.draw()
    pen.title(_title(motion, "In the camera image"))
    return canvas


def draw_plan_view(motion: PlannedMotion, side: Side) -> Rgb:
    """Draw the plan to scale, from above (x up, y to the left) or the side (x to the right, z up, from negative y).

    Both views of a motion have the same scale; (H, 640, 3).
    """
    eye = plan_eye(motion, side)
    canvas = np.full((eye.height, _WIDE, 3), _GROUND, np.uint8)
    pen = _Pen(canvas, eye, motion)
    pen.raster(eye)
    pen.draw()
    words = "From above: x up, y to the left" if side == "above" else "From the side: x to the right, z up"
    pen.title(_title(motion, f"{words}, frame {motion.frame_id}"))
    pen.bar(eye)
    return canvas


def png(image: Rgb) -> bytes:
    """Encode the image as a PNG file."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(image[:, :, ::-1]))
    assert done  # noqa: S101 - PNG takes any such array
    return data.tobytes()


def same_pixels(one: bytes, other: bytes) -> bool:
    """Whether two image files show the same pixels, however they were encoded."""
    first, second = _decoded(one), _decoded(other)
    return first is not None and second is not None and np.array_equal(first, second)


def _decoded(data: bytes) -> Rgb | None:
    """The pixels of an image file, blue first; None if it is not an image."""
    try:
        return np.asarray(decode(data, "image of a record", cv2.IMREAD_COLOR), np.uint8)
    except FileError:
        return None


# ------------------------------------------------------------------------------------------------ eyes


@dataclass(frozen=True)
class _CameraEye:
    """Projects into the camera image."""

    camera: PinholeCamera
    base_T_camera: Array
    scale: int

    def see(self, points: Array) -> tuple[Pixels, Array]:
        """(N, 2) pixels, NaN if not visible, and (N,) distances."""
        turn, place = self.base_T_camera[:3, :3], self.base_T_camera[:3, 3]
        placed = points @ turn - turn.T @ place
        pixels = (project(self.camera, placed) + 0.5) * self.scale
        pixels[placed[:, 2] < _NEAR] = np.nan
        return pixels, placed[:, 2]


@dataclass(frozen=True)
class PlanEye:
    """Projects points to pixels, to scale."""

    side: Side
    metres_to_pixels: float
    low: tuple[float, float]  # least shown horizontal and vertical coordinate, metres
    height: int  # of the view, pixels
    left: float  # pixels left of `low`

    def see(self, points: Array) -> tuple[Pixels, Array]:
        """Return (N, 2) pixels, and (N,) distances from the viewer: nearer is less."""
        flat = _flat(points, self.side)
        x = self.left + (flat[:, 0] - self.low[0]) * self.metres_to_pixels
        y = self.height - _EDGE - (flat[:, 1] - self.low[1]) * self.metres_to_pixels
        away = -points[:, 2] if self.side == "above" else points[:, 1]
        return np.stack([x, y], axis=1), away


def plan_eye(motion: PlannedMotion, side: Side) -> PlanEye:
    """Choose the projection of a view so that everything that moves or stands around is in it."""
    found = [_corners(box) for box in motion.boxes if box.role not in _WIDE_SPREAD]
    found += [_placed(link.vertices, one.links[k]) for one in motion.frames[::5] for k, link in enumerate(motion.links)]
    if motion.tip_path:
        found.append(np.array(motion.tip_path))
    points = np.concatenate(found) if found else np.zeros((1, 3))
    spans = {}
    for which in ("above", "side"):
        flat = _flat(points, which)
        low, high = flat.min(axis=0), flat.max(axis=0)
        spans[which] = (low, np.maximum(high - low, _LEAST))
    scale = min((_WIDE - 2 * _EDGE) / span[0] for _, span in spans.values())
    scale = min(scale, *((_WIDE - 2 * _EDGE - _HEAD) / span[1] for _, span in spans.values()))
    low, span = spans[side]
    height = math.ceil(span[1] * scale + 2 * _EDGE + _HEAD)
    left = (_WIDE - span[0] * scale) / 2
    return PlanEye(side, float(scale), (float(low[0]), float(low[1])), height, float(left))


def _flat(points: Array, side: str) -> Array:
    """(N, 2) coordinates: to the right and up."""
    return np.stack([-points[:, 1], points[:, 0]], axis=1) if side == "above" else points[:, [0, 2]]


# ------------------------------------------------------------------------------------------------ drawing


class _Pen:
    """Draws a motion through an eye."""

    def __init__(self, canvas: Rgb, eye: _CameraEye | PlanEye, motion: PlannedMotion) -> None:
        self._canvas, self._eye, self._motion = canvas, eye, motion
        self._labels = Labels(_LETTERS)

    def draw(self) -> None:
        """Draw boxes, arm, path of the tip, and names."""
        for box in self._motion.boxes:
            self._box(box)
        for name, frame, share in key_frames(self._motion):
            self._arm(name, frame, share)
        path = self._motion.tip_path
        pixels = self._eye.see(np.array(path))[0] if len(path) > 1 else np.zeros((0, 2))
        good = np.asarray(np.isfinite(pixels).all(axis=1))
        for run in np.split(np.arange(len(pixels)), np.flatnonzero(~good)):
            run = run[good[run]]
            if len(run) > 1:
                drawing.line(self._canvas, pixels[run], drawing.INK, 2, dashed=bool(self._motion.missing))
        size = self._canvas.shape
        for number in (0, len(pixels) - 1) if len(pixels) else ():
            if not good[number]:
                continue
            x, y = (round(float(v)) for v in pixels[number])
            if not (0 <= x < size[1] and 0 <= y < size[0]):
                continue
            if number == 0:
                cv2.circle(self._canvas, (x, y), 6, drawing.PAPER, -1, cv2.LINE_AA)
                cv2.circle(self._canvas, (x, y), 6, drawing.INK, 2, cv2.LINE_AA)
            else:
                cv2.rectangle(self._canvas, (x - 5, y - 5), (x + 5, y + 5), drawing.INK, -1)
                cv2.rectangle(self._canvas, (x - 6, y - 6), (x + 6, y + 6), drawing.PAPER, 1)
        self._labels.clear.append((0.0, 0.0, float(size[1]), _HEAD))
        self._labels.write(self._canvas, (2.0, 2.0, size[1] - 2.0, size[0] - 2.0))

    def _box(self, box: ShownBox) -> None:
        if box.role == "support" and isinstance(self._eye, _CameraEye):
            return  # it would tint the whole image
        corners, _ = self._eye.see(_corners(box))
        colour = _SHOWN[box.role]
        outline = _hull(corners)
        if outline is None:
            return
        drawing.fill(self._canvas, outline, colour, 0.5 if box.role == "support" else 0.18)
        if isinstance(self._eye, _CameraEye):
            for edge in drawing.BOX_EDGES:
                drawing.line(self._canvas, corners[list(edge)], colour, 1, border=False)
        else:
            width = 1 if box.role in ("support", "neighbour") else 2
            drawing.line(self._canvas, outline, colour, width, closed=True, dashed=box.role == "keep_out", border=False)
        if box.role != "support" and box.label:
            rank = {"target": 0.0, "place": 1.0}.get(box.role, 3.0)
            name = box.label if box.role in ("place", "keep_out", "occupied", "unseen") else f"{box.label} ({box.id})"
            far = 90.0 if rank < 3.0 else 40.0
            self._labels.ask(name, drawing.rectangle_of(outline), colour, rank, farthest=far)

    def _arm(self, name: str, frame: MotionFrame, share: float) -> None:
        shapes = []
        for link, pose in zip(self._motion.links, frame.links, strict=True):
            pixels, away = self._eye.see(_placed(link.vertices, pose))
            outline = _hull(pixels)
            if outline is not None:
                shapes.append((float(np.nanmean(away)), link.of_hand, outline))
        for _, of_hand, outline in sorted(shapes, key=lambda shape: -shape[0]):
            colour = _HAND if of_hand else _ARM
            drawing.fill(self._canvas, outline, colour, share)
            drawing.line(self._canvas, outline, colour, 1, closed=True, border=False)
        hands = [drawing.rectangle_of(outline) for _, of_hand, outline in shapes if of_hand]
        if hands:
            corners = np.array(hands)
            around = (*corners[:, :2].min(axis=0).tolist(), *corners[:, 2:].max(axis=0).tolist())
            self._labels.ask(name, around, _HAND, 2.0, farthest=120.0)

    def title(self, words: str) -> None:
        self._canvas[: int(_HEAD) - 6] = drawing.PAPER
        drawing.write(self._canvas, words, (8, 17), _LETTERS, drawing.INK, True)

    def raster(self, eye: PlanEye) -> None:
        """Draw lines at round coordinates."""
        step = _step(eye)
        right = eye.low[0] + (_WIDE - eye.left) / eye.metres_to_pixels
        for k in range(math.ceil((eye.low[0] - eye.left / eye.metres_to_pixels) / step), math.floor(right / step) + 1):
            x = round(eye.left + (k * step - eye.low[0]) * eye.metres_to_pixels)
            self._canvas[:, max(x, 0) : x + 1] = _GRID
        for k in range(math.ceil((eye.low[1] - _EDGE / eye.metres_to_pixels) / step), 1000):
            y = round(eye.height - _EDGE - (k * step - eye.low[1]) * eye.metres_to_pixels)
            if y < 0:
                break
            self._canvas[y : y + 1] = _GRID

    def bar(self, eye: PlanEye) -> None:
        """Draw the scale bar."""
        step = _step(eye)
        length, y = step * eye.metres_to_pixels, eye.height - 10.0
        words = f"{100 * step:.0f} cm" if step < 1 else f"{step:.0f} m"
        ends = np.array([(10.0, y - 4), (10.0, y), (10.0 + length, y), (10.0 + length, y - 4)])
        drawing.line(self._canvas, ends, drawing.INK, 1, border=True)
        drawing.write(self._canvas, words, (16, round(y) - 5), _LETTERS - 1, drawing.INK)


def key_frames(motion: PlannedMotion) -> list[tuple[str, MotionFrame, float]]:
    """The moments at which the arm is drawn: name, frame, and strength of the tint."""
    if not motion.frames:
        return []
    found = [("start", motion.frames[0], 0.12)]
    for phase in motion.phases:
        name = {"close": "grasp", "lower": "put down"}.get(phase.name)
        if name is not None:
            at = min(motion.frames, key=lambda frame: abs(frame.time - phase.end))
            found.append((name, at, 0.35))
    return found


def _title(motion: PlannedMotion, words: str) -> str:
    return words if not motion.missing else f"{words}: only the tip, at its known poses"


def _step(eye: PlanEye) -> float:
    return next((s for s in _STEPS if s * eye.metres_to_pixels >= _ROUGH), _STEPS[-1])


def _hull(pixels: Pixels) -> Pixels | None:
    """The convex outline of points; None if fewer than three are visible."""
    seen = pixels[np.flatnonzero(np.max(np.abs(pixels), axis=1) < 1e4)]  # excludes NaN too
    if len(seen) < 3:
        return None
    return np.asarray(cv2.convexHull(seen.astype(np.float32))[:, 0], np.float64)


def _corners(box: ShownBox) -> Array:
    """(8, 3) corners; bits 1, 2 and 4 of the index are the sides along x, y and z."""
    c, s = math.cos(box.solid.yaw), math.sin(box.solid.yaw)
    signs = np.array([[1 if k & 1 else -1, 1 if k & 2 else -1, 1 if k & 4 else -1] for k in range(8)])
    local = signs * np.array(box.solid.size) / 2
    return np.asarray(local @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]) + box.solid.centre)


def _placed(vertices: tuple[tuple[float, float, float], ...], pose: Seven) -> Array:
    matrix = matrix_from_pose(pose)
    return np.asarray(np.array(vertices) @ matrix[:3, :3].T + matrix[:3, 3])
