# SPDX-License-Identifier: Apache-2.0
"""Parse an instruction: characters → words → tokens → flat sentence → readings."""

from __future__ import annotations

import contextlib
import json
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language.distances import is_unit
from spatial_vlm_ros.language.lexicon import NOT, NUMBERS, ONE_OF, SURFACE
from spatial_vlm_ros.language.lookahead import Token
from spatial_vlm_ros.language.part_words import in_parts
from spatial_vlm_ros.language.phrases import WITH_AND_WITHOUT, feature_of, phrase_of
from spatial_vlm_ros.language.questions_of_space import ranked, read_question
from spatial_vlm_ros.language.refusals import DISTANCE_HERE, UNITLESS, no_order, unexpected
from spatial_vlm_ros.language.revising import check_idioms, choices, corrected, without_condition
from spatial_vlm_ros.language.sentence import TOPIC, Attachable, FrameWords, Phrase, RelationWords, Sentence, VerbPhrase
from spatial_vlm_ros.language.spoken import plainer
from spatial_vlm_ros.language.steps import readings_of
from spatial_vlm_ros.language.stopping import asks_to_stop, stops, waits
from spatial_vlm_ros.language.tagging import Tagger
from spatial_vlm_ros.language.words import (
    SLIP,
    TAKEN_BACK,
    Word,
    WordRole,
    accounted,
    check,
    lost,
    split,
    without_stumbles,
)
from spatial_vlm_ros.types import NounPhrase, SpatialQuery
from spatial_vlm_ros.types.query import STOP

# --------------------------------------------------------------------------------------------------
# Run the LALR(1) table of grammar.lark, which scripts/grammar_table.py makes with lark; the package includes it.
# Building the table with lark takes longer than parsing a hundred sentences, and gives the same table every time.

TABLE = "grammar.json"
END = "$END"
"""Kind of the end marker after the last token."""


class Leaf(NamedTuple):
    """A token in a tree: its kind and its index in the sentence."""

    type: str
    position: int


@dataclass(frozen=True)
class Branch:
    """A line of the grammar applied to its parts: the line's name, and leaves and branches in order."""

    name: str
    parts: Sequence[Leaf | Branch]


class UnexpectedKindError(Exception):
    """A token that the grammar cannot accept; `position` is its index, or the number of tokens at the end."""

    def __init__(self, position: int) -> None:
        self.position = position
        super().__init__(position)


class _Line(NamedTuple):
    """A line of the grammar: its result, its name ("" if its parts go into the line above), and its number of parts."""

    makes: str
    name: str
    size: int


class _Table(NamedTuple):
    """States with their steps by kind: the next state, or minus one minus a line; and the first and last state."""

    states: Sequence[Mapping[str, int]]
    lines: Sequence[_Line]
    first: int
    last: int


@lru_cache(maxsize=1)
def _table() -> _Table:
    found = json.loads(pkgutil.get_data(__package__, TABLE) or b"")
    return _Table(found["states"], [_Line(*line) for line in found["lines"]], found["first"], found["last"])


def tree_of(kinds: Sequence[str]) -> Branch:
    """Parse the kinds of a sentence's tokens into a tree."""
    table = _table()
    states, values = [table.first], list[Any]()
    for position, kind in enumerate((*kinds, END)):
        while (step := table.states[states[-1]].get(kind)) is not None and step < 0:
            line = table.lines[-1 - step]
            parts = [one for value in values[-line.size :] for one in (value if isinstance(value, list) else (value,))]
            del values[-line.size :], states[-line.size :]
            values.append(Branch(line.name, parts) if line.name else parts)
            states.append(table.states[states[-1]][line.makes])
            if kind == END and states[-1] == table.last:
                return values[-1]
        if step is None:
            raise UnexpectedKindError(position)
        states.append(step)
        values.append(Leaf(kind, position))
    raise AssertionError("a table without an end")  # $END is never shifted


