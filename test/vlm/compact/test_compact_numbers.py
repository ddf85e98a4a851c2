# SPDX-License-Identifier: Apache-2.0
"""What needs NumPy alone: words, the letterbox, decoding, scores, images in folders."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("transformers")
import compact_cases as cases

from spatial_vlm_ros.errors import FileError, InputError, ModelError
from spatial_vlm_ros.vlm.compact.decoding import RawOutput, asked, check_output, instances, masks, with_rivals
from spatial_vlm_ros.vlm.compact.letterbox import letterbox, resampled
from spatial_vlm_ros.vlm.compact.phrasing import TrainingPhrase, draw_phrases, label_phrases, modified_phrases
from spatial_vlm_ros.vlm.compact.scoring import PhraseDetections, average_precision, calibrated, score
from spatial_vlm_ros.vlm.compact.shards import Samples, Vocabulary, read_vocabulary, write_shard, write_vocabulary
from spatial_vlm_ros.vlm.compact.spec import spec_from
from spatial_vlm_ros.vlm.compact.split import read_split
from spatial_vlm_ros.vlm.compact.tokens import encode, meant, word_number

SPEC = cases.SPEC
SPLIT = Path(__file__).parents[3] / "models" / "compact" / "split.json"


# ------------------------------------------------------------------------------------------------ words


def test_the_head_noun_comes_first_and_plurals_are_their_singular() -> None:
    assert encode(["red ball", "balls", "Red-BOX"], SPEC).tolist() == [
        [word_number("ball", SPEC), word_number("red", SPEC), 0, 0],
        [word_number("ball", SPEC), 0, 0, 0],
        [word_number("box", SPEC), word_number("red", SPEC), 0, 0],
    ]
    assert word_number("zebra", SPEC) == word_number("zebra", SPEC) > len(SPEC.words), "unknown words keep their bucket"


@given(st.text(min_size=1, max_size=50))
def test_any_text_has_numbers_within_the_table_or_is_refused(text: str) -> None:
    try:
        numbers = encode([text], SPEC)
    except InputError:
        return
    assert numbers.shape == (1, SPEC.length)
    assert numbers.min() >= 0
    assert numbers.max() < SPEC.entries
    assert numbers[0, 0] > 0


@pytest.mark.parametrize(
    "values",
    [{}, {"words": "ball"}, {"words": []}, {"words": ["a", "a"]}, {"words": ["a"], "width": 321},
     {"words": ["a"], "buckets": 0}, {"words": ["a"], "length": "6"}, {"words": ["a b"]},
     {"words": ["a"], "score_scale": -1.0}, {"words": ["a"], "score_rival": 0.5}, {"words": ["a"], "names": ["a"]},
     {"words": ["a"], "names": {"a": "a"}}, {"words": ["a"], "names": {"a": [1]}},
     {"words": ["a"], "names": {"b": ["a"]}}],
)  # fmt: skip
def test_values_that_make_no_model_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(InputError):
        spec_from(values)


# ------------------------------------------------------------------------------------------------ images


@pytest.mark.parametrize("size", [(480, 640), (720, 1280), (3, 2)])
def test_an_image_of_one_colour_keeps_it_and_lies_in_the_corner(size: tuple[int, int]) -> None:
    pixels, box = letterbox(np.full((*size, 3), 200, np.uint8), 320, 240)
    assert pixels.shape == (1, 3, 240, 320)
    inside = pixels[0, :, : box.inner_height, : box.inner_width]
    assert np.abs(inside - 200).max() < 1e-3
    assert box.inner_width == 320 or box.inner_height == 240
    outside = pixels[0, 0].sum() - inside[0].sum()
    assert outside == pytest.approx(114.0 * (320 * 240 - inside[0].size), rel=1e-4)


def test_making_smaller_averages_and_making_larger_interpolates() -> None:
    ramp = np.arange(8, dtype=np.float32)[None, None].repeat(4, axis=1)
    smaller = resampled(ramp, 4, 4)[0, 0]
    assert smaller[1:3] == pytest.approx([2.5, 4.5])
    assert np.all(np.diff(resampled(ramp, 4, 32)[0, 0]) >= 0)


# ------------------------------------------------------------------------------------------------ decoding


def raw(heat: np.ndarray, sides: float = 16.0) -> RawOutput:
    """Output whose boxes are all squares of so many pixels about their cells."""
    phrases = len(heat)
    box = np.zeros((phrases, 4, *SPEC.cells), np.float32)
    box[:, 2:] = np.log(sides / 8)
    kernel = np.zeros((phrases, SPEC.kernel, *SPEC.cells), np.float32)
    kernel[:, 0] = 1.0
    return RawOutput(heat.astype(np.float32), box, kernel, np.full((SPEC.prototypes, 28, 40), -1.0, np.float32))


def test_peaks_become_boxes_in_pixels_of_the_image() -> None:
    heat = np.full((2, *SPEC.cells), -9.0)
    heat[0, 5, 4], heat[0, 5, 5], heat[1, 9, 16] = 3.0, 2.0, 1.0
    _, box = letterbox(np.zeros((224, 320, 3), np.uint8), cases.WIDTH, cases.HEIGHT)
    found = instances(raw(heat), box, SPEC, 0.5)
    assert [one.phrase for one in found] == [0, 1]
    assert found[0].box_xyxy == pytest.approx((56, 72, 88, 104), abs=1e-4)
    assert found[1].box_xyxy == pytest.approx((248, 136, 280, 168), abs=1e-4)
    assert found[0].score == pytest.approx(1 / (1 + np.exp(-3)))
    spec = dataclasses.replace(SPEC, score_scale=2.0, score_shift=-4.0)  # calibration never changes the order
    assert [round(one.score, 4) for one in instances(raw(heat), box, spec, 0.1)] == [0.8808, 0.1192]


RIVALS = dataclasses.replace(
    SPEC, names={"ball": ("ball",), "box": ("box",), "sphere": ("ball",), "object": ("ball", "box")}
)


def test_what_a_phrase_does_not_mean_is_its_rival() -> None:
    assert RIVALS.labels == ("ball", "box")
    phrases = ["red balls", "sphere", "box", "object", "zebra"]
    assert [sorted(meant(phrase, RIVALS)) for phrase in phrases] == [["ball"], ["ball"], ["box"], ["ball", "box"], []]
    heat = np.random.default_rng(0).normal(0, 3, (7, *SPEC.cells)).astype(np.float32)
    assert asked(phrases, RIVALS) == [*phrases, "ball", "box"]
    told = with_rivals(raw(heat), phrases, RIVALS)
    assert told.heat.shape[0] == told.box.shape[0] == told.kernel.shape[0] == 5
    assert told.rival is not None
    ball, box = heat[5], heat[6]
    expected = [box, box, ball, np.full_like(ball, -9.0), np.maximum(ball, box)]
    assert np.array_equal(told.rival, np.maximum(np.stack(expected), -3.0))
    assert with_rivals(raw(heat), phrases, SPEC).rival is None


def test_a_rival_takes_from_the_probability_of_its_own_cell_alone() -> None:
    heat = np.full((3, *SPEC.cells), -9.0)
    heat[0, 2, 2], heat[0, 9, 9] = 2.0, 2.0
    heat[2, 9, 9] = 1.0
    spec = dataclasses.replace(RIVALS, score_rival=-1.0)
    _, box = letterbox(np.zeros((cases.HEIGHT, cases.WIDTH, 3), np.uint8), cases.WIDTH, cases.HEIGHT)
    found = instances(with_rivals(raw(heat), ["ball"], spec), box, spec, 0.5)
    assert [(one.cell, one.evidence) for one in found] == [((2, 2), (2.0, -3.0)), ((9, 9), (2.0, 1.0))]
    assert [one.score for one in found] == pytest.approx([1 / (1 + np.exp(-5)), 1 / (1 + np.exp(-1))])


def test_a_mask_without_a_pixel_is_its_box() -> None:
    heat = np.full((1, *SPEC.cells), -9.0)
    heat[0, 5, 4] = 3.0
    _, box = letterbox(np.zeros((cases.HEIGHT, cases.WIDTH, 3), np.uint8), cases.WIDTH, cases.HEIGHT)
    output = raw(heat)
    found = instances(output, box, SPEC, 0.5)
    (mask,) = masks(found, output, box)
    rows, columns = np.nonzero(mask)
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (27, 35, 45, 53)
    assert mask.sum() == 18 * 18


def test_output_that_is_not_as_promised_is_refused() -> None:
    output = raw(np.zeros((2, *SPEC.cells)))
    check_output(output, 2, SPEC, "compact")
    with pytest.raises(ModelError, match="heat"):
        check_output(output, 3, SPEC, "compact")
    output.kernel[0, 0, 0, 0] = np.nan
    with pytest.raises(ModelError, match="finite"):
        check_output(output, 2, SPEC, "compact")


# ------------------------------------------------------------------------------------------------ scores


def test_average_precision_by_hand() -> None:
    assert average_precision([], 3) == 0.0
    assert average_precision([(0.9, 1), (0.8, 1)], 2) == 1.0
    assert average_precision([(0.9, 1), (0.8, 0), (0.7, 1)], 2) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert average_precision([(0.9, 0), (0.8, 1)], 4) == pytest.approx(0.25 * 0.5)


def test_a_perfect_detector_has_full_marks_and_a_doubled_one_has_not() -> None:
    samples = [cases.drawn(seed) for seed in range(5)]
    phrases = label_phrases(samples)

    def perfect(copies: int) -> Any:
        def detect(rgb: np.ndarray, asked: list[str]) -> list[PhraseDetections]:
            sample = next(s for s in samples if s.rgb is rgb)
            answers = []
            for label in asked:
                mine = [(n, one) for n, one in enumerate(sample.objects, 1) if one.label == label] * copies
                boxes = np.array([one.box_xyxy for _, one in mine], np.float64).reshape(-1, 4)
                shown = tuple(sample.numbers == n for n, _ in mine)
                answers.append(PhraseDetections(np.full(len(mine), 0.9), boxes, np.zeros((len(mine), 2)), shown))
            return answers

        return detect

    figures = score(perfect(1), samples, phrases)
    assert figures.map50 == figures.mask_iou == 1.0
    assert sum(figures.objects.values()) == sum(len(s.objects) for s in samples)
    assert score(perfect(2), samples, phrases).map50 < 0.8


def test_calibration_finds_the_line_that_made_the_data_and_a_rival_never_speaks_for_a_phrase() -> None:
    rng = np.random.default_rng(0)

    def fit(own: float, rival: float, evidence: np.ndarray) -> tuple[float, float, float]:
        chance = 1 / (1 + np.exp(-(own * evidence[:, 0] + rival * evidence[:, 1] - 0.6)))
        right = (rng.random(len(evidence)) < chance).astype(float)
        assert rival < 0 or calibrated(evidence, right) == calibrated(evidence * (1, 0), right)
        return calibrated(evidence, right)

    evidence = rng.normal(0, 2, (20000, 2))
    assert fit(1.7, -0.9, evidence) == pytest.approx((1.7, -0.9, -0.6), abs=0.1)
    assert fit(1.7, 0.5, evidence)[1] == 0.0
    assert calibrated(np.array([[0.5, 0.0]]), np.array([1.0])) == (1.0, 0.0, 0.0)


# ------------------------------------------------------------------------------------------------ phrases, folders


def test_no_phrase_says_a_withheld_pair_of_objects_it_does_not_show() -> None:
    withheld = frozenset({("blue", "ball"), ("green", "box")})
    vocabulary = Vocabulary(cases.VOCABULARY.modifiers, cases.VOCABULARY.names, withheld)
    rng = np.random.default_rng(0)
    shown = [s for s in map(cases.drawn, range(60))
             if not any((o.attributes[0], o.label) in withheld for o in s.objects)]  # fmt: skip
    said = {phrase.text for s in shown for phrase in draw_phrases(rng, s.objects, vocabulary, 12)}
    assert "red ball" in said
    assert not said & {"blue ball", "green box"}


def test_phrases_mean_what_they_say() -> None:
    sample = cases.drawn(3)
    for phrase in modified_phrases([sample]):
        assert phrase.pair is not None
        meant = [one for one in sample.objects if phrase.names(one)]
        assert meant
        assert all(phrase.text == f"{one.attributes[0]} {one.label}" for one in meant)
    assert TrainingPhrase("zebra", frozenset()).pair is None


def test_images_come_back_from_their_folder_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    samples = [cases.drawn(seed) for seed in range(3)]
    with pytest.raises(FileError, match="render"):
        Samples(tmp_path, "training")
    with pytest.raises(InputError):
        write_shard(tmp_path, "training", 0, [])
    write_shard(tmp_path, "training", 0, samples[:2])
    write_shard(tmp_path, "training", 1, samples[2:])
    write_vocabulary(tmp_path, cases.VOCABULARY)
    read = Samples(tmp_path, "training")
    assert len(read) == 3
    for n, sample in enumerate(samples):
        assert np.array_equal(read[n].rgb, sample.rgb)
        assert np.array_equal(read[n].numbers, sample.numbers)
        assert read[n].objects == sample.objects
    with pytest.raises(IndexError):
        read[3]
    assert read_vocabulary(tmp_path) == cases.VOCABULARY
    for spoilt in (np.array([{}], dtype=object), np.zeros((2, 3, 4, 3), np.uint8)):
        np.save(tmp_path / "training_00000.rgb.npy", spoilt, allow_pickle=True)
        with pytest.raises(FileError, match="render"):
            Samples(tmp_path, "training")
    (tmp_path / "vocabulary.json").write_text("[]")
    with pytest.raises(FileError):
        read_vocabulary(tmp_path)


def test_the_split_has_parts_apart_and_holds_pairs_of_the_simulator(tmp_path: Path) -> None:
    from spatial_vlm_ros.sim.kinds import KINDS
    from spatial_vlm_ros.sim.tabletop import COLOURS

    split = read_split(SPLIT)
    assert split.test.worlds == 300
    assert len(split.withheld) == 8
    assert all(colour in COLOURS and kind in KINDS for colour, kind in split.withheld)
    values = json.loads(SPLIT.read_text())
    values["test"]["seeds"] = [2000000, 2000001]
    (tmp_path / "split.json").write_text(json.dumps(values))
    with pytest.raises(FileError, match="share seeds"):
        read_split(tmp_path / "split.json")
    (tmp_path / "split.json").write_text("{}")
    with pytest.raises(FileError):
        read_split(tmp_path / "split.json")
