# SPDX-License-Identifier: Apache-2.0
"""Grounding DINO on real classes that learned two images: words, boxes and scores.

What holds of every detector is in test_detectors.py.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch
from tiny_folders import Folders
from tiny_models import BLUE, HEIGHT, LEFT, RED, RIGHT, WIDTH, dino, image

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.perception.backends.dino_prompts import joined, read_boxes
from spatial_vlm_ros.perception.backends.grounding_dino import GroundingDino, detector_of, load
from spatial_vlm_ros.perception.backends.phrase_boxes import Boxes, asked_as, merged
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.types import Detection, NounPhrase

KINDS = ("grounding-dino", "mm-grounding-dino")
CAT, CAN, DOG = NounPhrase("cat"), NounPhrase("soup can"), NounPhrase("dog")


@pytest.fixture(scope="module", params=[KINDS[0], pytest.param(KINDS[1], marks=pytest.mark.slow)])
def folder(request: pytest.FixtureRequest, folders: Folders) -> Path:
    return folders[f"{request.param} taught"]


@pytest.fixture
def taught(folder: Path) -> GroundingDino:
    return loaded(folder)


@pytest.fixture(scope="module")
def plain_folder(folders: Folders) -> Path:
    """Random weights: for what does not depend on what is found."""
    return folders["grounding-dino"]


def loaded(folder: Path, **options: str) -> GroundingDino:
    grounder = load(model=str(folder), preset="cpu", **options)
    assert isinstance(grounder, GroundingDino)
    return grounder


def told(grounding: Grounding) -> list[tuple[object, ...]]:
    return [(d.id, d.label, d.score, d.box_xyxy) for d in grounding.detections]


def iou(detection: Detection, box: Sequence[float]) -> float:
    return float(overlaps(detection.box_xyxy, box)[0, 0])


# ------------------------------------------------------------------------------------------------ what is found


@pytest.mark.parametrize(("left", "right"), [(RED, BLUE), (BLUE, RED)])
def test_boxes_follow_the_pixels_and_labels_the_words(taught: GroundingDino, left: Any, right: Any) -> None:
    found = taught.ground(image(left, right), [CAT, CAN, DOG])
    by_label = {detection.label: detection for detection in found.detections}
    assert len(found.detections) == 2
    assert iou(by_label["cat"], LEFT if left == RED else RIGHT) > 0.7
    assert iou(by_label["soup can"], RIGHT if left == RED else LEFT) > 0.7
    assert all(0.5 < detection.score <= 1.0 for detection in found.detections)
    columns = [detection.label for detection in found.detections]
    expected = [[float(label == phrase.category) for label in columns] for phrase in (CAT, CAN, DOG)]
    np.testing.assert_array_equal(found.match, expected)


def test_the_order_of_phrases_changes_only_the_rows(folder: Path) -> None:
    taught = loaded(folder, at_once="1")
    there, back = taught.ground(image(), [CAT, CAN, DOG]), taught.ground(image(), [DOG, CAN, CAT])
    assert told(there) == told(back)
    np.testing.assert_allclose(there.match, back.match[::-1], atol=1e-3)


def test_asked_one_at_a_time_no_object_is_reported_twice(folder: Path) -> None:
    apart = loaded(folder, at_once="1", batch="2", iou="0.5").ground(image(), [CAT, CAN, DOG])
    assert apart.detections
    for one, other in itertools.combinations(apart.detections, 2):
        assert iou(one, other.box_xyxy) <= 0.5
    assert apart.match.shape == (3, len(apart.detections))


def test_boxes_are_in_pixels_of_the_image_given(taught: GroundingDino) -> None:
    larger = np.kron(image(), np.ones((3, 3, 1), np.uint8))
    found = taught.ground(larger, [CAT, CAN, DOG])
    by_label = {detection.label: detection for detection in found.detections}
    assert iou(by_label["cat"], tuple(3 * side for side in LEFT)) > 0.7
    assert all(d.box_xyxy[2] <= 3 * WIDTH and d.box_xyxy[3] <= 3 * HEIGHT for d in found.detections)


def test_the_same_question_has_the_same_answer_and_a_box_that_no_phrase_reaches_is_dropped(folder: Path) -> None:
    taught = loaded(folder)
    first, second = (taught.ground(image(), [CAT, CAN]) for _ in range(2))
    assert told(first) == told(second)
    np.testing.assert_array_equal(first.match, second.match)
    assert loaded(folder, text_threshold="1").ground(image(), [CAT, CAN]).detections == ()


def test_half_precision_finds_the_same(folder: Path) -> None:
    whole = loaded(folder).ground(image(), [CAT, CAN, DOG])
    half = loaded(folder, dtype="bfloat16").ground(image(), [CAT, CAN, DOG])
    assert [d.label for d in whole.detections] == [d.label for d in half.detections]
    assert all(iou(a, b.box_xyxy) > 0.9 for a, b in zip(whole.detections, half.detections, strict=True))


def test_every_kind_and_number_of_words_gives_a_row_each(plain_folder: Path) -> None:
    grounder = loaded(plain_folder, threshold="0", text_threshold="0", at_once="3", batch="2")
    words = ["cat", "cats", "red box", "soup-can", "dog", "can opener", "unheard of thing", "a", "box", "cup"]
    phrases = [NounPhrase(word) for word in words]
    found = grounder.ground(image(), phrases)
    assert found.match.shape == (len(words), len(found.detections))
    assert found.detections
    assert ((found.match >= 0) & (found.match <= 1)).all()
    assert {d.label for d in found.detections} <= {asked_as(word) for word in words}
    assert len({d.id for d in found.detections}) == len(found.detections)


def test_many_categories_are_split_by_the_longest_text(plain_folder: Path) -> None:
    grounder = loaded(plain_folder, at_once="100")
    seen: list[int] = []
    grounder._model.model.text_backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    nouns = [" ".join(pair) for pair in itertools.product(("red", "soup"), ("cat", "cup", "dog", "can", "box"))]
    grounder.ground(image(), [NounPhrase(noun) for noun in nouns])
    assert len(seen) > 1
    assert max(seen) <= 16


def test_a_tokenizer_of_another_model_is_refused(plain_folder: Path) -> None:
    grounder = loaded(plain_folder)
    grounder._model.model.special_tokens = torch.tensor([1, 2, 3, 4])
    with pytest.raises(ModelError, match="full stop"):
        GroundingDino(grounder._model, grounder._processor, grounder.runner)


def test_heads_of_a_config_that_does_not_speak_of_them_are_each_layers_own(tmp_path: Path) -> None:
    """So are those that transformers 4.55 wrote; taken for shared, later layers would get the first one's head."""
    made = dino("mm-grounding-dino", own_heads=True)
    made.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    kept = {name: value for name, value in config.items() if not name.endswith("_embed_share")}
    assert len(kept) == len(config) - 2
    (tmp_path / "config.json").write_text(json.dumps(kept))
    read = detector_of(str(tmp_path), model="test", device=torch.device("cpu"), dtype=torch.float32)
    expected, got = made.state_dict(), read.state_dict()
    assert not torch.equal(expected["bbox_embed.0.layers.0.weight"], expected["bbox_embed.1.layers.0.weight"])
    for name in expected:
        assert torch.equal(got[name], expected[name]), name


