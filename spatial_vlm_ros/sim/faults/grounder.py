# SPDX-License-Identifier: Apache-2.0
"""A wrapper around any backend that injects faults; a file switches them on and off while it runs.

grounder: spatial_vlm_ros.sim.faults.grounder:load grounder_options: "of=compact faults_file=/run/model_faults"
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.files.reading import read_bytes
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.domain import domain_of
from spatial_vlm_ros.perception.grounder import Grounder, Grounding
from spatial_vlm_ros.sim.faults.catalogue import FORMS, Fault, letters, read_faults
from spatial_vlm_ros.types import NounPhrase, Rgb

_MODEL = {"model": FORMS["model"]}
_INJECTED = "an injected fault"
_LARGEST = 1 << 16  # bytes
_REPAIR = "empty the fault file"


class FaultyGrounder:
    """Answers like another grounder, except for the fault that its file, or else `faults`, names at the request."""

    def __init__(self, inner: Grounder, faults: str = "", file: Path | None = None, seed: int = 0) -> None:
        read_faults(faults, _MODEL)
        self._inner, self._faults, self._file, self._seed = inner, faults, file, seed
        self.domain = domain_of(inner)
        self._fault: Fault | None = None
        self._random = np.random.default_rng(seed)
        self._last: Grounding | None = None

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """See Grounder.ground."""
        words = self._faults
        if self._file is not None and self._file.is_file():
            words = read_bytes(self._file, _REPAIR, _LARGEST).decode("utf-8")
        fault = next(iter(read_faults(words, _MODEL)), None)
        if fault != self._fault:
            self._fault, self._random = fault, np.random.default_rng(self._seed)
        if fault is None:
            self._last = self._inner.ground(rgb, phrases)
            return self._last
        if fault.kind == "off" or (fault.kind == "intermittent" and self._random.random() < fault.amount):
            raise ModelError("faulty", _INJECTED, _REPAIR)
        if fault.kind == "stuck" and self._last is not None:
            return self._last
        began = time.monotonic()
        found = self._inner.ground(rgb, phrases)
        if fault.kind == "slow":
            time.sleep((time.monotonic() - began) * (fault.amount - 1))
        elif fault.kind == "delayed":
            time.sleep(fault.amount)
        if fault.kind == "stuck":
            self._last = found
        elif fault.kind == "garbage":
            # Random boxes, up to twice the image's size, that fit any phrase.
            size, random = np.array(rgb.shape[1::-1] * 2, np.float64), self._random
            boxes = [np.sort(random.uniform(0, 2, (2, 2)), axis=0).reshape(4) * size for _ in found.detections]
            made = tuple(
                replace(d, label=letters(random), score=float(random.random()), box_xyxy=tuple(box), mask=None)
                for d, box in zip(found.detections, boxes, strict=True)
            )
            return replace(found, detections=made, match=random.random(found.match.shape))
        elif fault.kind == "wrong":
            named = [*found.detections[1:], *found.detections[:1]]
            made = tuple(
                replace(d, label=n.label, attributes=n.attributes, id=n.id)
                for d, n in zip(found.detections, named, strict=True)
            )
            return replace(found, detections=made, match=np.roll(found.match, -1, axis=1))
        return found


def load(of: str = "", faults: str = "", faults_file: str = "", fault_seed: str = "0", **options: str) -> Grounder:
    """Load a backend with faults, "model=kind:amount", and a file of the same format, read before each request."""
    if not of:
        raise InputError("option of", "none", "the name of a backend", "add of=NAME to grounder_options")
    if not fault_seed.isdecimal():
        raise InputError("option fault_seed", repr(fault_seed), "a whole number from 0")
    file = Path(faults_file) if faults_file else None
    return FaultyGrounder(load_grounder(of, options), faults, file, int(fault_seed))
