# SPDX-License-Identifier: Apache-2.0
"""Draw the answer from above, to scale: outlines, the viewer, the region of the deciding relation, free spots."""

from __future__ import annotations

import cv2
import numpy as np

from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.output import drawing
from spatial_vlm_ros.output.answer_content import AnswerContent, ShownOutline, hidden_outline
from spatial_vlm_ros.output.answer_roles import Role
from spatial_vlm_ros.output.drawing import COLOURS, Labels, Pixels, Rectangle
from spatial_vlm_ros.spatial.layout import Array
from spatial_vlm_ros.types import FrameOfReference, Rgb

_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)  # metres between lines of the raster
_APART = 26  # least pixels between them
_DART = ((11, 0), (-7, 7), (-3, 0), (-7, -7))  # pixels ahead and sideways: the viewer's symbol
_WIDE = 0.3  # share of the view: larger outlines are hardly filled
_FAR, _FRONT = 3.0, 0.06  # metres: length of the line of view to an anchor; of a front beyond the outline
SHORTEST_ARROW = 24.0  # pixels; a shorter arrow between two objects is not drawn
_GRID = (236, 239, 243)
_BACKGROUND = (251, 252, 253)
RANKS = {Role.CHOSEN: 0.0, Role.REFUSED: 0.0, Role.RIVAL: 1.0, Role.ANCHOR: 2.0, Role.CARRIER: 4.0, Role.OTHER: 6.0,
         Role.GROUND: 8.0}  # fmt: skip
_FILLED = {Role.CHOSEN: 0.85, Role.REFUSED: 0.8, Role.RIVAL: 0.45, Role.ANCHOR: 0.4, Role.CARRIER: 0.15,
           Role.OTHER: 0.18, Role.GROUND: 0.0}  # fmt: skip


def draw_top_view(content: AnswerContent, width: int, height: int, size: float) -> Rgb:
    """Draw the top view, (height, width, 3) uint8; the camera looks towards the top of the image."""
    canvas = np.full((height, width, 3), _BACKGROUND, np.uint8)
    plan = _PlanPen(content, width, height, size)
    plan.grid(canvas)
    plan.region(canvas)
    plan.hidden(canvas)
    labels = Labels(size)
    for outline in content.outlines:
        plan.outline(canvas, outline, labels)
    plan.spots(canvas, labels)
    plan.deciding(canvas, labels)
    plan.length(canvas, labels)
    plan.viewer(canvas)
    plan.scale_bar(canvas)
    labels.clear += plan.taken
    labels.write(canvas, (2.0, 2.0, width - 2.0, height - 2.0))
    return canvas


def draw_spot(canvas: Rgb, outline: Pixels, number: int, labels: Labels) -> None:
    """Draw the outline of a spot (K, 2), and request its label; the best has the number 1."""
    best, around = number == 1, drawing.rectangle_of(outline)
    drawing.line(canvas, outline, drawing.SPOT, 2 if best else 1, closed=True, border=best)
    if best:
        labels.ask("place 1", around, drawing.SPOT, 0.5)
    else:
        labels.ask(str(number), around, drawing.SPOT, 5.0, plain=True, farthest=30.0)
    (labels.clear if best else labels.seen).append(around)


