# SPDX-License-Identifier: Apache-2.0
"""Sentences made from meanings: every relation, every style, nothing left out, no two meanings in the same words."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from research.speech import STYLES, canonical, random_query, say
from research.speech.clauses import Anchor, word_clause
from research.speech.forms import FORMS, FRAMED
from research.speech.lengths import METRES, cardinal, length, numeral, ordinal
from research.speech.phrases import SUPERLATIVES, pluralise
from research.speech.verbs import VERBS, gerund
from research.speech.voice import Voice
from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.language.lexicon import FRAMED_SUPERLATIVES
from spatial_vlm_ros.spatial.superlatives import MEDIUM
from spatial_vlm_ros.types import (
    Destination,
    Distance,
    FrameOfReference,
    NounPhrase,
    Ordinal,
    RelationClause,
    SpatialQuery,
    Step,
)

DOCUMENT = (Path(__file__).parents[2] / "docs" / "relations.md").read_text()
FEW_WORDS = {"below", "longer than", "other than"}  # English has fewer than six ways of its own
MUG, BOWL, JUG = NounPhrase("mug"), NounPhrase("bowl"), NounPhrase("jug")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def headed() -> list[str]:
    """Relations in the order of their headings, which are in small letters."""
    headings = re.findall(r"^### (.+)$", DOCUMENT, re.MULTILINE)
    return [name for heading in headings if heading[0].islower() for name in heading.split(", ")]


def rows() -> dict[str, tuple[str, str, str]]:
    """Relation → frame, anchors, distance, of the table."""
    lines = DOCUMENT.split("## The table")[1].split("## ")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][1:]
    return {name: (cell[1], cell[2], cell[3]) for cell in cells for name in named(cell[0])}


def named(cell: str) -> Iterator[str]:
    """Names of a cell: "at the edge, corner of" names two, "taller than … thinner than" all that are headed between."""
    for group in cell.split("; "):
        if "…" in group:
            first, last = group.split(" … ")
            order = headed()
            yield from order[order.index(first) : order.index(last) + 1]
        elif group.startswith("at the "):
            parts = group.removeprefix("at the ").removesuffix(" of").split(", ")
            yield from (f"at the {part} of" for part in parts)
        else:
            yield from group.split(", ")


def query(clause: RelationClause | None = None, action: str = "pick", **more: object) -> SpatialQuery:
    clauses = () if clause is None else (clause,)
    return SpatialQuery("", action, replace(MUG, relations=clauses, **more))  # type: ignore[arg-type]


def anchors_of(relation: str) -> tuple[NounPhrase, ...]:
    if relation == "between":
        return BOWL, JUG
    return (replace(BOWL, count=-1),) if relation == "among" else (BOWL,)


def clause_of(relation: str, frame: FrameOfReference | None = None, negated: bool = False) -> RelationClause:
    distance = Distance(0.2) if relation == "at a distance from" else None
    return RelationClause(relation, anchors_of(relation), frame, negated, distance)


def test_every_relation_of_the_document_has_words_and_no_other() -> None:
    assert set(rows()) == set(headed()) == set(FORMS)


def test_frames_and_distances_are_those_of_the_table() -> None:
    assert {name for name, (frame, _, _) in rows().items() if frame == "yes"} == FRAMED
    for name, (_, _, distance) in rows().items():
        stated = distance in ("yes", "always") or name in distance.split(", ")
        assert bool(FORMS[name].measured) == stated, name


def test_every_superlative_of_the_document_has_words() -> None:
    names = re.findall(r"^\| ([a-z, -]+) \|", DOCUMENT.split("### Superlatives")[1].split("## ")[0], re.MULTILINE)
    words = {word for cell in names for word in cell.split(", ") if " " not in word} - {"word"} - MEDIUM
    assert words == set(SUPERLATIVES)


@pytest.mark.parametrize("relation", sorted(FORMS))
def test_a_relation_is_said_in_six_ways_where_english_has_them(relation: str) -> None:
    start = re.compile(r"^(are|is|stands|sits) |^(standing|sitting|placed|located|positioned|situated) ")
    said = set()
    for seed in range(600):
        made = word_clause(
            clause_of(relation), False, Voice(rng(seed)), lambda phrase, _: Anchor(phrase.category, False)
        )
        for words in (made.bare, made.finite):
            if words is not None:
                said.add(start.sub("", start.sub("", words)))
    assert len(said) >= (4 if relation in FEW_WORDS else 6), said


def test_the_same_seed_says_the_same_and_another_says_something_else() -> None:
    meanings = [random_query(rng(seed)) for seed in range(100)]
    assert meanings == [random_query(rng(seed)) for seed in range(100)]
    said = [say(meaning, rng(7)) for meaning in meanings]
    assert said == [say(meaning, rng(7)) for meaning in meanings]
    assert len({say(meanings[0], rng(seed)) for seed in range(50)}) > 25


@pytest.fixture(scope="module")
def meanings() -> list[SpatialQuery]:
    return [random_query(rng(seed)) for seed in range(6000)]


def phrases_of(phrase: NounPhrase) -> Iterator[NounPhrase]:
    yield phrase
    for clause in phrase.relations:
        for anchor in clause.anchors:
            yield from phrases_of(anchor)


def all_phrases(meaning: SpatialQuery) -> Iterator[NounPhrase]:
    for step in meaning.steps or (Step(meaning.action, meaning.target, meaning.destination),):
        yield from phrases_of(step.target)
        for anchor in step.destination.anchors if step.destination else ():
            yield from phrases_of(anchor)


def test_random_meanings_hold_everything_that_can_be_said(meanings: list[SpatialQuery]) -> None:
    phrases = [phrase for meaning in meanings for phrase in all_phrases(meaning)]
    clauses = [clause for phrase in phrases for clause in phrase.relations]
    assert {clause.relation for clause in clauses} == set(FORMS)
    assert {phrase.superlative for phrase in phrases} == {None, *SUPERLATIVES}
    assert {phrase.ordinal.from_ for phrase in phrases if phrase.ordinal} == {
        "left",
        "right",
        "near",
        "far",
        "top",
        "bottom",
    }
    assert {clause.frame for clause in clauses} == {None, *FrameOfReference}
    assert {clause.distance.bound for clause in clauses if clause.distance} == {"about", "at most", "at least"}
    assert {phrase.count for phrase in phrases} >= {None, -1, 2, 3}
    assert {phrase.choice for phrase in phrases} == {None, "any"}
    assert {meaning.action for meaning in meanings} == set(VERBS)
    assert len({phrase.category for phrase in phrases}) >= 80
    assert any(clause.negated for clause in clauses)
    assert any(meaning.destination and meaning.destination.distance for meaning in meanings)
    assert sum(bool(meaning.steps) for meaning in meanings) > 100


def test_most_meanings_have_one_clause_some_two_few_three(meanings: list[SpatialQuery]) -> None:
    def clauses(phrase: NounPhrase) -> int:
        return sum(len(one.relations) for one in phrases_of(phrase))

    share = Counter(clauses(meaning.target) for meaning in meanings if not meaning.destination and not meaning.steps)
    total = sum(share.values())
    assert 0.5 < share[1] / total < 0.75
    assert 0.1 < share[2] / total < 0.3
    assert 0 < share[3] / total < 0.1
    assert max(share) <= 4


def test_no_noun_stands_for_two_objects_of_one_meaning(meanings: list[SpatialQuery]) -> None:
    for meaning in meanings:
        if meaning.steps or any(clause.relation.endswith("er than") for clause in meaning.target.relations):
            continue
        nouns = [phrase.category for phrase in all_phrases(meaning) if phrase.category != "object"]
        assert len(nouns) == len(set(nouns)), meaning


def test_sentences_are_clean(meanings: list[SpatialQuery]) -> None:
    for seed, meaning in enumerate(meanings[:1500]):
        for style in (None, "transcript"):
            text = say(meaning, rng(seed), style)
            assert not re.search(r"  |[{}<>_@]|None|\s[,.?!:;]|^\s|\s$|,,|[.?!]{2}", text), text
            assert not re.search(r"\b(?!the the)(?!that that)(\w+) \1\b", text), text
            assert re.fullmatch(r"[a-z0-9' .-]+" if style else r"[A-Za-z0-9',.?!: -]+", text), text


def test_sentences_name_everything_that_is_meant(meanings: list[SpatialQuery]) -> None:
    for seed, meaning in enumerate(meanings[:1500]):
        text = say(meaning, rng(seed)).lower().replace("gray", "grey")
        for phrase in all_phrases(meaning):
            nouns = {phrase.category, pluralise(phrase.category)} if phrase.category != "object" else {""}
            assert any(noun in text for noun in nouns), (text, phrase)
            assert all(word in text for word in phrase.attributes), (text, phrase)


@pytest.mark.parametrize("style", STYLES)
def test_a_style_is_what_it_is_called(style: str) -> None:
    said = [say(query(clause_of("left of")), rng(seed), style) for seed in range(200)]
    marks = {
        "plain": lambda text: text.endswith("."),
        "polite": lambda text: re.search(r"(?i)please|would|could|kindly|mind", text),
        "question": lambda text: text.endswith("?"),
        "blunt": lambda text: text.endswith(("!", "now.")) or text.islower()
        or re.match(r"Just|Go and|You need to", text),
        "wish": lambda text: re.search(r"I('d| want| need| would)|[Yy]ou should|[Yy]our task", text),
        "topic": lambda text: re.search(r"\b(it|see)\b", text),
        "transcript": lambda text: text.islower() and not re.search(r"[.,?!]", text),
    }  # fmt: skip
    assert all(marks[style](text) for text in said), [text for text in said if not marks[style](text)]
    assert len(set(said)) > 50


def test_all_styles_occur_where_none_is_asked_for() -> None:
    said = [say(query(clause_of("on")), rng(seed)) for seed in range(400)]
    assert sum(text.endswith("?") for text in said) > 20
    assert sum(text.islower() for text in said) > 20
    assert sum("please" in text.lower() for text in said) > 20
    assert sum(bool(re.search(r"\b(um|uh|uhm|er)\b", text)) for text in said) > 5
    assert sum(text.endswith("!") for text in said) > 3


def test_spoken_sentences_have_numbers_in_words() -> None:
    near = RelationClause("left of", (replace(BOWL, count=3),), distance=Distance(0.15))
    said = [say(query(near, ordinal=Ordinal(2, "left")), rng(seed), "transcript") for seed in range(200)]
    assert not any(re.search(r"\d", text) for text in said)
    assert any("fifteen centimet" in text for text in said)


def differing_meanings() -> Iterator[SpatialQuery]:
    """Every relation and superlative in every frame that it has, and negated."""
    frames = (None, *FrameOfReference)
    for relation in FORMS:
        for frame in frames if relation in FRAMED else (None,):
            yield from (query(clause_of(relation, frame, negated)) for negated in (False, True))
    yield query(RelationClause("on the other side of", (BOWL, JUG)))
    for superlative in SUPERLATIVES:
        for frame in frames[:-1] if superlative in FRAMED_SUPERLATIVES else (None,):
            yield query(superlative=superlative, frame=frame)
    for n in (2, 3):
        yield from (query(ordinal=Ordinal(n, side)) for side in ("left", "right", "near", "far", "top", "bottom"))
    yield from (query(count=count) for count in (None, -1, 2, 3))
    yield query(choice="any")
    for bound in ("about", "at most", "at least"):
        yield query(RelationClause("left of", (BOWL,), distance=Distance(0.1, bound)))  # type: ignore[arg-type]
    for relation in ("left of", "on", "inside", "under", "behind"):
        yield SpatialQuery("", "place", MUG, Destination(relation, (BOWL,)))


def test_no_two_meanings_are_said_in_the_same_words() -> None:
    meant: dict[str, set[SpatialQuery]] = defaultdict(set)
    for meaning in differing_meanings():
        for seed in range(40):
            meant[say(meaning, rng(seed)).lower()].add(canonical(meaning))
    assert len(meant) > 4000
    assert not {text: found for text, found in meant.items() if len(found) > 1}


@pytest.mark.parametrize(
    "meaning",
    [
        query(RelationClause("north of", (BOWL,))),
        query(action="juggle"),
        query(superlative="wettest"),
        query(ordinal=Ordinal(2, "north")),
        SpatialQuery("", "place", MUG, Destination("taller than", (BOWL,))),
    ],
    ids=["relation", "action", "superlative", "ordinal", "destination"],
)
def test_what_has_no_words_is_refused_by_name(meaning: SpatialQuery) -> None:
    with pytest.raises(UnknownNameError):
        say(meaning, rng(), "polite")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    "meaning",
    [
        query(RelationClause("left of", ())),
        SpatialQuery("", "point", MUG, Destination("on", (BOWL,))),
        SpatialQuery("", "place", MUG, Destination("on", ())),
    ],
    ids=["no anchor", "pointing somewhere", "put nowhere"],
)
def test_what_makes_no_sense_is_refused(meaning: SpatialQuery, style: str) -> None:
    with pytest.raises(InputError):
        say(meaning, rng(1), style)


@pytest.mark.parametrize("style", STYLES)
def test_unusual_meanings_have_words_too(style: str) -> None:
    """What nobody draws at random, but a caller may have: three anchors, a distance on any relation, no destination."""
    three = (BOWL, JUG, NounPhrase("pan"))
    for seed in range(30):
        assert re.search(
            r"bowl,? the jug and the pan|bowl,? jug and pan|bowl the jug",
            say(query(RelationClause("among", three)), rng(seed), style),
        )
        assert re.search(r"away", say(query(RelationClause("on", (BOWL,), distance=Distance(0.2))), rng(seed), style))
        assert "mug" in say(SpatialQuery("", "place", MUG), rng(seed), style).lower()
        assert "bowl" in say(SpatialQuery("", "push", MUG, Destination("next to", (BOWL,))), rng(seed), style).lower()


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="sarcastic"):
        say(query(), rng(), "sarcastic")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (query(attributes=("red", "gray")), query(attributes=("grey", "red"))),
        (query(clause_of("on the other side of")), query(clause_of("behind"))),
        (query(clause_of("out of")), query(clause_of("inside", negated=True))),
        (query(clause_of("taller than", negated=True)), query(clause_of("shorter than"))),
        (query(clause_of("on", FrameOfReference.ROBOT)), query(clause_of("on"))),
        (query(ordinal=Ordinal(1, "left")), query(superlative="leftmost")),
        (
            query(RelationClause("at a distance from", (BOWL,), negated=True, distance=Distance(1, "at most"))),
            query(RelationClause("at a distance from", (BOWL,), distance=Distance(1, "at least"))),
        ),
        (query(RelationClause("between", (BOWL, JUG))), query(RelationClause("between", (JUG, BOWL)))),
        (
            replace(query(), action="move", destination=Destination("on", (BOWL,))),
            replace(query(), steps=(Step("pick", MUG), Step("place", NounPhrase("object"), Destination("on",
            (BOWL,)))), action="place"),
        ),
    ],
)  # fmt: skip
def test_equals_have_one_form(one: SpatialQuery, other: SpatialQuery) -> None:
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (query(clause_of("left of")), query(clause_of("right of"))),
        (query(clause_of("left of")), query(clause_of("left of", FrameOfReference.SPEAKER))),
        (query(clause_of("left of")), query(clause_of("left of", negated=True))),
        (query(clause_of("under")), query(clause_of("below"))),
        (query(count=2), query(count=-1)),
        (query(), query(action="give")),
        (query(RelationClause("on the other side of", (BOWL, JUG))), query(RelationClause("on the other side of",
        (JUG, BOWL)))),
    ],
)  # fmt: skip
def test_what_differs_keeps_its_difference(one: SpatialQuery, other: SpatialQuery) -> None:
    assert canonical(one) != canonical(other)


def test_it_is_what_the_step_before_was_about() -> None:
    drawer = NounPhrase("drawer", ("top",))
    goal, there = Destination("inside", (drawer,)), Destination("inside", (NounPhrase("object"),))
    said = query(action="open")
    full = replace(said, steps=(Step("open", drawer), Step("place", MUG, goal)))
    short = replace(said, steps=(Step("open", drawer), Step("place", MUG, there)))
    assert canonical(full) == canonical(short)


@pytest.mark.parametrize(
    ("one", "many"),
    [("mug", "mugs"), ("box", "boxes"), ("knife", "knives"), ("battery", "batteries"), ("toy", "toys"), ("brush",
    "brushes"),
     ("paint tin", "paint tins"), ("tomato", "tomatoes"), ("upper shelf", "upper shelves"), ("glass", "glasses")],
)  # fmt: skip
def test_plurals(one: str, many: str) -> None:
    assert pluralise(one) == many


def test_numbers_in_words() -> None:
    assert [cardinal(n) for n in (0, 8, 12, 20, 45, 110)] == [
        "zero",
        "eight",
        "twelve",
        "twenty",
        "forty-five",
        "one hundred and ten",
    ]
    assert [ordinal(n) for n in (1, 2, 3, 4, 5, 8, 9, 12)] == [
        "first",
        "second",
        "third",
        "fourth",
        "fifth",
        "eighth",
        "ninth",
        "twelfth",
    ]
    assert [numeral(n) for n in (1, 2, 3, 4, 11, 12, 22)] == ["1st", "2nd", "3rd", "4th", "11th", "12th", "22nd"]


def test_gerunds() -> None:
    verbs = ("pick up {x}", "put {x}", "take {x}", "grab {x}", "give {x}", "set {x}", "open {x}", "push {x}")
    assert [gerund(verb).split()[0] for verb in verbs] == [
        "picking", "putting", "taking", "grabbing", "giving", "setting", "opening", "pushing",
    ]  # fmt: skip


@pytest.mark.parametrize("unit", sorted(METRES))
def test_a_length_is_said_as_long_as_it_is(unit: str) -> None:
    for twice in (1, 2, 3, 4, 10, 24, 40):
        metres = twice / 2 * METRES[unit]
        for seed in range(40):
            text = length(metres, Voice(rng(seed), american=bool(seed % 2)))
            assert read(text) == pytest.approx(metres, rel=1e-3), text


def read(text: str) -> float:
    """Metres of a length in words or digits."""
    units = {"hand": "hand", "inch": "inch", "foot": "foot", "feet": "foot", "ft": "foot", "millimet": "mm", "mm": "mm",
             "centimet": "cm", "cm": "cm", "met": "m", "m": "m"}  # fmt: skip
    unit = next(units[name] for name in units if re.search(rf"(?:^|[\d\s]){name}", text))
    words = {cardinal(n): float(n) for n in range(200)} | {"a": 1.0, "an": 1.0, "half": 0.5}
    half = 0.5 if "and a half" in text else 0.0
    first = re.match(r"[\d.]+|[a-z-]+", text)
    assert first is not None
    return (words.get(first.group()) or float(first.group())) * METRES[unit] + half * METRES[unit]
