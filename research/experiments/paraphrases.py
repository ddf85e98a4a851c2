# SPDX-License-Identifier: Apache-2.0
"""How much of what people might say the parser understands as it was meant.

Random meanings over every relation of docs/relations.md are said in English by sim/speech, which shares no words and no
code with the parser, and parsed. Counted: sentences whose meaning is among the readings, and those whose meaning is the
first. Meanings are compared by research/speech/canonical.py. Seeds from 200,000 on are for reporting, smaller ones for
development.

    python -m research.experiments.paraphrases                        5,000 sentences, shares by relation and by style
    python -m research.experiments.paraphrases --n 500 --verbose  development: every failure; keeps nothing
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.harness import Claim, arguments, finish, show
from research.experiments import RESULTS
from research.speech import canonical, random_query, random_style, say
from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.types import Destination, NounPhrase, RelationClause, SpatialQuery, Step
from spatial_vlm_ros.types.proportions import wilson

FIRST_SEED = 200_000


@dataclass(frozen=True)
class Outcome:
    """What became of one sentence.

    Args:
        seed: of meaning and words.
        sentence: as said.
        style: it was said in.
        relations: what the meaning holds: relations, "superlative", "ordinal", and the like.
        among: its meaning is one of the readings.
        first: its meaning is the preferred reading.
        problem: what the first reading has wrong, or why there is none; empty where the meaning is among them.
        meaning: as meant, in short; and as understood.
    """

    seed: int
    sentence: str
    style: str
    relations: tuple[str, ...]
    among: bool
    first: bool
    problem: str
    meaning: str


def one_seed(seed: int) -> Outcome:
    """Say a random meaning and parse it."""
    rng = np.random.default_rng(seed)
    query = random_query(rng)
    style = random_style(rng)
    sentence = say(query, rng, style)
    meant = canonical(query)
    try:
        readings = [canonical(reading) for reading in parse(sentence)]
    except Exception as error:  # a crash counts as a failure of its own kind
        problem = "not understood" if isinstance(error, NotUnderstoodError) else f"crash: {type(error).__name__}"
        told = f"{short(meant)}  <  {str(error).splitlines()[:1]}"
        return Outcome(seed, sentence, style, contents(query), False, False, problem, told)
    among = meant in readings
    problem = "" if among else difference(meant, readings[0])
    told = short(meant) if among else f"{short(meant)}  <  {short(readings[0])}"
    return Outcome(seed, sentence, style, contents(query), among, readings[0] == meant, problem, told)


def contents(query: SpatialQuery) -> tuple[str, ...]:
    """Names of what a meaning holds, each once."""
    found: set[str] = set()
    for step in query.steps or (Step(query.action, query.target, query.destination),):
        found |= set(_parts(step.target))
        if step.destination is not None:
            goal = step.destination
            clause = RelationClause(goal.relation, goal.anchors, goal.frame, distance=goal.distance)
            found |= {f"to {goal.relation}", *(part for part in _clause_parts(clause) if part != goal.relation)}
    return tuple(sorted(found | ({"several steps"} if query.steps else set())))


def _parts(phrase: NounPhrase) -> Iterator[str]:
    said = {"superlative": phrase.superlative, "ordinal": phrase.ordinal, "count": phrase.count, "any": phrase.choice}
    yield from (name for name, value in said.items() if value is not None)
    if phrase.frame is not None:
        yield f"frame {phrase.frame.value}"
    for clause in phrase.relations:
        yield from _clause_parts(clause)


def _clause_parts(clause: RelationClause) -> Iterator[str]:
    yield clause.relation
    if clause.negated:
        yield "negation"
    if clause.distance is not None:
        yield "stated distance"
    if clause.frame is not None:
        yield f"frame {clause.frame.value}"
    for anchor in clause.anchors:
        if anchor.relations:
            yield "nested"
        yield from _parts(anchor)


def short(query: SpatialQuery) -> str:
    """A meaning on one line."""
    steps = query.steps or (Step(query.action, query.target, query.destination),)
    return " ; ".join(_step(step) for step in steps)


def _step(step: Step) -> str:
    goal = step.destination
    there = (
        ""
        if goal is None
        else " -> " + _clause(RelationClause(goal.relation, goal.anchors, goal.frame, distance=goal.distance))
    )
    return f"{step.action} {_phrase(step.target)}{there}"


def _phrase(phrase: NounPhrase) -> str:
    marks = [phrase.choice, phrase.superlative, phrase.frame and f"@{phrase.frame.value}"]
    marks += [f"x{phrase.count}"] if phrase.count is not None else []
    marks += [f"#{phrase.ordinal.n} from {phrase.ordinal.from_}"] if phrase.ordinal is not None else []
    words = " ".join([*(str(mark) for mark in marks if mark), *phrase.attributes, f"<{phrase.category}>"])
    return words + "".join(f" [{_clause(clause)}]" for clause in phrase.relations)


def _clause(clause: RelationClause) -> str:
    frame = f" @{clause.frame.value}" if clause.frame is not None else ""
    far = f" {clause.distance.bound} {clause.distance.metres:g} m" if clause.distance is not None else ""
    anchors = ", ".join(_phrase(anchor) for anchor in clause.anchors)
    return f"{'not ' if clause.negated else ''}{clause.relation}{frame}{far}: {anchors}"


def difference(meant: SpatialQuery, got: SpatialQuery) -> str:
    """The first object that two meanings have different, from the outside in."""
    if len(meant.steps) != len(got.steps):
        return "steps"
    if not meant.steps:
        return _step_difference(
            Step(meant.action, meant.target, meant.destination), Step(got.action, got.target, got.destination)
        )
    pairs = zip(meant.steps, got.steps, strict=True)
    return next((f"step: {found}" for a, b in pairs if (found := _step_difference(a, b))), "")


def _step_difference(meant: Step, got: Step) -> str:
    if meant.action != got.action:
        return f"action {meant.action}"
    if (meant.destination is None) != (got.destination is None):
        return "destination"
    found = _phrase_difference(meant.target, got.target)
    if found or meant.destination is None or got.destination is None:
        return found
    return (
        ""
        if meant.destination == got.destination
        else f"destination: {_goal_difference(meant.destination, got.destination)}"
    )


def _goal_difference(meant: Destination, got: Destination) -> str:
    return _clause_difference(
        RelationClause(meant.relation, meant.anchors, meant.frame, distance=meant.distance),
        RelationClause(got.relation, got.anchors, got.frame, distance=got.distance),
    )


def _phrase_difference(meant: NounPhrase, got: NounPhrase) -> str:
    for name in ("category", "attributes", "count", "choice", "superlative", "ordinal", "frame"):
        if getattr(meant, name) != getattr(got, name):
            return name
    if len(meant.relations) != len(got.relations):
        return "number of clauses"
    pairs = zip(meant.relations, got.relations, strict=True)
    return next((found for a, b in pairs if (found := _clause_difference(a, b))), "")


def _clause_difference(meant: RelationClause, got: RelationClause) -> str:
    if meant.relation != got.relation:
        return f"relation {meant.relation}"
    for name in ("negated", "frame", "distance"):
        if getattr(meant, name) != getattr(got, name):
            return name
    if len(meant.anchors) != len(got.anchors):
        return "number of anchors"
    pairs = zip(meant.anchors, got.anchors, strict=True)
    return next((f"anchor {found}" for a, b in pairs if (found := _phrase_difference(a, b))), "")


def shares(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Shares with Wilson intervals: of all, by content, by style."""
    return {
        "among_the_readings": _share(outcomes, lambda o: o.among),
        "first_reading": _share(outcomes, lambda o: o.first),
        "among_by_content": _by(outcomes, lambda o: o.relations or ("no clause",)),
        "among_by_style": _by(outcomes, lambda o: (o.style,)),
        "problems": dict(Counter(o.problem for o in outcomes if o.problem).most_common()),
    }


