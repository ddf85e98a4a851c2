# SPDX-License-Identifier: Apache-2.0
"""Tables of the closed word classes. To teach the parser a word, add it to its table.

Phrases are written as slots: alternatives in a slot are separated by "|", and a slot that ends in "?" is optional.
Nouns are an open class: a word that is in no table is read as a noun.
"""

from __future__ import annotations

from spatial_vlm_ros.types import FrameOfReference

# ------------------------------------------------------------------------------------------------ determiners, numbers

DETERMINERS = (
    "the", "a", "an", "these", "those", "my", "your", "our", "his", "her", "their", "some", "the only", "such a"
)  # fmt: skip
ANY = "any"
CHOICES = ("any", "any old", "whichever", "whatever", "any single", "no matter which", "either", "a random",
           "any random",
           "just any")  # fmt: skip
"""Determiners that leave the choice open."""
RELATIVE_CHOICES = frozenset({"whichever", "whatever", "no matter which"})
"""Those of `CHOICES` that take a verb ("whichever mug is nearest")."""
ONE_OF = 0
"""Quantity of "the tallest of the mugs": one of several."""
ANY_OF = -2
"""Quantity of "one of the mugs": any one of several."""
VAGUE = -3
"""Quantity of "a few mugs": several, without a number."""
QUANTITIES: dict[str, int] = {
    "all of? the|these|those|my?": -1, "every": -1, "each": -1, "every single": -1, "both of? the|these|those|my?": 2,
    "several": VAGUE, "a few": VAGUE, "a couple of?": 2, "a pair of": 2, "pair of": 2, "the pair of": 2,
    "the couple of": 2, "some of the|these|those|my": VAGUE, "few": VAGUE, "many": VAGUE, "multiple": VAGUE,
    "half a dozen": 6, "a dozen": 12, "a number of": VAGUE, "each and every": -1,
    "every one of the|these|those|my": -1, "the both": 2,
    "any|one|either of the|these|those|my": ANY_OF, "any|either one of the|these|those|my": ANY_OF, "any one": ANY_OF,
    "various": VAGUE, "each of the": -1, "the few": VAGUE, "just one of the|these|those": ANY_OF,
    "whichever of the|these|those": ANY_OF,
}  # fmt: skip
ALONE: dict[str, int] = {
    "both": 2, "both of them|these|those": 2, "the two of them": 2, "all of them|these|those": -1, "all": -1,
    "each of them": -1, "every one of them|these|those": -1, "either": ANY_OF, "any": ANY_OF, "any one": ANY_OF,
    "either|any of them|these|those": ANY_OF, "either|any one of? them|these|those?": ANY_OF,
    "one of them|these|those": ANY_OF, "whichever": ANY_OF, "all three": 3, "all four": 4, "all five": 5, "all six": 6,
}  # fmt: skip
"""Quantities without a noun; the object is then "one"."""
OTHERS: dict[str, str] = {
    "other": "other",
    "another": "another",
    "different": "another",
    "a different": "another",
    "others": "other",
    "remaining": "other",
    "any other": "another",
    "some other": "another",
}
"""Words for an object other than the one meant so far."""
_NUMBERS = (
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
NUMBERS = {word: value for value, word in enumerate(_NUMBERS.split(), 2)}
_ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
)
ORDINALS = {word: value for value, word in enumerate(_ORDINALS.split(), 1)}
FROM_THE_LAST: dict[int, tuple[str, ...]] = {
    -1: ("last",),
    **{-n: (f"{word} to|from the? last", f"{word} last") for word, n in ORDINALS.items() if 1 < n <= 10},
}
FROM_THE_LAST[-2] += ("next to last", "last but one", "penultimate", "one before the? last", "2nd to|from the? last")
FROM_THE_LAST[-3] += ("last but two", "antepenultimate", "3rd to|from the? last")
"""Ordinals that count from the end."""
PORTIONS = ("half|most|much of? the|these|those|my|a|an|it|them", "half", "most",
            "a|one|two|three half|quarter|third|quarters|thirds of")  # fmt: skip
