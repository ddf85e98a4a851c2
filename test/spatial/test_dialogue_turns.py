# SPDX-License-Identifier: Apache-2.0
"""Dialogues on scenes: what yes, no, the other one and a person's own words lead to, on this frame and on the next."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from rendered_tables import Table

from spatial_vlm_ros.resolver import Answered, Resolver
from spatial_vlm_ros.sim.tabletop import Rendering
from spatial_vlm_ros.spatial.dialogue_state import Dialogue, remember, row_of
from spatial_vlm_ros.spatial.dialogue_turns import MOST_SAID
from spatial_vlm_ros.types import Detection, Resolution, Status

ELSEWHERE = (0.25, -0.95, 0.6)
"""An eye that sees the same table from another side."""


TWO = "can a -0.15 0; can b 0.15 0; cup cup 0 0.25"
FIVE = "can c0 -0.24 0; can c1 -0.12 0; can c2 0 0; can c3 0.12 0; can c4 0.24 0"
DOUBTED = "cup cup 0 0; can red 0.16 0.08 red; can blue -0.2 -0.2 blue"
"""Of the red can it is not clear that it is behind the cup; the blue one is not."""


class Talk:
    """A dialogue whose frame and detections may change between the words."""

    def __init__(self, seen: Rendering, detections: Sequence[Detection] | None = None) -> None:
        self.frame, self.detections = seen.frame, tuple(detections or seen.detections)
        self.answered: Answered | None = None

    @property
    def dialogue(self) -> Dialogue | None:
        return self.answered.dialogue if self.answered is not None else None

    @property
    def resolution(self) -> Resolution:
        assert self.answered is not None
        return self.answered.resolution

    def say(self, *words: str) -> str:
        """What the last words lead to: an id, several, or the status and the question."""
        for each in words:
            self.answered = Resolver().look_at(self.frame, self.detections).ask(each, follows=self.dialogue or ())
        answer = self.resolution
        if answer.target is not None:
            return ",".join(sorted(t.id for t in answer.targets) or [answer.target.id])
        return f"{answer.status.value}: {answer.question}"

    def see(self, seen: Rendering, detections: Sequence[Detection] | None = None) -> None:
        self.frame, self.detections = seen.frame, tuple(detections or seen.detections)


@pytest.fixture(scope="module")
def two(tabletop: Table) -> Rendering:
    return tabletop.scene(TWO)


def read() -> list[tuple[str, list[tuple[str, str]]]]:
    """The dialogues of dialogues.txt: a scene's bodies, and words with what they lead to."""
    found, bodies = [], ""
    for line in Path(__file__).with_name("dialogues.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("    "):
            turns = [turn.partition(" -> ") for turn in line.strip().split(" | ")]
            said = [[(words, led) for words in each.split("/")] for each, _, led in turns]
            found += [(bodies, list(dialogue)) for dialogue in itertools.product(*said)]
        elif line and not line.startswith("#"):
            bodies = line
    return found


def led_to(told: Talk, got: str, expected: str) -> bool:
    expected, _, message = expected.rstrip("]").partition(" [")
    if expected.endswith(" placed"):
        return got == expected.split()[0] and told.resolution.place is not None
    fits = got.startswith(expected[:-1]) if expected.endswith("…") else got == expected
    return fits and message in told.resolution.message


@pytest.mark.parametrize(
    ("bodies", "turns"), [pytest.param(*one, id=" | ".join(w for w, _ in one[1])) for one in read()]
)
def test_what_words_lead_to(tabletop: Table, bodies: str, turns: list[tuple[str, str]]) -> None:
    told = Talk(tabletop.scene(bodies))
    for words, led in turns:
        before = told.answered
        got = told.say(words)
        if led == "same":
            assert before is not None
            assert told.resolution.question == before.resolution.question
            assert told.resolution.answers == before.resolution.answers
            assert told.resolution.dialogue_id == before.dialogue.id
        elif led:
            assert any(led_to(told, got, each) for each in led.split(" or else ")), (words, got)


def test_a_yes_no_question_offers_yes_and_no(tabletop: Table) -> None:
    told = Talk(tabletop.scene(DOUBTED))
    told.say("grab the can behind the cup")
    assert [(a.text, a.ids) for a in told.resolution.answers] == [("yes", ("red",)), ("no", ())]
    assert told.say("yes") == "red"
    assert told.resolution.confidence >= 0.9


def test_a_number_that_may_count_otherwise_is_confirmed(tabletop: Table) -> None:
    told = Talk(tabletop.scene("can b 0.2 0 blue; can a -0.2 0 red"))
    question = told.say("grab the can")
    first = "blue" if question.index("blue") < question.index("red") else "red"
    assert told.say("the first one") == f"LOW_CONFIDENCE: Do you mean the {first} can?"
    assert told.say("yes") == {"blue": "b", "red": "a"}[first]


def test_what_was_denied_does_not_come_back_and_there_are_as_many_turns_as_candidates(tabletop: Table) -> None:
    told = Talk(tabletop.scene(FIVE))
    given = [told.say("grab the can", "the first one")]
    for _ in range(20):
        led = told.say("no, the other one")
        while told.resolution.target is None and told.resolution.answers:
            led = told.say(told.resolution.answers[0].text)
        if told.resolution.target is None or led in given:
            break
        given.append(led)
    assert sorted(given) == ["c0", "c1", "c2", "c3", "c4"]
    said = "grab the can", "the second one from the left", "point at the can on the right of it"
    assert Talk(tabletop.scene(FIVE)).say(*said) != "c1"


def renamed(detections: Sequence[Detection]) -> list[Detection]:
    """Another order and other ids, as a detector gives them on the next frame."""
    return [dataclasses.replace(d, id=f"n{n}") for n, d in enumerate(reversed(detections))]


@pytest.mark.parametrize("words", ["the left one", "yes", "no, the other one"])
def test_an_object_is_known_again_from_elsewhere_with_other_ids(tabletop: Table, two: Rendering, words: str) -> None:
    told = Talk(two)
    told.say("grab the can", *(() if words == "the left one" else ("the left one",)))
    later = tabletop.scene(TWO, eye=ELSEWHERE, stamp_ns=10**9)
    told.see(later, renamed(later.detections))
    body = {f"n{n}": d.id for n, d in enumerate(reversed(later.detections))}
    assert body[told.say(words)] == ("b" if "other" in words else "a")


@pytest.mark.parametrize("words", ["yes", "no, the other one", "the left one"])
def test_what_has_moved_meanwhile_is_never_taken_for_granted(tabletop: Table, two: Rendering, words: str) -> None:
    told = Talk(two)
    told.say("grab the can", *(() if words == "the left one" else ("the left one",)))
    later = tabletop.scene("can a 0.3 0.1; can b 0.15 0; cup cup 0 0.25", stamp_ns=10**9)
    told.see(later, renamed(later.detections))
    told.say(words)
    assert told.resolution.target is None
    assert told.resolution.question is not None


def test_a_question_about_what_was_shown_needs_it_where_it_was(tabletop: Table, two: Rendering) -> None:
    told = Talk(two)
    assert told.say("grab the can", "the left one") == "a"
    assert told.say("is it left of the cup?").startswith("ANSWERED")
    assert told.say("how far is it from the cup?").startswith("ANSWERED")
    assert told.resolution.answer is not None
    assert [obj.id for obj in told.resolution.answer.objects] == ["a", "cup"]
    assert told.say("pick it up") == "a"
    told.see(tabletop.scene("can b 0.15 0; cup cup 0 0.25", stamp_ns=10**9))
    assert told.say("how far is it from the cup?").startswith("NOT_UNDERSTOOD")
    assert "may not be where it was" in told.resolution.message
    assert told.resolution.answer is None


def test_words_alone_have_the_same_answers_as_the_kept_dialogue(tabletop: Table) -> None:
    five = tabletop.scene(FIVE)
    observed = Resolver().look_at(five.frame, five.detections)
    words = ["grab the can", "yes", "the second one", "no, the other one", "neither", "the last one", "no"]
    kept: Dialogue | None = None
    for n, each in enumerate(words):
        answered = observed.ask(each, follows=kept or ())
        again = observed.ask(each, follows=tuple(words[:n]))
        assert again.resolution == answered.resolution
        assert again.dialogue == answered.dialogue
        kept = answered.dialogue
        assert kept is not None


def test_the_same_words_said_again_mean_the_same(two: Rendering) -> None:
    observed = Resolver().look_at(two.frame, two.detections)
    first = observed.ask("grab the can")
    assert first.dialogue is not None
    answers = [observed.ask("the left one", follows=first.dialogue) for _ in range(2)]
    assert answers[0].resolution == answers[1].resolution
    others = [observed.ask("no, the other one", follows=answers[0].dialogue or ()) for _ in range(2)]
    assert [o.resolution.target.id for o in others if o.resolution.target] == ["b", "b"]


def test_what_stands_too_close_to_tell_is_not_known_again(tabletop: Table) -> None:
    scene = tabletop.lift(tabletop.scene("can a -0.15 0; cup c 0.15 0"))
    known = remember(scene.objects[0], scene)
    assert row_of(known, scene) == 0
    later = dataclasses.replace(known, stamp_ns=1)
    assert row_of(later, scene) == 0
    moved = dataclasses.replace(later, position=(0.0, 0.0, 9.0))
    assert row_of(moved, scene) is None
    assert row_of(dataclasses.replace(later, frame_id="another frame"), scene) is None
    assert row_of(dataclasses.replace(later, label="bottle"), scene) is None


def test_a_dialogue_is_bounded(two: Rendering) -> None:
    told = Talk(two)
    told.say("grab the can")
    words = ["the left one", "no, the other one", "the one near the cup", "no", "the red one"]
    for n in range(4 * MOST_SAID):
        told.say(words[n % len(words)])
        assert told.dialogue is not None
        assert len(told.dialogue.said) <= MOST_SAID
        assert len(told.dialogue.queries) <= 64
        assert len(told.dialogue.denied) <= 3
        if told.resolution.status is Status.INVALID_INPUT:
            break
    assert "Send the whole instruction" in told.resolution.message


@pytest.mark.parametrize(
    "words", ["x" * 5000, "the \x1b[2J one", 7, None, "no " * 300, "not " * 200 + "the red one", "\ud800"]
)
def test_hostile_answers_are_refused_and_lose_nothing(two: Rendering, words: str) -> None:
    told = Talk(two)
    told.say("grab the can")
    led = told.say(words)
    assert led.split(":")[0] in ("INVALID_INPUT", "NOT_UNDERSTOOD", "NOT_FOUND", "AMBIGUOUS")
    assert told.say("the left one").split(":")[0] in ("a", "LOW_CONFIDENCE", "NOT_UNDERSTOOD")


WORDS = (
    "no yes not the other one ones red blue left right that is wrong it a first second last both all neither none of "
    "them put on tray cup can cans , . ? grab behind next to and but or any either 2 1 from my side yours never mind "
    "please ok different which what I mean don't isn't bigger middle it's in front take give me there only instead "
    "except than"
)
FIRST = "grab the can/grab the can behind the cup/grab the two cans/grab the cupp/any can/take the red can"


@pytest.mark.parametrize("dialogues", [30, pytest.param(2000, marks=pytest.mark.slow)])
def test_no_words_end_in_an_untyped_error_or_lose_the_dialogue(tabletop: Table, dialogues: int) -> None:
    rng = np.random.default_rng(21)
    observed = Resolver().look_at(tabletop.scene(DOUBTED).frame, tabletop.scene(DOUBTED).detections)
    for _ in range(dialogues):
        before: Dialogue | None = None
        said = [str(rng.choice(FIRST.split("/")))]
        said += [" ".join(rng.choice(WORDS.split(), int(rng.integers(1, 7)))) for _ in range(int(rng.integers(1, 5)))]
        for words in said:
            answered = observed.ask(words, follows=before or ())
            assert answered.resolution.status is not Status.INTERNAL_ERROR, said
            assert before is None or answered.dialogue is not None, said
            before = answered.dialogue or before