_WRITTEN = re.compile(r"[\d.,½¼¾/]+([a-z]+)")  # a number with its unit, in one word
_THINGS_TOO = frozenset({"foot", "feet", "hand", "hands", "finger", "fingers", "yard", "yards", "m", "meter", "meters"})


def check_lengths(readings: Iterable[SpatialQuery], instruction: str) -> None:
    """Refuse readings in which a length is the name of an object."""
    for reading in readings:
        for phrase in _phrases(reading):
            word = _length_in(phrase)
            if word:
                at = instruction.lower().find(word)
                span = (at, at + len(word)) if at >= 0 else (0, len(instruction))  # "feet" became "foot"
                raise NotUnderstoodError(instruction, span, *DISTANCE_HERE)


def _is_consistent(reading: SpatialQuery) -> bool:
    """False if a description contradicts itself ("the red cup that is not red")."""
    for phrase in _phrases(reading):
        related = {(clause.relation, clause.anchors, clause.negated) for clause in phrase.relations}
        both = any((name, anchors, not negated) in related for name, anchors, negated in related)
        if both or any(f"{NOT}{word}" in phrase.attributes for word in phrase.attributes):
            return False
    return True


def _length_in(phrase: NounPhrase) -> str:
    """The word in a name that is a length, or ""."""
    words = phrase.category.split()
    for word in words:
        written = _WRITTEN.fullmatch(word)
        if written is not None and is_unit(written[1]):
            return word
    if words in (["half"], ["halve"]) and phrase.superlative is None and not phrase.relations:
        return "half"  # "a foot and a half between the cans"
    first = words[0] if words else ""
    counted = phrase.count not in (None, -1) and len(words) > 1
    alone = len(words) == 1 and first not in _THINGS_TOO
    return first if is_unit(first) and (alone or counted) else ""


def _phrases(query: SpatialQuery) -> Iterator[NounPhrase]:
    yield from _inside(query.target)
    for place in (query.destination, *(step.destination for step in query.steps)):
        if place is not None:
            of_place = (anchor for clause in (*place.also, *place.excluded) for anchor in clause.anchors)
            for anchor in (*place.anchors, *of_place):
                yield from _inside(anchor)
    for phrase in (*query.avoid, *(step.target for step in query.steps)):
        yield from _inside(phrase)


def _inside(phrase: NounPhrase) -> Iterator[NounPhrase]:
    yield phrase
    for clause in phrase.relations:
        for anchor in clause.anchors:
            yield from _inside(anchor)


# "Set the cup down next to the box", "put it back on the shelf": what follows says where to.
_PARTED = re.compile(r"\b(?:down|(?<!the )back)\s+$", re.IGNORECASE)
_STATED = re.compile(
    r"\s+(?:(?:half|wide|taken|turned|pointing|facing)\s+)?(?:off|on|up|down|out|in|missing|gone|removed|open|opened|closed|shut"
    r"|upwards|downwards|left|right)\b(?!\s+(?:of|to|top|the|an?|my|your|our|his|her|its|this|that|these|those|front)\b)",
    re.IGNORECASE,
)
_STATE_OF_PART = "the state of a part cannot be judged", 'say which one it is by its place: "the jar behind the box"'
_ANYTHING = frozenset({"something", "anything", "stuff"})
_FOR_A_PURPOSE = "what an object is for is not read here", 'name the object: "give me the bottle"'
_LINKS = {"AND": "and", "BUT": "but", "COMMA": "comma"}
_COMMA_MEANS_NOTHING_AFTER = frozenset(
    {"VERB", "DET", "FRAME", "AND", "BUT", "THEN", "COMMA", "REL", "IS", "WHICH", "THATIS"}
)
_COMMA_MEANS_NOTHING_BEFORE = frozenset({"FRAME", "AND", "BUT", "THEN", "IS", "COMMA", "FROM"})


_CORRECTING = re.compile(r"\b(?:actually|mean|instead|no|rather|sorry|oops|wait)\b", re.IGNORECASE)
"""Words that may take back the sentence before."""


