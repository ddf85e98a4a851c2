# SPDX-License-Identifier: Apache-2.0
"""Objects that a person taught by showing them: their looks, and the probability that something is one of them.

An object is kept as views: size, widths at five heights, mean colour, outline and local features. Something raised that
no detection names is compared with all of them. `benchmarks/taught.py` fits the weights, and measures what they give.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, NotUnderstoodError
from spatial_vlm_ros.geometry.boxes import box_around, overlaps
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.geometry.segmentation import masks_from_boxes
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.grounding_checks import never_taken
from spatial_vlm_ros.perception.labels import PART, label_fit
from spatial_vlm_ros.spatial.detector_profile import DetectorProfile
from spatial_vlm_ros.types import Detection, Floats, Mask, NounPhrase, RgbdFrame, Scene, SceneObject

Array = npt.NDArray[np.float32]
Observe = Callable[[RgbdFrame, Sequence[Detection]], Scene]
Names = tuple[tuple[str, float], ...]
"""Names that something may have, with their probabilities; the likeliest first."""

NUMBERS, MOST_LOCAL = 17, 60
"""Numbers of a view: 3 lengths and their deviation, 5 widths (m), mean Lab, 4 of the outline, 1 if partial. Most local
features, of 128 bytes each."""
_SIZE, _SIGMA, _WIDTHS, _LAB, _OUTLINE, _PARTIAL = slice(0, 3), 3, slice(4, 9), slice(9, 12), slice(12, 16), 16
_EDGE, _SHAPE = 1.5, 0.08  # deviations of a length: pixels of its two edges, share by which a completed shape is off
_LARGEST_CROP, _MOST_ENLARGED = 200, 3.0  # pixels of the longer side in which local features are found
_NEAREST, _CHANCE = 0.64, 2  # squared ratio test of Lowe (2004), and matches that two textures have by chance
# Usual differences (20 % and more) from which something is another object, whatever is printed on it.
_OTHER_HEIGHT = 2.5
_WHOLE, _CUT = 0.75, 0.01  # visible share, and metres that may be hidden, of what counts as seen whole
_OUTLINES = np.array((0.08, 0.1, 0.12, 0.05), np.float32)  # usual differences of one outline between views
_SAME_PLACE, _TOUCHED = 0.5, 0.1  # overlap of a box with what depth finds in it; share of it that something may fill
_SIGMAS, _MOVED = 4.0, 0.2  # of depth, by which a place has changed; share of the rest of an image that may
_MOST_REGIONS, _CLOSER, _LISTED = 40, 40, 8  # that are described; views whose local features count; of a message

WEIGHTS = np.array(
    (-1.22, -0.38, -0.52, -0.63, -0.38, -1.59, -2.35, 0.0, -0.04, -0.4, -0.21, -2.63, 2.22, 7.81), np.float32
)
"""Of the differences in `compared`, in its order; then of local features that agree, and the constant: the log of how
much more often one object has these differences than two. Fitted on other objects than the docs measure."""
NONE_OF_THEM = 0.9
"""Prior probability that something raised is no taught object; the taught ones share the rest."""
NAMED, _BESIDE, _RIVAL = 0.5, 0.9, 0.2
"""Least probability of a name, of one in place of a detector's, and of a second name that leaves the first in doubt."""
TAUGHT = DetectorProfile("taught objects", slope=0.0, offset=0.0, recall=0.9, final=True)
"""Of taught objects alone. What is one of them is no other object in view, unless two of its kind are."""


@dataclass(frozen=True, eq=False)
class ShownView:
    """What one look at an object shows."""

    numbers: Array  # (NUMBERS,) float32
    # (n, 128) uint8, n up to MOST_LOCAL: RootSIFT features (Arandjelović and Zisserman 2012) times 512
    local: npt.NDArray[np.uint8]

    @property
    def partial(self) -> bool:
        """Whether something hides a part of the object, or the image cuts it."""
        return bool(self.numbers[_PARTIAL])

    @property
    def size(self) -> tuple[float, float, float, float]:
        """Height, longer and shorter side, and their standard deviation, metres."""
        height, longer, shorter, sigma = self.numbers[:4].tolist()
        return height, longer, shorter, sigma