"""Parts of an object, or of a number of objects, that cannot be picked up as such."""
SIGNS = frozenset({"minus", "negative", "plus"})
"""Signs of a number."""
MEASURE_PHRASES = ("piece|pieces|bit|slice|item of", "kind|type of")
"""Dropped before a noun ("a piece of paper")."""
PRONOUNS: dict[str, int | None] = {"it": None, "this": None, "something": None, "anything": None, "everything": -1,
                                   "them": -1, "whatever": None}  # fmt: skip
REFLEXIVES = ("itself", "themselves", "themself", "each other", "one another")
"""Words that relate an object to itself."""
ANYWHERE = (
    "anywhere|somewhere|wherever|someplace",
    "any|some place|spot",
    "anywhere|wherever you like|want|can",
)
"""A place without a description."""
ITSELF = "itself"
"""Noun of the anchor of "10 cm to the left": the object's current position."""
SHIFTS = {"left": "left of", "right": "right of"}
"""Directions in which an object can be moved from its current position."""
DIRECTIONS = frozenset({"forward", "forwards", "backward", "backwards", "up", "upward", "upwards", "down", "downward",
                        "downwards", "back", "ahead", "away", "over", "sideways"})  # fmt: skip
"""Directions of a motion that are too vague to determine a goal."""
SURFACE = "surface"
"""Noun of the surface that supports the objects, if it is not named."""
THERE = "there"
"""Stands for the relation of "put it there" until it is known if that is in or on an object."""
STEP_PLACES = {"there": THERE, "over there": THERE, "right there": THERE, "in there": "inside", "inside": "inside",
               "in": "inside", "on there": "on", "on top": "on", "on": "on", "underneath": "under", "beneath": "under",
               "beside": "next to", "alongside": "next to", "nearby": "near", "behind": "behind",
                   "in front": "in front of",
               "above": "above", "below": "below", "to the left": "left of", "to the right": "right of",
               "back": THERE, "back there": THERE, "back in": "inside", "back inside": "inside"}  # fmt: skip
"""Places without an anchor in a later command: in, on or beside the object of the earlier one."""
OPENABLE = frozenset({"open", "close"})
"""Actions on an object that others can be put into."""
MOVING = frozenset({"pick", "give", "place"})
"""Actions that move an object to or from somewhere."""
PLACEHOLDERS = frozenset(["object", "thing", "item", "one", "stuff"])
"""Nouns without a kind; their category is "object"."""
NOT = "not "
"""Begins an attribute that is denied ("not red")."""
WITH = "with "
"""Begins an attribute that names a part or a mark ("with blue lid")."""
PERSONS = {"me": "me", "myself": "me", "us": "me", "you": "you", "yourself": "you"}
"""Anchors that are persons ("next to me"); these words are never labels."""

# ------------------------------------------------------------------------------------------------ superlatives, sides

SUPERLATIVES: dict[str, tuple[str, ...]] = {
    "leftmost": ("leftmost", "left most", "furthest|farthest to the? left", "furthest|farthest left", "far left",
        "lefthand", "left hand", "left hand side", "left handed",
        "extreme left"),
    "rightmost": ("rightmost", "right most", "furthest|farthest to the? right", "furthest|farthest right", "far right",
        "righthand", "right hand", "right hand side",
        "extreme right"),
    "nearest": ("nearest", "closest", "frontmost", "front most", "foremost", "most near", "nearmost", "least distant",
        "closer", "nearer"),
    "farthest": ("farthest", "furthest", "most distant", "rearmost", "backmost", "back most", "hindmost", "furthermost",
        "most remote", "further", "farther", "far away", "furthest|farthest|furthermost away|off|out"),
    "highest": ("highest", "highest up", "topmost", "top most", "uppermost", "upper", "higher", "upmost"),
    "lowest": ("lowest", "lowest down", "bottommost", "bottom most", "lowermost", "undermost", "lower"),
    "tallest": ("tallest", "taller"),
    "shortest": ("shortest", "shorter"),
    "largest": ("biggest", "largest", "bigger", "larger", "greatest", "hugest", "most big"),
    "smallest": ("smallest", "tiniest", "littlest", "smaller", "most small"),
    "widest": ("widest", "broadest", "wider"),
    "narrowest": ("narrowest", "narrower"),
    "longest": ("longest", "longer"),
    "thinnest": ("thinnest", "thinner", "slimmest"),
    "thickest": ("thickest", "thicker", "fattest"),
    "middle": ("middle", "central", "middlemost", "centermost", "centremost", "most central", "center", "centre"),
}  # fmt: skip
"""Superlative → ways of saying it; a comparative before a noun ("the taller mug") means the extreme, too."""

