# SPDX-License-Identifier: Apache-2.0
"""Parse an instruction: characters → words → tokens → flat sentence → readings."""

from __future__ import annotations

import contextlib
import json
import pkgutil
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from spatial_vlm_ros.budgets import MAX_LENGTH
from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import distances, lexicon, part_words, revising, spoken, tagging, vocabulary
from spatial_vlm_ros.language.assembly import feature_of, phrase_of
from spatial_vlm_ros.language.patterns import SETS
from spatial_vlm_ros.language.questions_of_space import ranked, read_question
from spatial_vlm_ros.language.refusals import TOPIC, Attachable, Phrase, VerbPhrase, no_order, refused, unexpected
from spatial_vlm_ros.language.steps import readings_of
from spatial_vlm_ros.language.words import (
    SLIP,
    TAKEN_BACK,
    Token,
    Word,
    WordRole,
    accounted,
    check,
    lost,
    split,
    without_stumbles,
)
from spatial_vlm_ros.types import Destination, NounPhrase, SpatialQuery
from spatial_vlm_ros.types.query import STOP

TABLE = "grammar.json"
"""LALR(1) table of grammar.lark, which scripts/grammar_table.py makes with lark; the package includes it, because
building it takes longer than parsing a hundred sentences."""
END = "$END"
"""Kind of the end marker after the last token."""


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    """The first and the last state, lines, and states with their steps by kind: the next state, or -1 minus a line.

    A line has its result, its name ("" if its parts go into the line above) and its number of parts.
    """
    found: dict[str, Any] = json.loads(pkgutil.get_data(__package__, TABLE) or b"")
    return found


_WRITTEN = re.compile(r"[\d.,½¼¾/]+([a-z]+)")  # a number with its unit, in one word


def _consistent(readings: Iterable[SpatialQuery], instruction: str) -> list[SpatialQuery]:
    """The readings without "the red cup that is not red"; refused if a length is the name of an object."""
    found = []
    for reading in readings:
        clashes = 0
        for phrase in _phrases(reading):
            if word := _length_in(phrase):
                at = instruction.lower().find(word)
                said = [Word(word, at, at + len(word))] if at >= 0 else []  # "feet" became "foot"
                raise refused(instruction, "DIST", *said)
            related = {(clause.relation, clause.anchors, clause.negated) for clause in phrase.relations}
            clashes += any((name, anchors, not negated) in related for name, anchors, negated in related)
            clashes += any(f"{lexicon.NOT}{word}" in phrase.attributes for word in phrase.attributes)
            bare = replace(phrase, relations=())
            named = phrase.category != "object"  # "other than that"
            clashes += named and any(c.relation == "other than" and bare in c.anchors for c in phrase.relations)
        found += [] if clashes else [reading]
    return found


def _length_in(phrase: NounPhrase) -> str:
    """The word in a name that is a length, or ""."""
    words = phrase.category.split()
    for word in words[len(words) > 1 :]:  # "the 13mm socket" has a name
        written = _WRITTEN.fullmatch(word)
        if written is not None and distances.is_unit(written[1]):
            return word
    if words in (["half"], ["halve"]) and phrase.superlative is None and not phrase.relations:
        return "half"  # "a foot and a half between the cans"
    first = words[0] if words else ""
    counted = phrase.count not in (None, -1) and len(words) > 1
    alone = len(words) == 1 and first not in SETS.things_too
    return first if distances.is_unit(first) and (alone or counted) else ""


def _phrases(query: SpatialQuery) -> list[NounPhrase]:
    """All phrases of a query, those inside others too."""
    found: list[NounPhrase] = []

    def noted(phrase: NounPhrase) -> NounPhrase:
        found.append(phrase)
        return part_words.in_anchors(phrase, noted)

    part_words.mapped(query, noted, lambda said: part_words.with_anchors(said, noted))
    return found


