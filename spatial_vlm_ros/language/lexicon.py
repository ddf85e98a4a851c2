# SPDX-License-Identifier: Apache-2.0
"""The closed word classes, as tables. To teach the parser a word, add it to its table.

Phrases are written as slots: alternatives in a slot are separated by "|", a slot ending in "?" may be left out.
Nouns are an open class: every word that stands in no table is taken for one.
"""

from __future__ import annotations

from spatial_vlm_ros.language.patterns import word_set
from spatial_vlm_ros.types import FrameOfReference

# ------------------------------------------------------------------------------------------------ actions

ACTIONS: dict[str, tuple[str, ...]] = {
    "pick": (
        "pick up?", "grab", "get", "take", "fetch", "grasp", "lift up?", "collect", "retrieve", "seize", "snatch",
        "pick out", "take hold of", "get hold of", "grab hold of", "raise", "gather up?", "choose", "select",
        "remove",
        "take out|away", "pull out", "go get", "grip", "scoop up", "pluck", "catch", "hold",
        "go and? get|fetch|grab|take",
    ),
    "give": (
        "hand|give|pass|bring|get|fetch|grab|deliver|hold me|us", "give", "bring", "deliver", "pass over?",
        "hand over?",
        "bring over|back", "hand out",
    ),
    "place": (
        "put", "place", "set", "move", "drop", "stack", "lay", "put down|back|away", "set down", "lay down",
        "position",
        "deposit", "drop off", "relocate", "shift", "transfer", "stick", "insert", "leave", "rest", "stow", "store",
        "carry", "return", "tuck", "slot", "park",
    ),
    "find": (
        "find", "locate", "look for", "search for", "show me|us?", "where is|are|did", "where's", "wheres", "where",
        "do you see", "can you see", "identify", "detect", "spot", "find me|us", "tell me|us where",
        "do you know where", "show me|us where", "find out? where", "seek", "recognise",
        "recognize", "highlight", "mark", "localise|localize",
    ),
    "point": ("point at|to|out|towards|toward", "point me to|at", "indicate"),
    "look": ("look at", "inspect", "examine", "focus on", "watch", "observe", "check out?"),
    "push": ("push", "shove", "nudge", "slide", "press against"),
    "pull": ("pull", "drag", "tug"),
    "press": ("press", "press on|down", "push down on"),
    "touch": ("touch", "tap", "poke"),
    "open": ("open up?", "unlock"),
    "close": ("close", "shut", "close up"),
    "turn": ("turn", "rotate", "spin", "flip over?", "turn over|around"),
    "turn on": ("turn|switch on",),
    "turn off": ("turn|switch off",),
    "go": ("go|drive|walk|navigate|head over? to", "approach", "come to", "go near"),
    "reach": ("reach for|to",),
    "release": ("release", "let go of"),
    "throw": ("throw away|out?", "get rid of", "toss", "discard"),
    "wipe": ("wipe", "clean up?", "sweep"),
    "follow": ("follow", "track"),
    "avoid": ("avoid",),
}  # fmt: skip
"""Canonical action → ways of saying it."""

WISHES = ("i|we want|need", "i would like", "i'd like", "id like", "i|we need you to have", "i am after",
                      "can|could|may i have|get", "can|could we have|get", "i wish for", "i'm looking for",
                      "i am looking for", "i wanted")  # fmt: skip
"""Wishes that take a thing; they mean "give"."""

VERIFY = ("there is|are", "there's", "theres", "is|are there", "i see", "you see")
"""Openings that state or ask whether something is there."""

# ------------------------------------------------------------------------------------------------ courtesy

