# SPDX-License-Identifier: Apache-2.0
"""Judge if an attribute fits, by the detector's words, the label, pixels (colour), or comparison (size).

If none of these can tell, the attribute stays undecided (0.5); it never counts as a yes.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.camera import project
from spatial_vlm_ros.language.lexicon import NOT, WITH
from spatial_vlm_ros.spatial.belief import normal_cdf
from spatial_vlm_ros.spatial.colours import both_basic, colour_family, near_families, of_material, other_material
from spatial_vlm_ros.spatial.layout import Array, Layout, Viewpoint
from spatial_vlm_ros.spatial.states import EMPTY, LOOSE, STATES, state_chance
from spatial_vlm_ros.spatial.superlatives import MEDIUM, SIZE_WORDS
from spatial_vlm_ros.types import Detection, SceneObject

YES, NEAR, UNKNOWN, NO = 0.97, 0.4, 0.5, 0.02
_SAMPLED_PIXELS = 800
_LIT = 0.15  # fraction of an object's pixels that shows the colour of its lit side
_SHARE, _SHARE_WIDTH = 0.25, 0.06  # fraction of pixels that makes an object "the red one", and the width of that limit

# Hues in degrees at the borders between families.
_HUES = (
    (15, "red"), (42, "orange"), (68, "yellow"), (160, "green"), (195, "teal"), (260, "blue"), (295, "purple"),
    (345, "pink"), (361, "red"),
)  # fmt: skip


def attribute_likelihood(word: str, layout: Layout, view: Viewpoint, members: npt.NDArray[np.bool_]) -> Array:
    """(N,) probability, 0..1, that an attribute, "not " before it if denied, fits each object.

    Sizes are compared among `members` (N,), the objects of the right name; a word that fits one of them better counts
    as a contrast. Other rows are judged too.
    """
    if word.startswith(NOT):  # unknown stays so, unless it surely misfits another object
        word = word.removeprefix(NOT)
        fits = attribute_likelihood(word, layout, view, members)
        if word in SIZE_WORDS and members.sum() < 2:
            return fits  # if there is only one, any size fits
        misfits = bool((fits[members] <= 0.1).any())
        return np.where(fits == UNKNOWN, NO if misfits else UNKNOWN, 1.0 - fits)
    objects = layout.scene.objects
    said = np.array([_said(word, o.detection) for o in objects])
    family = colour_family(word)
    if family is not None and " and " not in word:
        rows = np.flatnonzero(np.isnan(said))
        for row in rows:  # by the fraction of the object's pixels that have the colour
            shares = colour_shares(objects[row], layout)
            said[row] = UNKNOWN
            if shares and family != "clear":
                near = sum(s for other, s in shares.items() if near_families(family, other))
                likelihood = float(normal_cdf(np.array([(shares.get(family, 0.0) - _SHARE) / _SHARE_WIDTH]))[0])
                said[row] = max(NO + (YES - NO) * likelihood, NEAR if near > 2 * _SHARE else NO)
    elif word in STATES:
        told = state_chance(word, layout)
        if word in (EMPTY, LOOSE) and (told[members] == 0.0).any():  # next to one that is not, the one that shows it
            told = np.where(np.isnan(told) & members & layout.measured, 1.0, told)
        chance = NO + (YES - NO) * told
        said = np.where(np.isnan(said), chance, said)
    elif word in SIZE_WORDS:
        make, large = SIZE_WORDS[word]
        key = make(layout, view)
        value = key.value if large else -key.value
        rows = np.flatnonzero(members & np.isfinite(value))
        for row in np.flatnonzero(np.isfinite(value) & np.isnan(said)):  # by comparison with the other members
            others = rows[rows != row]
            spread = np.maximum(np.hypot(key.sigma[row], key.sigma[others]), 1e-6)
            said[row] = normal_cdf((value[row] - value[others]) / spread).mean() if len(others) else YES
        said = np.where(np.isnan(said), UNKNOWN, said)
    sure = bool((np.nan_to_num(said)[members] >= 0.9).any())
    undecided = NO if sure else UNKNOWN
    said = np.where(np.isnan(said), undecided, said)
    return np.where((said == NEAR) & sure, NO, said)


def is_measured(word: str) -> bool:
    """True if pixels, sizes or boxes can decide an attribute for a measured object."""
    word = word.removeprefix(NOT)
    return colour_family(word) is not None or word in SIZE_WORDS or word in STATES


def is_comparison(word: str, layout: Layout) -> bool:
    """True if an attribute is a size that no detector states, so it can only be compared."""
    return word in SIZE_WORDS.keys() | MEDIUM and all(np.isnan(_said(word, o.detection)) for o in layout.scene.objects)


def _said(word: str, detection: Detection) -> float:
    """The detector's own words about an attribute: YES, NEAR, NO, or NaN if they say nothing."""
    given = [a.lower() for a in detection.attributes]
    if word.startswith(WITH):
        said = word.removeprefix(WITH).split()  # a part or a mark; it misfits if that has another colour
        colour = colour_family(said[-2]) if len(said) > 1 else None
        for words in (each.replace("-", " ").split() for each in (detection.label.lower(), *given)):
            if any(words[i : i + len(said)] == said for i in range(len(words))):
                return YES
            before = [colour_family(words[i - 1]) for i in range(1, len(words)) if words[i] == said[-1]]
            if colour is not None and any(family not in (None, colour) for family in before):
                return NO
        return float("nan")
    if word in given or word in detection.label.lower().split():
        return YES
    family = colour_family(word)
    families = stated_colours(detection)
    modifiers = detection.label.lower().replace("-", " ").split()[:-1]  # its head may sound like one: a tin, a glass
    if of_material(word, (*modifiers, *given)):
        return YES
    if other_material(word, (*modifiers, *given)):
        return NO
    if family is None or not families:
        return float("nan")
    if family in families:
        return YES
    return NEAR if any(near_families(family, f) and not both_basic(family, f) for f in families) else NO


