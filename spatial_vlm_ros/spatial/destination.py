# SPDX-License-Identifier: Apache-2.0
"""Find the place for the chosen object: which objects the destination names, then free spots near them."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence

import numpy as np

from spatial_vlm_ros.language import describe
from spatial_vlm_ros.language.lexicon import SURFACES
from spatial_vlm_ros.language.part_words import BURNERS, CHESTS, DRAWERS, OPEN_CONTAINERS, SHELVED, TRAYS
from spatial_vlm_ros.spatial import regions
from spatial_vlm_ros.spatial.belief import PhraseBelief
from spatial_vlm_ros.spatial.decision import ResolvedChoice, in_doubt, phrases_not_found
from spatial_vlm_ros.spatial.free_space import lies_in
from spatial_vlm_ros.spatial.layout import Layout, name_of, names_of
from spatial_vlm_ros.spatial.parts.finding import noun_of, standing_on
from spatial_vlm_ros.spatial.parts.region import SHARE, Region
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.placement import PlaceRequest, Placing, find_places, has_place
from spatial_vlm_ros.spatial.regions import is_shift
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs
from spatial_vlm_ros.spatial.spot_judging import AHEAD_RIGHT, ON, AskedRelation, carrier_of
from spatial_vlm_ros.spatial.support_check import is_for_a_person
from spatial_vlm_ros.spatial.surfaces import SUPPORT, NoSurface, shut_in_front_of
from spatial_vlm_ros.types import Destination, FrameOfReference, NounPhrase, RelationClause, Status
from spatial_vlm_ros.types.place_reasons import NoPlace

_VESSELS = OPEN_CONTAINERS - TRAYS - CHESTS - SHELVED
"""What is brought "to" one of these goes into it, if it is open and there is room."""
_BEYOND = frozenset({"behind", "on the other side of"})
_ON_IT = re.compile(r"\b(on|onto|upon|top of) (it|them)\b", re.IGNORECASE)


_LEAST_OFF = 0.015  # metres by which the middle of an object that is shifted may miss the spot
_OFF = 0.15  # fraction of the stated distance by which it may miss the spot
_TRIED = 6  # objects that are removed, one after the other
_NEVER = frozenset({"too tall", "no part", "unclear", "too small"})
"""Causes that removing an object cannot change."""
_ELSEWHERE = "name another place"
_WITHOUT_OBJECTS = {
    "closed": "open it first",
    "too small": "name a larger place",
    "no surface": _ELSEWHERE,
    "unseen": "move the camera until it sees that place",
    "edge": _ELSEWHERE,
    "relation": _ELSEWHERE,
    "no part": "name a visible part",
    "unclear": "rephrase the instruction",
    "occupied": _ELSEWHERE,
}


def what_would_change(layout: Layout, request: PlaceRequest | None, failure: NoSurface) -> NoPlace:
    """Why there is no place, with what would have to change; None if none was requested, as behind a closed door."""
    tried = () if request is None else _in_question(layout, request, failure)
    # If removing all of them does not help, removing one does not either; but an object that hides a surface may.
    together = request is not None and len(tried) > 1 and has_place(layout, request, tried)
    alone = tried if together or len(tried) == 1 or failure.cause == "unseen" else ()
    remove = tuple(row for row in alone if request is not None and has_place(layout, request, (row,)))
    several = tried if together and not remove else ()
    ids = [obj.id for obj in layout.scene.objects]
    if failure.cause in ("closed", "no surface", "too small", "too tall", "no part"):
        deciding = failure.row
    else:
        deciding = next(iter(remove or failure.blocking), failure.row)
    return NoPlace(
        failure.cause, failure.text, _change(layout, failure, remove, several, tried),
        None if deciding is None else ids[deciding], _rounded(failure.needed), _rounded(failure.available),
        tuple(ids[row] for row in remove),
    )  # fmt: skip


def _in_question(layout: Layout, request: PlaceRequest, failure: NoSurface) -> tuple[int, ...]:
    """Objects to remove as a test: those in the way, or in or on the supporting object."""
    if failure.cause in _NEVER:
        return ()
    rows = list(failure.blocking)
    if not rows and failure.row is not None and layout.measured[failure.row]:
        there = lies_in(layout.footprint[failure.row], layout.centre[:, :2])
        there &= layout.mean_side < layout.mean_side[failure.row]
        there &= (layout.top > layout.bottom[failure.row]) & (layout.centre[:, 2] > layout.bottom[failure.row])
        if failure.cause == "closed":  # the contents, not the objects on top
            there &= layout.bottom < layout.top[failure.row]
        rows = np.flatnonzero(there).tolist()
    kept = (request.moved, failure.row, *request.anchors, None if request.region is None else request.region.row)
    return tuple(row for row in rows if row not in kept)[:_TRIED]


def _change(
    layout: Layout, failure: NoSurface, remove: tuple[int, ...], several: tuple[int, ...], contents: tuple[int, ...]
) -> str:
    if remove:
        one = " or ".join(name_of(layout, row) for row in remove)
        text = f"take {one} away, or {_ELSEWHERE}"
    elif several:
        text = f"take {names_of(layout, several)} away, or {_ELSEWHERE}"
    elif failure.cause == "too tall" and failure.needed is not None and failure.available is not None:
        short = failure.needed - failure.available
        sizes = f"{failure.needed * 100:.1f} cm are needed, {failure.available * 100:.1f} cm are clear"
        text = f"it is {short * 100:.1f} cm too tall ({sizes}): {_ELSEWHERE}"
    elif failure.cause == "too small" and failure.available is not None and failure.needed is not None:
        wide = f"with its distance from the edge it needs {failure.needed * 100:.1f} cm"
        text = f"{_WITHOUT_OBJECTS['too small']}: {wide}, and there are {failure.available * 100:.1f} cm"
    elif failure.unseen:
        text = f"there may be a free place outside the camera's view: move the camera, or {_ELSEWHERE}"
    elif failure.cause == "closed" and contents:
        text = f"open it, or take out what is in it ({names_of(layout, contents)}), or {_ELSEWHERE}"
    else:
        text = _WITHOUT_OBJECTS[failure.cause]
        text += "" if text == _ELSEWHERE else f", or {_ELSEWHERE}"
    return text[0].upper() + text[1:] + "."


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


class _Refused(Exception):
    """The destination's words do not settle which object is meant."""

    def __init__(self, status: Status, phrase: NounPhrase, rivals: tuple[int, ...] = ()) -> None:
        super().__init__(status.value)
        self.status, self.phrase, self.rivals = status, phrase, rivals


