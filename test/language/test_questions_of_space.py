# SPDX-License-Identifier: Apache-2.0
"""Which question is asked, and of what; what is no question stays what it was."""

import contextlib
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from language_outline import outline, phrase_outline

from spatial_vlm_ros.errors import NotUnderstoodError, SpatialVlmError
from spatial_vlm_ros.language import parse, parse_dialogue
from spatial_vlm_ros.language.patterns import word_set
from spatial_vlm_ros.language.question_subjects import subject_of
from spatial_vlm_ros.types import FrameOfReference, SpatialQuery


def asked(query: SpatialQuery) -> str:
    """A question on one line: kind, target, and what is asked of it."""
    question = query.question
    if question is None:
        return "no question: " + outline(query)
    words = [question.kind + ":", phrase_outline(subject_of(query))]
    if question.asked is not None:
        words.append("? " + phrase_outline(question.asked))
    words += [name for name in (question.relation, question.length, question.superlative) if name]
    words += [f"@{question.frame.value}"] if question.frame is not None else []
    words += ["apart"] if question.apart else []
    words += ["exactly"] if question.exactly else []
    words += ["/ " + phrase_outline(choice) for choice in question.choices]
    words += ["| " + phrase_outline(question.other)] if question.other is not None else []
    words += (
        [f"-> {query.destination.relation} {phrase_outline(query.destination.anchors[0])}"] if query.destination else []
    )
    return " ".join(words)