def settle(tokens: list[Token], joins: bool = True) -> list[Token]:
    """Drop commas without meaning, join commands over a full stop, and move a leading frame of reference to the end.

    Args:
        joins: False if a sentence may take back the one before it.

    Returns:
        Tokens as grammar.lark expects them.
    """
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
        ordered = ordered or token.kind == "VERB"
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
            if before in _COMMA_MEANS_NOTHING_AFTER or after in _COMMA_MEANS_NOTHING_BEFORE:
                continue
            if before in ("ADJ", "SUP", "NUM", "ORD") and after in ("ADJ", "NOUN", "SUP"):
                continue
        kept.append(token)
    return kept


def _flat(children: list[Any]) -> list[Any]:
    return [each for child in children for each in (child if isinstance(child, list) else [child])]


def _put_there(head: Phrase, items: list[Any]) -> VerbPhrase | None:
    """The command of an object and where it goes, without a verb ("two roses into the vase"); None otherwise."""
    goes = any(item.motion and item.said in ("into", "onto") for item in items)
    return VerbPhrase("place", head, items, head.start, items[-1].end, "put") if goes else None


class _Flattener:
    """Turn the parse tree into a `Sentence`.

    Each line of the grammar has one method, which is called with the results of its parts.
    """

    def __init__(self, tokens: Sequence[Token], instruction: str) -> None:
        self.tokens, self.instruction = tokens, instruction

    def transform(self, tree: Leaf | Branch) -> Any:
        if isinstance(tree, Leaf):
            return tree
        line: Callable[[list[Any]], Any] = getattr(self, tree.name)
        return line([self.transform(part) for part in tree.parts])

    def _of(self, leaf: Leaf) -> Token:
        return self.tokens[leaf.position]

    # ---- phrases

    def word(self, children: list[Leaf]) -> list[Leaf]:
        return children

    def phrase(self, children: list[Any]) -> Phrase:
        leaves: list[Leaf] = []
        for child in children:
            leaves.extend(child if isinstance(child, list) else [child])
        return phrase_of([self._of(leaf) for leaf in leaves], self.instruction)

    # ---- what follows

    def link(self, children: list[Leaf]) -> tuple[str, bool]:
        kinds = [child.type for child in children]
        return next((_LINKS[kind] for kind in kinds if kind in _LINKS), ""), "THATIS" in kinds

    def clause(self, children: list[Any]) -> list[Attachable]:
        negated = children[0].type == "NOT"
        leaf, *frames = children[negated:-1]
        return self._clauses(leaf, frames, children[-1], negated)

    def _clauses(self, leaf: Leaf, frames: list[Leaf], phrase: Phrase, negated: bool) -> list[Attachable]:
        """The clause of a relation token, or several clauses if the words say several ("in the left corner of")."""
        token = self._of(leaf)
        words: RelationWords = token.value
        if words.name in WITH_AND_WITHOUT and (feature := feature_of(phrase)) is not None:
            if (stated := _STATED.match(self.instruction, phrase.end)) is not None:  # "with the lid off"
                raise NotUnderstoodError(self.instruction, (token.start, stated.end()), *_STATE_OF_PART)
            denied = NOT if negated != (words.name == "without") else ""
            return [Attachable("adjective", token.start, phrase.end, relative=True, words=(denied + feature,))]
        frame = self._of(frames[0]).value[0] if frames else words.frame
        said = self.instruction[phrase.start : phrase.end]
        if phrase.elliptic and (said.isdecimal() or said.lower() in NUMBERS):
            raise NotUnderstoodError(self.instruction, (phrase.start, phrase.end), *UNITLESS)  # "left of the box by 5"
        if words.also and negated:
            raise NotUnderstoodError(
                self.instruction, (token.start, token.end), "this place cannot be negated",
                'negate only the corner: "not at the corner of the tray"',
            )  # fmt: skip
        before = self.tokens[leaf.position - 1]
        apart = words.name == "other than" and before.text == SURFACE
        return [
            Attachable(
                "clause", token.start, phrase.end, negated=negated, name=words.name, frame=frame, motion=words.motion,
                phrase=phrase, distance=words.distance, tight=apart or (words.name == "part of" and token.text == "of"),
                also=words.also, said=token.text, parted=_PARTED.search(self.instruction, 0, token.start) is not None,
            )
        ]  # fmt: skip

    def two_clauses(self, children: list[Any]) -> list[Attachable]:
        phrase: Phrase = children[-1]
        leaves: list[Leaf] = children[:-1]
        kinds = [leaf.type for leaf in leaves]
        first, second = (leaf for leaf in leaves if leaf.type == "REL")
        items = self._clauses(first, [], phrase, kinds[0] == "NOT")
        joined = self._clauses(second, [], replace(phrase), "NOT" in kinds)
        joined[0].link, joined[0].joined = "and", True
        return items + joined

    def side(self, children: list[Leaf]) -> Attachable:
        token = self._of(children[-1])
        if children[0].type == "NOT":
            reason = "a superlative cannot be negated"
            repair = 'say which one it is: "the mug on the right"'
            raise NotUnderstoodError(self.instruction, (self._of(children[0]).start, token.end), reason, repair)
        return Attachable("side", token.start, token.end, name=token.value[0], frame=token.value[1])

    def placed(self, children: list[Leaf]) -> Attachable:
        order, side = (self._of(leaf) for leaf in children)
        return Attachable("placed", order.start, side.end, name=side.value[0], frame=side.value[1], order=order.value)

    def adjective(self, children: list[Leaf]) -> Attachable:
        negated, *tokens = (self._of(leaf) for leaf in children)
        span = (negated.start, tokens[-1].end if tokens else negated.end)
        if negated.kind != "NOT":
            return Attachable("adjective", *span, words=(negated.value, *(token.value for token in tokens)))
        if " and " in self.instruction[tokens[0].start : span[1]].lower():
            reason = "it is unclear whether this negates one of these words or both"
            raise NotUnderstoodError(self.instruction, span, reason, 'say "neither red nor blue", or one of them')
        return Attachable("adjective", *span, words=tuple(NOT + token.value for token in tokens))

    def frame(self, children: list[Leaf]) -> Attachable:
        token = self._of(children[0])
        return Attachable("frame", token.start, token.end, frame_words=FrameWords(token.value[0]))

    def from_side(self, children: list[Leaf]) -> Attachable:
        token = self._of(children[0])
        return Attachable("from", token.start, token.end, name=token.value[0], frame=token.value[1])

    def also(self, children: list[Any]) -> Attachable:
        leaf, phrase = children
        return Attachable("also", phrase.start, phrase.end, link=_LINKS[leaf.type], phrase=phrase)

    def post(self, children: list[Any]) -> Attachable | list[Attachable]:
        item: Attachable | list[Attachable] = children[-1]
        first = item[0] if isinstance(item, list) else item
        if len(children) == 2:
            first.link, first.relative = children[0]
        return item

    # ---- sentences

    def step(self, children: list[Any]) -> list[VerbPhrase]:
        return self._steps(children[1:])

    def _steps(self, children: list[Any]) -> list[VerbPhrase]:
        last = children[-1]
        if isinstance(last, list) and last and isinstance(last[0], VerbPhrase):
            return [self._step(children[:-1]), *last]
        return [self._step(children)]

    def _step(self, children: list[Any]) -> VerbPhrase:
        verb, head, *posts = children
        items = _flat(posts)
        token = self._of(verb)
        end = items[-1].end if items else head.end
        return VerbPhrase(token.value, head, items, token.start, end, token.text)

    def command(self, children: list[Any]) -> Sentence:
        return Sentence(self._steps(children))

    def fragment(self, children: list[Any]) -> Sentence:
        head, *posts = children
        items = _flat(posts)
        return Sentence([_put_there(head, items) or VerbPhrase("find", head, items)])

    def topic(self, children: list[Any]) -> Sentence:
        """An object, and commands about it."""
        head, *posts, steps = children
        items = _flat(posts)
        first: VerbPhrase = steps[0]
        put = _put_there(head, items)
        if put is not None:
            return Sentence([put, *steps])
        if first.head.refers not in ("it", "them"):
            raise NotUnderstoodError(
                self.instruction, (first.head.start, first.head.end), "this names a second object",
                'say one object, for example "the mug behind the box, pick it up"',
            )  # fmt: skip
        return Sentence([VerbPhrase(TOPIC, head, items, head.start, items[-1].end if items else head.end), *steps])

    def answer(self, children: list[Any]) -> Sentence:
        items = _flat(children)
        return Sentence([VerbPhrase("find", Phrase("object", start=items[0].start, end=items[0].start), items)])

    def _said_of_head(self, children: list[Any]) -> list[Attachable]:
        """Items in order; the one after "is" describes the head."""
        items, predicate = [], False
        for child in _flat(children):
            if isinstance(child, Attachable):
                child.predicate, predicate = predicate, False
                items.append(child)
            else:
                predicate = True
        return items

    def statement(self, children: list[Any]) -> Sentence:
        if not isinstance(children[0], Phrase):
            children = children[1:]
        return Sentence([VerbPhrase("verify", children[0], self._said_of_head(children[1:]))])

    def question(self, children: list[Any]) -> Sentence:
        which, *rest = children
        head = next((child for child in rest if isinstance(child, Phrase)), None)
        if head is not None:
            return Sentence(
                [VerbPhrase("find", head, [child for child in _flat(rest) if isinstance(child, Attachable)])]
            )
        leaves = [child for child in _flat(rest) if isinstance(child, Leaf) and child.type != "IS"]
        items = self._said_of_head(
            [child for child in rest if not (isinstance(child, list) and isinstance(child[0], Leaf))]
        )
        token = self._of(which)
        several = " of " in token.text
        determiner = Token("QTY" if several else "DET", ONE_OF, token.start, token.end, "the")
        words = [determiner, *map(self._of, leaves)]
        return Sentence([VerbPhrase("find", phrase_of(words, self.instruction), items)])


