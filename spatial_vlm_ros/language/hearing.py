# SPDX-License-Identifier: Apache-2.0
"""Text of a speech recogniser: plain words, or JSON with alternatives and their confidences."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from spatial_vlm_ros.errors import InputError, NotUnderstoodError
from spatial_vlm_ros.language.answers import classify
from spatial_vlm_ros.language.parser import parse
from spatial_vlm_ros.language.revising import stops

_LONGEST = 20_000  # characters of JSON
_RIVAL = 0.5  # share of the best confidence from which on another alternative may be what was said
_FORM = 'JSON such as {"alternatives": [{"transcript": "take the cup", "confidence": 0.9}]}'


def heard(text: str) -> str:
    """The instruction in the text of a speech recogniser.

    Args:
        text: the words, or JSON: {"alternatives": [{"transcript": "…", "confidence": 0 to 1}, …]}, in any order. One
            without confidence, or 0 (not set in Google's `SpeechRecognitionAlternative`), comes after those that have.

    Returns:
        The most confident alternative that is understood, or the most confident one if none is; one that asks to stop
        before all others.

    Raises:
        InputError: JSON of another form.
        NotUnderstoodError: alternatives of at least half the best confidence ask for different things.
    """
    if not isinstance(text, str) or not text.lstrip().startswith("{"):
        return text
    said = sorted(_alternatives(text), key=lambda pair: -pair[1])
    stop = next((words for words, _ in said if stops(words)), None)
    if stop is not None:
        return stop
    rivals = [words for words, confidence in said if confidence >= _RIVAL * said[0][1]]
    meant = {words: meaning for words in rivals if (meaning := _meaning(words)) is not None}
    first = next(iter(meant), rivals[0])
    other = next((words for words, meaning in meant.items() if meaning != meant[first]), None)
    if other is not None:
        reason = f'"{first}" or "{other}" was heard, which are different requests'
        raise NotUnderstoodError(first, (0, len(first)), reason, "say it again, in other words")
    return first


def _alternatives(text: str) -> list[tuple[str, float]]:
    try:
        listed = json.loads(text)["alternatives"] if len(text) <= _LONGEST else []
        found = [(str(each["transcript"]), float(each.get("confidence") or 0.0)) for each in listed]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        found = []
    if not found or not all(0.0 <= confidence <= 1.0 for _, confidence in found):
        raise InputError("instruction", repr(text[:80]), _FORM, "send plain text, or the alternatives")
    return found


def _meaning(words: str) -> Any:
    """What words ask for, comparable; None if they are not understood."""
    answer = classify(words)
    if answer.kind != "words":
        return answer
    try:
        return dataclasses.replace(parse(words, later=True)[0], instruction="", preference=1.0, readings=1)
    except (InputError, NotUnderstoodError):
        return None
