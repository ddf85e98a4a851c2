# SPDX-License-Identifier: Apache-2.0
"""Plain negations: a reply in words that says that nothing of what was asked for is there, and nothing else.

"There are none." is Molmo2's way to say so; others write "There are no cups in the image." or "I don't see a mug.".
"""

from __future__ import annotations

import re

LONGEST = 400  # characters
_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n+")
_OTHERWISE = re.compile(
    r"\b(?:but|however|although|though|except|instead|only|other than|besides|apart from|rather|unless|while|whereas"
    r"|sure|certain|clear(?:ly)?|doubt|question|problem|reason|need|way|that|because|it)\b|[0-9]"
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
        rf"(?:no|none of the) {_NAMED} (?:is|are|was|were|could be|can be) {_SEEN}" + _WHERE,
        rf"no {_NAMED} {_SEEN}" + _WHERE,
        rf"(?:the|this) (?:image|picture|photo|scene) (?:does not|doesn['’]t) (?:contain|show|include|have) {_NAMED}",
        rf"(?:the|this) (?:image|picture|photo|scene) (?:contains|shows|has) no {_NAMED}",
        rf"(?:i|we) (?:do not|don['’]t|cannot|can['’]t|can not|could not|couldn['’]t|did not|didn['’]t)"
        rf" (?:see|find|detect|locate|identify|spot) {_NAMED}" + _WHERE,
        rf"the {_NAMED} (?:is|are|was|were) not {_SEEN}" + _WHERE,
    )
)


def says_none(text: str) -> bool:
    """Whether every sentence of a text is a plain negation; one that names an exception or a number is not."""
    plain = " ".join(text.split()) if "\n" not in text.strip() else text
    if not plain.strip() or len(plain) > LONGEST:
        return False
    sentences = [sentence.strip().lower() for sentence in _SENTENCES.split(plain.strip()) if sentence.strip()]
    return all(
        _OTHERWISE.search(sentence) is None and any(negation.fullmatch(sentence) for negation in _NEGATIONS)
        for sentence in sentences
    )