POLITE = (
    "please", "kindly", "pls", "can|could|would|will you", "can|could|would|will you please", "would|do you mind",
    "how about", "what about",
    "i|we want|need|wish you to", "i would like you to", "i'd like you to", "id like you to", "i'd like to",
    "id like to",
    "i would like to", "let's", "lets", "let us", "you should|must|can|could|may", "you need|have to",
    "i|we want|need to", "i|we have to",
    "robot", "hey|hi|hello|ok|okay|yo robot?", "dear? robot", "now", "so", "well", "alright", "all right", "next",
    "first of all", "then", "go ahead and", "try to", "be so kind as to", "be so kind and", "if you please",
    "if possible",
    "would you be so kind as to", "may i ask you to", "i ask you to", "your task is to", "can the robot",
    "have the robot",
    "excuse me", "help me", "help me to", "make sure to", "be a dear and", "just", "simply", "go", "go and", "um",
    "uh",
    "er", "oh", "hmm", "yes", "good morning", "good evening", "do me a favor|favour and", "it would be nice if you",
    "it would be great if you could", "could you possibly", "are you able to", "do",
)  # fmt: skip
"""Words before the command that change nothing."""

PLEASANTRIES = (
    "please", "pls", "now", "right now", "right away", "thanks", "thank you", "thank you very? much", "thanks a lot",
    "for me|us", "to me|us", "over here|there", "here", "there", "immediately", "quickly", "carefully", "gently",
    "slowly", "will you", "would you", "can you", "could you", "for a moment", "if you can|could|please",
    "ok", "okay", "again", "at once", "as soon as possible", "asap", "if possible", "somewhere",
    "in the scene", "in this scene", "with your gripper|hand|arm", "safely", "instead", "too", "cheers",
    "to my hand", "with the gripper",
)  # fmt: skip
"""Words after the command that change nothing."""

ADVERBS = ("carefully", "gently", "slowly", "quickly", "safely", "softly", "please", "currently", "actually", "only",
           "firmly", "um", "uh", "er", "hmm")  # fmt: skip
"""Words that may stand anywhere and change nothing."""

PARTICLES = ("up", "down", "away", "back", "over", "out", "off", "here", "there")
"""Left over from split verbs ("pick the cup up")."""

INTENSIFIERS = ("just", "right", "directly", "immediately", "slightly", "a bit", "a little bit?", "somewhat",
"exactly",
                "quite", "really", "very", "straight", "a little", "well", "pretty", "so", "too", "somewhere",
                "located",
                "clearly", "all the way", "over", "up", "down", "back", "out", "far", "far back", "precisely",
                "rather",
                "fairly", "shortly", "almost", "kind of", "sort of", "more or less", "roughly", "about")  # fmt: skip
"""Swallowed before a relation or a describing word."""

POSTURES = (
    "standing", "sitting", "lying", "laying", "resting", "located", "placed", "situated", "positioned", "stands",
    "sits",
    "lies", "rests", "set", "kept", "stacked", "seated", "found", "put", "to be found", "stored", "that you can see",
    "which you can see", "you can see", "you see", "that you see", "that i see", "i see", "that can be seen",
    "visible",
    "stuck", "left", "leaning", "hanging", "hidden", "balanced", "perched", "appearing", "stays", "staying",
    "which can be seen",
    "appears", "seen", "being", "remaining", "parked", "floating",
)  # fmt: skip
"""Swallowed before a relation ("standing behind the box")."""

# ------------------------------------------------------------------------------------------------ determiners, numbers

