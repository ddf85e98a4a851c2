# SPDX-License-Identifier: Apache-2.0
"""A comparison at a terminal, and as an image: photograph with rings for each choice, view from above, and table."""

from __future__ import annotations

from collections import Counter
from itertools import cycle

import cv2
import numpy as np
from rich.table import Table

from spatial_vlm_ros.output import drawing
from spatial_vlm_ros.output.annotated_image import content_from
from spatial_vlm_ros.output.drawing import Colour, Labels, Rectangle
from spatial_vlm_ros.output.terminal import new_console, new_table
from spatial_vlm_ros.output.top_view import draw_top_view
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.resolver import Answered
from spatial_vlm_ros.types import ComparedRow, RelationComparison, Rgb, RgbdFrame, Status

_MOST_COLUMNS = 6  # relations shown at a terminal, fewer if it is narrow; --json has all
_NAME, _CELL, _REST = 36, 13, 46  # columns of letters: for most row names, for a relation, and for the rest
LEGEND = (
    "Numbers are probabilities that the relation holds, calibrated in brackets. 'no opinion': the choice changes "
    "with the order of the options or in the mirrored image, or the model gives none. '?': not asked in time."
)


def names_of(compared: RelationComparison) -> dict[str, str]:
    """Id → name of each object: its label, with the id if other objects have the same label."""
    labels = Counter(obj.label for obj in compared.objects)
    return {
        obj.id: obj.label if labels[obj.label] == 1 or obj.label == obj.id else f"{obj.label} {obj.id}"
        for obj in compared.objects
    }


def heads_of(compared: RelationComparison, shown: int) -> list[str]:
    """Heads of the columns of `cells_of`; of a relation a question: "chick d1 behind cup?"."""
    names, heads = names_of(compared), [""]
    for one in compared.relations[:shown]:
        target, anchor = (names.get(id_, id_) for id_ in (one.target_id, one.anchor_id))
        heads.append(f"{target} {one.relation} {anchor}?{' (said: not)' if one.negated else ''}")
    return [*heads, "chooses", *(["truth"] if compared.expected_ids is not None else [])]


def cells_of(row: ComparedRow, compared: RelationComparison, shown: int) -> list[str]:
    """Name of a row, its opinions of the first relations, its choice and, where there is a label, the verdict."""
    opinions = []
    for one in row.opinions[:shown]:
        if one.p is None:
            opinions.append("no opinion" if one.consistent is False else "?")
        else:
            opinions.append(_share(one.p) + ("" if one.calibrated is None else f" ({_share(one.calibrated)})"))
    opinions = opinions or [""] * shown
    chooses = "no choice" if row.opinions else "not asked"
    if row.chosen_id is not None:
        same = {True: " (as measured)", False: " (not as measured)", None: ""}[row.agrees]
        chooses = names_of(compared).get(row.chosen_id, row.chosen_id) + same
    elif row.status is not None and row.status is not Status.OK:
        chooses = row.status.value
    verdict = {True: "right", False: "wrong", None: "none"}[row.right] if row.opinions else ""
    return [name_of_row(row), *opinions, chooses, *([verdict] if compared.expected_ids is not None else [])]


def name_of_row(row: ComparedRow) -> str:
    """Name of a row's opinion: "measurement", "qwen alone", "qwen with attention=1.2", "measurement and qwen"."""
    if row.by == "remedy":
        return f"{row.name} with {row.options}"
    if row.by == "fused":
        return f"measurement and {row.name}"
    return row.name if row.by == "measurement" else f"{row.name} alone"


def reason_of(row: ComparedRow) -> str:
    """The effect on the answer, and why."""
    return row.reason if row.effect is None else f"{row.effect}, {row.reason}"


def _share(p: float) -> str:
    if 0.0 < p < 0.01:
        return "<0.01"
    return ">0.99" if 0.99 < p < 1.0 else f"{p:.2f}"


def comparison(compared: RelationComparison) -> None:
    """Print objects with their distances, one line per row, and the reasons below."""
    console = new_console()
    console.print(f'"{compared.instruction}"')
    for obj in compared.objects:
        away = "no usable depth" if obj.distance_m is None else f"{obj.distance_m:.2f} m from the camera"
        name = obj.id if obj.label == obj.id else f"{obj.label} {obj.id}"
        console.print(f"  {obj.role:9}  {printable(name)}  {away}")
    if compared.reason:
        console.print(f"  {compared.reason}", style="yellow")
    if not compared.relations:
        return
    console.print(table_of(compared, console.width))
    for row in compared.rows:
        if row.reason:
            console.print(f"  {name_of_row(row)}: {reason_of(row)}", style="yellow" if row.failed else None)
    if compared.unasked:
        console.print(f"  models were not asked about: {', '.join(compared.unasked)}")
    console.print(f"  {LEGEND}")


