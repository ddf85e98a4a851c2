# SPDX-License-Identifier: Apache-2.0
"""Word tables of questions about space. Phrases are written as slots, as in lexicon.py."""

from __future__ import annotations

from spatial_vlm_ros.language.patterns import expand, word_set
from spatial_vlm_ros.types import FrameOfReference
from spatial_vlm_ros.types.query import Length


def phrase_set(*patterns: str) -> frozenset[tuple[str, ...]]:
    """Every phrase of some slot patterns, each as its words."""
    return frozenset(tuple(phrase.split()) for pattern in patterns for phrase in expand(pattern))


CONTRACTED = {
    "what's": ("what", "is"), "whats": ("what", "is"), "where's": ("where", "is"), "wheres": ("where", "is"),
    "which's": ("which", "is"), "who's": ("who", "is"), "how's": ("how", "is"), "there's": ("there", "is"),
    "isn't": ("is",), "isnt": ("is",), "aren't": ("are",), "arent": ("are",), "doesn't": ("does",), "don't": ("do",),
    "whereabouts": ("where",), "what're": ("what", "are"), "where're": ("where", "are"),
}  # fmt: skip
"""First words of a question → the words that they stand for. "Isn't it there?" asks the same as "is it there?"."""

OPENINGS = phrase_set(
    "please", "robot", "hey|hi|hello|ok|okay|yo robot|there|buddy|mate?", "so", "well", "now", "then", "and", "also",
    "excuse me", "sorry", "quick question", "question", "one question", "just curious", "by the way", "oh", "good",
    "thanks", "thank you", "yes", "no", "right", "alright", "all right", "great", "cool", "but", "robot please",
    "first", "next", "actually", "roughly", "approximately", "about",
)  # fmt: skip
"""Words before a question without effect."""
INDIRECT = phrase_set(
    "can|could|would|will you please? tell|inform me|us?", "please? tell|inform me|us please?", "please? tell me",
    "can|could you please? say|work|figure|find|check|see|estimate|measure|calculate|compute|determine|verify|confirm "
    "out?", "do you know|see|remember", "do you happen to know", "would you happen to know", "would you know",
    "i|we want|need|wish|like to know", "i|we would like|love to know", "i'd|we'd like|love to know", "i|we wonder",
    "i'm|we're wondering", "i am|was wondering", "any idea", "do you have any idea", "have you any idea",
    "let me|us know", "can|could|may i|we ask|know", "say", "would|do you mind telling|saying me|us?",
    "please? check|verify|determine|estimate|measure|calculate|compute|confirm|report|state", "find|figure|work out",
    "can|could|would|will you please?", "see", "do you think", "would you say", "can|could you see",
    "i need to know", "remind me",
    "can|could|would you remind me", "please? give|show me|us", "can|could you please? give|show me|us",
)  # fmt: skip
"""Words that make a question indirect ("could you tell me how far the mug is from the box?")."""
CLOSINGS = phrase_set(
    "please", "robot", "thanks", "thank you", "right now", "now", "currently", "at the moment", "do you think|know",
    "can|could you tell me?", "or not", "exactly", "roughly", "approximately", "about", "at present", "right",
    "at all", "then", "would you say", "for me", "by the way", "though", "mate", "buddy", "again", "anyway",
    "yes or no", "thanks a lot", "thank you very much", "in total", "altogether", "in all", "to be exact",
)  # fmt: skip
"""Words after a question without effect."""

BE = word_set("is are")
ARE_NOT = word_set("aren't arent isn't isnt")
POSSIBLY = phrase_set("would|will it be possible to", "is it possible to")
"""Words that begin a polite command; "is it possible to put" asks about room."""
PUTTING = word_set("put place fit set stand")
PAST = word_set("was were")
ARTICLES = word_set("the a an this that these those my your our his her its")
INDEFINITE = word_set("a an any some anything something another")
ADVERBS = ("still|already|really|actually|currently|also|even|now|exactly|precisely",)
"""Words within a question without effect."""
NO_PREDICATES = word_set("to from off with without for at like of")
"""Relations that begin no predicate: they belong to the words before them ("close to", "far from")."""
FARTHEST = word_set("closest nearest farthest furthest")
GONE = phrase_set("got|gone|disappeared|vanished|ended|wandered to|up?", "been put|left|placed")
"""Words that ask where something is ("where have my keys got to?")."""
EXCLAIMED = phrase_set("on earth", "in the world", "the heck|hell|devil", "oh where", "exactly")
"""Words after "where" without effect."""
SEEING = word_set("see find spot tell detect recognise recognize")
"""Verbs with "you" that ask and do not command."""
SEEN = phrase_set("visible", "here", "in view|sight", "in the|this scene|image|picture|view|photo", "there",
                  "on the scene", "around", "present")  # fmt: skip
"""Words that only say that an object is visible."""