# "Set the cup down next to the box", "put it back on the shelf": what follows says where to.
_PARTED = re.compile(r"\b(?:down|(?<!the )back)\s+$", re.IGNORECASE)
_STATED = re.compile(
    r"\s+(?:(?:half|wide|taken|turned|pointing|facing)\s+)?(?:off|on|up|down|out|in|missing|gone|removed|open|opened|closed|shut"
    r"|upwards|downwards|left|right)\b(?!\s+(?:of|to|top|the|an?|my|your|our|his|her|its|this|that|these|those|front)\b)",
    re.IGNORECASE,
)
_LINKS = {"AND": "and", "BUT": "but", "COMMA": "comma"}

_CORRECTING = re.compile(r"\b(?:actually|mean|instead|no|rather|sorry|oops|wait)\b", re.IGNORECASE)
"""Words that may take back the sentence before."""


def settle(tokens: list[Token], joins: bool = True) -> list[Token]:
    """Tokens for grammar.lark: no idle commas, leading frames last, commands joined over full stops if `joins`."""
    leading = 0
    while leading < len(tokens) and tokens[leading].kind in ("FRAME", "COMMA"):
        leading += 1
    frames = [token for token in tokens[:leading] if token.kind == "FRAME"]
    rest = tokens[leading:]
    while rest and rest[-1].kind in ("COMMA", "STOP"):
        rest.pop()
    if rest:
        tokens = rest + frames
    kept: list[Token] = []
    ordered = False  # a verb came before
    for i, token in enumerate(tokens):
        ordered = ordered or token.kind in ("VERB", "THERE", "IS")
        after = tokens[i + 1].kind if i + 1 < len(tokens) else "COMMA"
        if token.kind == "STOP" and token.text == "." and joins and ordered and after in ("VERB", "THEN"):
            if after == "VERB":
                kept.append(replace(token, kind="THEN"))
            continue
        if token.kind == "COMMA":
            before = kept[-1].kind if kept else "COMMA"
            if before == "FRAME" and after == "VERB":
                kept.append(token)  # "the mug left of the box from my side, grab it"
                continue
            if before in SETS.comma_means_nothing_after or after in SETS.comma_means_nothing_before:
                continue
            if before in ("ADJ", "SUP", "NUM", "ORD") and after in ("ADJ", "NOUN", "SUP"):
                continue
        kept.append(token)
    return kept


def _put_there(head: Phrase, items: Sequence[Attachable]) -> VerbPhrase | None:
    """The command of an object and where it goes, without a verb ("two roses into the vase"); None otherwise."""
    goes = any(item.motion and item.said in ("into", "onto") for item in items)
    return VerbPhrase("place", head, list(items), head.start, items[-1].end, "put") if goes else None


def _described(step: VerbPhrase, items: Sequence[Attachable]) -> VerbPhrase:
    own = list(step.items)
    if items and own and own[0].kind == "clause" and step.action != "place":
        own[0] = replace(own[0], link=own[0].link or "and")
    return replace(step, items=[*items, *own])


def _one_of(several: Phrase, items: Sequence[Attachable], step: VerbPhrase) -> VerbPhrase:
    """A command about one of several ("of the red cups near the sink, take the one in front of the soap")."""
    about = step.head
    attributes = tuple(dict.fromkeys((*several.attributes, *about.attributes)))
    head = replace(about, category=several.category, attributes=attributes, one=False, elliptic=False)
    return _described(replace(step, head=head), [replace(item, relative=True) for item in items])


