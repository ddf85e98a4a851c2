# SPDX-License-Identifier: Apache-2.0
"""A run that is killed goes on from its last state, and ends with the weights of one that was never interrupted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from adapt_cases import CPU, LESSONS, VIEWS, prepared, scorer_of  # noqa: E402

from spatial_vlm_ros.errors import FileError, InputError, ModelError  # noqa: E402
from spatial_vlm_ros.perception.adapting.bases import load_encoder  # noqa: E402
from spatial_vlm_ros.perception.adapting.region_lessons import region_teacher  # noqa: E402
from spatial_vlm_ros.vlm.adaptation.frame_store import StoredView, read_store, write_group  # noqa: E402
from spatial_vlm_ros.vlm.adaptation.loop import STATE, AdaptLimits, AdaptProgress, AdaptRun  # noqa: E402
from spatial_vlm_ros.vlm.adaptation.region_text import seeded_model  # noqa: E402
from spatial_vlm_ros.vlm.adaptation.settings import AdaptSettings  # noqa: E402
from spatial_vlm_ros.vlm.adaptation.teaching import learnt  # noqa: E402


class KilledError(Exception):
    """In place of a signal."""


def run_of(bases: Path, name: str, folder: Path, stop: int = 99, **more: Any) -> AdaptRun:
    """Train six steps, or until a step at which the process ends; a state every two steps."""
    made, settings = prepared(bases, name, steps=6, **more)
    scorer = scorer_of(made)

    def learn(step: int) -> float:
        if step == stop:
            raise KilledError
        return learnt(scorer, [LESSONS[step % len(LESSONS)]], 1)

    run = AdaptRun((made.first, made.second), settings, {"name": name}, folder)
    run.train(learn, AdaptLimits(every=2))
    return run


def weights(run: AdaptRun) -> dict[str, Any]:
    return {name: value.detach().clone() for name, value in run._named.items()}


@pytest.mark.parametrize(
    ("name", "stop"),
    [
        ("all", 3),
        ("pin", 4),
        *(pytest.param("positions learned-absolute", stop, marks=pytest.mark.slow) for stop in (3, 4)),
    ],
)
def test_a_killed_run_ends_as_an_unbroken_one(bases: Path, tmp_path: Path, name: str, stop: int) -> None:
    whole = weights(run_of(bases, name, tmp_path / "whole"))
    with pytest.raises(KilledError):
        run_of(bases, name, tmp_path / "killed", stop)
    told = []
    made, settings = prepared(bases, name, steps=6)
    again = AdaptRun((made.first, made.second), settings, {"name": name}, tmp_path / "killed")
    assert again.progress.step == stop - stop % 2  # what was learnt since the last state alone is learnt again
    scorer = scorer_of(made)

    def learn(step: int) -> float:
        told.append(step)
        return learnt(scorer, [LESSONS[step % len(LESSONS)]], 1)

    assert again.train(learn, AdaptLimits(every=2))
    assert told == list(range(stop - stop % 2, 6))
    for key, value in weights(again).items():
        assert torch.allclose(value, whole[key], atol=1e-7), key
    assert [step for step, _ in again.progress.losses] == [2, 4, 6]


def stored(folder: Path) -> tuple[StoredView, ...]:
    for number, view in enumerate(VIEWS):
        write_group(folder, "drawn", str(number), [view])
    return sum(read_store(folder, 0).values(), ())


def cloc_run(bases: Path, folder: Path, views: tuple[StoredView, ...], stop: int = 99, steps: int = 4) -> AdaptRun:
    settings = AdaptSettings("cloc", new_encoder=True, steps=steps, batch=3, rate=5e-3)
    vision, images = load_encoder(bases / "siglip", CPU, torch.float32)
    model = seeded_model(vision, images, 0)
    teach = region_teacher(model, images, views, settings)

    def learn(step: int) -> float:
        if step == stop:
            raise KilledError
        return teach(step)

    run = AdaptRun(model.groups(), settings, {}, folder)
    run.train(learn, AdaptLimits(every=1))
    return run


def test_a_killed_encoder_goes_on_too_and_its_loss_falls(bases: Path, tmp_path: Path) -> None:
    views = stored(tmp_path / "frames")
    whole = cloc_run(bases, tmp_path / "whole", views)
    with pytest.raises(KilledError):
        cloc_run(bases, tmp_path / "killed", views, 2)
    again = weights(cloc_run(bases, tmp_path / "killed", views))
    first = dict(load_encoder(bases / "siglip", CPU, torch.float32)[0].named_parameters())
    for key, value in weights(whole).items():
        assert torch.allclose(value, again[key], atol=1e-7), key
    moved = [key for key, value in first.items() if not torch.equal(value, again[f"vision.{key}"])]
    assert any("patch_embedding" in key for key in moved)  # the encoder itself learns
    losses = [loss for _, loss in cloc_run(bases, tmp_path / "long", views, steps=30).progress.losses]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_a_loss_that_is_no_number_stops_and_the_last_good_weights_go_on_with_a_lower_rate(
    bases: Path, tmp_path: Path
) -> None:
    made, settings = prepared(bases, "norm", steps=4)
    scorer = scorer_of(made)
    run = AdaptRun((made.first, made.second), settings, {}, tmp_path)
    with pytest.raises(ModelError, match=r"step 4; the weights of step 3 are kept.*lower --rate"):
        run.train(lambda step: math.nan if step == 3 else learnt(scorer, LESSONS, 3), AdaptLimits())
    good = weights(run)
    assert all(bool(torch.isfinite(value).all()) for value in good.values())
    made, slower = prepared(bases, "norm", steps=4, rate=0.001)
    scorer = scorer_of(made)
    run = AdaptRun((made.first, made.second), slower, {}, tmp_path)
    assert all(torch.equal(value, good[key]) for key, value in weights(run).items())
    assert run.train(lambda _: learnt(scorer, LESSONS, 3), AdaptLimits())
    assert run.progress.rates == [(0, 0.02), (3, 0.001)]


def test_memory_that_runs_out_keeps_the_weights_and_says_what_needs_less(bases: Path, tmp_path: Path) -> None:
    made, settings = prepared(bases, "norm", steps=4)
    scorer = scorer_of(made)

    def learn(step: int) -> float:
        if step == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return learnt(scorer, LESSONS[:1], 1)

    run = AdaptRun((made.first, made.second), settings, {}, tmp_path)
    with pytest.raises(ModelError, match=r"step 2 are kept.*--checkpointing --micro 1"):
        run.train(learn, AdaptLimits())
    made, settings = prepared(bases, "norm", steps=4, checkpointing=True)
    assert AdaptRun((made.first, made.second), settings, {}, tmp_path).progress.step == 2


def test_a_gradient_that_is_no_number_changes_no_weight(bases: Path, tmp_path: Path) -> None:
    made, settings = prepared(bases, "norm")
    run = AdaptRun((made.first, made.second), settings, {}, tmp_path)
    before = weights(run)

    def spoilt(_: int) -> float:
        for value in made.first.values():
            value.grad = torch.full_like(value, math.inf)
        return 1.0

    with pytest.raises(ModelError, match="gradient"):
        run.train(spoilt, AdaptLimits())
    assert all(torch.equal(value, before[key]) for key, value in weights(run).items())


def test_states_of_other_settings_and_damaged_ones_are_refused(bases: Path, tmp_path: Path) -> None:
    run_of(bases, "norm", tmp_path)
    made, settings = prepared(bases, "norm", steps=6)
    with pytest.raises(InputError, match=r"name was 'norm', now 'other'.*--force"):
        AdaptRun((made.first, made.second), settings, {"name": "other"}, tmp_path)
    made, settings = prepared(bases, "lora", steps=6)
    with pytest.raises(FileError, match="--force"):
        AdaptRun((made.first, made.second), settings, {"name": "norm"}, tmp_path)
    (tmp_path / STATE).write_bytes(b"nothing")
    with pytest.raises(FileError, match="--force"):
        AdaptRun((made.first, made.second), settings, {"name": "norm"}, tmp_path)


def test_minutes_end_a_part_and_the_watcher_is_told(bases: Path, tmp_path: Path) -> None:
    made, settings = prepared(bases, "norm", steps=6)
    told: list[AdaptProgress] = []
    run = AdaptRun((made.first, made.second), settings, {}, tmp_path)
    scorer = scorer_of(made)
    assert not run.train(lambda _: learnt(scorer, LESSONS[:1], 1), AdaptLimits(minutes=1e-9, told=told.append))
    assert run.progress.step == 0
    assert not told
    assert run.train(lambda _: learnt(scorer, LESSONS[:1], 1), AdaptLimits(every=3, told=told.append))
    assert [step for step, _ in told[-1].losses] == [3, 6]
    assert told[-1].memory > 0
