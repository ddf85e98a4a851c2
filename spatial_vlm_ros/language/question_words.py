# SPDX-License-Identifier: Apache-2.0
"""Word tables of questions about space, read once from [questions] of words.toml, which says what each of them is."""

from __future__ import annotations

from spatial_vlm_ros.language import patterns
from spatial_vlm_ros.types import FrameOfReference
from spatial_vlm_ros.types.query import Length

phrase_set = patterns.phrase_set
_TABLES = patterns.WORDS.under("questions")
CONTRACTED = {word: tuple(meaning.split()) for word, meaning in _TABLES.meanings("contracted").items()}
OPENINGS, CLOSINGS, INDIRECT, POSSIBLY = map(_TABLES.phrases, ("openings", "closings", "indirect", "possibly"))
BE, ARE_NOT, MODALS, PUTTING = map(_TABLES.words, ("be", "are_not", "modals", "putting"))
ARTICLES, NO_PREDICATES = map(_TABLES.words, ("articles", "no_predicates"))
ADVERBS = _TABLES.patterns("adverbs")
EXCLAIMED, SEEN = map(_TABLES.phrases, ("exclaimed", "seen"))
SEEING, STANDS = map(_TABLES.words, ("seeing", "stands"))
FROM, EACH_OTHER, RELATED = map(_TABLES.phrases, ("from", "each_other", "related"))
LENGTH_NOUNS, UNITS, UNMEASURED = map(_TABLES.words, ("length_nouns", "units", "unmeasured"))
MANY = {("many", unit) for unit in UNITS}
FARTHEST, FAR, AWAY, SPACE = map(_TABLES.words, ("farthest", "far", "away", "space"))
ROOM, FREE, LEFT_OVER, FITTING, STANDING = map(_TABLES.words, ("room", "free", "left_over", "fitting", "standing"))
LENGTHS: dict[str, Length] = _TABLES.meanings("lengths")
COMPARATIVES: dict[str, Length] = _TABLES.meanings("comparatives")
SUPERLATIVE_OF: dict[str, str] = _TABLES.meanings("superlatives")
HOLDING: dict[str, str] = _TABLES.meanings("holding")
NEARNESS = {"nearest": "closest to", "farthest": "farthest from"}
VIEWERS = {tuple(said.split()): FrameOfReference(whose) for said, whose in _TABLES.meanings("viewers").items()}
COMPARED_ONES = patterns.phrase_set("one of? them?", "object|thing|item", "of them|these|the two")
"""Words after "which" in "which one is taller?"."""
SIDES_OF = (("left", "of"), ("right", "of"), ("in", "front", "of"), ("behind",))
"""Answers to "which side of the box is it on?"."""
