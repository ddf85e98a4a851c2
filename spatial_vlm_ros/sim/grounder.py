# SPDX-License-Identifier: Apache-2.0
"""A simulated detector that knows the truth and makes the requested errors; it replaces a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.geometry.boxes import box_around
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.sim.physics import PhysicsRendering
from spatial_vlm_ros.sim.settled import DEMO_WORLDS, settled_tabletop
from spatial_vlm_ros.sim.tabletop import STEREO, Rendering, camera_of, noisy
from spatial_vlm_ros.spatial.detector_profile import GIVEN
from spatial_vlm_ros.types import Depth, Detection, NounPhrase, Rgb, RgbdFrame

MASKS = ("exact", "none", "eroded", "dilated")
SIMILAR: tuple[tuple[str, ...], ...] = (
    ("cup", "mug", "bowl", "can"),
    ("plate", "tray", "bowl"),
    ("can", "bottle", "cup"),
    ("apple", "orange", "lemon", "pear"),
    ("banana", "lemon"),
    ("box", "shelf", "can"),
    ("chick", "duck"),
    ("block", "box"),
    ("ball", "orange"),
)
"""Labels that a detector confuses with each other."""
_LARGEST_PX = 50
_SHAPES = {640: 480, 1280: 720}  # width → height of the usual image sizes; others are 4:3


@dataclass(frozen=True)
class DetectorErrors:
    """Errors of a detector; by default none."""

    misses: float = 0.0  # probability that an object is not reported
    swaps: float = 0.0  # probability of the label of a similar kind (SIMILAR)
    jitter: float = 0.0  # standard deviation of each side of a box, in sizes of the box, 0 to 0.5
    masks: str = "exact"  # one of MASKS; "none" = boxes only
    mask_px: int = 2  # pixels by which masks are eroded or dilated, 1 to 50

    def __post_init__(self) -> None:
        for name, most in (("misses", 1.0), ("swaps", 1.0), ("jitter", 0.5)):
            value = getattr(self, name)
            if not 0.0 <= value <= most:
                raise InputError(f"detector errors {name}", str(value), f"0 to {most:g}")
        if not 1 <= self.mask_px <= _LARGEST_PX:
            raise InputError("detector errors mask_px", str(self.mask_px), f"1 to {_LARGEST_PX}")
        if self.masks not in MASKS:
            raise UnknownNameError("kind of masks", self.masks, MASKS)


_OF_ERRORS: Mapping[str, Any] = MappingProxyType({each.name: each.default for each in fields(DetectorErrors)})
_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {"world": "", "seed": 0, "objects": 9, "width": 640, "height": 480, **_OF_ERRORS, "error_seed": 0}
)
"""Option of the backend → its value if it is not given, of the option's type."""


