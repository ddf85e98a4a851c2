# SPDX-License-Identifier: Apache-2.0
"""What the words say: one reading of an instruction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from spatial_vlm_ros.types.status import FrameOfReference

STOP = "stop"
"""The action of a query that asks to stop: a request of its own, about nothing, that is never an order."""


@dataclass(frozen=True)
class Ordinal:
    """Place in an order: the n-th (from 1) counted from `from_` ("left", "right", "near", "far", "top", "bottom")."""

    n: int
    from_: str


Preposition = Literal["in", "on", "on top of"]
"""How a relation was said, where that tells more than its name: "in" and "on" of a part of an object ("in the left half
of the cabinet"), "on top of" where it was no mere "on"."""


@dataclass(frozen=True)
class NounPhrase:
    """What words say of one object (or of several, with `count`).

    Args:
        category: the noun as said, singular, compounds joined by a space; "object" for "thing", "it", "one".
        attributes: colours, sizes, materials and the like, as said; "with " begins a part or mark ("with blue lid"),
            "not " what was denied.
        count: number stated, None when singular; -1 for a plural without a number or "all".
        superlative: canonical word ("leftmost", "nearest", "tallest", …) or None.
        ordinal: or None.
        relations: clauses that restrict it, in the order said.
        frame: frame of reference stated for the superlative or ordinal, or None.
        choice: "any" where it was said that any one will do ("any mug", "either cup", "one of the bowls"), else None.
        also: a second direction of a part: "leftmost" of "the front left compartment", whose superlative is "nearest".
    """

    category: str
    attributes: tuple[str, ...] = ()
    count: int | None = None
    superlative: str | None = None
    ordinal: Ordinal | None = None
    relations: tuple[RelationClause, ...] = ()
    frame: FrameOfReference | None = None
    choice: Literal["any"] | None = None
    also: str | None = None

    @property
    def stated_frame(self) -> FrameOfReference | None:
        """Frame of the viewer from whom its order or a relation of its own was said to be seen, or None.

        What is said of it later without a frame ("the left one") is seen from there, too.
        """
        stated = (self.frame, *(clause.frame for clause in self.relations))
        return next((frame for frame in stated if frame not in (None, FrameOfReference.OBJECT)), None)


@dataclass(frozen=True)
class Distance:
    """A distance said in words, between outlines: "10 cm left of", "within 20 cm of", "more than a metre from".

    Args:
        metres: the number said, in metres.
        bound: whether it is met, not exceeded, or exceeded.
    """

    metres: float
    bound: Literal["about", "at most", "at least"] = "about"


@dataclass(frozen=True)
class RelationClause:
    """One relation to one or two anchors.

    Args:
        relation: canonical plain English name, see docs/relations.md.
        anchors: the objects related to.
        frame: frame of reference stated in words, or None.
        negated: "not behind".
        distance: distance stated with it, or None.
        preposition: how it was said, or None; not part of equality, for the relation is the same.
    """

    relation: str
    anchors: tuple[NounPhrase, ...]
    frame: FrameOfReference | None = None
    negated: bool = False
    distance: Distance | None = None
    preposition: Preposition | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Destination:
    """Where a moved object is to go: a relation to anchors, perhaps at a stated distance; said as in a clause.

    Args:
        excluded: relations that the place must not have ("on the tray, but not near the plate").
        also: relations that it must have, too ("on the tray, left of the plate").
    """

    relation: str
    anchors: tuple[NounPhrase, ...]
    frame: FrameOfReference | None = None
    distance: Distance | None = None
    preposition: Preposition | None = field(default=None, compare=False)
    excluded: tuple[RelationClause, ...] = ()
    also: tuple[RelationClause, ...] = ()


@dataclass(frozen=True)
class Step:
    """One command of a sentence that gives several: "open the drawer" of "open the drawer and put the bowl in it"."""

    action: str
    target: NounPhrase
    destination: Destination | None = None


QuestionKind = Literal["whether", "exists", "where", "which", "count", "distance", "size", "room"]
"""What is asked: whether an object is as described; whether there is one; where it is; which ones are; how many; how
far it is from another one; how long its sides are; whether it has room somewhere."""

Length = Literal["all", "height", "width", "length", "depth", "thickness", "diameter"]
"""A length of an object: longest side, longer and shorter horizontal side, shortest side, mean horizontal side."""


@dataclass(frozen=True)
class SpaceQuestion:
    """What a question asks of the target of its query.

    Args:
        kind: what is asked.
        asked: "whether": attributes, relations and order that are asked of the target, and not said of it; its category
            is the noun of "is it a mug?", else "object".
        other: "distance": what it is measured to; "whether" and "size": what it is compared with; else None.
        length: "size": which length is asked for; else None.
        relation: "distance": the relation along which the gap is measured ("how far left of the box is it?"), or None.
        frame: "distance": where the viewer stands from whom it is measured ("from me"); of `relation`, its own frame.
        choices: "which" and "whether": the alternatives said ("the mug or the bowl", "left of or right of the box").
        superlative: by what `choices` are compared ("tallest"); "closest to" and "farthest from" go with `other`.
        exactly: "exists": no more of them than said ("is there only one cup?").
        apart: "distance": measured between the several objects that the target names ("how far apart are the cups?").
    """

    kind: QuestionKind
    asked: NounPhrase | None = None
    other: NounPhrase | None = None
    length: Length | None = None
    relation: str | None = None
    frame: FrameOfReference | None = None
    choices: tuple[NounPhrase, ...] = ()
    superlative: str | None = None
    apart: bool = False
    exactly: bool = False


@dataclass(frozen=True)
class SpatialQuery:
    """One reading of an instruction. `parse` returns all readings, the preferred one first.

    Args:
        instruction: the words, as given.
        action: canonical verb ("pick", "give", "place", "find", …); `STOP` where the words ask to stop.
        target: the object to act on.
        destination: where to put it, or None.
        readings: number of readings the instruction has.
        preference: share of this reading from the words alone, 0 to 1; the readings' shares sum to 1.
        steps: all commands in the order said, where there are several; `action`, `target` and `destination` are
            those of the one that is resolved. Empty for one command.
        avoid: objects that the motion keeps away from ("without touching the cup").
        question: what is asked, where the words are a question about space; not part of equality. Nothing is acted on.
        read_by: who read the words: the grammar, or a language model where it did not understand them; not part of
            equality.
    """

    instruction: str
    action: str
    target: NounPhrase
    destination: Destination | None = None
    readings: int = 1
    preference: float = 1.0
    steps: tuple[Step, ...] = ()
    avoid: tuple[NounPhrase, ...] = ()
    question: SpaceQuestion | None = field(default=None, compare=False)
    read_by: Literal["grammar", "model"] = field(default="grammar", compare=False)
