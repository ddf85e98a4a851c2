# SPDX-License-Identifier: Apache-2.0
"""Draw a comparison as one image: the photograph with rings for each choice, the view from above, and the table."""

from __future__ import annotations

from itertools import cycle

import cv2
import numpy as np

from spatial_vlm_lab.comparison.comparison_table import LEGEND, cells_of, heads_of, names_of, reason_of
from spatial_vlm_ros.output import drawing, lettering
from spatial_vlm_ros.output.annotated_image import content_from
from spatial_vlm_ros.output.drawing import Labels
from spatial_vlm_ros.output.label_placement import Rectangle
from spatial_vlm_ros.output.lettering import Colour
from spatial_vlm_ros.output.top_view import draw_top_view
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.resolver import Answered
from spatial_vlm_ros.types import RelationComparison, Rgb, RgbdFrame

WIDTH = 1200
"""Image width, pixels."""
_PHOTOGRAPH = (740, 600)  # largest width and height of it, pixels
_SIZE = 15.0  # letter size, pixels
_EDGE = 14  # pixels around the table
_RING, _APART = 3, 6  # pixels: width of a ring, and from ring to ring
_ROW = 28  # pixels from row to row
_MOST_RELATIONS = 4  # relations that get a column
_NUMBER, _SAMPLE, _NAME, _CHOOSES, _TRUTH = 26, 34, 300, 250, 70  # widths of columns, pixels
_MODELS: tuple[Colour, ...] = (drawing.VERMILLION, drawing.ORANGE, drawing.PURPLE, drawing.YELLOW)
_FUSED: tuple[Colour, ...] = (drawing.BLUE, drawing.SKY_BLUE)


def draw_comparison(
    frame: RgbdFrame, answered: Answered, compared: RelationComparison, config: ResolverConfig | None = None
) -> Rgb:
    """Draw a comparison on its frame.

    Args:
        answered: the answer by measurement only.
        config: the resolver's configuration; None = defaults.

    Returns:
        (H, WIDTH, 3) uint8: the photograph, the view from above beside it, and the table below.
    """
    config, models, fused = config or ResolverConfig(), cycle(_MODELS), cycle(_FUSED)
    colours = tuple(
        drawing.GREEN if row.by == "measurement" else next(fused if row.by == "fused" else models)
        for row in compared.rows
    )
    content = content_from(frame, answered.detections, answered.resolution, config, answered.scene)
    rgb = frame.rgb if content is None else content.layout.scene.frame.rgb
    scale = min(_PHOTOGRAPH[0] / rgb.shape[1], _PHOTOGRAPH[1] / rgb.shape[0])
    size = round(rgb.shape[1] * scale), round(rgb.shape[0] * scale)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    photograph = np.asarray(cv2.resize(rgb, size, interpolation=way), np.uint8)
    _mark(photograph, scale, answered, compared, colours)
    upper = np.full((size[1], WIDTH, 3), drawing.PAPER, np.uint8)
    upper[:, : size[0]] = photograph
    upper[:, size[0]] = drawing.LINE
    if content is not None:
        upper[:, size[0] + 1 :] = draw_top_view(content, WIDTH - size[0] - 1, size[1], _SIZE - 2)
    return np.vstack((upper, _table(compared, colours)))


# ------------------------------------------------------------------------------------------------ photograph


def _mark(
    canvas: Rgb, scale: float, answered: Answered, compared: RelationComparison, colours: tuple[Colour, ...]
) -> None:
    """Draw boxes, rings and labels of all objects of the sentence on the photograph; labels last."""
    lifted = () if answered.scene is None else (obj.detection for obj in answered.scene.objects)
    box_of = {one.id: one.box_xyxy for one in (*answered.detections, *lifted)}  # a lifted one is rectified
    labels, names = Labels(_SIZE - 1), names_of(compared)
    for obj in reversed(compared.objects):
        if obj.id not in box_of:
            continue
        box = np.array(box_of[obj.id], np.float64) * scale
        corners = np.array([(box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3])])
        candidate = obj.role == "candidate"
        drawing.line(canvas, corners, drawing.INK, 1, closed=True, dashed=not candidate)
        by = [n for n, row in enumerate(compared.rows) if row.chosen_id == obj.id]
        around: Rectangle = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        for ring, number in enumerate(by):  # ellipses around the box, the first one through its corners
            axes = (box[2:] - box[:2]) / 2 * np.sqrt(2.0) + ring * _APART
            turn = np.linspace(0.0, 2.0 * np.pi, 73)[:-1]
            points = (box[:2] + box[2:]) / 2 + axes * np.stack((np.cos(turn), np.sin(turn)), axis=1)
            drawing.line(canvas, points, colours[number], _RING, closed=True)
            around = drawing.rectangle_of(points)
        away = "no depth" if obj.distance_m is None else f"{obj.distance_m:.2f} m"
        said = f"  chosen by {', '.join(str(n + 1) for n in by)}" if by else ""
        colour = colours[by[0]] if by else drawing.FAINT
        labels.ask(f"{names[obj.id]} {away}{said}", around, colour, 0.0 if by else 1.0 if candidate else 2.0)
        (labels.clear if by else labels.seen).append(around)
    height, width = canvas.shape[:2]
    labels.write(canvas, (2.0, 2.0, width - 2.0, height - 2.0))