LENGTHS: dict[str, Length] = {
    **dict.fromkeys(("big", "large", "small", "size", "dimensions", "measurements", "sizes", "bulky", "tiny"), "all"),
    **dict.fromkeys(("tall", "high", "height", "short", "heights"), "height"),
    **dict.fromkeys(("wide", "broad", "width", "breadth", "widths"), "width"),
    **dict.fromkeys(("long", "length", "lengths"), "length"),
    **dict.fromkeys(("deep", "depth", "narrow"), "depth"),
    **dict.fromkeys(("thick", "thin", "thickness"), "thickness"),
    "diameter": "diameter",
}  # fmt: skip
"""Words that ask for a length of an object."""
LENGTH_NOUNS = word_set("height width breadth length depth thickness diameter size dimensions measurements")
COMPARATIVES: dict[str, Length] = {
    **dict.fromkeys(("bigger", "larger", "smaller"), "all"),
    **dict.fromkeys(("taller", "higher", "shorter"), "height"),
    **dict.fromkeys(("wider", "broader", "narrower"), "width"),
    "longer": "length", "deeper": "depth",
    **dict.fromkeys(("thicker", "thinner"), "thickness"),
}  # fmt: skip
SUPERLATIVE_OF = {
    "bigger": "largest", "larger": "largest", "biggest": "largest", "largest": "largest", "smaller": "smallest",
    "smallest": "smallest", "taller": "tallest", "tallest": "tallest", "shorter": "shortest", "shortest": "shortest",
    "wider": "widest", "widest": "widest", "broader": "widest", "broadest": "widest", "narrower": "narrowest",
    "narrowest": "narrowest", "longer": "longest", "longest": "longest", "thicker": "thickest",
    "thickest": "thickest", "thinner": "thinnest", "thinnest": "thinnest", "higher": "highest", "highest": "highest",
    "lower": "lowest", "lowest": "lowest", "closer": "nearest", "closest": "nearest", "nearer": "nearest",
    "nearest": "nearest", "farther": "farthest", "farthest": "farthest", "further": "farthest",
    "furthest": "farthest",
}  # fmt: skip
"""Comparatives and superlatives of "which is taller, the mug or the bowl?"."""
NEARNESS = {"nearest": "closest to", "farthest": "farthest from"}

FAR = word_set("far close near distant")
AWAY = word_set("away apart off together")
SPACE = word_set("distance gap space separation room clearance spacing")
FROM = phrase_set("from", "away from", "to", "away to", "off", "of")
UNITS = word_set("""
    centimetres centimeters cm cms millimetres millimeters mm metres meters inches inch feet foot yards decimetres
    decimeters cents
""")
"""Units of "how many centimetres is it from the box?"."""

_ME, _ROBOT, _CAMERA = FrameOfReference.SPEAKER, FrameOfReference.ROBOT, FrameOfReference.VIEWER
VIEWERS: dict[tuple[str, ...], FrameOfReference] = {
    **dict.fromkeys(phrase_set("me", "us", "myself", "where i am|stand|sit", "the? speaker"), _ME),
    **dict.fromkeys(phrase_set("you", "yourself", "the|your? robot", "the|your base", "the robot's base",
                               "the robot base", "where you are|stand"), _ROBOT),
    **dict.fromkeys(phrase_set("the|your? camera", "the? viewer", "the? lens", "the? sensor", "here"), _CAMERA),
}  # fmt: skip
"""Viewers that a distance can be measured from."""

UNMEASURED = word_set("""
    weight colour color name price mass temperature material type kind volume speed age purpose brand shape texture
    smell taste label text writing meaning use cost value owner contents content
""")
"""Nouns of quantities that are not measured here ("the weight of the mug")."""

ROOM = word_set("room space spot place area")
FREE = word_set("any enough some still much a an free empty sufficient more open the only")
"""Words before "room"."""
LEFT_OVER = word_set("left available free remaining still anywhere")
"""Words after "room"."""
FITTING = word_set("fit fits")
STANDING = word_set("go stand sit lie rest be")
"""Verbs of having room ("does the box fit on the tray?"), and verbs that mean that only after "can"."""
STANDS = word_set("stands sits lies rests stand sit lie rest hangs hang")
"""Verbs of posture ("does the cup stand on the tray?")."""
MODALS = word_set("does do will would can could might")
HOLDING = {"touch": "touches", "touches": "touches", "contain": "contains", "contains": "contains", "hold": "holds",
           "holds": "holds", "support": "supports", "supports": "supports", "face": "faces", "faces": "faces",
           "carry": "carries", "carries": "carries", "have": "has", "has": "has"}  # fmt: skip
"""Verbs of relations in questions with "does"."""
EACH_OTHER = phrase_set("from each other", "from one another", "to each other", "from another")
RELATED = phrase_set("relative to", "with respect|regard to", "compared to|with", "in relation to")
"""Words that name the reference object of a position."""
COMPARED_ONES = phrase_set("one of? them?", "object|thing|item", "of them|these|the two")
"""Words after "which" in "which one is taller?"."""
SIDES_OF = (("left", "of"), ("right", "of"), ("in", "front", "of"), ("behind",))
"""Answers to "which side of the box is it on?"."""