def with_place(verdict: ResolvedChoice, scorer: PhraseScorer) -> ResolvedChoice:
    """Add spots to a decision if a place was asked for; refuse if no spot can be determined or there is none.

    A refusal stays as it is, with one exception: a place near a missing object is reported first, because no answer
    about the moved object would help.
    """
    destination = verdict.query.destination
    if verdict.status is Status.NOT_FOUND or destination is None or is_for_a_person(destination):
        return verdict
    scorer.layout.require_up("a place")
    try:
        return (_shifted if is_shift(destination) else _placed)(verdict, scorer, destination)
    except _Refused as refused:
        return dataclasses.replace(
            verdict, status=refused.status, phrase=refused.phrase, rivals=refused.rivals, several=()
        )


def _placed(verdict: ResolvedChoice, scorer: PhraseScorer, destination: Destination) -> ResolvedChoice:
    relation = destination.relation
    noun = noun_of(destination.anchors[0])
    if relation == "to":
        relation = "on" if noun in SURFACES else "inside" if noun in _VESSELS else "next to"
    clause = RelationClause(
        relation, destination.anchors, destination.frame, distance=destination.distance,
        preposition=destination.preposition,
    )  # fmt: skip
    beliefs = tuple(scorer.score_phrase(anchor, anchor=True) for anchor in destination.anchors)
    part = scorer.part(clause, beliefs)
    if part is not None:
        beliefs = (part.inner(),)
    elif regions.is_plain(destination.anchors[0]):
        clause, beliefs = regions.as_part(clause, beliefs, scorer.layout, scorer.config.decision.found) or (
            clause,
            beliefs,
        )
    on_support = _is_support(clause, beliefs[0], scorer)
    if verdict.status is not Status.OK:
        found = scorer.config.decision.found
        missing = next((p for b in beliefs for p in phrases_not_found(b, found)), None) if not on_support else None
        return verdict if missing is None else dataclasses.replace(verdict, status=Status.NOT_FOUND, phrase=missing)
    rows = [] if on_support else _all_of(beliefs, verdict, scorer)
    region = None
    if part is not None:
        if not rows:  # the whole is the support plane, or was not lifted
            return dataclasses.replace(verdict, status=Status.NOT_FOUND, phrase=part.phrase)
        found_parts = part.found(rows[0])
        if not found_parts.parts:
            reason = f"{name_of(scorer.layout, rows[0])} {found_parts.reason}"
            closed = noun_of(part.phrase) in DRAWERS and found_parts.exists
            return _no_place(verdict, scorer, NoSurface("closed" if closed else "no part", reason, rows[0]))
        if len(found_parts.parts) > 1 and part.phrase.choice != "any":
            raise _Refused(Status.AMBIGUOUS, part.phrase, (rows[0],) * len(found_parts.parts))
        region = found_parts.parts[0]
    further = []
    for each in (*destination.also, *destination.excluded):
        inner = tuple(scorer.score_phrase(anchor, anchor=True) for anchor in each.anchors)
        around = [] if _is_support(each, inner[0], scorer) else _all_of(inner, verdict, scorer)
        view = scorer.view_for(each.frame, RELATIONS[each.relation].framed, np.array(around, np.intp))
        denied = not any(each is wanted for wanted in destination.also)
        further.append(AskedRelation(each.relation, view, tuple(around), each.distance, denied))
    framed = clause.relation in RELATIONS and RELATIONS[clause.relation].framed
    request = PlaceRequest(
        clause.relation, tuple(rows), scorer.view_for(clause.frame, framed, np.array(rows, np.intp)),
        verdict.chosen, clause.distance, scorer.config.place, scorer.config.depth, region, clause.preposition,
        "" if part is None else describe(part.phrase).replace(" part of ", " of "), tuple(further),
    )  # fmt: skip
    if region is not None and part is not None and noun_of(part.phrase) in BURNERS:
        pot = standing_on(scorer.layout, region, verdict.chosen)
        if pot is not None:
            taken = NoSurface("occupied", f"{name_of(scorer.layout, pot)} is already there", rows[0], blocking=(pot,))
            return _no_place(verdict, scorer, taken, request)
    for row in rows if clause.relation in _BEYOND else ():
        whole = shut_in_front_of(scorer.layout, row, verdict.chosen)
        if whole is not None:
            door, of = name_of(scorer.layout, row), name_of(scorer.layout, whole)
            reason = f"{door} is closed, and the inside of {of} is behind it"
            return _no_place(verdict, scorer, NoSurface("closed", reason, row))
    placing = find_places(scorer.layout, request)
    if not placing.spots and (destination.relation, relation) == ("to", "inside"):
        placing = find_places(scorer.layout, request := dataclasses.replace(request, relation="next to"))
    said_it = region is None and request.relation == "on" and len(rows) == 1
    if not placing.spots and said_it and _ON_IT.search(verdict.query.instruction):
        owner = _owner(scorer.layout, rows[0], verdict.chosen)
        instead = None if owner is None else find_places(scorer.layout, dataclasses.replace(request, anchors=(owner,)))
        if instead is not None and instead.spots:
            placing = instead
    if placing.failure is not None:
        return _no_place(verdict, scorer, placing.failure, request)
    return dataclasses.replace(verdict, placing=placing, status=Status.OK)


