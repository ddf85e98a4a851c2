# SPDX-License-Identifier: Apache-2.0
"""All phrases of the word tables in one dictionary, from a phrase to its possible kinds.

`tagging` selects one of these kinds by the neighbouring words.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from spatial_vlm_ros.errors import PlugInError
from spatial_vlm_ros.language import acts, courtesy, lexicon, wordlists
from spatial_vlm_ros.language.phrase_index import Kinds, PhraseIndex
from spatial_vlm_ros.language.plug_ins import installed, judged
from spatial_vlm_ros.language.relations import EQUALS, FREE, MEANINGS, OWN, RelationWord
from spatial_vlm_ros.language.sentence import RelationWords
from spatial_vlm_ros.types import FrameOfReference, Relation


class _PhraseTable:
    """Collect phrases; the first value given for a phrase and kind stays."""

    def __init__(self) -> None:
        self.phrases = PhraseIndex()

    def add(self, kind: str, value: object, patterns: Iterable[str]) -> None:
        for pattern in patterns:
            self.phrases.add(kind, value, pattern)


def _add_relations(table: _PhraseTable) -> None:
    _add_corners(table)
    for name, meanings in MEANINGS.items():
        table.add("REL", RelationWords(name), meanings.surfaces)
    for compared, (name, negated) in EQUALS.items():
        table.add("EQUAL", (name, negated), (f"as|so {compared} as",))
        if not negated:
            table.add("REL", RelationWords(name), (f"less {compared} than",))
    table.add("EQUAL", ("other than", False), ("the same one|thing? as",))
    for relation in OWN.values():
        _add_relation(table, relation)
    sides = (("left of", "left"), ("right of", "right"))
    for frame, owners in lexicon.POSSESSORS.items():
        for owner, (name, side) in itertools.product(owners, sides):
            table.add("REL", RelationWords(name, frame), (f"to|on|at {owner} {side} hand? side? of|from",))
        for owner in owners:
            table.add("REL", RelationWords("in front of", frame), (f"on|at {owner} side of",))
    for frame, who in lexicon.VIEWPOINTS.items():
        whom = f"the? {who}"
        closer = RelationWords("closer than", frame)
        farther = RelationWords("farther than", frame)
        table.add("REL", closer, (f"closer|nearer to {whom} than", f"closer|nearer {whom} than"))
        table.add("REL", farther, (f"farther|further away? from {whom} than", f"more distant from {whom} than"))
    for name, patterns in lexicon.HALF_RELATIONS.items():
        table.add("HALF", RelationWords(name), patterns)


def _add_relation(table: _PhraseTable, relation: RelationWord) -> None:
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


def _add_corners(table: _PhraseTable) -> None:
    """Add corners: "in the back left corner of" is three relations to one anchor."""
    sides = {"left": "at the left side of", "right": "at the right side of"}
    depths = {"front|near": "at the front of", "back|rear|far": "at the back of"}
    corner = "at the corner of"
    for side, name in sides.items():
        table.add(
            "REL", RelationWords(corner, also=(name,)), (f"at|in|into|to|on|onto|by|near the? {side} hand? corner of",)
        )
        for depth, other in depths.items():
            for order in (f"{depth} {side} hand?", f"{side} {depth}"):
                where = f"at|in|into|to|on|onto|by|near the? {order} corner of"
                table.add("REL", RelationWords(corner, also=(other, name)), (where,))
    for depth, other in depths.items():
        table.add(
            "REL", RelationWords(corner, also=(other,)), (f"at|in|into|to|on|onto|by|near the? {depth} corner of",)
        )


def _add_sides(table: _PhraseTable) -> None:
    for superlative, patterns in lexicon.SIDES.items():
        table.add("SIDE", (superlative, None), patterns)
    for frame, owners in lexicon.POSSESSORS.items():
        for owner, (superlative, side) in itertools.product(owners, lexicon.OWN_SIDES.items()):
            table.add(
                "SIDE",
                (superlative, frame),
                (f"furthest|farthest? to|on|at {owner} far|very|extreme? {side} hand? side?",),
            )
            table.add("FROM", (side, frame), (f"from {owner} {side} hand? side?",))
    for frame, who in lexicon.VIEWPOINTS.items():
        table.add(
            "SIDE",
            ("nearest", frame),
            (f"the? nearest|closest|nearer|closer to|from the? {who}", f"nearest|closest the {who}"),
        )
        persons = [word for word in who.split("|") if word in lexicon.PERSONS]
        table.add("SIDE", ("nearest", frame), [f"nearest|closest {word}" for word in persons])
        table.add("SIDE", ("farthest", frame), (f"the? farthest|furthest away? from the? {who}",
                                                f"most distant from the? {who}"))  # fmt: skip
        table.add("FROM", ("near", frame), (f"from the? {who}",))
    for superlative, side in (*lexicon.OWN_SIDES.items(), ("middle", "middle|centre|center")):
        where = f"on|at|in|to the {side} hand? side|half|part? of the {lexicon.IMAGES}"
        table.add("SIDE", (superlative, FrameOfReference.VIEWER), (where,))
    for order, sides in lexicon.ORDER_SIDES.items():
        for side in sides:
            end = f"the? {side} hand? side|end|edge?"
            ways = (f"counting|starting|counted|going? from|in {end}", f"in|along|over|across|inwards from {end}")
            table.add("FROM", (order, None), ways)
    for order, other in (("left", "right"), ("right", "left"), ("top", "bottom"), ("bottom", "top")):
        table.add("FROM", (order, None), (f"from the? {order} to the? {other}",))
    table.add("FROM", ("top", None), ("down", "down from the top"))
    table.add("FROM", ("far", None), ("from the? far end|side", "from behind"))
    table.add("FROM", ("near", None), ("from the? near end|side",))


def _add_nominals(table: _PhraseTable) -> None:
    for superlative, patterns in lexicon.SUPERLATIVES.items():
        table.add("SUP", (superlative, None), patterns)
        compared = "|".join(word for word in patterns if word.endswith("er") and word not in ("upper", "center"))
        if compared:
            table.add(
                "SIDE",
                (superlative, None),
                (f"{compared} than all? the others|rest", f"{compared} than all others"),
            )
    for word, superlative in lexicon.POSITION_WORDS.items():
        table.add("POSITION", (superlative, None), (word,))
    shades = [(shade, colour) for shade in wordlists.SHADES for colour in wordlists.BASE_COLOURS if shade != colour]
    table.phrases.update({f"{shade} {colour}": {"ADJ": f"{shade} {colour}"} for shade, colour in shades})
    for word in wordlists.BASE_COLOURS | wordlists.ATTRIBUTES:
        table.add("ADJ", word, (word.replace("-", " "),))
    for word, colour in (wordlists.COLOUR_VARIANTS | wordlists.STATE_VARIANTS).items():
        table.add("ADJ", colour, (word,))
    for word in (wordlists.MATERIALS_AND_MORE - wordlists.NOUN_COLOURS) | {
        "orange",
        "gold",
        "silver",
        "open",
        "square",
    }:
        table.phrases.pop(word, None)
        table.add("ADJNOUN", word, (word,))
    for colour in wordlists.BASE_COLOURS | wordlists.NOUN_COLOURS | {"light"}:
        table.add("ADJ", colour, (f"{colour} coloured|colored|colour|color|ish|tinted",))
    table.add("ADJ", "multicoloured", ("multi coloured|colored|colour|color",))
    table.add("COMPOUND", None, wordlists.COMPOUNDS)
    table.add("DET", lexicon.ANY, lexicon.CHOICES)
    table.add("DET", None, lexicon.DETERMINERS)
    for pattern, count in lexicon.QUANTITIES.items():
        table.add("QTY", count, (pattern,))
    for pattern, count in lexicon.ALONE.items():
        table.add("ALONE", count, (pattern,))
    for word, other in lexicon.OTHERS.items():
        table.add("OTHER", other, (word,))
    for word, count in lexicon.NUMBERS.items():
        table.add("NUM", count, (word,))
    for word, count in lexicon.ORDINALS.items():
        table.add("ORD", count, (word,))
    for count, patterns in lexicon.FROM_THE_LAST.items():
        table.add("ORD", count, patterns)
    table.add("ORD", 0, ("zeroth",))
    table.add("ANYWHERE", None, lexicon.ANYWHERE)
    table.add("PORTION", None, lexicon.PORTIONS)
    table.add("ONE", 1, ("one",))
    for word, number in lexicon.PRONOUNS.items():
        table.add("PRON", ("object", number), (word,))
    for word, category in lexicon.PERSONS.items():
        table.add("PERSON", (category, None), (word,))
    table.add("SELF", None, lexicon.REFLEXIVES)


def _add_frame_words(table: _PhraseTable) -> None:
    for frame, patterns in lexicon.FRAME_PHRASES.items():
        table.add("FRAME", (frame, None), patterns)
    for frame, owners in lexicon.POSSESSORS.items():
        for owner, view in itertools.product(owners, lexicon.VIEW_NOUNS.split("|")):
            table.add("FRAME", (frame, None), (f"as? seen|viewed|looking? from|in {owner} {view}",))
    for action, patterns in acts.ACTIONS.items():
        table.add("VERB", action, patterns)
        table.add("GERUND", action, map(acts.gerund, patterns))
    table.add("FORBID", None, acts.patterns_of("forbid"))
    table.add("FORBID_GERUND", None, acts.patterns_of("forbid_gerund"))
    table.add("UNTOUCHED", None, acts.patterns_of("untouched"))
    table.add("GOES", None, acts.patterns_of("goes"))
    table.add("VERB", "give", acts.WISHES)
    table.add("VERB", "find", ("what is|are", "what's", "whats", "which is|are"))
    table.add("THERE", "verify", courtesy.VERIFY)
    table.add("POLITE", None, acts.POLITE)
    table.add("PLEASANTRY", None, acts.PLEASANTRIES)
    table.add("ADVERB", None, courtesy.ADVERBS)
    table.add("PARTICLE", None, courtesy.PARTICLES)
    table.add("INTENSIFIER", None, courtesy.INTENSIFIERS)
    table.add("POSTURE", None, courtesy.POSTURES)
    table.add("MEASURE", None, lexicon.MEASURE_PHRASES)
    table.add("TWO_SIDES", None, lexicon.TWO_SIDES)
    table.add("PARTLESS", None, lexicon.PARTS_OF_NOTHING)
    table.add("OUTSIDE", None, wordlists.OUTSIDE)
    table.add("FOREIGN", None, wordlists.FOREIGN)
    table.add("AND", None, ("and", "and also", "as well as", "and both"))
    table.add("THEN", None, ("and? then|finally|afterwards", "and then also", "and? after that"))
    table.add("BUT", None, ("but", "but also", "yet"))
    table.add("THAN", None, ("than",))
    table.add("OR", None, ("or", "either or", "and or"))
    table.add("NOT", None, ("not", "neither"))
    table.add("NOR", None, ("nor", "and neither", "and nor", "and not"))
    table.add("OF", None, ("of",))
    table.add("THAT", None, ("that",))
    table.add("WHICH IS", None, ("what's", "whats", "which is|are"))
    table.add("PRON THATIS", ("object", None), ("whatever|what is|are", "what's", "whatever's"))
    table.add("PRON THATIS NOT", ("object", None), ("whatever|what isn't|isnt|aren't", "whatever|what is|are not"))
    table.add("WHICH", None, ("which", "which of the|these|those", "what", "which one of the", "which one"))
    table.add("IS", None, ("is", "are", "is currently"))
    table.add("IS NOT", None, ("isn't", "isnt", "aren't", "arent", "is not", "are not"))
    table.add(
        "THATIS",
        None,
        (
            "that|which|who is|are",
            "that's",
            "thats",
            "which's",
            "who's",
            "that|which stands|sits|lies|rests|stand|sit|lie|rest|hangs|hides|waits|sleeps|stays|remains|leans",
            "that|which was|were|has|have been? put|placed|set|left|laid|hidden|parked|dropped|stored|tucked|stacked",
            "that's been put|placed|set|left|laid|hidden|parked|dropped|stored|tucked|stacked",
        ),
    )
    table.add("STANDS", None, ("stands|sits|lies|rests|stand|sit|lie|rest",))
    table.add(
        "THATIS NOT",
        None,
        (
            "that|which|who does|do not stand|sit|lie|rest",
            "that|which|who doesn't|don't stand|sit|lie|rest",
            "that|which|who is|are not",
            "that's|thats not",
            "that|which|who isn't|isnt|aren't|arent",
        ),
    )


# ------------------------------------------------------------------------------------------------ other packages


class Plugged(NamedTuple):
    """Relations of installed packages, by canonical name.

    Args:
        relations: usable ones, each with its package and entry point in words.
        words: how the relations are said; unusable ones are included as refused words if they are known.
        errors: why the others cannot be used.
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


