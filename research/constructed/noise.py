# SPDX-License-Identifier: Apache-2.0
"""What sensors and detectors make of an exact observation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np

from research.constructed.distribution import ErrorShares
from spatial_vlm_ros.sim.tabletop import STEREO, as_bytes, noisy
from spatial_vlm_ros.types import Detection, Mask, RgbdFrame

NOISES = ("none", "stereo", "tof")
"""Kinds of depth: exact, active stereo (sensor.STEREO), time of flight."""
SIMILAR: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "cup": ("bowl", "can"),
        "can": ("cup", "bottle"),
        "bottle": ("can", "cup"),
        "bowl": ("plate", "basket"),
        "plate": ("bowl", "tray"),
        "box": ("crate", "can"),
        "crate": ("box", "stool"),
        "apple": ("orange", "pear"),
        "orange": ("apple", "lemon"),
        "lemon": ("pear", "banana"),
        "pear": ("lemon", "apple"),
        "banana": ("lemon",),
        "tray": ("board", "plate"),
        "board": ("tray",),
        "stool": ("crate",),
        "chair": ("stool",),
        "car": ("box",),
        "cabinet": ("bookcase",),
        "bookcase": ("cabinet",),
        "basket": ("bowl", "tray"),
        "chick": ("lemon",),
    }
)
"""Labels that the detector takes for each other."""


@dataclass(frozen=True)
class TimeOfFlight:
    """A time-of-flight camera: what it does to range and where it sees nothing.

    Args:
        offset: constant bias of range, metres.
        wiggle: amplitude of the bias that repeats with range, metres.
        period: of that, metres.
        floor: standard deviation of range at zero, metres.
        quadratic: its growth with range squared on a surface that returns half of the light, 1/metre.
        dark: brightness below which noise grows and returns get lost, 0 to 1.
        flying: part of the pixels at edges that lie in the air between both surfaces, 0 to 1.
        edge: step in depth between neighbours that counts as an edge, metres.
        multipath: bias of range low on objects, where light comes by way of the table, metres.
        shine_lost: part of shiny surfaces without measurement, in patches, 0 to 1.
        loss: part of all pixels without measurement, 0 to 1.
    """

    offset: float = 0.004
    wiggle: float = 0.003
    period: float = 0.75
    floor: float = 0.0012
    quadratic: float = 0.0012
    dark: float = 0.22
    flying: float = 0.5
    edge: float = 0.02
    multipath: float = 0.006
    shine_lost: float = 0.5
    loss: float = 0.004


def measured(frame: RgbdFrame, kind: str, rng: np.random.Generator, shiny: Mask) -> RgbdFrame:
    """The frame as a sensor of a kind in NOISES would have measured it."""
    if kind == "none":
        return frame
    return noisy(frame, rng, STEREO, shiny) if kind == "stereo" else time_of_flight(frame, rng, shiny)


def time_of_flight(
    frame: RgbdFrame, rng: np.random.Generator, shiny: Mask, tof: TimeOfFlight | None = None
) -> RgbdFrame:
    """The frame as a time-of-flight camera would have measured it.

    Bias that changes with range, noise that grows where little light returns, flying pixels at edges, longer ways
    in corners, and holes in shine and in the dark.
    """
    tof = tof or TimeOfFlight()
    depth = frame.depth.astype(np.float64)
    light = np.clip(frame.rgb.astype(np.float64).mean(axis=2) / 255, 0.02, 1.0)
    deviation = tof.floor + tof.quadratic * depth**2 / np.sqrt(2 * light)
    phase = float(rng.uniform(0, 2 * math.pi))
    bias = tof.offset + tof.wiggle * np.sin(2 * math.pi * depth / tof.period + phase)
    filled = np.nan_to_num(depth, nan=float(np.nanmax(depth)))
    near, far = (np.asarray(f(filled, np.ones((5, 5), np.uint8)), np.float64) for f in (cv2.erode, cv2.dilate))
    edge = far - near > tof.edge * np.maximum(filled, 0.5)
    curved = np.clip(cv2.GaussianBlur(filled, (0, 0), 6) - filled, -0.02, 0.02)  # positive on what stands out
    corners = tof.multipath * np.clip(-curved / 0.02, 0.0, 1.0)
    felt = depth + bias + corners + deviation * rng.standard_normal(depth.shape)
    flying = edge & (rng.random(depth.shape) < tof.flying)
    share = rng.random(depth.shape)
    felt = np.where(flying, near + share * (far - near), felt)
    lost = rng.random(depth.shape) < np.where(light < tof.dark, tof.loss + 0.3 * (1 - light / tof.dark), tof.loss)
    lost |= shiny & _patches(depth.shape, rng, tof.shine_lost)
    result = np.where(lost | ~(felt > 0), np.nan, felt).astype(np.float32)
    rgb = as_bytes(frame.rgb + 2.5 * rng.standard_normal(frame.rgb.shape))
    return dataclasses.replace(frame, rgb=rgb, depth=result)


def _patches(shape: tuple[int, ...], rng: np.random.Generator, part: float) -> Mask:
    coarse = rng.standard_normal((shape[0] // 10 + 2, shape[1] // 10 + 2))
    field = np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR))
    return np.less_equal(field, np.quantile(field, part))


def reported(
    detections: Sequence[Detection], rng: np.random.Generator, shares: ErrorShares | None = None
) -> tuple[Detection, ...]:
    """What an erring detector reports: some objects missed, some under another name, some without a mask."""
    shares = shares or ErrorShares()
    left = []
    for detection in detections:
        missed, swapped, bare = rng.random(3) < (shares.misses, shares.swaps, shares.boxes)
        score, choice = float(rng.beta(*shares.scores)), rng.random()
        if missed:
            continue
        others = SIMILAR.get(detection.label, ())
        label = others[int(choice * len(others))] if swapped and others else detection.label
        mask = None if bare else detection.mask
        left.append(dataclasses.replace(detection, label=label, mask=mask, score=score))
    return tuple(left)
