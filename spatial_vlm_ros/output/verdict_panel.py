# SPDX-License-Identifier: Apache-2.0
"""Draw the verdict in words below the image, and the legend of its colours."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from spatial_vlm_ros.output import drawing, lettering
from spatial_vlm_ros.output.answer_content import AnswerContent
from spatial_vlm_ros.output.answer_roles import Role, places_of, targets_of
from spatial_vlm_ros.output.deciding_clause import percent
from spatial_vlm_ros.output.drawing import COLOURS
from spatial_vlm_ros.types import ANSWERS, CHOSEN_BY_MODEL, Pose, Resolution, Rgb

_EDGE = 12  # pixels around the words
_LEGEND = 230.0 / 13  # width of the legend in letter sizes
_SAMPLE = 1.7  # width of its samples in letter sizes
_MOST_PLACES = 3  # written in words

_Sample = Callable[[Rgb], None]


def draw_verdict(resolution: Resolution, content: AnswerContent | None, width: int, size: float) -> Rgb:
    """Draw the text of an answer, and the legend of its images.

    Args:
        content: content of the images; None if there is no scene.
        width: width of the panel, pixels.
        size: letter size, pixels.

    Returns:
        (H, width, 3) uint8, as high as needed.
    """
    entries = list(_legend(content)) if content is not None else []
    taken = round(_LEGEND * size) if entries and width > 2.5 * _LEGEND * size else 0
    words = (taken - _EDGE if taken else width - 2 * _EDGE) - round(_SAMPLE * size) - 8
    legend = [
        (sample if number == 0 else None, line)
        for sample, meaning in entries
        for number, line in enumerate(lettering.wrapped(meaning, size - 1, words))
    ]
    across = width - taken - 2 * _EDGE
    step = lettering.line_height(size)
    lines = [
        (part, strong, colour)
        for text, strong, colour in _words(resolution, content)
        for part in lettering.wrapped(text, size, across, strong)
    ]
    chip = lettering.width_of(resolution.status.value, size, True) + 16
    title = lettering.wrapped(resolution.instruction or " ", size + 1, across - chip - 10, True)
    rows = len(title) + len(lines)
    below = [] if taken else legend
    height = 2 * _EDGE + 6 + step * max(rows + len(below), len(legend) if taken else 0)
    panel = np.full((height, width, 3), drawing.PAPER, np.uint8)
    panel[:1] = drawing.LINE
    y = _EDGE + round(1.05 * size)
    answered = resolution.status in ANSWERS
    measured = resolution.source == "measurement"
    ground = drawing.VERMILLION if not answered else drawing.GREEN if measured else drawing.BLUE
    panel[y - round(1.2 * size) : y + round(0.45 * size), _EDGE : _EDGE + chip] = ground
    lettering.write(panel, resolution.status.value, (_EDGE + 8, y), size, drawing.PAPER, True)
    for line in title:
        lettering.write(panel, line, (_EDGE + chip + 10, y), size + 1, drawing.INK, True)
        y += step
    y += 6
    for line, strong, colour in lines:
        lettering.write(panel, line, (_EDGE, y), size, colour, strong)
        y += step
    if taken:
        panel[_EDGE:-_EDGE, width - taken - _EDGE // 2] = drawing.LINE
    x, top = (width - taken + _EDGE // 2, _EDGE) if taken else (_EDGE, y - round(1.05 * size))
    for number, (sample, line) in enumerate(legend):
        _entry(panel, sample, line, (x, top + number * step), size)
    return panel


def _entry(panel: Rgb, sample: _Sample | None, words: str, place: tuple[int, int], size: float) -> None:
    """Draw one line of the legend: a sample (except on a continued line) and its meaning."""
    x, y = place
    wide, high = round(_SAMPLE * size), round(1.1 * size)
    if sample is not None:
        part = np.full((high, wide, 3), drawing.PAPER, np.uint8)
        sample(part)
        room = panel[y : y + high, x : x + wide]
        room[:] = part[: room.shape[0], : room.shape[1]]
    lettering.write(panel, words, (x + wide + 8, y + round(0.9 * size)), size - 1, drawing.INK)


def _legend(content: AnswerContent) -> Iterator[tuple[_Sample, str]]:
    """Legend of the images: a sample of each kind of line, and its meaning."""
    for role in (Role.CHOSEN, Role.REFUSED, Role.RIVAL, Role.ANCHOR, Role.CARRIER):
        if content.rows(role):
            yield _outlined(COLOURS[role], 0.3, dashed=role is Role.RIVAL), role.value
    if content.length is not None:
        yield _outlined(drawing.LENGTH, 0.0), "measured distance"
    if content.spots:
        yield _outlined(drawing.SPOT, 0.5), "free place (1 is best)"
    if content.region is not None:
        yield _tinted(1.0), f"region {content.region.words}"
        yield _tinted(0.0), "unclear region"
    if content.resolution.hidden_regions:
        yield _outlined(drawing.FAINT, 0.18, dashed=True), "not visible"


def _outlined(colour: lettering.Colour, share: float, dashed: bool = False) -> _Sample:
    def sample(part: Rgb) -> None:
        height, width = part.shape[:2]
        corners = np.array([(1.0, 1.0), (width - 2.0, 1.0), (width - 2.0, height - 2.0), (1.0, height - 2.0)])
        drawing.fill(part, corners, colour, share)
        drawing.line(part, corners, colour, 2, closed=True, dashed=dashed, border=False)

    return sample


def _tinted(score: float) -> _Sample:
    def sample(part: Rgb) -> None:
        of = np.full(part.shape[:2], score, np.float32)
        drawing.tint_region(part, of, 1.0, 0.3)
        cv2.rectangle(part, (0, 0), (part.shape[1] - 1, part.shape[0] - 1), drawing.LINE)

    return sample


def _words(resolution: Resolution, content: AnswerContent | None) -> Iterator[tuple[str, bool, lettering.Colour]]:
    """Lines of the verdict: text, whether it is bold, colour."""
    yield resolution.message, False, drawing.INK
    if resolution.question:
        yield resolution.question, True, drawing.INK
    if content is not None and content.deciding is not None:
        seen = f", seen from the {content.view.frame.value}" if content.deciding.framed else ""
        yield f"Decides: {content.deciding.words(content.layout)}{seen}.", False, drawing.INK
    if content is not None and content.marks and resolution.source == "measurement":
        yield "; ".join(_rivals(content)) + ".", False, drawing.INK
    if resolution.source == "model" and resolution.status in ANSWERS:
        yield f"{CHOSEN_BY_MODEL}: a person must agree before anything moves.", True, drawing.VERMILLION
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


def _rivals(content: AnswerContent) -> Iterator[str]:
    """The measured values of each possible object: "A: 49 % likely, next to +0.102 m"."""
    measured = {candidate.id: candidate for candidate in content.resolution.candidates}
    for row, mark in content.marks.items():
        found = measured.get(content.layout.scene.objects[row].id)
        if found is not None:
            margins = [f"{c.relation} {c.margin_m:+.3f} m" for c in found.clauses if c.margin_m is not None]
            yield ", ".join((f"{mark}: {percent(found.probability)} likely", *margins[:2]))


def _whereabouts(pose: Pose) -> str:
    x, y, z = pose.position
    return f"({x:.3f}, {y:.3f}, {z:.3f}) m in {pose.frame_id}"
