# SPDX-License-Identifier: Apache-2.0
"""Read the words beside the locations of a reply: plain negations, and words that contradict the locations.

Molmo2 writes "There are none." if nothing that was asked for is there, Molmo "This isn't in the image."; others write
"There are no cups in the image." or "I don't see a mug.".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from spatial_vlm_ros.perception.replies_scan import ReplyPiece

LONGEST = 400  # characters
_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n+")
_OTHERWISE = re.compile(
    r"\b(?:but|however|although|though|except|instead|only|other than|besides|apart from|rather|unless|while|whereas"
    r"|sure|certain|clear(?:ly)?|doubt|question|problem|reason|need|way|because|that (?:the|it|is|a))\b|[0-9]"
)
_WHERE = (
    r"(?: (?:in|on|within|of) (?:the|this|your) (?:given |provided |shown )?(?:image|picture|photo|scene|view|frame))?"
)
_SEEN = r"(?:visible|present|found|detected|seen|shown|there|identified|located)"
_NAMED = r"(?:[\w'’ \"-]{0,80}?)"
_NEGATIONS = tuple(
    re.compile(pattern + r"[.!]?")
    for pattern in (
        r"(?:none|null|nothing|no|n/a|not found|none found|nothing found|no objects?)" + _WHERE,
        rf"there (?:is|are|was|were) none(?: {_SEEN})?" + _WHERE,
        rf"there (?:is|are|was|were) (?:no|not any|not a|not an) {_NAMED}(?: {_SEEN})?" + _WHERE,
        rf"there (?:isn['’]t|aren['’]t) (?:a|an|any) {_NAMED}(?: {_SEEN})?" + _WHERE,
        r"(?:this|it|that)(?: is|['’]s) not " + _SEEN + _WHERE,
        r"(?:this|it|that) (?:is not|isn['’]t)(?: " + _SEEN + ")?" + _WHERE[:-1],
        rf"(?:no|none of the) {_NAMED} (?:is|are|was|were|could be|can be) {_SEEN}" + _WHERE,
        rf"no {_NAMED} {_SEEN}" + _WHERE,
        rf"(?:the|this) (?:image|picture|photo|scene) (?:does not|doesn['’]t) (?:contain|show|include|have) {_NAMED}",
        rf"(?:the|this) (?:image|picture|photo|scene) (?:contains|shows|has) no {_NAMED}",
        rf"(?:i|we) (?:do not|don['’]t|cannot|can['’]t|can not|could not|couldn['’]t|did not|didn['’]t)"
        rf" (?:see|find|detect|locate|identify|spot) {_NAMED}" + _WHERE,
        rf"the {_NAMED} (?:is|are|was|were) not {_SEEN}" + _WHERE,
    )
)

_DENYING = re.compile(
    r"\b(?:not (?:visible|present|found|shown|seen|there)|no longer (?:visible|there|present)"
    r"|(?:there (?:is|are)|i (?:do not|don['’]t) see) (?:no|any|a|an) (?!other|more|further)[\w -]{1,40}"
    r"|no [\w -]{1,40} (?:is|are|was|were) (?:visible|present|found|detected|seen))\b",
    re.IGNORECASE,
)
_OF_OTHERS = re.compile(
    r"\b(?:for example|for instance|answer like|previous (?:frame|image|picture)|image [2-9]|xywh|cxcywh"
    r"|cent(?:er|re)_x|width, ?height|y_?min, ?x_?min|in percent)\b",
    re.IGNORECASE,
)
_LABEL_DENIES = re.compile(
    r"\b(?:not (?:visible|present|found|shown)|none found|no [\w -]{1,40} found)\b", re.IGNORECASE
)


def denies(label: str) -> bool:
    """Whether a label says that its object is missing ("no cup found")."""
    return _LABEL_DENIES.search(label[:LONGEST]) is not None


def contradicted(text: str, pieces: Sequence[ReplyPiece]) -> str:
    """Find words that contradict the locations or refer to another image or format; "" if there are none.

    Args:
        pieces: its pieces with locations, in order.
    """
    ends, starts = [0, *(piece.end for piece in pieces)], [*(piece.start for piece in pieces), len(text)]
    for end, start in zip(ends, starts, strict=True):
        words = text[end:start][-LONGEST:] if end == 0 else text[end:start][:LONGEST]
        found = _DENYING.search(words) or _OF_OTHERS.search(words)
        if found is not None:
            return found.group()
    return ""


def says_none(text: str) -> bool:
    """Whether every sentence of a text is a plain negation; a sentence with an exception or a number is not."""
    plain = " ".join(text.split()) if "\n" not in text.strip() else text
    if not plain.strip() or len(plain) > LONGEST:
        return False
    sentences = [sentence.strip().lower() for sentence in _SENTENCES.split(plain.strip()) if sentence.strip()]
    return all(
        _OTHERWISE.search(sentence) is None and any(negation.fullmatch(sentence) for negation in _NEGATIONS)
        for sentence in sentences
    )
