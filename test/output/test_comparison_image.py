# SPDX-License-Identifier: Apache-2.0
"""The image of a comparison: rings where rows choose, nothing cut off, any number of rows."""

import dataclasses
import io

import numpy as np
import pytest
from chicks import FRAME, SEEN, answered
from rich.console import Console

from spatial_vlm_lab.comparison.comparison_table import WIDTH, cells_of, draw_comparison, heads_of, table_of
from spatial_vlm_lab.comparison.comparison_table import comparison as print_table
from spatial_vlm_ros.output import drawing
from spatial_vlm_ros.types import (
    ComparedObject,
    ComparedRelation,
    ComparedRow,
    RelationComparison,
    RelationOpinion,
    Rgb,
    Status,
)

WORDS = "the chick behind the cup"
ANSWERED = answered(WORDS)
CHICKS = (ComparedObject(id_, "chick", "candidate", away) for id_, away in (("bonnet", 1.05), ("ribbon", 0.7)))
OBJECTS = (*CHICKS, ComparedObject("cup", "cup", "anchor", None))
RELATIONS = tuple(ComparedRelation("behind", id_, "cup", negated=False) for id_ in ("bonnet", "ribbon"))
CERTAIN = (RelationOpinion(1.0), RelationOpinion(0.0))
MEASURED = ComparedRow("measurement", "measurement", "", CERTAIN, "bonnet", 1.0, Status.OK, right=True)
MODEL = ComparedRow(
    "model", "qwen", "", (RelationOpinion(0.1, 0.2, True), RelationOpinion(None, None, False)), "ribbon", 0.9,
    agrees=False, right=False, questions=4, ms=12.0,
)  # fmt: skip
REMEDY = dataclasses.replace(MODEL, by="remedy", options="attention=1.2", chosen_id="bonnet", agrees=True, right=True)
UNCLEAR = (Status.LOW_CONFIDENCE, "doubted", "it leaves it unclear")
FUSED = ComparedRow("fused", "qwen", "", CERTAIN, None, None, *UNCLEAR)
COMPARISON = RelationComparison("f1", WORDS, OBJECTS, RELATIONS, (MEASURED, MODEL, FUSED), expected_ids=("bonnet",))


def drawn(comparison: RelationComparison = COMPARISON) -> Rgb:
    return draw_comparison(FRAME, ANSWERED, comparison)


def ringed(image: Rgb, id_: str, colour: tuple[int, int, int]) -> bool:
    """Whether a colour is found around the box of an object, on the photograph."""
    x0, y0, x1, y1 = next(d.box_xyxy for d in SEEN if d.id == id_)
    scale = 740 / FRAME.camera.width
    part = image[int((y0 - 25) * scale) : int((y1 + 25) * scale), int((x0 - 25) * scale) : int((x1 + 25) * scale)]
    return int((part == colour).all(axis=2).sum()) > 40


def test_what_a_row_chooses_has_a_ring_in_its_colour() -> None:
    image = drawn()
    assert image.shape[1] == WIDTH
    assert ringed(image, "bonnet", drawing.GREEN)
    assert ringed(image, "ribbon", drawing.VERMILLION)
    assert not ringed(image, "ribbon", drawing.GREEN)
    both = drawn(dataclasses.replace(COMPARISON, rows=(MEASURED, MODEL, REMEDY)))
    assert ringed(both, "bonnet", drawing.ORANGE)
    assert ringed(both, "bonnet", drawing.GREEN)


def test_every_row_and_reason_takes_its_lines_and_the_photograph_is_not_changed() -> None:
    before = FRAME.rgb.copy()
    heights = [drawn(dataclasses.replace(COMPARISON, rows=COMPARISON.rows[:n])).shape[0] for n in (1, 2, 3)]
    assert heights[1] - heights[0] == 28
    assert heights[2] - heights[1] == 28 + drawing.line_height(15)  # FUSED has a reason
    assert np.array_equal(FRAME.rgb, before)
    nothing = dataclasses.replace(COMPARISON, relations=(), rows=(MEASURED,), reason="no relation", objects=OBJECTS[:1])
    assert drawn(nothing).shape[0] < heights[2], "without relations only measurement is told"


