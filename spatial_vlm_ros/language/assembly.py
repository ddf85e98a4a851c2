# SPDX-License-Identifier: Apache-2.0
"""Build a `SpatialQuery` from one chosen attachment of a flat sentence, including frames of reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from spatial_vlm_ros.language import lexicon, part_words, vocabulary
from spatial_vlm_ros.language.patterns import SETS
from spatial_vlm_ros.language.refusals import Attachable, Phrase, refused
from spatial_vlm_ros.language.words import MASS_PLURALS, NEVER_PLURAL, PAIRED, WORN_GLASSES, Token, plural, singular
from spatial_vlm_ros.types import Destination, FrameOfReference, NounPhrase, Ordinal, RelationClause, Step

_LONGEST_NAME = 6
_LONGEST_BARE_NAME = 3


def phrase_of(tokens: Sequence[Token], instruction: str) -> Phrase:
    """Build the phrase from its tokens."""
    first, last = tokens[0], next(token for token in reversed(tokens) if token.kind != "FRAME")
    if first.kind in ("PRON", "PERSON"):
        category, count = first.value
        refers = first.text if first.text in SETS.referring else None
        person = first.kind == "PERSON"
        return Phrase(category, count=count, person=person, start=first.start, end=first.end, refers=refers)
    phrase = Phrase("object", start=first.start, end=last.end)
    heads, complements = _read(tokens, phrase, instruction)
    if not complements and (lone := next((token for token in tokens[1:] if token.kind == "OF"), None)) is not None:
        raise refused(instruction, "no object", lone, last)
    determined = any(token.kind in ("DET", "QTY", "NUM", "ORD", "SUP", "OTHER") for token in tokens)
    nouns = heads + complements
    if len(nouns) > (_LONGEST_NAME if determined else _LONGEST_BARE_NAME):
        raise refused(instruction, "too long", nouns[0], nouns[-1])
    if not heads:
        if not determined:
            raise refused(instruction, "no noun", first, last, last=last.text)
        phrase.elliptic = phrase.one = True
        phrase.count = None if phrase.count == lexicon.ONE_OF else phrase.count
        return phrase
    names = [token.text for token in heads]
    phrase.one = names[0] in ("one", "ones")
    phrase.pointed = len(tokens) == 2 and phrase.one and first.text in SETS.referring
    if len(names) > 1 and names[-1] in ("one", "ones"):
        names.pop()
    sizes = [token.text for token, after in pairwise(tokens) if token.kind == "NUM" and after.kind == "NOUN"]
    one = singular(names[-1]) == names[-1] not in NEVER_PLURAL | PAIRED | MASS_PLURALS
    if sizes and one and first.kind == "DET" and len(names) > 1 and not complements and sizes != ["one"]:
        names, phrase.count = [*sizes, *names], None  # "the 500 ml bottle", "the three tier rack"
    if "pair of" in first.text and names[-1] in PAIRED:  # "a pair of glasses" is one object
        phrase.count = None
    said = phrase.count
    phrase.category, phrase.count = _number(names, [token.text for token in complements], phrase.count)
    phrase.vague = phrase.vague or (said is None and phrase.count == -1 and first.text == "some")
    if phrase.count == lexicon.ONE_OF:
        phrase.count = None
    return phrase


def feature_of(phrase: Phrase) -> str | None:
    """The attribute for a part or mark after "with" ("with blue lid"); None if it is no part, or one of several."""
    *modifiers, head = phrase.category.split(" ")
    told = phrase.order, phrase.superlative, phrase.frame, phrase.other, phrase.choice
    if singular(head) not in lexicon.FEATURES or any(each is not None for each in told):
        return None
    if phrase.vague or phrase.person or any(word.startswith(lexicon.NOT) for word in phrase.attributes):
        return None
    several = phrase.count not in (None, 1)
    number = [str(phrase.count)] if several and phrase.count != -1 else []
    return lexicon.WITH + " ".join((*number, *phrase.attributes, *modifiers, plural(head) if several else head))


def _read(tokens: Sequence[Token], phrase: Phrase, instruction: str) -> tuple[list[Token], list[Token]]:
    """Fill the phrase from its tokens; return the nouns before and after "of"."""
    heads: list[Token] = []
    complements: list[Token] = []
    nouns = heads
    order: Token | None = None
    for token in tokens:
        if token.kind in ("QTY", "NUM"):
            _quantify(phrase, token)
        elif token.kind == "DET":
            phrase.choice = "any" if token.value == lexicon.ANY else phrase.choice
        elif token.kind == "OTHER":
            phrase.other = token.value
        elif token.kind == "ADJ" and nouns is heads:
            if token.value not in phrase.attributes:
                phrase.attributes += (token.value,)
        elif token.kind in ("NOUN", "ADJ"):
            nouns.append(token)
        elif token.kind == "OF":
            nouns = complements
        elif token.kind == "ORD":
            if order is not None:
                raise refused(instruction, "two ordinals", token)
            order, phrase.order = token, token.value
        elif token.kind == "FROM_BEFORE":
            phrase.order_from, phrase.frame = token.value
        elif token.kind == "SUP":
            if phrase.superlative is not None:
                two = part_words.crossed(phrase.superlative, token.value[0], part=_is_part(tokens))
                if not two or phrase.also is not None:
                    raise refused(instruction, "two superlatives", token)
                phrase.superlative, phrase.also = two
                continue
            phrase.superlative, phrase.frame = token.value
            if token.text.startswith("far ") and token.text[4:] in ("left", "right") and _is_part(tokens):
                phrase.superlative, phrase.also = "farthest", phrase.superlative
        elif token.kind == "FRAME":
            phrase.frame, in_parentheses = token.value
            phrase.spread += () if in_parentheses else (phrase.frame,)
    if order is not None and phrase.superlative is not None:
        side = lexicon.ORDER_OF_SUPERLATIVE.get(phrase.superlative)
        if side is None or (phrase.order or 0) < 0:
            raise refused(instruction, "no order", order, superlative=phrase.superlative)
        phrase.order_from, phrase.superlative = side, None
    return heads, complements


def _is_part(tokens: Sequence[Token]) -> bool:
    nouns = [token.text for token in tokens if token.kind == "NOUN"]
    return bool(nouns) and singular(nouns[-1]) in part_words.ALONG_BOTH


def _quantify(phrase: Phrase, token: Token) -> None:
    """Set the count: "two of the three mugs" are any two."""
    if isinstance(token.value, tuple):
        phrase.choice, phrase.count, phrase.partitive = "any", token.value[1], True
    elif token.value == lexicon.ANY_OF:
        phrase.choice, phrase.count = "any", lexicon.ONE_OF
    elif token.value == lexicon.VAGUE:
        phrase.count, phrase.vague = -1, True
    elif phrase.count != lexicon.ONE_OF and not phrase.partitive:
        phrase.count = token.value


def _number(names: list[str], complements: list[str], count: int | None) -> tuple[str, int | None]:
    """Category and count of nouns: the head in the singular, "box of cereal" as "cereal box"."""
    *modifiers, head = names
    worn = False  # "two pairs of glasses"
    if complements and (
        head in ("pair", "pairs") or (head in ("piece", "pieces") and complements[-1] not in lexicon.CUT)
    ):
        paired = head == "pairs" and complements[-1] not in PAIRED
        count = 2 * count if count is not None and count > 0 and paired else count
        worn = head == "pairs" and not paired
        *modifiers, head = complements
        complements = []
    if singular(head) != head or head in PAIRED:
        drinking = head == "glasses" and not worn and (count is not None or bool(set(modifiers) - WORN_GLASSES))
        kept = (head in PAIRED and not drinking) or head in MASS_PLURALS
        if count is None and not kept:
            count = -1
        if count is not None or not kept:
            head = singular(head) if head not in PAIRED or drinking else head
    if complements:
        *before, noun = complements
        modifiers = [*modifiers, *before, noun if noun in MASS_PLURALS or noun in PAIRED else singular(noun)]
    if not modifiers and head in lexicon.PLACEHOLDERS:
        head = "object"
    return " ".join([*modifiers, head]), count


SLIDE = "slide"
"""To push an object to the place in the next words; no query has this action."""

OTHER_THAN = "other than"
_UNNAMED = frozenset({NounPhrase("object"), NounPhrase("it"), NounPhrase("them")})


def of_place(clause: RelationClause, place: NounPhrase) -> RelationClause:
    """Replace "it" in a clause by the place that the clause is about ("next to the tray, not on it")."""
    return part_words.with_anchors(clause, lambda anchor: place if anchor in _UNNAMED else anchor)


def with_exceptions(destination: Destination, instruction: str) -> Destination:
    """Turn exceptions into exclusions: of "anywhere except the tray", "on the tray except the left end"."""
    if any(anchor.category.split(" ")[-1] in SETS.room for each in destination.excluded for anchor in each.anchors):
        raise refused(instruction, "free space")
    anchor = destination.anchors[0]
    apart = [clause for clause in anchor.relations if clause.relation == OTHER_THAN]
    parts = [other for clause in apart for other in clause.anchors]
    sides = [  # relations to the whole for parts such as "the left end"; None if one is not a side
        part_words.AT_SIDES.get(part.superlative or "")
        if part.category.split(" ")[-1] in SETS.sides and not part.relations
        else None
        for part in parts
    ]
    if not apart or (anchor.category != lexicon.SURFACE and not all(sides)):
        if any(part.category.split(" ")[-1] in lexicon.PARTS for part in parts):
            raise refused(instruction, "excluded part")
        return destination
    kept = tuple(clause for clause in anchor.relations if clause not in apart)
    bare = replace(anchor, relations=kept)
    excluded = [
        RelationClause("inside" if part.category.split(" ")[-1] in lexicon.CONTAINERS else "on", (part,))
        for part in parts
    ]
    if all(sides):
        excluded = [RelationClause(side, (bare,)) for side in sides if side]
    anchors = (bare, *destination.anchors[1:])
    return replace(destination, anchors=anchors, excluded=(*destination.excluded, *excluded))


class Attachment(NamedTuple):
    """How one item is attached.

    Args:
        kind: "clause", "destination", "excluded" or "further" (of the destination), "pair" (second anchor of item
            `holder`), "repeat" (the relation of item `holder` to another anchor), "side", "from" or "adjective".
        holder: node that it is attached to (0 = target, i + 1 = phrase of item i); for "pair" and "repeat" the item
            that it continues.
    """

    item: int  # index of the item
    kind: str
    holder: int = 0
    name: str = ""


class _Assembly:
    """Build the query of one plan."""

    def __init__(
        self, phrases: Sequence[Phrase | None], items: Sequence[Attachable], instruction: str, later: bool
    ) -> None:
        self.items, self.instruction, self.later = items, instruction, later
        self.above: dict[int, int] = {}  # node → the node it describes
        self.named_by: dict[int, int] = {}  # node → the node whose noun "one" takes
        self.nodes = {i: replace(phrase) for i, phrase in enumerate(phrases) if phrase is not None}
        self.related: dict[int, list[Attachable]] = {node: [] for node in self.nodes}  # clauses of each
        self.clauses: dict[int, Attachable] = {}
        self.destination: Attachable | None = None
        self.excluded: list[Attachable] = []
        self.also: list[Attachable] = []  # further relations that the place must have
        self.frame = self._stated_frame()

    def _stated_frame(self) -> FrameOfReference | None:
        items = [item for item in self.items if item.kind == "frame"]
        said = [item.frame for item in items] + [frame for node in self.nodes.values() for frame in node.spread]
        for frame in said[1:]:
            if frame != said[0]:
                raise refused(self.instruction, "two views", *[item for item in items if item.frame == frame][-1:])
        return said[0] if said else None

    def apply(self, plan: Attachment) -> None:
        item = self.items[plan.item]
        node = plan.item + 1
        if plan.kind in ("clause", "destination", "excluded", "further"):
            clause = replace(item, name=plan.name or item.name, anchors=[node])
            self.clauses[plan.item] = clause
            self.above[node] = self.named_by[node] = plan.holder
            if plan.kind == "clause":
                self.related[plan.holder] += [clause, *(replace(clause, name=name) for name in item.also)]
            elif plan.kind == "excluded":
                if clause.distance is not None and not clause.negated:  # "on the tray, at least 10 cm from the plate"
                    clause.distance = replace(clause.distance, bound="at most")
                self.excluded.append(replace(clause, negated=False))
                self.clauses[plan.item] = self.excluded[-1]
            elif plan.kind == "further":
                self.also.append(clause)
            else:
                self.destination = clause
        elif plan.kind in ("pair", "repeat"):
            self._further(plan, node)
        else:
            self._describe(self.nodes[plan.holder], item)

    def _further(self, plan: Attachment, node: int) -> None:
        """Add an anchor: to the same clause, or in a further clause of the same kind."""
        first = self.clauses[plan.holder]
        before = first.anchors[-1]
        self.above[node], self.named_by[node] = self.above[before], before
        phrase, other = self.nodes[before], self.nodes[node]
        if phrase.count == 2 and self.instruction[phrase.start : phrase.end].lower().startswith("both"):
            phrase.count = None  # "both the cup and the box": one of each
        if phrase.elliptic and not other.elliptic and not phrase.person:
            phrase.category = other.category
            if other.count == -1:  # "the red and blue cups": one of each
                other.count = None
        if plan.kind == "pair":
            kept = first.name == "on the other side of" or vocabulary.takes_two(first.name)
            first.name = first.name if kept else "between"
            first.anchors.append(node)
            self.clauses[plan.item] = first
            return
        clause = replace(first, anchors=[node], also=(), said="")
        of_place = [held for held in (self.excluded, self.also) if any(first is each for each in held)]
        holders = of_place or [clauses for clauses in self.related.values() if first in clauses]
        holders[0].append(clause)
        self.clauses[plan.item] = clause

    def _describe(self, node: Phrase, item: Attachable) -> None:
        if item.kind == "adjective":
            node.attributes += tuple(word for word in item.words if word not in node.attributes)
            return
        node.frame = item.frame or node.frame
        if item.kind == "placed":
            node.order, node.order_from = item.order, item.name
            return
        side = lexicon.ORDER_OF_SUPERLATIVE.get(item.name)
        if node.order is None:
            sides = part_words.crossed(node.superlative, item.name, *item.also)
            if not sides or node.also is not None:
                raise refused(self.instruction, "side", item)
            node.superlative, node.also = (*sides, None)[:2]
        elif node.order == -1 and item.kind == "side" and side in lexicon.OPPOSITE:
            node.order_from = lexicon.OPPOSITE[side]  # "the last mug on the left" is the leftmost
        elif item.kind == "from":
            node.order_from = item.name
        else:
            node.order_from = side
            if side is None or (node.order < 0 and side in lexicon.SIZE_ORDERS):
                raise refused(self.instruction, "no order", item, superlative=item.name)

    def phrase(self, index: int) -> NounPhrase:
        node = self.nodes[index]
        if index and node.pointed and not self.later:
            raise refused(self.instruction, "not named", node)
        ordinal, superlative = None, node.superlative
        if node.order is not None and node.order_from is not None:
            last = node.order < 0
            ordinal = Ordinal(abs(node.order), lexicon.OPPOSITE[node.order_from] if last else node.order_from)
        if node.order is not None and node.order_from is None and part_words.counted_down(node.category):
            ordinal = Ordinal(abs(node.order), "bottom" if node.order < 0 else "top")
        if ordinal is not None and ordinal.n == 1 and (node.count or 0) > 1:  # "the first two mugs from the left"
            superlative, ordinal = lexicon.SUPERLATIVE_OF_ORDER[ordinal.from_], None
        counted = ordinal is not None and ordinal.from_ in lexicon.FRAMED_ORDERS
        framed = counted or superlative in lexicon.FRAMED_SUPERLATIVES
        if self.frame is FrameOfReference.OBJECT:
            # the viewpoint belongs to the relations to the object; an ordinal has no object to look from
            framed = framed and not any(vocabulary.is_framed(clause.name) for clause in self.clauses.values())
        relations = tuple(self.clause(clause) for clause in self.related[index])
        choice, apart = node.choice, None
        if node.other is not None:
            apart = self._apart(index)
            choice = "any" if index == 0 and node.other == "another" and not self.later else choice
        return NounPhrase(
            self._category(index),
            node.attributes,
            node.count,
            superlative,
            ordinal,
            relations if apart is None else (*relations, RelationClause(OTHER_THAN, (apart,))),
            self._frame(node.frame, framed),
            choice,
            node.also,
        )

    def name_place(self) -> None:
        """Let "it" as a place be the one other object that is named ("put the pen behind the box into it")."""
        to, told = self.destination, [anchor for each in self.related[0] for anchor in each.anchors]
        unnamed = to is not None and not self.later and [self.nodes[anchor].refers for anchor in to.anchors] == ["it"]
        nouns = {self.nodes[node].category for node in (0, *told)}
        if to is not None and unnamed and len(told) == 1 and nouns.isdisjoint(("object", *lexicon.PERSONS)):
            self.destination = replace(to, anchors=told)

    def _category(self, index: int) -> str:
        """The noun. "One" takes the noun of a related object; "it" in a later command stays until it is resolved."""
        phrase = self.nodes[index]
        if self.later and phrase.refers in SETS.it:
            return str(phrase.refers)
        if phrase.one and phrase.category == "object" and index in self.named_by:
            return self._category(self._contrasted(index))
        return phrase.category

    def _contrasted(self, index: int) -> int:
        """Node whose noun "one" takes: what it describes, or an object in a parallel position ("on the green one")."""
        holder, to = self.named_by[index], self.destination
        if any(each.anchors == [index] and each.name in SETS.with_and_without for each in self.related[holder]):
            if holder not in self.above:
                raise refused(self.instruction, "not named", self.nodes[index])
            return self.above[holder]  # "the lid on the pan without one": a pan has no pan
        if to is not None and any(clause.anchors == [index] for clause in (*self.excluded, *self.also)):
            parallel = bool(self.nodes[to.anchors[0]].attributes and not self.nodes[0].attributes)
            same = any(each.anchors == [index] and each.name == to.name for each in (*self.excluded, *self.also))
            if parallel or same:  # "on the orange napkin, not on the white one"
                return to.anchors[0]
        if to is None or to.anchors != [index] or not self.nodes[index].attributes or self.nodes[holder].attributes:
            return holder
        clauses = self.related[holder] if to.name in SETS.holding else []
        told = [clause.anchors[0] for clause in clauses if clause.name in SETS.holding]
        return told[0] if len(told) == 1 and self.nodes[told[0]].attributes else holder

    def _apart(self, index: int) -> NounPhrase | None:
        """The phrase that "other" excludes; None if the sentence itself shows the contrast."""
        node, category = self.nodes[index], self._category(index)
        if any(clause.name == OTHER_THAN for clause in self.related[index]):
            return None
        nouns = {self._category(anchor) for each in self.related[0] for anchor in each.anchors}
        if index and node.one and node.other == "other" and nouns - {category, "object"}:
            raise refused(self.instruction, "which other", node)
        if index == 0:
            if self.later:
                return NounPhrase("it")
            if node.other == "another":
                return None
        else:
            if node.other == "another" or category in self._nouns_above(index):
                return None
            if self._category(self.named_by[index]) == category:  # "between the cup and the other cup"
                return None
            for earlier in range(index - 1, 0, -1):
                if earlier in self.above and self._category(earlier) == category:
                    return self.phrase(earlier)
            if self.later:
                return NounPhrase("it")
        raise refused(self.instruction, "which excluded", node)

    def _nouns_above(self, index: int) -> set[str]:
        nouns = set()
        while index in self.above:
            index = self.above[index]
            nouns.add(self._category(index))
        return nouns

    def clause(self, clause: Attachable) -> RelationClause:
        name = clause.name
        anchors = tuple(self.phrase(anchor) for anchor in clause.anchors)
        if name == OTHER_THAN:
            anchors = tuple(map(self._any_such, clause.anchors, anchors))
        if name == "at the centre of" and len(anchors) == 1 and (anchors[0].count or 0) not in (0, 1):
            name = "between" if anchors[0].count == 2 else "among"
        framed = vocabulary.is_framed(name)
        said = part_words.preposition_of(name, clause.said)
        return RelationClause(name, anchors, self._frame(clause.frame, framed), clause.negated, clause.distance, said)

    def _any_such(self, index: int, anchor: NounPhrase) -> NounPhrase:
        """Make "not a block" exclude all blocks."""
        said = self.instruction[self.nodes[index].start :].lower()
        return replace(anchor, count=-1) if said.startswith(("a ", "an ")) and anchor.count is None else anchor

    def _frame(self, own: FrameOfReference | None, framed: bool) -> FrameOfReference | None:
        return (own or self.frame) if framed else None


def assemble(
    action: str,
    phrases: Sequence[Phrase | None],
    items: Sequence[Attachable],
    plans: Sequence[Attachment],
    instruction: str,
    later: bool = False,
) -> Step:
    """One reading of a command, from its head and the phrases of its items; if `later`, "it" stays a category."""
    head = phrases[0]
    if head is not None and head.vague and action not in SETS.looking:
        raise refused(instruction, "no number", head)
    assembly = _Assembly(phrases, items, instruction, later)
    for plan in plans:
        assembly.apply(plan)
    destination = None
    if assembly.destination is not None:
        assembly.name_place()
        clause = assembly.clause(assembly.destination)
        if assembly.destination.also and assembly.destination.kind == "clause":
            clause = part_words.corner_of(clause, assembly.destination.also)
        excluded = tuple(of_place(assembly.clause(each), clause.anchors[0]) for each in assembly.excluded)
        also = tuple(of_place(assembly.clause(each), clause.anchors[0]) for each in assembly.also)
        destination = with_exceptions(
            Destination(
                clause.relation, clause.anchors, clause.frame, clause.distance, clause.preposition, excluded, also
            ),
            instruction,
        )
        if action in ("pick", "give") and clause.relation != "to":
            action = "place"
    action = "push" if action == SLIDE else action
    return Step(action, assembly.phrase(0), destination)
