# SPDX-License-Identifier: Apache-2.0
"""Describe where an object is, by its surroundings, and decide if there is room for it somewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from spatial_vlm_ros.language import describe
from spatial_vlm_ros.spatial.belief import clause_likelihood
from spatial_vlm_ros.spatial.decision import decide
from spatial_vlm_ros.spatial.destination import with_place
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.placement import place_of
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs
from spatial_vlm_ros.spatial.space_findings import (
    AskedSubject,
    NamedRow,
    QuestionRefused,
    SpaceFinding,
    capital,
    named_row,
    settle_other,
    with_interval,
)
from spatial_vlm_ros.spatial.space_lengths import from_viewer, gap_between
from spatial_vlm_ros.spatial.space_predicates import NO, YES
from spatial_vlm_ros.types import FrameOfReference, SpatialQuery, Status

_RESTING = ("inside", "on")
_AROUND = ("left of", "right of", "in front of", "behind")
_NEIGHBOUR = 0.6  # metres within which another object is used to describe a position


def where(subject: AskedSubject, scorer: PhraseScorer) -> SpaceFinding:
    """Describe where objects are: what they rest on, and their relation to the nearest object."""
    question = subject.question
    layout = scorer.layout
    asked = None if question.other is None else settle_other(question.other, subject.reading, scorer)[0]
    said, others = [], []
    for row in subject.rows:
        anchors = [asked] if asked is not None else _neighbours(row, scorer)
        parts = [f"{relation} {named_row(layout, other)}" for relation, other in _placed(row, anchors, scorer)]
        others += [other for other in anchors if any(named_row(layout, other) in part for part in parts)]
        away = from_viewer(layout, row, FrameOfReference.VIEWER)
        gap = f", {with_interval(gap_between(layout, row, asked))} from it" if asked is not None else ""
        told = f"{' and '.join(parts) or 'seen'}{gap}"
        said.append(f"{capital(named_row(layout, row))} is {told}, {with_interval(away)} from the camera.")
    about = [NamedRow(row, "subject", float(subject.choice.probability[row])) for row in subject.rows]
    rest = [NamedRow(row, "compared", 1.0) for row in dict.fromkeys(others) if row not in subject.rows]
    ends = gap_between(layout, subject.rows[0], asked).ends if asked is not None else None
    return SpaceFinding(None, subject.choice.sure, (*about, *rest), " ".join(said), subject.choice, ends=ends)


def _neighbours(row: int, scorer: PhraseScorer) -> list[int]:
    """Rows of the nearest measured objects, nearest first: at most four, within _NEIGHBOUR metres."""
    layout = scorer.layout
    rows = np.flatnonzero(layout.measured)
    rows = rows[rows != row]
    if not len(rows):
        return []
    pairs = Pairs(layout, layout.viewpoint(FrameOfReference.VIEWER), np.array([row]), rows)
    away = np.where(pairs.space[0] < _NEIGHBOUR, pairs.space[0], np.inf)
    order = np.argsort(away, kind="stable")
    return [int(rows[i]) for i in order[:4] if np.isfinite(away[i])]


def _placed(row: int, anchors: Sequence[int], scorer: PhraseScorer) -> list[tuple[str, int]]:
    """Relations that clearly hold: resting, and the side of the nearest object that it does not rest on."""
    layout, holds = scorer.layout, scorer.config.decision.holds
    frame = scorer.default_frame if scorer.default_frame is not FrameOfReference.OBJECT else FrameOfReference.VIEWER
    view = layout.viewpoint(frame)
    found: list[tuple[str, int]] = []
    side: tuple[str, int] | None = None
    for other in anchors:
        pairs = Pairs(layout, view, np.array([row]), np.array([other]))
        chance = {}
        for name in (*_RESTING, *(_AROUND if view.has_ahead else _AROUND[:2]), "under"):
            margin, sigma = RELATIONS[name](pairs)
            chance[name] = (float(clause_likelihood(margin, sigma)[0, 0]), float(margin[0, 0]))
        resting = [name for name in (*_RESTING, "under") if chance[name][0] >= holds]
        if resting:
            found.append((resting[0], other))
        elif side is None:
            around = [name for name in _AROUND if name in chance and chance[name][0] >= holds]
            if around:
                side = (max(around, key=lambda name: chance[name][1]), other)
    if frame not in scorer.frames_used and side is not None:
        scorer.frames_used.append(frame)
    return [*found[:1], *([side] if side is not None else [])]


def room(queries: Sequence[SpatialQuery], scorer: PhraseScorer) -> SpaceFinding:
    """Decide if an object has room in a place, with the search that places objects."""
    bare = [dataclasses.replace(query, question=None) for query in queries]
    choice = decide(bare, scorer)
    placed = with_place(choice, scorer)
    layout = scorer.layout
    if placed.status not in (Status.OK, Status.NO_PLACE) or placed.placing is None:
        raise QuestionRefused(placed, subject=placed is choice)
    row = placed.chosen
    about = NamedRow(row, "subject", float(placed.probability[row]))
    where_to = placed.query.destination
    anchors = () if where_to is None else where_to.anchors
    place = f"{'' if where_to is None else where_to.relation} {' and '.join(map(describe, anchors))}"
    if placed.status is Status.NO_PLACE:
        change = placed.placing.change
        why = f": {change.reason}" if change is not None else ""
        words = f"No: there is no room for {named_row(layout, row)} {place}{why}."
        return SpaceFinding(NO, placed.sure, (about,), words, placed)
    spots = tuple(place_of(spot, layout) for spot in placed.placing.spots)
    supporting = [i for i, obj in enumerate(layout.scene.objects) if any(obj.id == spot.carrier_id for spot in spots)]
    others = tuple(NamedRow(i, "compared", 1.0) for i in supporting if i != row)
    count = f"{len(spots)} place{'s' if len(spots) > 1 else ''}"
    free = f"the best with {100 * spots[0].clearance_m:.1f} cm around it"
    words = f"Yes: {count} for {named_row(layout, row)} {place}; {free}."
    return SpaceFinding(YES, placed.sure, (about, *others), words, placed, places=spots)
