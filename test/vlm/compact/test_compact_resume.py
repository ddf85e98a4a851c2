# SPDX-License-Identifier: Apache-2.0
"""Training: an interrupted run goes on bit by bit, damaged or foreign state is refused, and the whole chain learns."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import compact_cases as cases  # noqa: E402

from spatial_vlm_ros.errors import FileError, InputError  # noqa: E402
from spatial_vlm_ros.vlm.compact.batches import Batches, make_batch  # noqa: E402
from spatial_vlm_ros.vlm.compact.detecting import detector, torch_network  # noqa: E402
from spatial_vlm_ros.vlm.compact.phrasing import TrainingPhrase, label_phrases, modified_phrases  # noqa: E402
from spatial_vlm_ros.vlm.compact.scoring import score  # noqa: E402
from spatial_vlm_ros.vlm.compact.training import Told, TrainingRun, TrainingSettings, rate_at  # noqa: E402

SETTINGS = TrainingSettings(steps=6, batch=2, phrases=3)


def batches() -> Batches:
    samples = [cases.drawn(seed) for seed in range(4)]
    return Batches(samples, cases.VOCABULARY, cases.SPEC, 0, SETTINGS.batch, SETTINGS.phrases)


def run(folder: Path, settings: TrainingSettings = SETTINGS) -> TrainingRun:
    return TrainingRun(cases.small_config(), settings, folder, torch.device("cpu"))


def test_an_interrupted_run_goes_on_bit_by_bit(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    for step in range(6):
        whole.one_step(batches().batch(step))

    first = run(tmp_path / "parts")
    for step in range(3):
        first.one_step(batches().batch(step))
    first.save()
    torch.rand(5)
    second = run(tmp_path / "parts")
    assert second.step == 3
    assert second.train(batches(), lambda _: None)

    state, again = whole.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(state[name], again[name]) for name in state)


def test_minutes_stop_a_run_and_the_same_call_ends_it(tmp_path: Path) -> None:
    assert not run(tmp_path).train(batches(), lambda _: None, minutes=0.0)
    told: list[Told] = []
    again = run(tmp_path)
    assert again.train(batches(), told.append, validate=lambda _: 0.25, every=3, tell_every=2)
    assert [one.step for one in told if one.losses] == [2, 4, 6]
    assert [one.map50 for one in told if one.map50 is not None] == [0.25, 0.25]
    assert (tmp_path / "best" / "model.safetensors").is_file()
    assert run(tmp_path).best == 0.25


def test_a_run_begins_with_the_weights_of_another(tmp_path: Path) -> None:
    first = run(tmp_path / "first")
    first.one_step(batches().batch(0))
    first.model.save_pretrained(tmp_path / "first" / "best")
    cpu = torch.device("cpu")
    second = TrainingRun(cases.small_config(), SETTINGS, tmp_path / "second", cpu, tmp_path / "first" / "best")
    state, again = first.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(state[name], again[name]) for name in state)
    assert second.step == 0
    second.save()
    with pytest.raises(InputError, match="other start"):
        run(tmp_path / "second")
    first.save()
    with pytest.raises(InputError, match="steps"):
        run(tmp_path / "first", dataclasses.replace(SETTINGS, steps=7))
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04damaged")
    for start in (tmp_path / "none", tmp_path):
        with pytest.raises(FileError, match="same words"):
            TrainingRun(cases.small_config(), SETTINGS, tmp_path / "third", cpu, start)


def test_bfloat16_learns_nearly_the_same_with_weights_in_float32(tmp_path: Path) -> None:
    exact, short = run(tmp_path / "a"), run(tmp_path / "b", dataclasses.replace(SETTINGS, bfloat16=True))
    parts = [one.one_step(batches().batch(0)) for one in (exact, short)]
    assert parts[0]["total"] != parts[1]["total"]
    assert parts[1]["total"] == pytest.approx(parts[0]["total"], rel=0.1)
    assert {value.dtype for value in short.model.state_dict().values()} == {torch.float32, torch.int64}


def test_a_checkpoint_survives_an_interruption_between_its_renames_and_damage_is_refused(tmp_path: Path) -> None:
    current, folder = run(tmp_path), tmp_path / "checkpoint"
    current.one_step(batches().batch(0))
    current.save()
    folder.rename(tmp_path / "checkpoint.old")
    assert run(tmp_path).step == 1
    assert json.loads((folder / "progress.json").read_text())["step"] == 1
    for name in ("model.safetensors", "optimizer.safetensors", "progress.json", "random.safetensors"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(b"\x80\x04damaged")
        with pytest.raises(FileError, match="train again"):
            run(tmp_path)
        (folder / name).write_bytes(whole)


def test_the_rate_rises_and_falls() -> None:
    settings = TrainingSettings(steps=100, rate=1.0e-3, warm=0.1)
    rates = [rate_at(step, settings) for step in range(100)]
    assert rates[0] < rates[5] < rates[10] == pytest.approx(1.0e-3)
    assert rates[10] > rates[50] > rates[99] > 0
    assert rates[99] < 2e-5
    for wrong in ({"steps": 0}, {"rate": 0.0}):
        with pytest.raises(InputError):
            TrainingSettings(**wrong)


@pytest.mark.slow
def test_four_images_are_learnt_by_heart(tmp_path: Path) -> None:
    samples = [cases.drawn(seed) for seed in (1, 2, 3, 4)]
    phrases = [*label_phrases(samples), *modified_phrases(samples), TrainingPhrase("zebra", frozenset())]
    run = TrainingRun(cases.small_config(), TrainingSettings(steps=200, rate=4e-3), tmp_path, torch.device("cpu"))
    batch = make_batch(samples, [phrases] * len(samples), cases.SPEC)
    first = run.one_step(batch)
    for _ in range(199):
        last = run.one_step(batch)
    assert last["total"] < 0.1 * first["total"]

    figures = score(detector(torch_network(run.model), cases.SPEC, least=0.3, with_masks=True), samples, phrases)

    assert set(figures.ap50) == {phrase.text for phrase in phrases} - {"zebra"}
    assert min(figures.ap50.values()) == 1.0
    assert figures.mask_iou > 0.8
    for sample in samples:
        (nothing,) = detector(torch_network(run.model), cases.SPEC, least=0.3)(sample.rgb, ["zebra"])
        assert len(nothing.scores) == 0
