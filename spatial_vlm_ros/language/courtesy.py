# SPDX-License-Identifier: Apache-2.0
"""Words dropped before others, openings that state, and when polite words count; acts.toml has the polite words.

Phrases are written as slots, as in lexicon.py.
"""

from __future__ import annotations

from spatial_vlm_ros.language.patterns import word_set

VERIFY = ("there is|are", "there's", "theres", "is|are there", "i see", "you see")
"""Openings that state or ask that something is there."""

ADVERBS = ("carefully", "gently", "slowly", "quickly", "safely", "softly", "please", "currently", "actually", "only",
           "firmly", "um", "uh", "er", "hmm")  # fmt: skip
"""Words without effect that may be anywhere."""

PARTICLES = ("up", "down", "away", "back", "over", "out", "off", "over|right? here|there")
"""Remainders of split verbs ("pick the cup up")."""

INTENSIFIERS = (
    "just", "right", "directly", "immediately", "slightly", "a bit", "a little bit?", "somewhat", "exactly", "quite",
    "really", "very", "way", "anywhere", "someplace", "diagonally", "straight", "a little", "well", "pretty", "so",
    "too", "somewhere", "located", "clearly", "all the way", "over", "up", "down", "back", "out", "far", "far back",
    "over? to|in|at|into|on|onto the|a free|empty|open|clear? spot|area|space|place|location|position|region",
    "precisely", "rather", "fairly", "shortly", "kind of", "sort of", "more or less", "roughly", "about", "still",
)  # fmt: skip
"""Dropped before a relation or a describing word."""

_WHO = "i|you|we|he|she|they|someone|somebody"
POSTURES = (
    f"{_WHO} left|put|placed|set|laid|stood|dropped|kept|stored|hid|parked|stacked",
    f"that|which {_WHO} left|put|placed|set|laid|stood|dropped|kept|stored|hid|parked|stacked",
    "standing", "sitting", "lying", "laying", "resting", "located", "placed", "situated", "positioned", "stands",
    "sits", "lies", "rests", "set", "kept", "stacked", "seated", "found", "put", "to be found", "stored",
    "that you can see", "which you can see", "you can see", "you see", "that you see", "that i see", "i see",
    "that can be seen", "visible", "stuck", "left", "leaning", "hanging", "hidden", "balanced", "perched",
    "appearing",
    "stays", "staying", "which can be seen", "appears", "seen", "being", "remaining", "parked", "floating", "sat",
    "stood", "tucked|wedged|squeezed|jammed|lodged|dangling|suspended|mounted|laid|dropped|stowed|arranged|grouped",
    "nestled", "fallen|rolled|slid|slipped|tumbled|tipped",
    "that|which fell|rolled|slid|slipped|tumbled|dropped|got|went|ended",
    "that|which has|have fallen|rolled|slid|slipped|tumbled",
    "hiding|waiting|sleeping|crouching|squatting|peeking|peeping|lurking|perching|nestling|posing|huddled|reclining",
    "propped|propped up|crammed|pushed|shoved|standing|sitting|lying upright|around|about", "that|which you can see",
)  # fmt: skip
"""Dropped before a relation ("standing behind the box")."""

VOCATIVES = frozenset({"robot", "buddy", "mate", "pal", "dude", "bro", "friend", "love", "dear", "yaar", "boss", "sir",
"man",
                       "champ", "darling"})  # fmt: skip
"""Polite words only after a comma."""
BEFORE_COMMA = frozenset({"right", "quick", "mate", "buddy", "pal", "dude", "bro"})
"""Polite words only before a comma ("right, …")."""
TIMES = ("when ", "whenever ", "once ", "if you have ", "if you get ", "if you're ", "if you are ")
"""First words of polite phrases before a comma, or before a verb that follows one of `TIME_ENDS`."""
TIME_ENDS = ("moment", "minute", "second", "sec", "chance", "time", "free", "ready")
POLITE_BEFORE_VERB = word_set("""
    robot next well now then first do go just so simply and try yes like maybe perhaps possibly first finally
""")
"""Polite words only before a verb or a comma."""
FILLERS = frozenset({"so", "well", "now"})
"""Polite words that may also come before an object alone ("so the mug …")."""
DEGREES = frozenset({"very", "quite", "really", "pretty", "fairly", "rather", "so", "too", "slightly", "a bit",
"just",
                     "somewhat"})  # fmt: skip
"""Intensifiers that may come before a describing word."""