def view_of(scene: Scene, obj: SceneObject, mask: Mask, config: ResolverConfig) -> ShownView | None:
    """Describe what is seen of an object with this mask in the rectified image; None if it is not measured."""
    if obj.depth_problem is not None or len(obj.points) == 0 or not mask.any():
        return None
    left, top, right, bottom = (int(side) for side in box_around(mask))
    own = np.ascontiguousarray(mask[top:bottom, left:right]).view(np.uint8)
    rgb = scene.frame.rgb[top:bottom, left:right]
    core = cv2.erode(own, np.ones((3, 3), np.uint8), iterations=2, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    lab = cv2.mean(cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab), core if core.any() else own)[:3]
    height, centre = obj.points @ scene.up, obj.surface_centre
    across = np.cross(centre - scene.up * (centre @ scene.up), scene.up)
    aside = obj.points @ (across / max(float(np.linalg.norm(across)), 1e-9))
    low, high = np.percentile(height, (2, 98))
    fifth = np.clip((height - low) / max(high - low, 1e-6) * 5, 0, 4.99).astype(int)
    widths = [np.ptp(np.percentile(aside[fifth == n], (4, 96))) if (fifth == n).sum() > 3 else 0.0 for n in range(5)]
    distance = float(np.linalg.norm(centre))
    sigma = _EDGE * distance / scene.frame.camera.K[0, 0] + float(depth_noise(distance, config.depth))
    sides = sorted(obj.box.size[:2], reverse=True)
    partial = obj.truncated or obj.visible_fraction < _WHOLE or max(obj.cut, obj.cut_above) > _CUT
    outlines, _ = cv2.findContours(own, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    largest = max(outlines, key=cv2.contourArea)
    hull, moments = cv2.contourArea(cv2.convexHull(largest)), cv2.moments(own, True)
    mixed, filled = moments["mu11"], moments["m00"]
    minor, major = np.sqrt(
        np.maximum(np.linalg.eigvalsh(np.array(((moments["mu20"], mixed), (mixed, moments["mu02"]))) / filled), 0.1)
    )
    # The share of the convex hull, and of the box, that the mask fills; its axes' ratio; its share of their ellipse.
    fills = cv2.contourArea(largest) / max(hull, 1.0), filled / own.size, minor / major
    form = *fills, filled / (4 * np.pi * minor * major)
    numbers = np.array((obj.box.size[2], *sides, sigma, *widths, *lab, *form, partial), np.float32)
    if not np.isfinite(numbers).all():
        return None
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    times = min(_MOST_ENLARGED, _LARGEST_CROP / max(grey.shape))
    grey = cv2.resize(grey, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)
    within = cv2.resize(own, grey.shape[::-1], interpolation=cv2.INTER_NEAREST)
    _, found = cv2.SIFT.create(nfeatures=MOST_LOCAL, contrastThreshold=0.03).detectAndCompute(grey, within)
    if found is None:
        return ShownView(numbers, np.empty((0, 128), np.uint8))
    root = np.sqrt(found / np.maximum(found.sum(axis=1, keepdims=True), 1e-6))
    return ShownView(numbers, np.clip(512 * root[:MOST_LOCAL], 0, 255).astype(np.uint8))


# ------------------------------------------------------------------------------------------------ comparing


def compared(taught: Array, seen: Array) -> Array:
    """(V, D): how (V, NUMBERS) taught views differ from one (NUMBERS,) seen view, in usual differences.

    A part of an object may be smaller than all of it, but not larger.
    """
    partial = seen[_PARTIAL] > 0
    sigma = np.hypot(taught[:, _SIGMA], seen[_SIGMA])[:, None]
    sizes, size = np.maximum(taught[:, _SIZE], 1e-3), np.maximum(seen[_SIZE], 1e-3)
    longer = np.log(size / sizes) / np.hypot(sigma / np.minimum(sizes, size), _SHAPE)
    longer = np.minimum(np.maximum(longer, 0) if partial else np.abs(longer), 4)
    floor = np.maximum(taught[:, _WIDTHS], np.maximum(taught[:, [_SIGMA]], 1e-3))
    widths = np.abs(np.log(floor / np.maximum(seen[_WIDTHS], max(float(seen[_SIGMA]), 1e-3)))).mean(axis=1)
    widths = np.full_like(widths, 0.2) if partial else np.minimum(widths, 1)
    (light, *ab), (lights, *abs_) = seen[_LAB], taught[:, _LAB].T
    chroma, chromas = math.hypot(*(v - 128 for v in ab)), np.hypot(*(v - 128 for v in abs_))
    turn = np.arctan2(abs_[1] - 128, abs_[0] - 128) - math.atan2(ab[1] - 128, ab[0] - 128)
    hue = np.abs((turn + np.pi) % (2 * np.pi) - np.pi) * np.sqrt(chroma * chromas) / 10
    paler = np.abs(chroma - chromas) / (10 + 0.25 * np.maximum(chroma, chromas))
    outline = np.minimum(np.abs(taught[:, _OUTLINE] - seen[_OUTLINE]) / _OUTLINES, 4) * (not partial)
    columns = (*longer.T, widths, np.minimum(np.abs(lights - light) / 30, 3), np.minimum(hue, 4), np.minimum(paler, 4))
    return np.column_stack((*columns, outline, np.full(len(taught), partial))).astype(np.float32)


def agreeing(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    """log(1 + n) of the local features of two views that agree, beyond those that agree by chance."""
    if len(one) < 2 or len(other) < 2:
        return 0.0
    a, b = ((some / np.linalg.norm(some.astype(np.float32), axis=1, keepdims=True)) for some in (one, other))
    alike = (a @ b.T).astype(np.float32)
    two = np.sort(alike, axis=1)[:, -2:]
    best = alike.argmax(axis=1)
    clear = (1 - two[:, 1] < _NEAREST * (1 - two[:, 0])) & (alike.argmax(axis=0)[best] == np.arange(len(alike)))
    return math.log1p(max(0, int(clear.sum()) - _CHANCE))


@dataclass(frozen=True, eq=False)
class TaughtObjects:
    """All taught objects, as they are in a store."""

    names: tuple[str, ...]
    owners: npt.NDArray[np.intp]  # (V,) row of the object that each view shows, ascending
    numbers: Array  # (V, NUMBERS) float32
    local: Sequence[npt.NDArray[np.uint8]]  # V times (n, 128) uint8

    def likelihood_ratios(self, seen: Sequence[ShownView]) -> Floats:
        """(R, K): how much likelier each looks as it does if it is an object than if not; all views count alike."""
        found = np.zeros((len(seen), len(self.names)))
        views = np.bincount(self.owners, minlength=len(self.names))
        for row, one in enumerate(seen if self.names else ()):
            differences = compared(self.numbers, one.numbers)
            log_odds = differences @ WEIGHTS[:-2] + WEIGHTS[-1]
            for view in np.argsort(-log_odds)[:_CLOSER].tolist():
                log_odds[view] += WEIGHTS[-2] * agreeing(self.local[view], one.local)
            log_odds[differences[:, 0] > _OTHER_HEIGHT] = -np.inf
            found[row] = np.bincount(self.owners, np.exp(log_odds.astype(np.float64)), len(self.names)) / views
        return found

    def alike(self, name: str, shown: Sequence[ShownView]) -> tuple[bool | None, list[str]]:
        """Whether new views look like the earlier ones of a name (None without any); names that they look like, too."""
        rows = np.flatnonzero((_alone(self.likelihood_ratios(shown)) > _RIVAL).max(axis=0)).tolist()
        like = [self.names[row] for row in rows]
        return name in like if name in self.names else None, [other for other in like if other != name]

    def names_of(self, seen: Sequence[ShownView]) -> list[Names]:
        """The names of each of R things: none, one, or those between which nothing decides, with their probabilities.

        Where a thing looks like two objects that look like each other, differences between them decide nothing.
        """
        found = []
        for ratios in self.likelihood_ratios(seen):
            share = ratios * (1.0 - NONE_OF_THEM) / max(1, len(self.names))
            share = share / (NONE_OF_THEM + share.sum())
            fitting = [row for row in np.argsort(-share).tolist() if _alone(ratios[row]) > _RIVAL]
            if fitting:
                views = np.flatnonzero(self.owners == fitting[0]).tolist()
                own = [ShownView(self.numbers[view], self.local[view]) for view in views]
                twins = {self.names[fitting[0]], *self.alike(self.names[fitting[0]], own)[1]}
                rows = [row for row in fitting if self.names[row] in twins]
                share[rows] = share[rows].mean()
            kept = [row for row in fitting if share[row] >= _RIVAL]
            sure = sum(share[row] for row in fitting) >= NAMED
            found.append(tuple((self.names[row], float(share[row])) for row in kept) if sure else ())
        return found


def _alone(ratios: Floats) -> Floats:
    odds = ratios * (1.0 - NONE_OF_THEM) / NONE_OF_THEM
    return np.asarray(odds / (1.0 + odds), np.float64)


# ------------------------------------------------------------------------------------------------ in a frame


@dataclass(frozen=True, eq=False)
class NamedFrame:
    """The detections of a frame, with those that taught objects name."""

    # as given, taught names in place of others; then what had no detection, with its mask
    detections: tuple[Detection, ...]
    names: dict[str, Names]

    def grounding(self, before: Grounding, phrases: Sequence[NounPhrase], profile: DetectorProfile) -> Grounding:
        """Match the phrases: a detection keeps what its detector said, as boxes of one object pass on their names."""
        match = np.zeros((len(phrases), len(self.detections)))
        match[:, : len(before.detections)] = before.match
        labels = dict(profile.labels)
        for column, one in enumerate(self.detections):
            names = self.names.get(one.id, ())
            total = sum(p for _, p in names)
            for row, phrase in enumerate(phrases if names else ()):
                fit = sum(p * label_fit(phrase.category, name) for name, p in names) / total
                match[row, column] = max(match[row, column], fit)
            if names:  # the same name twice: the less sure one counts
                shift = math.log(one.score / (1.0 - one.score)) - profile.offset - profile.slope * one.score
                labels[one.label] = min(shift, labels.get(one.label, math.inf))
        final = dataclasses.replace(profile, labels=labels, final=True) if self.names else profile
        return dataclasses.replace(before, detections=self.detections, match=match, profile=final)


def raised_objects(
    frame: RgbdFrame, detections: Sequence[Detection], observe: Observe, config: ResolverConfig
) -> list[tuple[Detection, ShownView | None]]:
    """What stands in a rectified frame: the detections, then what has none, each with its view, and a mask."""
    if not frame.camera.is_rectified:
        repair = "rectify the images (image_proc), and pass their camera info"
        raise InputError("images", "not rectified", "rectified images for taught objects", repair)
    scene = observe(frame, detections)
    free = [Detection(one.id, "object", NAMED, one.box) for one in scene.unexplained[:_MOST_REGIONS]]
    patches = masks_from_boxes(scene.frame, [*detections, *free], scene.support, config.depth, config.lift)
    masks = [patch.full(frame.depth.shape) for patch in patches]
    cut = [
        dataclasses.replace(one, mask=mask, box_xyxy=box_around(mask))
        for one, mask in zip(free, masks[len(detections) :], strict=True)
    ]
    scene = observe(scene.frame, [*detections, *cut]) if cut else scene
    never = {one.id for one, big in zip(detections, never_taken(detections, frame.camera), strict=True) if big}
    objects = {obj.id: obj for obj in scene.objects if obj.id not in never}
    return [
        (one, view_of(scene, objects[one.id], mask, config) if one.id in objects else None)
        for one, mask in zip((*detections, *cut), masks, strict=True)
    ]


def named_frame(
    taught: TaughtObjects, frame: RgbdFrame, detections: Sequence[Detection], observe: Observe, config: ResolverConfig
) -> NamedFrame:
    """Name what is seen of taught objects; a sure name takes the place of a class name on the same object."""
    found = [(one, view) for one, view in raised_objects(frame, detections, observe, config) if view is not None]
    taken, made, named = {one.id for one in detections}, {one.id: one for one in detections}, {}
    free = (name for name in map("taught_{}".format, itertools.count(1)) if name not in taken)
    for (one, _), names in zip(found, taught.names_of([view for _, view in found]), strict=True):
        if names and (one.id not in taken or sum(p for _, p in names) >= _BESIDE):
            id_ = one.id if one.id in taken else next(free)
            label, sure = " or ".join(name for name, _ in names), min(names[0][1], 0.999)
            made[id_] = dataclasses.replace(one, id=id_, label=label, score=sure)
            named[id_] = names
    return NamedFrame(tuple(made.values()), named)


# ------------------------------------------------------------------------------------------------ teaching


def plain_name(name: str) -> str:
    """A name as it is kept."""
    return " ".join(name.split()).lower()


def sayable(name: str) -> str:
    """A name as it is kept; InputError if a request cannot mean an object by it."""
    plain = plain_name(name)
    if len(plain) > 60 or not plain.isprintable():
        raise InputError("name", repr(name), "up to 60 characters")
    try:
        said: Any = parse(f"the {plain}")[0].target if plain else None
    except NotUnderstoodError:
        said = None
    plainly = said is not None and not (said.relations or said.superlative or said.ordinal or said.choice)
    if not plainly or said.category == "object" or label_fit(said.category, plain) < PART:
        raise InputError("name", repr(name), "a noun, with words before it if you like", 'use "bonnet" or "red mug"')
    return plain


def shown_view(
    frame: RgbdFrame,
    observe: Observe,
    config: ResolverConfig,
    at: tuple[float, float] | None = None,
    box: tuple[float, float, float, float] | None = None,
    before: RgbdFrame | None = None,
) -> tuple[ShownView, bool]:
    """The view of the one object that is shown, and whether depth alone finds it.

    It is at a pixel, in a box, or not in the frame `before`, of a camera that did not move; else it must stand alone.
    InputError if nothing or several things are shown, or if it is not seen whole or not measured.
    """
    standing = [
        (one, view, one.mask) for one, view in raised_objects(frame, (), observe, config) if one.mask is not None
    ]
    found, masks = [(one, view) for one, view, _ in standing], [mask for _, _, mask in standing]
    meant, where, alone = [True] * len(found), "in view", True
    if at is not None:
        where, (x, y) = f"at {at[0]:g},{at[1]:g}", (int(side) if math.isfinite(side) else -1 for side in at)
        within = 0 <= y < frame.camera.height and 0 <= x < frame.camera.width
        meant = [within and bool(mask[y, x]) for mask in masks]
    elif box is not None:
        shown, where = Detection("shown", "object", 1.0, box), "in the box"
        same = overlaps(box, [one.box_xyxy for one, _ in found])[0] >= _SAME_PLACE
        left, top, right, bottom = (max(0, int(side)) for side in box)
        least = _TOUCHED * (right - left) * (bottom - top)
        meant = [bool(np.count_nonzero(mask[top:bottom, left:right]) > least) for mask in masks]
        if not any(meant):  # nothing raised: it is flat
            found, meant, alone = raised_objects(frame, (shown,), observe, config)[:1], [True], False
        elif not same.any():
            got = "what stands in the box reaches out of it"
            raise InputError("what is shown", got, "one object that touches no other", "put it into the open")
    elif before is not None:
        where, meant = "newly put down", _put_down(before, frame, masks, config)
    chosen = [pair for pair, is_meant in zip(found, meant, strict=True) if is_meant]
    if len(chosen) != 1:
        boxes = [one.box_xyxy for one, _ in (chosen or found)[:_LISTED]]
        there = ", ".join(f"{(left + right) / 2:.0f},{(top + bottom) / 2:.0f}" for left, top, right, bottom in boxes)
        got = f"{len(chosen) or 'nothing'} {where}; objects stand at {there or 'no pixel'}"
        raise InputError("what is shown", got, "one object that stands alone", "choose a pixel of it, or a box")
    view = chosen[0][1]
    if view is None or view.partial:
        got = "its depth is not measured" if view is None else "something hides a part of it, or the image cuts it"
        raise InputError("what is shown", got, "one object, seen whole", "put it into the open, nearer or turned")
    return view, alone


def _put_down(before: RgbdFrame, now: RgbdFrame, masks: Sequence[Mask], config: ResolverConfig) -> list[bool]:
    """Which objects were not there before: what was seen in their place was farther away."""
    if before.depth.shape != now.depth.shape:
        raise InputError("frame before", "of another size", "a frame of the same camera")
    nearer = before.depth - now.depth
    noise = np.sqrt(2) * depth_noise(np.fmax(before.depth, now.depth), config.depth)
    clearly, rest = _SIGMAS * noise + config.lift.support_height, np.isfinite(nearer)
    new = [np.count_nonzero(mask & (nearer > clearly)) > 0.5 * np.count_nonzero(mask & rest) for mask in masks]
    for mask in masks:
        rest = rest & ~mask
    if int(np.count_nonzero(rest & (np.abs(nearer) > clearly))) > _MOVED * max(1, int(np.count_nonzero(rest))):
        raise InputError("frame before", "most of it differs", "a camera that did not move", "choose by pixel or box")
    return [bool(one) for one in new]
