# SPDX-License-Identifier: Apache-2.0
"""Several commands in one sentence: join those about the same object, and resolve "it" and "there".

"Pick up the mug and put it on the tray" is one command; "open the drawer and put the bowl in it" are two, and "it" is
the drawer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from math import prod

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import attachment, lexicon, vocabulary
from spatial_vlm_ros.language.part_words import in_anchors, in_place, with_anchors
from spatial_vlm_ros.language.patterns import SETS, expand
from spatial_vlm_ros.language.refusals import TOPIC, VerbPhrase, refused
from spatial_vlm_ros.types import Destination, NounPhrase, SpatialQuery
from spatial_vlm_ros.types import Step as Command
from spatial_vlm_ros.types.query import Act

MAX_ITEMS = 20
"""Most relations and other additions in one sentence."""
MAX_STEPS = 8
"""Most commands in one sentence."""

_JOINED = {("pick", "place"): "place", ("find", "place"): "place", ("find", "pick"): "pick", ("find", "give"): "give",
           ("pick", "give"): "give", ("pick", "pick"): "pick", ("look", "pick"): "pick",
           ("go", "pick"): "pick"}  # fmt: skip
_NEAR_ALLOWED: frozenset[Act] = frozenset(
    {"find", "look", "ask", "open", "close", "place", "put into", "wipe", "discard", "release"}
)
"""Acts that may be forbidden although the arm may be near the object: "don't open the box"."""
_VERB_LEFT_OUT = 0.6


def _split(step: VerbPhrase) -> list[VerbPhrase]:
    """Split a command to place objects into one for each object that has its own place."""
    places = [i for i, item in enumerate(step.items) if item.kind == "clause" and item.link in ("", "comma")]
    if step.action != "place" or step.head.refers is not None:
        return [step]
    for i, item in enumerate(step.items):
        if item.kind != "also" or item.link != "and" or item.phrase is None:
            continue
        before = [place for place in places if place < i]
        follows = i + 1 in places and not (step.items[i + 1].relative or step.items[i + 1].negated)
        if not before or not follows:
            continue
        name = step.items[before[-1]].name
        if name in SETS.both_or_each or vocabulary.takes_two(name):
            continue
        head = item.phrase
        if head.one and head.category == "object":
            head = replace(head, category=step.head.category)
        first = replace(step, items=step.items[:i], end=step.items[i - 1].end)
        return [first, *_split(replace(step, head=head, items=step.items[i + 1 :], start=item.start))]
    return [step]


def _of_others(step: VerbPhrase) -> bool:
    """True if a command leaves alone what another command does not name ("leave the rest")."""
    left = step.verb == "leave" or step.action.startswith(lexicon.FORBIDDEN)
    return left and (step.head.other is not None or step.head.category == "rest")


def _tasks(steps: Sequence[VerbPhrase], instruction: str) -> list[VerbPhrase]:
    """The commands, with those about the same object joined; objects that are only left alone are avoided."""
    tasks: list[VerbPhrase] = []
    first = list(itertools.takewhile(_of_others, steps))
    for step in (*steps[len(first) :], *first):  # "leave the others and take the left cup"
        if _of_others(step) and step.head.category == "rest":
            step = replace(step, head=replace(step.head, category="object", count=-1, one=True, other="other"))
        bare = all(item.name == "other than" for item in step.items)
        if step.action == "place" and bare and instruction[step.start :].lower().startswith("leave "):
            step = replace(step, action=lexicon.AVOID)
        off = _KEPT_OFF.get(step.items[-1].name) if step.items else None
        if step.verb.startswith("keep") and step.action == "place" and off is not None:
            last_item = replace(step.items[-1], name=off, motion=True, said="")  # "don't put the cup on the tray"
            step = replace(step, action=f"{lexicon.FORBIDDEN}place", items=[*step.items[:-1], last_item], verb="put")
        unheld = not tasks or tasks[-1].action == TOPIC or step.head.refers is None
        if step.verb in ("keep", "leave") and step.action == "place" and unheld:
            raise refused(instruction, "put or leave", step, verb=step.verb)
        held = [task for task in tasks if task.action in lexicon.MOVING]
        apart = len(held) > 1 and held[-1].second is None and held[-2].second is None
        if step.head.refers == "them" and apart and held[-1].head.count in (None, 1):
            raise refused(instruction, "several objects", step.head)
        action = _JOINED.get((tasks[-1].action, step.action)) if tasks else None
        if tasks and tasks[-1].action == TOPIC:
            action = step.action
        if action is None or step.head.refers is None or tasks[-1].second is not None:
            tasks.append(replace(step, items=list(step.items)))
            continue
        last = tasks[-1]
        second = len(last.items) if step.action == "place" else None
        items = [*last.items, *step.items]
        tasks[-1] = replace(step, action=action, head=last.head, items=items, start=last.start, second=second)
    return tasks


_KEPT_OFF = {"off": "on", "out of": "inside", "from": "near", "far from": "near", "away from": "near"}
"""What "keep the cup off the tray" forbids: a place on it."""


def readings_of(steps: Sequence[VerbPhrase], instruction: str, later: bool = False) -> tuple[SpatialQuery, ...]:
    """At most `MAX_READINGS` readings of a flat sentence, the preferred first; their preferences sum to 1."""
    found: list[tuple[float, SpatialQuery]] = []
    refused: NotUnderstoodError | None = None
    variants = [(1.0, steps)]
    split = [part for step in steps for part in _split(step)]
    if len(split) > len(steps):  # "put the cup on the tray and the bowl in the box" moves two objects
        variants = [(_VERB_LEFT_OUT, split), (1.0 - _VERB_LEFT_OUT, steps)]
    for share, variant in variants:
        try:
            found += [
                (share * part, query) for part, query in _readings(_tasks(variant, instruction), instruction, later)
            ]
        except NotUnderstoodError as error:
            refused = error
    if not found and refused is not None:
        raise refused
    found.sort(key=lambda pair: -pair[0])
    found = found[: attachment.MAX_READINGS]
    total = sum(share for share, _ in found)
    return tuple(replace(query, readings=len(found), preference=share / total) for share, query in found)


def _readings(tasks: Sequence[VerbPhrase], instruction: str, later: bool) -> list[tuple[float, SpatialQuery]]:
    items = [item for task in tasks for item in task.items]
    if len(items) > MAX_ITEMS:
        raise refused(instruction, "many relations", replace(items[MAX_ITEMS], end=len(instruction)), most=MAX_ITEMS)
    if len(tasks) > MAX_STEPS:
        raise refused(instruction, "many commands", replace(tasks[MAX_STEPS], end=len(instruction)), most=MAX_STEPS)
    frames = [[item for item in task.items if item.kind == "frame"] for task in tasks]
    for task, own in zip(tasks, frames, strict=True):  # a frame of reference said in one command holds for all
        task.items += [item for others in frames if others is not own for item in others]
    bare = [replace(task, action=task.action.removeprefix(lexicon.FORBIDDEN)) for task in tasks]
    readings = [attachment.attachments(task, instruction, later or i > 0) for i, task in enumerate(bare)]
    if len(readings) == 1:
        return [(share, _query(instruction, (reading,), tasks)) for share, reading in readings[0]]
    each = max(1, round((4 * attachment.MAX_READINGS) ** (1.0 / len(readings))))
    combined = [
        (prod(share for share, _ in combination), tuple(reading for _, reading in combination))
        for combination in itertools.product(*(reading[:each] for reading in readings))
    ]
    likeliest = sorted(combined, key=lambda pair: -pair[0])[: attachment.MAX_READINGS]
    return [(share, _query(instruction, _resolved(said, instruction, tasks), tasks)) for share, said in likeliest]


def _query(instruction: str, commands: tuple[Command, ...], tasks: Sequence[VerbPhrase]) -> SpatialQuery:
    """The query of one reading: about its first command; if all commands are forbidden, it only forbids."""
    steps, forbids = list[Command](), list[Command]()
    for command, task in zip(commands, tasks, strict=True):
        act = _act_of(task.action.removeprefix(lexicon.FORBIDDEN), task.verb, command.destination)
        if steps and act in ("place", "move") and command.destination is None and not _forbids(task):
            raise refused(instruction, "needs where", task)
        (forbids if _forbids(task) else steps).append(replace(command, act=act))
    main = steps[0] if steps else replace(forbids[0], action=lexicon.AVOID, act="avoid", destination=None)
    avoid = tuple(step.target for step in forbids if steps and keeps_away(step))
    several = tuple(steps) if len(steps) > 1 else ()
    return SpatialQuery(
        instruction, main.action, main.target, main.destination, steps=several, avoid=avoid, act=main.act,
        forbids=tuple(forbids),
    )  # fmt: skip


def by_step(query: SpatialQuery) -> tuple[SpatialQuery, ...]:
    """A reading as one query for each of its steps, in order."""
    return tuple(
        replace(query, action=step.action, target=step.target, destination=step.destination, act=step.act, steps=())
        for step in query.steps
    ) or (query,)  # fmt: skip


def keeps_away(forbidden: Command) -> bool:
    """True if what is forbidden means that the arm must not come near its object ("don't touch the cup")."""
    return forbidden.act not in _NEAR_ALLOWED and forbidden.destination is None


def _resolved(commands: Sequence[Command], instruction: str, tasks: Sequence[VerbPhrase]) -> tuple[Command, ...]:
    """Replace "it", "them" and "there" in the commands by what was said before."""
    done: list[Command] = []
    for command, task in zip(commands, tasks, strict=True):
        target = command.target
        act = _act_of(command.action, task.verb)
        if done and target.category in SETS.it and _forbids(task) and act == "take":  # "without lifting it"
            raise refused(instruction, "held up", task)
        if done and target.category in SETS.it and _forbids(task) and act != "release":
            beside = [anchor for clause in done[-1].target.relations for anchor in clause.anchors]  # "by the plate"
            target = _with_more(_place_before(done, done[-1].target) or (beside or [done[-1].target])[-1], target)
        elif done and target.category in SETS.it:
            target = _with_more(_object_before(done, command.action), target)
        elif done and task.head.one and target.category == "object":  # "any cup without touching the red one"
            several = [a for clause in done[-1].target.relations for a in clause.anchors if a.count == -1]
            of_them = instruction[task.head.start : task.head.end].lower().endswith("of them")
            target = replace(target, category=(several[0] if several and of_them else done[-1].target).category)
        place = _place_before(done, target, command.destination) if done else None
        target = _replaced(target, place)
        destination = command.destination
        if destination is not None:
            other = any(  # "the other one", which has no noun
                anchor.category in SETS.it and any(clause.relation == "other than" for clause in anchor.relations)
                for anchor in destination.anchors
            )
            if done and other and (done[-1].target.relations or done[-1].destination is not None):
                raise refused(instruction, "which other", task)
            relation = destination.relation
            if relation == lexicon.THERE and place is None:
                raise refused(instruction, "no place", task)
            if relation == lexicon.THERE and place is not None:  # in a container, and on anything else
                relation = "inside" if place.category.split()[-1] in lexicon.CONTAINERS else "on"
            related = partial(with_anchors, change=partial(_replaced, place=place))
            destination = in_place(replace(destination, relation=relation), related)
        done.append(replace(command, target=target, destination=destination))
    return tuple(done)


def _object_before(done: Sequence[Command], action: str) -> NounPhrase:
    """The meaning of "it" as a command's object: what was last moved; for a lid or door, what it was put into."""
    opened = [command.target for command in done if command.action == "open"]
    if action == "close" and opened:
        return opened[-1]
    if action in lexicon.OPENABLE and done[-1].destination is not None:
        return done[-1].destination.anchors[0]
    if action in lexicon.MOVING:
        moved = [command.target for command in done if command.action in lexicon.MOVING]
        return (moved or [done[-1].target])[-1]
    return done[-1].target