class _Builder:
    """Make the steps of a sentence.

    Each line of the grammar has one method. It is called with the results of its parts; lists among them are laid out.
    """

    def __init__(self, tokens: Sequence[Token], instruction: str) -> None:
        self.tokens, self.instruction = tokens, instruction

    # ---- phrases, and what follows them

    def phrase(self, *tokens: Token) -> Phrase:
        return phrase_of(tokens, self.instruction)

    def link(self, *tokens: Token) -> tuple[str, bool]:
        kinds = [token.kind for token in tokens]
        return next((_LINKS[kind] for kind in kinds if kind in _LINKS), ""), "THATIS" in kinds

    def clause(self, *parts: Any) -> Attachable:
        negated = parts[0].kind == "NOT"
        relation, *frames, phrase = parts[negated:]
        return self._clause(relation, frames, phrase, negated)

    def _clause(self, token: Token, frames: list[Token], phrase: Phrase, negated: bool) -> Attachable:
        words: vocabulary.RelationWords = token.value
        if words.name in SETS.with_and_without and (feature := feature_of(phrase)) is not None:
            if (stated := _STATED.match(self.instruction, phrase.end)) is not None:  # "with the lid off"
                raise refused(self.instruction, "state of part", token, replace(phrase, end=stated.end()))
            denied = lexicon.NOT if negated != (words.name == "without") else ""
            return Attachable("adjective", token.start, phrase.end, relative=True, words=(denied + feature,))
        frame = frames[0].value[0] if frames else words.frame
        said = self.instruction[phrase.start : phrase.end]
        if phrase.elliptic and (said.isdecimal() or said.lower() in lexicon.NUMBERS):
            raise refused(self.instruction, "UNITLESS", phrase)  # "left of the box by 5"
        if words.also and negated:
            raise refused(self.instruction, "negated corner", token)
        before = self.tokens[next(i for i, each in enumerate(self.tokens) if each is token) - 1]
        apart = words.name == "other than" and before.text == lexicon.SURFACE
        return Attachable(
            "clause", token.start, phrase.end, negated=negated, name=words.name, frame=frame, motion=words.motion,
            phrase=phrase, distance=words.distance, tight=apart or (words.name == "part of" and token.text == "of"),
            also=words.also, said=token.text, parted=_PARTED.search(self.instruction, 0, token.start) is not None,
        )  # fmt: skip

    def two_clauses(self, *parts: Any) -> list[Attachable]:
        *tokens, phrase = parts
        kinds = [token.kind for token in tokens]
        first, second = (token for token in tokens if token.kind == "REL")
        joined = self._clause(second, [], replace(phrase), "NOT" in kinds)
        joined.link, joined.joined = "and", True
        return [self._clause(first, [], phrase, kinds[0] == "NOT"), joined]

    def side(self, *tokens: Token) -> Attachable:
        first, last = tokens[0], tokens[-1]
        if first.kind == "NOT":
            raise refused(self.instruction, "negated superlative", first, last)
        name, frame, *also = last.value
        return Attachable("side", last.start, last.end, name=name, frame=frame, also=tuple(also))

    def placed(self, order: Token, side: Token) -> Attachable:
        return Attachable("placed", order.start, side.end, name=side.value[0], frame=side.value[1], order=order.value)

    def adjective(self, first: Token, *others: Token) -> Attachable:
        span = (first.start, (first, *others)[-1].end)
        if first.kind != "NOT":
            return Attachable("adjective", *span, words=(first.value, *(token.value for token in others)))
        if " and " in self.instruction[others[0].start : span[1]].lower():
            raise refused(self.instruction, "negated which", first, others[-1])
        return Attachable("adjective", *span, words=tuple(lexicon.NOT + token.value for token in others))

    def frame(self, token: Token) -> Attachable:
        return Attachable("frame", token.start, token.end, frame=token.value[0])

    def from_side(self, token: Token) -> Attachable:
        return Attachable("from", token.start, token.end, name=token.value[0], frame=token.value[1])

    def also(self, joint: Token, phrase: Phrase) -> Attachable:
        return Attachable("also", phrase.start, phrase.end, link=_LINKS[joint.kind], phrase=phrase)

    def post(self, *parts: Any) -> list[Attachable]:
        items = [part for part in parts if isinstance(part, Attachable)]
        if len(items) < len(parts):
            items[0].link, items[0].relative = parts[0]
        return items

    # ---- sentences

    def command(self, verb: Token, head: Phrase, *rest: Attachable | VerbPhrase) -> list[VerbPhrase]:
        items = self._apposed([each for each in rest if isinstance(each, Attachable)])
        further = [each for each in rest if isinstance(each, VerbPhrase)]
        for item in items if verb.text == "hold" else ():  # "take the saw and hold it behind the box"
            there = item.said == "against" or (head.refers is not None and item.name != "from")
            if item.phrase is not None and there:
                raise refused(self.instruction, "held there", item)
        for item in items if verb.text.split(" ")[0] in SETS.laying else ():
            item.name = "on" if item.said == "across" else item.name
        end = items[-1].end if items else head.end
        return [VerbPhrase(verb.value, head, items, verb.start, end, verb.text), *further]

    def step(self, _joint: Token, *rest: Any) -> list[VerbPhrase]:
        return self.command(*rest)

    def fragment(self, head: Phrase, *items: Attachable) -> list[VerbPhrase]:
        return [_put_there(head, items) or VerbPhrase("find", head, self._apposed(items))]

    def topic(self, *parts: Any) -> list[VerbPhrase]:
        """An object, and commands about it; or several, and a command about one of them."""
        head, *rest = parts if isinstance(parts[0], Phrase) else parts[1:]
        items = self._apposed(self._said_of_head([each for each in rest if not isinstance(each, VerbPhrase)]))
        steps = [each for each in rest if isinstance(each, VerbPhrase)]
        stated = any(isinstance(part, Token) for part in parts)
        if steps[0].head.pointed:  # "the mug behind the box, take that one"
            steps[0].head.refers = "it"
        about = steps[0].head
        if about.one and about.refers is None and head.count not in (None, 1):
            return [_one_of(head, items, steps[0]), *steps[1:]]
        put = _put_there(head, items)
        places = steps[0].items if stated and not items and len(steps) == 1 and head.count in (None, 1) else []
        to = places[0].phrase if len(places) == 1 else None
        if to is not None and to.refers == "it" and about.refers is None:  # "there is a tray, put the cup on it"
            return [replace(steps[0], items=[replace(places[0], phrase=head)])]
        if put is None and about.refers is None:
            raise refused(self.instruction, "second object", about)
        if put is None and stated and self._unclear(head, items, steps[0]):
            raise refused(self.instruction, "unclear it", about)
        end = items[-1].end if items else head.end
        return [put or VerbPhrase(TOPIC, head, items, head.start, end), *steps]

    def _unclear(self, head: Phrase, items: Sequence[Attachable], step: VerbPhrase) -> bool:
        """True if "it" after a statement may not be its subject ("all are green but one, take that")."""
        several = [n for n, item in enumerate(items) if item.kind == "also"]
        more = any(n == 0 or not vocabulary.takes_two(items[n - 1].name) for n in several)
        more = more or any(item.kind == "also" or (item.phrase and item.phrase.refers) for item in step.items)
        one = step.head.refers == "it" and head.count not in (None, 1)
        related = any(item.phrase for item in items)
        return more or one or step.head.refers not in ("it", "them") or (related and step.action not in lexicon.MOVING)

    def inverted(self, *parts: Any) -> list[VerbPhrase]:
        linked = next(i for i, part in enumerate(parts) if isinstance(part, Token))
        return self.topic(parts[linked + 1], parts[linked], *parts[:linked], *parts[linked + 2 :])

    def fronted(self, *parts: Any) -> list[VerbPhrase]:
        """A command after where its object is, where to put it, or the set that it is one of."""
        verb = next((i for i, part in enumerate(parts) if isinstance(part, Token)), len(parts))
        items = [part for part in parts[:verb] if isinstance(part, Attachable)]
        steps = [part for part in parts[:verb] if isinstance(part, VerbPhrase)] or self.command(*parts[verb:])
        if items[0].kind == "adjective" or items[0].name in SETS.with_and_without or items[0].said == "before":
            raise refused(self.instruction, "VERB", steps[0])  # with a tool, or in time
        refers = any(item.phrase is not None and item.phrase.refers for item in steps[0].items)
        if items[0].name == "other than" and len(items) > 1 and refers:  # "rather than the can in front, the one by it"
            raise refused(self.instruction, "unclear it", steps[0])
        several = items[0].phrase if items[0].name in SETS.partitive else None
        if several is not None and several.count not in (None, 1) and steps[0].head.one:
            return [_one_of(several, items[1:], steps[0]), *steps[1:]]
        return [_described(steps[0], items), *steps[1:]]

    def answer(self, *items: Attachable) -> list[VerbPhrase]:
        at = items[0].start
        return [VerbPhrase("find", Phrase("object", start=at, end=at), list(items))]

    def _apposed(self, said: Sequence[Attachable]) -> list[Attachable]:
        """The items with ", the one behind the box" as a further clause of what it is about."""
        items: list[Attachable] = []
        for item in said:
            one = self._one(items[-1]) if items and not item.link else None
            if one is not None and not one.attributes:
                whole = next((each for each in items[:-1] if each.phrase and each.phrase.choice == "any"), None)
                if whole is not None and whole.phrase is not None:  # "on one of the trays, the one near the wall"
                    whole.phrase = replace(whole.phrase, choice=None)
                related = whole is None and any(each.phrase for each in items[:-1])
                items[-1] = replace(item, link="and" if related else "", relative=True)
            else:
                items.append(item)
        one = self._one(items[-1]) if items else None
        if one is not None and not any(item.phrase for item in items[:-1]):
            items[-1] = Attachable("adjective", one.start, one.end, words=one.attributes)
        return items

    def _one(self, item: Attachable) -> Phrase | None:
        """The phrase of ", the one" or ", the red one"; None for other items."""
        one = item.phrase
        if item.kind != "also" or item.link != "comma" or one is None or not one.one:
            return None
        picked = one.superlative or one.order or one.other or one.count or one.choice
        said = self.instruction[item.start : item.end].lower()
        return one if not picked and said.startswith(("the ", "that ")) else None

    def _said_of_head(self, parts: Sequence[Attachable | Token]) -> list[Attachable]:
        """Items in order; the one after "is" describes the head."""
        items, predicate = [], False
        for part in parts:
            if isinstance(part, Attachable):
                part.predicate, predicate = predicate, False
                items.append(part)
            else:
                predicate = True
        return items

    def statement(self, *parts: Any) -> list[VerbPhrase]:
        head, *rest = parts if isinstance(parts[0], Phrase) else parts[1:]
        return [VerbPhrase("verify", head, self._said_of_head(rest))]

    def question(self, which: Token, *rest: Any) -> list[VerbPhrase]:
        if isinstance(rest[0], Phrase):
            return [VerbPhrase("find", rest[0], list(rest[1:]))]
        several = " of " in which.text
        determiner = Token("QTY" if several else "DET", lexicon.ONE_OF, which.start, which.end, "the")
        words = [part for part in rest if isinstance(part, Token) and part.kind != "IS"]
        return [VerbPhrase("find", phrase_of([determiner, *words], self.instruction), self._said_of_head(rest))]


