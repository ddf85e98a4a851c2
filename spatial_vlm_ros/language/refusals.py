# SPDX-License-Identifier: Apache-2.0
"""Reason and repair for words that the grammar does not accept."""

from __future__ import annotations

from collections.abc import Sequence

from spatial_vlm_ros.errors import NotUnderstoodError, RefusedWords
from spatial_vlm_ros.language.acts import PURE_VERBS, past_forms, words_of
from spatial_vlm_ros.language.distances import is_unit
from spatial_vlm_ros.language.lexicon import TIMES
from spatial_vlm_ros.language.lookahead import Token
from spatial_vlm_ros.language.patterns import WORDS
from spatial_vlm_ros.language.words import Word

_EXAMPLE = 'give one command about one object, for example "pick up the red cup behind the box"'
_UNKNOWN_VERB = (
    "this verb is not a known action",
    "use a verb such as pick up, give me, put, find, point at, push, pull, open or close",
)
DISTANCE_HERE = ("a distance does not fit here", 'say "10 cm left of the box"')
UNITLESS = ("this number has no object to count and no unit", 'say "5 cm left of the box" or "five cups"')
"""Reason and repair for a number that counts nothing."""

_BY_KIND: dict[str, tuple[str, str]] = {
    "DENIED": ("this denies a property inside a name", 'say "the cup that is not red"'),
    "POSSESSIVE": ("a possessive is not read here", 'say "the lid of the jar", "left of the cup"'),
    "WISHED": (
        "this may say where the object is, or where to put it",
        'say "give me the cup that is on the tray", or "put the cup on the tray"',
    ),
    "EACH": ("a separate object for each of several others is not supported", "say one place at a time"),
    "TURNED": ("turning an object is not supported", "use a verb such as pick up, put, push or pull"),
    "TIME": (
        "this may be a place or an order in time",
        'say "in front of", or one command after the other: "grab …, then …"',
    ),
    "OUTSIDE": ("this word is not supported here", _EXAMPLE),
    "OR": ("a choice between objects is not supported", "name the one object that is meant"),
    "FOREIGN": ("this is not a known English word", "say it in English"),
    "SYMBOL": ("this sign is not supported in an instruction", "leave it out, or say it in words"),
    "OPEN": ("parentheses can contain only a point of view", 'leave them out, or write "(from my point of view)"'),
    "CLOSE": ("parentheses can contain only a point of view", "leave them out"),
    "STOP": ("the instruction has several sentences", "give one sentence at a time"),
    "VERB": ("the instruction has several steps", "give one command at a time"),
    "VERB_HERE": ("a command does not fit here", "give one command at a time, the verb first"),
    "THEN": ("the instruction has several steps", "give one command at a time"),
    "THERE": ("this does not fit here", _EXAMPLE),
    "WHICH": ("this question word does not fit here", 'ask "which mug is behind the box?"'),
    "OF": ('"of" does not fit here', 'say "the lid of the jar" or "the box of cereal"'),
    "DIST": DISTANCE_HERE,
    "DOUBTFUL": ("the form of this number is unclear", 'say it as "1500 mm" or "1.5 cm"'),
    "UNITLESS": UNITLESS,
    "UNCOUNTED": ("counting starts at one", 'count from one: "the second mug from the left", "two mugs"'),
    "SIGNED": ("a number with a sign is not supported", 'say "5 cm left of the box"'),
    "PORTION": ("a fraction is not supported", 'say how many: "two of the cups", or the whole'),
    "PARTICIPLE": ("this word does not say where the object is", 'say it with a relation: "the chick behind the cup"'),
    "COMPARED": ("this property cannot be measured", 'use a size: "the largest cup", "the taller cup"'),
    "ADVERB": ("this word is not supported here", _EXAMPLE),
    "UNKNOWN_VERB": _UNKNOWN_VERB,
    "VAGUE": ("this is not a definite distance", 'say a number: "10 cm left of the box"'),
    "RANGE": ("a range of distances is not supported", 'say one: "about 15 cm left of the box"'),
    "TWO_SIDES": ("two sides at once are not supported", 'say one: "the mug on the left"'),
    "UNMEASURED": ("a distance cannot be stated with this relation", 'say "10 cm left of the box" or "10 cm from it"'),
    "GRIP": ("where to hold an object cannot be chosen here", "leave it out"),
    "CLOSER": ("this does not name a place", 'say how near: "next to the box", "10 cm from the box"'),
    "PARTLESS": ("this is a part of an object that is not named", 'name the object: "at the edge of the tray"'),
    "SELF": ("an object has no relation to itself", 'name another object: "left of the box"'),
    "THAN": ("this comparison is not supported here", 'say "taller than the can" or "closer to me than the can"'),
    "OTHER": ("this does not fit here", _EXAMPLE),
    "THATIS": ("no object is named before this", 'name the object first: "the mug that is behind the box"'),
    "FROM": ("a side to count from does not fit here", 'say "the second mug from the left"'),
    "FROM_BEFORE": ("a side to count from does not fit here", 'say "the second mug from the left"'),
    "FRAME": ("a point of view does not fit here", "say it at the start or the end of the sentence"),
    "IS": ("this does not fit here", 'say "the mug that is behind the box"'),
    "AND": ("this word does not join two descriptions", 'say "the mug behind the box and left of the bowl"'),
    "BUT": ("this word does not join two descriptions", 'say "the mug behind the box but not left of the bowl"'),
    "COMMA": ("this comma does not fit here", "leave it out"),
    "NOT": ("this negation does not apply to anything", 'say "the mug that is not behind the box"'),
}
_NAMED_FIRST = frozenset(
    {"FOREIGN", "SYMBOL", "SELF", "VAGUE", "RANGE", "DOUBTFUL", "UNITLESS", "UNCOUNTED", "SIGNED", "PORTION",
     "PARTICIPLE", "POSSESSIVE", "WISHED", "COMPARED", "TIME", "TURNED", "DENIED", "EACH", "ADVERB", "UNKNOWN_VERB"}
)  # fmt: skip
_WORDS = WORDS.under("refused")
_BY_WORD: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        _WORDS.words("conditions"),
        ("a condition or reason is not supported", "say what to do now, without it"),
    ),
    **dict.fromkeys(
        _WORDS.words("times") | TIMES,
        ("a time is not supported", 'give the commands one after the other: "open the drawer, then …"'),
    ),
    **dict.fromkeys(
        _WORDS.words("corrections"),
        ("a correction is not supported", "say the whole instruction again, as it is meant"),
    ),
    **dict.fromkeys(_WORDS.words("prohibitions"), ("a prohibition is not supported", "say what to do")),
    "nothing": ("this word names no object", "name the object to act on, or to compare with"),
}  # fmt: skip
"""Reason and repair for some words that are refused."""
_UNKNOWN = frozenset({"OUTSIDE", "ADVERB", "PARTICIPLE", "OF", "IS", "THATIS", "VERB_HERE"})
"""Kinds of tokens whose words the grammar does not know at their position.

This includes tokens without a reason of their own in `_BY_KIND`, such as an article in the place of a verb.
"""
_ENDS_AFTER: dict[str, tuple[str, str]] = {
    "VERB": ("the instruction ends before it names an object", 'add what to act on: "pick up the red cup"'),
    "REL": ("the instruction ends after a relation", "name the object after it"),
    "DET": ("the instruction ends before a noun", "name the object"),
    "QTY": ("the instruction ends before a noun", "name the objects"),
    "THERE": ("the instruction ends before it names an object", "name the object"),
    "NOUN": ("the question does not say what to check", 'add it: "is the mug behind the box?"'),
}


