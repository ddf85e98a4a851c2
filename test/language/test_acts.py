# SPDX-License-Identifier: Apache-2.0
"""Acts of sentences (acts.jsonl), steps, prohibitions and their withdrawal, and the lexicon."""

from typing import get_args

import pytest
from language_outline import rows

from spatial_vlm_ros.errors import NotExecutableError, NotUnderstoodError
from spatial_vlm_ros.language import may_forbid, parse, prohibits, stops
from spatial_vlm_ros.language.lexicon import ACTIONS, LEXICON, VERBS_BEFORE_ARTICLES, gerund
from spatial_vlm_ros.language.patterns import expand
from spatial_vlm_ros.language.rendering import say_step
from spatial_vlm_ros.spatial.dialogue_state import Dialogue
from spatial_vlm_ros.spatial.dialogue_turns import DialogueTurn, take
from spatial_vlm_ros.types.query import Act

ACTS, ACKNOWLEDGED = rows("acts"), rows("acknowledged")
STEPS = {
    "pick up the ball and then the cup": ["take: pick up the ball", "take: pick up the cup"],
    "take the cup, then the ball, then the plate": [
        "take: pick up the cup", "take: pick up the ball", "take: pick up the plate"],
    "take the cup and put it on the tray, then push the box": ["place: put the cup on the tray", "push: push the box"],
    "put the cup on the tray, then the ball in the box": [
        "place: put the cup on the tray", "put into: put the ball inside the box"],
    "open the drawer and put the bowl in it": ["open: open the drawer", "put into: put the bowl inside the drawer"],
    "move the cup next to the box, then throw away the can": [
        "move: move the cup next to the box", "discard: throw away the can"],
}  # fmt: skip


@pytest.mark.parametrize(("said", "act"), ACTS, ids=[said for said, _ in ACTS])
def test_every_act_has_its_verbs_in_the_forms_that_people_use(said: str, act: str) -> None:
    assert {query.act for query in parse(said)} == {act}
    assert prohibits(said) is (act == "avoid")
    assert stops(said) is (act in ("stop", "wait"))


def test_the_table_has_sentences_of_every_act() -> None:
    assert {act for _, act in ACTS} == set(get_args(Act))


def test_the_lexicon_is_large_has_no_unknown_act_and_no_verb_twice() -> None:
    assert {table.act for table in LEXICON} == set(get_args(Act)) - {"ask", "put into", "stop", "wait"}
    patterns = [pattern for table in LEXICON for pattern in table.patterns]
    assert len(set(patterns)) == len(patterns) >= 250
    tables = [{phrase for pattern in table.patterns for phrase in expand(pattern)} for table in LEXICON]
    phrases = [phrase for table in tables for phrase in table]
    assert len(set(phrases)) == len(phrases)
    assert set(phrases) >= VERBS_BEFORE_ARTICLES
    assert all(pattern == pattern.lower() for pattern in patterns)


@pytest.mark.parametrize(
    ("verb", "form"),
    [("put", "putting"), ("take", "taking"), ("grab", "grabbing"), ("carry over", "carrying over"), ("lay", "laying"),
     ("open", "opening"), ("hit|kick", "hitting|kicking"), ("transfer", "transferring"), ("wipe", "wiping")],
)  # fmt: skip
def test_forms_in_ing_are_those_of_english(verb: str, form: str) -> None:
    assert gerund(verb) == form
    assert verb.split("|")[0] in {said for patterns in ACTIONS.values() for each in patterns for said in expand(each)}


@pytest.mark.parametrize("said", STEPS)
def test_all_steps_are_kept_and_the_query_is_about_the_first(said: str) -> None:
    query = parse(said)[0]
    assert [f"{step.act}: {say_step(step)}" for step in query.steps] == STEPS[said]
    first = query.steps[0]
    assert (query.action, query.act, query.target, query.destination) == (
        first.action, first.act, first.target, first.destination)  # fmt: skip