def flatten(tokens: list[Token], instruction: str) -> Sentence:
    """Parse tokens."""
    tokens = settle(tokens, joins=_CORRECTING.search(instruction) is None)
    try:
        tree = tree_of([token.kind for token in tokens])
    except UnexpectedKindError as error:
        raise unexpected(tokens, error.position, instruction) from None
    sentence: Sentence = _Flattener(tokens, instruction).transform(tree)
    return sentence


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
    if stops(instruction):
        return (SpatialQuery(instruction, STOP, NounPhrase("object"), act="wait" if waits(instruction) else "stop"),)
    check(instruction)
    words = split(instruction)
    try:
        return _asked(words, instruction, later) or _read(words, instruction, later)
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
    for kept, roles in plainer(words, instruction):
        with contextlib.suppress(NotUnderstoodError):
            if no_order(kept, instruction) is None:
                found = _asked(kept, instruction, later) or _read(kept, instruction, later)
                return found, kept, roles
    return None


def _asked(words: list[Word], instruction: str, later: bool) -> tuple[SpatialQuery, ...]:
    """The readings of a question about space; none for other words."""
    meant = corrected(without_stumbles(words))
    asked = read_question(meant, instruction, lambda part: _read(part, instruction, later), later)
    return tuple(replace(query, act="ask") for query in asked or ())


