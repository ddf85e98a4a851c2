# SPDX-License-Identifier: Apache-2.0
"""Anchors without detections: the support plane ("on the table") and parts of furniture ("the top drawer")."""

from __future__ import annotations

import dataclasses

import numpy as np

from spatial_vlm_ros.language.lexicon import ITSELF
from spatial_vlm_ros.language.part_words import CENTRES, CORNERS, EDGES, IN, ON
from spatial_vlm_ros.language.patterns import word_set
from spatial_vlm_ros.spatial.belief import PhraseBelief
from spatial_vlm_ros.spatial.layout import Layout
from spatial_vlm_ros.types import Destination, NounPhrase, RelationClause

SUPPORT_NOUNS = word_set(
    """table tabletop desk desktop counter countertop worktop bench workbench floor ground surface bin bed island
    vanity windowsill"""
)
LOWEST_NOUNS = frozenset({"floor", "ground"})
_CLEARLY_LOWER = 0.15  # metres below the support plane from which a surface is the floor
_LOWER_SHARE = 0.03  # fraction of the image that shows it

_STACKED = frozenset({"drawer", "shelf", "level", "tier", "rack", "layer", "deck"})
_SIDE_BY_SIDE = frozenset({"compartment", "section", "half", "part", "area", "side", "slot", "division"})
_HOLDS = frozenset({"on", "inside", "part of"})
_PLAIN = {
    **dict.fromkeys(CENTRES, "at the centre of"),
    **dict.fromkeys(CORNERS, "at the corner of"),
    **dict.fromkeys(EDGES, "at the edge of"),
}
_PARTS = {
    "highest": "at the top of",
    "lowest": "at the bottom of",
    "leftmost": "at the left side of",
    "rightmost": "at the right side of",
    "nearest": "at the front of",
    "farthest": "at the back of",
}


def as_part(
    clause: RelationClause, anchors: tuple[PhraseBelief, ...], layout: Layout, found: float
) -> tuple[RelationClause, tuple[PhraseBelief, ...]] | None:
    """Replace an anchor, whose name fits less than `found`, by a part of furniture; None if that is not needed.

    "in the top drawer of the cabinet" becomes "at the top of the cabinet". So does "on the upper shelf" if exactly one
    object is called a shelf: "upper" needs several, so the object is a rack of them. An edge, a corner or a centre
    without an owner belongs to the table.
    """
    phrase = clause.anchors[0]
    noun = phrase.category.split()[-1]
    if len(clause.anchors) != 1 or clause.relation not in _HOLDS or phrase.also is not None:
        return None
    if noun not in _STACKED | _SIDE_BY_SIDE | _PLAIN.keys():
        return None
    part = _PARTS.get(phrase.superlative or "", _PLAIN.get(noun))
    if phrase.superlative == "middle" and noun not in _PLAIN:
        part = "in the middle of the height of" if noun in _STACKED else "at the centre of"
    if part is None:
        return None
    belief = anchors[0]
    labelled = int((belief.fit >= found).sum())
    owners = [c for c in belief.clauses if c.name == "part of" and not c.negated]
    if labelled == 0 and owners:
        owner = owners[0].inner[0]
    elif labelled == 0 and noun in _PLAIN:
        owner = _supports(phrase, layout)
    elif labelled == 0 and phrase.category == "side":  # "put the cup on the left": of whatever supports the objects
        owner = _supports(NounPhrase("table"), layout)
    elif labelled == 1 and not owners and phrase.superlative is not None:
        bare = dataclasses.replace(phrase, superlative=None, frame=None)
        owner = PhraseBelief(bare, belief.fit, belief.fit, ())
    else:
        return None
    frame = clause.frame or phrase.frame
    said = IN if clause.relation == "inside" else clause.preposition or (ON if clause.relation == "on" else None)
    return dataclasses.replace(clause, relation=part, anchors=(owner.phrase,), frame=frame, preposition=said), (owner,)


def is_plain(phrase: NounPhrase) -> bool:
    """True if a phrase is a part of a surface: its edge, corner, centre or a side."""
    return phrase.category.split()[-1] in _PLAIN.keys() | _SIDE_BY_SIDE


def _supports(phrase: NounPhrase, layout: Layout) -> PhraseBelief:
    heads = [obj.detection.label.lower().split()[-1:] for obj in layout.scene.objects]
    fit = np.array([bool(SUPPORT_NOUNS.intersection(head)) for head in heads], np.float64)
    return PhraseBelief(NounPhrase("table") if fit.any() else phrase, fit, fit, ())


def is_shift(destination: Destination) -> bool:
    """True if a destination is relative to the object's current position."""
    return destination.anchors[0].category == ITSELF


def is_person(phrase: NounPhrase) -> bool:
    """True if a phrase is the speaker or the robot: viewpoints and recipients, not objects with a measured position."""
    return phrase.category in ("me", "you")


def is_support_phrase(phrase: NounPhrase) -> bool:
    """True if a phrase names only the support: "the table"."""
    return phrase.category in SUPPORT_NOUNS and not phrase.relations and phrase.superlative is None


def is_support(clause: RelationClause, anchor: PhraseBelief, layout: Layout, found: float) -> bool:
    """True if a clause says "on the table" and no detection has that label, so that the support plane is meant."""
    scene = layout.scene
    if clause.relation != "on" or scene.support is None or not is_support_phrase(anchor.phrase):
        return False
    if (anchor.fit >= found).any():
        return False
    if anchor.phrase.category not in LOWEST_NOUNS:
        return True
    # A surface that is visible well below the support plane is the floor.
    depth, K = scene.frame.depth[::8, ::8], scene.frame.camera.K
    v, u = np.nonzero(np.isfinite(depth))
    z = depth[v, u].astype(np.float64)
    points = np.column_stack(((8 * u - K[0, 2]) / K[0, 0] * z, (8 * v - K[1, 2]) / K[1, 1] * z, z))
    lower = np.count_nonzero(scene.support.height(points) < -_CLEARLY_LOWER)
    return bool(lower <= _LOWER_SHARE * depth.size)