# ------------------------------------------------------------------------------------------------ table


def _table(compared: RelationComparison, colours: tuple[Colour, ...]) -> Rgb:
    """Draw the table below: the sentence, one line per row, and the reasons."""
    step, shown = lettering.line_height(_SIZE), min(len(compared.relations), _MOST_RELATIONS)
    truth = 0 if compared.expected_ids is None else _TRUTH
    left, right = _EDGE + _NUMBER + _SAMPLE + _NAME, WIDTH - _EDGE - _CHOOSES - truth  # of the relations
    across = (right - left) // max(shown, 1)
    columns = [(left - _NAME, _NAME), *((left + n * across, across) for n in range(shown)), (right, _CHOOSES),
               (right + _CHOOSES, _TRUTH)]  # fmt: skip
    heads = [
        (lettering.wrapped(head, _SIZE - 1, width - 12), x)
        for head, (x, width) in zip(heads_of(compared, shown), columns, strict=False)
    ]
    # Below the table: reasons, what was left out, and the meaning of the numbers.
    texts = [f"{n}: {reason_of(row)}" for n, row in enumerate(compared.rows, 1) if row.reason]
    if compared.reason:
        texts.append(compared.reason)
    if compared.unasked and compared.relations:
        texts.append(f"Models were not asked about: {', '.join(compared.unasked)}.")
    if len(compared.relations) > _MOST_RELATIONS:
        texts.append(f"Relations not shown: {len(compared.relations) - _MOST_RELATIONS}.")
    if compared.relations:
        texts.append(LEGEND)
    lines = [line for text in texts for line in lettering.wrapped(text, _SIZE - 1, WIDTH - 2 * _EDGE)]
    high = max(len(head) for head, _ in heads)
    height = 2 * _EDGE + step * (4 + high + len(lines)) + _ROW * len(compared.rows)
    panel = np.full((height, WIDTH, 3), drawing.PAPER, np.uint8)
    panel[:1] = drawing.LINE
    y = _EDGE + round(1.1 * _SIZE)
    title = lettering.shortened(compared.instruction, _SIZE + 3, WIDTH - 2 * _EDGE, True)
    lettering.write(panel, title, (_EDGE, y), _SIZE + 3, drawing.INK, True)
    y += round(1.3 * step)
    for head, x in heads:
        for number, line in enumerate(head):
            lettering.write(panel, line, (x, y + number * step), _SIZE - 1, drawing.FAINT)
    y += high * step + 6
    shades = {True: drawing.GREEN, False: drawing.VERMILLION, None: drawing.FAINT}
    for number, (row, colour) in enumerate(zip(compared.rows, colours, strict=True), 1):
        middle = y - round(0.35 * _SIZE)
        panel[middle - _ROW // 2] = drawing.LINE
        lettering.write(panel, str(number), (_EDGE, y), _SIZE, drawing.INK)
        cv2.circle(panel, (_EDGE + _NUMBER + _SAMPLE // 3, middle), round(0.5 * _SIZE), colour, _RING, cv2.LINE_AA)
        for n, (cell, (x, width)) in enumerate(zip(cells_of(row, compared, shown), columns, strict=False)):
            is_verdict = n == shown + 2
            strong = row.right is not None if is_verdict else n == 0
            text = lettering.shortened(cell, _SIZE, width - 12, strong)
            lettering.write(panel, text, (x, y), _SIZE, shades[row.right] if is_verdict else drawing.INK, strong)
        y += _ROW
    y += 4
    for text in lines:
        lettering.write(panel, text, (_EDGE, y), _SIZE - 1, drawing.FAINT)
        y += step
    return panel[: y - step + _EDGE + 4]