def _phrases(words: RelationWord) -> PhraseIndex:
    table = _PhraseTable()
    _add_relation(table, words)
    return table.phrases


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
def _vocabulary() -> tuple[PhraseIndex, Plugged]:
    """All phrases, and the relations that installed packages added."""
    table = _PhraseTable()
    for add in (_add_nominals, _add_relations, _add_sides, _add_frame_words):
        add(table)
    phrases = table.phrases
    found = judged(
        installed(),
        lambda relation: _phrases(_words_of(relation.name, relation, True)),
        lambda phrase: _meaning(phrase, phrases.get(phrase, {})),
    )
    usable = ((each.relation, each.source) for each in found if each.error is None)
    relations = {relation.name: (relation, source) for relation, source in usable if relation is not None}
    words = {name: _words_of(name, relation, True) for name, (relation, _) in relations.items()}
    for of_one in words.values():
        phrases.update(_phrases(of_one))
    errors: dict[str, PlugInError] = {}
    for each in found:
        if each.error is None:
            continue
        logging.getLogger(__name__).warning("%s", each.error)
        errors[each.name] = each.error
        if each.name and each.name not in OWN and each.name not in words:  # refused by name, and by this error
            words[each.name] = _words_of(each.name, each.relation, False)
            for phrase, kinds in _phrases(words[each.name]).items():
                phrases.setdefault(phrase, kinds)
    return phrases, Plugged(relations, words, errors)


def plugged() -> Plugged:
    """Load the relations of installed packages."""
    return _vocabulary()[1]


@lru_cache(maxsize=1)
def phrase_table() -> tuple[PhraseIndex, int]:
    """All phrases, and the number of words of the longest one."""
    phrases = _vocabulary()[0]
    return phrases, phrases.longest
