# SPDX-License-Identifier: Apache-2.0
"""Words that take back what was said, offer a choice, or make an order depend on what is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import lexicon
from spatial_vlm_ros.language.acts import correction_marks, idioms, patterns_of
from spatial_vlm_ros.language.lookahead import Lookahead, Token
from spatial_vlm_ros.language.patterns import expand
from spatial_vlm_ros.language.sentence import AVOID, FORBIDDEN
from spatial_vlm_ros.language.words import Word

_NO_BEFORE = frozenset(
    {",", "the", "a", "an", "my", "that", "this", "not", "it", "left", "right", "behind", "on", "in"}
)
"""What comes after a "no" that takes something back; "no rush" and "no more than" do not."""
_AFTER_IDIOMS = frozenset({",", "with", "and", "then", "please", "now", "to", "for", "but", "so", ""})
_DESCRIBING = frozenset({"NUM", "ORD", "SUP", "ADJ"})
_PHRASE = _DESCRIBING | {"DET", "QTY", "NOUN", "OTHER"}
_CONDITIONS = sorted(
    (phrase.split(" ") for p in patterns_of("conditions") for phrase in expand(p)), key=len, reverse=True
)


def check_idioms(words: Sequence[Word], instruction: str) -> None:
    """Refuse a figure of speech: "give me a hand" asks for no hand."""
    said = f" {' '.join(word.text if word.kind == 'word' else ',' for word in words)} "
    for phrase in idioms():
        begin = said.find(f" {phrase} ")
        if begin >= 0 and said[begin + len(phrase) + 2 :].split(" ")[0] in _AFTER_IDIOMS:
            first = said[:begin].count(" ")
            span = (words[first].start, words[first + phrase.count(" ")].end)
            reason = "this is a figure of speech, which asks for no object"
            raise NotUnderstoodError(instruction, span, reason, 'name the object and what to do: "take the cup"')


def without_condition(words: list[Word]) -> tuple[list[Word], bool]:
    """The words without "if there is" before an object and an order about it; True if it was there."""
    texts = [word.text for word in words]
    length = next((len(each) for each in _CONDITIONS if texts[: len(each)] == each), 0)
    return words[length:], length > 0


def corrected(words: list[Word]) -> list[Word]:
    """The words without what a correction takes back: "the white mug, no, the blue one" is "the blue mug".

    Only where one object, or one relation, may be meant; other corrections stay, and are refused by name.
    """
    texts = [word.text for word in words]
    for i in range(2, len(words) - 1):
        mark = next((each for each in correction_marks() if texts[i : i + len(each)] == list(each)), None)
        if mark is None or (mark == ("no",) and not _NO_BEFORE.intersection(texts[i + 1 : i + 2])):
            continue
        before = i - (words[i - 1].kind == "comma")
        after = i + len(mark)
        after += after < len(words) and words[after].kind == "comma"
        seen = Lookahead(list(words))
        relations = [n for n in range(before) if seen.relating(n) and seen.peek(n) & {"REL", "SIDE"}]
        if after >= len(words) or any(word.kind in ("stop", "comma") for word in words[:before]):
            return words
        if seen.relating(after):
            first = relations[0] if len(relations) == 1 else 0
        else:
            determiners = [n for n in range(before) if seen.peek(n) & {"DET", "QTY"}]
            alone = len(determiners) == 1 and not relations and seen.opens(after) and not seen.peek(after) & {"PRON"}
            first = determiners[0] if alone and determiners[0] + 1 < before else 0
        if not first:
            return words
        rest = list(words[after:])
        one = next((n for n, word in enumerate(rest) if word.text == "one"), None)
        if one and words[before - 1].text != "one" and not seen.relating(after):
            rest[one] = replace(rest[one], text=words[before - 1].text)
        return [*words[:first], *rest]
    return words


def choices(tokens: list[Token]) -> list[list[Token]]:
    """The sentences of a choice: "take the red or the blue cup" is one about each of them."""
    at = next((i for i, token in enumerate(tokens) if token.kind == "OR"), None)
    forbids = any(str(token.value).startswith((AVOID, FORBIDDEN)) for token in tokens if token.kind == "VERB")
    if at is None or forbids:  # "don't take the red or the blue cup" forbids both
        return [tokens]
    begin, end = at, at + 1
    while begin and tokens[begin - 1].kind in _PHRASE:
        begin -= 1
    while end < len(tokens) and tokens[end].kind in _PHRASE:
        end += 1
    one, other, rest = map(_with_sides, (tokens[begin:at], tokens[at + 1 : end], tokens[end:]))
    nouns = [token for token in other if token.kind == "NOUN"]
    whole = any(token.kind == "NOUN" for token in one)
    described = {token.kind for token in one} & {token.kind for token in other} & _DESCRIBING
    if not nouns or not (whole or described) or any(token.kind == "OR" for token in rest):
        return [tokens]
    if not whole:
        one = [*one, *nouns]
    if other[0].kind not in ("DET", "QTY", "NUM") and one[0].kind == "DET":
        other = [one[0], *other]
    return [[*tokens[:begin], *part, *rest] for part in (one, other)]


def _with_sides(tokens: Sequence[Token]) -> list[Token]:
    """The tokens with "left" as a side of a noun that is said later ("the left or the right one")."""
    return [
        replace(token, kind="SUP", value=(lexicon.POSITION_WORDS[token.text], None))
        if token.kind == "NOUN" and token.text in lexicon.POSITION_WORDS else token
        for token in tokens
    ]  # fmt: skip