class _PlanPen:
    """Converts ground coordinates to pixels, and draws there."""

    def __init__(self, content: AnswerContent, width: int, height: int, size: float) -> None:
        self._content, self._width, self._height, self._size = content, width, height, size
        span = content.high - content.low
        head, foot = 2.0 * size, 2.6 * size  # space for the title, and for viewer and scale
        self._scale = min((height - head - foot) / span[0], width / span[1])  # pixels a metre
        middle = (content.low + content.high) / 2
        self._origin = np.array(
            [width / 2 - middle[1] * self._scale, (head + height - foot) / 2 + middle[0] * self._scale]
        )
        self.taken: list[Rectangle] = [(0.0, 0.0, 6.0 + drawing.width_of("Seen from above", size), head)]

    def pixels(self, places: Array) -> Pixels:
        """(N, 2) canvas pixels of (N, 2) ground positions: right is right, ahead is up."""
        return np.asarray(self._origin + places[:, ::-1] * (self._scale, -self._scale))

    def ground(self, pixels: Pixels) -> Array:
        """(N, 2) ground positions of canvas pixels."""
        return np.asarray(((pixels - self._origin) / (self._scale, -self._scale))[:, ::-1])

    def step(self) -> float:
        """Metres between the lines of the raster."""
        return next((s for s in _STEPS if s * self._scale >= _APART), _STEPS[-1])

    def grid(self, canvas: Rgb) -> None:
        """Draw lines at round distances, aligned with the camera's view."""
        step = self.step()
        low, high = self.ground(np.array([(0.0, self._height), (self._width, 0.0)]))
        for ahead in np.arange(np.ceil(low[0] / step), high[0] / step):
            y = round(float(self.pixels(np.array([(ahead * step, 0.0)]))[0, 1]))
            canvas[max(y, 0) : y + 1] = _GRID
        for right in np.arange(np.ceil(low[1] / step), high[1] / step):
            x = round(float(self.pixels(np.array([(0.0, right * step)]))[0, 0]))
            canvas[:, max(x, 0) : x + 1] = _GRID

    def region(self, canvas: Rgb) -> None:
        """Tint where the deciding relation holds; hatch where that is unclear."""
        region = self._content.region
        if region is None:
            return
        corners = self.ground(np.array([(0.5, 0.5), (self._width - 0.5, self._height - 0.5)]))
        cells = (np.array(region.score.shape) - 1) / (region.high - region.low)
        rows = np.linspace(corners[0, 0], corners[1, 0], self._height)
        columns = np.linspace(corners[0, 1], corners[1, 1], self._width)
        y = np.broadcast_to(((rows - region.low[0]) * cells[0])[:, None], (self._height, self._width))
        x = np.broadcast_to(((columns - region.low[1]) * cells[1])[None], (self._height, self._width))
        score = cv2.remap(
            region.score.astype(np.float32), x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        drawing.tint_region(canvas, np.asarray(score, np.float32), region.limit, 0.22)

    def hidden(self, canvas: Rgb) -> None:
        for hidden in self._content.resolution.hidden_regions:
            corners = hidden_outline(self._content.layout, hidden)
            if corners is not None:
                drawing.fill(canvas, self.pixels(corners), drawing.FAINT, 0.18)
                drawing.line(canvas, self.pixels(corners), drawing.FAINT, 1, closed=True, dashed=True, border=False)

    def outline(self, canvas: Rgb, outline: ShownOutline, labels: Labels) -> None:
        """Draw one outline and request its label."""
        pixels, colour, role = self.pixels(outline.corners), COLOURS[outline.role], outline.role
        around = drawing.rectangle_of(pixels)
        wide = (around[2] - around[0]) * (around[3] - around[1]) > _WIDE * self._width * self._height
        drawing.fill(canvas, pixels, colour, min(_FILLED[role], 0.08 if wide else 1.0))
        broken = outline.estimated or role is Role.RIVAL
        strong = role in (Role.CHOSEN, Role.REFUSED, Role.RIVAL, Role.ANCHOR)
        drawing.line(canvas, pixels, colour, 2 if strong else 1, closed=True, dashed=broken, border=strong)
        shown = (max(around[0], 0.0), max(around[1], 0.0), min(around[2], self._width), min(around[3], self._height))
        if shown[0] >= shown[2] or shown[1] >= shown[3]:
            return
        plain = role in (Role.OTHER, Role.GROUND)
        labels.ask(outline.label, shown, colour, RANKS[role], plain, 3 * self._size if plain else 1e9)
        if role in (Role.CHOSEN, Role.REFUSED):
            labels.clear.append(around)
        elif role is not Role.GROUND:
            labels.seen.append(around)

    def spots(self, canvas: Rgb, labels: Labels) -> None:
        """Draw the outline of the load at each spot, the best one last and filled."""
        for spot in reversed(self._content.spots):
            pixels = self.pixels(spot.corners)
            if spot.number == 1:
                drawing.fill(canvas, pixels, drawing.SPOT, 0.6)
            draw_spot(canvas, pixels, spot.number, labels)

    def deciding(self, canvas: Rgb, labels: Labels) -> None:
        """Draw arrows from each anchor to the deciding clause's subject, with its margin; and the viewer's ray."""
        content, found = self._content, self._content.deciding
        if found is None or not content.layout.measured[found.subject] or content.spots or content.length is not None:
            return
        centre = content.layout.centre[:, :2]
        other = [a for a in (*found.anchors, *found.rivals) if content.layout.measured[a]]
        for number, anchor in enumerate(other):
            ends = self.pixels(centre[[anchor, found.subject]])
            if found.framed:
                self._ahead(canvas, anchor)
            if np.hypot(*(ends[1] - ends[0])) > SHORTEST_ARROW:
                drawing.arrow(canvas, ends[0], ends[1], drawing.INK, 1)
            if number == 0:
                middle = ends.mean(axis=0)
                labels.ask(found.short, (*(middle - 2), *(middle + 2)), drawing.INK, 3.0)

    def length(self, canvas: Rgb, labels: Labels) -> None:
        """Draw the line along which a distance was measured, and its value."""
        found = self._content.length
        if found is None:
            return
        ends = self.pixels(found.ends[:, :2])
        drawing.line(canvas, ends, drawing.LENGTH, 3)
        middle = ends.mean(axis=0)
        labels.ask(found.words, (*(middle - 3), *(middle + 3)), drawing.LENGTH, 0.2)

    def _ahead(self, canvas: Rgb, anchor: int) -> None:
        """Draw the line of view to an anchor on the ground; and its front, if its own view is used."""
        layout, view = self._content.layout, self._content.view
        try:
            ahead = layout.rays(view, np.array([anchor], np.intp))[0][0]
        except SpatialVlmError:  # the anchor has no front of its own
            return
        place = layout.centre[anchor, :2]
        ends = np.rint(self.pixels(place + np.array([(-_FAR,), (_FAR,)]) * ahead)).astype(int).tolist()
        seen, first, last = cv2.clipLine((0, 0, self._width, self._height), ends[0], ends[1])
        if seen:
            drawing.line(canvas, np.array([first, last], np.float64), drawing.FAINT, 1, dashed=True, border=False)
        if view.frame is FrameOfReference.OBJECT:
            tip = place - (float(layout.radius[anchor]) + _FRONT) * ahead
            ends = self.pixels(np.stack((place, tip)))
            drawing.arrow(canvas, ends[0], ends[1], drawing.BLUE, 2)

    def viewer(self, canvas: Rgb) -> None:
        """Draw the viewer, or its direction and distance if it is outside the image."""
        view = self._content.view
        if view.frame is FrameOfReference.OBJECT:
            return
        name = "camera" if view.frame is FrameOfReference.VIEWER else view.frame.value
        at = self.pixels(view.origin[None, :2])[0]
        low, high = np.array([12.0, 2 * self._size]), np.array([self._width - 12.0, self._height - 1.6 * self._size])
        middle = self.pixels((self._content.low + self._content.high)[None] / 2)[0]
        shown = at
        if (at < low).any() or (at > high).any():
            way = at - middle
            reach = np.where(way > 0, high - middle, low - middle) / np.where(way == 0, 1e-9, way)
            shown = middle + way * float(np.clip(reach.min(), 0.0, 1.0))
            name += f" {float(np.hypot(*(self.ground(shown[None]) - view.origin[:2])[0])):.2f} m beyond"
        forward = np.array([view.forward[1], -view.forward[0]])
        aside = np.array([-forward[1], forward[0]])
        dart = np.array(_DART) @ np.stack((forward, aside)) + shown
        drawing.line(canvas, dart, drawing.PAPER, 2, closed=True, border=False)
        drawing.fill(canvas, dart, drawing.INK, 1.0)
        size = self._size - 1
        width = drawing.width_of(name, size)
        x = round(float(np.clip(shown[0] + 13, 4, self._width - width - 4)))
        if shown[0] + 13 + width > self._width:
            x = round(float(shown[0])) - 13 - width
        y = round(float(shown[1])) + 5
        drawing.write(canvas, name, (x, y), size, drawing.FAINT)
        self.taken += [drawing.rectangle_of(dart), (x - 2.0, y - size, x + width + 2.0, y + 4.0)]

    def scale_bar(self, canvas: Rgb) -> None:
        """Draw the title and a bar of one raster step."""
        drawing.write(canvas, "Seen from above", (8, round(1.35 * self._size)), self._size, drawing.FAINT, True)
        step = self.step()
        words = f"{100 * step:.0f} cm" if step < 1 else f"{step:.0f} m"
        length, size = step * self._scale, self._size - 1
        wide = drawing.width_of(words, size)
        x1, y = self._width - 10.0, self._height - 9.0
        if any(t[2] > x1 - max(length, wide) - 8 and t[3] > y - 2 * size for t in self.taken):  # viewer there
            x1 = 10.0 + max(length, wide)
        drawing.line(canvas, np.array([(x1 - length, y - 4), (x1 - length, y), (x1, y), (x1, y - 4)]), drawing.INK, 1,
                     border=False)  # fmt: skip
        x = round(x1 - length / 2 - wide / 2) if wide < length else round(x1 - wide)
        drawing.write(canvas, words, (x, round(y) - 6), size, drawing.INK)
        self.taken.append((min(x, x1 - length) - 4.0, y - 2.0 * size, x1 + 4.0, float(self._height)))
