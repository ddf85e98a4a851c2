# SPDX-License-Identifier: Apache-2.0
"""Findings for questions about space, reasons for refusing them, and shared wording."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spatial_vlm_ros.language.rendering import subject_of
from spatial_vlm_ros.printable import joined
from spatial_vlm_ros.spatial.decision import ResolvedChoice, decide, phrases_not_found
from spatial_vlm_ros.spatial.layout import Array, Layout, name_of
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.regions import is_support_phrase
from spatial_vlm_ros.spatial.space_lengths import LengthEstimate
from spatial_vlm_ros.types import ClauseMeasurement, NounPhrase, Place, SpaceQuestion, SpatialQuery, Status
from spatial_vlm_ros.types.resolution import AnswerRole

_AS_CLEAR = 0.7  # share of the clearest reading's clearness from which another reading counts
_LISTED = 6  # objects named in a sentence


class QuestionRefused(Exception):
    """A question without an answer, because its words do not settle which object it is about.

    Args:
        subject: True if it is about the query's own target, so that an answer in a dialogue would settle it.
    """

    def __init__(self, choice: ResolvedChoice, subject: bool = True, words: str | None = None) -> None:
        super().__init__(choice.status.value)
        self.choice, self.subject, self.words = choice, subject, words


@dataclass(frozen=True)
class NamedRow:
    """An object of an answer: its row, its role, and the probability that it fits the words."""

    row: int
    role: AnswerRole
    probability: float


@dataclass(frozen=True, eq=False)
class SpaceFinding:
    """The result of a question about space, before conversion to output frames."""

    value: float | str | None
    probability: float
    objects: tuple[NamedRow, ...]
    words: str
    choice: ResolvedChoice | None = None  # the decision about the subject; None for questions about all objects
    unit: str | None = None
    interval: tuple[float, float] | None = None
    lengths: tuple[tuple[str, LengthEstimate], ...] = ()
    ends: Array | None = None  # (2, 3) ends of a distance's line, ground coordinates, metres
    places: tuple[Place, ...] = ()
    clauses: tuple[ClauseMeasurement, ...] = ()
    missing: NounPhrase | None = None


@dataclass(frozen=True, eq=False)
class AskedSubject:
    """The subject of a question."""

    reading: SpatialQuery
    choice: ResolvedChoice

    @property
    def question(self) -> SpaceQuestion:
        """The question."""
        return question_of(self.reading)

    def named(self, others: Iterable[int] = ()) -> tuple[NamedRow, ...]:
        """Objects of the answer: the subject's, then those it is compared with."""
        about = (NamedRow(row, "subject", float(self.choice.probability[row])) for row in self.rows)
        return (*about, *(NamedRow(row, "compared", 1.0) for row in others))

    @property
    def rows(self) -> tuple[int, ...]:
        """Rows of all objects that are meant."""
        return self.choice.meant


def question_of(query: SpatialQuery) -> SpaceQuestion:
    """The question of a query."""
    if query.question is None:
        raise ValueError(f"no question: {query.instruction!r}")
    return query.question


def settle_subject(queries: Sequence[SpatialQuery], scorer: PhraseScorer) -> AskedSubject:
    """Decide which object or objects a question is about; readings count by how well the scene fits them."""
    asked = []  # the query about only the subject, likelier if the scene has the object of comparison
    for query in queries:
        question, share = query.question, query.preference
        others = [] if question is None else [question.other, *question.choices]
        if question is not None and question.asked is not None:
            others += [anchor for clause in question.asked.relations for anchor in clause.anchors]
        for phrase in others:
            if phrase is not None and phrase.category != "object":
                share *= clearness(phrase, scorer)
        target = query.target if question is None else subject_of(query)
        share = max(share * clearness(target, scorer), 1e-9)
        asked.append(
            (dataclasses.replace(query, target=target, destination=None, preference=share, question=None), query)
        )
    best = max(about.preference for about, _ in asked)
    asked = [(about, query) for about, query in asked if about.preference >= _AS_CLEAR * best]
    choice = decide([about for about, _ in asked], scorer)
    reading = next(query for about, query in asked if about is choice.query)
    if choice.status is not Status.OK:
        raise QuestionRefused(choice)
    return AskedSubject(reading, choice)


def clearness(phrase: NounPhrase, scorer: PhraseScorer) -> float:
    """How clearly the scene contains a phrase's object: the fit of the best one, and that no other fits as well."""
    weight = scorer.score_phrase(phrase, anchor=True).weight
    best = max(float(weight.max(initial=0.0)), 0.05)
    single = phrase.count in (None, 1) and phrase.choice is None
    return best * best / max(float(weight.sum()), best) if single else best


def settle_other(phrase: NounPhrase, reading: SpatialQuery, scorer: PhraseScorer) -> tuple[int, ...]:
    """Decide which object or objects another phrase than the subject means."""
    query = SpatialQuery(reading.instruction, "find", phrase)
    choice = decide([query], scorer)
    if choice.status is not Status.OK:
        doubtful = choice.status is Status.LOW_CONFIDENCE
        raise QuestionRefused(dataclasses.replace(choice, phrase=phrase) if doubtful else choice, subject=False)
    return choice.meant


def is_unseen_support(phrase: NounPhrase, scorer: PhraseScorer) -> bool:
    """True if a phrase names the table and no detection does, so that the support plane is meant."""
    if scorer.layout.scene.support is None or not is_support_phrase(phrase):
        return False
    belief = scorer.score_phrase(phrase, anchor=True)
    return next(phrases_not_found(belief, scorer.config.decision.found), None) is not None


# ------------------------------------------------------------------------------------------------ words


def listed(layout: Layout, rows: Sequence[int]) -> str:
    """List of objects, such as "the mug (d1), the box (d2) and 3 more"."""
    names = [name_of(layout, row) for row in rows[:_LISTED]]
    if len(rows) > _LISTED:
        names.append(f"{len(rows) - _LISTED} more")
    return joined(names)


def capital(words: str) -> str:
    """The sentence with a capital first letter."""
    return words[:1].upper() + words[1:]


def metres(value: float) -> str:
    """A length for a person: "12.3 cm", "1.24 m"."""
    return f"{value:.2f} m" if value >= 0.995 else f"{100 * value:.1f} cm"


def with_interval(length: LengthEstimate) -> str:
    """A length with its interval, such as "12.3 cm (11.5 to 13.1)"."""
    low, high = length.interval
    if length.value >= 0.995:
        return f"{length.value:.2f} m ({low:.2f} to {high:.2f})"
    return f"{100 * length.value:.1f} cm ({100 * low:.1f} to {100 * high:.1f})"
