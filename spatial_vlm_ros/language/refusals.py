# SPDX-License-Identifier: Apache-2.0
"""Reason and repair for words that are refused; refusals.toml has them."""

from __future__ import annotations

from collections.abc import Sequence

from spatial_vlm_ros.errors import NotUnderstoodError, RefusedWords
from spatial_vlm_ros.language.acts import PURE_VERBS, past_forms, words_of
from spatial_vlm_ros.language.distances import is_unit
from spatial_vlm_ros.language.lookahead import Token
from spatial_vlm_ros.language.patterns import read_table, word_set
from spatial_vlm_ros.language.sentence import Attachable, Phrase, VerbPhrase
from spatial_vlm_ros.language.words import Word

_READ = read_table("refusals")
_NAMED_FIRST = word_set(
    """FOREIGN SYMBOL SELF VAGUE RANGE DOUBTFUL UNITLESS UNCOUNTED SIGNED PORTION PARTICIPLE POSSESSIVE WISHED COMPARED
    TIME TURNED DENIED EACH ADVERB UNKNOWN_VERB"""
)
_REASONS = _READ["kinds"] | _READ["reasons"]
_BY_WORD = {word: entry["told"] for entry in _READ["words"].values() for word in entry["words"].split()}
"""Reason and repair for some words that are refused."""
Said = Word | Token | Phrase | Attachable | VerbPhrase
"""A part of an instruction, with its first character and one past the last."""


def refused(instruction: str, name: str, *said: Said, **values: object) -> NotUnderstoodError:
    """The error for words that are refused for a reason of refusals.toml, by its name or the kind of a token.

    Args:
        said: the first and the last part that is refused; nothing = the whole instruction.
    """
    return _error(instruction, [text.format(**values) for text in _REASONS[name]], *said)


def _error(instruction: str, told: Sequence[str], *said: Said, kind: RefusedWords = "refused") -> NotUnderstoodError:
    reason, repair = (*told, _READ["example"])[:2]
    span = (said[0].start, said[-1].end) if said else (0, len(instruction))
    return NotUnderstoodError(instruction, span, reason, repair, kind)


def unexpected(tokens: Sequence[Token], position: int, instruction: str) -> NotUnderstoodError:
    """The error for the token at `position`, which the grammar could not accept.

    Args:
        position: index of the first token that does not fit; the number of tokens if the sentence stops too early.
    """
    for token in tokens[: position + 1]:
        if token.kind in _NAMED_FIRST:
            return _unfit(token, instruction)
    if not tokens:
        return refused(instruction, "nothing said")
    if position >= len(tokens):
        last = tokens[-1]
        kind: RefusedWords = "unknown words" if last.kind == "NOUN" else "refused"
        told = _READ["ends_after"].get(last.kind, _REASONS["ends"])
        return _error(instruction, told, last, kind=kind)
    token = tokens[position]
    before = tokens[:position]
    if before and all(each.kind == "NOUN" for each in before) and token.kind in ("DET", "PRON", "QTY", "PERSON"):
        return refused(instruction, "UNKNOWN_VERB", before[0])
    return _unfit(token, instruction)


def _unfit(token: Token, instruction: str) -> NotUnderstoodError:
    """The error for a token of a kind that does not fit where it is."""
    known = _READ["kinds"].get(token.kind)
    if token.kind == "UNITLESS" and is_unit(token.text):  # "the cube of 10 cm"
        known = _REASONS["DIST"]
    if token.kind in ("OUTSIDE", "ADVERB"):
        known = _BY_WORD.get(token.text)
    if token.kind == "VERB" and token.text not in PURE_VERBS and " " not in token.text:
        known = _REASONS["steps or words"]
    told = known or _READ["unknown"].get(token.kind, _REASONS["else"])
    return _error(instruction, told, token, kind="refused" if known else "unknown words")


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
            return refused(instruction, "supposed", said[i], said[i + 1])
    saying = next((i for i, text in enumerate(texts[:5]) if text in _SAYING), 0)
    subject = _WHO | {"the", "my", "a"}
    if saying and (saying == 1 or texts[0] in subject) and not PURE_VERBS.intersection(texts[:saying]):
        return refused(instruction, "reported", said[0], said[saying])
    if len(texts) > 3 and texts[-1] in _SAYING and texts[-2] in _WHO:
        return refused(instruction, "reported", said[-2], said[-1])
    doing = next((i for i, text in enumerate(texts) if i >= begin and text not in _TELLING | _WHO), len(texts))
    happened = past if _MODAL.intersection(texts[:doing]) else past | unchanged
    told = doing < len(texts) and (texts[doing] in happened or (texts[0] in _ASKING and texts[1] in _WHO))
    if told and doing > begin and (texts[begin] in _WHO | _TELLING):
        return refused(instruction, "happened", said[0], said[doing])
    for i in range(1, len(texts) - 1):
        passive = texts[i] in ("was", "were", "been") and texts[i - 1] not in ("that", "which", "who", "it")
        if passive and (past | unchanged).intersection(texts[i + 1 : i + 3]):
            return refused(instruction, "happened", said[i], said[i + 1])
    return None