def steps_of(tokens: list[Token], instruction: str) -> list[VerbPhrase]:
    """The steps of a sentence: its commands in order, or the one step of a question, statement or bare phrase.

    Words that the grammar does not accept are told before what a line of it refuses.
    """
    tokens = settle(tokens, joins=_CORRECTING.search(instruction) is None)
    table, builder = _table(), _Builder(tokens, instruction)
    states, values = [table["first"]], list[Any]()
    refused: NotUnderstoodError | None = None
    for position, token in enumerate((*tokens, Token(END, None, 0, 0, ""))):
        while (step := table["states"][states[-1]].get(token.kind)) is not None and step < 0:
            makes, name, size = table["lines"][-1 - step]
            made: Any = [one for value in values[-size:] for one in (value if isinstance(value, list) else (value,))]
            if name and refused is None:
                try:
                    made = getattr(builder, name)(*made)
                except NotUnderstoodError as error:
                    refused = error
            values[-size:], states[-size:] = [made], []
            states.append(table["states"][states[-1]][makes])
            if token.kind == END and states[-1] == table["last"]:
                if refused is not None:
                    raise refused
                return list(values[-1])
        if step is None:
            raise unexpected(tokens, position, instruction)
        states.append(step)
        values.append(token)
    raise AssertionError("a table without an end")  # $END is never shifted


