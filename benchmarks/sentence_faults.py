# SPDX-License-Identifier: Apache-2.0
"""What must not happen for any text: the criteria for fuzzing and the regression files.

A text has readings, or one of the two errors that `parse` documents, with a span of its characters. Readings can be
written as JSON and resolved on any scene; and nothing takes long.
"""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from benchmarks.random_scenes import random_scene
from spatial_vlm_ros.errors import InputError, NotUnderstoodError
from spatial_vlm_ros.language import describe, parse, parse_dialogue, render
from spatial_vlm_ros.output.json_schema import error_json, query_json, resolution_json
from spatial_vlm_ros.resolver import Resolver, phrases_of
from spatial_vlm_ros.types import SpatialQuery, Status

SLOWEST_MS = 100.0
"""Longest processor time to parse a sentence, or to answer it among a hundred objects."""

MOST_READINGS = 64
SAID_BEFORE = "pick up the red mug behind the box"
_AGAIN = 3  # times that a slow sentence is repeated, because other programs may have caused it
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Fault:
    """A fault in the result of a text.

    Args:
        kind: "crash", "slow", "span", "readings", "JSON" or "internal error".
        text: the text.
        told: in words; the same for faults that have the same cause, as far as that can be seen.
    """

    kind: str
    text: str
    told: str


@dataclass(frozen=True)
class Judged:
    """Result of a text.

    Args:
        readings: its readings; empty if it was refused.
        fault: the fault, or None.
        ms: processor time of parsing or answering, milliseconds.
    """

    readings: tuple[SpatialQuery, ...]
    fault: Fault | None
    ms: float


def judge_sentence(text: str, slowest_ms: float = SLOWEST_MS) -> Judged:
    """Parse a text, alone and as an answer to a question, render its readings, and write them as JSON.

    Args:
        text: any text.
        slowest_ms: processor time limit of parsing; larger for instrumented code.
    """
    readings: tuple[SpatialQuery, ...] = ()
    fault = None
    try:
        readings, ms = _quickest(lambda: parse(text), slowest_ms)
    except InputError:
        return Judged((), None, 0.0)
    except NotUnderstoodError as error:
        ms, fault = 0.0, _fault_of_refusal(text, error)
    except Exception as error:  # finding crashes is the purpose
        return Judged((), Fault("crash", text, _place_of(error)), 0.0)
    if ms > slowest_ms:
        fault = Fault("slow", text, f"parsing took {ms:.0f} ms")
    if readings:
        fault = fault or _fault_of_readings(text, readings)
    try:
        parse_dialogue(text, [SAID_BEFORE])
    except (InputError, NotUnderstoodError):
        pass
    except Exception as error:
        fault = fault or Fault("crash", text, f"as an answer: {_place_of(error)}")
    return Judged(readings, fault, ms)


def _fault_of_refusal(text: str, error: NotUnderstoodError) -> Fault | None:
    start, end = error.span
    if not (0 <= start <= end <= len(text) and (start < end or not text.strip())):
        return Fault("span", text, f"{error.reason}: characters {start} to {end} of {len(text)}")
    if not str(error).isprintable():
        return Fault("span", text, f"{error.reason}: the message cannot be printed")
    try:
        json.dumps(error_json(text, error), allow_nan=False)
    except Exception as failed:
        return Fault("JSON", text, _place_of(failed))
    return None


def _fault_of_readings(text: str, readings: tuple[SpatialQuery, ...]) -> Fault | None:
    shares = [query.preference for query in readings]
    if not 1 <= len(readings) <= MOST_READINGS or not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
        return Fault("readings", text, f"{len(readings)} readings whose shares add up to {sum(shares):.6f}")
    if sorted(shares, reverse=True) != shares or any(query.readings != len(readings) for query in readings):
        return Fault("readings", text, "readings that are not in order, or are counted wrongly")
    try:
        for query in readings[:3]:
            json.dumps(query_json(query), allow_nan=False)
            describe(query.target)
        render(readings[0])
    except Exception as error:
        return Fault("JSON", text, _place_of(error))
    return None


def judge_answer(
    text: str, readings: tuple[SpatialQuery, ...], most: int = 12, slowest_ms: float = SLOWEST_MS
) -> Judged:
    """Resolve a text on a random scene with the objects it names; the same scene for the same text.

    Args:
        text: a text with readings.
        readings: its readings.
        most: most objects of the scene.
        slowest_ms: processor time limit of answering.
    """
    rng = np.random.default_rng(zlib.crc32(text.encode("utf-8", "replace")))
    labels = list(dict.fromkeys(phrase.category for phrase in phrases_of(readings[:4])))[:most]
    scene = random_scene(rng, labels or ["object"], int(rng.integers(most + 1)))
    resolver = Resolver()
    try:
        found, ms = _quickest(lambda: resolver.answer(scene, text), slowest_ms)
        json.dumps(resolution_json(found), allow_nan=False)
    except Exception as error:
        return Judged(readings, Fault("crash", text, f"asked of a scene: {_place_of(error)}"), 0.0)
    if found.status is Status.INTERNAL_ERROR:
        return Judged(readings, Fault("internal error", text, found.message), ms)
    if (found.status is Status.OK) != (found.target is not None or bool(found.targets)):
        return Judged(readings, Fault("readings", text, f"{found.status.name} with target {found.target}"), ms)
    slow = Fault("slow", text, f"answering took {ms:.0f} ms") if ms > slowest_ms else None
    return Judged(readings, slow, ms)


def _quickest(make: Callable[[], _Made], slowest_ms: float) -> tuple[_Made, float]:
    """The result, and its processor time in milliseconds: the minimum of several runs if it seems slow."""
    times: list[float] = []
    while len(times) <= _AGAIN and (not times or min(times) > slowest_ms):
        start = time.process_time()
        made = make()
        times.append((time.process_time() - start) * 1e3)
    return made, min(times)


def _place_of(error: Exception) -> str:
    """An exception by its type and the innermost location in the package."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if "spatial_vlm_ros" in file:
            place = f" in {file.rsplit('/', 1)[-1]}, {trace.tb_frame.f_code.co_name}"
        trace = trace.tb_next
    return f"{type(error).__name__}{place}: {error}"