def _place_before(
    done: Sequence[Command], target: NounPhrase, destination: Destination | None = None
) -> NounPhrase | None:
    """What "it" is as an anchor: what was last named, but not the object itself; the anchor of an opposite side."""
    for command in reversed(done):
        to = command.destination
        anchors = () if to is None else to.anchors
        opposite = to and destination and vocabulary.INVERSE.get(to.relation) == destination.relation != to.relation
        for phrase in (*anchors, command.target) if opposite else (command.target, *anchors):
            if phrase not in (target, NounPhrase("object")):
                return phrase
    return None


def _replaced(phrase: NounPhrase, place: NounPhrase | None) -> NounPhrase:
    """Replace every "it" in a phrase by `place`."""
    if phrase.category in SETS.it:
        return _with_more(place or NounPhrase("object"), phrase)
    return in_anchors(phrase, partial(_replaced, place=place))


def _with_more(phrase: NounPhrase, pronoun: NounPhrase) -> NounPhrase:
    return replace(phrase, relations=(*phrase.relations, *pronoun.relations)) if pronoun.relations else phrase


def _forbids(task: VerbPhrase) -> bool:
    return task.action == lexicon.AVOID or task.action.startswith(lexicon.FORBIDDEN)


@lru_cache(maxsize=1024)
def act_of_words(action: str, words: str) -> Act:
    """The act of an action by the words of its verb."""
    tables = sorted((each for each in lexicon.LEXICON if each.action == action), key=lambda each: len(each.patterns))
    for table in tables[:-1]:
        said = (form for pattern in table.patterns for form in (pattern, lexicon.gerund(pattern)))
        if any(words == phrase for pattern in said for phrase in expand(pattern)):
            return table.act
    return tables[-1].act if tables else "find"


def _act_of(action: str, words: str = "", place: Destination | None = None) -> Act:
    """The act of a command: `words` are its verb, lower case; an unknown one counts as the usual one of `action`."""
    act = act_of_words(action, words)
    if act == "release" and place is not None:
        act = "place"
    thrown = act == "discard" and place is not None
    return "put into" if thrown or (act in ("place", "move") and place and place.relation == "inside") else act
