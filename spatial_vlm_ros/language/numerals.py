# SPDX-License-Identifier: Apache-2.0
"""Numbers in one form: "1,5", "twenty five" and "½" become digits; ambiguous numbers are marked.

A comma or a point before exactly three digits may separate thousands or decimals, so such a number is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from spatial_vlm_ros.language.lexicon import NUMBERS, ORDINALS

DOUBTFUL = "doubtful"
"""Kind of a word with an ambiguous number."""

VULGAR = {"½": 1 / 2, "⅓": 1 / 3, "⅔": 2 / 3, "¼": 1 / 4, "¾": 3 / 4, "⅕": 1 / 5, "⅖": 2 / 5, "⅗": 3 / 5, "⅘": 4 / 5,
          "⅙": 1 / 6, "⅚": 5 / 6, "⅛": 1 / 8, "⅜": 3 / 8, "⅝": 5 / 8, "⅞": 7 / 8}  # fmt: skip
FRACTION = rf"(?:\d+\s+)?\d+\s?[/\u2044]\s?\d+(?![\d/\u2044]|[.,]\d)|(?:\d+\s?)?[{''.join(VULGAR)}](?!\d)"
"""Fractions in symbols: "1/2", "1 1/2", "1½"."""

_NUMBER = r"\d+(?:[.,'\u2019]\d+)*"
_LEADING = re.compile(rf"(?P<number>{_NUMBER})(?P<rest>.*)", re.DOTALL)
_UNIT_AND_MORE = re.compile(r"(?:mm|cm|dm|m|km|in|ft|e)[-+]?\d.*")
_RANGE = re.compile(rf"-{_NUMBER}[a-z]*")
_THOUSANDS = re.compile(r"\d{1,3}(?P<by>[.,'])\d{3}(?:(?P=by)\d{3})*(?P<decimals>[.,]\d+)?")
_DECIMALS = 12
_SMALL = {"zero": 0, "nought": 0, "one": 1, **NUMBERS}
TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fourty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
        "ninety": 90}  # fmt: skip
_GREAT = {"thousand": 1000, "million": 1_000_000}
_HUNDRED = {"hundred": 100}
_ARTICLES = frozenset({"a", "an"})
ANY_NUMBER = frozenset({*_SMALL, *TENS, *_GREAT, "hundred", "point"}) - {"one"}


def numeral(word: str) -> tuple[str, str] | None:
    """Parse a written word that begins with a digit: "1,5", "10cm", "2nd", "3d", "10-cm".

    Args:
        word: lower case, without spaces.

    Returns:
        The word with its number in one form, and what was joined by a hyphen ("10-cm") or ""; None if it is ambiguous.
    """
    found = _LEADING.fullmatch(word)
    if found is None:
        return word, ""
    number, rest = found["number"], found["rest"]
    if _UNIT_AND_MORE.fullmatch(rest) or (rest and not (rest[0].isalpha() or rest[0] == "-")):
        return None  # "1m50", "1e3"
    digits = _plain(number)
    if rest.startswith("-") and rest[1:].isalpha():
        return (word, "") if digits is None else (digits, rest[1:])
    if _RANGE.fullmatch(rest):
        return word, ""
    plain = number.isdecimal()
    if digits is None or (rest.startswith("-") and not plain):
        return None
    return word if plain else digits + rest, ""


def _plain(number: str) -> str | None:
    """Digits with a decimal point; None if the digits are ambiguous or not a number."""
    number = number.replace("\u2019", "'")
    signs = [sign for sign in number if not sign.isdecimal()]
    if not signs:
        return number
    groups = _THOUSANDS.fullmatch(number)
    if len(signs) == 1 and signs[0] != "'":
        before, after = number.split(signs[0])
        may_divide = len(after) == 3 and len(before) <= 3 and not before.startswith("0")
        return None if may_divide else f"{before}.{after}"
    if groups is None or number.startswith("0"):
        return None
    decimals = groups["decimals"]
    if decimals and decimals[0] == groups["by"]:
        return None
    whole = number.removesuffix(decimals or "")
    return whole.replace(groups["by"], "") + (f".{decimals[1:]}" if decimals else "")


def fraction(text: str) -> str | None:
    """A fraction in symbols ("1 1/2", "½") as a decimal; None if it divides by zero."""
    sign = text[-1]
    if sign in VULGAR:
        return _decimal(int(text[:-1].strip() or 0) + VULGAR[sign])
    *whole, last = re.split(r"\s+(?=\d+\s?[/\u2044])", text.strip(), maxsplit=1)
    above, below = re.split(r"\s?[/\u2044]\s?", last)
    if not int(below):
        return None
    return _decimal((int(whole[0]) if whole else 0) + int(above) / int(below))


def _decimal(value: float) -> str:
    return f"{value:.{_DECIMALS}f}".rstrip("0").rstrip(".")


# ------------------------------------------------------------------------------------------------ spelled out


def spelled(texts: Sequence[str], i: int) -> tuple[str, int] | None:
    """Parse a spelled-out number at word `i` that the tables do not contain.

    Args:
        texts: lower-case words; an empty string for a punctuation mark.
        i: index of the first word.

    Returns:
        The number in digits, and its number of words; None if there is none.
    """
    first = texts[i]
    if first not in ANY_NUMBER and first != "one" and not (first in _ARTICLES and _great(texts, i + 1)):
        return None
    if first == "point":
        digits = _digits(texts, i + 1)
        return (f"0.{digits}", 1 + len(digits)) if digits else None
    value, used = _whole(texts, i)
    if not used:
        return None
    if texts[i + used : i + used + 1] == ["point"] and (digits := _digits(texts, i + used + 1)):
        return f"{value}.{digits}", used + 1 + len(digits)
    if texts[i + used : i + used + 1] == ["dozen"]:
        value, used = value * 12, used + 1
    after = texts[i + used] if i + used < len(texts) else ""
    if first in TENS and used == 1 and 0 < ORDINALS.get(after, 0) < 10:
        n = value + ORDINALS[after]
        return f"{n}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th') }", 2
    return None if (used == 1 and first in NUMBERS) or (first == "one" and used == 1) else (str(value), used)


def _great(texts: Sequence[str], i: int) -> bool:
    return i < len(texts) and (texts[i] == "hundred" or texts[i] in _GREAT)


def _digits(texts: Sequence[str], i: int) -> str:
    found = ""
    while i + len(found) < len(texts) and 0 <= _SMALL.get(texts[i + len(found)], -1) < 10:
        found += str(_SMALL[texts[i + len(found)]])
    return found


def _below_hundred(texts: Sequence[str], i: int) -> tuple[int, int]:
    if i >= len(texts):
        return 0, 0
    if texts[i] in TENS:
        more = _SMALL.get(texts[i + 1], 0) if i + 1 < len(texts) else 0
        return (TENS[texts[i]] + more, 2) if 0 < more < 10 else (TENS[texts[i]], 1)
    return (_SMALL[texts[i]], 1) if texts[i] in _SMALL else (0, 0)


def _whole(texts: Sequence[str], i: int, scales: Sequence[Mapping[str, int]] = (_GREAT, _HUNDRED)) -> tuple[int, int]:
    """A number at word `i` and its number of words; 0 words = none.

    Args:
        scales: words that multiply the number before them, the greatest first; each is said at most once.
    """
    if not scales:
        return _below_hundred(texts, i)
    value, used = _whole(texts, i, scales[1:])
    if not used and scales[0] is _GREAT and texts[i] in _ARTICLES and _great(texts, i + 1):  # "a hundred"
        value, used = _whole(texts, i + 1, scales)
        return value, used + 1
    scale = scales[0].get(texts[i + used], 0) if i + used < len(texts) else 0
    if not scale:
        return value, used
    value, used = max(value, 1) * scale, used + 1
    joined = texts[i + used : i + used + 1] == ["and"]
    rest, more = _whole(texts, i + used + joined, scales[1:])
    return (value + rest, used + joined + more) if more and rest else (value, used)