QUESTIONS = [
    # said in other orders
    ("On the tray, how many cups are there?", "count: x-1 cup [on tray]"),
    ("Where on earth have my slippers got to?", "where: x-1 slipper"),
    ("Roughly how wide is the box?", "size: box width"),
    # yes or no
    ("is the mug behind the box?", "whether: mug ? object [behind box]"),
    ("Isn't the mug behind the box", "whether: mug ? object [behind box]"),
    ("is the red one behind the box?", "whether: <red> object ? object [behind box]"),
    ("is the mug not behind the box?", "whether: mug ? object [not behind box]"),
    ("is the mug that is behind the box left of the bowl?", "whether: mug [behind box] ? object [left of bowl]"),
    ("is the cup on the tray red?", "whether: cup [on tray] ? <red> object"),
    ("is the left mug red?", "whether: ^leftmost mug ? <red> object"),
    ("is the mug red and behind the box?", "whether: mug ? <red> object [behind box]"),
    ("are both cups on the tray?", "whether: x2 cup ? object [on tray]"),
    ("is the mug within 20 cm of the box?", "whether: mug ? object [<0.2 at a distance from box]"),
    ("is the cup close to the bowl?", "whether: cup ? object [near bowl]"),
    ("is the mug taller than the bottle?", "whether: mug ? object [taller than bottle]"),
    ("is the mug the tallest object?", "whether: mug | ^tallest object"),
    ("is it a mug?", "whether: object ? mug"),
    ("is the thing behind the box a cup?", "whether: object [behind box] ? cup"),
    ("is the mug closer to the box than the bowl?", "whether: mug closest to / bowl | box"),
    ("does the bowl contain an apple?", "whether: bowl ? object [containing apple]"),
    ("does the cup stand on the tray?", "whether: cup ? object [on tray]"),
    ("is the cup still on the tray or not?", "whether: cup ? object [on tray]"),
    ("check whether the mug is on the tray", "whether: mug ? object [on tray]"),
    ("from my point of view, is the mug left of the box?", "whether: mug ? object [left of@speaker box]"),
    ("the mug is behind the box?", "whether: mug ? object [behind box]"),
    ("is the mug left or right of the box?", "whether: mug / object [left of box] / object [right of box]"),
    # is there
    ("is anything behind the box?", "exists: object [behind box]"),
    ("are there any mugs on the tray?", "exists: any x-1 mug [on tray]"),
    ("do you know if there is a mug behind the box?", "exists: mug [behind box]"),
    ("is the mug visible?", "exists: mug"),
    ("is there only one cup?", "exists: x1 cup exactly"),
    ("are there exactly two cups on the tray?", "exists: x2 cup [on tray] exactly"),
    ("can you check if there's a cup behind the box?", "exists: cup [behind box]"),
    # where, which, how many
    ("where's the red mug", "where: <red> mug"),
    ("could you tell me where the red mug is?", "where: <red> mug"),
    ("where is the mug relative to the box?", "where: mug | box"),
    ("where did I put my keys", "where: x-1 key"),
    ("which mugs are behind the box?", "which: x-1 mug [behind box]"),
    ("which cup has a spoon in it?", "which: cup [containing spoon]"),
    ("which cup has no spoon in it", "which: cup [not containing any spoon]"),
    ("what is left of the mug?", "which: object [left of mug]"),
    ("what do you see on the tray", "which: object [on tray]"),
    ("what do you see?", "which: x-1 object"),
    ("which one's closer to me the cup or the bowl", "which: cup nearest speaker / cup / bowl"),
    ("what is the mug standing on?", "which: object [supporting mug]"),
    ("which is taller, the mug or the bowl?", "which: mug tallest / mug / bowl"),
    ("is the cup or the bowl closer to the box?", "which: cup closest to / cup / bowl | box"),
    ("how many mugs are there?", "count: x-1 mug"),
    ("how many red mugs do you see on the table?", "count: x-1 <red> mug [on table]"),
    ("how many of the mugs are behind the box", "count: x-1 mug [behind box]"),
    ("could you count the mugs on the tray for me?", "count: x-1 mug [on tray]"),
    # how far
    ("how far is the mug from the edge?", "distance: mug | edge"),
    ("How far's the mug from the edge of the table", "distance: mug | edge [part of table]"),
    ("what is the distance between the mug and the box?", "distance: mug | box"),
    ("how far from the box is the mug?", "distance: mug | box"),
    ("tell me how far the mug is from the box", "distance: mug | box"),
    ("how many centimetres is the mug from the box?", "distance: mug | box"),
    ("how far apart are the two mugs?", "distance: x2 mug apart"),
    ("how far away is the mug?", "distance: mug"),
    ("how far is it to the mug?", "distance: mug"),
    ("how far is the mug from you?", "distance: mug @robot"),
    ("how far is the mug from me?", "distance: mug @speaker"),
    ("how far left of the box is the mug?", "distance: mug left of | box"),
    ("how far is the cup to the left of the box?", "distance: cup left of | box"),
    ("what is the distance to the cup?", "distance: cup"),
    ("what is the cup's distance from the box?", "distance: cup | box"),
    ("how far is it from here to the cup?", "distance: cup @viewer"),
    ("how far are the cup and the bowl from each other", "distance: cup | bowl"),
    ("how high above the table is the mug?", "distance: mug above | table"),
    ("how far is the second mug from the left from the box?", "distance: #2:left mug | box"),
    # how big
    ("how big is the box?", "size: box all"),
    ("how tall is the bottle behind the box", "size: bottle [behind box] height"),
    ("what is the mug's height?", "size: mug height"),
    ("how many cm long is the pen?", "size: pen length"),
    ("how tall is the bottle in centimetres?", "size: bottle height"),
    ("measure the height of the bottle", "size: bottle height"),
    ("how much taller is the bottle than the mug?", "size: bottle height | mug"),
    # room
    ("is there room for the box on the tray?", "room: box -> on tray"),
    ("is there any room left on the tray for another cup?", "room: any cup -> on tray"),
    ("does the box fit between the cups?", "room: box -> between x-1 cup"),
    ("is the tray big enough for the box?", "room: box -> on tray"),
    ("can I put the mug on the tray?", "room: mug -> on tray"),
]


@pytest.mark.parametrize(("words", "expected"), QUESTIONS)
def test_a_question_says_what_it_asks(words: str, expected: str) -> None:
    readings = parse(words)
    assert asked(readings[0]) == expected
    assert sum(reading.preference for reading in readings) == pytest.approx(1.0)
    assert all(reading.question is not None and reading.instruction == words for reading in readings)
    assert {reading.readings for reading in readings} == {len(readings)}


