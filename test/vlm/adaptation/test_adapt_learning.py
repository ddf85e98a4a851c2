# SPDX-License-Identifier: Apache-2.0
"""Each method and remedy on real classes of few weights: it learns, is saved so, and goes on after a kill."""

import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tables import tables

pytest.importorskip("tiny_bases")
pytest.importorskip("peft")
import tiny_bases
import torch
from small_scorers import PALIGEMMA, PALIGEMMA_WARNS
from tiny_bases import CPU, LESSONS, VIEWS, loop_of, prepared, scorer_of, trained_of

from spatial_vlm_lab.adaptation.lessons import LocationWords, RelationLessons, learnt, located, location_lesson
from spatial_vlm_lab.adaptation.models import (
    METHODS,
    AdaptSettings,
    PreparedModel,
    base_kind,
    load_base,
    load_encoder,
    prepare,
)
from spatial_vlm_lab.adaptation.regions import region_teacher, seeded_model
from spatial_vlm_lab.adaptation.running import adapt_loop
from spatial_vlm_lab.adaptation.views import StoredView, judged, read_store, scores_of, tally_of, write_group
from spatial_vlm_lab.training.loop import TrainingLoop
from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import DependencyError, InputError, ModelError, UnknownNameError
from spatial_vlm_ros.perception.backends import scoring
from spatial_vlm_ros.perception.judging import QUESTION, AskedJudge
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer
from spatial_vlm_ros.vlm.remedies.learned import FIELD
from spatial_vlm_ros.vlm.remedies.positions import Positions, install

TABLES = tables(__file__)

MARKS = {"norm": ["norm"], "features": ["vision_feature_layers"], "pin": ["pin"]}
MARKS["all"] = ["norm", "positions", "vision_feature_layers"]


def scores(scorer: CandidateScorer) -> list[float]:
    return [value for one in LESSONS[:2] for value in scorer.scores(one.rgb, one.question, one.choices)]


def trained(
    made: PreparedModel, settings: AdaptSettings, folder: Path, scorer: CandidateScorer | None = None, count: int = 3
) -> list[float]:
    losses, scorer = list[float](), scorer or scorer_of(made)

    def learn(_: int) -> float:
        losses.append(learnt(scorer, LESSONS[:count], count - 1))
        return losses[-1]

    assert loop_of(made, settings, folder).train(learn)
    return losses


SWEPT = {f"encoder {kind}" for kind in ("clip", "siglip2", "aimv2")}
SWEPT |= {f"positions {name}" for name in ("1d", "mrope-chunked", "mrope-interleaved")}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SWEPT else ()) for name in tiny_bases.CASES]
)
def test_it_learns_a_batch_leaves_the_rest_and_is_loaded_as_it_learnt(bases: Path, tmp_path: Path, name: str) -> None:
    made, settings = prepared(bases, name)
    learning = trained_of(made).values()
    ids = {id(value) for value in learning}
    frozen = {key: value.clone() for key, value in made.model.named_parameters() if id(value) not in ids}
    losses = trained(made, settings, tmp_path)
    assert losses[-1] < 0.8 * losses[0]
    for key, value in made.model.named_parameters():
        assert key not in frozen or torch.equal(value, frozen[key]), key
    made.finish()
    expected = scores(scorer_of(made))
    folder = tmp_path / "whole"
    made.save(folder)
    if settings.method == "pin":
        assert (folder / "model.safetensors").read_bytes() == (bases / "llava" / "model.safetensors").read_bytes()
        assert sum(value.numel() for value in learning) == 65 * 512 + 1024 + 513 * 768 + 1536 + 769 * 32
    assert scores(scoring.load(model=str(folder), device="cpu")) == pytest.approx(expected, abs=1e-5)

    config = json.loads((folder / "config.json").read_text())
    wanted = MARKS.get(name, ["positions"] if "positions" in name else [])
    assert sorted(config.get(FIELD, {})) == wanted
    if wanted and name != "positions 1d":  # which is what the class does by itself
        del config[FIELD]
        (folder / "config.json").write_text(json.dumps(config))
        assert scores(scoring.load(model=str(folder), device="cpu")) != pytest.approx(expected, abs=1e-3)