# ------------------------------------------------------------------------------------------------ parts


@pytest.mark.parametrize(
    ("said", "asked"),
    [("Cat", "cat"), ("soup  can", "soup can"), ("can. dog?", "can dog"), ("felt-tip pen", "felt-tip pen"),
     ("soup_can", "soup can"), ("child's cup", "child's cup"), ("Tasse für Öl", "tasse für öl")],
)  # fmt: skip
def test_a_category_is_asked_in_plain_words(said: str, asked: str) -> None:
    assert asked_as(said) == asked


def test_categories_are_joined_as_the_processor_does(plain_folder: Path) -> None:
    prepared_by = loaded(plain_folder)._processor
    assert joined(["cat", "soup can"]) == prepared_by._preprocess_input_text(["cat", "soup can"]) == "cat. soup can."


def test_boxes_and_scores_are_those_of_the_post_processing(plain_folder: Path) -> None:
    prepared_by = loaded(plain_folder)._processor
    random = torch.Generator().manual_seed(0)
    logits, boxes = torch.randn(1, 50, 9, generator=random), torch.rand(1, 50, 4, generator=random)
    logits[..., 7:] = -torch.inf
    ids = torch.tensor([[101, 1040, 1012, 1043, 1044, 1012, 102, 0, 0]])
    output = SimpleNamespace(logits=logits, pred_boxes=boxes)
    expected = prepared_by.post_process_grounded_object_detection(output, ids, 0.6, 0.25, [(200, 300)])[0]
    spans = {"cat": slice(1, 2), "soup can": slice(3, 5)}
    got = read_boxes(logits[0].numpy(), boxes[0].numpy(), spans, ("dog", "soup can", "cat"), 0.6, (200, 300))
    inside = np.clip(expected["boxes"].numpy(), 0, [300, 200] * 2)
    kept = ((inside[:, 2:] - inside[:, :2]) >= 1.0).all(axis=1)
    np.testing.assert_allclose(got.xyxy, inside[kept], atol=1e-3)
    np.testing.assert_allclose(got.score, expected["scores"].numpy()[kept], atol=1e-6)
    words = logits[0][logits[0].sigmoid().amax(-1) > 0.6].sigmoid().numpy()[kept]
    np.testing.assert_allclose(got.fit, np.stack([0 * words[:, 0], words[:, 3:5].mean(1), words[:, 1]], 1), atol=1e-6)


