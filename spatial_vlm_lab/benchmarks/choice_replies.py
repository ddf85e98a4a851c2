# SPDX-License-Identifier: Apache-2.0
"""Reads which choice a model's reply names, by the rules of published scorers.

BLINK and VLMEvalKit ask a GPT model about replies that their rules cannot read. No such model is asked here: the
package's own reading of the reply (`reply_reading`) takes its place. The published scorers were written for models
that do not think aloud; `after_thinking` leaves that part out before their rules are applied.

Sources, as of the commits named:
- BLINK (zeyofu/BLINK_Benchmark 2d6a779, eval/test_benchmark.py:12-44): `blink_choice`;
- CV-Bench (cambrian-mllm/cambrian 539ffc3): `cambrian_answer`;
- VLMEvalKit (open-compass/VLMEvalKit e8e78f0, vlmeval/utils/matching_util.py:18-127): `vlmevalkit_choice`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_THOUGHT = "</think>"
_LETTERS = "ABCDE"
_TO_SPACES = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_FAILED = "Failed to obtain answer via API"
_DECLINED = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_IN_A_SENTENCE = re.compile(r"answer\s+is\s+\**([ABCD])", re.IGNORECASE)
_LAST_WORDS = 4


def after_thinking(text: str) -> str:
    """The part of a reply after its last "</think>"."""
    return text.rsplit(_THOUGHT, 1)[-1].lstrip() if _THOUGHT in text else text


def cambrian_answer(reply: str, of_3d: bool = False) -> str:
    """The one character, in lower case, that Cambrian's scorers of CV-Bench compare with the right letter.

    It is the first character after the last "answer is" and then the last "answer:", without brackets at both ends and
    a final period: "b" of "Behind the can", and ":" of "The answer is: (B)", which is therefore wrong.

    Source: cambrian-mllm/cambrian 539ffc3, eval/eval/coco/coco_test.py:21-31 (ade alike), eval/eval/omni/omni_test.py:
    21-31, which also removes final colons and commas.

    Args:
        of_3d: whether to use the rules of Omni3D.
    """
    said = reply.lower().strip()
    for words in ("answer is", "answer:"):  # "answer is:" comes second there, when no "answer is" is left
        said = said.rpartition(words)[2]
    return said.strip().rstrip(".:," if of_3d else ".").lstrip("(").rstrip(")")[:1]


def blink_choice(reply: str, choices: int) -> str | None:
    """The choice as "(A)", or None if BLINK's own rules find none, where it would ask GPT-3.5.

    A reply that is one letter, with or without brackets, is that choice. Otherwise choices as separate words "(A)"
    count: the only one of the last paragraph, or else the only one of the whole reply.
    """
    for letter in _LETTERS:
        if reply in (letter, f"({letter})"):
            return f"({letter})"
    known = {f"({letter})" for letter in _LETTERS[:choices]}
    everywhere = known & set(reply.split())
    at_the_end = known & set(reply.split("\n\n")[-1].split())
    for named in (at_the_end, everywhere):
        if len(named) == 1:
            return next(iter(named))
    return None


def vlmevalkit_choice(reply: str, choices: Mapping[str, str]) -> str | None:
    """The letter that a reply names, or None if VLMEvalKit's rules find none.

    A letter counts if it is the only one that is a separate word, among the last four words; otherwise a letter after
    "answer is"; otherwise the only choice whose text is in the reply, if the reply is short.
    """
    if _FAILED not in reply:
        if any(words in reply for words in _DECLINED):
            return None
        words = reply.translate(_TO_SPACES).split()
        named = [letter for letter in choices if letter in words]
        if len(named) == 1 and words.index(named[0]) >= len(words) - _LAST_WORDS:
            return named[0]
        if not named and "Z" in words:
            return None
        told = _IN_A_SENTENCE.search(reply)
        if told and told[1].upper() in choices:
            return told[1].upper()
    said = reply.lower()
    if len(said) > 2 * sum(len(text) for text in choices.values()):
        return None
    held = [letter for letter, text in choices.items() if text.lower() in said]
    return held[0] if len(held) == 1 else None
