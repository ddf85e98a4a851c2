# SPDX-License-Identifier: Apache-2.0
"""From a seed and a relation to items: draw a stage until exactly the intended answer is true, then look at it."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import numpy as np

from research.constructed.distribution import (
    ABSENT_SHARE,
    EXACT,
    KIND_SHARES,
    MORE_ITEMS,
    SEEN_OTHER,
    SEEN_TARGET,
)
from research.constructed.item import KIND_OF, Item
from research.constructed.noise import NOISES, measured, reported
from research.constructed.observation import Observation, aim, observe, set_up
from research.constructed.oracle import Meaning, Situation, alike, anchors_of, meaning
from research.constructed.plans import PLANS, RELATIONS, Plan
from research.constructed.questions import further, heuristic_tag
from research.constructed.stage import NoRoom, Play, Stage
from research.constructed.still import Still
from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.types import Detection, NounPhrase, RgbdFrame, SpatialQuery, Status

_ATTEMPTS, _VIEWS = 150, 3  # scenes drawn; pitches tried of each
DECOY = "decoy fits"
"""Tag of a nested question whose other attachment fits another object: English leaves it open, so it is unclear."""
_LEAST_SURE = 0.2  # of a band: less is no truth at all


def build(seed: int, relation: str, noise: str = "none", errors: bool = False) -> tuple[Item, ...]:
    """All questions of one scene; the first is the one that it was built for.

    Args:
        seed: the only source of chance, 0 or more.
        relation: a name in RELATIONS.
        noise: a name in NOISES.
        errors: whether the detector errs.

    Returns:
        Items in the same frame; none where the relation finds no scene.

    Raises:
        UnknownNameError: no such relation or noise.
        InputError: a negative seed.
        ModelError: MuJoCo is not installed, or no drawing context can be had.
    """
    for name, known in ((relation, RELATIONS), (noise, NOISES)):
        if name not in known:
            raise UnknownNameError("relation or noise", name, known)
    if seed < 0:
        raise InputError("seed", str(seed), "0 or more", "count upwards")
    code, plan = _code(relation), PLANS[relation]
    names, shares = list(KIND_SHARES), list(KIND_SHARES.values())
    kind = str(np.random.default_rng((seed, code)).choice(names, p=shares)) if plan.refuses else "answerable"
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng((seed, code, attempt))
        try:
            made = _attempt(rng, kind, plan)
        except NoRoom:
            continue
        if made is not None:
            return _items(seed, relation, *made, rng=rng, noise=noise, errors=errors)
    return ()


def build_scene(
    seed: int, relation: str, noise: str = "none", errors: bool = False
) -> tuple[RgbdFrame, tuple[Detection, ...], Observation, Mapping[str, Any]] | None:
    """One scene without a question: what is measured and reported of it, what is true, and settings to resolve it with.

    Args:
        seed: as of `build`.
        relation: as of `build`.
        noise: as of `build`.
        errors: as of `build`.

    Returns:
        Frame, detections, the exact observation, and values for `config_from`; None where no scene is found.
    """
    code, plan = _code(relation), PLANS[relation]
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng((seed, code, attempt))
        try:
            made = _attempt(rng, "answerable", plan)
        except NoRoom:
            continue
        if made is not None:
            _, seen = made
            of_sensor, of_detector = map(np.random.default_rng, np.random.SeedSequence((seed, code)).spawn(2))
            frame = measured(seen.frame, noise, of_sensor, seen.shiny)
            detections = reported(seen.detections, of_detector) if errors else seen.detections
            return frame, detections, seen, {"depth": EXACT} if noise == "none" else {}
    return None


def _code(relation: str) -> int:
    """A number for a name, so that scenes of two relations with one seed differ."""
    return zlib.crc32(relation.encode())


def _attempt(rng: np.random.Generator, kind: str, plan: Plan) -> tuple[Play, Observation] | None:
    """A scene whose first question has the intended answer, as it is seen; None where it has not."""
    stage = Stage(rng, kind, plan.pitch_deg, plan.far)
    play = plan.make(stage)
    if not _intended(play, meaning(play.phrase, stage.situation())):
        return None
    asked = _asked_about(play.phrase, stage.situation())
    poses = []
    for _ in range(_VIEWS):
        pose = aim(stage, asked)
        if pose is not None:
            poses.append(pose)
        stage.pitch = stage.draw_pitch()
    if not poses:
        return None
    with closing(set_up(stage)) as world:
        for pose in poses:
            seen = observe(stage, world, pose)
            if _well_seen(seen, play, asked) and _intended(play, meaning(play.phrase, seen.situation)):
                return play, seen
    return None


def _intended(play: Play, found: Meaning) -> bool:
    return found.status is play.status and found.sure >= _LEAST_SURE and (
        found.ids == play.ids or found.status in (Status.RELATION_UNSATISFIED, Status.NOT_FOUND)
    )  # fmt: skip


def _asked_about(phrase: NounPhrase, situation: Situation) -> list[Still]:
    """Everything that the words could mean: of the target's kind, and of each anchor's."""
    phrases = [phrase]
    ids: set[str] = anchors_of(phrase, situation)
    while phrases:
        one = phrases.pop()
        ids.update(t.id for t in alike(one, situation))
        phrases += [anchor for clause in one.relations for anchor in clause.anchors]
    return [t for t in situation.objects.values() if t.id in ids]


def _well_seen(seen: Observation, play: Play, asked: list[Still]) -> bool:
    named = {*play.ids, *anchors_of(play.phrase, seen.situation)} if seen.situation.objects else set()
    return all(
        s.id in seen.whole and seen.visible[s.id] >= (SEEN_TARGET if s.id in named else SEEN_OTHER) for s in asked
    )


def _items(
    seed: int, relation: str, play: Play, seen: Observation, *, rng: np.random.Generator, noise: str, errors: bool
) -> tuple[Item, ...]:
    of_sensor, of_detector = map(np.random.default_rng, np.random.SeedSequence((seed, _code(relation))).spawn(2))
    frame = measured(seen.frame, noise, of_sensor, seen.shiny)
    detections = reported(seen.detections, of_detector) if errors else seen.detections
    called = _as_called(seen.situation, detections)
    first = meaning(play.phrase, seen.situation)
    asked = [(play.phrase, relation, first, play.tags)]
    done: set[str] = set() if rng.random() < ABSENT_SHARE else {"absent"}
    for phrase, how in further(play, seen.situation, rng):
        if len(asked) > MORE_ITEMS or how in done:
            continue
        found = meaning(phrase, seen.situation)
        if found.status is Status.AMBIGUOUS:
            continue  # what is left over of a plain scene: there are scenes made for it
        if found.sure >= _LEAST_SURE and _seen_well_enough(phrase, found, seen):
            done.add(how)
            asked.append((phrase, f"not {relation}" if how == "not" else relation, found, ("further", how)))
    settings: dict[str, Any] = {"depth": EXACT} if noise == "none" else {}
    if play.world_deg is not None:
        settings |= {"relation": {"world_defined": True, "world_azimuth_deg": round(play.world_deg, 6)}}
    return tuple(
        _item(seed, name, phrase, found, tags, seen, (frame, detections), called, settings)
        for phrase, name, found, tags in asked
    )


def _item(
    seed: int,
    relation: str,
    phrase: NounPhrase,
    found: Meaning,
    tags: tuple[str, ...],
    seen: Observation,
    given: tuple[RgbdFrame, tuple[Detection, ...]],
    called: Situation,
    settings: Mapping[str, Any],
) -> Item:
    heard = meaning(phrase, called)
    refused = found.status in (Status.RELATION_UNSATISFIED, Status.NOT_FOUND)
    tag = heuristic_tag(phrase, found.ids, seen.situation, {d.id: d for d in seen.detections}) if not refused else ""
    return Item(
        seed=seed,
        kind=KIND_OF[found.status],
        relation=relation,
        tags=(*tags, tag) if tag else tags,
        query=SpatialQuery("", _action(phrase), phrase),
        frame=given[0],
        detections=given[1],
        status=found.status,
        ids=() if refused else found.ids,
        band=found.sure < 1.0 or DECOY in tags,
        answerable_after_errors=heard.status is found.status and (refused or heard.ids == found.ids),
        margins=found.margins,
        settings=settings,
    )


def _action(phrase: NounPhrase) -> str:
    """To find what is out of a basket: to pick something out of one is to pick what is in it."""
    return "find" if any(c.relation == "out of" for c in phrase.relations) else "pick"


def _as_called(situation: Situation, detections: tuple[Detection, ...]) -> Situation:
    """The true objects that are reported, under the names that they are given."""
    objects = {d.id: dataclasses.replace(situation.objects[d.id], label=d.label) for d in detections}
    return dataclasses.replace(situation, objects=objects)


def _seen_well_enough(phrase: NounPhrase, found: Meaning, seen: Observation) -> bool:
    asked = _asked_about(phrase, seen.situation)
    return all(
        t.id in seen.whole and seen.visible[t.id] >= (SEEN_TARGET if t.id in found.ids else SEEN_OTHER) for t in asked
    )