@pytest.mark.filterwarnings(PALIGEMMA_WARNS)
@pytest.mark.parametrize(
    ("kind", "fields"),
    [pytest.param(*row, marks=pytest.mark.slow if slow else ()) for *row, slow in TABLES["other classes"]],
)
def test_other_classes_take_what_applies_to_them(tmp_path: Path, kind: str, fields: dict[str, Any]) -> None:
    base, template = tiny_bases.base_folder(tmp_path / "base", kind), PALIGEMMA if kind == "paligemma" else ""
    settings = AdaptSettings(**fields, steps=8, rate=0.02)
    made = prepare(*load_base(base, CPU, torch.float32), base, settings)
    scorer = CandidateScorer(made.model, made.processor, template)
    losses = trained(made, settings, tmp_path, scorer, 2)
    assert losses[-1] < 0.9 * losses[0]
    made.finish()
    expected = scores(scorer)
    made.save(tmp_path / "whole")
    loaded = scoring.load(model=str(tmp_path / "whole"), device="cpu", template=template)
    assert scores(loaded) == pytest.approx(expected, abs=1e-5)


def test_a_base_that_was_adapted_keeps_its_remedies(bases: Path, tmp_path: Path) -> None:
    made, settings = prepared(bases, "all")
    trained(made, settings, tmp_path)
    first = tmp_path / "first"
    made.save(first)
    expected = scores(scoring.load(model=str(first), device="cpu"))
    again = AdaptSettings("projector", steps=2, rate=1e-9)
    made = prepare(*load_base(first, CPU, torch.float32), first, again)
    assert scores(scorer_of(made)) == pytest.approx(expected, abs=1e-5)
    second = tmp_path / "second"
    made.save(second)
    assert scores(scoring.load(model=str(second), device="cpu")) == pytest.approx(expected, abs=1e-5)
    for fields in ({"norm": "published"}, {"positions": "1d"}, {"features": (2,)}, {"new_encoder": True}):
        with pytest.raises(ModelError, match="already trained with"):
            prepare(*load_base(first, CPU, torch.float32), first, AdaptSettings("projector", **fields))


def test_a_kept_encoder_keeps_its_projector_and_the_whole_image_is_shown_to_each(bases: Path) -> None:
    before = load_base(bases / "llava", CPU, torch.float32)[0].model.multi_modal_projector.linear_1.weight
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, :8] = 255  # at the left border, which a square cut from the middle does not have
    for name in ("norm", "encoder clip", "encoder siglip"):
        made = prepared(bases, name)[0]
        weight = made.parts.projector.linear_1.weight
        assert torch.equal(before, weight) if name == "norm" else before.shape != weight.shape
        pixels = scorer_of(made).asked(wide, QUESTION)["pixel_values"]
        assert pixels.shape == (1, 3, 32, 32)
        assert float(pixels.max() - pixels.min()) > 1.0


def test_half_precision_weights_stay_as_they_are_and_the_rest_learns(bases: Path, tmp_path: Path) -> None:
    base = bases / "llava"
    encoder = load_encoder(bases / "siglip", CPU, torch.bfloat16)
    settings = AdaptSettings(**{**tiny_bases.CASES["all"], "steps": 10, "rate": 0.02})
    made = prepare(*load_base(base, CPU, torch.bfloat16), base, settings, encoder)
    assert {value.dtype for value in trained_of(made).values()} == {torch.float32}
    before = made.parts.layers[0].mlp.up_proj.weight.clone()
    assert before.dtype is torch.bfloat16
    losses = trained(made, settings, tmp_path)
    assert losses[-1] < 0.8 * losses[0]
    assert torch.equal(made.parts.layers[0].mlp.up_proj.weight, before)
    made.save(tmp_path / "whole")
    assert json.loads((tmp_path / "whole" / "config.json").read_text())["dtype"] == "bfloat16"
    loaded = scoring.load(model=str(tmp_path / "whole"), device="cpu", dtype="bfloat16")
    assert np.isfinite(scores(loaded)).all()


@pytest.mark.parametrize("name", ["lora", pytest.param("norm", marks=pytest.mark.slow)])
def test_neither_the_rows_at_once_nor_checkpointing_change_the_gradient(bases: Path, name: str) -> None:
    found = []
    for micro, checkpointing in ((3, False), (1, False), (2, True)):
        made, _ = prepared(bases, name, checkpointing=checkpointing)
        if made.lora is not None:  # its second factor is zero at first, and so is the first one's gradient
            torch.manual_seed(4)
            for value in made.groups[0].values():
                torch.nn.init.normal_(value, std=0.02)
        loss = learnt(scorer_of(made), LESSONS, micro)
        found.append((loss, {key: value.grad.clone() for key, value in trained_of(made).items()}))
    for loss, gradients in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        for key, value in gradients.items():
            assert torch.allclose(value, found[0][1][key], atol=1e-5), key