def unexpected(tokens: Sequence[Token], position: int, instruction: str) -> NotUnderstoodError:
    """The error for the token at `position`, which the grammar could not accept.

    Args:
        position: index of the first token that does not fit; the number of tokens if the sentence stops too early.
    """
    for token in tokens[: position + 1]:
        if token.kind in _NAMED_FIRST:
            return _error(token, instruction)
    if not tokens:
        return NotUnderstoodError(
            instruction, (0, len(instruction)), "the instruction has neither a command nor an object", _EXAMPLE
        )
    if position >= len(tokens):
        last = tokens[-1]
        reason, repair = _ENDS_AFTER.get(last.kind, ("the instruction ends too early", _EXAMPLE))
        kind: RefusedWords = "unknown words" if last.kind == "NOUN" else "refused"
        return NotUnderstoodError(instruction, (last.start, last.end), reason, repair, kind)
    token = tokens[position]
    before = tokens[:position]
    if before and all(each.kind == "NOUN" for each in before) and token.kind in ("DET", "PRON", "QTY", "PERSON"):
        first = before[0]
        return NotUnderstoodError(
            instruction,
            (first.start, first.end),
            *_UNKNOWN_VERB,
        )
    return _error(token, instruction)


def _error(token: Token, instruction: str) -> NotUnderstoodError:
    reason, repair = _BY_KIND.get(token.kind, ("this does not fit here", _EXAMPLE))
    if token.kind == "UNITLESS" and is_unit(token.text):  # "the cube of 10 cm"
        reason, repair = DISTANCE_HERE
    if token.kind in ("OUTSIDE", "ADVERB"):
        reason, repair = _BY_WORD.get(token.text, (reason, repair))
    if token.kind == "VERB" and token.text not in PURE_VERBS and " " not in token.text:
        reason = "the instruction has several steps, or this word does not fit here"
    known = token.kind in _BY_KIND and token.kind not in _UNKNOWN
    known = known or (token.kind in ("OUTSIDE", "ADVERB") and token.text in _BY_WORD)
    kind: RefusedWords = "refused" if known else "unknown words"
    return NotUnderstoodError(instruction, (token.start, token.end), reason, repair, kind)


