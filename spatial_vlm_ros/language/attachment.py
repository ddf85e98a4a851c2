# SPDX-License-Identifier: Apache-2.0
"""Enumerate the readings of a flat sentence (which item belongs to which noun), and rank them by the words alone.

Every item attaches to a noun on the right frontier: the head, or an anchor that no later attachment has closed. A noun
is closed once something attaches above it, so attachments never cross. A beam bounds the number of readings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language.assembly import SLIDE, Attachment, assemble
from spatial_vlm_ros.language.lexicon import NOT, SURFACES, WITH
from spatial_vlm_ros.language.part_words import CLOSURES, SIDE_BY_SIDE, counted_down, crossed
from spatial_vlm_ros.language.patterns import SETS
from spatial_vlm_ros.language.refusals import Attachable, Phrase, VerbPhrase, refused
from spatial_vlm_ros.language.vocabulary import MEANINGS, PROPERTIES, takes_two
from spatial_vlm_ros.types import Step

# Refuse words that may describe two objects, or that say how and not where, because no scene settles them.

_MOVED = frozenset({"place", SLIDE, "push", "pull"})
_PUSHED = _MOVED - {"place"}


def check_clear(action: str, items: Sequence[Attachable], i: int, instruction: str, placed: str) -> None:
    """Refuse item `i` with an unclear meaning; `placed` is the relation of a place named right before it, or ""."""
    item = items[i]
    if item.kind == "clause" and item.distance is None:
        return
    describes = item.kind in ("adjective", "side", "placed") and not (item.link or _is_feature(item))
    away = item.said.startswith("away from") and not (item.relative or item.predicate)  # "push it 5 cm away from me"
    away = away and (action in SETS.pushing or instruction[item.end :].lstrip().lower().startswith("by "))
    way = item.kind == "side" and not (item.relative or item.predicate) and _is_way(item, instruction)
    if item.kind == "adjective" and action in _MOVED and not (item.relative or item.predicate or item.link):
        raise refused(instruction, "pose", item)
    if describes and i and _is_feature(items[i - 1]):
        raise refused(instruction, "part or whole", item)
    if item.kind == "side" and item.link == "comma" and placed:
        raise refused(instruction, "side of place", item)
    if item.distance is not None and action in _MOVED and away:
        raise refused(instruction, "away by", replace(item, end=len(instruction)))
    if action in _PUSHED and way:  # "push the box to the left"
        raise refused(instruction, "how far", item)


def _is_feature(item: Attachable) -> bool:
    """True if an item is a part or a mark ("with the lid")."""
    return item.kind == "adjective" and item.words[0].removeprefix(NOT).startswith(WITH)


def _is_way(item: Attachable, instruction: str) -> bool:
    """True if an item is said as a direction ("to the left")."""
    return instruction[item.start : item.end].lower().startswith(("to ", "towards "))


MAX_READINGS = 64
"""Most readings kept during attachment, and returned."""

# Share of the preferred attachment, and of each next one in the remainder; the last one gets the rest.
_PREFERRED_SHARE = 0.6
_DESTINATION_NOW = 0.4  # "put the cup on the tray in the box": the last phrase is the likelier destination
_DESTINATION_BEFORE_COMMA = 0.9  # "put the cup on the tray, left of the plate"
_DESTINATION_BEFORE_MOTION = 0.05  # "put the cup on the tray into the box"
_CLEARLY_LIKELIER = 0.85  # "on the left side of the tray" is on it; but "not on the left of the cup" means beside it
_PARALLEL_BONUS = 3.0  # "that is … and that is …"
_EXCEPTED_BONUS = 6.0  # an exception belongs to a plural
_WAITED_FOR = 10.0  # the second object of "between the mug …"

_NEVER_DESTINATION, _PUSHED_TO, _FURTHER_RELATIONS = map(PROPERTIES.words, ("no_place", "pushed_to", "further"))
_PUSHED_THERE = 0.15  # "push the mug behind the box": rather the mug that is there, if there is one
_EXCLUDED = 0.85  # "on the tray, but not near the plate": it rather describes the place than the tray
_EXCLUDED_WITHOUT_LINK = 0.4  # "on the tray not near the plate"
_FURTHER = {"comma": 0.9, "and": 0.9, "": 0.6}
"""Shares of reading "on the tray, left of the plate" as two relations of the place, by the word between them."""
_TAKING = ("take", "get", "remove", "pull", "snatch", "fetch", "retrieve", "bring")
"""Verbs whose "away from" names the place that an object is taken from."""


class _State(NamedTuple):
    """A partial reading. Nodes are numbered: 0 is the target, i + 1 the phrase of item i. Sets are bit masks."""

    weight: float = 1.0
    frontier: tuple[int, ...] = (0,)
    plan: tuple[Attachment, ...] = ()
    described: int = 0  # nodes with something attached
    related: int = 0  # nodes with a "that is" attached
    picked: int = 0  # nodes with a superlative or a complete ordinal
    counting: int = 0  # nodes whose ordinal still lacks its side
    single: int = 0  # first anchors of "between" that still need a second one
    destination: int | None = None


_Build = Callable[[], _State]
"""Makes a state; most options are pruned before their state is made."""
_Options = Iterator[tuple[float, _Build]]


def _bit(node: int) -> int:
    return 1 << node


def _place_share(rank: int, places: int) -> float:
    """Share of the attachment at `rank` in the order of preference."""
    rest = (1.0 - _PREFERRED_SHARE) ** rank
    return rest if rank == places - 1 else rest * _PREFERRED_SHARE


def _meanings(item: Attachable, taken: bool, head: Phrase | None) -> list[tuple[float, str]]:
    """Possible meanings of a clause's words, with the share of each; `taken` = `head` is taken from there."""
    meanings = MEANINGS.get(item.name)
    if meanings is None or (meanings.taken and not taken):
        return [(1.0, (meanings.otherwise if meanings else "") or item.name)]
    names = meanings.names
    by_noun = item.phrase is not None and item.phrase.category.split()[-1] in meanings.reversed_by
    if by_noun:
        names = names[::-1]
    if by_noun and item.name == "from" and head is not None and head.category.split()[-1] in CLOSURES:
        names = ("part of", names[0])  # "take the lid from the jar"
    if len(names) == 1:
        return [(1.0, names[0])]
    likelier = _CLEARLY_LIKELIER if item.negated or by_noun else meanings.likelier
    return [(likelier, names[0]), (1.0 - likelier, names[1])]