def test_a_model_says_where_objects_are_or_none_if_it_writes_an_image_token(bases: Path, tmp_path: Path) -> None:
    made, settings = prepared(bases, "lora", steps=60, rate=0.005)
    scorer, obj = scorer_of(made), VIEWS[0].objects[1]
    lesson = location_lesson(VIEWS[0], obj, LocationWords.of(made.parts))
    assert loop_of(made, settings, tmp_path).train(lambda _: learnt(scorer, [lesson], 1))
    box = located(scorer, VIEWS[0].rgb, obj.name)
    height, width = VIEWS[0].rgb.shape[:2]
    assert LocationWords(32, 8).words(box, width, height) == lesson.answer
    scorer = scoring.load(model=str(bases / "llava"), device="cpu")
    image, head = scorer.parts.image_token_id, scorer.model.lm_head
    install(scorer.parts, Positions("axial"), allow_untrained=True)
    head.bias = torch.nn.Parameter(torch.zeros(head.out_features))
    with torch.no_grad():
        head.bias[image] = 1e4
    assert located(scorer, VIEWS[0].rgb, VIEWS[0].objects[0].name) is None


@pytest.mark.parametrize(("kind", "fields", "error", "said"), TABLES["settings that cannot be or that"])
def test_settings_that_do_not_fit_are_refused(kind: str, fields: dict[str, Any], error: str, said: str) -> None:
    with pytest.raises(getattr(errors, error), match=said) as caught:
        AdaptSettings(**fields).check_fits(kind)
    assert kind in str(caught.value)


def test_rates_rise_and_fall_as_published() -> None:
    settings = AdaptSettings("projector", steps=1000)
    assert settings.highest == (1e-3, 0.0)
    assert settings.factor(14) == pytest.approx(0.5)
    assert settings.factor(30) == pytest.approx(1.0)
    assert settings.factor(515) == pytest.approx(0.5)
    assert settings.factor(999) < 1e-5
    assert AdaptSettings("pin", steps=10).factor(9) == 1.0
    assert AdaptSettings("lora", rate=1e-4).highest == pytest.approx((1e-4, 1e-5))
    for more in ({"new_encoder": True}, {"features": (1,)}):
        assert AdaptSettings("lora", **more).highest == (2e-4, 1e-3)
    assert METHODS["cloc"].decay == 0.2


def test_folders_that_are_no_base_or_encoder_are_refused(bases: Path, tmp_path: Path) -> None:
    naflex, bare = (shutil.copytree(bases / "siglip", tmp_path / name) for name in ("naflex", "bare"))
    config = json.loads((naflex / "config.json").read_text())
    (naflex / "config.json").write_text(json.dumps({**config, "model_type": "siglip2_vision_model"}))
    (bare / "preprocessor_config.json").unlink()
    encoder = partial(load_encoder, device=CPU, dtype=torch.float32)
    for read, folder, error, words in (
        *((read, tmp_path / "none", InputError, "no such folder") for read in (encoder, base_kind)),
        (encoder, bases / "llava", ModelError, "not a vision encoder"),
        (encoder, naflex, ModelError, "NaFlex"),
        (encoder, bare, ModelError, r"preprocessor_config\.json"),
        (base_kind, bases / "clip", UnknownNameError, "clip_vision_model"),
    ):
        with pytest.raises(error, match=words):
            read(folder)