_Said = tuple[list[Word], list[Word], list[Word]]
"""Words as said, without slips, and without what was taken back."""


def parse(instruction: str, later: bool = False) -> tuple[SpatialQuery, ...]:
    """Parse an instruction into all its readings.

    Args:
        instruction: one command, question or description in English, or several commands in one sentence.
        later: True if something was said before. Then "it" is a phrase of the category "it" for the caller to replace,
            and "the other mug" excludes that object.

    Returns:
        The readings, the preferred one first; their preferences sum to 1, and `readings` is their number on each. Words
        that ask to stop are one reading with the action `types.query.STOP`.

    Raises:
        InputError: not a string, longer than `MAX_LENGTH` characters, or with control characters.
        NotUnderstoodError: the words are outside the grammar; it carries the span of the first part not understood.
    """
    words = split(instruction[:MAX_LENGTH]) if isinstance(instruction, str) else []
    if revising.asks_to_stop(words):
        return (
            SpatialQuery(
                instruction, STOP, NounPhrase("object"), act="wait" if revising.waits(instruction) else "stop"
            ),
        )
    check(instruction)
    try:
        said = _meant(words)
        return _asked(said, instruction, later) or _read(said, instruction, later)
    except NotUnderstoodError as error:
        found = _amid_speech(words, instruction, later)
        if found is None:
            told = no_order(words, instruction)
            if told is None:
                raise
            raise told from error
    queries, _, roles = found
    others = accounted(words, roles, instruction, partial=True)
    return tuple(
        replace(query, account=tuple(sorted({*query.account, *others}, key=lambda word: word.start)))
        for query in queries
    )


