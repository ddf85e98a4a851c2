# SPDX-License-Identifier: Apache-2.0
"""One chosen attachment of a flat sentence to a `SpatialQuery`, frames of reference included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language.lexicon import FRAMED_ORDERS, FRAMED_SUPERLATIVES, OPPOSITE, ORDER_OF_SUPERLATIVE
from spatial_vlm_ros.language.relations import RELATIONS
from spatial_vlm_ros.language.sentence import FrameWords, Item, Phrase
from spatial_vlm_ros.types import Destination, FrameOfReference, NounPhrase, Ordinal, RelationClause, SpatialQuery

_SUPERLATIVE_OF_ORDER = {side: superlative for superlative, side in ORDER_OF_SUPERLATIVE.items()}


@dataclass(frozen=True)
class Plan:
    """What becomes of one item.

    Args:
        item: index of the item.
        kind: "clause", "destination", "pair" (second anchor of item `holder`), "repeat" (the relation of item `holder`
            to another anchor), "side", "from" or "adjective".
        holder: node attached to (0 = target, i + 1 = phrase of item i); for "pair" and "repeat" the item continued.
        name: relation, where the words leave it open.
    """

    item: int
    kind: str
    holder: int = 0
    name: str = ""


@dataclass
class _Clause:
    """A clause under construction."""

    name: str
    anchors: list[int]
    frame: FrameOfReference | None
    negated: bool = False


@dataclass
class _Node:
    """A noun phrase under construction."""

    phrase: Phrase
    clauses: list[_Clause] = field(default_factory=list)
    attributes: tuple[str, ...] = ()
    superlative: str | None = None
    order_from: str | None = None
    frame: FrameOfReference | None = None


class _Assembly:
    """Builds the query of one plan."""

    def __init__(self, phrases: Sequence[Phrase | None], items: Sequence[Item], instruction: str) -> None:
        self.items, self.instruction = items, instruction
        self.nodes = {i: self._node(phrase) for i, phrase in enumerate(phrases) if phrase is not None}
        self.clauses: dict[int, _Clause] = {}
        self.destination: _Clause | None = None
        self.frame = self._stated_frame()

    @staticmethod
    def _node(phrase: Phrase) -> _Node:
        return _Node(phrase, [], phrase.attributes, phrase.superlative, phrase.order_from, phrase.frame)

    def _stated_frame(self) -> FrameWords | None:
        """The frame of reference said for the whole sentence."""
        said = [item.frame_words for item in self.items if item.frame_words is not None and not item.frame_words.local]
        said += [words for node in self.nodes.values() for words in node.phrase.spread]
        for words in said[1:]:
            if words != said[0]:
                raise NotUnderstoodError(
                    self.instruction,
                    self._span_of(words),
                    "a second point of view in one sentence",
                    "say one point of view",
                )
        return said[0] if said else None

    def _span_of(self, words: FrameWords) -> tuple[int, int]:
        """Where frame words stand; the whole instruction when they stand inside a phrase."""
        spans = [(item.start, item.end) for item in self.items if item.frame_words == words]
        return spans[-1] if spans else (0, len(self.instruction))

    def apply(self, plan: Plan) -> None:
        item = self.items[plan.item]
        node = plan.item + 1
        if plan.kind in ("clause", "destination"):
            clause = _Clause(plan.name or item.name, [node], item.frame, item.negated)
            self.clauses[plan.item] = clause
            if plan.kind == "clause":
                self.nodes[plan.holder].clauses.append(clause)
            else:
                self.destination = clause
        elif plan.kind == "pair":
            clause = self.clauses[plan.holder]
            clause.name = "between"
            self._share_noun(clause.anchors[-1], node)
            clause.anchors.append(node)
            self.clauses[plan.item] = clause
        elif plan.kind == "repeat":
            first = self.clauses[plan.holder]
            self._share_noun(first.anchors[-1], node)
            clause = _Clause(first.name, [node], first.frame, first.negated)
            holder = next(each for each in self.nodes.values() if first in each.clauses)
            holder.clauses.append(clause)
            self.clauses[plan.item] = clause
        else:
            self._describe(self.nodes[plan.holder], item)

    def _share_noun(self, first: int, second: int) -> None:
        """Give "the red" of "the red and the blue cup" its noun."""
        phrase, other = self.nodes[first].phrase, self.nodes[second].phrase
        if phrase.elliptic and not other.elliptic and not phrase.person:
            self.nodes[first].phrase = replace(phrase, category=other.category)
            if other.count == -1:  # "the red and blue cups": one of each
                self.nodes[second].phrase = replace(other, count=None)

    def _describe(self, node: _Node, item: Item) -> None:
        if item.kind == "adjective":
            node.attributes += tuple(word for word in item.words if word not in node.attributes)
            return
        node.frame = item.frame or node.frame
        if item.kind == "placed":
            node.phrase, node.order_from = replace(node.phrase, order=item.order), item.name
            return
        if node.phrase.order is None:
            node.superlative = item.name
        elif item.kind == "from":
            node.order_from = item.name
        else:
            node.order_from = ORDER_OF_SUPERLATIVE.get(item.name)
            if node.order_from is None:
                raise NotUnderstoodError(
                    self.instruction, (item.start, item.end), f"an ordinal cannot count along {item.name!r}",
                    'count from a side: "the second mug from the left"',
                )  # fmt: skip

    # -------------------------------------------------------------------------------------------- to frozen data

    def phrase(self, index: int) -> NounPhrase:
        node = self.nodes[index]
        ordinal, superlative = None, node.superlative
        if node.phrase.order is not None and node.order_from is not None:
            last = node.phrase.order == -1
            ordinal = Ordinal(1 if last else node.phrase.order, OPPOSITE[node.order_from] if last else node.order_from)
        if (
            ordinal is not None and ordinal.n == 1 and (node.phrase.count or 0) > 1
        ):  # "the first two mugs from the left"
            superlative, ordinal = _SUPERLATIVE_OF_ORDER[ordinal.from_], None
        framed = superlative in FRAMED_SUPERLATIVES or (ordinal is not None and ordinal.from_ in FRAMED_ORDERS)
        return NounPhrase(
            node.phrase.category,
            node.attributes,
            node.phrase.count,
            superlative,
            ordinal,
            tuple(self.clause(clause) for clause in node.clauses),
            self._frame(node.frame, framed),
        )

    def clause(self, clause: _Clause) -> RelationClause:
        name = clause.name
        anchors = tuple(self.phrase(anchor) for anchor in clause.anchors)
        if name == "at the centre of" and len(anchors) == 1 and (anchors[0].count or 0) not in (0, 1):
            name = "between"
        return RelationClause(name, anchors, self._frame(clause.frame, RELATIONS[name].framed), clause.negated)

    def _frame(self, own: FrameOfReference | None, framed: bool) -> FrameOfReference | None:
        if not framed or own is not None or self.frame is None:
            return own if framed else None
        return self.frame.frame

    def check_owner(self) -> None:
        """Refuse the view of a thing that nothing is related to."""
        if self.frame is None or self.frame.owner is None:
            return
        owner = self.frame.owner
        anchors = [self.nodes[anchor].phrase for clause in self.clauses.values() for anchor in clause.anchors]
        if not any(phrase.category.split()[-1] == owner for phrase in anchors):
            raise NotUnderstoodError(
                self.instruction,
                self._span_of(self.frame),
                "this is the view of a thing that nothing is related to",
                f'relate something to it: "left of the {owner}"',
            )


def assemble(
    action: str, phrases: Sequence[Phrase | None], items: Sequence[Item], plans: Sequence[Plan], instruction: str
) -> SpatialQuery:
    """Build the query of one reading.

    Args:
        action: canonical verb.
        phrases: the head phrase, then the phrase of each item or None.
        items: what follows the head.
        plans: what becomes of the items.
        instruction: the instruction as given.

    Returns:
        The query; `readings` and `preference` are still to be set.

    Raises:
        NotUnderstoodError: two points of view, or one of a thing that nothing is related to.
    """
    assembly = _Assembly(phrases, items, instruction)
    for plan in plans:
        assembly.apply(plan)
    assembly.check_owner()
    destination = None
    if assembly.destination is not None:
        clause = assembly.clause(assembly.destination)
        destination = Destination(clause.relation, clause.anchors, clause.frame)
        if action in ("pick", "give") and clause.relation != "to":
            action = "place"
    return SpatialQuery(instruction, action, assembly.phrase(0), destination)
