# SPDX-License-Identifier: Apache-2.0
"""All phrases of the word tables in one dictionary, and the relations of other packages."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import NamedTuple

from spatial_vlm_ros.errors import PlugInError
from spatial_vlm_ros.language import acts, lexicon
from spatial_vlm_ros.language.patterns import WORDS, Kinds, Phrases
from spatial_vlm_ros.language.plug_ins import Extended, installed, judged
from spatial_vlm_ros.language.relations import CORNERS, FREE, LESS, MEANINGS, OWN, RelationWord
from spatial_vlm_ros.language.sentence import RelationWords
from spatial_vlm_ros.types import FrameOfReference, Relation

_VALUES: Mapping[str, Callable[[str], object]] = {
    **dict.fromkeys(("QTY", "ALONE", "ORD", "ONE"), int), **dict.fromkeys(("DET", "OTHER", "THERE", "VERB"), str),
    **dict.fromkeys(("SUP", "POSITION", "SIDE", "FROM", "PERSON"), lambda name: (name, None)),
    **dict.fromkeys(("PRON", "PRON THATIS", "PRON THATIS NOT"), lambda number: ("object", int(number) or None)),
    **dict.fromkeys(("HALF", "REL"), RelationWords),
    "FRAME": lambda name: (FrameOfReference(name), None),
}  # fmt: skip
"""Kind of a token → how its value is made of the name of words.toml."""


def _add_relations(table: Phrases) -> None:
    for name, meanings in MEANINGS.items():
        table.add("REL", RelationWords(name), meanings.surfaces)
    for meaning, patterns in LESS.items():
        name = meaning.removeprefix("not ")
        for compared in patterns:
            table.add("EQUAL", (name, name != meaning), (f"as|so {compared} as",))
            if name == meaning:
                table.add("REL", RelationWords(name), (f"less {compared} than",))
    table.add("EQUAL", ("other than", False), ("the same one|thing? as",))
    for relation in OWN.values():
        _add_relation(table, relation)
    for sides, words in CORNERS.items():
        ways = (f"at|in|into|to|on|onto|by|near the? {word} corner of" for word in words)
        table.add("REL", RelationWords("at the corner of", also=sides), ways)
        if len(sides) > 1:  # "far left" is only left
            beside = tuple(f"at|in|on the {word} side|part?".replace("|far", "") for word in words)
            table.add("REL", RelationWords(sides[0], also=sides[1:]), (f"{way} of" for way in beside))
            back, left = (lexicon.SUPERLATIVE_OF_SIDE[side] for side in sides)
            table.add("SIDE", (back, None, left), beside)


def _add_relation(table: Phrases, relation: RelationWord) -> None:
    words = RelationWords(relation.name)
    table.add("REL", words, relation.surfaces)
    table.add("REL", RelationWords(relation.name, motion=True), relation.motion)
    for verb in relation.verbs:
        table.add("THATIS REL", words, (f"that|which|who {verb}",))
        table.add(
            "THATIS NOT REL", words, (f"that|which|who does|do not {verb}", f"that|which|who doesn't|don't {verb}")
        )
        first, *rest = verb.split()
        if first in acts.patterns_of("stated_verbs"):
            table.add("IS REL", words, (" ".join((first.split("|")[0], *rest)),))
        table.add("IS NOT REL", words, (f"does|do not {verb}", f"doesn't|don't|doesnt {verb}"))


def _add_framed(table: Phrases) -> None:
    """Add the phrases that name a viewpoint by its viewer ("nearest to me", "from my left")."""
    framed = WORDS.under("framed")
    for frame in map(FrameOfReference, WORDS.read["viewers"]):
        viewers, possessors = (WORDS.under(whose).patterns(frame.value) for whose in ("viewers", "possessors"))
        persons = [word for word in viewers if word in lexicon.PERSONS]
        images = ("|".join(WORDS.patterns("images")),) if frame is FrameOfReference.VIEWER else ()
        said = {"{possessor}": possessors, "{viewer}": ("|".join(viewers),), "{person}": persons, "{image}": images}
        for kind in framed.read:
            for name, patterns in framed.entries(kind).items():
                value = RelationWords(name, frame) if kind == "REL" else (name, frame)
                for pattern, (slot, words) in itertools.product(patterns, said.items()):
                    table.add(kind, value, (pattern.replace(slot, word) for word in words if slot in pattern))
        for owner, view in itertools.product(possessors, lexicon.VIEW_NOUNS):
            table.add("FRAME", (frame, None), (f"as? seen|viewed|looking? from|in {owner} {view}",))


def _add_nominals(table: Phrases) -> None:
    for superlative, words in lexicon.VALUES.entries("SUP").items():
        compared = "|".join(word for word in words if word.endswith("er") and word not in ("upper", "center"))
        if compared:
            ways = (f"{compared} than all? the others|rest", f"{compared} than all others")
            table.add("SIDE", (superlative, None), ways)
    colours = lexicon.BASE_COLOURS
    shades = [(shade, colour) for shade in WORDS.words("shades") for colour in colours if shade != colour]
    for shade, colour in shades:
        table.add("ADJ", f"{shade} {colour}", (f"{shade} {colour}",))
    describing = WORDS.words("describing_nouns")
    for word in (colours | WORDS.words("attributes")) - describing:
        table.add("ADJ", word, (word.replace("-", " "),))
    for word, colour in WORDS.meanings("variants").items():
        table.add("ADJ", colour, (word,))
    for word in describing:
        table.add("ADJNOUN", word, (word,))
    for colour in colours | lexicon.NOUN_COLOURS | {"light"}:
        table.add("ADJ", colour, (f"{colour} coloured|colored|colour|color|ish|tinted",))
    table.add("ADJ", "multicoloured", ("multi coloured|colored|colour|color",))
    for word, count in lexicon.NUMBERS.items():
        table.add("NUM", count, (word,))
    for word, count in lexicon.ORDINALS.items():
        table.add("ORD", count, (word,))
        if 1 < count <= 10:
            table.add("ORD", -count, (f"{word} to|from the? last", f"{word} last"))


def _add_kinds(table: Phrases) -> None:
    """Add what words.toml and acts.toml list by kind."""
    for kind in lexicon.VALUES.read:
        for name, patterns in lexicon.VALUES.entries(kind).items():
            table.add(kind, _VALUES[kind](name), patterns)
    for kind, patterns in WORDS.entries("kinds").items():
        table.add(kind, None, patterns)
    for action, patterns in acts.ACTIONS.items():
        table.add("VERB", action, patterns)
        table.add("GERUND", action, map(acts.gerund, patterns))
    table.add("VERB", "give", acts.WISHES)
    for name in ("forbid", "forbid_gerund", "untouched", "goes", "polite"):
        table.add(name.upper(), None, acts.patterns_of(name))
    table.add("PLEASANTRY", None, acts.PLEASANTRIES)


# ------------------------------------------------------------------------------------------------ other packages


class Plugged(NamedTuple):
    """Relations of installed packages, by canonical name.

    Args:
        relations: usable ones, each with its package and entry point in words.
        words: how the relations are said; unusable ones are included as refused words if they are known.
    """

    relations: Mapping[str, tuple[Relation, str]]
    words: Mapping[str, RelationWord]
    errors: Mapping[str, PlugInError]


def _words_of(name: str, relation: Relation | None, supported: bool) -> RelationWord:
    """The table entry for another package's relation; a relation that is refused here gets its words here."""
    if relation is None:
        return RelationWord(name, (name,), supported=False)
    surfaces = (name, *relation.surfaces, *(OWN[name].surfaces if name in FREE else ()))
    return RelationWord(name, surfaces, (), relation.verbs, relation.anchors, relation.framed, supported)