def _share(outcomes: Sequence[Outcome], good: Callable[[Outcome], bool]) -> dict[str, float]:
    return dataclasses.asdict(wilson(sum(good(o) for o in outcomes), len(outcomes)))


def _by(outcomes: Iterable[Outcome], names: Callable[[Outcome], Iterable[str]]) -> dict[str, dict[str, float]]:
    found: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        for name in names(outcome):
            found[name].append(outcome)
    return {name: _share(some, lambda o: o.among) for name, some in sorted(found.items())}


def main() -> int:
    """Run and write research/results/paraphrases.json."""
    options = arguments(__doc__, n=5000, jobs=2, verbose=False)
    first = 0 if options.verbose else FIRST_SEED
    with ProcessPoolExecutor(options.jobs) as pool:
        outcomes = list(pool.map(one_seed, range(first, first + options.n), chunksize=50))
    score = shares(outcomes)
    if options.verbose:
        show("paraphrases", score)
        for outcome in sorted((o for o in outcomes if o.problem), key=lambda o: o.problem):
            print(f"{outcome.problem} | {outcome.seed} {outcome.style} | {outcome.sentence} | {outcome.meaning}")
        return 0
    among, right = (100 * score[name]["share"] for name in ("among_the_readings", "first_reading"))
    claims = [
        Claim("meaning among the readings", among, 95, "%", least=True),
        Claim("meaning is the first reading", right, 90, "%", least=True),
    ]
    return finish("paraphrases", {"seeds": [first, first + options.n], **score}, claims, RESULTS)


if __name__ == "__main__":
    raise SystemExit(main())
