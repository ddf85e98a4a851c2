# SPDX-License-Identifier: Apache-2.0
"""The steps of a request: each with its act, its object and its place, or a refusal that names the step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from spatial_vlm_ros.language.rendering import say_step
from spatial_vlm_ros.language.steps import by_step
from spatial_vlm_ros.spatial.answer import question_of, resolution_of
from spatial_vlm_ros.spatial.decision import decide, with_avoided
from spatial_vlm_ros.spatial.destination import with_place
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.types import Request, Resolution, ResolvedStep, SpatialQuery, Status


def with_steps(resolution: Resolution, readings: Sequence[SpatialQuery], scorer: PhraseScorer) -> Resolution:
    """Add all steps to the answer about the first one, each resolved on the scene as it is now.

    Args:
        resolution: the answer about the first step.
        readings: all readings of the words.

    Returns:
        The answer with its `request`; or, if a later step cannot be resolved, the refusal of that step, which names it.
    """
    query = resolution.query
    if query is None or query.question is not None:
        return resolution
    steps = by_step(query)
    done = [ResolvedStep(step.act, say_step(step)) for step in steps]
    refused = None if resolution.status is Status.OK else (0, resolution)
    done[0] = dataclasses.replace(done[0], target=resolution.target, place=resolution.place)
    for number in range(1, len(steps) if refused is None else 0):
        found = _resolved(number, query, readings, scorer)
        if found.status is not Status.OK:
            refused = number, found
            break
        done[number] = dataclasses.replace(done[number], target=found.target, place=found.place)
        resolution = dataclasses.replace(resolution, confidence=min(resolution.confidence, found.confidence))
    if refused is None:
        return dataclasses.replace(resolution, request=Request(tuple(done)))
    number, found = refused
    request = Request(tuple(ResolvedStep(step.act, step.words) for step in done))
    if len(steps) == 1:
        return dataclasses.replace(found, request=request)
    message = f"Step {number + 1} ({done[number].words}): {found.message}"
    if number:  # its question is not about the first step, of which later words would speak
        found = dataclasses.replace(found, query=query, question=None, answers=(), dialogue_id=None)
    return dataclasses.replace(found, message=message, request=request)


def _resolved(number: int, query: SpatialQuery, readings: Sequence[SpatialQuery], scorer: PhraseScorer) -> Resolution:
    """The answer about a later step, by all readings that agree about the steps before it."""
    before = query.steps[:number]
    agreeing = [reading for reading in readings if reading.steps[:number] == before and len(reading.steps) > number]
    total = sum(reading.preference for reading in agreeing)
    queries = [
        dataclasses.replace(by_step(reading)[number], preference=reading.preference / total) for reading in agreeing
    ]
    choice = with_avoided(with_place(decide(queries, scorer), scorer), scorer)
    return resolution_of(choice, scorer, (query.instruction,), question_of(choice, scorer))
