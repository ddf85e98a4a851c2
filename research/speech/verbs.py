# SPDX-License-Identifier: Apache-2.0
"""How each action is said. {x} is the object, {to} where it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Said:
    """Ways to say one action.

    Args:
        commands: with the object last, whatever its length; the first word is the verb.
        short: where the object is a few words ("pick it up").
        questions: sentences that ask for it.
        wishes: sentences that state it.
    """

    commands: tuple[str, ...]
    short: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    wishes: tuple[str, ...] = ()


VERBS: Mapping[str, Said] = MappingProxyType(
    {
        "pick": Said(
            ("pick up {x}", "pick up {x}", "pick up {x}", "grab {x}", "grab {x}", "take {x}", "grasp {x}", "lift {x}",
             "lift up {x}", "pick {x}", "get hold of {x}", "take hold of {x}"),
            ("pick {x} up", "lift {x} up"),
        ),
        "give": Said(
            ("give me {x}", "hand me {x}", "pass me {x}", "bring me {x}", "fetch me {x}", "get me {x}", "grab me {x}",
             "hand over {x}"),
            ("give {x} to me", "hand {x} to me", "pass {x} to me", "bring {x} to me", "hand {x} over"),
            ("can I have {x}", "could I have {x}", "may I have {x}", "could I get {x}"),
            ("I need {x}", "I'd like {x}", "I want {x}", "I'd like to have {x}"),
        ),
        "place": Said(
            ("put {x} {to}", "put {x} {to}", "put {x} {to}", "place {x} {to}", "place {x} {to}", "set {x} {to}",
             "move {x} {to}", "move {x} {to}", "pop {x} {to}"),
            ("set {x} down {to}",), (),
            ("I want {x} to go {to}", "I'd like {x} to be {to}", "{x} should go {to}", "{x} goes {to}"),
        ),
        "find": Said(
            ("find {x}", "find {x}", "locate {x}", "look for {x}", "search for {x}", "find me {x}"),
            ("tell me where {x} {is}",),
            ("where {is} {x}", "where {is} {x}", "where can I find {x}", "do you know where {x} {is}"),
            ("I'm looking for {x}", "I can't find {x}"),
        ),
        "point": Said(("point at {x}", "point to {x}", "point out {x}", "point your finger at {x}"),
            ("point {x} out",)),
        "push": Said(("push {x}", "push {x}", "shove {x}"), ("give {x} a push",)),
        "pull": Said(("pull {x}", "pull {x}", "pull on {x}", "tug {x}")),
        "open": Said(("open {x}", "open {x}", "open up {x}"), ("open {x} up",)),
        "close": Said(("close {x}", "close {x}", "shut {x}")),
        "press": Said(("press {x}", "press {x}", "press down on {x}", "press on {x}")),
        "touch": Said(("touch {x}",)),
        "look": Said(("look at {x}", "look at {x}", "have a look at {x}", "take a look at {x}")),
        "go": Said(("go to {x}", "go over to {x}", "drive to {x}", "move to {x}", "head to {x}", "drive over to {x}")),
    }
)  # fmt: skip
"""Words for every action that this package's tables of verbs name."""

CARRYING = frozenset({"place", "push", "pull"})
"""Actions that have a destination."""

_TWICE = frozenset({"grab", "get", "put", "set", "pop", "shut", "tug"})


def gerund(command: str) -> str:
    """From "pick up {x}": "picking up {x}"."""
    verb, space, rest = command.partition(" ")
    stem = verb + verb[-1] if verb in _TWICE else verb.removesuffix("e")
    return f"{stem}ing{space}{rest}"