def _shifted(verdict: ResolvedChoice, scorer: PhraseScorer, destination: Destination) -> ResolvedChoice:
    """The decision with spots at a stated distance from the object's current position."""
    layout = scorer.layout
    if verdict.status is not Status.OK:
        return verdict
    if len(verdict.meant) > 1:
        raise _Refused(Status.AMBIGUOUS, verdict.query.target, verdict.meant)
    view = scorer.view_for(destination.frame, True, np.array(verdict.meant, np.intp))
    row, distance = verdict.chosen, 0.0 if destination.distance is None else destination.distance.metres
    ahead, right = layout.rays(view, np.array([row], np.intp))
    along, across = AHEAD_RIGHT[destination.relation]
    middle = layout.centre[row, :2] + distance * (along * ahead[0] + across * right[0])
    off = max(_LEAST_OFF, _OFF * distance)
    corners = np.array([(-off, -off), (-off, off), (off, off), (off, -off)])
    carrier = carrier_of(layout, layout.viewpoint(FrameOfReference.VIEWER), (row,))
    region = Region(
        SUPPORT if carrier is None else carrier, middle + corners, math.inf, math.inf, (-math.inf, math.inf), SHARE
    )
    anchors = () if carrier is None else (carrier,)
    request = PlaceRequest(
        "on", anchors, view, verdict.chosen, None, scorer.config.place, scorer.config.depth, region, part="the spot"
    )
    placing = find_places(layout, request)
    if placing.failure is not None:
        return _no_place(verdict, scorer, placing.failure, request)
    return dataclasses.replace(verdict, placing=placing, status=Status.OK)


