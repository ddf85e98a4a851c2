# SPDX-License-Identifier: Apache-2.0
"""Turn the tokens of one noun phrase into a `Phrase`: category, number, order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from spatial_vlm_ros.language import lexicon
from spatial_vlm_ros.language.lookahead import Token
from spatial_vlm_ros.language.part_words import ALONG_BOTH, crossed
from spatial_vlm_ros.language.refusals import refused
from spatial_vlm_ros.language.sentence import Phrase
from spatial_vlm_ros.language.words import MASS_PLURALS, NEVER_PLURAL, PAIRED, WORN_GLASSES, plural, singular

_REFERRING = frozenset({"it", "them", "this", "that", "these", "those"})
WITH_AND_WITHOUT = frozenset({"with", "without"})
_LONGEST_NAME = 6
_LONGEST_BARE_NAME = 3


def phrase_of(tokens: Sequence[Token], instruction: str) -> Phrase:
    """Build the phrase from its tokens."""
    first, last = tokens[0], next(token for token in reversed(tokens) if token.kind != "FRAME")
    if first.kind in ("PRON", "PERSON"):
        category, count = first.value
        refers = first.text if first.text in _REFERRING else None
        person = first.kind == "PERSON"
        return Phrase(category, count=count, person=person, start=first.start, end=first.end, refers=refers)
    phrase = Phrase("object", start=first.start, end=last.end)
    heads, complements = _read(tokens, phrase, instruction)
    if not complements and (lone := next((token for token in tokens[1:] if token.kind == "OF"), None)) is not None:
        raise refused(instruction, "no object", lone, last)
    determined = any(token.kind in ("DET", "QTY", "NUM", "ORD", "SUP", "OTHER") for token in tokens)
    nouns = heads + complements
    if len(nouns) > (_LONGEST_NAME if determined else _LONGEST_BARE_NAME):
        raise refused(instruction, "too long", nouns[0], nouns[-1])
    if not heads:
        if not determined:
            raise refused(instruction, "no noun", first, last, last=last.text)
        phrase.elliptic = phrase.one = True
        phrase.count = None if phrase.count == lexicon.ONE_OF else phrase.count
        return phrase
    names = [token.text for token in heads]
    phrase.one = names[0] in ("one", "ones")
    phrase.pointed = len(tokens) == 2 and phrase.one and first.text in _REFERRING
    if len(names) > 1 and names[-1] in ("one", "ones"):
        names.pop()
    sizes = [token.text for token, after in pairwise(tokens) if token.kind == "NUM" and after.kind == "NOUN"]
    one = singular(names[-1]) == names[-1] not in NEVER_PLURAL | PAIRED | MASS_PLURALS
    if sizes and one and first.kind == "DET" and len(names) > 1 and not complements and sizes != ["one"]:
        names, phrase.count = [*sizes, *names], None  # "the 500 ml bottle", "the three tier rack"
    if "pair of" in first.text and names[-1] in PAIRED:  # "a pair of glasses" is one object
        phrase.count = None
    said = phrase.count
    phrase.category, phrase.count = _number(names, [token.text for token in complements], phrase.count)
    phrase.vague = phrase.vague or (said is None and phrase.count == -1 and first.text == "some")
    if phrase.count == lexicon.ONE_OF:
        phrase.count = None
    return phrase


def feature_of(phrase: Phrase) -> str | None:
    """The attribute for a part or mark that an object has.

    Args:
        phrase: the phrase after "with".

    Returns:
        For example "with blue lid"; None if the phrase is not a part, or picks one of several ("with the left lid").
    """
    *modifiers, head = phrase.category.split(" ")
    told = phrase.order, phrase.superlative, phrase.frame, phrase.other, phrase.choice
    if singular(head) not in lexicon.FEATURES or any(each is not None for each in told):
        return None
    if phrase.vague or phrase.person or any(word.startswith(lexicon.NOT) for word in phrase.attributes):
        return None
    several = phrase.count not in (None, 1)
    number = [str(phrase.count)] if several and phrase.count != -1 else []
    return lexicon.WITH + " ".join((*number, *phrase.attributes, *modifiers, plural(head) if several else head))


def _read(tokens: Sequence[Token], phrase: Phrase, instruction: str) -> tuple[list[Token], list[Token]]:
    """Fill the phrase from its tokens; return the nouns before and after "of"."""
    heads: list[Token] = []
    complements: list[Token] = []
    nouns = heads
    order: Token | None = None
    for token in tokens:
        if token.kind in ("QTY", "NUM"):
            _quantify(phrase, token)
        elif token.kind == "DET":
            phrase.choice = "any" if token.value == lexicon.ANY else phrase.choice
        elif token.kind == "OTHER":
            phrase.other = token.value
        elif token.kind == "ADJ" and nouns is heads:
            if token.value not in phrase.attributes:
                phrase.attributes += (token.value,)
        elif token.kind in ("NOUN", "ADJ"):
            nouns.append(token)
        elif token.kind == "OF":
            nouns = complements
        elif token.kind == "ORD":
            if order is not None:
                raise refused(instruction, "two ordinals", token)
            order, phrase.order = token, token.value
        elif token.kind == "FROM_BEFORE":
            phrase.order_from, phrase.frame = token.value
        elif token.kind == "SUP":
            if phrase.superlative is not None:
                two = crossed(phrase.superlative, token.value[0], part=_is_part(tokens))
                if not two or phrase.also is not None:
                    raise refused(instruction, "two superlatives", token)
                phrase.superlative, phrase.also = two
                continue
            phrase.superlative, phrase.frame = token.value
            if token.text.startswith("far ") and token.text[4:] in ("left", "right") and _is_part(tokens):
                phrase.superlative, phrase.also = "farthest", phrase.superlative
        elif token.kind == "FRAME":
            phrase.frame, in_parentheses = token.value
            phrase.spread += () if in_parentheses else (phrase.frame,)
    if order is not None and phrase.superlative is not None:
        side = lexicon.ORDER_OF_SUPERLATIVE.get(phrase.superlative)
        if side is None or (phrase.order or 0) < 0:
            raise refused(instruction, "no order", order, superlative=phrase.superlative)
        phrase.order_from, phrase.superlative = side, None
    return heads, complements


def _is_part(tokens: Sequence[Token]) -> bool:
    nouns = [token.text for token in tokens if token.kind == "NOUN"]
    return bool(nouns) and singular(nouns[-1]) in ALONG_BOTH


def _quantify(phrase: Phrase, token: Token) -> None:
    """Set the count: "two of the three mugs" are any two."""
    if isinstance(token.value, tuple):
        phrase.choice, phrase.count, phrase.partitive = "any", token.value[1], True
    elif token.value == lexicon.ANY_OF:
        phrase.choice, phrase.count = "any", lexicon.ONE_OF
    elif token.value == lexicon.VAGUE:
        phrase.count, phrase.vague = -1, True
    elif phrase.count != lexicon.ONE_OF and not phrase.partitive:
        phrase.count = token.value


def _number(names: list[str], complements: list[str], count: int | None) -> tuple[str, int | None]:
    """Category and count of nouns: the head in the singular, "box of cereal" as "cereal box"."""
    *modifiers, head = names
    worn = False  # "two pairs of glasses"
    if complements and (
        head in ("pair", "pairs") or (head in ("piece", "pieces") and complements[-1] not in lexicon.CUT)
    ):
        paired = head == "pairs" and complements[-1] not in PAIRED
        count = 2 * count if count is not None and count > 0 and paired else count
        worn = head == "pairs" and not paired
        *modifiers, head = complements
        complements = []
    if singular(head) != head or head in PAIRED:
        drinking = head == "glasses" and not worn and (count is not None or bool(set(modifiers) - WORN_GLASSES))
        kept = (head in PAIRED and not drinking) or head in MASS_PLURALS
        if count is None and not kept:
            count = -1
        if count is not None or not kept:
            head = singular(head) if head not in PAIRED or drinking else head
    if complements:
        *before, noun = complements
        modifiers = [*modifiers, *before, noun if noun in MASS_PLURALS or noun in PAIRED else singular(noun)]
    if not modifiers and head in lexicon.PLACEHOLDERS:
        head = "object"
    return " ".join([*modifiers, head]), count