# --------------------------------------------------------------------------------------------------
# Words that tell, suppose or report an act, and do not ask for it.

_WHO, _TELLING, _MODAL, _ASKING = map(words_of, ("who", "telling", "modal", "asking"))
_SUPPOSING, _SUPPOSED, _SAYING = map(words_of, ("supposing", "supposed", "saying"))


def no_order(words: Sequence[Word], instruction: str) -> NotUnderstoodError | None:
    """The error for refused words that tell what happened, suppose a request, or report one; None for others."""
    said = [word for word in words if word.kind == "word"]
    texts = [word.text for word in said]
    past, unchanged = past_forms()
    begin = 1 if texts[:1] in (["the"], ["so"], ["but"], ["well"], ["what"], ["and"]) else 0
    for i in range(len(texts) - 1):
        supposed = texts[i] in _SUPPOSING and texts[i + 1] in _WHO and i <= (begin if texts[i] != "if" else i)
        if supposed and (begin == i or (_SUPPOSED | past).intersection(texts[i + 2 : i + 4])):
            return _told(said[i], said[i + 1], instruction, "this only supposes a request")
    saying = next((i for i, text in enumerate(texts[:5]) if text in _SAYING), 0)
    subject = _WHO | {"the", "my", "a"}
    if saying and (saying == 1 or texts[0] in subject) and not PURE_VERBS.intersection(texts[:saying]):
        return _told(said[0], said[saying], instruction, "this reports what somebody said")
    if len(texts) > 3 and texts[-1] in _SAYING and texts[-2] in _WHO:
        return _told(said[-2], said[-1], instruction, "this reports what somebody said")
    doing = next((i for i, text in enumerate(texts) if i >= begin and text not in _TELLING | _WHO), len(texts))
    happened = past if _MODAL.intersection(texts[:doing]) else past | unchanged
    told = doing < len(texts) and (texts[doing] in happened or (texts[0] in _ASKING and texts[1] in _WHO))
    if told and doing > begin and (texts[begin] in _WHO | _TELLING):
        return _told(said[0], said[doing], instruction, "this is about what happened, so there is nothing to do")
    for i in range(1, len(texts) - 1):
        passive = texts[i] in ("was", "were", "been") and texts[i - 1] not in ("that", "which", "who", "it")
        if passive and (past | unchanged).intersection(texts[i + 1 : i + 3]):
            return _told(said[i], said[i + 1], instruction, "this is about what happened, so there is nothing to do")
    return None


def _told(first: Word, last: Word, instruction: str, reason: str) -> NotUnderstoodError:
    return NotUnderstoodError(instruction, (first.start, last.end), reason, 'say what to do now: "take the cup"')
