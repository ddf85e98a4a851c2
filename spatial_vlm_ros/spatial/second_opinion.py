# SPDX-License-Identifier: Apache-2.0
"""Weigh a model's answer to the whole phrase against the answer of geometry.

Geometry decides. The model's reliability is measured, relation by relation. If it was not measured, or if the model
names another object more often than the right one, its answer is reported and changes nothing. docs/second_opinion.md
has the formulas and figures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.language import describe
from spatial_vlm_ros.language.lexicon import FRAMED_SUPERLATIVES, SUPERLATIVE_OF_ORDER
from spatial_vlm_ros.spatial.belief import FLOOR, state_of
from spatial_vlm_ros.spatial.decision import ResolvedChoice, belief_of, other_frames, usable
from spatial_vlm_ros.spatial.detector_profile import read_measured
from spatial_vlm_ros.spatial.layout import Array
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.relations import RELATIONS
from spatial_vlm_ros.types import ClauseState, FrameOfReference, NounPhrase, SecondOpinion, Status

NAME = "name"
"""Key of phrases without a relation and an order."""
_ROUNDING = 1e-9  # probabilities of equal counts, which are sums, differ by less
_REPAIR = "measure it with `spatial-vlm evaluate --reliability`, or write it as docs/second_opinion.md says"

Effect = Literal["reported", "confirmed", "disagreed", "settled"]


# ------------------------------------------------------------------------------------------------ reliability


@dataclass(frozen=True)
class Counts:
    """How often a model, given a phrase with one relation, named the right object, another one, or none."""

    right: int
    wrong: int
    none: int


@dataclass(frozen=True)
class Confusion:
    """Probabilities that a model names the right object, another one, or none; they sum to 1."""

    right: float
    wrong: float
    none: float

    @property
    def informs(self) -> bool:
        """True if it names the right object more often than another; a model that is mostly wrong is not inverted."""
        return self.right - self.wrong > _ROUNDING

    def settles(self, most_wrong: float) -> bool:
        """True if it may break a tie: it informs, and rarely names another object."""
        return self.informs and self.wrong <= most_wrong


@dataclass(frozen=True)
class Reliabilities:
    """Measured counts by relation; see `relations_of` for the keys."""

    model: str = ""
    by_relation: Mapping[str, Counts] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, relations: Sequence[str], prior: float) -> Confusion | None:
        """The confusion for a phrase that contains all of some relations; None if one was not measured.

        For one relation: the mean of the Dirichlet distribution after its counts, with `prior` cases of each outcome
        beforehand; so each is smoothed as by a Beta(prior, 2 prior). For several: at worst their errors never coincide,
        so the probabilities of naming another, and of naming none, add up (Boole's inequality).
        """
        wrong = none = 0.0
        for relation in relations:
            counts = self.by_relation.get(relation)
            if counts is None or counts.right + counts.wrong + counts.none == 0:
                return None
            n = counts.right + counts.wrong + counts.none + 3.0 * prior
            wrong += (counts.wrong + prior) / n
            none += (counts.none + prior) / n
        wrong = min(wrong, 1.0)
        none = min(none, 1.0 - wrong)
        return Confusion(1.0 - wrong - none, wrong, none) if relations else None


def load_reliabilities(path: str | Path) -> Reliabilities:
    """Read measured reliabilities: {"schema": 1, "model": "…", "relations": {"behind": {"right", "wrong", "none"}}}.

    "measured" of the file and "intervals" of a relation are for people and ignored.
    """
    value = read_measured(path, _REPAIR, ("relations",))
    if not isinstance(value["relations"], dict):
        raise FileError(path, "relations must be an object", _REPAIR)
    counts, names = {}, ("right", "wrong", "none")
    for name, one in value["relations"].items():
        if not isinstance(one, dict) or set(one) - {"intervals"} != set(names):
            raise FileError(path, "the fields must be the counts right, wrong and none", _REPAIR, f"relations.{name}")
        if not all(type(one[n]) is int and 0 <= one[n] <= 10**9 for n in names):
            raise FileError(path, "each count must be a whole number of at least 0", _REPAIR, f"relations.{name}")
        counts[name] = Counts(*(one[n] for n in names))
    return Reliabilities(value["model"], MappingProxyType(counts))


def relations_of(phrase: NounPhrase, default: FrameOfReference) -> tuple[str, ...]:
    """Keys of all spatial words in a phrase, including its anchors' phrases; NAME if it has none.

    "not" comes before a negated relation; a relevant frame of reference (said, or `default`) other than the viewer's,
    and "stated" for a stated distance, follow in brackets: "left of (robot, stated)". Ordinals are "n-th from the
    left".
    """
    return tuple(dict.fromkeys(_keys(phrase, default))) or (NAME,)


def _keys(phrase: NounPhrase, default: FrameOfReference) -> Iterator[str]:
    for clause in phrase.relations:
        relation, said = RELATIONS.get(clause.relation), ("not " if clause.negated else "") + clause.relation
        framed, stated = relation is not None and relation.framed, clause.distance is not None
        yield _with_tags(said, clause.frame or default, framed, stated=stated)
        for anchor in clause.anchors:
            yield from _keys(anchor, default)
    word, name = phrase.superlative, phrase.superlative
    if phrase.ordinal is not None:
        word, name = SUPERLATIVE_OF_ORDER[phrase.ordinal.from_], f"n-th from the {phrase.ordinal.from_}"
    if word is not None and name is not None:
        yield _with_tags(name, phrase.frame or default, word in FRAMED_SUPERLATIVES, stated=False)


def _with_tags(name: str, frame: FrameOfReference, framed: bool, *, stated: bool) -> str:
    tags = [frame.value] if framed and frame is not FrameOfReference.VIEWER else []
    tags += ["stated"] if stated else []
    return f"{name} ({', '.join(tags)})" if tags else name


def names_one(phrase: NounPhrase) -> bool:
    """True if a phrase means one particular object; reliabilities are known only for such phrases."""
    return phrase.count in (None, 1) and phrase.choice is None


def words_for(phrase: NounPhrase, default: FrameOfReference) -> str:
    """The words of a phrase for a model: the frame of reference is included if it is not the viewer's."""
    return describe(phrase if default is FrameOfReference.VIEWER else _stated(phrase, default))


def _stated(phrase: NounPhrase, default: FrameOfReference) -> NounPhrase:
    """The phrase with the current frame added wherever one matters and none is said."""
    clauses = []
    for clause in phrase.relations:
        relation = RELATIONS.get(clause.relation)
        frame = clause.frame or (default if relation is not None and relation.framed else None)
        anchors = tuple(_stated(anchor, default) for anchor in clause.anchors)
        clauses.append(dataclasses.replace(clause, frame=frame, anchors=anchors))
    word = SUPERLATIVE_OF_ORDER[phrase.ordinal.from_] if phrase.ordinal is not None else phrase.superlative
    own = phrase.frame or (default if word in FRAMED_SUPERLATIVES else None)
    return dataclasses.replace(phrase, frame=own, relations=tuple(clauses))


# ------------------------------------------------------------------------------------------------ the rule


def cross_check(
    verdict: ResolvedChoice, scorer: PhraseScorer, row: int | None, reliabilities: Reliabilities
) -> ResolvedChoice:
    """Weigh a model's answer, a row or None, to the whole phrase, before a place is searched; it is told in `opinion`.

    OK becomes DISAGREEMENT if the model names another object, and by Bayes' rule geometry's answer keeps less than
    `decision.mass`. AMBIGUOUS becomes an answer if the model rarely names another object (`second_opinion.most_wrong`),
    the named object gets `decision.mass` or more, its relations clearly hold, and those of no other rival do. No other
    status changes.
    """
    config = scorer.config
    relations = relations_of(verdict.query.target, scorer.default_frame)
    confusion = reliabilities.of(relations, config.second_opinion.prior)
    # (N + 1,) probability by geometry that each object is the right one; the last: that none is.
    prior = np.append(verdict.probability, max(0.0, 1.0 - float(verdict.probability.sum())))
    if verdict.status is Status.OK and verdict.chosen >= 0:
        sure = belief_of(verdict, scorer).probability
        rest = prior + FLOOR
        rest[verdict.chosen] = 0.0
        prior = (1.0 - sure) * rest / rest.sum()
        prior[verdict.chosen] = sure
    posterior = prior
    effect: Effect = "reported"
    if row is None:
        reason = "it does not name exactly one object of the scene"
    elif not names_one(verdict.query.target):
        reason = "its reliability is known for single objects only"
    elif confusion is None:
        reason = f"its reliability was not measured for: {', '.join(relations)}"
    elif not confusion.informs:
        reason = f"it names another object in {confusion.wrong:.0%} of such cases, more often than the right one"
    else:
        likelihood = np.full(len(prior), confusion.wrong)
        likelihood[row] = confusion.right
        posterior = prior * likelihood / (prior * likelihood).sum()  # Bayes' rule
        effect, reason = _effect(verdict, scorer, row, posterior, confusion)
    ids, chosen = [obj.id for obj in scorer.layout.scene.objects], verdict.chosen
    opinion = SecondOpinion(
        words=words_for(verdict.query.target, scorer.default_frame),
        geometric_id=ids[chosen] if chosen >= 0 else None,
        geometric_probability=round(float(prior[chosen]), 6) if chosen >= 0 else 0.0,
        named_id=None if row is None else ids[row],
        named_probability=0.0 if row is None else round(float(prior[row]), 6),
        combined_probability=round(float(posterior[chosen]), 6) if chosen >= 0 else 0.0,
        relations=relations,
        reliability=None if confusion is None else round(confusion.right, 6),
        effect=effect,
        reason=reason,
    )
    verdict = dataclasses.replace(verdict, opinion=opinion)
    if row is not None and effect == "disagreed":
        left = float(posterior[chosen])
        return dataclasses.replace(verdict, status=Status.DISAGREEMENT, rivals=(chosen, row), several=(), sure=left)
    if row is not None and effect == "settled":
        return dataclasses.replace(
            verdict, status=usable(row, scorer), chosen=row, rivals=(), probability=posterior[:-1],
            sure=float(posterior[row]),
        )  # fmt: skip
    return verdict


def _effect(
    verdict: ResolvedChoice, scorer: PhraseScorer, row: int, posterior: Array, confusion: Confusion
) -> tuple[Effect, str]:
    mass = scorer.config.decision.mass
    if verdict.status is Status.OK:
        if row == verdict.chosen:
            return "confirmed", "it names the same object"
        left = float(posterior[verdict.chosen])
        if left < mass:
            return (
                "disagreed",
                f"it names another object, which lowers the probability of the geometry's answer to {left:.2f}",
            )
        return "reported", f"it names another object, but the geometry's answer keeps a probability of {left:.2f}"
    if verdict.status is not Status.AMBIGUOUS:
        return "reported", f"{verdict.status.value} is decided only by the geometry"
    if not confusion.settles(scorer.config.second_opinion.most_wrong):
        return "reported", f"it names another object in {confusion.wrong:.0%} of such cases: too often to break a tie"
    mass = scorer.config.decision.mass
    if verdict.frames or verdict.phrase is not None or any(True for _ in other_frames(scorer)):
        return "reported", "only the person can say whose left, or which anchor, was meant"
    if row not in verdict.rivals:
        return "reported", "it names none of the rival objects"
    if not _clear(verdict, scorer, row, orders=False):
        return "reported", "it is not clear that the description holds for the object that it names"
    if any(_clear(verdict, scorer, other, orders=True) for other in verdict.rivals if other != row):
        return "reported", "the description clearly holds for another object too: a person has to say more"
    if float(posterior[row]) < mass:
        return (
            "reported",
            f"with its opinion, the named object has a probability of only {float(posterior[row]):.2f}",
        )
    return "settled", f"with its opinion, the named object has a probability of {float(posterior[row]):.2f}"


def _clear(verdict: ResolvedChoice, scorer: PhraseScorer, row: int, *, orders: bool) -> bool:
    """True if every relation of the phrase, and with `orders` every order, clearly holds for an object."""
    holds = scorer.config.decision.holds
    clauses = [clause for clause in verdict.by_row[row].clauses if orders or not clause.is_order]
    return all(state_of(float(clause.likelihood[row]), holds) is ClauseState.HOLDS for clause in clauses)
