# SPDX-License-Identifier: Apache-2.0
"""Dialogues on scenes: what yes, no, the other one and a person's own words lead to, on this frame and on the next."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from tables import Table

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


@pytest.fixture(scope="module")
def five(tabletop: Table) -> Rendering:
    return tabletop.scene(FIVE)


@pytest.fixture(scope="module")
def doubted(tabletop: Table) -> Rendering:
    return tabletop.scene(DOUBTED)


# ------------------------------------------------------------------------------------------------ offered answers

LEFT = (
    "the left one/left/the left/Left!/the left can/left one please/it's the left one/the one on the left/"
    "the leftmost one/ok, the left one/no, the left one/I mean the left can/the first one/the former/a/can a/"
    "the can (a)/uh the left one/not the right one/take the left one"
)
SETTLES_NOTHING = (
    "yes/ok/that one/the other one/no, the other one/I don't know/what?/maybe/the third one/3/the blorp one/the zebra/"
    "purple elephants/the green one/the of of"
)


@pytest.mark.parametrize("words", LEFT.split("/"))
def test_an_offered_answer_is_taken_in_the_words_of_a_person(two: Rendering, words: str) -> None:
    told = Talk(two)
    assert told.say("grab the can") == "AMBIGUOUS: Which can: the left or the right one?"
    assert told.say(words) == "a"


@pytest.mark.parametrize("words", SETTLES_NOTHING.split("/"))
def test_words_that_settle_nothing_are_refused_and_the_question_stays_open(two: Rendering, words: str) -> None:
    told = Talk(two)
    question, before = told.say("grab the can").partition(": ")[2], told.dialogue
    assert told.say(words).partition(": ")[2] == question
    assert [a.text for a in told.resolution.answers] == ["the left one", "the right one"]
    assert before is not None
    assert told.resolution.dialogue_id == before.id
    assert told.say("the right one") == "b"


DENIED = "NOT_FOUND: None"


@pytest.mark.parametrize(
    ("bodies", "said"),
    [
        (TWO, {"grab the can": "", "neither": DENIED}),
        (TWO, {"grab the can": "", "none of them": DENIED}),
        (TWO, {"grab the can": "", "no": DENIED}),
        (TWO, {"grab the can": "", "both of them": "a,b"}),
        (TWO, {"grab the can": "", "right": "b"}),
        (TWO, {"grab the cup": "cup", "right": "cup"}),
        (TWO, {"grab the cupp": "NOT_FOUND: Did you mean the cup?", "yes": "cup"}),
        (TWO, {"grab the cupp": "NOT_FOUND: Did you mean the cup?", "the cup": "cup"}),
        (TWO, {"grab the cupp": "NOT_FOUND: Did you mean the cup?", "yes, the cup": "cup"}),
        (TWO, {"grab the cupp": "NOT_FOUND: Did you mean the cup?", "no": DENIED}),
        (TWO, {"grab the can left of the cupp": "NOT_FOUND: Did you mean the cup?", "yes": "a"}),
        (TWO, {"grab the can": "", "the left one": "a", "yes": "a"}),
        (TWO, {"grab the can left of the cup": "a", "yes": "a"}),
        (TWO, {"grab the can": "", "the left one": "a", "no": None, "grab the left can": "a"}),
        (TWO, {"grab the can": "", "never mind": "CANCELLED: None"}),
        (TWO, {"grab the left can": "a", "no, the left one": "LOW_CONFIDENCE: Do you mean the right can?"}),
        (FIVE, {"grab the can": "", "the leftmost one": "c0", "no": "AMBIGUOUS: Which of the four cans"}),
        (FIVE, {"grab the can": "", "the second one from the left": "c1", "pick it up": "c1"}),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_what_words_lead_to(tabletop: Table, bodies: str, said: dict[str, str | None]) -> None:
    """The empty text stands for the first question, and None for anything. "No" after an order does not take the next
    in that order; a command about it is about the object that was shown; a new command begins anew."""
    told = Talk(tabletop.scene(bodies))
    for words, led in said.items():
        got = told.say(words)
        expected = led or "AMBIGUOUS: Which"
        assert led is None or got == expected or (led[:9] in ("", "AMBIGUOUS") and got.startswith(expected)), words
        if led == DENIED and "grab the can" in said:
            assert told.resolution.message.startswith("I see no other can")
        if words == "never mind":
            assert "nothing is executed" in told.resolution.message


def test_either_is_of_those_asked_about(two: Rendering) -> None:
    assert Talk(two).say("grab the can", "either one") in ("a", "b")


def test_a_number_that_may_count_otherwise_is_confirmed(tabletop: Table) -> None:
    told = Talk(tabletop.scene("can b 0.2 0 blue; can a -0.2 0 red"))
    question = told.say("grab the can")
    first = "blue" if question.index("blue") < question.index("red") else "red"
    assert told.say("the first one") == f"LOW_CONFIDENCE: Do you mean the {first} can?"
    assert told.say("yes") == {"blue": "b", "red": "a"}[first]


@pytest.mark.parametrize("words", ["the one further to the left", "the one over on the left side there", "left there"])
def test_an_offered_answer_in_part_is_taken_or_confirmed(two: Rendering, words: str) -> None:
    told = Talk(two)
    assert told.say("grab the can", words) in ("a", "LOW_CONFIDENCE: Do you mean the left can?")
    assert told.say("yes") == "a"


def test_what_no_words_tell_apart_is_asked_for_by_id(tabletop: Table) -> None:
    seen = tabletop.scene("can a 0 0")
    told = Talk(seen, (seen.detections[0], dataclasses.replace(seen.detections[0], id="d2")))
    assert told.say("grab the can") == "AMBIGUOUS: Which can: a or d2?"
    assert told.say("d2") == "d2"


# ------------------------------------------------------------------------------------------------ yes and no


@pytest.mark.parametrize(
    "words", ["yes", "Yes, please.", "ok", "that's right", "correct", "right", "that one", "yes, the red one"]
)
def test_a_yes_no_question_takes_yes(doubted: Rendering, words: str) -> None:
    told = Talk(doubted)
    assert told.say("grab the can behind the cup") == "LOW_CONFIDENCE: Do you mean the red can?"
    assert [(a.text, a.ids) for a in told.resolution.answers] == [("yes", ("red",)), ("no", ())]
    assert told.say(words) == "red"
    assert told.resolution.confidence >= 0.9


@pytest.mark.parametrize("words", ["no", "nope", "that's wrong", "not that one", "wrong", "that isn't it", "neither"])
def test_a_yes_no_question_takes_no_and_asks_on(doubted: Rendering, words: str) -> None:
    told = Talk(doubted)
    assert told.say("grab the can behind the cup", words) == "RELATION_UNSATISFIED: Do you mean the blue can?"
    assert told.say("yes") == "blue"


@pytest.mark.parametrize(
    "words", ["no, the other one", "the other one", "another can", "the blue one", "no, the blue one"]
)
def test_what_is_said_instead_is_taken(doubted: Rendering, words: str) -> None:
    told = Talk(doubted)
    led = told.say("grab the can behind the cup", words)
    assert led in ("blue", "LOW_CONFIDENCE: Do you mean the blue can?")
    assert "blue" in (led, told.say("yes"))


@pytest.mark.parametrize(
    "words", ["no, the other one", "the other one", "no, the other can", "not that one", "that is wrong", "no"]
)
def test_after_an_answer_the_other_of_two_is_the_other(two: Rendering, words: str) -> None:
    for first, second in (("left", "b"), ("right", "a")):
        told = Talk(two)
        told.say("grab the can", f"the {first} one")
        led = told.say(words)
        assert led in (second, f"LOW_CONFIDENCE: Do you mean the {'right' if first == 'left' else 'left'} can?")
        assert second in (led, told.say("yes"))


def test_what_was_denied_does_not_come_back_and_there_are_as_many_turns_as_candidates(five: Rendering) -> None:
    told = Talk(five)
    given = [told.say("grab the can", "the first one")]
    for _ in range(20):
        led = told.say("no, the other one")
        while told.resolution.target is None and told.resolution.answers:
            led = told.say(told.resolution.answers[0].text)
        if told.resolution.target is None or led in given:
            break
        given.append(led)
    assert sorted(given) == ["c0", "c1", "c2", "c3", "c4"]
    assert Talk(five).say("grab the can", "the second one from the left", "point at the can on the right of it") != "c1"


# ------------------------------------------------------------------------------------------------ other frames


def renamed(detections: Sequence[Detection]) -> list[Detection]:
    """Another order and other ids, as a detector gives them on the next frame."""
    return [dataclasses.replace(d, id=f"n{n}") for n, d in enumerate(reversed(detections))]


@pytest.mark.parametrize("words", ["the left one", "yes", "no, the other one"])
def test_an_object_is_known_again_on_a_frame_with_other_ids_from_elsewhere(
    tabletop: Table, two: Rendering, words: str
) -> None:
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


def test_words_alone_have_the_same_answers_as_the_kept_dialogue(five: Rendering) -> None:
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


# ------------------------------------------------------------------------------------------------ bounds


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


def test_of_several_that_an_answer_leaves_none_is_taken_for_granted(tabletop: Table) -> None:
    told = Talk(tabletop.scene("can c0 -0.2 0 red; can c1 -0.08 0 red; can c2 0.04 0 blue; can c3 0.16 0 blue"))
    assert told.say("grab the can").startswith("AMBIGUOUS: Which")
    assert told.say("the red one") == "AMBIGUOUS: Which can: the left or the right one?"
    assert told.say("the right one") == "c1"
    assert told.say("no, the other one").startswith("AMBIGUOUS: Which")
    assert told.say("the blue one").startswith(("AMBIGUOUS: Which", "LOW_CONFIDENCE"))


@pytest.mark.parametrize(
    "words", ["the red one", "give me the red one", "I'd like the red one", "take the red can", "put the red one on it"]
)
def test_a_command_about_one_of_those_asked_about_keeps_what_was_to_be_done(tabletop: Table, words: str) -> None:
    tray = tabletop.block("t", 0.0, 0.3, (0.3, 0.2, 0.02), label="tray", colour="grey")
    seen = tabletop.scene("can r 0.1 -0.1 red; can b -0.15 -0.1 blue", tray)
    told = Talk(seen)
    assert told.say("put the can on the tray") == "AMBIGUOUS: Which can: the red or the blue one?"
    led = told.say(words)
    assert led == "r" or words.endswith("on it")
    assert led != "r" or told.resolution.place is not None
    told = Talk(seen)
    assert told.say("put the can on the tray", "the red one", "no, left of the tray").startswith("NOT_UNDERSTOOD")


WORDS = (
    "no yes not the other one ones red blue left right that is wrong it a first second last both all neither none of "
    "them put on tray cup can cans , . ? grab behind next to and but or any either 2 1 from my side yours never mind "
    "please ok different which what I mean don't isn't bigger middle it's in front take give me there only instead "
    "except than"
)
FIRST = "grab the can/grab the can behind the cup/grab the two cans/grab the cupp/any can/take the red can"


@pytest.mark.parametrize("dialogues", [30, pytest.param(2000, marks=pytest.mark.slow)])
def test_no_words_end_in_an_untyped_error_or_lose_the_dialogue(doubted: Rendering, dialogues: int) -> None:
    rng = np.random.default_rng(21)
    observed = Resolver().look_at(doubted.frame, doubted.detections)
    for _ in range(dialogues):
        before: Dialogue | None = None
        said = [str(rng.choice(FIRST.split("/")))]
        said += [" ".join(rng.choice(WORDS.split(), int(rng.integers(1, 7)))) for _ in range(int(rng.integers(1, 5)))]
        for words in said:
            answered = observed.ask(words, follows=before or ())
            assert answered.resolution.status is not Status.INTERNAL_ERROR, said
            assert before is None or answered.dialogue is not None, said
            before = answered.dialogue or before