DETERMINERS = ("the", "a", "an", "these", "those", "my", "your", "our", "any", "some", "the only", "such a")
ONE_OF = 0
"""Quantity of "one of the mugs": one of several, whichever."""
QUANTITIES: dict[str, int] = {
    "all of? the|these|those|my?": -1, "every": -1, "each": -1, "every single": -1, "both of? the|these|those|my?": 2,
    "several": -1, "a few": -1, "a couple of": 2, "a pair of": 2, "pair of": 2, "the pair of": 2, "the couple of": 2,
    "some of the": -1, "few": -1, "many": -1, "multiple": -1, "half a dozen": 6, "half a": 1, "a dozen": 12,
    "a number of": -1,
    "any|one|either of the|these|those|my": ONE_OF, "any one of the|these|those|my": ONE_OF, "either": ONE_OF,
    "various": -1, "each of the": -1, "the few": -1,
}  # fmt: skip
NUMBERS = {
    word: value
    for value, word in enumerate(
        [
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
            "twenty",
        ],
        2,
    )
}
ORDINALS = {
    word: value
    for value, word in enumerate(
        [
            "first",
            "second",
            "third",
            "fourth",
            "fifth",
            "sixth",
            "seventh",
            "eighth",
            "ninth",
            "tenth",
            "eleventh",
            "twelfth",
            "thirteenth",
            "fourteenth",
            "fifteenth",
            "sixteenth",
            "seventeenth",
            "eighteenth",
            "nineteenth",
            "twentieth",
        ],
        1,
    )
}
MEASURE_PHRASES = ("piece|pieces|bit|slice|item of", "kind|type of")
"""Swallowed before a noun ("a piece of paper")."""
UNITS = word_set("""
    mm cm m meter meters metre metres centimeter centimeters centimetre centimetres millimeter millimeters
    millimetre millimetres inch inches foot feet ft yard yards dm
""")  # fmt: skip

PRONOUNS: dict[str, int | None] = {"it": None, "this": None, "something": None, "anything": None, "everything": -1,
                                   "them": -1, "whatever": None}  # fmt: skip
PLACEHOLDERS = frozenset(["object", "thing", "item", "one", "stuff"])
"""Nouns that say nothing of the kind; their category is "object"."""
PERSONS = {"me": "me", "myself": "me", "us": "me", "you": "you", "yourself": "you"}
"""Anchors that are persons ("next to me"); no detector's label is one of these words."""

# ------------------------------------------------------------------------------------------------ superlatives, sides