@pytest.mark.parametrize("said", [", then ".join(["take the cup"] * 60), "take the cup, " * 60 + "the ball"])
def test_sixty_steps_are_refused(said: str) -> None:
    with pytest.raises(NotUnderstoodError):
        parse(said[:1000])


def after(*said: str) -> DialogueTurn:
    """The last turn of words that are said one after the other."""
    before: Dialogue | None = None
    for words in said:
        turn = take(words, before)
        before = Dialogue("d", turn.said, turn.queries, turn.queries, forbids=turn.forbids)
    return turn


def avoided(turn: DialogueTurn) -> list[str]:
    return [phrase.category for phrase in turn.queries[0].avoid]


@pytest.mark.parametrize(("said", "told"), ACKNOWLEDGED)
def test_a_prohibition_and_its_end_are_acknowledged(said: list[str], told: str) -> None:
    assert after(*said).told == told


def test_words_that_may_forbid_what_runs_stop_it() -> None:
    for words in ("don't touch the cup", "no! don't take the cup", "wait, don't take the cup", "not that one"):
        assert may_forbid(words), words
    for words in ("take the cup that is not red", "put the cup on the tray", "take the wug"):
        assert not may_forbid(words), words
    assert may_forbid("a " * 501), "what is too long to be read"


def test_a_prohibition_holds_for_later_steps_until_it_ends() -> None:
    first = "don't touch the cup"
    assert avoided(after(first, "take the plate")) == ["cup"]
    assert avoided(after(first, "don't hit the can", "take the plate", "take the ball")) == ["cup", "can"]
    assert avoided(after(first, "where is the plate?")) == []
    assert avoided(after(first, "you can touch the cup again", "take the plate")) == []
    assert avoided(after("take the plate but don't touch the cup", "take the ball")) == ["cup"]
    assert avoided(after("take the cup next to the plate but don't touch it")) == ["plate"]
    assert after("put the cup on the tray and don't drop it").queries[0].forbids[0].target.category == "cup"
    for forbidden in ("take the cup", "push the cup", "take the ball, then the cup"):
        with pytest.raises(NotUnderstoodError, match="you said before not to touch the cup"):
            after(first, forbidden)
    for wide, narrow in (("anything", "cup"), ("any cup", "red cup"), ("the cup", "cup")):
        with pytest.raises(NotUnderstoodError, match="you said before not to"):
            after(f"don't touch {wide}", "you may look at it", f"take the {narrow}")
    with pytest.raises(NotUnderstoodError, match="you said before not to open the box"):
        after("don't open the box", "open the box")
    assert avoided(after("don't open the box", "take the box")) == []


@pytest.mark.parametrize(
    "said", ["take the cup but don't touch it", "don't push the cup and push the cup", "open the box but don't open it"]
)
def test_steps_that_contradict_each_other_are_refused(said: str) -> None:
    with pytest.raises(NotUnderstoodError, match="contradict each other"):
        take(said)


@pytest.mark.parametrize(
    ("said", "act", "what"),
    [
        ("wipe the table", "wipe", "wipe the table"),
        ("throw away the red cup", "discard", "throw away the red cup"),
        ("kick the ball", "hit", "hit the ball"),
        ("take the cat", "take", "pick up the cat"),
        ("push the nurse", "push", "push the nurse"),
        ("take the cup, then wipe the tray", "wipe", "wipe the tray"),
    ],
)
def test_what_has_no_pose_is_named_with_its_act(said: str, act: str, what: str) -> None:
    with pytest.raises(NotExecutableError) as refused:
        take(said)
    assert (refused.value.act, refused.value.what, refused.value.status_name) == (act, what, "NOT_EXECUTABLE")
    assert what in str(refused.value)


@pytest.mark.parametrize("said", ["take the toy cat", "take the wooden dog", "point at the cat", "find the nurse",
                                  "give the cup to the nurse", "push the dog bowl"])  # fmt: skip
def test_toys_recipients_and_whom_one_only_looks_at_are_no_such_object(said: str) -> None:
    assert take(said).queries