def test_overlapping_boxes_are_one_object_with_the_best_score_and_all_fits() -> None:
    xyxy = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [0, 0, 5, 5]], np.float64)
    fit = np.array([[0.3, 0.1], [0.1, 0.6], [0.2, 0.0], [0.4, 0.0]])
    kept = merged(Boxes(xyxy, np.array([0.3, 0.6, 0.2, 0.4]), fit), iou=0.8, most=10)
    np.testing.assert_array_equal(kept.xyxy, xyxy[[1, 3, 2]])
    np.testing.assert_array_equal(kept.score, [0.6, 0.4, 0.2])
    np.testing.assert_array_equal(kept.fit, [[0.3, 0.6], [0.4, 0.0], [0.2, 0.0]])
    assert len(merged(Boxes(xyxy, np.array([0.3, 0.6, 0.2, 0.4]), fit), iou=0.8, most=1).score) == 1
    none = np.zeros((0, 4))
    assert merged(Boxes(none, np.zeros(0), np.zeros((0, 2))), 0.8, 10).fit.shape == (0, 2)


BOX = st.tuples(*[st.integers(0, 50)] * 2, *[st.integers(1, 50)] * 2).map(
    lambda b: [float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3])]
)


@given(st.lists(BOX, min_size=1, max_size=12), st.floats(0.1, 0.95))
def test_merging_leaves_no_two_that_overlap_and_loses_no_place(boxes: list[list[float]], most: float) -> None:
    xyxy = np.array(boxes)
    kept = merged(Boxes(xyxy, np.linspace(1.0, 0.1, len(boxes)), np.ones((len(boxes), 1))), most, 100)
    for n, box in enumerate(kept.xyxy):
        assert (np.delete(overlaps(box, kept.xyxy)[0], n) <= most).all()
    assert all(overlaps(box, kept.xyxy).max() > min(most, 0.999) for box in xyxy)


def test_boxes_beyond_the_border_are_cut_and_slivers_go(plain_folder: Path) -> None:
    grounder = loaded(plain_folder, threshold="0", text_threshold="0", iou="1")

    def push(_: torch.nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        return output + torch.tensor([3.0, 0.0, 2.0, 0.0])  # to the right and wide

    grounder._model.bbox_embed[-1].register_forward_hook(push)
    found = grounder.ground(image(), [CAT])
    assert found.detections
    for detection in found.detections:
        x0, y0, x1, y1 = detection.box_xyxy
        assert 0 <= x0 <= x1 - 1 <= WIDTH - 1
        assert 0 <= y0 <= y1 - 1 <= HEIGHT - 1
    assert any(d.box_xyxy[2] == WIDTH for d in found.detections)