SUPERLATIVES: dict[str, tuple[str, ...]] = {
    "leftmost": ("leftmost", "left most", "furthest|farthest to the? left", "furthest|farthest left", "far left",
    "lefthand",
                 "left hand", "left hand side", "left handed"),
    "rightmost": ("rightmost", "right most", "furthest|farthest to the? right", "furthest|farthest right",
    "far right",
                  "righthand", "right hand", "right hand side"),
    "nearest": ("nearest", "closest", "frontmost", "front most", "foremost", "most near", "nearmost", "least distant",
                "closer", "nearer"),
    "farthest": ("farthest", "furthest", "most distant", "rearmost", "backmost", "back most", "hindmost",
    "furthermost",
                 "most remote", "further", "farther", "far away", "furthest|farthest away"),
    "highest": ("highest", "topmost", "top most", "uppermost", "upper", "higher", "upmost"),
    "lowest": ("lowest", "bottommost", "bottom most", "lowermost", "undermost", "lower"),
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
"""Superlative → ways of saying it; a comparative before a noun ("the taller mug") picks the extreme too."""

POSITION_WORDS = {"left": "leftmost", "right": "rightmost", "top": "highest", "bottom": "lowest", "back": "farthest",
                  "rear": "farthest", "front": "nearest", "far": "farthest", "near": "nearest", "middle": "middle",
                  "center": "middle", "centre": "middle", "upper": "highest", "lower": "lowest"}  # fmt: skip
"""Words that pick a side when they stand before a noun ("the top can")."""

SIDES: dict[str, tuple[str, ...]] = {
    "leftmost": ("on|at|to the very|far|extreme? left hand? side|end|edge?", "on|to|at the lefthand side",
                 "on left side?", "to left", "at left", "all the way to|on the left", "on the leftmost side"),
    "rightmost": ("on|at|to the very|far|extreme? right hand? side|end|edge?", "on|to|at the righthand side",
                  "on right side?", "to right", "at right", "all the way to|on the right", "on the rightmost side"),
    "nearest": ("in|at the very? front", "in front", "up front", "in|at|to the foreground", "at the near end",
                "on the near side"),
    "farthest": ("in|at|to the very? back|rear", "in|at|to the background", "farthest|furthest away",
    "at the far end",
                 "on the far side", "far away", "furthest back", "farthest back"),
    "highest": ("at|on the very? top", "on top"),
    "lowest": ("at|on the very? bottom",),
    "middle": ("in|at the very? middle|center|centre", "in between"),
}  # fmt: skip
"""Phrases after a noun that pick a side without an anchor ("the mug on the left")."""

OWN_SIDE_RELATIONS = {"left of": "own left of", "right of": "own right of", "in front of": "own front of",
                      "behind": "own back of"}  # fmt: skip
"""What `possessives` writes for "on the chair's own left"."""
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
"""Who may be near or far ("closest to me")."""

POSSESSORS: dict[FrameOfReference, tuple[str, ...]] = {
    FrameOfReference.SPEAKER: ("my own?", "our"),
    FrameOfReference.ROBOT: ("your own?", "the? robot's", "the? robots"),
    FrameOfReference.VIEWER: ("the? camera's", "the? viewer's", "the? cameras"),
}
FRAME_PHRASES: dict[FrameOfReference, tuple[str, ...]] = {
    FrameOfReference.SPEAKER: ("from where i stand|am|sit|look", "from where i'm standing|sitting|looking",
    "as i see it",
                               "as seen by me", "as seen from me", "seen from me", "from where i am standing|sitting",
                               "as seen from here", "seen from here", "from here", "from the speaker's perspective"),
    FrameOfReference.ROBOT: ("as you see it", "from where you stand|are|sit|look", "as seen by you|yourself",
                             "as? seen|viewed from the? robot", "as seen by the robot", "as? seen from you",
                             "from where you're standing", "in the? robot frame", "in the base frame",
                             "from the robot perspective", "from robot perspective"),
    FrameOfReference.VIEWER: ("as? seen|viewed|looking from|by|through the? camera|viewer",
    "in the? camera image|picture|view|frame",
                              "in the image|picture|photo|view", "in the camera's image|picture|view|frame",
                              "as? seen in the image|picture", "on the screen",
                              "as? seen in the camera image|picture|view",
                              "from the camera view|perspective|viewpoint",
                              "from the viewpoint|perspective|view of the camera|viewer"),
    FrameOfReference.WORLD: ("in the world|map frame?", "in world|map coordinates|frame", "in the world coordinates",
                             "in the world coordinate system"),
    FrameOfReference.OBJECT: ("from its own? perspective|view|viewpoint|side", "from its own? point of view"),
}  # fmt: skip
VIEW_NOUNS = "point of view|perspective|view|viewpoint|side|angle|standpoint|position|vantage point|seat|eyes|place"
"""What may be looked from: "from my perspective"."""

# ------------------------------------------------------------------------------------------------ when words count

VOCATIVES = frozenset({"robot", "buddy", "mate"})
"""Pleasantries after a comma only."""
POLITE_BEFORE_VERB = word_set("""
    robot next well now then first do go just so simply and try yes
""")
"""Polite words that are taken so only before a verb or a comma."""
DEGREES = frozenset({"very", "quite", "really", "pretty", "fairly", "rather", "so", "too", "slightly", "a bit",
"just",
                     "somewhat", "almost", "mostly"})  # fmt: skip
"""Intensifiers that may stand before a describing word."""
QUESTION_VERBS = frozenset({"what is", "what are", "what's", "whats", "which is", "which are", "where is",
"where are",
                            "where's", "wheres", "where"})  # fmt: skip
PURE_VERBS = word_set("""
    grab get take fetch grasp collect retrieve seize snatch give bring deliver put place find locate insert
    relocate deposit move lift lay remove choose select identify approach rotate nudge shove carry transfer toss
    pluck push pull pick open close drag turn touch throw reach
""")  # fmt: skip
"""Verbs that are no things: at a verb's place they are always verbs."""