def _read(words: list[Word], instruction: str, later: bool) -> tuple[SpatialQuery, ...]:
    check_idioms(words, instruction)
    tagger, roles, depends = _tagged(words)
    tokens = tagger.run()
    for token, before in zip(tokens[1:], tokens, strict=False):
        if token.kind == "REL" and token.text == "to" and before.text in _ANYTHING:
            raise NotUnderstoodError(instruction, (before.start, token.end), *_FOR_A_PURPOSE)  # "something to drink"
    sentences = [flatten(each, instruction) for each in choices(tokens)]
    if depends and any(sentence.steps[0].action != TOPIC for sentence in sentences):
        span, repair = (words[0].start, words[0].end), 'say "if there is a cup, take it"'
        raise NotUnderstoodError(instruction, span, "this condition is not supported", repair)
    readings = ranked([query for each in sentences for query in readings_of(each, instruction, later)])
    if readings[0].act in ("place", "move") and readings[0].destination is None:
        _check_place(tokens, instruction)
        verb = next((token for token in tokens if token.kind == "VERB"), tokens[0])
        unseen, repair = tagger.deictic or tagger.way, 'say it as "on the tray" or "next to the box"'
        reason = "this verb needs a place" if unseen is None else "the instruction does not name this place"
        raise NotUnderstoodError(instruction, unseen or (verb.start, verb.end), reason, repair)
    told = accounted(words, (*roles, *tagger.roles), instruction)
    check_lengths(readings, instruction)
    consistent = [reading for reading in readings if _is_consistent(reading)]
    if not consistent:
        whole = (0, len(instruction))
        raise NotUnderstoodError(instruction, whole, "this contradicts itself", "leave out one of the two")
    return tuple(replace(in_parts(reading), account=told) for reading in ranked(consistent))


