# SPDX-License-Identifier: Apache-2.0
"""What may be changed about a sentence, and what that must do to its readings and to the answer.

No truth is needed: a sentence is compared with itself. Courtesy, capitals and signs change nothing; nor does the way
in which a number is written. Nouns that are exchanged are exchanged in every reading. "Not" is never lost. The same
meaning in other words, or with a clause that is true of everything, never ends in another object.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

import numpy as np

from benchmarks.random_scenes import random_scene
from research.speech import canonical, random_query, random_style, say
from research.speech.lengths import cardinal, numeral, ordinal
from research.speech.phrases import pluralise
from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.types import Destination, NounPhrase, RelationClause, Scene, SpatialQuery, Status, Step

KEPT, REFUSED, BROKEN, NOTHING = "kept", "refused", "broken", "nothing"
"""What came of a law: it holds; one of the sentences was refused, which is no wrong answer; it is broken; the sentence
has nothing to change, or is refused itself."""

Reading = tuple[SpatialQuery, float]


@dataclass(frozen=True)
class Outcome:
    """What came of one law on one sentence.

    Args:
        law: its name.
        seed: of the sentence.
        said: the sentence.
        varied: the changed one; empty where there is nothing to change.
        came: one of KEPT, REFUSED, BROKEN and NOTHING.
        why: what is broken.
    """

    law: str
    seed: int
    said: str
    varied: str
    came: str
    why: str = ""


def readings(text: str) -> list[Reading] | None:
    """Readings with their shares, words and numbers of readings left out; None where there are none.

    Distances are rounded to micrometres.
    """
    try:
        found = parse(text)
    except NotUnderstoodError:
        return None
    return [(_rounded(replace(query, instruction="", readings=1, preference=1.0)), round(query.preference, 9))
            for query in found]  # fmt: skip


def _rounded(value: object) -> object:
    """A meaning with every distance rounded."""
    if isinstance(value, tuple):
        return tuple(_rounded(each) for each in value)
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    fields = {field.name: _rounded(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return replace(value, **{k: round(v, 6) if isinstance(v, float) else v for k, v in fields.items()})


def _orders(rng: np.random.Generator) -> str:
    """A plain order."""
    return say(random_query(rng), rng, "plain")


def _any_sentence(rng: np.random.Generator) -> str:
    return say(random_query(rng), rng, random_style(rng))


def _numbered(rng: np.random.Generator) -> str:
    """A sentence with a number that can be written in another way, if one of a hundred has one."""
    drawn = (_any_sentence(rng) for _ in range(100))
    return next((text for text in drawn if number_format(rng, text) is not None), "")


def _of_plain_nouns(rng: np.random.Generator) -> str:
    """A sentence about objects that have plain names, at least two."""
    while True:
        query = random_query(rng)
        names = dict.fromkeys(_categories(query))
        if len(names) > 1 and "part of" not in str(query):  # parts are told by their nouns
            drawn = rng.choice(_PLAIN, len(names), replace=False)
            renamed = _renamed(query, dict(zip(names, map(str, drawn), strict=True)))
            assert isinstance(renamed, SpatialQuery)
            return say(renamed, rng, random_style(rng))


def _categories(value: object) -> Iterator[str]:
    """The nouns of a meaning, but for those that stand for any."""
    if isinstance(value, tuple):
        for each in value:
            yield from _categories(each)
    elif isinstance(value, NounPhrase | RelationClause | Destination | Step | SpatialQuery):
        if isinstance(value, NounPhrase) and value.category != "object":
            yield value.category
        for field in dataclasses.fields(value):
            yield from _categories(getattr(value, field.name))


_COURTESIES = (
    "please {}", "{}, please", "could you {}?", "would you please {}?", "can you {}?", "robot, {}", "hey robot, {}",
    "{}, thanks", "ok, {}", "I'd like you to {}", "now {}", "um, {}", "would you be so kind as to {}?",
)  # fmt: skip


def courtesy(rng: np.random.Generator, text: str) -> str | None:
    """Polite words around an order; None for what is no plain order."""
    if re.match(r"(the|a|an|any|my|robot|hey|hello|hi|after|from|as|in|seen|where|which|first)\b", text, re.IGNORECASE):
        return None
    if ". " in text or "?" in text:
        return None
    order = text.rstrip(".!")
    return _COURTESIES[rng.integers(len(_COURTESIES))].format(order[:1].lower() + order[1:])


def case(rng: np.random.Generator, text: str) -> str:
    """Capitals."""
    return (text.upper(), text.lower(), text.title().replace("'S", "'s"))[rng.integers(3)]


def signs(rng: np.random.Generator, text: str) -> str:
    """White space, and the last sign."""
    bare = text.rstrip(".!")
    changed = (bare.replace(" ", "  "), f" {bare} ", f"{bare}!", bare, f"{bare} .")
    return text.replace(" ", "  ") if text.endswith("?") else changed[rng.integers(len(changed))]


_UNITS: Mapping[str, tuple[str, str, Sequence[tuple[str, float]]]] = MappingProxyType(
    {
        "cm": ("centimetre", "centimetres", (("mm", 10.0), ("m", 0.01))),
        "mm": ("millimetre", "millimetres", (("cm", 0.1), ("m", 0.001))),
        "m": ("metre", "metres", (("cm", 100.0), ("mm", 1000.0))),
    }
)
_LENGTH = re.compile(r"(?<![\w.,])(?P<n>\d+(\.\d+)?) ?(?P<unit>cm|mm|m)\b")
_PLACES = {ordinal(n): numeral(n) for n in range(1, 20)}


def number_format(rng: np.random.Generator, text: str) -> str | None:
    """Numbers in digits and in words, lengths in another unit."""
    found = _LENGTH.search(text)
    if found is not None:
        n, (one, many, others) = float(found["n"]), _UNITS[found["unit"]]
        name = one if n == 1 else many
        ways = [f"{n:g} {name}", f"{n:g}{found['unit']}", f"{n:g} {found['unit']}"]
        ways += [f"{cardinal(int(n))} {name}"] if n < 1000 and n.is_integer() else []
        ways += [f"{n * factor:.6g} {unit}" for unit, factor in others]
        way = ways[rng.integers(len(ways))]
        return text[: found.start()] + way + text[found.end() :]
    words = [n for n in range(2, 13) if re.search(rf"\bthe {cardinal(n)} (?!and)", text)]
    if words:
        return text.replace(f"the {cardinal(words[0])} ", f"the {words[0]} ", 1)
    place = next((word for word in _PLACES if re.search(rf"\bthe {word} \w+ from\b", text)), None)
    return None if place is None else text.replace(f"the {place} ", f"the {_PLACES[place]} ", 1)


_PLAIN = (
    "apple", "banana", "pear", "onion", "egg", "carrot", "sponge", "candle", "spoon", "fork", "spatula", "ladle",
    "whisk", "notebook", "pencil", "marker", "stapler", "key", "cube", "screwdriver", "wrench", "spanner", "chisel",
    "bolt", "nut",
)  # fmt: skip
"""Nouns that are no other word either, hold nothing and have no parts."""


def exchanged(_rng: np.random.Generator, text: str) -> str | None:
    """Two plain nouns exchanged; None where there are not two."""
    found = [noun for noun in _PLAIN if re.search(rf"\b{noun}\b", text, re.IGNORECASE)]
    return None if len(found) < 2 else _exchange(text, found[0], found[1])


def _exchange(text: str, one: str, other: str) -> str:
    forms = {one: other, other: one, pluralise(one): pluralise(other), pluralise(other): pluralise(one)}
    return re.sub(rf"\b({'|'.join(forms)})\b", lambda m: forms[m[0].lower()], text, flags=re.IGNORECASE)


_SAID_OF = re.compile(r"\b(that|which) (is|are) (?!not\b|neither\b)|\b(that's|which's) (?!not\b)", re.IGNORECASE)


def negation(rng: np.random.Generator, text: str) -> str | None:
    """A "not" after a "that is"; None where there is none."""
    places = [match.end() for match in _SAID_OF.finditer(text)]
    if not places:
        return None
    place = places[rng.integers(len(places))]
    return f"{text[:place]}not {text[place:]}"


def _same(said: list[Reading], varied: list[Reading], _text: str, _other: str) -> str:
    if said == varied:
        return ""
    only = [query for query, _ in varied if query not in [known for known, _ in said]]
    return f"reads {only[0] if only else 'other shares'} instead of {said[0][0]}"


def _mirrored(said: list[Reading], varied: list[Reading], text: str, _other: str) -> str:
    found = [noun for noun in _PLAIN if re.search(rf"\b{noun}\b", text, re.IGNORECASE)]
    renamed = [(_renamed(query, {found[0]: found[1], found[1]: found[0]}), share) for query, share in said]
    return _same(renamed, varied, "", "")


def _renamed(value: object, names: Mapping[str, str]) -> object:
    """A meaning with its nouns exchanged."""
    if isinstance(value, tuple):
        return tuple(_renamed(each, names) for each in value)
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    made = replace(value, **{f.name: _renamed(getattr(value, f.name), names) for f in dataclasses.fields(value)})
    return replace(made, category=names.get(made.category, made.category)) if isinstance(made, NounPhrase) else made


def _denied(said: list[Reading], varied: list[Reading], _text: str, _other: str) -> str:
    known = [canonical(query) for query, _ in said]
    kept = [query for query, _ in varied if canonical(query) in known]
    return f"the negation is lost in {kept[0]}" if kept else ""


@dataclass(frozen=True)
class Law:
    """A law of sentences.

    Args:
        say: a sentence.
        vary: the sentence changed; None where there is nothing to change.
        broken: what is wrong with the readings of the changed sentence, given those of the sentence, and both; empty
            where they are as they must be.
        silent: whether it says that nothing changes: then a changed sentence that is refused, too, breaks it.
    """

    say: Callable[[np.random.Generator], str]
    vary: Callable[[np.random.Generator, str], str | None]
    broken: Callable[[list[Reading], list[Reading], str, str], str]
    silent: bool = True


LAWS: Mapping[str, Law] = MappingProxyType(
    {
        "courtesy": Law(_orders, courtesy, _same),
        "case": Law(_any_sentence, case, _same),
        "signs": Law(_any_sentence, signs, _same),
        "number format": Law(_numbered, number_format, _same),
        "exchanged nouns": Law(_of_plain_nouns, exchanged, _mirrored),
        "inserted negation": Law(_any_sentence, negation, _denied, silent=False),
    }
)


def try_law(name: str, seed: int) -> Outcome:
    """One law on one sentence."""
    law, rng = LAWS[name], np.random.default_rng(seed)
    said = law.say(rng)
    outcome = partial(Outcome, name, seed, said)
    known, varied = readings(said), law.vary(rng, said)
    if known is None or varied is None or varied == said:
        return outcome("", NOTHING)
    changed = readings(varied)
    if changed is None:
        return outcome(varied, *((BROKEN, "the changed sentence is refused") if law.silent else (REFUSED, "")))
    why = law.broken(known, changed, said, varied)
    return outcome(varied, BROKEN if why else KEPT, why)


TABLE = RelationClause("on", (NounPhrase("table"),))


def other_words(query: SpatialQuery) -> SpatialQuery:
    """The same meaning."""
    return query


def on_the_table(query: SpatialQuery) -> SpatialQuery | None:
    """With a clause that is true of every object of a plain scene."""
    target = query.target
    if target.category == "object" or query.steps or "table" in str(query) or target.choice or target.count:
        return None
    return replace(query, target=replace(target, relations=(TABLE, *target.relations)))


def denied(query: SpatialQuery) -> SpatialQuery | None:
    """With its only clause negated."""
    if len(query.target.relations) != 1 or query.target.relations[0].distance is not None or query.steps:
        return None
    clause = query.target.relations[0]
    return replace(query, target=replace(query.target, relations=(replace(clause, negated=not clause.negated),)))


ANSWERS: Mapping[str, tuple[Callable[[SpatialQuery], SpatialQuery | None], bool]] = MappingProxyType(
    {
        "paraphrase": (other_words, True),
        "irrelevant clause": (on_the_table, True),
        "negated clause": (denied, False),
        "reversed detections": (other_words, True),
    }
)
"""Change of a meaning → whether both answers have to be the same object, where both are; else they must not be."""

_SCENES = 6


def try_answers(name: str, seed: int) -> Outcome:
    """A meaning and a changed one in words, asked of some scenes; or the same of the same objects in reverse."""
    change, same = ANSWERS[name]
    rng = np.random.default_rng(seed)
    query = _without_looks(random_query(rng))
    assert isinstance(query, SpatialQuery)
    changed = change(query)
    if changed is None or query.destination is not None or query.target.choice or query.target.count:
        return Outcome(name, seed, "", "", NOTHING)
    said = say(query, rng, "plain")
    turned = name == "reversed detections"
    varied = said if turned else say(changed, rng, random_style(rng))
    both = 0
    for number in range(_SCENES):
        scene = _scene(query, np.random.default_rng((seed, number)))
        one = Resolver().answer(scene, said)
        other = Resolver().answer(replace(scene, objects=scene.objects[::-1]) if turned else scene, varied)
        for text, answer in ((said, one), (varied, other)):
            if answer.status is Status.INTERNAL_ERROR:
                return Outcome(name, seed, said, varied, BROKEN, f"{text}: {answer.message}")
        if one.target is not None and other.target is not None:
            both += 1
            if (one.target.id == other.target.id) is not same:
                return Outcome(name, seed, said, varied, BROKEN, f"takes {one.target.id} and {other.target.id}")
        if turned and one.status is not other.status:
            return Outcome(name, seed, said, varied, BROKEN, f"ends {one.status.name} and {other.status.name}")
    return Outcome(name, seed, said, varied, KEPT if both else REFUSED)


def _without_looks(value: object) -> object:
    """A meaning without colours, sizes and states, of which scenes of numbers show none."""
    if isinstance(value, tuple):
        return tuple(_without_looks(each) for each in value)
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    made = replace(value, **{f.name: _without_looks(getattr(value, f.name)) for f in dataclasses.fields(value)})
    return replace(made, attributes=()) if isinstance(made, NounPhrase) else made


def _scene(query: SpatialQuery, rng: np.random.Generator) -> Scene:
    """Two or three objects called as the target, one or two of each other name."""
    names = list(dict.fromkeys(_categories(query)))[:6]
    labels = [*names, *names[:1], *rng.choice(names, rng.integers(2))] if names else ["box", "ball"]
    return random_scene(rng, [label for label in labels if label != "table"], len(labels), plain=True)


def tried(name: str, seeds: Sequence[int]) -> Iterator[Outcome]:
    """A law of LAWS or ANSWERS on many sentences, one for each seed."""
    return (try_law(name, seed) if name in LAWS else try_answers(name, seed) for seed in seeds)
