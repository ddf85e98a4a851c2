# SPDX-License-Identifier: Apache-2.0
"""Answers offered beside a question: each leads to its own object, on seeds and frames that no word was written on."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from rendered_tables import Table, instructions, meant, pictures, without_attributes

from spatial_vlm_ros.parameters import ResolverConfig, config_from
from spatial_vlm_ros.recording.frame_folder import load_frame
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Detection, OfferedAnswer, Resolution, RgbdFrame, Status

FIRST = 9000
MANY = pytest.param(45, marks=pytest.mark.slow)
Image = tuple[str, RgbdFrame, tuple[Detection, ...]]


def images(tabletop: Table, scenes: int) -> list[Image]:
    found = pictures(tabletop, range(FIRST, FIRST + scenes))
    return [(where, seen.frame, seen.detections) for where, seen in found]


@dataclasses.dataclass(frozen=True)
class Trial:
    where: str
    asked: Resolution
    offered: OfferedAnswer
    found: Resolution

    @property
    def end(self) -> str:
        """Own: what it means; other: another object; else the status of the refusal."""
        if self.found.target is None:
            return self.found.status.value
        return "own" if self.found.target.id in self.offered.ids else "other"

    def __str__(self) -> str:
        question = f"{self.where}: {self.asked.instruction!r}: {self.asked.question}"
        return f"{question} {self.offered}: {self.end}: {self.found.message}"


def trials(shown: Image, instruction: str, config: ResolverConfig | None = None) -> Iterator[Trial]:
    where, frame, detections = shown
    asked = Resolver(config).resolve(frame, instruction, detections)
    known = {candidate.id for candidate in asked.candidates}
    assert asked.question or not asked.answers
    for offered in asked.answers:
        assert set(offered.ids) <= known, offered
        if not offered.ids:  # "no" means none of them
            continue
        found = Resolver(config).resolve(frame, offered.text, detections, follows=[instruction])
        yield Trial(where, asked, offered, found)


def told(tried: Sequence[Trial]) -> str:
    return f"{Counter(trial.end for trial in tried)}\n" + "\n".join(str(t) for t in tried if t.end != "own")


def test_of_two_chicks_each_answer_is_one_of_them() -> None:
    frame, detections = chicks_and_cup_frame()
    asked = Resolver().resolve(frame, "grab me the chick", detections)
    assert {candidate.label for candidate in asked.candidates[:2]} == {"chick"}
    offered = {one.text: one.ids for one in asked.answers}
    assert offered == {"the bonnet one": ("bonnet",), "the ribbon one": ("ribbon",)}
    plain = without_attributes(detections)
    for one in Resolver().resolve(frame, "grab me the chick", plain).answers:
        found = Resolver().resolve(frame, one.text, plain, follows=["grab me the chick"])
        assert (meant(found),) == one.ids


@pytest.mark.parametrize("scenes", [5, MANY])
def test_an_answer_of_random_tables_never_leads_to_another_object(tabletop: Table, scenes: int) -> None:
    tried = [trial for shown in images(tabletop, scenes) for words in instructions(shown[2])
             for trial in trials(shown, words)]  # fmt: skip
    single = [trial for trial in tried if len(trial.offered.ids) == 1]
    assert len(single) >= 6 * scenes
    assert not [trial for trial in tried if trial.end == "other"], told(tried)
    settled = [trial for trial in single if trial.end == "own"]
    assert len(settled) >= 0.97 * len(single), told(single)
    for trial in tried:  # a refusal asks on, or says that these words do not hold of that very object
        if trial.end != "own":
            assert trial.found.status in (Status.AMBIGUOUS, Status.LOW_CONFIDENCE), trial
            assert {candidate.id for candidate in trial.found.candidates} & set(trial.offered.ids), trial


def test_an_answer_on_real_frames_never_leads_to_another_object(real_frames: Path) -> None:
    shown = [(folder.name, *load_frame(folder)) for folder in sorted(real_frames.glob("f[0-9]*"))]
    tried = [trial for image in shown for words in instructions(image[2]) for trial in trials(image, words)]
    assert len(tried) >= 40
    assert not [trial for trial in tried if trial.end == "other"], told(tried)
    assert sum(trial.end == "own" for trial in tried) >= 0.9 * len(tried), told(tried)


@pytest.mark.parametrize("scenes", [9, MANY])
def test_whose_side_is_meant_can_be_answered(tabletop: Table, scenes: int) -> None:
    config = config_from({"relation": {"second_frame": "robot"}})
    tried = [
        trial
        for shown in images(tabletop, scenes)
        for words in instructions(shown[2], ("behind", "left of", "right of", "in front of"))
        for trial in trials(shown, words, config)
        if str(trial.asked.question).startswith("From whose side")
    ]
    assert len(tried) >= scenes // 6
    assert {trial.end for trial in tried} == {"own"}, told(tried)


def test_objects_that_no_words_tell_apart_are_offered_by_their_ids(tabletop: Table) -> None:
    seen = tabletop.scene("can a 0 0")
    twice = (seen.detections[0], dataclasses.replace(seen.detections[0], id="again"))
    asked = Resolver().resolve(seen.frame, "the can", twice)
    assert asked.status is Status.AMBIGUOUS
    assert asked.question == "Which can: a or again?"
    assert asked.answers == (OfferedAnswer("the can a", ("a",)), OfferedAnswer("the can again", ("again",)))
    assert {trial.end for trial in trials(("twice", seen.frame, twice), "the can")} == {"own"}


@pytest.mark.parametrize("instruction", ["grab me the chick behind the cup", "the duck", "blah of of"])
def test_without_a_question_nothing_is_offered(instruction: str) -> None:
    frame, detections = chicks_and_cup_frame()
    found = Resolver().resolve(frame, instruction, detections)
    assert found.question is None
    assert found.answers == ()
