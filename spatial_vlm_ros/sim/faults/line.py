# SPDX-License-Identifier: Apache-2.0
"""Inject faults into one stream of messages: what is published instead, and when. No clock, threads or ROS."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from spatial_vlm_ros.sim.faults.catalogue import CONTENTS, FRAME_ID, STAMP, Fault
from spatial_vlm_ros.sim.faults.contents import (
    CHANGES,
    SECOND,
    WRONG_FRAME,
    Random,
    headers,
    letters,
    nanoseconds,
    set_time,
    take_headers,
)


class FaultLine:
    """Turns a message into the messages that a faulty source would have published.

    The same messages at the same times with the same faults and seed give the same result. Without faults messages pass
    unchanged; for faults inside messages they are copied, never changed.

    Args:
        form: its form, see `catalogue.FORMS`.
        opened: makes a message that may be changed from the input; by default a copy.
    """

    def __init__(
        self, stream: str, form: str, seed: int = 0, opened: Callable[[Any], Any] = copy.deepcopy
    ) -> None:  # fmt: skip
        self._stream, self._form, self._seed, self._opened = stream, form, seed, opened
        self._faults: dict[str, Fault] = {}
        self._random: dict[str, Random] = {}
        self._last: Any = None  # the last input; a message that its owner reuses has the same content
        self._frozen: Any = None
        self._stamps: dict[int, int] = {}  # frozen stamps, or starts of slow ones: index of the header → stamp
        self._passed = float("-inf")

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The active faults."""
        return tuple(self._faults.values())

    def set(self, faults: Iterable[Fault]) -> None:
        """Switch to these faults of this stream and forget earlier effects; unchanged faults continue."""
        wanted = {fault.part: fault for fault in faults if fault.stream == self._stream}
        if wanted == self._faults:
            return
        told = {part: fault for part, fault in wanted.items() if self._faults.get(part) != fault}
        for part in told:
            name = zlib.crc32(f"{self._stream}.{part}={told[part].kind}".encode())
            self._random[part] = np.random.default_rng([self._seed, name])
        if CONTENTS in told or CONTENTS not in wanted:
            self._frozen, self._passed = None, float("-inf")
            if CONTENTS in told and told[CONTENTS].kind == "stuck" and self._last is not None:
                self._frozen = self._opened(self._last)
        if STAMP in told or STAMP not in wanted:
            self._stamps = {}
        self._faults = wanted

    def pass_on(self, message: Any, now: float) -> list[tuple[float, Any]]:
        """Return what to publish.

        Args:
            now: time of a monotonic clock, seconds.

        Returns:
            Times of publication, seconds of that clock, with messages; empty if the message is dropped.
        """
        self._last = message
        fault = self._faults.get(CONTENTS)
        if fault is not None and not self._passes(fault, now):
            return []
        if any(each.of_contents for each in self._faults.values()):
            message = self._opened(message)
            if fault is not None and fault.kind == "stuck":
                if self._frozen is None:
                    self._frozen = message
                newest, message = message, copy.deepcopy(self._frozen)
                if self._form != "clock":
                    take_headers(message, newest)
            elif fault is not None and (self._form, fault.kind) in CHANGES:
                CHANGES[self._form, fault.kind](message, fault.amount, self._random[CONTENTS])
            if STAMP in self._faults:
                self._restamp(message, self._faults[STAMP])
            if FRAME_ID in self._faults:
                renamed, random = self._faults[FRAME_ID], self._random[FRAME_ID]
                if renamed.kind != "intermittent" or random.random() < renamed.amount:
                    name = {"off": "", "garbage": letters(random)}.get(renamed.kind, WRONG_FRAME)
                    for header in headers(message):
                        header.frame_id = name
        if fault is not None and fault.kind == "delayed":
            return [(now + fault.amount, self._opened(message) if message is self._last else message)]
        return [(now, message)]

    # -------------------------------------------------------------------------------------------- when

    def _passes(self, fault: Fault, now: float) -> bool:
        if fault.kind == "off":
            return False
        if fault.kind == "intermittent":
            return bool(self._random[CONTENTS].random() >= fault.amount)
        if fault.kind == "slow":
            if now - self._passed < 1 / fault.amount:
                return False
            self._passed = now
        return True

    # -------------------------------------------------------------------------------------------- what

    def _restamp(self, message: Any, fault: Fault) -> None:
        random = self._random[STAMP]
        lost = fault.kind == "intermittent" and random.random() < fault.amount
        anywhere = random.uniform(0, 2) if fault.kind == "garbage" else 1.0
        for number, header in enumerate(headers(message)):
            stamp = nanoseconds(header.stamp)
            first = self._stamps.setdefault(number, stamp) if fault.kind in ("stuck", "slow") else stamp
            if fault.kind == "off" or lost:
                stamp = 0
            elif fault.kind == "stuck":
                stamp = first
            elif fault.kind == "slow":
                stamp = first + round((stamp - first) * fault.amount)
            elif fault.kind == "garbage":
                stamp = int(stamp * anywhere)
            elif fault.kind == "wrong":
                stamp += round(fault.amount * SECOND)
            set_time(header.stamp, stamp)