def table_of(compared: RelationComparison, width: int) -> Table:
    """Make one line per row, with as many relations as fit in `width` letters, at least two."""
    names = min(max(len(name_of_row(row)) for row in compared.rows), _NAME)
    shown = min((width - names - _REST) // _CELL, len(compared.relations), _MOST_COLUMNS)
    shown = max(shown, min(2, len(compared.relations)))
    heads = [*heads_of(compared, shown), "questions", "ms"]
    table = new_table(heads, {"", "chooses", "truth"})
    table.columns[0].overflow, table.columns[0].min_width, table.columns[0].max_width = "fold", names, _NAME
    for row in compared.rows:
        asked = row.by in ("model", "remedy")
        table.add_row(*cells_of(row, compared, shown), *((str(row.questions), f"{row.ms:.0f}") if asked else ("", "")))
    if more := len(compared.relations) - shown:
        table.caption = f"relations not shown: {more}; --json shows all"
    return table


# ------------------------------------------------------------------------------------------------ image


WIDTH = 1200
"""Image width, pixels."""
_PHOTOGRAPH = (740, 600)  # largest width and height of it, pixels
_SIZE = 15.0  # letter size, pixels
_EDGE = 14  # pixels around the table
_RING, _APART = 3, 6  # pixels: width of a ring, and from ring to ring
_ROW = 28  # pixels from row to row
_MOST_RELATIONS = 4  # relations that get a column
_NUMBER, _SAMPLE, _WIDE, _CHOOSES, _TRUTH = 26, 34, 300, 250, 70  # widths of columns, pixels
_MODELS: tuple[Colour, ...] = (drawing.VERMILLION, drawing.ORANGE, drawing.PURPLE, drawing.YELLOW)
_FUSED: tuple[Colour, ...] = (drawing.BLUE, drawing.SKY_BLUE)


def draw_comparison(
    frame: RgbdFrame, answered: Answered, compared: RelationComparison, config: ResolverConfig | None = None
) -> Rgb:
    """Draw a comparison on its frame, (H, WIDTH, 3): the photograph, the view from above beside it, the table below."""
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
    step, shown = drawing.line_height(_SIZE), min(len(compared.relations), _MOST_RELATIONS)
    truth = 0 if compared.expected_ids is None else _TRUTH
    left, right = _EDGE + _NUMBER + _SAMPLE + _WIDE, WIDTH - _EDGE - _CHOOSES - truth  # of the relations
    across = (right - left) // max(shown, 1)
    columns = [(left - _WIDE, _WIDE), *((left + n * across, across) for n in range(shown)), (right, _CHOOSES),
               (right + _CHOOSES, _TRUTH)]  # fmt: skip
    heads = [
        (drawing.wrapped(head, _SIZE - 1, width - 12), x)
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
    lines = [line for text in texts for line in drawing.wrapped(text, _SIZE - 1, WIDTH - 2 * _EDGE)]
    high = max(len(head) for head, _ in heads)
    height = 2 * _EDGE + step * (4 + high + len(lines)) + _ROW * len(compared.rows)
    panel = np.full((height, WIDTH, 3), drawing.PAPER, np.uint8)
    panel[:1] = drawing.LINE
    y = _EDGE + round(1.1 * _SIZE)
    title = drawing.shortened(compared.instruction, _SIZE + 3, WIDTH - 2 * _EDGE, True)
    drawing.write(panel, title, (_EDGE, y), _SIZE + 3, drawing.INK, True)
    y += round(1.3 * step)
    for head, x in heads:
        for number, line in enumerate(head):
            drawing.write(panel, line, (x, y + number * step), _SIZE - 1, drawing.FAINT)
    y += high * step + 6
    shades = {True: drawing.GREEN, False: drawing.VERMILLION, None: drawing.FAINT}
    for number, (row, colour) in enumerate(zip(compared.rows, colours, strict=True), 1):
        middle = y - round(0.35 * _SIZE)
        panel[middle - _ROW // 2] = drawing.LINE
        drawing.write(panel, str(number), (_EDGE, y), _SIZE, drawing.INK)
        cv2.circle(panel, (_EDGE + _NUMBER + _SAMPLE // 3, middle), round(0.5 * _SIZE), colour, _RING, cv2.LINE_AA)
        for n, (cell, (x, width)) in enumerate(zip(cells_of(row, compared, shown), columns, strict=False)):
            is_verdict = n == shown + 2
            strong = row.right is not None if is_verdict else n == 0
            text = drawing.shortened(cell, _SIZE, width - 12, strong)
            drawing.write(panel, text, (x, y), _SIZE, shades[row.right] if is_verdict else drawing.INK, strong)
        y += _ROW
    y += 4
    for text in lines:
        drawing.write(panel, text, (_EDGE, y), _SIZE - 1, drawing.FAINT)
        y += step
    return panel[: y - step + _EDGE + 4]
