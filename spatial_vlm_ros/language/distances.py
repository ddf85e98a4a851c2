# SPDX-License-Identifier: Apache-2.0
"""Parse distances in words: "10 cm", "about half a metre", "no more than two hand widths", "20 cm or less"."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping, Sequence
from typing import Literal, NamedTuple

from spatial_vlm_ros.language.lexicon import NUMBERS, ORDINALS
from spatial_vlm_ros.language.patterns import SETS, WORDS
from spatial_vlm_ros.types import Distance

DOUBTFUL = "doubtful"
"""Kind of a word with an ambiguous number."""

VULGAR = {"½": 1 / 2, "⅓": 1 / 3, "⅔": 2 / 3, "¼": 1 / 4, "¾": 3 / 4, "⅕": 1 / 5, "⅖": 2 / 5, "⅗": 3 / 5, "⅘": 4 / 5,
          "⅙": 1 / 6, "⅚": 5 / 6, "⅛": 1 / 8, "⅜": 3 / 8, "⅝": 5 / 8, "⅞": 7 / 8}  # fmt: skip
FRACTION = rf"(?:\d+\s+)?\d+\s?[/\u2044]\s?\d+(?![\d/\u2044]|[.,]\d)|(?:\d+\s?)?[{''.join(VULGAR)}](?!\d)"
"""Fractions in symbols: "1/2", "1 1/2", "1½"."""

_NUMBER = r"\d+(?:[.,'\u2019]\d+)*"
_LEADING = re.compile(rf"(?P<number>{_NUMBER})(?P<rest>.*)", re.DOTALL)
_UNIT_AND_MORE = re.compile(r"(?:mm|cm|dm|m|km|in|ft|e)[-+]?\d.*")
_TO_NUMBER = re.compile(rf"-{_NUMBER}[a-z]*")
_THOUSANDS = re.compile(r"\d{1,3}(?P<by>[.,'])\d{3}(?:(?P=by)\d{3})*(?P<decimals>[.,]\d+)?")
_DECIMALS = 12
_SINGLE = {"zero": 0, "nought": 0, "one": 1, **NUMBERS}
TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fourty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
        "ninety": 90}  # fmt: skip
_GREAT = {"thousand": 1000, "million": 1_000_000}
_HUNDRED = {"hundred": 100}
ANY_NUMBER = frozenset({*_SINGLE, *TENS, *_GREAT, "hundred", "point"}) - {"one"}


def numeral(word: str) -> tuple[str, str] | None:
    """The number of a lower-case word that begins with it, and what a hyphen joins to it; None if ambiguous."""
    found = _LEADING.fullmatch(word)
    if found is None:
        return word, ""
    number, rest = found["number"], found["rest"]
    if _UNIT_AND_MORE.fullmatch(rest) or (rest and not (rest[0].isalpha() or rest[0] == "-")):
        return None  # "1m50", "1e3"
    digits = _plain(number)
    if rest.startswith("-") and rest[1:].isalpha():
        return (word, "") if digits is None else (digits, rest[1:])
    if _TO_NUMBER.fullmatch(rest):
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
        return _in_digits(int(text[:-1].strip() or 0) + VULGAR[sign])
    *whole, last = re.split(r"\s+(?=\d+\s?[/\u2044])", text.strip(), maxsplit=1)
    above, below = re.split(r"\s?[/\u2044]\s?", last)
    if not int(below):
        return None
    return _in_digits((int(whole[0]) if whole else 0) + int(above) / int(below))


def _in_digits(value: float) -> str:
    return f"{value:.{_DECIMALS}f}".rstrip("0").rstrip(".")


def spelled(texts: Sequence[str], i: int) -> tuple[str, int] | None:
    """A number at word `i` that is spelled out, in digits, and its number of words; None if the tables have it."""
    first = texts[i]
    if first not in ANY_NUMBER and first != "one" and not (first in SETS.indefinite and _great(texts, i + 1)):
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
    while i + len(found) < len(texts) and 0 <= _SINGLE.get(texts[i + len(found)], -1) < 10:
        found += str(_SINGLE[texts[i + len(found)]])
    return found


def _below_hundred(texts: Sequence[str], i: int) -> tuple[int, int]:
    if i >= len(texts):
        return 0, 0
    if texts[i] in TENS:
        more = _SINGLE.get(texts[i + 1], 0) if i + 1 < len(texts) else 0
        return (TENS[texts[i]] + more, 2) if 0 < more < 10 else (TENS[texts[i]], 1)
    return (_SINGLE[texts[i]], 1) if texts[i] in _SINGLE else (0, 0)


def _whole(texts: Sequence[str], i: int, scales: Sequence[Mapping[str, int]] = (_GREAT, _HUNDRED)) -> tuple[int, int]:
    """A number at word `i` and its number of words, 0 = none; each of `scales`, the greatest first, is said once."""
    if not scales:
        return _below_hundred(texts, i)
    value, used = _whole(texts, i, scales[1:])
    if not used and scales[0] is _GREAT and texts[i] in SETS.indefinite and _great(texts, i + 1):  # "a hundred"
        value, used = _whole(texts, i + 1, scales)
        return value, used + 1
    scale = scales[0].get(texts[i + used], 0) if i + used < len(texts) else 0
    if not scale:
        return value, used
    value, used = max(value, 1) * scale, used + 1
    joined = texts[i + used : i + used + 1] == ["and"]
    rest, more = _whole(texts, i + used + joined, scales[1:])
    return (value + rest, used + joined + more) if more and rest else (value, used)


_Bound = Literal["about", "at most", "at least"]
_TABLES = WORDS.under("distances")
DISTANCE_ENDS = _TABLES.words("ends")
"""Words that may follow a distance that comes after its relation."""
_UNITS = {phrase: float(metres) for phrase, metres in _TABLES.meanings("units").items()}
_UNIT_WORDS = frozenset(phrase.rsplit(" ", 1)[-1] for phrase in _UNITS)
_BEFORE: Mapping[str, _Bound] = _TABLES.meanings("before")
_AFTER: Mapping[str, _Bound] = _TABLES.meanings("after")
_VAGUE = {phrase: float(number) for phrase, number in _TABLES.meanings("vague").items()}
_DIGITS = re.compile(r"\d{1,9}(?:\.\d{1,12})?")
_GLUED = re.compile(r"(\d{1,9}(?:\.\d{1,12})?)([a-z]+)")
_SMALL: Mapping[str, float] = {"zero": 0, "a": 1, "an": 1, "one": 1, **NUMBERS}
_FRACTIONS = {"half": 0.5, "quarter": 0.25, "quarters": 0.25, "hundredth": 0.01, "hundredths": 0.01,
              **{f"{word}{end}": 1 / n for word, n in ORDINALS.items() if n > 2 for end in ("", "s")}}  # fmt: skip
_RANGE = re.compile(r"\d+(?:[.,]\d+)?-\d+(?:[.,]\d+)?")
_RANGE_GLUED = re.compile(rf"({_RANGE.pattern})([a-z]+)")
_MOST_UNITS = 3
_LONGEST_BOUND = 10  # words
_MICROMETRES = 6  # decimals of a metre
_FAR = 10.0  # metres; from here on written in metres


class SaidDistance(NamedTuple):
    """A distance found in the words."""

    distance: Distance | None  # None if no number was said ("a few cm")
    length: int  # words
    bounded: bool  # True if words such as "at most" or "within" come before it


def longest_at(texts: Sequence[str], i: int, phrases: Container[str]) -> tuple[str, int]:
    """The longest of some phrases of up to 5 words at word `i`, and its number of words; "" and 0 = none."""
    for length in range(min(5, len(texts) - i), 0, -1):
        words = texts[i : i + length]
        if all(words) and (text := " ".join(words)) in phrases:
            return text, length
    return "", 0


def _cardinal(texts: Sequence[str], i: int) -> tuple[float, int] | None:
    """A whole or decimal number at word `i`: "12", "0.5", "five"; longer ones are digits here."""
    if i >= len(texts) or not texts[i]:
        return None
    if _DIGITS.fullmatch(texts[i]):
        return float(texts[i]), 1
    return (float(_SMALL[texts[i]]), 1) if texts[i] in _SMALL else None


def _number(texts: Sequence[str], i: int) -> tuple[float, int] | None:
    """A number before a unit, as a factor of that unit: "two and a half", "half a", "a couple of"; NaN if vague."""
    vague, length = longest_at(texts, i, _VAGUE)
    if length:
        return _VAGUE[vague], length
    whole = _cardinal(texts, i)
    start = i + whole[1] if whole else i
    if whole and texts[start : start + 1] == ["and"]:
        fraction = _fraction(texts, start + 1, article=False)
        if fraction:
            return whole[0] + fraction[0], 1 + whole[1] + fraction[1]
    fraction = _fraction(texts, i, article=True)
    if whole and whole[0] < 1 and texts[start : start + 2] in (["of", "a"], ["of", "an"]):
        return whole[0], whole[1] + 2  # "3/4 of an inch"
    if fraction is None and whole and texts[start : start + 2] == ["or", "so"]:
        return whole[0], whole[1] + 2
    return fraction or whole


def _fraction(texts: Sequence[str], i: int, article: bool) -> tuple[float, int] | None:
    """A fraction such as "half a", "a half", "three quarters of a" at word `i`."""
    first = _cardinal(texts, i)
    times, j = (first[0], i + first[1]) if first else (1.0, i)
    if j >= len(texts) or texts[j] not in _FRACTIONS or (first is None and texts[j] != "half"):
        return None
    if times != 1 and not texts[j].endswith("s"):
        return None  # "10 half"
    value, j = times * _FRACTIONS[texts[j]], j + 1
    if article:
        j += texts[j : j + 1] == ["of"]
        j += bool(texts[j : j + 1]) and texts[j] in ("a", "an", "one")
    return value, j - i


def _amount(texts: Sequence[str], i: int) -> tuple[float, int] | None:
    """A number and its unit in metres: "10 cm", "10cm", "a metre and a half"."""
    glued = _GLUED.fullmatch(texts[i]) if i < len(texts) else None
    if glued:
        metres = {**_UNITS, "in": 0.0254}.get(glued[2])
        return None if metres is None else (float(glued[1]) * metres, 1)
    number = _number(texts, i)
    if number is None:
        return None
    unit = longest_at(texts, i + number[1], _UNITS)
    if not unit[1]:
        inches = texts[i + number[1] : i + number[1] + 1] == ["in"] and texts[i][0].isdecimal()
        following = texts[i + number[1] + 1] if inches and i + number[1] + 1 < len(texts) else ""
        if following not in SETS.before_inches:
            return None
        unit = ("inch", 1)
    value, metres, used = number[0], _UNITS[unit[0]], number[1] + unit[1]
    if texts[i + used : i + used + 1] == ["and"]:
        half = _fraction(texts, i + used + 1, article=False)
        if half:
            value, used = value + half[0], used + 1 + half[1]
    return value * metres, used


def distance_at(texts: Sequence[str], i: int) -> SaidDistance | None:
    """The distance that starts at word `i`, or None; `texts` are lower case, "" for a punctuation mark."""
    bound: _Bound = "about"
    j, bounded = i, False
    while j - i < _LONGEST_BOUND and (found := longest_at(texts, j, _BEFORE))[1]:
        bound = bound if _BEFORE[found[0]] == "about" else _BEFORE[found[0]]
        j, bounded = j + found[1], True
    total, units, last = 0.0, 0, math.inf
    while units < _MOST_UNITS and (amount := _amount(texts, j)) is not None:
        total, j, units = total + amount[0], j + amount[1], units + 1
        if (unit := _UNITS.get(texts[j - 1].lstrip("0123456789.,/'"), 0.0)) >= last:  # "10 cm, uh, 20 cm"
            return SaidDistance(None, j - i, bounded)
        last = unit
        if texts[j : j + 1] == ["and"] and _amount(texts, j + 1) is not None:
            j += 1
    if not units:
        return None
    if (left := _cardinal(texts, j)) is not None and texts[j] not in ("a", "an", "one"):
        return SaidDistance(None, j + left[1] - i, bounded)  # "1 m 50"
    if (found := longest_at(texts, j, _AFTER))[1]:
        bound, j = bound if _AFTER[found[0]] == "about" else _AFTER[found[0]], j + found[1]
    distance = None if math.isnan(total) else Distance(round(total, _MICROMETRES), bound)
    return SaidDistance(distance, j - i, bounded)


def range_at(texts: Sequence[str], i: int) -> int:
    """Number of words of a range at word `i` ("10 to 20 cm", "between 10 and 20 cm"), as `distance_at`; 0 = none."""
    if i < len(texts) and _RANGE.fullmatch(texts[i]):
        unit = longest_at(texts, i + 1, _UNITS)
        return 1 + unit[1] if unit[1] else 0
    if i < len(texts) and (glued := _RANGE_GLUED.fullmatch(texts[i])):
        return int(glued[2] in _UNITS)
    between = texts[i : i + 1] in (["between"], ["from"])
    first = _amount(texts, i + between) or _cardinal(texts, i + between)
    if first is None:
        return 0
    j = i + between + first[1]
    joint = texts[j : j + 1]
    if joint not in (["to"], ["or"], ["and"]) or (joint == ["and"] and not between):
        return 0
    second = _amount(texts, j + 1)
    return j + 1 + second[1] - i if second else 0


def mentions_unit(texts: Sequence[str]) -> bool:
    """True if any lower-case word is a unit, so that searching for a distance is worthwhile."""
    return any(
        text in _UNIT_WORDS or (text[:1].isdecimal() and (text[-1:].isalpha() or texts[i + 1 : i + 2] == ["in"]))
        for i, text in enumerate(texts)
    )


def is_unit(word: str) -> bool:
    """True if a lower-case word is a unit of length."""
    return word in _UNITS


def say_distance(distance: Distance) -> str:
    """Write a distance in words that `distance_at` reads as the same distance: for example "at most 20 cm"."""
    number = _decimal(distance.metres * 100)
    words = f"{number} cm"
    if distance.metres >= _FAR or round(float(number) * 0.01, _MICROMETRES) != distance.metres:
        words = f"{_decimal(distance.metres)} m"
    return words if distance.bound == "about" else f"{distance.bound} {words}"


def _decimal(value: float) -> str:
    words = f"{value:.{_MICROMETRES}f}".rstrip("0").rstrip(".")
    before, _, decimals = words.partition(".")
    return f"{words}0" if len(decimals) == 3 and before != "0" else words  # "1.234" may be a thousand