class SimulatorGrounder:
    """Answers from a rendering, with the given errors. The same seed gives the same errors."""

    def __init__(self, seen: Rendering, errors: DetectorErrors | None = None, seed: int = 0) -> None:
        self.rendering = seen
        self._detections = degraded(seen.detections, errors or DetectorErrors(), np.random.default_rng(seed))

    def detections(self) -> tuple[Detection, ...]:
        """All detections that it reports, in the rendering's order."""
        return self._detections

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Match the reported detections to the phrases; see Grounder.ground."""
        if rgb.shape != self.rendering.frame.rgb.shape:
            expected = f"one of {self.rendering.frame.rgb.shape}"
            raise InputError("image", str(rgb.shape), expected, "set the simulator's width and height to these")
        return Grounding(self._detections, label_match(phrases, self._detections), profile=GIVEN)


def degraded(
    detections: Sequence[Detection], errors: DetectorErrors, rng: np.random.Generator
) -> tuple[Detection, ...]:
    """Turn perfect detections into those of an imperfect detector, in order; a box contains the rest of its mask."""
    reported = []
    for detection in detections:
        missed, swapped, shifts = rng.random() < errors.misses, rng.random() < errors.swaps, rng.standard_normal(4)
        choice = rng.random()
        if missed:
            continue
        label = detection.label
        others = sorted({other for group in SIMILAR if label in group for other in group} - {label})
        if swapped and others:
            label = others[int(choice * len(others))]

        mask = None if errors.masks == "none" else detection.mask
        if mask is not None and errors.masks != "exact":
            kernel = np.ones((2 * errors.mask_px + 1,) * 2, np.uint8)
            change = cv2.erode if errors.masks == "eroded" else cv2.dilate
            worn = np.asarray(change(mask.astype(np.uint8), kernel), np.bool_)
            mask = worn if worn.any() else mask  # one that would vanish is unchanged

        x0, y0, x1, y1 = detection.box_xyxy if mask is None else box_around(mask)
        sides = np.array([x1 - x0, y1 - y0] * 2)
        a, b, c, d = np.array([x0, y0, x1, y1]) + np.clip(errors.jitter * shifts, -0.45, 0.45) * sides
        if detection.mask is not None:
            height, width = detection.mask.shape
            a, b, c, d = max(a, 0.0), max(b, 0.0), min(c, float(width)), min(d, float(height))
        box = (float(a), float(b), float(c), float(d))
        reported.append(replace(detection, label=label, box_xyxy=box, mask=mask))
    return tuple(reported)


def load(**options: str) -> SimulatorGrounder:
    """Load the backend: a grounder for a world made for it; its `rendering` has exact depth.

    Options: `world` (a name of DEMO_WORLDS) or `seed` and `objects` of a random one (0, 9); `width` and `height` of the
    image (640, 480); `misses`, `swaps`, `jitter`, `masks`, `mask_px` as in DetectorErrors; `error_seed` (0).
    """
    values = {**_DEFAULTS, **_read(options)}
    errors = DetectorErrors(**{name: values[name] for name in _OF_ERRORS})
    camera, name, error_seed = camera_of(values["width"], values["height"]), values["world"], values["error_seed"]
    if "world" in options and name not in DEMO_WORLDS:
        raise UnknownNameError("demo world", name, DEMO_WORLDS)
    if error_seed < 0:
        raise InputError("option error_seed", str(error_seed), "0 or more")
    made = DEMO_WORLDS[name]() if name else settled_tabletop(values["seed"], values["objects"])
    with made as world:
        return SimulatorGrounder(world.render(camera), errors, error_seed)


def errors_of(options: Mapping[str, str]) -> DetectorErrors:
    """Read detector errors from options such as {"misses": "0.1", "masks": "none"}."""
    for unknown in options.keys() - _OF_ERRORS.keys():
        raise UnknownNameError("error of the detector", unknown, _OF_ERRORS)
    return DetectorErrors(**_read(options))


def _read(options: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for name, value in options.items():
        if name not in _DEFAULTS:
            raise UnknownNameError("option of the simulator", name, _DEFAULTS)
        try:
            values[name] = type(_DEFAULTS[name])(value)
        except (TypeError, ValueError) as error:
            raise InputError(f"option {name}", repr(value), "a number") from error
    return values


def simulated_frames(
    world: str, width: int, detector: Mapping[str, str], shots: int
) -> Iterator[tuple[RgbdFrame, tuple[Detection, ...]]]:
    """Render noisy frames, `width` pixels wide, of one world at rest: a name in DEMO_WORLDS, or a seed."""
    options = dict(detector)
    if world in DEMO_WORLDS:
        options["world"] = world
    elif world.isdecimal():
        options["seed"] = world
    else:
        raise UnknownNameError("world", world, (*DEMO_WORLDS, "a seed such as 7"))
    camera = camera_of(width, _SHAPES.get(width, width * 3 // 4))
    grounder = load(**options, width=str(camera.width), height=str(camera.height))
    seen = grounder.rendering
    shiny = seen.shiny if isinstance(seen, PhysicsRendering) else None
    for shot in range(shots):
        frame = noisy(seen.frame, np.random.default_rng(shot), STEREO, shiny)
        yield replace(frame, depth=in_millimetres(frame.depth)), grounder.detections()


def in_millimetres(depth: Depth) -> Depth:
    """Depth rounded to whole millimetres: it then travels as 16UC1."""
    return (np.rint(depth.astype(np.float64) * 1000) * 0.001).astype(np.float32)