def _all_of(beliefs: Sequence[PhraseBelief], verdict: ResolvedChoice, scorer: PhraseScorer) -> list[int]:
    return list(dict.fromkeys(row for belief in beliefs for row in _meant(belief, verdict.meant, scorer)))


def _no_place(
    verdict: ResolvedChoice, scorer: PhraseScorer, failure: NoSurface, request: PlaceRequest | None = None
) -> ResolvedChoice:
    change = what_would_change(scorer.layout, request, failure)
    return dataclasses.replace(verdict, placing=Placing((), failure, change=change), status=Status.NO_PLACE)


def _owner(layout: Layout, row: int, moved: int) -> int | None:
    """The one object that a drawer or a door belongs to: larger, touching it, and reaching from below it to above it.

    In "close the drawer and put the bowl on top of it" both may be meant, but nothing stands on a drawer.
    """
    bottom, top, contact = layout.bottom, layout.top, layout.relation.contact
    rows = np.flatnonzero(layout.measured)
    rows = rows[(rows != row) & (rows != moved)]
    touching, _ = RELATIONS["touching"](Pairs(layout, layout.viewpoint(FrameOfReference.VIEWER), rows, np.array([row])))
    larger = layout.size[rows].prod(axis=1) > layout.size[row].prod()
    around = (bottom[rows] < bottom[row] + contact) & (top[rows] > top[row] - contact) & (touching[:, 0] > 0)
    found = rows[larger & around]
    return int(found[0]) if len(found) == 1 else None


def _is_support(clause: RelationClause, belief: PhraseBelief, scorer: PhraseScorer) -> bool:
    found = scorer.config.decision.found
    as_on = dataclasses.replace(clause, relation="on") if clause.relation in ON else clause
    return regions.is_support(as_on, belief, scorer.layout, found)


def _meant(belief: PhraseBelief, moved: Sequence[int], scorer: PhraseScorer) -> tuple[int, ...]:
    """The one object that a destination's words name, or all of a plural; never the moved object.

    A drawer that was not detected is not found, because its position is not known well enough to put something there.
    """
    config = scorer.config.decision
    weight = belief.weight.copy()
    weight[list(moved)] = 0.0
    missing = next(phrases_not_found(belief, config.found), None)
    if missing is not None or not (weight > 0).any():
        raise _Refused(Status.NOT_FOUND, missing or belief.phrase)
    if belief.phrase.count not in (None, 1):
        rows = [row for row in belief.members.tolist() if row not in moved]
        said = belief.phrase.count or -1
        if not rows or len(rows) < said:
            raise _Refused(Status.NOT_FOUND, belief.phrase)
        if 0 < said < len(rows):
            raise _Refused(Status.AMBIGUOUS, belief.phrase, tuple(rows))
        if any(belief.weight[row] < config.mass or in_doubt(belief, row, config) for row in rows):
            raise _Refused(Status.LOW_CONFIDENCE, belief.phrase, tuple(rows))
        return tuple(rows)
    best = int(np.argmax(weight))
    probability = weight / (weight.sum() + config.unseen * np.prod(1.0 - np.minimum(weight, 1.0)))
    if probability[best] < config.mass and belief.phrase.choice != "any":
        order = np.argsort(-probability, kind="stable").tolist()
        rivals = tuple(row for row in order if probability[row] >= (1.0 - config.mass) * probability[best])
        status = Status.AMBIGUOUS if len(rivals) > 1 else Status.LOW_CONFIDENCE
        raise _Refused(status, belief.phrase, rivals)
    # General detection confidence, and words that separate nothing, count only in the share.
    if belief.fit[best] < config.mass or in_doubt(belief, best, config):
        raise _Refused(Status.LOW_CONFIDENCE, belief.phrase, (best,))
    return (best,)
