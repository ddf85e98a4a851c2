# SPDX-License-Identifier: Apache-2.0
"""Who judges relations: published classes of few weights, asked about marked objects, and the small network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.perception.backends.relation_judge import SmallRelationJudge, load
from spatial_vlm_ros.perception.judging import CHOICES, RelationQuestion
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.types import Rgb, Status
from spatial_vlm_ros.vlm import relation_judge
from spatial_vlm_ros.vlm.relation_judge import NUMBERS, OUTPUTS, PLANES, SIDE, WHOLE, crop, holds, mirrored, stacked

pytest.importorskip("small_scorers")
pytest.importorskip("mujoco")
pytest.importorskip("onnxscript")
import torch
from small_scorers import PALIGEMMA_WARNS, last_row_scaled, small_scorer

from spatial_vlm_lab.sim import relation_pairs
from spatial_vlm_lab.training.loop import TrainingSettings
from spatial_vlm_lab.training.relation_judge import RelationNet, export, label_weights, trained
from spatial_vlm_ros.geometry.boxes import DEPTH_RELATIONS, is_contrary
from spatial_vlm_ros.perception.backends.onnx_session import OnnxDevice, OnnxGraph
from spatial_vlm_ros.perception.judging import QUESTION, AskedJudge, marked
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer, continuations
from spatial_vlm_ros.vlm.diagnostics.items import ItemPrompt, ProbeItem
from spatial_vlm_ros.vlm.relation_judge import INPUTS
from spatial_vlm_ros.vlm.remedies.attention_scaling import AdaptVis, ScalingVis, one_row

if TYPE_CHECKING:
    from conftest import Tabletop

    from spatial_vlm_ros.sim.tabletop import Rendering


A, B = (100.0, 120.0, 160.0, 200.0), (200.0, 100.0, 280.0, 180.0)


def picture(width: int = 320, height: int = 240) -> Rgb:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_boxes_are_marked_where_they_lie_and_several_inputs_are_stacked() -> None:
    rgb = np.zeros((240, 320, 3), np.uint8)
    rgb[120:200, 100:160] = 255
    planes, whole, told = crop(rgb, A, B)
    assert planes.shape == (PLANES, SIDE, SIDE)
    assert told.shape == (NUMBERS,)
    assert planes.min() == -1.0
    assert planes.max() == 1.0
    both = (planes[0] > 0) == (planes[3] > 0)
    assert both.mean() > 0.98  # the bright object is what the target's plane marks
    assert (planes[3] > 0).sum() / (planes[4] > 0).sum() == pytest.approx(60 * 80 / 80**2, rel=0.1)
    assert whole.shape == (PLANES, WHOLE, WHOLE)
    assert ((whole[0] > 0) == (whole[3] > 0)).mean() > 0.98
    assert (whole[3] > 0).sum() == 12 * 16  # 60 x 80 of 320 pixels, 64 wide
    assert told[:8] == pytest.approx([-0.375, 0.0, 0.0, 2 / 3, 0.25, -1 / 6, 0.75, 0.5], abs=1e-6)
    planes, whole, told = stacked([crop(picture(), A, B), crop(picture(), B, A)])
    assert planes.shape == (2, PLANES, SIDE, SIDE)
    assert np.array_equal(planes[0, 3], planes[1, 4])
    assert whole.shape == (2, PLANES, WHOLE, WHOLE)
    assert told.shape == (2, NUMBERS)


def test_the_mirrored_input_is_that_of_the_mirrored_image_and_turns_sides_round_alone() -> None:
    rgb = picture()
    turned = [(320 - x1, y0, 320 - x0, y1) for x0, y0, x1, y1 in (A, B)]
    seen, expected = crop(np.ascontiguousarray(rgb[:, ::-1]), *turned), mirrored(crop(rgb, A, B))
    assert seen.told == pytest.approx(expected.told, abs=1e-6)
    assert np.abs(seen.planes[3:] - expected.planes[3:]).mean() < 0.05  # the crop's corner is a whole pixel
    assert seen.whole == pytest.approx(expected.whole, abs=0.02)
    once, twice = crop(rgb, A, B), mirrored(mirrored(crop(rgb, A, B)))
    assert all(np.array_equal(x, y) for x, y in zip(once, twice, strict=True))
    p = np.linspace(0.1, 0.6, len(OUTPUTS))
    other = relation_judge.unmirrored(p)
    assert holds(other, "right of") == pytest.approx(1.0 - holds(p, "right of"))
    assert holds(p, "left of") == pytest.approx(1.0 - holds(p, "right of"))
    assert all(holds(other, name) == holds(p, name) for name in OUTPUTS if name != "right of")


@given(st.tuples(*[st.floats(0.0, 1.0)] * 8), st.sampled_from([(64, 48), (320, 240), (1280, 720), (30, 400)]))
def test_any_two_boxes_in_an_image_are_an_input(shares: tuple[float, ...], size: tuple[int, int]) -> None:
    width, height = size
    ends = np.array(shares).reshape(2, 2, 2) * (width - 1, height - 1)
    boxes = [(*np.minimum(*one).tolist(), *(np.maximum(*one) + 1).tolist()) for one in ends]
    seen = crop(np.full((height, width, 3), 7, np.uint8), *boxes)
    assert np.isfinite(seen.told).all()
    assert all((image[3:] == 1.0).any(axis=(1, 2)).all() for image in (seen.planes, seen.whole))


@pytest.fixture(scope="module")
def views() -> list[relation_pairs.RelationView]:
    return [view for seed in (1, 2) for view in relation_pairs.relation_views(seed, 2, (160, 120))]


@pytest.fixture(scope="module")
def raised() -> list[relation_pairs.RelationView]:
    return [view for seed in range(4) for view in relation_pairs.relation_views(seed, 3, (160, 120), raised=True)]


def test_the_truth_of_a_pair_fits_its_reverse_and_its_seed(views: list[relation_pairs.RelationView]) -> None:
    on, under, right = (OUTPUTS.index(name) for name in ("on", "under", "right of"))
    pairs = 0
    for view in views:
        rows = {tuple(map(tuple, boxes)): row for boxes, row in zip(view.boxes.tolist(), view.holds, strict=True)}
        for (target, anchor), row in rows.items():
            other = rows.get((anchor, target))
            if other is None:
                continue
            pairs += 1
            assert np.array_equal(row[on], other[under], equal_nan=True)
            assert not (row[right] == 1.0 and other[right] == 1.0)
    assert pairs > 10
    again = list(relation_pairs.relation_views(1, 2, (160, 120)))
    assert all(np.array_equal(one.boxes, other.boxes) for one, other in zip(views, again, strict=False))


def share_of_contrary(views: Sequence[relation_pairs.RelationView]) -> float:
    """Of the pairs in which "behind" or "in front of" holds, those that contradict "higher is farther"."""
    found = [
        is_contrary(name, target, anchor, True)
        for view in views
        for (target, anchor), row in zip(view.boxes.tolist(), view.holds, strict=True)
        for name in DEPTH_RELATIONS
        if row[OUTPUTS.index(name)] == 1.0
    ]
    return sum(found) / len(found)


def test_raised_worlds_contradict_the_rule_and_rare_labels_count(raised: list[relation_pairs.RelationView]) -> None:
    """A fifth or more of the pairs of depth that hold contradict the rule of thumb; of usual tables hardly any."""
    usual = [view for seed in range(2) for view in relation_pairs.relation_views(seed, 3, (160, 120))]
    assert share_of_contrary(raised) > 0.2
    assert share_of_contrary(usual) < 0.05
    again = list(relation_pairs.relation_views(0, 3, (160, 120), raised=True))
    assert all(np.array_equal(one.rgb, other.rgb) for one, other in zip(raised, again, strict=False))
    boxes, holds = (np.concatenate([getattr(view, name) for view in raised]) for name in ("boxes", "holds"))
    weights = label_weights(boxes, holds)
    on = OUTPUTS.index("on")
    assert weights[holds[:, on] == 1.0, on].min() > 1.5 * weights[holds[:, on] == 0.0, on].max()
    assert (weights[np.isnan(holds)] == 0.0).all()
    assert weights[holds == 0.0].min() > 0.0


@pytest.mark.parametrize("steps", [3, pytest.param(200, marks=pytest.mark.slow)])
def test_it_learns_and_is_exported_so(views: list[relation_pairs.RelationView], tmp_path: Path, steps: int) -> None:
    said: list[float] = []
    network = trained(views, TrainingSettings(steps=steps, batch=8), lambda _, loss: said.append(loss))
    assert len(said) == steps // 100
    assert steps < 200 or said[-1] < 0.75 * said[0]
    export(network, tmp_path / "model.onnx")
    graph = OnnxGraph(tmp_path / "model.onnx", INPUTS, ("log_odds",), OnnxDevice("cpu", 1))
    seen = stacked([crop(view.rgb, *map(tuple, view.boxes[0])) for view in views])
    with torch.no_grad():
        expected = network(*map(torch.from_numpy, seen)).numpy()
    assert graph.run(**seen._asdict())["log_odds"] == pytest.approx(expected, abs=1e-4)


def test_the_network_is_small_and_a_folder_without_it_is_refused(tmp_path: Path) -> None:
    assert sum(p.numel() for p in RelationNet().parameters()) < 1_500_000
    with pytest.raises(ModelError):
        load(str(tmp_path))


pytestmark = pytest.mark.filterwarnings(PALIGEMMA_WARNS)
IMAGE = np.random.default_rng(3).integers(0, 256, (64, 96, 3), np.uint8)
LEFT, RIGHT = (5.0, 10.0, 30.0, 50.0), (60.0, 12.0, 90.0, 55.0)
LENGTHS = ("left", "in front", "on top of it all", "behind")
ITEMS = [
    ProbeItem(relation, relation, "relative", "left-right", ItemPrompt(IMAGE, QUESTION, choices, None), "")
    for relation, (choices, _) in CHOICES.items()
]
LONG = ProbeItem("a", "a", "relative", "left-right", ItemPrompt(IMAGE, QUESTION, LENGTHS, None), "")
SIDES = CHOICES["left of"][0]
DECODERS = ["llava", "qwen2_vl", "qwen2_5_vl", "qwen3_vl"]
KINDS = [*DECODERS, "paligemma"]
SURE, UNSURE = AdaptVis(0.5, 1.5, 1e-6), AdaptVis(0.5, 1.5, 0.999)


def scaled(scorer: CandidateScorer, settings: AdaptVis | ScalingVis, batch: int = 1) -> CandidateScorer:
    answering = lambda ids: one_row(scorer.parts, ids, settings)  # noqa: E731
    return CandidateScorer(scorer.model, scorer.processor, scorer.template, answering=answering, batch=batch)


def batched(scorer: CandidateScorer, batch: int) -> CandidateScorer:
    return CandidateScorer(scorer.model, scorer.processor, scorer.template, batch=batch)


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize(
    "settings", [SURE, *(pytest.param(settings, marks=pytest.mark.slow) for settings in (UNSURE, ScalingVis(2.0)))]
)
def test_likelihoods_in_one_row_are_those_of_two_passes(kind: str, settings: AdaptVis | ScalingVis) -> None:
    """Against the reference form: one whole prefill to see how sure the model is, another with the factor chosen."""
    scorer = small_scorer(kind, ITEMS)
    scorer.model.double()
    image = marked(IMAGE, LEFT, RIGHT)
    inputs = scorer.inputs(image, QUESTION, SIDES)
    with torch.no_grad():
        plain = scorer.model(**inputs).logits[0, -1].softmax(-1)
    alpha = settings.alpha_for(float(plain.max()))
    for among in (False, True):
        asked = [(image, QUESTION, SIDES)], among
        (one,) = scaled(scorer, settings).scores_of(*asked)
        with last_row_scaled(scorer.parts, scorer.parts.image_columns(inputs["input_ids"])[0], alpha):
            (two,) = scorer.scores_of(*asked)
        assert one == pytest.approx(two, abs=1e-6)
        (own,) = scorer.scores_of(*asked)
        assert one != pytest.approx(own, abs=1e-6)
        assert scaled(scorer, ScalingVis(1.0)).scores_of(*asked)[0] == pytest.approx(own, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_choice_of_more_tokens_is_neither_preferred_nor_put_back_for_its_length(kind: str) -> None:
    """A model that finds every token equally probable finds every choice equally probable."""
    scorer = small_scorer(kind, [LONG])
    with torch.no_grad():
        scorer.model.get_output_embeddings().weight.zero_()
    tokens = [scorer.processor.tokenizer(one, add_special_tokens=False)["input_ids"] for one in LENGTHS]
    assert sorted({len(one) for one in tokens})[::2] == [1, 9]
    scores = scorer.scores(IMAGE, QUESTION, LENGTHS)
    assert scores == pytest.approx([scores[0]] * len(LENGTHS), abs=1e-6)
    (among,) = scorer.scores_of([(IMAGE, QUESTION, LENGTHS)], among=True)
    assert among == pytest.approx([-math.log(len(LENGTHS))] * len(LENGTHS), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_among_choices_neither_more_tokens_nor_certain_ones_count(kind: str) -> None:
    """By hand: the first tokens differ, so that each choice has the share of its first token, whatever follows it."""
    scorer = small_scorer(kind, [LONG])
    words = scorer.processor.tokenizer
    begins = [words(one, add_special_tokens=False)["input_ids"][0] for one in LENGTHS]
    with torch.no_grad():
        logits = scorer.model(**scorer.inputs(IMAGE, QUESTION, LENGTHS)).logits[0, -1]
    expected = logits[begins].log_softmax(-1).tolist()
    (found,) = scorer.scores_of([(IMAGE, QUESTION, LENGTHS)], among=True)
    assert found == pytest.approx(expected, abs=1e-4)
    assert sum(np.exp(found)) == pytest.approx(1.0, abs=1e-4)
    assert scorer.scores(IMAGE, QUESTION, LENGTHS) != pytest.approx(expected, abs=1e-2)


def test_choices_that_begin_alike_share_what_their_beginning_has() -> None:
    def tokens(**given: list[int]) -> dict[str, torch.Tensor]:
        return {name: torch.tensor([ids]) for name, ids in given.items()}

    branches = continuations(tokens(top=[1, 2], under=[3], other=[1, 4, 5]))
    assert branches == {"top": [[1, 3], [2, 4]], "under": [[1, 3]], "other": [[1, 3], [2, 4], [5]]}
    assert continuations(tokens(front=[1, 2], within=[1])) is None
    assert continuations(tokens(left=[1], same=[1])) is None
    scorer = small_scorer("llava", ITEMS)
    (found,) = scorer.scores_of([(IMAGE, QUESTION, ("on top", "on side", "beside"))], among=True)
    assert sum(np.exp(found)) == pytest.approx(1.0, abs=1e-4)
    within = ("in", "in front")
    assert scorer.scores_of([(IMAGE, QUESTION, within)], among=True)[0] == scorer.scores(IMAGE, QUESTION, within)


def test_what_a_model_cannot_say_is_an_error_of_the_model() -> None:
    """A prefix language model's image tokens see the prompt's last token: one row is not all that scaling changes."""
    for kind in ("paligemma", "qwen3_vl"):
        scorer = small_scorer(kind, ITEMS)
        questions = [RelationQuestion(relation, LEFT, RIGHT) for relation in ("behind", "on")]
        if kind == "paligemma":
            with pytest.raises(ModelError, match="prefix language model"):
                AskedJudge(scaled(scorer, SURE)).judge(IMAGE, questions, 60.0)
        with torch.no_grad():
            scorer.model.get_output_embeddings().weight.fill_(float("nan"))
        for asked in [scorer] if kind == "paligemma" else [scorer, scaled(scorer, ScalingVis(2.0))]:
            with pytest.raises(ModelError, match="not numbers"):
                AskedJudge(asked).judge(IMAGE, questions, 60.0)


@pytest.mark.parametrize("kind", KINDS)
def test_several_questions_at_once_have_the_likelihoods_of_one_by_one(kind: str) -> None:
    """Images of two shapes, prompts of two lengths, choices of several tokens: what is unlike goes apart."""
    scorer = small_scorer(kind, ITEMS)
    wide = np.random.default_rng(4).integers(0, 256, (48, 96, 3), np.uint8)
    depth, contact = CHOICES["behind"][0], CHOICES["on"][0]
    asked = [
        (image, QUESTION, order)
        for image in (marked(IMAGE, LEFT, RIGHT), marked(wide, LEFT, RIGHT), IMAGE[:, ::-1].copy())
        for choices in (SIDES, depth, contact)
        for order in (choices, choices[::-1])
    ]
    runs: list[int] = []
    hook = scorer.parts.vision.register_forward_hook(lambda *_: runs.append(1))
    together = batched(scorer, 3).scores_of(asked)
    several = len(runs)
    alone = [scorer.scores(*one) for one in asked]
    hook.remove()
    assert len(runs) - several == len(asked)
    assert several <= len(asked) / 2
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_each_class_gives_probabilities_or_no_opinion_with_and_without_batches(kind: str) -> None:
    scorer = small_scorer(kind, ITEMS)
    questions = [RelationQuestion(relation, *boxes) for relation in CHOICES for boxes in ((LEFT, RIGHT), (RIGHT, LEFT))]
    alone = AskedJudge(scorer).judge(IMAGE, questions, 120.0)
    assert all(p is None or 0.0 < p < 1.0 for p in alone)
    left, right = (alone[2 * list(CHOICES).index(name)] for name in ("left of", "right of"))
    assert (left is None) == (right is None)
    assert left is None or left + right == pytest.approx(1.0)
    found = AskedJudge(batched(scorer, 8)).judge(IMAGE, questions, 120.0)
    assert [p is None for p in found] == [p is None for p in alone]
    assert [p for p in found if p is not None] == pytest.approx([p for p in alone if p is not None], abs=1e-4)


def test_the_budget_is_looked_at_between_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, now = batched(small_scorer("llava", ITEMS), 2), iter(range(100))
    monkeypatch.setattr("time.monotonic", lambda: float(next(now)))
    seen: list[int] = []
    told = {2: [[0.0, -1.0], [-1.0, 0.0]], 1: [[-1.0, 0.0]]}  # both orders; the mirrored image
    monkeypatch.setattr(scorer, "scores_of", lambda asked, **_: seen.append(len(asked)) or told[len(asked)])
    questions = [RelationQuestion("left of", LEFT, RIGHT)] * 3
    first, *others = AskedJudge(scorer).judge(IMAGE, questions, 2.5)
    assert first is not None
    assert others == [None, None]
    assert seen == [2, 1]  # at 1 s both orders, at 2 s the mirrored image; after that nothing


def test_without_memory_or_with_scaled_attention_they_go_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = small_scorer("llava", ITEMS)
    asked = [(IMAGE, QUESTION, SIDES), (IMAGE, QUESTION, SIDES[::-1])]
    one_by_one = [scaled(plain, ScalingVis(2.0)).scores(*one) for one in asked]
    assert scaled(plain, ScalingVis(2.0), batch=4).scores_of(asked) == one_by_one
    scorer = batched(plain, 4)
    expected, run, rows = scorer.scores_of(asked), scorer._run, list[int]()

    def short_of_memory(inputs: Any) -> Any:
        rows.append(len(inputs["input_ids"]))
        if rows[-1] > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return run(inputs)

    monkeypatch.setattr(scorer, "_run", short_of_memory)
    for one, other in zip(scorer.scores_of(asked), expected, strict=True):
        assert one == pytest.approx(other, abs=2e-5)
    scorer.scores_of(asked)
    assert rows == [2, 1, 1, 1, 1]  # and stay so


WORDS = "the can behind the cup"


@pytest.fixture(scope="module")
def judge() -> SmallRelationJudge:
    pytest.importorskip("onnxruntime")
    return load()


@pytest.fixture
def two_sides(tabletop: Tabletop) -> Rendering:
    return tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("near", 0, -0.2), tabletop.can("far", 0.02, 0.2))


def questions(seen: Rendering, relation: str, *ids: str) -> list[RelationQuestion]:
    boxes = {one.id: one.box_xyxy for one in seen.detections}
    return [RelationQuestion(relation, boxes[one], boxes["cup"]) for one in ids]


def test_it_knows_near_from_far_and_no_box_of_a_whole_image(judge: SmallRelationJudge, two_sides: Rendering) -> None:
    asked = [*questions(two_sides, "behind", "near", "far"), *questions(two_sides, "in front of", "near", "far")]
    said = judge.judge(two_sides.frame.rgb, asked, 60.0)
    assert all(p is not None for p in said)
    assert [(p or 0.0) > 0.5 for p in said] == [False, True, True, False]
    cup, whole = two_sides.detections[0].box_xyxy, (0.0, 60.0, 640.0, 480.0)
    asked = [RelationQuestion("on", cup, whole), RelationQuestion("under", whole, cup)]
    assert judge.judge(two_sides.frame.rgb, asked, 60.0) == (None, None)
    wide = RelationQuestion("on", cup, (0.0, 260.0, 640.0, 480.0))
    assert judge.judge(two_sides.frame.rgb, [asked[0], wide], 60.0)[0] is None


def test_sides_are_one_question(judge: SmallRelationJudge, tabletop: Tabletop) -> None:
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("left", -0.2, 0), tabletop.can("right", 0.2, 0))
    asked = [one for relation in ("left of", "right of") for one in questions(seen, relation, "left", "right")]
    left, not_left, not_right, right = (p or 0.0 for p in judge.judge(seen.frame.rgb, asked, 60.0))
    assert min(left, right) > 0.9
    assert left + not_right == pytest.approx(1.0)
    assert right + not_left == pytest.approx(1.0)


def test_the_mirrored_image_has_the_mirrored_answers(judge: SmallRelationJudge, two_sides: Rendering) -> None:
    width = two_sides.frame.camera.width
    asked = questions(two_sides, "right of", "near", "far") + questions(two_sides, "behind", "near", "far")
    turned = [
        RelationQuestion(
            {"right of": "left of"}.get(one.relation, one.relation),
            *((width - x1, y0, width - x0, y1) for x0, y0, x1, y1 in (one.target, one.anchor)),
        )
        for one in asked
    ]
    rgb = two_sides.frame.rgb
    straight, mirrored = judge.judge(rgb, asked, 60.0), judge.judge(np.ascontiguousarray(rgb[:, ::-1]), turned, 60.0)
    for p, q in zip(straight, mirrored, strict=True):
        assert (p is None) == (q is None)
        assert p is None or q == pytest.approx(p, abs=0.15)  # crops begin at whole pixels


def test_each_relation_that_can_be_asked_has_an_answer_or_none(judge: SmallRelationJudge, two_sides: Rendering) -> None:
    asked = [questions(two_sides, relation, "far")[0] for relation in CHOICES]
    said = judge.judge(two_sides.frame.rgb, asked, 60.0)
    assert len(said) == len(CHOICES)
    assert all(p is None or 0.0 <= p <= 1.0 for p in said)
    assert judge.judge(two_sides.frame.rgb, asked, 0.0) == (None,) * len(CHOICES)


def resolver(mode: str = "report", **more: object) -> Resolver:
    return Resolver(config_from({"judge": {"mode": mode, "by": "relation-judge", **more}, "domain_gate": {}}))


def test_it_judges_simulated_images_without_a_grounder_and_says_nothing_of_others(two_sides: Rendering) -> None:
    frame = dataclasses.replace(two_sides.frame, domain="simulated")
    answer = resolver().resolve(frame, WORDS, two_sides.detections)
    assert answer.status is Status.OK
    said = {one.target_id: one.raw_p for one in answer.judge.relations}
    assert set(said) == {"near", "far"}
    assert (said["far"] or 0.0) > 0.5 > (said["near"] or 0.0)
    frame = dataclasses.replace(two_sides.frame, domain="real")
    answer = resolver().resolve(frame, WORDS, two_sides.detections)
    assert answer.status is Status.OK
    assert not answer.judge.relations
    assert "simulated" in answer.judge.reason
