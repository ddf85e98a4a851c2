# SPDX-License-Identifier: Apache-2.0
"""Build a `SpatialQuery` from one chosen attachment of a flat sentence, including frames of reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from spatial_vlm_ros.language import lexicon
from spatial_vlm_ros.language.part_words import AT_SIDES, corner_of, counted_down, crossed, preposition_of, with_anchors
from spatial_vlm_ros.language.phrases import WITH_AND_WITHOUT
from spatial_vlm_ros.language.refusals import refused
from spatial_vlm_ros.language.sentence import Attachable, Phrase
from spatial_vlm_ros.language.vocabulary import is_framed, takes_two
from spatial_vlm_ros.types import Destination, FrameOfReference, NounPhrase, Ordinal, RelationClause, Step

SLIDE = "slide"
"""To push an object to the place in the next words; no query has this action."""
_IT = frozenset({"it", "them"})
_LOOKING = frozenset({"find", "verify", "look", "point"})
"""Actions on "a few mugs" for which the number does not matter."""
_HOLDING = frozenset({"on", "inside", "to"})


OTHER_THAN = "other than"
_ROOM = frozenset({"space", "room", "gap", "clearance"})
_UNNAMED = frozenset({NounPhrase("object"), NounPhrase("it"), NounPhrase("them")})
_SIDES = frozenset({"end", "side", "half", "edge", "part"})


def of_place(clause: RelationClause, place: NounPhrase) -> RelationClause:
    """Replace "it" in a clause by the place that the clause is about ("next to the tray, not on it").

    Args:
        clause: a relation that the place must have, or must not have.
    """
    return with_anchors(clause, lambda anchor: place if anchor in _UNNAMED else anchor)


def with_exceptions(destination: Destination, instruction: str) -> Destination:
    """Turn exceptions into exclusions: "anywhere except the tray" excludes places on and in the tray.

    "On the tray except the left end" excludes that side of it.
    """
    if any(anchor.category.split(" ")[-1] in _ROOM for each in destination.excluded for anchor in each.anchors):
        raise refused(instruction, "free space")
    anchor = destination.anchors[0]
    apart = [clause for clause in anchor.relations if clause.relation == OTHER_THAN]
    parts = [other for clause in apart for other in clause.anchors]
    sides = [  # relations to the whole for parts such as "the left end"; None if one is not a side
        AT_SIDES.get(part.superlative or "") if part.category.split(" ")[-1] in _SIDES and not part.relations else None
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
        item: index of the item.
        kind: "clause", "destination", "excluded" or "further" (of the destination), "pair" (second anchor of item
            `holder`), "repeat" (the relation of item `holder` to another anchor), "side", "from" or "adjective".
        holder: node that it is attached to (0 = target, i + 1 = phrase of item i); for "pair" and "repeat" the item
            that it continues.
    """

    item: int
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
            kept = first.name == "on the other side of" or takes_two(first.name)
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
            sides = crossed(node.superlative, item.name, *item.also)
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

    # -------------------------------------------------------------------------------------------- to frozen data

    def phrase(self, index: int) -> NounPhrase:
        node = self.nodes[index]
        if index and node.pointed and not self.later:
            raise refused(self.instruction, "not named", node)
        ordinal, superlative = None, node.superlative
        if node.order is not None and node.order_from is not None:
            last = node.order < 0
            ordinal = Ordinal(abs(node.order), lexicon.OPPOSITE[node.order_from] if last else node.order_from)
        if node.order is not None and node.order_from is None and counted_down(node.category):
            ordinal = Ordinal(abs(node.order), "bottom" if node.order < 0 else "top")
        if ordinal is not None and ordinal.n == 1 and (node.count or 0) > 1:  # "the first two mugs from the left"
            superlative, ordinal = lexicon.SUPERLATIVE_OF_ORDER[ordinal.from_], None
        counted = ordinal is not None and ordinal.from_ in lexicon.FRAMED_ORDERS
        framed = counted or superlative in lexicon.FRAMED_SUPERLATIVES
        if self.frame is FrameOfReference.OBJECT:
            # the viewpoint belongs to the relations to the object; an ordinal has no object to look from
            framed = framed and not any(is_framed(clause.name) for clause in self.clauses.values())
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
        if self.later and phrase.refers in _IT:
            return str(phrase.refers)
        if phrase.one and phrase.category == "object" and index in self.named_by:
            return self._category(self._contrasted(index))
        return phrase.category

    def _contrasted(self, index: int) -> int:
        """Node whose noun "one" takes: the node it describes, or an object in a parallel position.

        "The green one" contrasts with an object that has such words: in "the bowl on the red mat … on the green one" it
        is a mat, in "the red bowl on the mat … on the green one" a bowl.
        """
        holder, to = self.named_by[index], self.destination
        if any(each.anchors == [index] and each.name in WITH_AND_WITHOUT for each in self.related[holder]):
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
        clauses = self.related[holder] if to.name in _HOLDING else []
        told = [clause.anchors[0] for clause in clauses if clause.name in _HOLDING]
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
        framed = is_framed(name)
        said = preposition_of(name, clause.said)
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
    """Build one reading of one command.

    Args:
        phrases: the head phrase, then the phrase of each item or None.
        later: True if something was said before; "it" and "them" are then kept as categories.
    """
    head = phrases[0]
    if head is not None and head.vague and action not in _LOOKING:
        raise refused(instruction, "no number", head)
    assembly = _Assembly(phrases, items, instruction, later)
    for plan in plans:
        assembly.apply(plan)
    destination = None
    if assembly.destination is not None:
        assembly.name_place()
        clause = assembly.clause(assembly.destination)
        if assembly.destination.also and assembly.destination.kind == "clause":
            clause = corner_of(clause, assembly.destination.also)
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
