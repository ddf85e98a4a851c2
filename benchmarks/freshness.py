# SPDX-License-Identifier: Apache-2.0
"""Claim: no request is answered from an image that was exposed before it, whatever clock stamps the camera's images.

A 30 Hz camera has a clock that is off by −1 s … +1 s, and its messages take 0 … 0.3 s to arrive. The scene changes at
the moment of the request, so that every image exposed before it shows another scene. The state machine used by node and
replay chooses the frame. Four settings: `default`; `any stamp` with a larger max_ahead, so that clocks that run ahead
are not refused; `in step` with clocks_in_step, for synchronised clocks; `stalls`, in which the network holds all
messages back for a while near the request and then delivers them at once, many of them later than max_latency. The
baseline takes the first frame stamped after the request. Waiting time counts from the arrival of the first frame that
was exposed after the request.

    python -m benchmarks.freshness [--trials N]    trials of each cell of offset and latency
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from benchmarks.harness import Claim, arguments, finish
from spatial_vlm_ros.errors import SpatialVlmError, StaleInputError
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.streams.frame_assembler import DEPTH, DETECTIONS, RGB, RGB_INFO, SECOND, FrameAssembler

OFFSETS = (-1.0, -0.5, -0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.15, 0.3, 0.5, 1.0)  # seconds ahead of the node's clock
LATENCIES = (0.0, 0.05, 0.1, 0.2, 0.3)  # seconds, the longest of a cell
PERIOD, JITTER = 1 / 30, 0.004  # seconds between exposures
DETECTOR = 0.05  # seconds from an image to its detections
POLL = 0.02  # seconds, as in the node
REQUEST = 1000.0  # seconds, by the node's clock
Setting = Literal["default", "any stamp", "in step", "stalls"]
SETTINGS: dict[Setting, StreamConfig] = {
    "default": StreamConfig(base_frame=""),
    "any stamp": StreamConfig(base_frame="", max_ahead=2.0),
    "in step": StreamConfig(base_frame="", clocks_in_step=True),
    "stalls": StreamConfig(base_frame="", max_ahead=2.0, frame_timeout=4.0),
}


@dataclass(frozen=True)
class Trial:
    """One request.

    Args:
        status: OK or the refusal.
        is_stale: whether it was answered from a colour or depth image that was exposed before it.
        waited: seconds beyond the arrival of the first frame that was exposed after it; None if it was refused.
        baseline_is_stale: whether the first frame stamped after it was exposed before it.
    """

    status: str
    is_stale: bool
    waited: float | None
    baseline_is_stale: bool


@dataclass(frozen=True)
class _Message:
    """A message, its stream, exposure (s) and arrival (s)."""

    role: str
    exposed: float
    arrival: float
    content: Any


def content(stamp: float, number: int) -> Any:
    """A message with the fields that choosing a frame uses; `number` identifies its exposure."""
    nanoseconds = round(stamp * SECOND)
    time = SimpleNamespace(sec=nanoseconds // SECOND, nanosec=nanoseconds % SECOND)
    return SimpleNamespace(header=SimpleNamespace(stamp=time, frame_id="camera"), number=number)


def messages(offset: float, latency: float, stalls: bool, rng: np.random.Generator) -> list[_Message]:
    """Make all messages that arrive from 2 to 5 s before the request until 6 s after it, in order of arrival.

    Args:
        offset: time by which the camera's clock is ahead, seconds.
        latency: longest time from a message's exposure to its arrival, seconds; each message has 0.7 to 1 times this.
        stalls: whether messages are delayed by 0.4 to 1.5 s around the time of the request.
        rng: random generator of the trial.
    """
    begun = REQUEST - rng.uniform(2.0, 5.0) - rng.uniform(0, PERIOD)
    count = int((REQUEST + 6.0 - begun) / PERIOD)
    exposed = begun + PERIOD * np.arange(count) + rng.uniform(0, JITTER, count)
    stall = REQUEST - rng.uniform(0.0, 1.0), rng.uniform(0.4, 1.5)
    sent = []
    for role in (RGB_INFO, RGB, DEPTH, DETECTIONS):
        late = latency * rng.uniform(0.7, 1.0, count) + (DETECTOR if role == DETECTIONS else 0.0)
        arrivals = exposed + late
        if stalls:
            held = (arrivals >= stall[0]) & (arrivals < stall[0] + stall[1])
            arrivals[held] = stall[0] + stall[1]
        arrivals = np.maximum.accumulate(arrivals)  # a topic keeps its order
        sent += [
            _Message(role, float(e), float(a), content(e + offset, number))
            for number, (e, a) in enumerate(zip(exposed, arrivals, strict=True))
        ]
    return sorted(sent, key=lambda message: message.arrival)


def trial(setting: Setting, offset: float, latency: float, rng: np.random.Generator) -> Trial:
    """Send a request at REQUEST and see which frame answers it."""
    config = SETTINGS[setting]
    assembler = FrameAssembler(config, with_detections=True)
    sent = messages(offset, latency, setting == "stalls", rng)
    exposures = {(m.role, m.content.number): m.exposed for m in sent}
    arrivals = {(m.role, m.content.number): m.arrival for m in sent}
    numbers = range(1 + max(m.content.number for m in sent))
    complete = {n: max(arrivals[role, n] for role in (RGB, DEPTH, RGB_INFO, DETECTIONS)) for n in numbers}
    first = min(complete[n] for n in numbers if exposures[RGB, n] >= REQUEST)
    naive = min((n for n in numbers if exposures[RGB, n] + offset >= REQUEST and complete[n] >= REQUEST), default=None)
    baseline = naive is not None and exposures[RGB, naive] < REQUEST
    for now, message in _moments(sent):
        if message is not None:
            assembler.add(message.role, message.content, round(now * SECOND))
        if now < REQUEST:
            assembler.forget_older()
            continue
        taken = assembler.take(round(REQUEST * SECOND), round(now * SECOND))
        if taken is not None:
            used = [exposures[role, taken.match.messages[role].number] for role in (RGB, DEPTH)]
            return Trial("OK", min(used) < REQUEST, now - first, baseline)
        if now - REQUEST >= config.frame_timeout:
            return Trial(_status(assembler.why_none(round(REQUEST * SECOND))), False, None, baseline)
    raise AssertionError("the camera ended before the request did")


def _moments(sent: list[_Message]) -> Iterator[tuple[float, _Message | None]]:
    """Arrivals, and the polls of a waiting node, in order of time."""
    polls = iter(np.arange(REQUEST, REQUEST + 6.0, POLL))
    poll = float(next(polls))
    for message in sent:
        while poll < message.arrival:
            yield poll, None
            poll = float(next(polls, np.inf))
        yield message.arrival, message


def _status(error: SpatialVlmError) -> str:
    return f"{error.status_name} ({type(error).__name__})" if isinstance(error, StaleInputError) else error.status_name


def cells(setting: Setting) -> list[tuple[float, float]]:
    """Offsets and latencies of a setting; synchronised clocks are within clock_error."""
    error = SETTINGS[setting].clock_error
    offsets = (-error, 0.0, error) if setting == "in step" else OFFSETS
    return [(offset, latency) for offset in offsets for latency in LATENCIES]


def run(
    setting: Setting, trials: int, chosen: Sequence[tuple[float, float]] | None = None, seed: int = 0
) -> dict[tuple[float, float], list[Trial]]:
    """Cell → its trials, the same for the same seed; `chosen` cells, None = all of the setting."""
    rng = np.random.default_rng(seed)
    return {cell: [trial(setting, *cell, rng) for _ in range(trials)] for cell in chosen or cells(setting)}


def summary(trials: list[Trial]) -> dict[str, Any]:
    """Counts of a cell, and the time waited in seconds."""
    waited = [t.waited for t in trials if t.waited is not None]
    ends = Counter(t.status for t in trials)
    return {
        "trials": len(trials),
        "ends": dict(ends),
        "stale": sum(t.is_stale for t in trials),
        "baseline_stale": sum(t.baseline_is_stale for t in trials),
        "waited_median_s": round(float(np.median(waited)), 4) if waited else None,
        "waited_p90_s": round(float(np.percentile(waited, 90)), 4) if waited else None,
    }


def main() -> int:
    """Run all settings, print and write them."""
    trials = arguments(__doc__, trials=12).trials
    measured: dict[str, Any] = {"trials_per_cell": trials, "settings": {}}
    stale = total = 0
    for setting in SETTINGS:
        by_cell = {cell: summary(found) for cell, found in run(setting, trials).items()}
        listed = [{"offset_s": o, "latency_s": latency, **entry} for (o, latency), entry in by_cell.items()]
        measured["settings"][setting] = listed
        stale += sum(entry["stale"] for entry in listed)
        total += sum(entry["trials"] for entry in listed)
    measured["trials"] = total
    return finish("freshness", measured, [Claim("answers from before the request", stale, 0, "answers")])


if __name__ == "__main__":
    raise SystemExit(main())