def test_the_last_line_is_whole_and_nothing_reaches_the_right_border() -> None:
    relations, opinions = (dataclasses.replace(RELATIONS[0], target_id="chick_" * 12),) * 9, (*MODEL.opinions * 5,)[:9]
    row = dataclasses.replace(MODEL, name="a very long name " * 7, chosen_id="ribbon_" * 20, reason="why " * 200)
    row = dataclasses.replace(row, opinions=opinions)
    image = drawn(dataclasses.replace(COMPARISON, relations=relations, rows=(MEASURED, row), instruction="the " * 200))
    table = image[556:]
    assert (table[-5:] == drawing.PAPER).all()
    assert (table[40:, -6:] != drawing.PAPER).any(axis=2).sum() <= 6 * 4  # lines between rows alone


@pytest.mark.parametrize("shape", [(640, 480), (480, 1280), (60, 80)])
def test_photographs_of_any_shape_are_shown_whole(shape: tuple[int, int]) -> None:
    rgb = np.full((*shape, 3), 90, np.uint8)
    camera = dataclasses.replace(FRAME.camera, width=shape[1], height=shape[0])
    frame = dataclasses.replace(FRAME, rgb=rgb, depth=np.full(shape, np.nan, np.float32), camera=camera)
    bare = dataclasses.replace(COMPARISON, objects=(), relations=(), rows=(MEASURED,))
    image = draw_comparison(frame, ANSWERED._replace(scene=None, detections=()), bare)
    assert image.shape[1] == WIDTH
    scale = min(740 / shape[1], 600 / shape[0])
    assert (image[: round(shape[0] * scale) - 1, : round(shape[1] * scale) - 1] == 90).all()


def test_words_of_cells() -> None:
    denied = dataclasses.replace(RELATIONS[1], negated=True)
    heads = heads_of(dataclasses.replace(COMPARISON, relations=(RELATIONS[0], denied)), 2)
    assert heads == ["", "chick bonnet behind cup?", "chick ribbon behind cup? (said: not)", "chooses", "truth"]
    unsure = dataclasses.replace(FUSED, opinions=(RelationOpinion(None), RelationOpinion(0.999)))
    failed = ComparedRow("model", "m", failed=True)
    assert [cells_of(row, COMPARISON, 2) for row in (MEASURED, MODEL, REMEDY, unsure, failed)] == [
        ["measurement", "1.00", "0.00", "chick bonnet", "right"],
        ["qwen alone", "0.10 (0.20)", "no opinion", "chick ribbon (not as measured)", "wrong"],
        ["qwen with attention=1.2", "0.10 (0.20)", "no opinion", "chick bonnet (as measured)", "right"],
        ["measurement and qwen", "?", ">0.99", "LOW_CONFIDENCE", "none"],
        ["m alone", "", "", "not asked", ""],
    ]


@pytest.mark.parametrize(("columns", "shown"), [(80, 2), (120, 4), (160, 6)])
def test_a_narrow_terminal_shows_fewer_relations_and_says_so(columns: int, shown: int) -> None:
    model = dataclasses.replace(MODEL, opinions=MODEL.opinions * 4)
    many = dataclasses.replace(COMPARISON, relations=RELATIONS * 4, rows=(MEASURED, model))
    console = Console(width=columns, record=True, file=io.StringIO())
    console.print(table_of(many, columns))
    text = console.export_text()
    assert text.count("0.10 (0.20)") == shown // 2
    assert f"not shown: {8 - shown};" in text
    assert "qwen alone" in text
    assert max(map(len, text.splitlines())) <= columns


def test_what_a_terminal_would_obey_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    evil = dataclasses.replace(OBJECTS[0], id="bon\x1b[2Jnet", label="chick\nx")
    print_table(dataclasses.replace(COMPARISON, objects=(evil,), instruction="the \x1b]0;x chick"))
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "measurement" in printed