POSITION_WORDS = {"left": "leftmost", "right": "rightmost", "top": "highest", "bottom": "lowest", "back": "farthest",
                  "rear": "farthest", "front": "nearest", "far": "farthest", "near": "nearest", "middle": "middle",
                  "center": "middle", "centre": "middle", "upper": "highest", "lower": "lowest"}  # fmt: skip
"""Words before a noun that pick a side ("the top can")."""

SIDES: dict[str, tuple[str, ...]] = {
    "leftmost": ("on|at|to the very|far|extreme? left hand? side|end|edge?", "on|to|at the lefthand side",
        "on left side?", "to left", "at left", "all the way to|on the left", "on the leftmost side",
        "closest|nearest|closer|nearer to the left side?", "the? most to|on|at|towards the left hand? side?",
        "at|on|to extreme left",
        "the? most to|on left", "furthest|farthest over|along? to|on the left"),
    "rightmost": ("on|at|to the very|far|extreme? right hand? side|end|edge?", "on|to|at the righthand side",
        "on right side?", "to right", "at right", "all the way to|on the right", "on the rightmost side",
        "closest|nearest|closer|nearer to the right side?", "the? most to|on|at|towards the right hand? side?",
        "at|on|to extreme right",
        "the? most to|on right", "furthest|farthest over|along? to|on the right"),
    "nearest": ("in|at the very? front", "in front", "up front", "in|at|to the foreground", "at the near end",
        "on the near side", "closest|nearest|closer|nearer to the front"),
    "farthest": ("in|at|to the very? back|rear", "in|at|to the background", "farthest|furthest away", "at the far end",
        "on the far side", "far away", "furthest back", "farthest back",
        "closest|nearest|closer|nearer to the back|rear"),
    "highest": ("at|on the very? top", "on top"),
    "lowest": ("at|on the very? bottom",),
    "middle": ("in|at the very? middle|center|centre", "in between"),
}  # fmt: skip
"""Phrases after a noun that pick a side without an anchor ("the mug on the left")."""

TWO_SIDES = ("at|in|on|to the top|bottom|upper|lower|front|back|near|far left|right hand? corner|side|part?",
             "at|in|on|to the left|right front|back|top|bottom corner|side|part?")  # fmt: skip
"""Two sides at once; an order uses only one ("at the top left")."""
PARTS_OF_NOTHING = ("in|at|on|near|by the|a corner|edge|rim|border|end|side|brink", "at|on|to one side|end",
                    "off? to the side",
                    "at|in|on the corners|edges|sides|ends")  # fmt: skip
"""Parts of an unnamed object ("in the corner")."""
GRIPS = frozenset({"handle", "rim", "lid", "neck", "edge", "side", "stem", "spout", "handles", "knob"})
"""Parts by which an object is held."""
HALF_RELATIONS: dict[str, tuple[str, ...]] = {
    "left of": ("left", "to the left"),
    "right of": ("right", "to the right"),
    "in front of": ("in front", "front"),
}
"""Relations whose last word comes only after the second one ("left and right of the box")."""

