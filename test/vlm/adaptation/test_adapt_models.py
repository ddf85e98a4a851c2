# SPDX-License-Identifier: Apache-2.0
"""Each method and remedy on real classes of few weights: it learns, leaves the rest alone, is saved so."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from adapt_cases import CASES, CPU, LESSONS, VIEWS, prepared, scorer_of  # noqa: E402
from small_scorers import PALIGEMMA, PALIGEMMA_WARNS  # noqa: E402
from tiny_bases import base_folder  # noqa: E402

from spatial_vlm_ros.errors import DependencyError, InputError, ModelError, UnknownNameError  # noqa: E402
from spatial_vlm_ros.perception.adapting.bases import base_kind, load_base, load_encoder  # noqa: E402
from spatial_vlm_ros.perception.adapting.relation_lessons import location_lesson  # noqa: E402
from spatial_vlm_ros.perception.backends import scoring  # noqa: E402
from spatial_vlm_ros.perception.relation_marks import QUESTION  # noqa: E402
from spatial_vlm_ros.vlm.adaptation.lessons import LocationWords, located  # noqa: E402
from spatial_vlm_ros.vlm.adaptation.loop import AdaptLimits, AdaptRun  # noqa: E402
from spatial_vlm_ros.vlm.adaptation.preparing import NewEncoder, PreparedModel, prepare  # noqa: E402
from spatial_vlm_ros.vlm.adaptation.saving import save_adapted, save_beside  # noqa: E402
from spatial_vlm_ros.vlm.adaptation.settings import METHODS, AdaptSettings, check_fits  # noqa: E402
from spatial_vlm_ros.vlm.adaptation.teaching import learnt  # noqa: E402
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer  # noqa: E402
from spatial_vlm_ros.vlm.remedies.marking import FIELD  # noqa: E402
from spatial_vlm_ros.vlm.remedies.position_schemes import Positions  # noqa: E402
from spatial_vlm_ros.vlm.remedies.positions import install  # noqa: E402

MARKS = {"norm": ["norm"], "features": ["vision_feature_layers"], "pin": ["pin"]}
MARKS["all"] = ["norm", "positions", "vision_feature_layers"]


def scores(scorer: CandidateScorer) -> list[float]:
    return [value for one in LESSONS[:2] for value in scorer.scores(one.rgb, one.question, one.choices)]


def trained(made: PreparedModel, settings: AdaptSettings, folder: Path) -> list[float]:
    """Losses of a fixed batch, step by step."""
    losses: list[float] = []
    scorer = scorer_of(made)

    def learn(_: int) -> float:
        losses.append(learnt(scorer, LESSONS, 2))
        return losses[-1]

    assert AdaptRun((made.first, made.second), settings, {}, folder).train(learn, AdaptLimits())
    return losses


SWEPT = {f"encoder {kind}" for kind in ("clip", "siglip2", "aimv2")}
SWEPT |= {f"positions {name}" for name in ("1d", "mrope-chunked", "mrope-interleaved")}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SWEPT else ()) for name in CASES]
)
def test_it_learns_a_batch_leaves_the_rest_alone_and_is_loaded_as_it_learnt(
    bases: Path, tmp_path: Path, name: str
) -> None:
    made, settings = prepared(bases, name)
    ids = {id(value) for value in made.trained.values()}
    frozen = {key: value.clone() for key, value in made.model.named_parameters() if id(value) not in ids}
    losses = trained(made, settings, tmp_path)
    assert losses[-1] < 0.8 * losses[0]
    for key, value in made.model.named_parameters():
        assert key not in frozen or torch.equal(value, frozen[key]), key
    made.finish()
    expected = scores(scorer_of(made))
    folder = tmp_path / "whole"
    if settings.method == "pin":
        save_beside(made, bases / "llava", folder)
        assert (folder / "model.safetensors").read_bytes() == (bases / "llava" / "model.safetensors").read_bytes()
        assert sum(value.numel() for value in made.trained.values()) == 65 * 512 + 1024 + 513 * 768 + 1536 + 769 * 32
    else:
        save_adapted(made, folder, torch.float32)
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
    [
        ("paligemma", {"method": "pin"}),
        ("qwen3_vl", {"method": "projector", "positions": "mrope-chunked"}),
        pytest.param("paligemma", {"method": "projector", "norm": "published"}, marks=pytest.mark.slow),
        pytest.param("paligemma", {"method": "lora", "positions": "axial"}, marks=pytest.mark.slow),
        pytest.param("qwen2_vl", {"method": "lora"}, marks=pytest.mark.slow),
        pytest.param("qwen2_5_vl", {"method": "projector", "norm": "published"}, marks=pytest.mark.slow),
    ],
)
def test_other_classes_take_what_applies_to_them(tmp_path: Path, kind: str, fields: dict[str, Any]) -> None:
    base, template = base_folder(tmp_path / "base", kind), PALIGEMMA if kind == "paligemma" else ""
    settings = AdaptSettings(**fields, steps=8, rate=0.02)
    made = prepare(*load_base(base, CPU, torch.float32), base, settings)
    scorer, losses = CandidateScorer(made.model, made.processor, template), list[float]()

    def learn(_: int) -> float:
        losses.append(learnt(scorer, LESSONS[:2], 1))
        return losses[-1]

    AdaptRun((made.first, made.second), settings, {}, tmp_path).train(learn, AdaptLimits())
    assert losses[-1] < 0.9 * losses[0]
    made.finish()
    expected = scores(scorer)
    save = save_beside if settings.method == "pin" else None
    save(made, base, tmp_path / "whole") if save else save_adapted(made, tmp_path / "whole", torch.float32)
    loaded = scoring.load(model=str(tmp_path / "whole"), device="cpu", template=template)
    assert scores(loaded) == pytest.approx(expected, abs=1e-5)


def test_a_base_that_was_adapted_keeps_its_remedies(bases: Path, tmp_path: Path) -> None:
    made, settings = prepared(bases, "all")
    trained(made, settings, tmp_path)
    first = tmp_path / "first"
    save_adapted(made, first, torch.float32)
    expected = scores(scoring.load(model=str(first), device="cpu"))
    again = AdaptSettings("projector", steps=2, rate=1e-9)
    made = prepare(*load_base(first, CPU, torch.float32), first, again)
    assert scores(scorer_of(made)) == pytest.approx(expected, abs=1e-5)
    second = tmp_path / "second"
    save_adapted(made, second, torch.float32)
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
    encoder = NewEncoder(*load_encoder(bases / "siglip", CPU, torch.bfloat16))
    settings = AdaptSettings(**{**CASES["all"], "steps": 10, "rate": 0.02})
    made = prepare(*load_base(base, CPU, torch.bfloat16), base, settings, encoder)
    assert {value.dtype for value in made.trained.values()} == {torch.float32}
    before = made.parts.layers[0].mlp.up_proj.weight.clone()
    assert before.dtype is torch.bfloat16
    losses = trained(made, settings, tmp_path)
    assert losses[-1] < 0.8 * losses[0]
    assert torch.equal(made.parts.layers[0].mlp.up_proj.weight, before)
    save_adapted(made, tmp_path / "whole", torch.bfloat16)
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
            for value in made.first.values():
                torch.nn.init.normal_(value, std=0.02)
        loss = learnt(scorer_of(made), LESSONS, micro)
        found.append((loss, {key: value.grad.clone() for key, value in made.trained.items()}))
    for loss, gradients in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        for key, value in gradients.items():
            assert torch.allclose(value, found[0][1][key], atol=1e-5), key


def test_a_model_says_where_objects_are(bases: Path, tmp_path: Path) -> None:
    made, settings = prepared(bases, "lora", steps=60, rate=0.005)
    scorer, obj = scorer_of(made), VIEWS[0].objects[1]
    lesson = location_lesson(VIEWS[0], obj, LocationWords.of(made.parts))
    run = AdaptRun((made.first, made.second), settings, {}, tmp_path)
    assert run.train(lambda _: learnt(scorer, [lesson], 1), AdaptLimits())
    box = located(scorer, VIEWS[0].rgb, obj.name)
    assert box is not None
    height, width = VIEWS[0].rgb.shape[:2]
    assert LocationWords(32, 8).words(box, width, height) == lesson.answer


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("kind", "fields", "error", "said"),
    [
        ("paligemma", {"method": "projector", "new_encoder": True}, ModelError, "does not accept --encoder"),
        ("qwen2_5_vl", {"method": "projector", "features": (1,)}, ModelError, "does not accept --features"),
        ("qwen3_vl", {"method": "pin"}, ModelError, r"does not accept a positional insert \(PIN\)"),
        ("paligemma", {"method": "cloc"}, ModelError, "does not accept --method cloc"),
        ("", {"method": "none"}, UnknownNameError, "projector"),
        ("", {"method": "lora", "positions": "spiral"}, UnknownNameError, "axial"),
        ("", {"method": "lora", "norm": "loud"}, UnknownNameError, "published"),
        ("", {"method": "pin", "norm": "published"}, InputError, "leaves the base as it is"),
        ("", {"method": "pin", "new_encoder": True}, InputError, "--encoder"),
        ("", {"method": "cloc", "positions": "axial"}, InputError, "trains only an encoder"),
        ("", {"method": "lora", "rank": 0}, InputError, "rank 0"),
        ("", {"method": "lora", "rate": 2.0}, InputError, "--rate"),
    ],
)
def test_settings_that_cannot_be_or_that_a_class_does_not_take_are_refused_by_name(
    kind: str, fields: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        check_fits(AdaptSettings(**fields), kind)
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
    assert (
        AdaptSettings("lora", new_encoder=True).highest == AdaptSettings("lora", features=(1,)).highest == (2e-4, 1e-3)
    )
    assert METHODS["cloc"].decay == 0.2


def test_lora_without_peft_says_how_to_get_it(bases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(DependencyError, match=r"pip install .*peft"):
        prepared(bases, "lora")


def test_folders_that_are_no_base_or_encoder_are_refused(bases: Path, tmp_path: Path) -> None:
    naflex, bare = (shutil.copytree(bases / "siglip", tmp_path / name) for name in ("naflex", "bare"))
    config = json.loads((naflex / "config.json").read_text())
    (naflex / "config.json").write_text(json.dumps({**config, "model_type": "siglip2_vision_model"}))
    (bare / "preprocessor_config.json").unlink()
    for folder, error, words in (
        (tmp_path / "none", InputError, "no such folder"),
        (bases / "llava", ModelError, "not a vision encoder"),
        (naflex, ModelError, "NaFlex"),
        (bare, ModelError, r"preprocessor_config\.json"),
    ):
        with pytest.raises(error, match=words):
            load_encoder(folder, CPU, torch.float32)
    for folder, error, words in (
        (tmp_path / "none", InputError, "no such folder"),
        (bases / "clip", UnknownNameError, "clip_vision_model"),
    ):
        with pytest.raises(error, match=words):
            base_kind(folder)


def test_schemes_and_layers_that_do_not_fit_the_base_are_refused(bases: Path, tmp_path: Path) -> None:
    base = base_folder(tmp_path, "qwen2_5_vl")
    for scheme, said in (("1d", "axes"), ("axial", "axes"), ("learned-absolute", "any size")):
        with pytest.raises(InputError, match=said):
            prepare(*load_base(base, CPU, torch.float32), base, AdaptSettings("projector", positions=scheme))
    with pytest.raises(InputError, match="vision_feature_layer"):
        prepared(bases, "features", features=(1, 9))


def test_a_model_that_would_write_an_image_token_names_no_place(bases: Path) -> None:
    """Such a token stands for an image: positions in two axes would be asked for in the middle of an answer."""
    scorer = scoring.load(model=str(bases / "llava"), device="cpu")
    image, head = scorer.parts.image_token_id, scorer.model.lm_head
    install(scorer.parts, Positions("axial"), allow_untrained=True)
    head.bias = torch.nn.Parameter(torch.zeros(head.out_features))
    with torch.no_grad():
        head.bias[image] = 1e4
    assert located(scorer, VIEWS[0].rgb, VIEWS[0].objects[0].name) is None
