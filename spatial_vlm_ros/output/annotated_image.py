# SPDX-License-Identifier: Apache-2.0
"""Draw the answer as one image: on the camera image, from above to scale, and in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import cv2
import numpy as np

from spatial_vlm_ros import types
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.geometry.camera import normalised_axes, project
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.output import drawing
from spatial_vlm_ros.output.answer_content import AnswerContent, content_of, in_camera
from spatial_vlm_ros.output.answer_roles import Role, percent, places_of, targets_of
from spatial_vlm_ros.output.drawing import COLOURS, Labels, Pixels, Rectangle
from spatial_vlm_ros.output.top_view import RANKS, SHORTEST_ARROW, draw_spot, draw_top_view
from spatial_vlm_ros.parameters import DepthConfig, ResolverConfig
from spatial_vlm_ros.perception.grounding_checks import check_detections
from spatial_vlm_ros.spatial.layout import Array, lay_out

_EDGE = 12  # pixels around the words
_LEGEND = 230.0 / 13  # width of the legend in letter sizes
_SAMPLE = 1.7  # width of its samples in letter sizes
_MOST_PLACES = 3  # written in words

_Sample = Callable[[types.Rgb], None]


def draw_verdict(resolution: types.Resolution, content: AnswerContent | None, width: int, size: float) -> types.Rgb:
    """Draw the text of an answer, and the legend of its images: (H, width, 3) uint8, as high as needed."""
    entries = list(_legend(content)) if content is not None else []
    taken = round(_LEGEND * size) if entries and width > 2.5 * _LEGEND * size else 0
    words = (taken - _EDGE if taken else width - 2 * _EDGE) - round(_SAMPLE * size) - 8
    legend = [
        (sample if number == 0 else None, line)
        for sample, meaning in entries
        for number, line in enumerate(drawing.wrapped(meaning, size - 1, words))
    ]
    across = width - taken - 2 * _EDGE
    step = drawing.line_height(size)
    lines = [
        (part, strong, colour)
        for text, strong, colour in _words(resolution, content)
        for part in drawing.wrapped(text, size, across, strong)
    ]
    chip = drawing.width_of(resolution.status.value, size, True) + 16
    title = drawing.wrapped(resolution.instruction or " ", size + 1, across - chip - 10, True)
    rows = len(title) + len(lines)
    below = [] if taken else legend
    height = 2 * _EDGE + 6 + step * max(rows + len(below), len(legend) if taken else 0)
    panel = np.full((height, width, 3), drawing.PAPER, np.uint8)
    panel[:1] = drawing.LINE
    y = _EDGE + round(1.05 * size)
    answered = resolution.status in types.ANSWERS
    measured = resolution.source == "measurement"
    ground = drawing.VERMILLION if not answered else drawing.GREEN if measured else drawing.BLUE
    panel[y - round(1.2 * size) : y + round(0.45 * size), _EDGE : _EDGE + chip] = ground
    drawing.write(panel, resolution.status.value, (_EDGE + 8, y), size, drawing.PAPER, True)
    for line in title:
        drawing.write(panel, line, (_EDGE + chip + 10, y), size + 1, drawing.INK, True)
        y += step
    y += 6
    for line, strong, colour in lines:
        drawing.write(panel, line, (_EDGE, y), size, colour, strong)
        y += step
    if taken:
        panel[_EDGE:-_EDGE, width - taken - _EDGE // 2] = drawing.LINE
    x, top = (width - taken + _EDGE // 2, _EDGE) if taken else (_EDGE, y - round(1.05 * size))
    wide, high = round(_SAMPLE * size), round(1.1 * size)
    for number, (sample, line) in enumerate(legend):
        y = top + number * step
        if sample is not None:  # a continued line has none
            part = np.full((high, wide, 3), drawing.PAPER, np.uint8)
            sample(part)
            room = panel[y : y + high, x : x + wide]
            room[:] = part[: room.shape[0], : room.shape[1]]
        drawing.write(panel, line, (x + wide + 8, y + round(0.9 * size)), size - 1, drawing.INK)
    return panel


def _legend(content: AnswerContent) -> Iterator[tuple[_Sample, str]]:
    """Legend of the images: a sample of each kind of line, and its meaning."""

    def hatched(part: types.Rgb) -> None:
        drawing.hatch(part, np.array((0.0, 0.0, part.shape[1] - 1.0, part.shape[0] - 1.0)), drawing.FAINT)

    for role in (Role.CHOSEN, Role.REFUSED, Role.RIVAL, Role.ANCHOR, Role.CARRIER):
        if content.rows(role):
            yield partial(_outlined, COLOURS[role], 0.3, dashed=role is Role.RIVAL), role.value
    if content.length is not None:
        yield partial(_outlined, drawing.LENGTH, 0.0), "measured distance"
    if content.spots:
        yield partial(_outlined, drawing.SPOT, 0.5), "free place (1 is best)"
    if content.region is not None:
        yield partial(_tinted, 1.0), f"region {content.region.words}"
        yield partial(_tinted, 0.0), "unclear region"
    if content.resolution.unexplained:
        yield hatched, "no detection"
    if content.resolution.hidden_regions:
        yield partial(_outlined, drawing.FAINT, 0.18, dashed=True), "not visible"


def _outlined(colour: drawing.Colour, share: float, part: types.Rgb, dashed: bool = False) -> None:
    height, width = part.shape[:2]
    corners = np.array([(1.0, 1.0), (width - 2.0, 1.0), (width - 2.0, height - 2.0), (1.0, height - 2.0)])
    drawing.fill(part, corners, colour, share)
    drawing.line(part, corners, colour, 2, closed=True, dashed=dashed, border=False)


def _tinted(score: float, part: types.Rgb) -> None:
    of = np.full(part.shape[:2], score, np.float32)
    drawing.tint_region(part, of, 1.0, 0.3)
    cv2.rectangle(part, (0, 0), (part.shape[1] - 1, part.shape[0] - 1), drawing.LINE)


def _words(resolution: types.Resolution, content: AnswerContent | None) -> Iterator[tuple[str, bool, drawing.Colour]]:
    """Lines of the verdict: text, whether it is bold, colour."""
    yield resolution.message, False, drawing.INK
    if resolution.question:
        yield resolution.question, True, drawing.INK
    if content is not None and content.deciding is not None:
        seen = f", seen from the {content.view.frame.value}" if content.deciding.framed else ""
        yield f"Decides: {content.deciding.words(content.layout)}{seen}.", False, drawing.INK
    if content is not None and content.marks and resolution.source == "measurement":
        candidates = {candidate.id: candidate for candidate in resolution.candidates}
        values = []  # of each possible object: "A: 49 % likely, next to +0.102 m"
        for row, mark in content.marks.items():
            found = candidates.get(content.layout.scene.objects[row].id)
            if found is not None:
                margins = [f"{c.relation} {c.margin_m:+.3f} m" for c in found.clauses if c.margin_m is not None]
                values.append(", ".join((f"{mark}: {percent(found.probability)} likely", *margins[:2])))
        yield "; ".join(values) + ".", False, drawing.INK
    if resolution.source == "model" and resolution.status in types.ANSWERS:
        yield f"{types.CHOSEN_BY_MODEL}: a person must agree before anything moves.", True, drawing.VERMILLION
    for target in targets_of(resolution):
        sure = f", {percent(resolution.confidence)} certain" if resolution.source == "measurement" else ""
        yield f"{target.id} at {_whereabouts(target.pose)}{sure}", False, drawing.FAINT
    places = places_of(resolution)
    for number, place in enumerate(places[:_MOST_PLACES], 1):
        where = f"place {number} at {_whereabouts(place.pose)} on {place.carrier_id}"
        free = f"margin {place.margin_m:+.3f} m, {place.clearance_m:.3f} m free around, {percent(place.probability)}"
        yield f"{where}: {free}", False, drawing.FAINT
        if number == 1 and place.reason is not None:
            yield place.reason.text, False, drawing.FAINT
    if len(places) > _MOST_PLACES:
        yield f"and {len(places) - _MOST_PLACES} more places", False, drawing.FAINT


def _whereabouts(pose: types.Pose) -> str:
    x, y, z = pose.position
    return f"({x:.3f}, {y:.3f}, {z:.3f}) m in {pose.frame_id}"


_SMALLEST_WIDTH = 640  # images are enlarged to this width, so that the text is readable
_LETTERS = 13.0  # pixels: letter size on an image of that width
_SIZES = (1.0, 1.6)  # factor of the letter size on larger images
_TOP_VIEW = 0.85  # width of the top view over the height of the image
_NARROWEST, _WIDEST = 320, 640  # pixels
_AXIS_LENGTH = 0.05  # metres
_CROSS = 0.015  # metres: half of a spot's cross
_SPECK = 0.1  # share of the largest part of a mask; smaller parts are not outlined
_NOWHERE = 100.0  # score where there is no ground to tint
_EVERY = 2  # pixels of the depth image between samples for the region, along rows and columns
_PATCH = 0.001  # share of the image; smaller patches of the region have no border line
_ON_GROUND = 0.012  # metres from the region's height, plus three deviations of depth, within which it is tinted
_STRONG = (Role.CARRIER, Role.ANCHOR, Role.RIVAL, Role.REFUSED, Role.CHOSEN)  # drawn in this order


def draw_camera_view(canvas: types.Rgb, scale: int, content: AnswerContent, depth: DepthConfig, size: float) -> None:
    """Draw an answer on its image, enlarged by `scale`, with letters of `size` pixels."""
    view = _ImagePen(canvas, scale, content, size)
    view.region(depth)
    for row in content.rows(Role.OTHER):
        view.other(row)
    for region in content.resolution.unexplained:
        drawing.hatch(canvas, np.array(region.box) * scale, drawing.FAINT)
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

    def __init__(self, canvas: types.Rgb, scale: int, content: AnswerContent, size: float) -> None:
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
        self.labels.ask(self._content.label(row), around, COLOURS[role], RANKS[role])
        (self.labels.clear if role in (Role.CHOSEN, Role.REFUSED) else self.labels.seen).append(around)

    def _box(self, obj: types.SceneObject) -> Rectangle:
        x0, y0, x1, y1 = (float(c) * self._scale for c in obj.detection.box_xyxy)
        return x0, y0, x1, y1

    def pose(self, obj: types.SceneObject) -> None:
        """Draw the gravity-up box and the axes of the pose."""
        if obj.depth_problem is not None:
            return
        corners = self._pixels(obj.box.corners())
        for edge in drawing.BOX_EDGES:
            drawing.line(self._canvas, corners[list(edge)], COLOURS[Role.CHOSEN], 1, border=False)
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
            if np.hypot(*(ends[1] - ends[0])) > SHORTEST_ARROW:
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
            outline = self._on_ground(spot.corners, spot.height)
            if not np.isfinite(outline).all():
                continue
            if spot.number == 1:
                drawing.fill(self._canvas, outline, drawing.SPOT, 0.5)
                arms = spot.middle + _CROSS * np.array([(-1, 0), (1, 0), (0, -1), (0, 1)])
                ends = self._on_ground(arms, spot.height)
                drawing.line(self._canvas, ends[:2], drawing.SPOT)
                drawing.line(self._canvas, ends[2:], drawing.SPOT)
            draw_spot(self._canvas, outline, spot.number, self.labels)


def _corners(around: Rectangle) -> Pixels:
    x0, y0, x1, y1 = around
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def draw(
    frame: types.RgbdFrame,
    detections: Sequence[types.Detection],
    resolution: types.Resolution,
    config: ResolverConfig | None = None,
    scene: types.Scene | None = None,
) -> types.Rgb:
    """Draw a resolution on its frame, lifted from the detections if no scene is given.

    The image is in the left upper corner, enlarged to 640 pixels width if smaller; the top view, if there is a scene,
    to its right; a text panel below.
    """
    config = config or ResolverConfig()
    content = content_from(frame, detections, resolution, config, scene)
    rgb = frame.rgb if content is None else content.layout.scene.frame.rgb
    scale = enlargement(frame)
    canvas = rgb.copy() if scale == 1 else np.repeat(np.repeat(rgb, scale, axis=0), scale, axis=1)
    height, width = canvas.shape[:2]
    size = round(_LETTERS * min(max(width / 1000, _SIZES[0]), _SIZES[1]))
    if content is not None:
        draw_camera_view(canvas, scale, content, config.depth, size)
        beside = draw_top_view(content, min(max(round(_TOP_VIEW * height), _NARROWEST), _WIDEST), height, size)
        border = np.full((height, 1, 3), drawing.LINE, np.uint8)
        canvas = np.hstack((canvas, border, beside))
    return np.vstack((canvas, draw_verdict(resolution, content, canvas.shape[1], size)))


def enlargement(frame: types.RgbdFrame) -> int:
    """Enlargement of the frame's image in a drawn answer; the image is at its left upper corner."""
    return max(1, -(-_SMALLEST_WIDTH // frame.rgb.shape[1]))


def content_from(
    frame: types.RgbdFrame,
    detections: Sequence[types.Detection],
    resolution: types.Resolution,
    config: ResolverConfig,
    scene: types.Scene | None = None,
) -> AnswerContent | None:
    """Make the content to show for an answer; None if its frame cannot be lifted. Arguments as in `draw`."""
    try:
        if scene is None:
            checked = check_detections(detections, frame.camera.width, frame.camera.height)
            scene = build_scene(frame, checked, config.depth, config.lift)
        return content_of(lay_out(scene, config.depth, config.relation), resolution, config)
    except SpatialVlmError:
        return None