OWN_SIDES = {"leftmost": "left", "rightmost": "right"}
ORDER_SIDES: dict[str, tuple[str, ...]] = {
    "left": ("left",), "right": ("right",), "near": ("front",), "far": ("back", "rear"), "top": ("top",),
    "bottom": ("bottom",),
}  # fmt: skip
ORDER_OF_SUPERLATIVE = {"leftmost": "left", "rightmost": "right", "nearest": "near", "farthest": "far",
                        "highest": "top", "lowest": "bottom"}  # fmt: skip
OPPOSITE = {"left": "right", "right": "left", "near": "far", "far": "near", "top": "bottom", "bottom": "top"}
FRAMED_SUPERLATIVES = frozenset({"leftmost", "rightmost", "nearest", "farthest", "middle"})
FRAMED_ORDERS = frozenset({"left", "right", "near", "far"})

# ------------------------------------------------------------------------------------------------ frames of reference

VIEWPOINTS: dict[FrameOfReference, str] = {
    FrameOfReference.VIEWER: "camera|viewer|lens|sensor",
    FrameOfReference.SPEAKER: "me|myself|us",
    FrameOfReference.ROBOT: "you|yourself|robot",
}
"""Viewers that an object can be near to or far from ("closest to me")."""

IMAGES = "image|picture|photo|photograph|screen|frame|view|scene"
"""Nouns whose sides are those of the camera's image ("on the left side of the image")."""

POSSESSORS: dict[FrameOfReference, tuple[str, ...]] = {
    FrameOfReference.SPEAKER: ("my own?", "our"),
    FrameOfReference.ROBOT: ("your own?", "the? robot's", "the? robots"),
    FrameOfReference.VIEWER: ("the? camera's", "the? viewer's", "the? cameras"),
}
FRAME_PHRASES: dict[FrameOfReference, tuple[str, ...]] = {
    FrameOfReference.SPEAKER: ("as? seen|viewed? from where i stand|am|sit|look",
        "as? seen|viewed? from where i'm standing|sitting|looking", "as i see it|things", "the way i see it",
        "as seen by me", "as seen from me", "seen from me", "from where i am standing|sitting", "as seen from here",
        "seen from here", "from here", "from the speaker's perspective"),
    FrameOfReference.ROBOT: ("as you see it|things", "the way you see it",
        "as? seen|viewed? from where you stand|are|sit|look", "as seen by you|yourself",
        "as? seen|viewed from the? robot", "as seen by the robot", "as? seen from you", "from where you're standing",
        "in the? robot frame", "in the base frame", "as the robot sees it", "the way the robot sees it",
        "from where the robot stands|is|sits", "from the robot perspective", "from robot perspective"),
    FrameOfReference.VIEWER: ("as? seen|viewed|looking from|by|through the? camera|viewer",
        "as the? camera|viewer sees it|things", "the way the camera|viewer sees it",
        "from where the camera stands|is|sits", "in the? camera image|picture|view|frame",
        "in the image|picture|photo|view", "in the camera's image|picture|view|frame", "as? seen in the image|picture",
        "on the screen", "as? seen in the camera image|picture|view", "from the camera view|perspective|viewpoint",
        "from the viewpoint|perspective|view of the camera|viewer"),
    FrameOfReference.WORLD: ("in the world|map frame?", "in world|map coordinates|frame", "in the world coordinates",
        "in the world coordinate system", "with respect to the world|map frame|coordinates?",
        "relative to the world|map frame|coordinates?", "in the world|map frame of reference|coordinates?",
        "in terms of the world|map frame|coordinates", "in the world's frame of? reference?",
        "going by the world frame|coordinates"),
    FrameOfReference.OBJECT: ("from its own? perspective|view|viewpoint|side", "from its own? point of view"),
}  # fmt: skip
VIEW_NOUNS = "point of view|perspective|view|viewpoint|side|angle|standpoint|position|vantage point|seat|eyes|place"
"""Nouns of viewpoints: "from my perspective"."""
