# SPDX-License-Identifier: Apache-2.0
"""The flat form of a sentence: a head phrase and the list of items after it, before anything is attached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from spatial_vlm_ros.types import Distance, FrameOfReference


class RelationWords(NamedTuple):
    """Value of a relation token.

    `motion`: the words only name a destination ("onto"); `also`: further relations to the same anchor.
    """

    name: str
    frame: FrameOfReference | None = None
    motion: bool = False
    distance: Distance | None = None
    also: tuple[str, ...] = ()


@dataclass
class Phrase:
    """One noun phrase without the items after it.

    Args:
        category: the noun, or "object".
        superlative: canonical superlative or None.
        order: n of an ordinal, -1 for "last", -2 for "last but one", or None.
        person: True if it is the speaker or the robot.
        elliptic: True if no noun was said ("the red").
        start: first character in the instruction.
        choice: "any" if any one will do.
        one: True if it is "one" or has no noun: it takes the noun of a related object.
        other: "other" or "another" if that was said.
        refers: "it", "them", "this", … if nothing else was said.
        pointed: True for a pointing word ("that one"); words alone do not show what it means.
        spread: frames of reference said in it that hold for the whole command.
        partitive: True if the count is a part of a larger number ("two of the three mugs").
        also: a second direction ("the front left compartment"), or None.
        vague: True if several are meant without a number ("a few mugs").
    """

    category: str
    attributes: tuple[str, ...] = ()
    count: int | None = None
    superlative: str | None = None
    order: int | None = None
    order_from: str | None = None
    frame: FrameOfReference | None = None
    person: bool = False
    elliptic: bool = False
    start: int = 0
    end: int = 0
    spread: tuple[FrameOfReference, ...] = ()
    choice: Literal["any"] | None = None
    one: bool = False
    other: str | None = None
    refers: str | None = None
    partitive: bool = False
    pointed: bool = False
    also: str | None = None
    vague: bool = False


@dataclass
class Attachable:
    """One item that follows a phrase.

    Args:
        kind: "clause" (relation and anchor), "also" (a further phrase after "and"), "side" (superlative phrase),
            "from" (side an ordinal counts from), "placed" ("second from the left"), "adjective", "frame" (of
            reference, for the whole command).
        start: first character in the instruction.
        link: "", "and", "but" or "comma".
        relative: True if "that is" comes before it.
        negated: True if "not" comes before it.
        motion: True if the words only name a destination ("onto").
        joined: True if it attaches where the item before it does ("left of and behind the box").
        order: n of a "placed" item.
        predicate: True if it describes the head of the sentence ("the mug is …").
        tight: True if it belongs to the noun right before it ("the lid of the jar").
        also: further relations to the same anchor ("in the back left corner of"); the second side ("at the back left").
        parted: True if the end of a split verb comes before it ("set the cup down next to …").
        anchors: nodes that a clause relates to, once it is attached (`assembly.Attachment`).
    """

    kind: str
    start: int
    end: int
    link: str = ""
    relative: bool = False
    negated: bool = False
    name: str = ""
    frame: FrameOfReference | None = None
    motion: bool = False
    phrase: Phrase | None = None
    words: tuple[str, ...] = ()
    predicate: bool = False
    joined: bool = False
    order: int | None = None
    distance: Distance | None = None
    tight: bool = False
    also: tuple[str, ...] = ()
    said: str = ""
    parted: bool = False
    anchors: list[int] = field(default_factory=list)


@dataclass
class VerbPhrase:
    """One verb with the items after it: a command, or what stands for one in a question, statement or bare phrase.

    Args:
        action: of the verb; `acts.FORBIDDEN` begins a forbidden one.
        verb: the verb as said, lower case.
        second: first item of a joined command about the same object, whose clause is the destination ("pick up the mug
            and put it on the tray"); None if nothing was joined.
    """

    action: str
    head: Phrase
    items: list[Attachable] = field(default_factory=list)
    start: int = 0
    end: int = 0
    verb: str = ""
    second: int | None = None


AVOID = "avoid"
"""Action of a step that names the objects that the motion must keep away from."""
FORBIDDEN = "not "
"""Begins the action of a step that is forbidden ("not pick")."""
TOPIC = "topic"
"""Stands for the verb of an object that is named before the command about it."""