def _amid_speech(
    words: list[Word], instruction: str, later: bool = False
) -> tuple[tuple[SpatialQuery, ...], list[Word], list[WordRole]] | None:
    """The readings of a command amid speech that says nothing about it, its words, and the roles of the others."""
    for kept, roles in spoken.plainer(words, instruction):
        with contextlib.suppress(NotUnderstoodError):
            if no_order(kept, instruction) is None:
                said = _meant(kept)
                return _asked(said, instruction, later) or _read(said, instruction, later), kept, roles
    return None


def put_down(query: SpatialQuery) -> SpatialQuery:
    """A reading of "put it down": on the surface, wherever there is room."""
    place = Destination("on", (NounPhrase(lexicon.SURFACE),))
    first = tuple(replace(step, destination=place) for step in query.steps[:1])
    return replace(query, destination=place, steps=(*first, *query.steps[1:]))


def _asked(said: _Said, instruction: str, later: bool) -> tuple[SpatialQuery, ...]:
    """The readings of a question about space; none for other words."""
    words, fluent, meant = said
    asked = read_question(meant, instruction, lambda part: _read(_meant(part), instruction, later), later)
    if not asked:
        return ()
    # The frame of a question takes every word that does not stand in it.
    roles = [*lost(words, fluent, SLIP), *lost(fluent, meant, TAKEN_BACK), WordRole(0, len(instruction), "FRAME")]
    told = {word.start: word for word in accounted(words, roles, instruction)}
    return tuple(
        replace(query, act="ask", account=tuple((told | {word.start: word for word in query.account}).values()))
        for query in asked
    )


def _meant(words: list[Word]) -> _Said:
    fluent = without_stumbles(words)
    return words, fluent, revising.corrected(fluent)