def test_what_does_not_fit_the_base_is_refused_and_lora_without_peft_says_how_to_get_it(
    bases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_bases.base_folder(tmp_path, "qwen2_5_vl")
    for scheme, said in (("1d", "axes"), ("axial", "axes"), ("learned-absolute", "any size")):
        with pytest.raises(InputError, match=said):
            prepare(*load_base(base, CPU, torch.float32), base, AdaptSettings("projector", positions=scheme))
    with pytest.raises(InputError, match="vision_feature_layer"):
        prepared(bases, "features", features=(1, 9))
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(DependencyError, match=r"pip install .*peft"):
        prepared(bases, "lora")


Views = tuple[StoredView, ...]


@pytest.fixture
def views(tmp_path: Path) -> Views:
    for number, view in enumerate(VIEWS):
        write_group(tmp_path / "frames", "drawn", str(number), [view])
    return sum(read_store(tmp_path / "frames", 0).values(), ())


def begun(
    bases: Path, name: str, folder: Path, views: Views = (), **more: Any
) -> tuple[TrainingLoop, Callable[[int], float]]:
    """A run of six steps in a folder, and what it learns."""
    fields = {"steps": 6, **more}
    if name == "cloc":
        settings = AdaptSettings("cloc", new_encoder=True, batch=3, rate=5e-3, **fields)
        vision, images = load_encoder(bases / "siglip", CPU, torch.float32)
        model = seeded_model(vision, images, 0)
        return adapt_loop(model.groups(), settings, {}, folder), region_teacher(model, images, views, settings)
    made, settings = prepared(bases, name, **fields)
    scorer = scorer_of(made)
    return loop_of(made, settings, folder), lambda step: learnt(scorer, [LESSONS[step % len(LESSONS)]], 1)


@pytest.mark.parametrize(
    "name", ["all", "pin", "cloc", pytest.param("positions learned-absolute", marks=pytest.mark.slow)]
)
def test_a_run_in_two_parts_ends_as_an_unbroken_one(bases: Path, tmp_path: Path, views: Views, name: str) -> None:
    whole, learn = begun(bases, name, tmp_path / "whole", views)
    assert whole.train(learn)
    part, learn = begun(bases, name, tmp_path / "parts", views)
    for _ in range(3):
        part.make_step(learn)
    part.save()
    again, learn = begun(bases, name, tmp_path / "parts", views)
    assert again.progress.step == 3
    assert again.train(learn)
    for key, value in again.kept.items():
        assert torch.allclose(value, whole.kept[key], atol=1e-7), key


def test_an_encoder_itself_learns_regions(bases: Path, tmp_path: Path, views: Views) -> None:
    loop, learn = begun(bases, "cloc", tmp_path, views, steps=30)
    losses: list[float] = []
    assert loop.train(learn, told=lambda _, loss: losses.append(loss))
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    first = dict(load_encoder(bases / "siglip", CPU, torch.float32)[0].named_parameters())
    moved = [key for key, value in first.items() if not torch.equal(value, loop.kept[f"vision.{key}"])]
    assert any("patch_embedding" in key for key in moved)


def test_a_run_goes_on_with_another_rate_and_its_rates_are_noted(bases: Path, tmp_path: Path) -> None:
    loop, learn = begun(bases, "norm", tmp_path)
    loop.make_step(learn)
    loop.save()
    loop, learn = begun(bases, "norm", tmp_path, rate=0.001, checkpointing=True)
    assert loop.train(learn)
    assert loop.progress.rates == [(0, 0.02), (1, 0.001)]


SIDES = ("left of", "right of")


@pytest.mark.slow
def test_sides_are_learnt_and_the_calibration_says_that_the_model_knows_them(tmp_path: Path) -> None:
    base = tiny_bases.seeing_folder(tmp_path / "base")
    for number, view in enumerate(tiny_bases.drawn_views(600)):
        told = tuple(label for label in view.relations if label.relation in SIDES)
        write_group(tmp_path / "frames", "drawn", f"{number:05d}", [view._replace(relations=told)])
    parts = read_store(tmp_path / "frames", 0)
    settings = AdaptSettings("lora", positions="axial", steps=1500, batch=8, micro=8, rate=3e-3, rank=32)
    made = prepare(*load_base(base, CPU, torch.float32), base, settings)
    scorer = scorer_of(made)
    lessons = RelationLessons(parts["training"], 0, 0.0, LocationWords.of(made.parts))
    batch = lambda step: [lessons(step, row) for row in range(8)]  # noqa: E731
    assert loop_of(made, settings, tmp_path).train(lambda step: learnt(scorer, batch(step), 8))
    made.finish()
    judge = AskedJudge(scorer)
    said = judged(parts["test"], judge)
    found = scores_of(len(parts["test"]), said, [])["relations"]
    right, n = (sum(found[name]["right"][key] for name in SIDES) for key in ("k", "n"))
    assert len(said) == 3 * 90
    assert n > 135  # it has an opinion on more than half of the pairs
    assert right > 0.9 * n
    measured = tally_of(judged(parts["calibration"], judge)).calibrations()
    assert measured["right of"].informs  # of "left of" these views have only pairs for which it holds