def stated_colours(detection: Detection) -> frozenset[str]:
    """Colour families that the detector's attributes state; if they state none, those of its label."""
    for words in (detection.attributes, detection.label.lower().replace("-", " ").split()):
        families = frozenset(f for f in map(colour_family, (w.lower() for w in words)) if f is not None)
        if families:
            return families
    return frozenset()


def more_than_said(words: Sequence[str], layout: Layout, members: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(N,) bool: True for an object with more colours than said, if another of `members` has only the colours said.

    "The white mug" is the white one, not the yellow and white one, because that description would be incomplete.
    """
    said = frozenset(f for f in map(colour_family, words) if f is not None)
    if any(word.startswith(NOT) for word in words):
        said = frozenset()
    more = np.zeros(len(layout), np.bool_)
    if said and members.sum() > 1:
        for row in np.flatnonzero(members):
            obj = layout.scene.objects[row]
            shares = {} if (stated := stated_colours(obj.detection)) else colour_shares(obj, layout)
            seen = stated | {family for family, share in shares.items() if share > _SHARE}
            more[row] = any(f not in said and not any(near_families(f, one) for one in said) for f in seen)
    return more if (members & ~more).any() else np.zeros_like(more)


def colour_shares(obj: SceneObject, layout: Layout) -> dict[str, float]:
    """Fraction of each colour family among an object's visible pixels; empty if it was not measured."""
    points = obj.points[:: max(1, len(obj.points) // _SAMPLED_PIXELS)]
    if not len(points):
        return {}
    frame = layout.scene.frame
    pixels = np.rint(project(frame.camera, points)).astype(int)
    height, width = frame.depth.shape
    u, v = np.clip(pixels[:, 0], 0, width - 1), np.clip(pixels[:, 1], 0, height - 1)
    hsv = cv2.cvtColor(frame.rgb[v, u][None].astype(np.float32) / 255, cv2.COLOR_RGB2HSV)[0]
    hue, saturation, value = hsv.T
    names = np.empty(len(hue), dtype="U6")
    for limit, family in reversed(_HUES):
        names[hue < limit] = family
    names[(names == "orange") & (value < 0.65)] = "brown"
    names[(names == "red") & (value < 0.35)] = "brown"
    names[(names == "orange") & (saturation < 0.4) & (value >= 0.65)] = "beige"
    names[(names == "red") & (saturation < 0.5) & (value > 0.6)] = "pink"
    pale = saturation < 0.18
    names[pale & (value >= 0.7)] = "white"
    names[pale & (value < 0.7)] = "grey"
    names[value < 0.2] = "black"
    families, counts = np.unique(names, return_counts=True)
    # Shaded pixels get the colour of the lit side: grey to white, brown to orange or red.
    shares = {str(f): float(c) / len(names) for f, c in zip(families, counts, strict=True)}
    for dark, lights in (("grey", ("white",)), ("black", ("white",)), ("brown", ("orange", "red"))):
        for light in lights:
            if shares.get(light, 0.0) >= _LIT and dark in shares and (dark != "black" or shares[dark] < _LIT):
                shares[light] += shares.pop(dark)
    return shares
