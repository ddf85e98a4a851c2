# SPDX-License-Identifier: Apache-2.0
"""What belongs to what: enumerates the readings of a flat sentence and ranks them by the words alone.

Every item attaches to a noun on the right frontier: the head, or an anchor that nothing later has closed off. A noun is
closed once something attaches above it, so no two attachments cross. A beam keeps the number of readings bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language.assembly import Plan, assemble
from spatial_vlm_ros.language.relations import SIZE_COMPARATIVES, TAKEN_FROM
from spatial_vlm_ros.language.sentence import Item, Phrase, Sentence, Step
from spatial_vlm_ros.language.wordlists import CONTAINERS
from spatial_vlm_ros.types import SpatialQuery

MAX_READINGS = 64
"""Most readings kept while attaching, and returned."""
MAX_ITEMS = 20
"""Most relations and other additions in one sentence."""

# Share of the preferred place to attach, and of each next one in what is left; the last one gets the rest.
_PREFERRED_SHARE = 0.6
_DESTINATION_NOW = 0.4  # "put the cup on the tray in the box": the last phrase is the likelier destination
_DESTINATION_BEFORE_MOTION = 0.05  # "put the cup on the tray into the box"
_LIKELIER_SOURCE = 0.6
_PARALLEL_BONUS = 3.0  # "that is … and that is …"

_NEVER_DESTINATION = frozenset(
    {"with", "without", "part of", "containing", "made of", "labelled", "like", "for", "from", "off", "out of"}
    | {f"{word} than" for word in SIZE_COMPARATIVES}
)
_PAIRABLE = frozenset({"between", "at the centre of"})
_STEPS = {("pick", "place"): "place", ("find", "place"): "place", ("find", "pick"): "pick", ("find", "give"): "give",
          ("pick", "give"): "give", ("go", "pick"): "pick", ("pick", "pick"): "pick", ("look",
          "pick"): "pick"}  # fmt: skip


@dataclass(frozen=True)
class _State:
    """A partial reading. Nodes are numbered: 0 is the target, i + 1 the phrase of item i. Sets are bit masks."""

    weight: float = 1.0
    frontier: tuple[int, ...] = (0,)
    plan: tuple[Plan, ...] = ()
    described: int = 0  # nodes with something attached
    related: int = 0  # nodes with a "that is" attached
    picked: int = 0  # nodes with a superlative or a complete ordinal
    counting: int = 0  # nodes whose ordinal still lacks its side
    single: int = 0  # first anchors of "between" that still need a second one
    destination: int | None = None


_Options = Iterator[tuple[float, _State]]


def _bit(node: int) -> int:
    return 1 << node


def _place_share(rank: int, places: int) -> float:
    """Share of the place at `rank` in the order of preference."""
    rest = (1.0 - _PREFERRED_SHARE) ** rank
    return rest if rank == places - 1 else rest * _PREFERRED_SHARE


class _Enumeration:
    """The beam search over one sentence."""

    def __init__(self, sentence: Sentence, instruction: str) -> None:
        self.instruction = instruction
        first = sentence.steps[0]
        self.action, self.items = first.action, list(first.items)
        self.second: int | None = None
        if len(sentence.steps) > 1:
            self._join(sentence.steps[1])
        self.phrases: list[Phrase | None] = [first.head, *(item.phrase for item in self.items)]
        if len(self.items) > MAX_ITEMS:
            raise NotUnderstoodError(
                instruction,
                (self.items[MAX_ITEMS].start, len(instruction)),
                f"more than {MAX_ITEMS} relations in one sentence",
                "say only what is needed to tell the thing apart",
            )
        self.eligible = [self._can_be_destination(i) for i in range(len(self.items))]

    def _join(self, step: Step) -> None:
        """Take a second step about the same thing into the first ("… and put it on the tray")."""
        action = _STEPS.get((self.action, step.action))
        pronoun = step.head.category == "object" and not step.head.elliptic and not step.head.attributes
        same = pronoun and self.instruction[step.head.start : step.head.end].lower() in ("it", "them", "this", "that")
        if action is None or not same:
            raise NotUnderstoodError(
                self.instruction,
                (step.start, step.end),
                "the instruction has several steps",
                "give one command at a time",
            )
        self.action = action
        if step.action == "place":
            self.second = len(self.items)
        self.items += step.items

    # -------------------------------------------------------------------------------------------- destinations

    def _can_be_destination(self, i: int) -> bool:
        """Whether item `i` may say where the target is to go."""
        item = self.items[i]
        if item.kind != "clause" or item.negated or item.relative or item.link not in ("", "comma"):
            return False
        if item.name in _NEVER_DESTINATION or item.predicate:
            return False
        if self.second is not None:
            return i >= self.second
        if self.action == "place":
            return True
        return item.motion and self.action not in ("find", "verify")

    def _as_destination(self, i: int, state: _State) -> float:
        """Share of item `i` being the destination: 0 = never, 1 = nothing else."""
        if state.destination is not None or not self.eligible[i]:
            return 0.0
        if self.items[i].motion or i == self.second:
            return 1.0
        later = [j for j in range(i + 1, len(self.items)) if self.eligible[j]]
        if not later:
            return 1.0
        return _DESTINATION_BEFORE_MOTION if any(self.items[j].motion for j in later) else _DESTINATION_NOW

    # -------------------------------------------------------------------------------------------- search

    def run(self) -> list[_State]:
        """All complete readings, likeliest first."""
        states = [self._start()]
        for i in range(len(self.items)):
            grown = [new for state in states for new in self._grow(i, state)]
            if not grown:
                raise self._refusal(i, states)
            grown.sort(key=lambda state: -state.weight)
            states = grown[:MAX_READINGS]
        complete = [state for state in states if not state.counting and not state.single]
        if not complete:
            raise self._refusal(len(self.items), states)
        return complete

    def _start(self) -> _State:
        return self._with_node(_State(), 0)

    def _with_node(self, state: _State, node: int) -> _State:
        """The state after a new phrase: notes its superlative or ordinal."""
        phrase = self.phrases[node]
        if phrase is None or (phrase.superlative is None and phrase.order is None):
            return state
        if phrase.order is not None and phrase.order_from is None:
            return replace(state, counting=state.counting | _bit(node))
        return replace(state, picked=state.picked | _bit(node))

    def _grow(self, i: int, state: _State) -> Iterator[_State]:
        """The states that item `i` leads to, their weights shared out."""
        item = self.items[i]
        if item.kind == "frame":
            yield state
            return
        if i == self.second and item.kind != "clause":
            return
        options = list(self._options(i, item, state))
        total = sum(share for share, _ in options)
        for share, new in options:
            yield replace(new, weight=state.weight * share / total)

    def _options(self, i: int, item: Item, state: _State) -> _Options:
        if item.kind == "also":
            yield from self._further_phrase(i, state)
            return
        destination = self._as_destination(i, state)
        if destination and not self._closing(state, 0) and not state.single:
            new = replace(state, frontier=(i + 1,), plan=(*state.plan, Plan(i, "destination")), destination=i)
            yield destination, self._with_node(self._with_pair(new, i, item.name), i + 1)
        if destination < 1.0:
            attach = {
                "clause": self._clause,
                "side": self._side,
                "placed": self._side,
                "from": self._from,
                "adjective": self._adjective,
            }
            for share, new in self._shared(item, state, attach[item.kind], i):
                yield share * (1.0 - destination), new

    def _shared(
        self, item: Item, state: _State, attach: Callable[[int, Item, int, _State], _Options], i: int
    ) -> _Options:
        """Attach to each open noun; shares by how far up it is."""
        places = [p for p in range(len(state.frontier)) if self._open(item, state, p)]
        high = item.relative or item.link == "comma"
        joined = item.link in ("and", "but")
        if not high or joined:
            places.reverse()
        for rank, p in enumerate(places):
            share = _place_share(rank, len(places))
            if joined and item.relative and state.related & _bit(state.frontier[p]):
                share *= _PARALLEL_BONUS
            for part, new in attach(i, item, p, state):
                node = state.frontier[p]
                yield (
                    share * part,
                    replace(
                        new,
                        described=new.described | _bit(node),
                        related=new.related | (_bit(node) if item.relative else 0),
                    ),
                )

    def _open(self, item: Item, state: _State, p: int) -> bool:
        """Whether `item` may attach to the noun at place `p` of the frontier."""
        node = state.frontier[p]
        phrase = self.phrases[node]
        if phrase is None or phrase.person or self._closing(state, p):
            return False
        if item.predicate and node != 0:
            return False
        if item.joined and (state.plan[-1].kind != "clause" or state.plan[-1].holder != node):
            return False
        contrast = item.link == "but" and not state.described  # "the mug but not on the tray"
        if item.link in ("and", "but") and not contrast and not state.described & _bit(node):
            return False
        counting = bool(state.counting & _bit(node))
        if item.kind == "from":
            return counting
        if item.kind in ("side", "placed"):
            return counting or not state.picked & _bit(node)
        return True

    def _closing(self, state: _State, p: int) -> bool:
        """Whether attaching at place `p` would close a noun that still lacks something."""
        closed = sum(_bit(node) for node in state.frontier[p + 1 :])
        return bool(closed & (state.counting | state.single))

    # -------------------------------------------------------------------------------------------- ways to attach

    def _with_pair(self, state: _State, i: int, name: str) -> _State:
        """Note that a "between" with one singular anchor needs another."""
        phrase = self.phrases[i + 1]
        if name == "between" and phrase is not None and (phrase.count is None or phrase.count == 1):
            return replace(state, single=state.single | _bit(i + 1))
        return state

    def _clause(self, i: int, item: Item, p: int, state: _State) -> _Options:
        names: tuple[str, ...] = (item.name,)
        node = state.frontier[p]
        if item.name in TAKEN_FROM and not item.link and not item.relative and not item.predicate and node == 0:
            names = TAKEN_FROM[item.name]
        if len(names) > 1 and item.phrase is not None and item.phrase.category.split()[-1] in CONTAINERS:
            names = names[::-1]
        share = 1.0
        for name in names:
            part = share * _LIKELIER_SOURCE if name is not names[-1] else share
            share -= part
            plan = (*state.plan, Plan(i, "clause", node, name))
            new = replace(state, frontier=(*state.frontier[: p + 1], i + 1), plan=plan)
            yield part, self._with_node(self._with_pair(new, i, name), i + 1)

    def _side(self, i: int, _item: Item, p: int, state: _State) -> _Options:
        node = state.frontier[p]
        plan = (*state.plan, Plan(i, "side", node))
        yield (
            1.0,
            replace(
                state,
                frontier=state.frontier[: p + 1],
                plan=plan,
                picked=state.picked | _bit(node),
                counting=state.counting & ~_bit(node),
            ),
        )

    _from = _side

    def _adjective(self, i: int, _item: Item, p: int, state: _State) -> _Options:
        plan = (*state.plan, Plan(i, "adjective", state.frontier[p]))
        yield 1.0, replace(state, frontier=state.frontier[: p + 1], plan=plan)

    def _further_phrase(self, i: int, state: _State) -> _Options:
        """What "and the bowl" adds: the second anchor of "between", or the same relation to another anchor."""
        if self.items[i].link != "and":
            return
        holders = {plan.item + 1: plan for plan in state.plan if plan.kind in ("clause", "destination")}
        paired = {plan.holder for plan in state.plan if plan.kind == "pair"}
        for rank, p in enumerate(reversed(range(len(state.frontier)))):
            node = state.frontier[p]
            plan = holders.get(node)
            waiting = state.single & ~_bit(node)
            closed = sum(_bit(other) for other in state.frontier[p + 1 :])
            if plan is None or state.counting & (closed | _bit(node)) or waiting & closed:
                continue
            name = plan.name or self.items[plan.item].name
            share = _place_share(rank, len(state.frontier))
            if name in _PAIRABLE and node - 1 not in paired:
                new = replace(
                    state,
                    frontier=(*state.frontier[:p], i + 1),
                    plan=(*state.plan, Plan(i, "pair", node - 1)),
                    single=waiting,
                )
                yield share * (10.0 if state.single & _bit(node) else 1.0), self._with_node(new, i + 1)
            elif plan.kind == "clause" and name not in _PAIRABLE:
                new = replace(
                    state,
                    frontier=(*state.frontier[:p], i + 1),
                    plan=(*state.plan, Plan(i, "repeat", plan.item, name)),
                )
                yield share, self._with_node(new, i + 1)

    # -------------------------------------------------------------------------------------------- refusing

    def _refusal(self, i: int, states: Sequence[_State]) -> NotUnderstoodError:
        """Why nothing is left at item `i`."""
        counting = [node for node in range(len(self.phrases)) if all(state.counting & _bit(node) for state in states)]
        single = [node for node in range(len(self.phrases)) if all(state.single & _bit(node) for state in states)]
        item = self.items[i] if i < len(self.items) else None
        if single and (item is None or item.kind != "also"):
            clause = self.items[single[0] - 1]
            span, reason = (clause.start, clause.end), '"between" needs two things'
            repair = 'say "between the mug and the bowl" or "between the two mugs"'
        elif counting:
            phrase = self.phrases[counting[0]] or Phrase("object")
            span, reason = (phrase.start, phrase.end), "from which side is this counted?"
            repair = 'say "the second mug from the left"'
        elif item is None:
            span, reason, repair = (0, len(self.instruction)), "the parts do not fit together", "say it more simply"
        else:
            span = (item.start, item.end)
            reason, repair = {
                "also": ("this names a second thing", "name one thing in one command"),
                "from": ("a side to count from, but no ordinal", 'say "the second mug from the left"'),
                "placed": ("a second place in an order", "say one superlative or ordinal for each thing"),
                "side": ("a second superlative for one thing", "say one superlative or ordinal for each thing"),
            }.get(item.kind, ("there is nothing this can belong to", "say it next to the thing it describes"))
        return NotUnderstoodError(self.instruction, span, reason, repair)


def readings_of(sentence: Sentence, instruction: str) -> tuple[SpatialQuery, ...]:
    """All readings of a flat sentence.

    Args:
        sentence: the flat form.
        instruction: the instruction as given.

    Returns:
        At most `MAX_READINGS` readings, the preferred one first; their preferences sum to 1.

    Raises:
        NotUnderstoodError: no reading is left; the error says why.
    """
    enumeration = _Enumeration(sentence, instruction)
    shares: dict[tuple[object, ...], float] = {}
    queries: dict[tuple[object, ...], SpatialQuery] = {}
    for state in enumeration.run():
        query = assemble(enumeration.action, enumeration.phrases, enumeration.items, state.plan, instruction)
        key = (query.action, query.target, query.destination)
        queries.setdefault(key, query)
        shares[key] = shares.get(key, 0.0) + state.weight
    total = sum(shares.values())
    ranked = sorted(queries, key=lambda key: -shares[key])
    return tuple(replace(queries[key], readings=len(ranked), preference=shares[key] / total) for key in ranked)
