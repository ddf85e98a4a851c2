# SPDX-License-Identifier: Apache-2.0
"""Courtesy words that do not change a command, words dropped before others, and openings that wish or state.

Phrases are written as slots, as in lexicon.py.
"""

from __future__ import annotations

from spatial_vlm_ros.language.patterns import word_set

WISHES = ("i|we want|need", "i would like", "i'd like", "id like", "i|we need you to have", "i am after",
                      "can|could|may i have|get", "can|could we have|get", "i wish for", "i wanted",
          "i'd like|love to have", "i|we want|need to have", "i would like|love to have", "i'd love",
          "i|we could really do with", "i|we could really use",
          "i would love", "i'm|we're after", "we are after", "i|we could do with", "i|we could use",
          "i'll|we'll|ill need|want|have",
          "i|we will|shall need|want|have", "i'm|we're wanting|needing", "i am|we are wanting|needing",
          "i|we require|fancy", "let me|us have|get", "let's|lets have|get", "can|could|may i|we please have|get",
          "i|we need|want to get", "i'd like|love to get", "i'd fancy",
          "would|will it be possible to have|get", "is it possible to have|get")  # fmt: skip
"""Wishes with an object; they mean "give"."""

VERIFY = ("there is|are", "there's", "theres", "is|are there", "i see", "you see")
"""Openings that state or ask that something is there."""

POLITE = (
    "please", "kindly", "pls", "can|could|would|will you", "can|could|would|will you please", "would|do you mind",
    "hiya", "how about", "what about", "i|we want|need|wish you to",
    "i would like you to", "i'd like you to", "id like you to",
    "i'd like to", "id like to", "i would like to", "let's", "lets", "let us", "you should|must|can|could|may",
    "you need|have to", "i|we want|need to", "i|we have to", "robot", "hey|hi|hello|ok|okay|yo robot?", "dear? robot",
    "now", "so", "well", "alright", "all right", "next", "first of all", "then", "go ahead and", "try to",
    "be so kind as to", "be so kind and", "if you please", "if possible", "gonna", "wanna", "like", "maybe",
    "perhaps",
    "finally", "can|could ya", "couldja", "lemme", "okay so", "so now", "you know", "i mean",
    "would you be so kind as to", "may i ask you to", "i ask you to", "your task is to", "can the robot",
    "have the robot", "excuse me", "help me", "help me to", "make sure to", "be a dear and", "just", "simply", "go",
    "go and", "um", "uh", "er", "oh", "hmm", "yes", "good morning", "good evening", "do me a favor|favour and",
    "it would be nice if you", "it would be great|nice|good|lovely|kind if you could|can|would", "could you possibly",
    "it'd|itd be great|nice|good|lovely|kind if you could|can|would", "let me think|see", "possibly",
    "sorry to bother|trouble|disturb you",
    "are you able to", "do", "do you think you could|can|might", "would|will you be able to",
    "would|will you be kind|good enough to", "i'd be grateful|thankful|obliged|glad|happy if you could|would|can",
    "i would be grateful|thankful|obliged|glad|happy if you could|would|can", "if you don't|dont mind",
    "i|we was|were|am|are wondering|hoping if|whether|that? you could|can|would|might",
    "i'm|we're wondering|hoping if|whether|that? you could|can|would|might",
    "i|we wonder|hope if|whether|that? you could|can|would|might",
    "if you do not mind", "if you wouldn't mind", "i'd appreciate it if you could|would",
    "i would appreciate it if you could|would", "if you would|could|can", "if it's not too much trouble",
    "would it be possible to", "is it possible to", "do you mind if i ask you to", "could|can i ask you to",
    "could|can i get you to", "would you like to", "i'd love you to", "i would love you to",
    "i|we want|need you to please", "first", "firstly", "to begin|start with", "start by", "begin by",
    "please|kindly to", "please do",
    "when|whenever|once|if you have|get a|one free? moment|minute|second|sec|chance",
    "when|whenever|once you can|could",
    "when|whenever|once|if you have|get time|the? time|chance", "when|whenever|once|if you're free|ready",
    "when|whenever|once|if you are free|ready",
    "at your convenience", "i|we want|wish|need|request|ask that you", "i would like|prefer that you",
    "i'd like|prefer that you", "i'd like|want for you to", "i|we request|ask|want|beg|urge you to",
    "do one|this thing and?",
    "do me one|a small|big|quick? favor|favour and?", "do me a favor|favour",
    "be a dear|love|pal|mate|sport|darling and?",
    "be an angel and?", "be a good sport|chap|fellow|lad|robot and?", "be good|nice|kind enough to", "be nice and",
    "right then|so|ok|okay", "ok|okay|alright|well then|now|right", "ok so", "all right then|so|now", "so then|next",
    "next up", "right",
    "hey|hi|hello|ok|okay|oi|yo mate|buddy|pal|dude|man|bro|friend|there", "mate|buddy|pal|dude|bro",
    "would|could|can|will you kindly|please|just|maybe", "would you be a dear|love|pal|sport and", "quickly", "quick",
    "you are|have|ought|need to kindly|please?", "after that", "afterwards", "what i|we need|want is",
    "you will|shall",
)  # fmt: skip
"""Words before the command without effect."""

PLEASANTRIES = (
    "please", "pls", "now", "right now", "right away", "thanks", "thank you", "thank you very? much", "thanks a lot",
    "for me|us", "to me|us", "over here|there", "here", "there", "immediately", "quickly", "carefully", "gently",
    "slowly", "will you", "would you", "can you", "could you", "for a moment", "if you can|could|please",
    "ok", "okay", "again", "at once", "as soon as possible", "asap", "if possible", "somewhere",
    "in the scene", "in this scene", "with your gripper|hand|arm", "safely", "instead", "too", "cheers",
    "to my hand", "with the gripper", "of all", "of them all", "of them", "my friend", "or something", "you know",
    "ta", "ta very much", "many thanks", "thanks so much", "much appreciated", "and thank you", "and thanks",
    "will|would|can|could|won't ya|you please?",
    "and come right|straight? back", "and then come right|straight? back", "and come right|straight? back here|to me",
    "if|when you have|get a|one moment|minute|second|sec|chance", "when|whenever you can|could", "then please?",
    "if you don't|wouldn't mind", "for me|us please|then|now", "would you mind", "over here for me|us",
    "with both|two|one hands|hand",
    "thanks ever so much", "yeah", "yep", "if you would|will please?", "if it's|its not too much trouble",
    "if it is not too much trouble", "if it isn't too much trouble",
    "no hurry|rush|worries", "there's|theres no hurry|rush", "there is no hurry|rush", "take your time",
    "when|whenever you're|youre ready|free", "when|whenever you are ready|free",
)  # fmt: skip
"""Words after the command without effect."""

ADVERBS = ("carefully", "gently", "slowly", "quickly", "safely", "softly", "please", "currently", "actually", "only",
           "firmly", "um", "uh", "er", "hmm")  # fmt: skip
"""Words without effect that may be anywhere."""

PARTICLES = ("up", "down", "away", "back", "over", "out", "off", "over|right? here|there")
"""Remainders of split verbs ("pick the cup up")."""

INTENSIFIERS = (
    "just", "right", "directly", "immediately", "slightly", "a bit", "a little bit?", "somewhat", "exactly", "quite",
    "really", "very", "way", "anywhere", "someplace", "diagonally", "straight", "a little", "well", "pretty", "so",
    "too", "somewhere", "located", "clearly", "all the way", "over", "up", "down", "back", "out", "far", "far back",
    "precisely", "rather", "fairly", "shortly", "kind of", "sort of", "more or less", "roughly", "about",
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
