# SPDX-License-Identifier: Apache-2.0
"""The meaning of an instruction: one reading of its words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from spatial_vlm_ros.types.status import FrameOfReference

STOP = "stop"
"""The action of a query that asks to stop: a request of its own, without an object, and never a command."""


Act = Literal[
    "take", "give", "place", "move", "slide", "put into", "point", "look", "find", "ask", "open", "close", "push",
    "wipe", "discard", "hit", "release", "stop", "wait", "avoid",
]  # fmt: skip
"""What a step asks for. "place" puts an object somewhere, "move" says that its place changes, "put into" ends in a
container, "slide" and "push" keep it on its surface, "avoid" forbids. docs/language.md lists the verbs of each."""


@dataclass(frozen=True)
class Ordinal:
    """The n-th (from 1) from `from_`: "left", "right", "near", "far", "top", "bottom", or a size ("largest")."""

    n: int
    from_: str


Preposition = Literal["in", "on", "on top of"]
"""The word that was said, if it tells more than the relation's name: "in" and "on" of a part of an object ("in the left
half of the cabinet"), "on top of" if it was more than "on"."""


@dataclass(frozen=True)
class NounPhrase:
    """The words that describe one object (or several, with `count`).

    Args:
        category: the noun as said, singular, compounds joined by a space; "object" for "thing", "it", "one".
        attributes: colours, sizes, materials and the like, as said; "with " begins a part or mark ("with blue lid"),
            "not " a denied attribute.
        count: number stated, None when singular; -1 for a plural without a number or "all".
        superlative: canonical word ("leftmost", "nearest", "tallest", …) or None.
        relations: clauses that restrict it, in the order said.
        frame: frame of reference stated for the superlative or ordinal, or None.
        choice: "any" if any one will do ("any mug", "either cup", "one of the bowls"), else None.
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
        """The viewpoint that the words state for this phrase's order or relations, or None.

        Later words without a viewpoint ("the left one") use the same one.
        """
        stated = (self.frame, *(clause.frame for clause in self.relations))
        return next((frame for frame in stated if frame not in (None, FrameOfReference.OBJECT)), None)


@dataclass(frozen=True)
class Distance:
    """A distance said in words, between outlines: "10 cm left of", "within 20 cm of", "more than a metre from"."""

    metres: float
    bound: Literal["about", "at most", "at least"] = "about"


@dataclass(frozen=True)
class RelationClause:
    """A relation to one or two anchors.

    Args:
        relation: canonical plain English name, see docs/relations.md.
        negated: True for "not behind".
        preposition: the word that was said, or None; not part of equality, because the relation is the same.
    """

    relation: str
    anchors: tuple[NounPhrase, ...]
    frame: FrameOfReference | None = None
    negated: bool = False
    distance: Distance | None = None
    preposition: Preposition | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Destination:
    """Where to put a moved object: a relation to anchors, perhaps with a distance, as in a clause.

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
    """One command of a sentence with several: "open the drawer" in "open the drawer and put the bowl in it".

    Args:
        act: what the command asks for; not part of equality.
    """

    action: str
    target: NounPhrase
    destination: Destination | None = None
    act: Act = field(default="find", compare=False)


QuestionKind = Literal["whether", "exists", "where", "which", "count", "distance", "size", "room"]
"""What is asked: whether an object is as described; whether there is one; where it is; which ones there are; how many;
how far it is from another one; how long its sides are; whether there is room for it."""

Length = Literal["all", "height", "width", "length", "depth", "thickness", "diameter"]
"""A length of an object: longest side, longer and shorter horizontal side, shortest side, mean horizontal side."""


@dataclass(frozen=True)
class SpaceQuestion:
    """What a question asks about the target of its query.

    Args:
        asked: for "whether": the attributes, relations and order that are asked about, not stated; its category is the
            noun of "is it a mug?", else "object".
        other: for "distance": the object that it is measured to; for "whether" and "size": the object of comparison;
            else None.
        length: for "size": the length that is asked for; else None.
        relation: for "distance": the relation along which the gap is measured ("how far left of the box is it?"), or
            None.
        frame: for "distance": the viewer that it is measured from ("from me"); with `relation`, the frame of that
            relation.
        choices: for "which" and "whether": the alternatives ("the mug or the bowl", "left of or right of the box").
        superlative: how `choices` are compared ("tallest"); "closest to" and "farthest from" go with `other`.
        exactly: for "exists": no more of them than said ("is there only one cup?").
        apart: for "distance": between the several objects that the target names ("how far apart are the cups?").
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


WordAccount = Literal["read", "mapped", "courtesy", "function", "slip", "taken back", "contrast", "left out", "sign"]
"""What became of a word: read as said, or mapped to a word of a rewrite; dropped as courtesy, as a slip of the tongue,
as taken back before a correction, or as a contrast; left out of a rewrite; "function": it says nothing alone."""


@dataclass(frozen=True)
class AccountedWord:
    """A word of an instruction, or several, and what became of it.

    Args:
        start: first character in the instruction.
        end: one past the last character.
        means: the words of a rewrite that it became; empty if nothing was rewritten.
    """

    start: int
    end: int
    role: WordAccount
    means: str = ""


@dataclass(frozen=True)
class SpatialQuery:
    """One reading of an instruction. `parse` returns all readings, the preferred one first.

    Args:
        action: canonical verb ("pick", "give", "place", "find", …); `STOP` if the words ask to stop.
        preference: weight of this reading from the words alone, 0 to 1; the weights of all readings sum to 1.
        steps: all commands in the order said, if there are several; `action`, `target` and `destination` are those of
            the first. Empty for one command.
        avoid: objects that the motion must keep away from ("without touching the cup").
        question: set if the words are a question about space; then nothing is moved. Not part of equality.
        read_by: the reader: the grammar, or a language model if the grammar did not understand the words; not part of
            equality.
        act: what the words ask for, of several steps the first; not part of equality.
        forbids: what must not be done ("don't touch the cup"). If the words only forbid, `action` and `act` are "avoid"
            and `target` is the first object.
        account: what became of each word; not part of equality.
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
    act: Act = field(default="find", compare=False)
    forbids: tuple[Step, ...] = ()
    account: tuple[AccountedWord, ...] = field(default=(), compare=False)