@pytest.mark.parametrize(("words", "expected"), QUESTIONS)
def test_courtesy_capitals_and_stumbles_change_nothing(words: str, expected: str) -> None:
    for said in (f"hey robot, {words}", words.upper(), f"um, {words.rstrip('?')}, please?"):
        assert asked(parse(said)[0]) == expected


ORDERS = [
    "where is the tennis ball? pick it up",
    "do you see the mug? grab it",
    "do you see the mug?",
    "can you put the mug on the tray?",
    "could you pick up what is on the tray?",
    "grab the mug that is behind the box",
    "the mug is behind the box",
    "there is a mug behind the box",
    "find the mug",
    "show me the mug",
]


@pytest.mark.parametrize("words", ORDERS)
def test_what_is_no_question_stays_an_order(words: str) -> None:
    assert all(reading.question is None for reading in parse(words))


REFUSED = [
    ("is the mug behind the box? grab it", "? grab it", "follows a question"),
    ("how far is the mug from the box and grab it", "the mug from the box and grab it", "a question and an order"),
    ("how far is the cup from the edge and from the bowl", "from the bowl", "does not name"),
    ("how much space is left on the tray?", "how much space", "free space"),
    ("is there room on the tray?", "room on the tray", "does not say which object"),
    ("what is the weight of the mug?", "weight", "cannot be measured"),
    ("is the mug or the bowl on the tray?", "or", "a choice"),
    ("how far behind is the cup?", "behind is the cup", "does not name"),
    ("is there room for two cups on the tray?", "two cups on the tray", "one object at a time"),
    ("where can I put the cup?", "I", "not supported"),
    ("is the cup on the tray and the bowl in the box?", "and the bowl in the box", "two questions"),
    ("is the cup more than 10 or 20 cm from the box", "or", "a choice"),
    ("how far", "how far", "does not name"),
]


@pytest.mark.parametrize(("words", "part", "reason"), REFUSED)
def test_what_cannot_be_answered_is_refused_by_name(words: str, part: str, reason: str) -> None:
    with pytest.raises(NotUnderstoodError) as caught:
        parse(words)
    assert reason in caught.value.reason
    assert part in words[slice(*caught.value.span)] or words[slice(*caught.value.span)] in part
    assert caught.value.repair


def test_it_is_what_was_spoken_of_before() -> None:
    assert asked(parse_dialogue("is it behind the box?", ["grab the red mug"])[0]) == (
        "whether: <red> mug ? object [behind box]"
    )
    assert asked(parse_dialogue("how far is it from the edge?", ["where is the red mug?"])[0]) == (
        "distance: <red> mug | edge"
    )
    order = parse_dialogue("pick it up", ["where is the red mug?"])[0]
    assert (order.action, order.question) == ("pick", None)
    assert outline(order) == "pick: <red> mug"


def test_an_answer_tells_which_object_a_question_is_about() -> None:
    (told, *_) = parse_dialogue("the left one", ["is the mug behind the box?"])
    assert asked(told) == "whether: ^leftmost mug ? object [behind box]"
    (seen, *_) = parse_dialogue("from my side", ["is the mug behind the box?"])
    assert seen.question is not None
    assert seen.question.asked is not None
    assert seen.question.asked.relations[0].frame is FrameOfReference.SPEAKER


_WORDS = sorted(
    word_set("""
    how far many much big is are what which where whether the a any box mug tray edge of from to between and or than
    behind left right on in near red tallest closer 10 cm two not it you me room for fit does can put apart ? , .
""")
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(("how far is", "is the mug", "what is", "how many", "is there room", "which")),
       st.lists(st.sampled_from(_WORDS), max_size=12))  # fmt: skip
def test_no_words_of_questions_crash(start: str, words: list[str]) -> None:
    text = " ".join((start, *words))
    try:
        readings = parse(text)
    except SpatialVlmError:
        return
    assert readings[0].instruction == text


def test_long_questions_end_soon(slowness: Callable[[], float]) -> None:
    words = "is the mug" + " behind the box that is" * 15 + " on the tray"
    for text in (words, ("how far is " + "the mug behind " * 60 + "the box")[:1000]):
        started = time.process_time()
        with contextlib.suppress(NotUnderstoodError):
            parse(text)
        assert time.process_time() - started < 1.0 * slowness()
