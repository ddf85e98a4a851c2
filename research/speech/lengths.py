# SPDX-License-Identifier: Apache-2.0
"""Lengths and numbers in words and digits."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from research.speech.voice import Voice
from spatial_vlm_ros.types import Distance

METRES: Mapping[str, float] = MappingProxyType(
    {"cm": 0.01, "m": 1.0, "mm": 0.001, "inch": 0.0254, "foot": 0.3048, "hand": 0.09}
)
"""Units of stated distances, in metres."""

_NAMES: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "cm": (("centimetre", "centimetres"),),
        "m": (("metre", "metres"),),
        "mm": (("millimetre", "millimetres"),),
        "inch": (("inch", "inches"),),
        "foot": (("foot", "feet"),),
        "hand": (("hand width", "hand widths"), ("hand's width", "hand's widths")),
    }
)
_SHORT: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"cm": (" cm", "cm", " cms"), "m": (" m", "m"), "mm": (" mm", "mm"), "foot": (" ft",), "inch": (), "hand": ()}
)
_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ORDINALS = MappingProxyType({1: "first", 2: "second", 3: "third", 5: "fifth", 8: "eighth", 9: "ninth", 12: "twelfth"})

_BOUNDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "about": ("{d}", "{d}", "{d}", "about {d}", "roughly {d}", "around {d}", "approximately {d}", "some {d}"),
        "at most": ("at most {d}", "no more than {d}", "less than {d}", "not more than {d}", "up to {d}"),
        "at least": (
            "at least {d}",
            "more than {d}",
            "no less than {d}",
            "over {d}",
            "{d} or more",
            "not less than {d}",
        ),
    }
)


def cardinal(n: int) -> str:
    """Words for 0 to 999."""
    if n < 20:
        return _SMALL[n]
    if n < 100:
        return _TENS[n // 10] + (f"-{_SMALL[n % 10]}" if n % 10 else "")
    rest = f" and {cardinal(n % 100)}" if n % 100 else ""
    return f"{_SMALL[n // 100]} hundred{rest}"


def ordinal(n: int) -> str:
    """Word for a place, from 1 to 19."""
    return _ORDINALS.get(n, f"{_SMALL[n].removesuffix('e') if n == 9 else _SMALL[n]}th")


def numeral(n: int) -> str:
    """The place in digits: 1st, 2nd, 3rd, and so on."""
    tail = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{tail}"


def bounded(distance: Distance, voice: Voice) -> str:
    """A distance with its bound: "10 cm", "at most half a metre", "two feet or more"."""
    return voice.word(_BOUNDS[distance.bound]).replace("{d}", length(distance.metres, voice))


def length(metres: float, voice: Voice) -> str:
    """A length in a unit in which it is a round number; centimetres where there is none."""
    exact = [(unit, metres / size) for unit, size in METRES.items()]
    halves = [(unit, round(2 * n)) for unit, n in exact if abs(2 * n - round(2 * n)) < 1e-6 and 2 * n >= 1]
    usual = [(unit, twice) for unit, twice in halves if _usual(unit, twice)]
    if not usual and not halves:
        return f"{100 * metres:.4g}{voice.choose(_SHORT['cm'])}"
    unit, twice = voice.choose(usual or halves[:1])
    whole, half = divmod(twice, 2)
    if half:
        return _with_half(whole, unit, voice)
    one, many = voice.choose(_NAMES[unit])
    name = voice.spell(one if whole == 1 else many)
    if whole == 1 and unit in ("m", "foot", "inch", "hand") and voice.chance(0.6):
        return f"{'an' if unit == 'inch' else 'a'} {name}"
    if voice.spoken or unit == "hand" or (whole < 13 and voice.chance(0.25)):
        return f"{cardinal(whole) if whole < 1000 else whole} {name}"
    return f"{whole}{voice.choose((*_SHORT[unit], ' ' + name, ' ' + name))}"


def _usual(unit: str, twice: int) -> bool:
    """Whether people would say it so."""
    n, whole = twice / 2, twice % 2 == 0
    return {
        "cm": whole and 2 <= n <= 90,
        "m": 0.5 <= n <= 10,
        "mm": whole and 10 <= n <= 80 and n % 5 == 0,
        "inch": whole and n <= 30,
        "foot": n <= 12,
        "hand": whole and n <= 6,
    }[unit]


def _with_half(whole: int, unit: str, voice: Voice) -> str:
    one, many = (voice.spell(name) for name in _NAMES[unit][0])
    if whole == 0:
        return f"half {'an' if unit == 'inch' else 'a'} {one}"
    words = (f"{cardinal(whole)} and a half {many}",)
    digits = (f"{whole}.5{voice.choose(_SHORT[unit] or (' ' + many,))}", f"{whole}.5 {many}")
    a_half = (f"a {one} and a half",) if whole == 1 and unit in ("m", "foot") else ()
    return voice.choose((*words, *a_half, *(() if voice.spoken else digits)))