class _Enumeration:
    """Beam search over the readings of one command."""

    def __init__(self, task: VerbPhrase, instruction: str) -> None:
        self.instruction, self.action, self.items = instruction, task.action, task.items
        self.second = task.second
        self.phrases: list[Phrase | None] = [task.head, *(item.phrase for item in self.items)]
        self.eligible = [self._can_be_destination(i) for i in range(len(self.items))]
        for i, item in enumerate(self.items):
            apart = item.name in SETS.away and item.distance is None
            if item.distance is not None and item.distance.bound == "at least":
                apart = bool(item.link) and item.name in SETS.apart
            if apart and any(self.eligible[:i]):
                self.eligible[i] = False  # "on the table, away from the plate"
        self.taking = instruction[task.start :].lower().startswith(_TAKING)
        self._sides_of_surface()
        self.meanings = [[_meanings(item, taken, task.head) for taken in (False, True)] for item in self.items]

    def _sides_of_surface(self) -> None:
        """Make a phrase of the last side if it is a destination: "put the cup on the left" is on that side."""
        self.sided = -1
        if self.action not in ("place", SLIDE):
            return
        for before, item, eligible in zip(self.items, self.items[1:], self.eligible[1:], strict=False):
            if eligible and item.link == "comma" and before.kind == "side" and not (before.relative or before.link):
                raise refused(self.instruction, "side of place", before)  # "put the cup on your left, next to the jug"
        if any(self.eligible):
            return
        sides = [  # "to the left" is not a place
            i
            for i, item in enumerate(self.items)
            if item.kind == "side" and not (item.relative or item.predicate or _is_way(item, self.instruction))
        ]
        if not sides or sides[-1] < (self.second or 0):
            return
        self.sided = sides[-1]
        item = self.items[self.sided]
        if item.name in SETS.upright:
            raise refused(self.instruction, "height no place", item)
        noun, side = ("middle", None) if item.name == "middle" else ("corner" if item.also else "side", item.name)
        also = next(iter(item.also), None)
        phrase = Phrase(noun, superlative=side, also=also, frame=item.frame, start=item.start, end=item.end)
        self.phrases[self.sided + 1] = phrase

    def _can_be_destination(self, i: int) -> bool:
        """True if item `i` may be the destination of the target."""
        item = self.items[i]
        if item.kind != "clause" or item.negated or item.relative:
            return False
        if item.link not in (("", "comma", "and") if item.motion else ("", "comma")):
            return False
        if item.name in _NEVER_DESTINATION or item.name.endswith("er than") or item.predicate or item.tight:
            return False
        if self.second is not None:
            return i >= self.second
        if self.action in ("place", SLIDE, "throw"):
            return item.name not in SETS.comparing or len(self.items) == 1
        if self.action in SETS.pushing and item.name in _PUSHED_TO | {"away from"}:
            return True
        return item.motion and self.action not in ("find", "verify")

    def _as_destination(self, i: int, state: _State) -> float:
        """Share of item `i` as the destination: 0 = never, 1 = always."""
        if state.destination is not None or not self.eligible[i]:
            return 0.0
        if self.items[i].motion or i == self.second or (self.items[i].parted and self.action == "place"):
            return 1.0
        if self.action in SETS.pushing and self.items[i].name == "away from":
            return 1.0
        later = [j for j in range(i + 1, len(self.items)) if self.eligible[j]]
        if self.action in SETS.pushing:
            return 0.0 if any(self.items[j].motion for j in later) else _PUSHED_THERE
        if not later:
            return 1.0
        if self.action == "place" and any(self.items[j].parted for j in later):
            return 0.0
        if all(self.items[j].link == "comma" and self.items[j].name in _FURTHER_RELATIONS for j in later):
            return _DESTINATION_BEFORE_COMMA
        return _DESTINATION_BEFORE_MOTION if any(self.items[j].motion for j in later) else _DESTINATION_NOW

    def run(self) -> list[_State]:
        """All complete readings, likeliest first."""
        states = [self._with_node(_State(), 0)]
        for i in range(len(self.items)):
            grown: list[tuple[float, _Build]] = []
            for state in states:  # likeliest first: a state that grows from another is never likelier than that one
                if len(grown) >= MAX_READINGS and state.weight < grown[MAX_READINGS - 1][0]:
                    break
                grown += self._grow(i, state)
                grown.sort(key=lambda option: -option[0])
                del grown[MAX_READINGS:]
            if not grown:
                raise self._refusal(i, states)
            states = [build()._replace(weight=weight) for weight, build in grown]
        down = sum(_bit(n) for n, phrase in enumerate(self.phrases) if phrase and counted_down(phrase.category))
        complete = [state for state in states if not state.counting & ~down and not state.single]
        if not complete:
            raise self._refusal(len(self.items), states)
        return complete

    def _with_node(self, state: _State, node: int) -> _State:
        """The state after a new phrase; marks its superlative or ordinal."""
        phrase = self.phrases[node]
        if phrase is None or (phrase.superlative is None and phrase.order is None):
            return state
        if phrase.order is not None and phrase.order_from is None:
            return state._replace(counting=state.counting | _bit(node))
        return state._replace(picked=state.picked | _bit(node))

    def _attached(
        self, i: int, kind: str, state: _State, kept: tuple[int, ...] = (), holder: int = 0, name: str = ""
    ) -> _State:
        """The state in which item `i` is attached: `kept` of the frontier stays open, and the item's own phrase is."""
        node, phrase = i + 1, self.phrases[i + 1]
        held = _bit(holder) if kind in SETS.of_noun else 0
        single, waits = state.single, phrase is not None and phrase.count in (None, 1)
        if kind == "pair":
            single &= ~_bit(holder + 1)
        elif waits and takes_two(name):  # a "between" with one singular anchor needs another
            single |= _bit(node)
        new = state._replace(
            frontier=kept if phrase is None else (*kept, node),
            plan=(*state.plan, Attachment(i, kind, holder, name)),
            described=state.described | held,
            related=state.related | (held if self.items[i].relative else 0),
            single=single,
            destination=i if kind == "destination" else state.destination,
        )
        if kind == "side":
            return new._replace(picked=state.picked | held, counting=state.counting & ~held)
        return self._with_node(new, node)

    def _grow(self, i: int, state: _State) -> _Options:
        """The states that item `i` leads to, with their weights."""
        item = self.items[i]
        if item.kind == "frame":
            yield state.weight, lambda: state
            return
        if i == self.second and item.kind != "clause" and i != self.sided:
            return
        options = list(self._options(i, item, state))
        total = sum(share for share, _ in options)
        for share, build in options:
            yield state.weight * share / total, build

    def _options(self, i: int, item: Attachable, state: _State) -> _Options:
        if item.kind == "also":
            yield from self._further_phrase(i, state)
            return
        if i == self.sided:
            yield 1.0, partial(self._attached, i, "destination", state, name="on")
            return
        last = state.plan[-1] if state.plan else None
        placed = last.name if last is not None and last.kind == "destination" else ""
        check_clear(self.action, self.items, i, self.instruction, placed)
        if item.name == "from" and item.kind == "clause" and not (item.negated or item.relative or item.link):
            paired = {plan.holder for plan in state.plan if plan.kind == "pair"}
            open_ = [(p, plan.item) for _, p, plan, name in self._continuable(state) if name in SETS.from_a_second]
            pairs = [(p, first) for p, first in open_ if first not in paired]
            for p, first in pairs:  # "from the cup" completes "on the other side of the box"
                yield 1.0, partial(self._attached, i, "pair", state, state.frontier[:p], first)
            if pairs:
                return
        excepting = item.kind == "clause" and item.name == "other than" and not (item.link or item.relative)
        if excepting and state.destination is not None and self._of_many(0):
            # "put everything on the tray except the cup"
            taken = _EXCLUDED
            yield taken, partial(self._attached, i, "clause", state, name="other than")
        elif taken := self._as_excluded(item, state):
            away = item.name in SETS.away and item.distance is None  # a place "away from" it must not be near it
            name = "near" if away else self.meanings[i][False][0][1]
            yield taken, partial(self._attached, i, "excluded", state, name=name)
        elif taken := self._as_further(item, state):
            yield taken, partial(self._attached, i, "further", state, name=self.meanings[i][False][0][1])
        else:
            taken = self._as_destination(i, state)
            if taken and not self._closing(state, 0) and not state.single:
                for share, name in self.meanings[i][False]:
                    yield taken * share, partial(self._attached, i, "destination", state, name=name)
            if taken >= 1.0 or (item.motion and self.action not in ("find", "verify")):
                return
        for share, build in self._shared(i, item, state):
            yield share * (1.0 - taken), build

    def _of_many(self, node: int) -> bool:
        phrase = self.phrases[node]
        return phrase is not None and (phrase.count == -1 or phrase.choice is not None)

    def _as_excluded(self, item: Attachable, state: _State) -> float:
        """Share of a clause as a relation that the destination must not have."""
        if item.kind != "clause" or item.relative or item.predicate:
            return 0.0
        if item.distance is not None:
            least = "at most" if item.negated else "at least"
            if item.name not in SETS.apart or item.distance.bound != least or not item.link:
                return 0.0
        if state.destination is None or state.single or state.counting:
            return 0.0
        if item.negated and item.phrase is not None and item.phrase.refers is not None:
            return _EXCLUDED  # "next to the mug not in it"
        apart = item.name in SETS.away or item.distance is not None
        if not (item.negated or apart):
            return 0.0
        return _EXCLUDED if item.link or apart else _EXCLUDED_WITHOUT_LINK

    def _as_further(self, item: Attachable, state: _State) -> float:
        """Share of a clause as a further relation of the destination ("on the tray, left of the plate")."""
        if item.kind != "clause" or item.relative or item.predicate or item.negated or item.also:
            return 0.0
        if state.destination is None or state.single or state.counting or item.name not in _FURTHER_RELATIONS:
            return 0.0
        first = next(plan for plan in state.plan if plan.kind == "destination")
        place = self.phrases[first.item + 1]
        on_it = first.name in SETS.on_or_in
        if first.name == "to" and place is not None:  # "to the shelf"
            on_it = place.category.split(" ")[-1] in SURFACES
        if not item.link and not on_it and item.distance is None:
            return 0.0  # "behind the box next to the bowl" tells which box
        return _FURTHER.get(item.link, 0.0)

    def _shared(self, i: int, item: Attachable, state: _State) -> _Options:
        """Attach to each open noun; the shares depend on its distance."""
        places = [p for p in range(len(state.frontier)) if self._open(item, state, p)]
        excepting = item.name == "other than" and not (item.link or item.relative)
        one = item.phrase if excepting else None
        # "the mug next to the plates, not the one in the drawer": the object asked for, never one of several
        contrasts = one is not None and one.one and one.count is None and not one.attributes and not one.elliptic
        contrasts = contrasts and not self._of_many(0)  # "all mugs but the one on the tray"
        if contrasts:
            places = [p for p in places if not self._of_many(state.frontier[p])] or places
        high = item.link == "comma" or contrasts
        joined = item.link in ("and", "but")
        if not high or joined:
            places.reverse()
        for rank, p in enumerate(places):
            node, kept = state.frontier[p], state.frontier[: p + 1]
            share = _place_share(rank, len(places))
            if joined and item.relative and state.related & _bit(node):
                share *= _PARALLEL_BONUS
            if excepting and self._of_many(node):  # "any cup on the tray except the red one"
                share *= _EXCEPTED_BONUS
            if item.kind == "clause":
                taken = node == 0 and not (item.link or item.relative or item.predicate or item.distance)
                taken = taken and (item.name not in SETS.away or self.taking)
                for part, name in self.meanings[i][taken]:
                    yield share * part, partial(self._attached, i, "clause", state, kept, node, name)
            else:
                kind = "adjective" if item.kind == "adjective" else "side"
                yield share, partial(self._attached, i, kind, state, kept, node)

    def _open(self, item: Attachable, state: _State, p: int) -> bool:
        """True if `item` may attach to the noun at position `p` of the frontier."""
        node = state.frontier[p]
        phrase = self.phrases[node]
        if phrase is None or phrase.person or self._closing(state, p):
            return False
        if (item.predicate and node != 0) or (item.tight and p != len(state.frontier) - 1):
            return False
        if item.joined and (state.plan[-1].kind != "clause" or state.plan[-1].holder != node):
            return False
        contrast = item.link == "but" and not state.described  # "the mug but not on the tray"
        if item.link in ("and", "but") and not contrast and not state.described & _bit(node):
            return False
        counting = bool(state.counting & _bit(node))
        if item.kind == "from":
            return counting
        if item.kind == "side" and (phrase.superlative or item.also):
            part = phrase.category.split()[-1] in SIDE_BY_SIDE
            sides = crossed(phrase.superlative, item.name, *item.also, part=part)
            return phrase.also is None is phrase.order and bool(sides)
        if item.kind in ("side", "placed"):
            return counting or not state.picked & _bit(node)
        return True

    def _closing(self, state: _State, p: int) -> bool:
        """True if attaching at position `p` would close a noun that still lacks something."""
        waiting = state.counting | state.single
        return bool(waiting) and any(waiting & _bit(node) for node in state.frontier[p + 1 :])

    def _continuable(self, state: _State) -> Iterator[tuple[int, int, Attachment, str]]:
        """Anchors on the frontier that another anchor may follow: rank from the right, position, plan and relation."""
        holders = {
            plan.item + 1: plan for plan in state.plan if plan.kind in ("clause", "destination", "excluded", "further")
        }
        for rank, p in enumerate(reversed(range(len(state.frontier)))):
            node = state.frontier[p]
            plan = holders.get(node)
            waiting = state.single & ~_bit(node)
            closed = sum(_bit(other) for other in state.frontier[p + 1 :])
            if plan is not None and not state.counting & (closed | _bit(node)) and not waiting & closed:
                yield rank, p, plan, plan.name or self.items[plan.item].name

    def _further_phrase(self, i: int, state: _State) -> _Options:
        """The states for "and the bowl": the second anchor of "between", or the same relation to another anchor."""
        if self.items[i].link != "and":
            return
        paired = {plan.holder for plan in state.plan if plan.kind == "pair"}
        for rank, p, plan, name in self._continuable(state):
            node, kept = state.frontier[p], state.frontier[:p]
            share = _place_share(rank, len(state.frontier))
            both = (self.phrases[node], self.phrases[i + 1])
            single = all(phrase is not None and phrase.count in (None, 1) for phrase in both)
            if takes_two(name) or (name in SETS.both_or_each and single):
                if plan.item not in paired:
                    bonus = _WAITED_FOR if state.single & _bit(node) else 1.0
                    yield share * bonus, partial(self._attached, i, "pair", state, kept, plan.item)
            elif plan.kind in ("clause", "excluded") and name != "at the centre of":
                yield share, partial(self._attached, i, "repeat", state, kept, plan.item, name)

    def _refusal(self, i: int, states: Sequence[_State]) -> NotUnderstoodError:
        counting = [node for node in range(len(self.phrases)) if all(state.counting & _bit(node) for state in states)]
        single = [node for node in range(len(self.phrases)) if all(state.single & _bit(node) for state in states)]
        item = self.items[i] if i < len(self.items) else None
        if single and (item is None or item.kind != "also"):
            clause = self.items[single[0] - 1]
            return refused(self.instruction, "needs two", clause, relation=clause.name)
        if counting:
            return refused(self.instruction, "which side", self.phrases[counting[0]] or Phrase("object"))
        if item is None:
            return refused(self.instruction, "no fit")
        name = item.kind if item.kind in ("also", "from", "placed", "side") else "unattached"
        name = "TWO_SIDES" if item.kind == "side" and item.also else name
        return refused(self.instruction, name, item)


def attachments(task: VerbPhrase, instruction: str, later: bool) -> list[tuple[float, Step]]:
    """At most `MAX_READINGS` readings of a command, the preferred one first; their shares sum to 1."""
    enumeration = _Enumeration(task, instruction)
    shares: dict[Step, float] = {}
    for state in enumeration.run():
        assembled = assemble(task.action, enumeration.phrases, enumeration.items, state.plan, instruction, later)
        shares[assembled] = shares.get(assembled, 0.0) + state.weight
    total = sum(shares.values())
    return sorted(((share / total, assembled) for assembled, share in shares.items()), key=lambda pair: -pair[0])
