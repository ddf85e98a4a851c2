# SPDX-License-Identifier: Apache-2.0
"""What a detector's scores, an object's size and things without a name do to an answer."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spatial_vlm_lab.scoring.frame_truth import ImageObject
from spatial_vlm_lab.scoring.outcome import DetectorTally, EvaluatedCase
from spatial_vlm_ros import Resolver
from spatial_vlm_ros.errors import EvaluationError, FileError, InputError
from spatial_vlm_ros.parameters import DecisionConfig, ResolverConfig
from spatial_vlm_ros.perception import load_grounder, loaded_as
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.recording.cases import Case, Expectation
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.spatial.detector_profile import GIVEN, UNMEASURED, DetectorProfile, read_profile
from spatial_vlm_ros.types import Detection, NounPhrase, Resolution, Rgb, Status

FRAME, DETECTIONS = chicks_and_cup_frame()
SURE = {"schema": 1, "model": "sure", "slope": 0.0, "offset": 4.0, "recall": 1.0, "labels": {}}


@dataclasses.dataclass(frozen=True)
class Finding:
    found: tuple[Detection, ...]
    profile: DetectorProfile | None = None

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:  # noqa: ARG002 - of the protocol
        return Grounding(self.found, label_match(phrases, self.found), profile=self.profile)


def loaded_finding() -> Finding:
    return Finding(DETECTIONS)


@dataclasses.dataclass(frozen=True)
class Nearsighted(Finding):
    label: str = "cup"

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        height, width = rgb.shape[:2]
        if (height, width) == FRAME.depth.shape:
            return super().ground(rgb, phrases)
        near = (Detection("near", self.label, 0.9, (width / 4, height / 4, 3 * width / 4, 3 * height / 4)),)
        return Grounding(near, label_match(phrases, near))


def scored(label: str, score: float, others: float = 0.9) -> tuple[Detection, ...]:
    return tuple(dataclasses.replace(one, score=score if one.label == label else others) for one in DETECTIONS)


def answered(words: str, found: tuple[Detection, ...], profile: DetectorProfile | None = None) -> Resolution:
    return Resolver(grounder=Finding(found, profile)).resolve(FRAME, words)


@pytest.mark.parametrize(
    ("profile", "score", "status"),
    [
        (None, 0.9, Status.OK),
        (None, 0.4, Status.LOW_CONFIDENCE),
        (UNMEASURED, 0.1, Status.OK),
        (GIVEN, 0.1, Status.OK),
        (DetectorProfile("good at cups", 0.0, 0.0, 0.9, {"cup": 4.0}), 0.1, Status.OK),
        (DetectorProfile("bad at cups", 0.0, 4.0, 0.9, {"cup": -4.0}), 0.9, Status.LOW_CONFIDENCE),
    ],
)
def test_a_name_is_believed_as_far_as_its_detector(profile: Any, score: float, status: Status) -> None:
    answer = answered("pick up the cup", scored("cup", score), profile)
    assert (answer.status, answer.target is None) == (status, status is not Status.OK)
    assert answer.confidence == answer.belief.probability
    product = answer.belief.relations * answer.belief.names * answer.belief.complete
    assert answer.confidence == pytest.approx(product, abs=1e-5)


def test_a_person_is_asked_about_a_doubtful_name_and_believed() -> None:
    resolver = Resolver(grounder=Finding(scored("cup", 0.4)))
    first = resolver.resolve(FRAME, "pick up the cup")
    assert "the name 'cup' of cup is right with a probability of only" in first.message
    assert first.question == "Do you mean the cup?"
    assert resolver.resolve(FRAME, "yes", follows=["pick up the cup"]).status is Status.OK


def test_the_name_of_what_an_object_is_related_to_counts() -> None:
    behind = "the chick behind the cup"
    assert answered(behind, scored("cup", 0.9)).status is Status.OK
    resolver = Resolver(grounder=Finding(scored("cup", 0.3)))
    for words in (behind, "put the nearest chick next to the cup"):
        doubted = resolver.resolve(FRAME, words)
        assert (doubted.status, "'cup' of cup" in doubted.message) == (Status.LOW_CONFIDENCE, True)
        assert str(doubted.question).endswith(", and is the cup (cup) what its name says?")
        assert resolver.resolve(FRAME, "yes", follows=[words]).status is Status.OK
    assert answered("the nearest object", scored("cup", 0.4, 0.4)).status is Status.OK  # which is no name


def test_a_thing_without_a_name_may_be_meant_where_the_detector_misses_many() -> None:
    one = tuple(each for each in DETECTIONS if each.id != DETECTIONS[0].id)
    kept = next(each for each in one if each.label == DETECTIONS[0].label)
    blind, sharp = (DetectorProfile("", 0.0, 2.0, recall) for recall in (0.0, 1.0))
    missed, complete = (answered(f"the {kept.label}", one, profile).belief for profile in (blind, sharp))
    assert (missed.complete, complete.complete) == (pytest.approx(0.9), 1.0)
    config = ResolverConfig(decision=DecisionConfig(mass=0.95, found=0.3))
    sure = DetectorProfile("", 0.0, 9.0, 0.0)
    asked = Resolver(config, Finding(one, sure)).resolve(FRAME, f"the {kept.label}")
    assert (asked.status, "something that I cannot name may be meant" in asked.message) == (Status.LOW_CONFIDENCE, True)


@pytest.mark.parametrize("words", ["the cup", "the chick behind the cup"])
def test_what_has_no_name_is_looked_at_again_in_a_crop(words: str) -> None:
    found = tuple(one for one in DETECTIONS if one.label != "cup")
    whole, again = Resolver().resolve(FRAME, words, DETECTIONS), Resolver(grounder=Nearsighted(found))
    answer = again.resolve(FRAME, words)
    assert answer.target.pose.position == pytest.approx(whole.target.pose.position, abs=0.01)
    for blind in (Finding(found), Nearsighted(found, label="vase")):
        assert Resolver(grounder=blind).resolve(FRAME, words).status is Status.NOT_FOUND
    assert again.resolve(FRAME, words, found).status is Status.NOT_FOUND  # given detections are those of another


def test_the_file_that_the_configuration_names_precedes(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(SURE | {"measured": {"boxes": 30}}))
    config = ResolverConfig(decision=DecisionConfig(profile=str(path)))
    resolver = Resolver(config, Finding(scored("cup", 0.1)))
    assert resolver.resolve(FRAME, "the cup").status is Status.OK
    path.write_text("{}")
    refused = Resolver(config, Finding(scored("cup", 0.1))).resolve(FRAME, "the cup")
    assert (refused.status, "evaluate --profile" in refused.message) == (Status.INVALID_INPUT, True)


@pytest.mark.parametrize("words", ["the cup", "the nearest object"])
def test_the_bare_table_in_a_box_is_asked_about_whatever_its_score(words: str) -> None:
    height, width = FRAME.depth.shape
    flat = Detection("flat", "cup", 0.99, (width / 2 - 30.0, height - 60.0, width / 2 + 30.0, height - 10.0))
    refused = Resolver().resolve(FRAME, words, [flat])
    assert (refused.status, "odd size for 'cup'" in refused.message) == (Status.LOW_CONFIDENCE, True)
    assert refused.confidence < 0.1


def test_the_same_question_is_not_asked_twice_about_several() -> None:
    found = scored("chick", 0.3)
    resolver = Resolver(grounder=Finding(found))
    assert resolver.resolve(FRAME, "both chicks").status is Status.LOW_CONFIDENCE
    yes = resolver.resolve(FRAME, "yes", follows=["both chicks"])
    assert (yes.status, len(yes.targets)) == (Status.OK, 2)


def test_an_object_without_depth_leaves_the_confidence_a_number() -> None:
    depth = FRAME.depth.copy()
    left, top, right, bottom = (round(v) for v in next(d for d in DETECTIONS if d.label == "cup").box_xyxy)
    depth[top:bottom, left:right] = np.nan
    blind = dataclasses.replace(FRAME, depth=depth)
    found = [each for each in DETECTIONS if each.label == "cup"] + [DETECTIONS[0]]
    for follows in ((), (f"the {DETECTIONS[0].label} left of the cup",)):
        words = "yes" if follows else f"the {DETECTIONS[0].label} left of the cup"
        assert np.isfinite(Resolver().resolve(blind, words, found, follows=follows).confidence)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2}, {"slope": -1.0}, {"offset": "much"}, {"recall": 1.5}, {"recall": None}, {"labels": {"cup": "x"}},
        {"labels": [1]}, {"labels": {"cup": 1e9}}, {"more": 1},
    ],
)  # fmt: skip
def test_a_damaged_profile_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(SURE | change))
    with pytest.raises(FileError, match="evaluate --profile"):
        read_profile(path)
    with pytest.raises(InputError, match="recall"):
        DetectorProfile("", 1.0, 0.0, float("nan"))


def test_a_profile_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(SURE | {"model": "onnx rtdetr.onnx"}))
    assert read_profile(path, loaded_as("onnx", {"model": "/models/rtdetr.onnx", "score": "0.3"})).model
    assert read_profile(path).model  # of given detections the model is not known
    with pytest.raises(FileError, match="'onnx rtdetr"):
        read_profile(path, loaded_as("onnx", {"model": "yolo.onnx"}))
    config = ResolverConfig(decision=DecisionConfig(profile=str(path)))
    name = f"{__name__}:loaded_finding"
    refused = Resolver(config, load_grounder(name)).resolve(FRAME, "the cup")
    assert (refused.status, f"the detector is {name!r}" in refused.message) == (Status.INVALID_INPUT, True)


def seen(number: int, score: float, label: str = "cup") -> EvaluatedCase:
    case = Case("the cup", "frame", expect=Expectation(Status.OK, id="a"), stamp_ns=number)
    box = (0.0, 0.0, 10.0, 10.0)
    known = (ImageObject("a", "mug", box), ImageObject("b", "can", (20.0, 20.0, 30.0, 30.0)))
    answer = Resolution("the cup", Status.NOT_FOUND, "")
    found = (Detection("d", label, score, box),)
    return EvaluatedCase(case, "model", "", answer, objects=known, frame=FRAME, detections=found)


def test_scores_that_rank_the_wrong_way_say_nothing() -> None:
    tally = DetectorTally()
    for number in range(40):
        tally.add(seen(number, number / 40, "cup" if number < 20 else "bottle"))
    made = tally.profile("contrary")
    assert (made.slope, made.offset) == (0.0, pytest.approx(0.0, abs=0.01))


def test_a_profile_is_what_was_counted(tmp_path: Path) -> None:
    tally = DetectorTally()
    with pytest.raises(EvaluationError, match="20 boxes"):
        tally.profile("none")
    for number in range(80):
        score = number % 20 / 20
        right = score > 0.5 if number % 4 else score <= 0.5  # three of four follow the score
        for _ in range(2):  # asked twice
            tally.add(seen(number, score, "cup" if right else "bottle"))
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(tally.profile_json("counted")))
    made = read_profile(path)
    assert made.model == "counted"
    assert made.slope > 1.0
    assert made.slope * 0.5 + made.offset == pytest.approx(0.0, abs=0.5)
    assert made.labels["cup"] > 1.0 > -1.0 > made.labels["bottle"]
    assert made.recall == pytest.approx(41 / 82, abs=0.03)  # nobody asks it for cans
    assert tally.profile_json("")["measured"]["boxes"] == 80
