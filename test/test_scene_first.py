# SPDX-License-Identifier: Apache-2.0
"""A frame is lifted once, whatever is asked of it; and a fault of our own costs one request."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from spatial_vlm_ros import Resolver
from spatial_vlm_ros import resolver as resolver_module
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.recording.replay import answer_cases
from spatial_vlm_ros.resolver import phrases_of, understood
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Detection, Resolution, Status

FRAME, DETECTIONS = chicks_and_cup_frame()
WORDS = (
    "grab me the chick behind the cup", "the chick", "the cup", "both chicks", "the teapot", "the chick upon",
    "put the chick behind the cup 20 cm left of the cup", "the nearest chick", "",
)  # fmt: skip


@pytest.fixture
def lifts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the number of detections each time that a frame is lifted."""
    lifted: list[int] = []
    lift = resolver_module.build_scene

    def counted(frame: Any, detections: Sequence[Detection], *configs: Any) -> Any:
        lifted.append(len(detections))
        return lift(frame, detections, *configs)

    monkeypatch.setattr(resolver_module, "build_scene", counted)
    return lifted


def same(one: Resolution, other: Resolution) -> bool:
    return dataclasses.replace(one, dialogue_id=None) == dataclasses.replace(other, dialogue_id=None)


def test_a_scene_answers_every_sentence_as_the_frame_does(lifts: list[int]) -> None:
    resolver = Resolver()
    expected = [Resolver().resolve(FRAME, words, DETECTIONS) for words in WORDS]
    lifts.clear()
    scene = resolver.observe(FRAME, DETECTIONS)
    assert all(same(resolver.answer(scene, words), answer) for words, answer in zip(WORDS, expected, strict=True))
    assert lifts == [len(DETECTIONS)]
    ends = {answer.status for answer in expected}
    assert ends >= {Status.OK, Status.AMBIGUOUS, Status.NOT_FOUND, Status.NOT_UNDERSTOOD}


def test_a_frame_with_given_detections_is_lifted_once(lifts: list[int]) -> None:
    """And not for words that are not understood."""
    observed = Resolver().look_at(FRAME, DETECTIONS)
    answered = observed.ask("the chick upon")
    assert (answered.resolution.status, answered.scene, lifts) == (Status.NOT_UNDERSTOOD, None, [])
    for words, status in (("the cup", Status.OK), ("the chick", Status.AMBIGUOUS)):
        assert observed.ask(words).resolution.status is status
    assert len(lifts) == 1


def test_a_dialogue_is_asked_of_the_same_scene(lifts: list[int]) -> None:
    observed = Resolver().look_at(FRAME, DETECTIONS)
    question = observed.ask("grab me the chick").resolution
    assert question.answers
    chosen = observed.ask(question.answers[0].text, follows=("grab me the chick",)).resolution
    assert (chosen.target.id,) == question.answers[0].ids
    assert len(lifts) == 1


def test_with_a_grounder_the_same_phrases_are_found_and_lifted_once(lifts: list[int]) -> None:
    behind, before = "the chick behind the cup", "the chick in front of the cup"
    ground = Mock(side_effect=lambda _rgb, phrases: Grounding(DETECTIONS, label_match(phrases, DETECTIONS)))
    observed = Resolver(grounder=SimpleNamespace(ground=ground)).look_at(FRAME)
    first, again = observed.ask(behind), observed.ask(before)
    assert phrases_of(understood(behind))[1:] == phrases_of(understood(before))[1:]
    for _ in range(2):
        assert same(observed.ask(before).resolution, again.resolution)
    assert first.resolution.status is again.resolution.status is Status.OK
    assert (ground.call_count, len(lifts)) == (2, 2)  # the relation is part of the phrase


def test_frames_that_cannot_be_lifted_are_refused_for_each_sentence_and_tried_once(lifts: list[int]) -> None:
    blind = dataclasses.replace(FRAME, depth=np.full_like(FRAME.depth, np.nan))
    observed = Resolver().look_at(blind, DETECTIONS)
    answers = [observed.ask(words).resolution for words in ("the cup", "the chick upon", "the chick")]
    assert [a.status for a in answers] == [Status.DEPTH_INVALID, Status.NOT_UNDERSTOOD, Status.DEPTH_INVALID]
    assert len(lifts) == 1


def test_a_grounding_of_other_detections_is_refused() -> None:
    resolver = Resolver()
    scene = resolver.observe(FRAME, DETECTIONS)
    phrases = phrases_of(understood("the cup"))
    fitting = Grounding(DETECTIONS, label_match(phrases, DETECTIONS))
    assert resolver.answer(scene, "the cup", fitting).status is Status.OK
    fewer = Grounding(DETECTIONS[:1], label_match(phrases, DETECTIONS[:1]))
    assert resolver.answer(scene, "the cup", fewer).status is Status.INVALID_INPUT
    narrow = Grounding(DETECTIONS, np.zeros((0, len(DETECTIONS))))
    assert resolver.answer(scene, "the cup", narrow).status is Status.MODEL_ERROR


def test_only_a_frame_can_be_observed() -> None:
    with pytest.raises(InputError, match="an RgbdFrame"):
        Resolver().look_at("frame")  # type: ignore[arg-type]


def test_an_unexpected_exception_costs_one_request(monkeypatch: Any, caplog: pytest.LogCaptureFixture) -> None:
    choose = resolver_module.choose

    def fails_for_cups(turn: Any, scorer: Any) -> Any:
        if turn.queries[0].target.category == "cup":
            raise IndexError("tuple index out of range")
        return choose(turn, scorer)

    monkeypatch.setattr(resolver_module, "choose", fails_for_cups)
    observed = Resolver().look_at(FRAME, DETECTIONS)
    answers = [observed.ask(words).resolution for words in ("the cup", "the nearest chick")]
    assert [(a.status, a.code) for a in answers] == [(Status.INTERNAL_ERROR, 90), (Status.OK, 0)]
    assert "IndexError: tuple index out of range" in answers[0].message
    assert "the cup" in caplog.text
    assert "fails_for_cups" in caplog.text


@pytest.mark.real_frames
def test_the_real_frames_are_lifted_once_each(real_frames: Path, lifts: list[int]) -> None:
    answered = list(answer_cases(real_frames, Resolver()))
    frames = {one.case.frame for one in answered if one.scene is not None}
    assert len(answered) > 2 * len(frames)
    assert len(lifts) == len({one.case.frame for one in answered})


def test_a_batch_goes_on_after_a_fault(real_frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spatial_vlm_ros.recording import replay as answering

    load = answering.load_frame
    first = next(answer_cases(real_frames, Resolver())).case.frame

    def fails_once(folder: Path) -> Any:
        if folder.name == first:
            raise RuntimeError("a fault")
        return load(folder)

    monkeypatch.setattr(answering, "load_frame", fails_once)
    statuses = {one.case.frame: one.resolution.status for one in answer_cases(real_frames, Resolver())}
    assert statuses.pop(first) is Status.INTERNAL_ERROR
    assert statuses
    assert Status.INTERNAL_ERROR not in statuses.values()
