# SPDX-License-Identifier: Apache-2.0
"""The compact model: words, images, decoding, scores, losses by hand, targets, and runs that go on bit by bit."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import tables

pytest.importorskip("compact_cases")
import compact_cases as cases
import torch

from spatial_vlm_lab.sim.training_frames import vocabulary
from spatial_vlm_lab.training import compact, images, loop
from spatial_vlm_lab.training.compact import TrainingRun, calibrated, focal, rate_at, score
from spatial_vlm_lab.training.images import LabelledObject, Samples, read_split, read_vocabulary, write_shard
from spatial_vlm_lab.training.loop import (
    TrainingBatch,
    TrainingSettings,
    drawn_batch,
    label_phrases,
    make_batch,
    modified_phrases,
)
from spatial_vlm_ros.errors import FileError, InputError, ModelError
from spatial_vlm_ros.vlm.compact import decoding
from spatial_vlm_ros.vlm.compact.decoding import RawOutput, asked, check_output, instances, letterbox, with_rivals
from spatial_vlm_ros.vlm.compact.model import CompactModel, config_of
from spatial_vlm_ros.vlm.compact.spec import CompactSpec, encode, meant, read_spec, spec_from, word_number

TABLES = tables(__file__)


@pytest.fixture
def small() -> CompactModel:
    torch.manual_seed(0)
    return CompactModel(cases.small_config()).eval()


def test_the_sizes_and_shapes_are_the_documented_ones(small: CompactModel) -> None:
    modifiers, names = vocabulary()
    shipped = CompactModel(config_of(CompactSpec(tuple(sorted({*modifiers, *names})))))
    assert 1e6 < sum(p.numel() for p in shipped.parameters()) <= 5e6
    words = torch.from_numpy(encode(["ball", "red box", "zebra"], cases.SPEC))
    said = small(torch.zeros(2, 3, cases.HEIGHT, cases.WIDTH), words, torch.tensor([0, 1, 1]))
    rows, columns = cases.SPEC.cells
    assert said.heat.shape == (3, rows, columns)
    assert said.box.shape == (3, 4, rows, columns)
    assert said.kernel.shape == (3, cases.SPEC.kernel, rows, columns)
    assert said.prototypes.shape == (2, cases.SPEC.prototypes, cases.HEIGHT // 4, cases.WIDTH // 4)


def test_a_phrase_is_answered_alike_alone_and_with_its_modifiers_in_any_order(small: CompactModel) -> None:
    pixels = torch.rand(1, 3, cases.HEIGHT, cases.WIDTH, generator=torch.Generator().manual_seed(0)) * 255
    texts = ["ball", "red green box", "green red box", "box red green"]
    words = torch.from_numpy(encode(texts, cases.SPEC))
    with torch.inference_mode():
        together, alone = small(pixels, words).heat, small(pixels, words[1:2]).heat
    assert torch.allclose(together[1], alone[0], atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-5)
    assert torch.allclose(together[1], together[2], atol=1e-6)
    assert not torch.allclose(together[1], together[3], atol=1e-6), "the head noun does not change places"


def test_a_saved_model_is_the_same_again(small: CompactModel, tmp_path: Path) -> None:
    small.config.score_scale = 1.25
    small.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    loaded = CompactModel.from_pretrained(tmp_path, local_files_only=True).eval()
    torch.testing.assert_close(loaded.state_dict(), small.state_dict(), rtol=0, atol=0)
    assert read_spec(tmp_path) == loaded.config.spec
    assert read_spec(tmp_path).score_scale == 1.25


def test_focal_loss_of_three_cells_says_nothing_where_the_target_is_negative() -> None:
    logits = torch.tensor([[[0.0, 0.0, math.log(3.0)]]])
    target = torch.tensor([[[1.0, 0.5, 0.0]]])
    centre = 0.25 * math.log(2)  # (1 - 1/2)² log 2
    near = 0.5**4 * 0.25 * math.log(2)  # (1 - 1/2)⁴ (1/2)² log 2
    far = 0.75**2 * math.log(4)  # (3/4)² log 4
    assert float(focal(logits, target)) == pytest.approx(centre + near + far, rel=1e-5)
    target = torch.tensor([[[1.0, -1.0]]])
    values = [float(focal(torch.tensor([[[2.0, x]]]), target)) for x in (-5.0, 5.0)]
    assert values[0] == values[1]


@pytest.mark.parametrize(("other", "expected"), TABLES["iou"])
def test_generalised_iou(other: tuple[float, ...], expected: float) -> None:
    a, b = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([other], dtype=torch.float32)
    assert float(compact.generalised_iou(a, b)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_perfect_output_decodes_to_the_truth(seed: int) -> None:
    sample = cases.drawn(seed)
    phrases = label_phrases([sample])
    batch = make_batch([sample], [phrases], cases.SPEC)
    logits = np.where(batch.heat == 1.0, 8.0, -8.0).astype(np.float32)
    kernel = np.zeros((len(phrases), cases.SPEC.kernel, *cases.SPEC.cells), np.float32)
    prototypes = np.zeros((cases.SPEC.prototypes, cases.HEIGHT // 4, cases.WIDTH // 4), np.float32)
    whole = decoding.Letterbox(cases.WIDTH, cases.HEIGHT, cases.WIDTH, cases.HEIGHT)
    found = instances(RawOutput(logits, batch.box, kernel, prototypes), whole, cases.SPEC, 0.5)
    said = sorted((phrases[one.phrase].text, tuple(round(v) for v in one.box_xyxy)) for one in found)
    assert said == sorted((one.label, tuple(round(v) for v in one.box_xyxy)) for one in sample.objects)


def test_each_object_has_one_centre_and_its_mask_and_hardly_visible_ones_are_neither_demanded_nor_forbidden() -> None:
    sample = cases.drawn(2)
    batch = make_batch([sample], [label_phrases([sample])], cases.SPEC)
    assert int((batch.heat == 1.0).sum()) == len(sample.objects) == len(batch.mask)
    areas = sorted(16 * float(mask.sum()) for mask in batch.mask)
    assert areas == pytest.approx(sorted(float((sample.numbers == n).sum()) for n in (1, 2, 3)), rel=0.2)
    weights = [batch.box_weight[q].sum() for q in range(len(batch.words))]
    assert sum(weights) == pytest.approx(len(sample.objects), rel=1e-4)
    sample = cases.drawn(1)
    hidden = tuple(LabelledObject(one.label, one.attributes, one.box_xyxy, 0.01) for one in sample.objects)
    seen = images.LabelledImage(sample.rgb, sample.numbers, hidden)
    batch = make_batch([seen], [label_phrases([sample])], cases.SPEC)
    assert not (batch.heat == 1.0).any()
    assert (batch.heat == -1.0).any()
    assert len(batch.mask) == 0


SETTINGS = TrainingSettings(steps=6, batch=2, phrases=3)
DRAWN = [cases.drawn(seed) for seed in range(4)]


def batch_of(step: int, settings: TrainingSettings = SETTINGS) -> TrainingBatch:
    return drawn_batch(step, DRAWN, cases.VOCABULARY, cases.SPEC, settings)


def test_a_batch_follows_from_seed_and_step_and_masks_are_made_alike_by_both_libraries() -> None:
    one, again, other = (batch_of(7, dataclasses.replace(SETTINGS, seed=seed)) for seed in (5, 5, 6))
    assert np.array_equal(one.pixels, again.pixels)
    assert np.array_equal(one.heat, again.heat)
    assert not np.array_equal(one.pixels, other.pixels)
    rng = np.random.default_rng(0)
    kernel, prototypes = (rng.standard_normal(size).astype(np.float32) for size in (19, (16, 28, 40)))
    box = (20.0, 31.5, 90.0, 77.0)
    given = torch.from_numpy(kernel)[None], torch.from_numpy(prototypes)[None], torch.tensor([box])
    torchs = compact.mask_logits(*given)[0].numpy()
    assert np.abs(torchs - decoding.mask_logits(kernel, prototypes, box)).max() < 1e-4


def run(folder: Path, settings: TrainingSettings = SETTINGS, start: Path | None = None) -> TrainingRun:
    return TrainingRun(cases.small_config(), settings, folder, torch.device("cpu"), start)


def one_step(run: TrainingRun, batch: TrainingBatch) -> dict[str, float]:
    told: dict[str, float] = {}
    run.loop.make_step(lambda _: told.update(run.learn(batch)) or told["total"])
    return told


def test_an_interrupted_run_goes_on_bit_by_bit(tmp_path: Path) -> None:
    whole, first = run(tmp_path / "whole"), run(tmp_path / "parts")
    for step in range(6):
        one_step(whole, batch_of(step))
    for step in range(3):
        one_step(first, batch_of(step))
    first.loop.save()
    torch.rand(5)
    second = run(tmp_path / "parts")
    assert second.loop.progress.step == 3
    assert second.train(batch_of, lambda *_: None)
    torch.testing.assert_close(second.model.state_dict(), whole.model.state_dict(), rtol=0, atol=0)


def test_a_run_reports_losses_and_scores_and_keeps_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "_TOLD", 2)
    assert not run(tmp_path).train(batch_of, lambda *_: None, minutes=0.0)
    told: list[Any] = []
    assert run(tmp_path).train(batch_of, lambda *one: told.append(one), validate=lambda _: 0.25, every=3)
    assert [step for step, losses, _ in told if losses] == [2, 4, 6]
    assert {"heat", "box", "sides", "mask", "total"} == told[0][1].keys()
    assert [(step, map50) for step, _, map50 in told if map50 is not None] == [(3, 0.25), (6, 0.25)]
    assert (tmp_path / "best" / "model.safetensors").is_file()
    assert run(tmp_path).loop.progress.best == 0.25


def test_a_run_begins_with_the_weights_of_another(tmp_path: Path) -> None:
    first = run(tmp_path / "first")
    one_step(first, batch_of(0))
    first.model.save_pretrained(tmp_path / "first" / "best")
    second = run(tmp_path / "second", start=tmp_path / "first" / "best")
    torch.testing.assert_close(second.model.state_dict(), first.model.state_dict(), rtol=0, atol=0)
    assert second.loop.progress.step == 0
    second.loop.save()
    with pytest.raises(InputError, match="settings: start was"):
        run(tmp_path / "second")
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04damaged")
    for start in (tmp_path / "none", tmp_path):
        with pytest.raises(FileError, match="same words"):
            run(tmp_path / "third", start=start)


def test_bfloat16_learns_nearly_the_same_with_weights_in_float32(tmp_path: Path) -> None:
    exact, short = run(tmp_path / "a"), run(tmp_path / "b", dataclasses.replace(SETTINGS, bfloat16=True))
    parts = [one_step(one, batch_of(0)) for one in (exact, short)]
    assert parts[0]["total"] != parts[1]["total"]
    assert parts[1]["total"] == pytest.approx(parts[0]["total"], rel=0.1)
    assert {value.dtype for value in short.model.state_dict().values()} == {torch.float32, torch.int64}


@pytest.mark.parametrize("former", ["checkpoint/progress.json", "checkpoint.old/progress.json"])
def test_checkpoints_that_cannot_be_continued_are_refused(tmp_path: Path, former: str) -> None:
    """Of earlier versions, which wrote four files, and damaged ones."""
    (tmp_path / former).parent.mkdir()
    (tmp_path / former).write_text("{}")
    with pytest.raises(FileError, match=r"earlier version.*train again"):
        run(tmp_path)
    state = tmp_path / "new" / "checkpoint" / "state.safetensors"
    run(tmp_path / "new").loop.save()
    state.write_bytes(b"\x80\x04damaged")
    with pytest.raises(FileError, match="train again"):
        run(tmp_path / "new")


def test_the_rate_rises_and_falls() -> None:
    settings = TrainingSettings(steps=100, rate=1.0e-3, warm=0.1)
    rates = [rate_at(step, settings) for step in range(100)]
    assert rates[0] < rates[5] < rates[10] == pytest.approx(1.0e-3)
    assert rates[10] > rates[50] > rates[99] > 0
    assert rates[99] < 2e-5


SPEC = cases.SPEC
SPLIT = Path(__file__).parents[3] / "models" / "compact" / "split.json"


def test_the_head_noun_comes_first_and_plurals_are_their_singular() -> None:
    ball, red, box = (word_number(word, SPEC) for word in ("ball", "red", "box"))
    found = encode(["red ball", "balls", "Red-BOX"], SPEC).tolist()
    assert found == [[ball, red, 0, 0], [ball, 0, 0, 0], [box, red, 0, 0]]
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


@pytest.mark.parametrize("values", TABLES["no model"])
def test_values_that_make_no_model_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(InputError):
        spec_from(values)


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
    smaller = decoding.resampled(ramp, 4, 4)[0, 0]
    assert smaller[1:3] == pytest.approx([2.5, 4.5])
    assert np.all(np.diff(decoding.resampled(ramp, 4, 32)[0, 0]) >= 0)


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


RIVALS = dataclasses.replace(SPEC, names=cases.VOCABULARY.names)


def test_a_phrase_does_not_mean_its_rivals_which_take_from_the_probability_of_their_own_cell_alone() -> None:
    assert RIVALS.labels == ("ball", "box")
    phrases = ["red balls", "sphere", "box", "object", "zebra"]
    assert [sorted(meant(phrase, RIVALS)) for phrase in phrases] == [["ball"], ["ball"], ["box"], ["ball", "box"], []]
    heat = np.random.default_rng(0).normal(0, 3, (7, *SPEC.cells)).astype(np.float32)
    assert asked(phrases, RIVALS) == [*phrases, "ball", "box"]
    told = with_rivals(raw(heat), phrases, RIVALS)
    assert told.heat.shape[0] == told.box.shape[0] == told.kernel.shape[0] == 5
    ball, box = heat[5], heat[6]
    expected = [box, box, ball, np.full_like(ball, -9.0), np.maximum(ball, box)]
    assert np.array_equal(told.rival, np.maximum(np.stack(expected), -3.0))
    assert with_rivals(raw(heat), phrases, SPEC).rival is None
    heat = np.full((3, *SPEC.cells), -9.0)
    heat[0, 2, 2], heat[0, 9, 9] = 2.0, 2.0
    heat[2, 9, 9] = 1.0
    spec = dataclasses.replace(RIVALS, score_rival=-1.0)
    _, box = letterbox(np.zeros((cases.HEIGHT, cases.WIDTH, 3), np.uint8), cases.WIDTH, cases.HEIGHT)
    found = instances(with_rivals(raw(heat), ["ball"], spec), box, spec, 0.5)
    assert [(one.cell, one.evidence) for one in found] == [((2, 2), (2.0, -3.0)), ((9, 9), (2.0, 1.0))]
    assert [one.score for one in found] == pytest.approx([1 / (1 + np.exp(-5)), 1 / (1 + np.exp(-1))])


def test_a_mask_without_a_pixel_is_its_box_and_output_that_is_not_as_promised_is_refused() -> None:
    heat = np.full((1, *SPEC.cells), -9.0)
    heat[0, 5, 4] = 3.0
    _, box = letterbox(np.zeros((cases.HEIGHT, cases.WIDTH, 3), np.uint8), cases.WIDTH, cases.HEIGHT)
    output = raw(heat)
    found = instances(output, box, SPEC, 0.5)
    (mask,) = decoding.masks(found, output, box)
    rows, columns = np.nonzero(mask)
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (27, 35, 45, 53)
    assert mask.sum() == 18 * 18
    output = raw(np.zeros((2, *SPEC.cells)))
    check_output(output, 2, SPEC, "compact")
    with pytest.raises(ModelError, match="heat"):
        check_output(output, 3, SPEC, "compact")
    output.kernel[0, 0, 0, 0] = np.nan
    with pytest.raises(ModelError, match="finite"):
        check_output(output, 2, SPEC, "compact")


def test_average_precision_by_hand_of_a_perfect_detector_and_of_a_doubled_one() -> None:
    assert compact.average_precision([], 3) == 0.0
    assert compact.average_precision([(0.9, 1), (0.8, 1)], 2) == 1.0
    assert compact.average_precision([(0.9, 1), (0.8, 0), (0.7, 1)], 2) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert compact.average_precision([(0.9, 0), (0.8, 1)], 4) == pytest.approx(0.25 * 0.5)
    samples = [cases.drawn(seed) for seed in range(5)]
    phrases = label_phrases(samples)

    def perfect(copies: int) -> Any:
        def detect(rgb: np.ndarray, asked: list[str]) -> list[tuple[decoding.Instance, Any]]:
            sample = next(s for s in samples if s.rgb is rgb)
            return [
                (decoding.Instance(p, 0.9, one.box_xyxy, (0, 0), (0.0, 0.0), one.box_xyxy), sample.numbers == n)
                for p, label in enumerate(asked)
                for n, one in [*enumerate(sample.objects, 1)] * copies
                if one.label == label
            ]

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


def test_phrases_mean_what_they_say_and_never_a_withheld_pair_of_objects_that_is_not_shown() -> None:
    sample = cases.drawn(3)
    for phrase in modified_phrases([sample]):
        meant = [one for one in sample.objects if phrase.names(one)]
        assert meant
        assert all(phrase.text == f"{one.attributes[0]} {one.label}" for one in meant)
    assert loop.TrainingPhrase("zebra", frozenset()).pair is None
    withheld = frozenset({("blue", "ball"), ("green", "box")})
    vocabulary = images.Vocabulary(cases.VOCABULARY.modifiers, cases.VOCABULARY.names, withheld)
    rng = np.random.default_rng(0)
    shown = [s for s in map(cases.drawn, range(60))
             if not any((o.attributes[0], o.label) in withheld for o in s.objects)]  # fmt: skip
    said = {phrase.text for s in shown for phrase in loop.draw_phrases(rng, s.objects, vocabulary, 12)}
    assert "red ball" in said
    assert not said & {"blue ball", "green box"}


def test_images_come_back_from_their_folder_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    samples = [cases.drawn(seed) for seed in range(3)]
    with pytest.raises(FileError, match="render"):
        Samples(tmp_path, "training")
    with pytest.raises(InputError):
        write_shard(tmp_path, "training", 0, [])
    write_shard(tmp_path, "training", 0, samples[:2])
    write_shard(tmp_path, "training", 1, samples[2:])
    images.write_vocabulary(tmp_path, cases.VOCABULARY)
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
    from spatial_vlm_ros.sim.settled import KINDS
    from spatial_vlm_ros.sim.tabletop import COLOURS

    split = read_split(SPLIT)
    assert split.test.worlds == 300
    assert len(split.held_out_pairs) == 8
    assert all(colour in COLOURS and kind in KINDS for colour, kind in split.held_out_pairs)
    values = json.loads(SPLIT.read_text())
    values["test"]["seeds"] = [2000000, 2000001]
    (tmp_path / "split.json").write_text(json.dumps(values))
    with pytest.raises(FileError, match="share seeds"):
        read_split(tmp_path / "split.json")
    (tmp_path / "split.json").write_text("{}")
    with pytest.raises(FileError):
        read_split(tmp_path / "split.json")
