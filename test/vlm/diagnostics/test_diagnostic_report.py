# SPDX-License-Identifier: Apache-2.0
"""Reports, JSON and images of a diagnosis."""

from __future__ import annotations

import json
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from answering import Deaf, Guesser
from seeing import Seer

from spatial_vlm_ros.errors import InputError, ShapeError
from spatial_vlm_ros.vlm.diagnostics.examination import examine
from spatial_vlm_ros.vlm.diagnostics.item_set import Amount, draw_items
from spatial_vlm_ros.vlm.diagnostics.report import Inside, as_dict, diagnose, report
from spatial_vlm_ros.vlm.diagnostics.sheet import answer_sheet, attention_image

ITEMS = draw_items(Amount(8, 6, 2, seed=9))


def test_a_report_tells_the_verdict_and_every_number_behind_it() -> None:
    found = diagnose("a stub", examine(Deaf(), ITEMS))
    text = report(found)
    assert text.startswith(f"# a stub: {found.verdict}\n")
    assert "ignores the image" in found.verdict
    for finding in found.findings:
        assert f"| {finding.words} | {finding.where} | {finding.outcome} |" in text
    row = next(line for line in text.splitlines() if line.startswith("| relative | 24 |"))
    assert row.split(" | ")[2:4] == ["25.0", "25.0 (12.0 to 44.9)"]
    tables = [line.count(" | ") for line in text.splitlines() if line.startswith("|")]
    assert set(tables) == {6, 5, 3}


def test_a_diagnosis_goes_through_json_unchanged_with_what_could_not_be_measured() -> None:
    found = diagnose("a stub", examine(Guesser(), ITEMS), Inside(left_out=("norms: out of memory",)))
    told = as_dict(found)
    again = json.loads(json.dumps(told, allow_nan=False))
    assert again == told
    assert again["verdict"] == found.verdict
    whole = next(one for one in again["sections"] if one["name"] == "all")
    assert whole["accuracy"]["k"] == found.sections[0].accuracy.k
    numbers = dict.fromkeys(("permutation", "loudness", "balance", "rotary"))
    assert again["inside"] == {**numbers, "pooling": [], "left_out": ["norms: out of memory"]}
    assert report(found).endswith("\n\nNot measured: norms: out of memory\n")


def test_what_was_measured_inside_is_told_and_what_is_no_number_becomes_none() -> None:
    pytest.importorskip("torch")
    from spatial_vlm_ros.types.proportions import wilson
    from spatial_vlm_ros.vlm.diagnostics.attention import Balance
    from spatial_vlm_ros.vlm.diagnostics.loudness import Loudness
    from spatial_vlm_ros.vlm.diagnostics.permutation import Pooled, permutation_scores
    from spatial_vlm_ros.vlm.diagnostics.rotary_probe import RotarySensitivity
    from spatial_vlm_ros.vlm.diagnostics.scores import paired_difference

    right = np.arange(40) % 5 > 0
    two = np.array([[0.25, 0.75], [0.5, np.nan]])
    inside = Inside(
        permutation_scores(right, right[None] & (np.arange(40) % 2 > 0), np.full(40, 0.25), (3,)),
        (Pooled(4, wilson(20, 40), paired_difference([True], [True])),),
        Loudness(12.0, 0.8, 15.0),
        Balance(two, two, 3),
        RotarySensitivity(*[np.full((2, 2), 0.125)] * 7, 1.0),
    )
    found = diagnose("a stub", examine(Seer(), ITEMS), inside)
    text = report(found)
    numbers = ("PSI 50.0 (", "corrected for chance 72.7 (", "| 4 | 50.0 (", "ratio 15.", "3 steps: 50.0")
    for words in (*numbers, "|Δα_V| 1.25e-01"):
        assert words in text
    told = as_dict(found)["inside"]
    assert told["balance"]["with_system"] == [[0.25, 0.75], [0.5, None]]
    json.dumps(told, allow_nan=False)


def test_attention_is_coloured_where_it_is() -> None:
    rgb = np.full((40, 60, 3), 100, np.uint8)
    weights = np.zeros((2, 3))
    weights[1, 2] = 0.4
    found = attention_image(rgb, weights, share=1.0)
    assert found.shape == rgb.shape
    red = (found[..., 0] > 100) & (found[..., 2] < 20)
    assert red[20:, 40:].all()
    assert not red[:20].any()
    assert not red[:, :40].any()
    assert np.array_equal(attention_image(rgb, weights, share=0.0), rgb)
    assert (attention_image(rgb, np.zeros((2, 2))) == attention_image(rgb, np.zeros((2, 2)))[0, 0]).all()


def test_a_sheet_shows_wrong_answers_first_with_their_colour() -> None:
    done = examine(Deaf(), ITEMS[:10])
    wrong = sum(not one.right for one in done)
    sheet = answer_sheet(done, columns=3)
    assert sheet.shape == (4 * 316, 3 * 240, 3)
    edges = [tuple(int(v) for v in sheet[316 * (i // 3) + 2, 240 * (i % 3) + 2]) for i in range(10)]
    assert edges == [(200, 30, 30)] * wrong + [(20, 130, 40)] * (10 - wrong)
    first = next(one for one in done if not one.right)
    shown = cv2.resize(first.item.plain.rgb, (230, 230), interpolation=cv2.INTER_AREA)
    assert np.array_equal(sheet[5:235, 5:235], shown)


RGB = np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("call", "given", "error", "words"),
    [
        (attention_image, (RGB, np.zeros(4)), ShapeError, "attention"),
        (attention_image, (RGB, -np.ones((2, 2)), 0.5), InputError, "attention"),
        (attention_image, (RGB, np.full((2, 2), np.nan), 0.5), InputError, "attention"),
        (attention_image, (RGB, np.ones((2, 2)), 1.5), InputError, "attention"),
        (answer_sheet, ([],), InputError, "sheet"),
        (answer_sheet, (examine(Deaf(), ITEMS[:1]), 0), InputError, "0 columns"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    call: Callable[..., object], given: tuple[object, ...], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call(*given)