def _read(said: _Said, instruction: str, later: bool) -> tuple[SpatialQuery, ...]:
    words, *_ = said
    revising.check_idioms(words, instruction)
    tagger, roles, depends = _tagged(said)
    tokens = tagger.run()
    if [(token.kind, token.text) for token in tokens] == [("VERB", "let go")]:  # of what the hand holds
        end = tokens[0].end
        tokens.append(Token("PRON", ("object", None), end, end, "it"))
    for token, before in zip(tokens[1:], tokens, strict=False):
        if token.kind == "REL" and token.text == "to" and before.text in SETS.anything:
            raise refused(instruction, "purpose", before, token)  # "something to drink"
    sentences = [steps_of(each, instruction) for each in revising.choices(tokens)]
    if depends and any(steps[0].action != TOPIC for steps in sentences):
        raise refused(instruction, "no condition", words[0])
    readings = ranked([query for each in sentences for query in readings_of(each, instruction, later)])
    if readings[0].act == "place" and readings[0].destination is None and any(word.text == "down" for word in words):
        readings = tuple(put_down(query) for query in readings)
    if readings[0].act in ("place", "move") and readings[0].destination is None:
        _check_place(tokens, instruction)
        verb = next((token for token in tokens if token.kind == "VERB"), tokens[0])
        unseen = tagger.deictic or tagger.way
        raise refused(instruction, "no place" if unseen else "needs place", *(unseen or (verb,)))
    told = accounted(words, (*roles, *tagger.roles), instruction)
    consistent = _consistent(readings, instruction)
    if not consistent:
        raise refused(instruction, "contradiction")
    consistent = list(ranked(consistent)) if len(consistent) < len(readings) else consistent
    found = [replace(part_words.in_parts(reading), account=told) for reading in consistent]
    # A stack may be one object for the detector, or the objects in it.
    found += [other for reading in found for other in part_words.unstacked(reading)]
    return ranked(found) if len(found) > len(consistent) else tuple(found)


def _tagged(said: _Said) -> tuple[tagging.Tagger, list[WordRole], bool]:
    words, fluent, meant = said
    rest, depends = revising.without_condition(meant)
    plain, known = revising.in_order(rest)
    roles = [*lost(words, fluent, SLIP), *lost(fluent, meant, TAKEN_BACK), *lost(meant, rest, "IF")]
    return tagging.Tagger(plain, known), [*roles, *lost(rest, plain, revising.REORDERED)], depends


def account(instruction: str) -> tuple[WordRole, ...]:
    """The role of each word of an instruction, in the order said."""
    check(instruction)
    words = split(instruction)
    if revising.asks_to_stop(words):
        return tuple(WordRole(word.start, word.end, "STOP") for word in words)
    try:
        said = _meant(words)
        if not _asked(said, instruction, False):
            _read(said, instruction, False)
        others: list[WordRole] = []
    except NotUnderstoodError:
        _, words, others = _amid_speech(words, instruction) or ((), words, [])
    tagger, roles, _ = _tagged(_meant(words))
    roles += others
    tagger.run()
    return tuple(sorted({*roles, *(WordRole(*role) for role in tagger.roles)}))


def tokens_of(instruction: str) -> tuple[Token, ...]:
    """The tokens of an instruction, in the order of the grammar, which may not accept them."""
    check(instruction)
    return tuple(_tagged(_meant(split(instruction)))[0].run())


def _check_place(tokens: list[Token], instruction: str) -> None:
    """Refuse "move the cup to the left", which names no place and does not mean the leftmost cup."""
    relative = any(token.kind == "THATIS" for token in tokens)
    for i, token in enumerate(tokens):
        after_object = i > 0 and tokens[i - 1].kind in ("NOUN", "PRON")
        joined = i > 0 and tokens[i - 1].kind in ("BUT", "AND", "NOT") and not relative
        if token.kind == "REL" and joined:
            raise refused(instruction, "not where", token)
        if token.kind == "NOT" and (after_object or joined) and not relative:
            raise refused(instruction, "only not where", token)
        if token.kind == "REL" and token.value.name in SETS.sources and after_object:
            raise refused(instruction, "only from where", token)
        if token.kind == "SIDE" and token.text.startswith("to "):
            raise refused(instruction, "side no place", token)
        if token.kind == "VERB" and token.text.split(" ")[-1] in ("back", "away"):
            raise refused(instruction, "no place", token)