def _tagged(words: list[Word]) -> tuple[Tagger, list[WordRole], bool]:
    """A tagger, the roles of the words that it does not see, and whether the order depends on what is seen."""
    fluent = without_stumbles(words)
    meant = corrected(fluent)
    rest, depends = without_condition(meant)
    roles = [*lost(words, fluent, SLIP), *lost(fluent, meant, TAKEN_BACK), *lost(meant, rest, "IF")]
    return Tagger(rest), roles, depends


def account(instruction: str) -> tuple[WordRole, ...]:
    """The role of each word of an instruction, in the order said."""
    check(instruction)
    words = split(instruction)
    if asks_to_stop(words):
        return tuple(WordRole(word.start, word.end, "STOP") for word in words)
    try:
        if not _asked(words, instruction, False):
            _read(words, instruction, False)
        others: list[WordRole] = []
    except NotUnderstoodError:
        _, words, others = _amid_speech(words, instruction) or ((), words, [])
    tagger, roles, _ = _tagged(words)
    roles += others
    tagger.run()
    return tuple(sorted({*roles, *(WordRole(*role) for role in tagger.roles)}))


def tokens_of(instruction: str) -> tuple[Token, ...]:
    """The tokens of an instruction, in the order of the grammar, which may not accept them."""
    check(instruction)
    return tuple(_tagged(split(instruction))[0].run())


_SOURCES = frozenset({"from", "off", "taken out of"})


def _check_place(tokens: list[Token], instruction: str) -> None:
    """Refuse "move the cup to the left", which names no place and does not mean the leftmost cup."""
    relative = any(token.kind == "THATIS" for token in tokens)
    for i, token in enumerate(tokens):
        after_object = i > 0 and tokens[i - 1].kind in ("NOUN", "PRON")
        reason, repair = "the instruction does not name this place", 'say it as "on the tray" or "next to the box"'
        joined = i > 0 and tokens[i - 1].kind in ("BUT", "AND", "NOT") and not relative
        if token.kind == "REL" and joined:
            reason, repair = "this does not say where to put it", 'say where to: "on the tray", "next to the box"'
        elif token.kind == "NOT" and (after_object or joined) and not relative:
            reason, repair = "this only says where not to put it", 'say where to, too: "on the tray but not near …"'
        elif token.kind == "REL" and token.value.name in _SOURCES and after_object:
            reason, repair = "this only says where it is taken from", 'say where to, too: "… to the table"'
        elif token.kind == "SIDE" and token.text.startswith("to "):
            repair = 'name an object or a distance: "to the left of the box", "10 cm to the left"'
        elif token.kind != "VERB" or token.text.split(" ")[-1] not in ("back", "away"):
            continue
        raise NotUnderstoodError(instruction, (token.start, token.end), reason, repair)