def _phrases(words: RelationWord) -> Phrases:
    table = Phrases()
    _add_relation(table, words)
    return table.whole()


def _meaning(phrase: str, kinds: Kinds) -> str | None:
    """Meaning of a phrase in the package's own tables; None if it has none, or is a refused relation."""
    if phrase in MEANINGS:
        return "said for a relation"
    for value in kinds.values():
        if not isinstance(value, RelationWords):
            return "a word of the grammar"
        if value.name not in FREE:
            return f"said for the relation {value.name!r}"
    return None


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[Phrases, Plugged]:
    """All phrases, and the relations that installed packages added."""
    phrases = Phrases()
    for add in (_add_nominals, _add_relations, _add_framed, _add_kinds):
        add(phrases)
    found = judged(
        installed(),
        lambda relation: _phrases(_words_of(relation.name, relation, True)),
        lambda phrase: _meaning(phrase, phrases.get(phrase, {})),
    )
    usable = ((each.relation, each.source) for each in found if each.error is None)
    relations = {relation.name: (relation, source) for relation, source in usable if relation is not None}
    words = {name: _words_of(name, relation, True) for name, (relation, _) in relations.items()}
    for of_one in words.values():
        for phrase, kinds in _phrases(of_one).items():
            phrases[phrase] = kinds
    errors: dict[str, PlugInError] = {}
    for each in found:
        if each.error is None:
            continue
        logging.getLogger(__name__).warning("%s", each.error)
        errors[each.name] = each.error
        if each.name and each.name not in OWN and each.name not in words:  # refused by name, and by this error
            words[each.name] = _words_of(each.name, each.relation, False)
            for phrase, kinds in _phrases(words[each.name]).items():
                if phrases.get(phrase) is None:
                    phrases[phrase] = kinds
    return phrases, Plugged(relations, words, errors)


def plugged() -> Plugged:
    """Load the relations of installed packages."""
    return _vocabulary()[1]


def phrase_table() -> Phrases:
    """All phrases with their possible kinds; `tagging` selects one of these by the neighbouring words."""
    return _vocabulary()[0]


RELATIONS: Mapping[str, RelationWord] = Extended(
    {name: relation for name, relation in OWN.items() if relation.supported},
    cache(lambda: {**{name: OWN[name] for name in OWN if not OWN[name].supported}, **plugged().words}),
)
"""All relations by canonical name; an installed package may add some, and supply a refused one."""


@cache
def is_framed(name: str) -> bool:
    """True if the relation or word of this name depends on a frame of reference."""
    meant = MEANINGS[name].names[0] if name in MEANINGS else name
    return meant in RELATIONS and RELATIONS[meant].framed


@cache
def takes_two(name: str) -> bool:
    """True if a relation needs two anchors ("between")."""
    return name in RELATIONS and RELATIONS[name].anchors == 2
