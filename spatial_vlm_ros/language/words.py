# SPDX-License-Identifier: Apache-2.0
"""Split an instruction into lower-case words that keep their position in the text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from spatial_vlm_ros.errors import InputError, NotUnderstoodError
from spatial_vlm_ros.language import lexicon
from spatial_vlm_ros.language.distances import is_unit
from spatial_vlm_ros.language.numerals import ANY_NUMBER, DOUBTFUL, FRACTION, VULGAR, fraction, numeral, spelled
from spatial_vlm_ros.language.patterns import WORDS, word_set
from spatial_vlm_ros.language.vocabulary import phrase_table
from spatial_vlm_ros.types import AccountedWord
from spatial_vlm_ros.types.query import WordAccount

MAX_LENGTH = 1000
"""Longest instruction, characters."""

_APOSTROPHES = "'\u2019\u02bc\u2018`"
_PIECES = (
    r"(?P<named>\b[Ll]etter [A-Z]\b)"  # one name, in which A is no article
    r"|(?P<tenths>(?<![^\s(])\.\d[^\W_]*)"
    rf"|(?P<word>[^\W_]+(?:(?:[{_APOSTROPHES}&]|(?<=\d)[.,](?=\d)|[-\u2010\u2011])[^\W_]+)*)"
    r"|(?P<comma>[,;:]|(?<=\s)[-\u2013\u2014]+(?=\s)|\u2014)"
    r"|(?P<stop>[.!?\u2026]+)"
    r"|(?P<and>&)"
    r"|(?P<open>\()|(?P<close>\))"
    rf"|(?P<quote>[\"\u201c\u201d\u201e\u00ab\u00bb{_APOSTROPHES}])"
    r"|(?P<space>\s+)"
    r"|(?P<symbol>[^\s])"
)
_PIECE = re.compile(_PIECES)
_PIECE_OR_FRACTION = re.compile(rf"(?P<fraction>(?<![^\W_])(?:{FRACTION}))|{_PIECES}")
_FRACTION_SIGNS = frozenset({*VULGAR, "/", "\u2044"})
_SPELLED = ANY_NUMBER | {"one"}
_QUOTES = frozenset(_APOSTROPHES) | set('"\u201c\u201d\u201e\u00ab\u00bb')
_COUNTING = _SPELLED | lexicon.ORDINALS.keys() | word_set("half halves third thirds quarter quarters and a")
_HYPHEN = re.compile(r"[-\u2010\u2011]")


@dataclass(frozen=True)
class Word:
    """One word or punctuation mark.

    Args:
        text: lower case; the mark itself for a punctuation mark.
        start: first character in the instruction.
        end: one past the last character.
        kind: "word", "comma", "stop", "open", "close", "symbol", "foreign" or "doubtful" (an ambiguous number).
    """

    text: str
    start: int
    end: int
    kind: str = "word"


def check(instruction: str) -> None:
    """Refuse text that cannot be an instruction."""
    if not isinstance(instruction, str):
        raise InputError("instruction", type(instruction).__name__, "a string", "pass the words as one str")
    if len(instruction) > MAX_LENGTH:
        got = f"{len(instruction)} characters"
        raise InputError("instruction", got, f"at most {MAX_LENGTH}", "say one command in one sentence")
    for position, character in enumerate("" if instruction.isprintable() else instruction):
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\t\n\r":
            raise InputError(
                "instruction",
                f"the control character U+{ord(character):04X} at {position}",
                "plain text",
                "remove control characters before passing the text on",
            )
    if not instruction.strip():
        repair = 'say a command, for example "pick up the red cup"'
        raise NotUnderstoodError(instruction, (0, len(instruction)), "the instruction is empty", repair)


def _fold(text: str) -> str | None:
    """The word in ASCII, or None if it is not an English word."""
    if text.isascii():
        return text
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    return plain if plain.isascii() and plain in lexicon.LOANWORDS else None


def _split_hyphens(word: Word) -> list[Word]:
    """Split "left-hand" into words of the tables; leave "t-shirt" whole."""
    parts = _HYPHEN.split(word.text)
    if len(parts) == 1:
        return [word]
    phrases = phrase_table()
    known = " ".join(parts) in phrases or (
        not parts[0].isdigit() and all(part.isdigit() or part in phrases for part in parts)
    )
    known = known or (parts[0] in _SPELLED and all(part in _COUNTING or is_unit(part) for part in parts[1:]))
    if not known:
        return [Word("-".join(parts), word.start, word.end)]
    pieces, start = [], word.start
    for part in parts:
        pieces.append(Word(part, start, start + len(part)))
        start += len(part) + 1
    return pieces


def split(instruction: str) -> list[Word]:
    """Split any text into words and punctuation marks, without quotation marks and white space."""
    words: list[Word] = []
    numbers = False
    fractions = not _FRACTION_SIGNS.isdisjoint(instruction)
    for match in (_PIECE_OR_FRACTION if fractions else _PIECE).finditer(instruction):
        kind, text = match.lastgroup or "symbol", match.group().lower()
        start, end = match.span()
        if kind == "quote" and _measures_feet(words, instruction, start):
            words[-1] = replace(words[-1], end=end, kind=DOUBTFUL)
        elif kind in ("and", "named"):
            words.append(Word("and" if kind == "and" else text, start, end))
        elif kind == "fraction":
            value = fraction(text)
            words.append(Word(value or text, start, end, "word" if value else DOUBTFUL))
            numbers = True
        elif kind == "tenths" or (kind == "word" and text[0].isdecimal()):
            words.extend(_numerals(f"0{text}" if kind == "tenths" else text, start, end))
            numbers = True
        elif kind == "word":
            for apostrophe in _APOSTROPHES[1:]:
                text = text.replace(apostrophe, "'")
            folded = _fold(_HYPHEN.sub("-", text))
            if folded is None or len(folded) != end - start:
                words.append(Word(text, start, end, "foreign" if folded is None else "word"))
            else:
                words.extend(_split_hyphens(Word(folded, start, end)))
        elif kind not in ("quote", "space"):
            words.append(Word(match.group(), start, end, kind))
    return _with_numbers(words) if numbers or any(word.text in _SPELLED for word in words) else words


def _measures_feet(words: list[Word], instruction: str, at: int) -> bool:
    if not words or words[-1].end != at or not words[-1].text[-1:].isdecimal():
        return False
    before = instruction[: words[-1].start][-1:]
    return not before or before not in _QUOTES


def _numerals(text: str, start: int, end: int) -> list[Word]:
    """Split a word that begins with a digit: a number in one form, perhaps with its unit separate ("10-cm")."""
    if not text.isascii():
        text = _HYPHEN.sub("-", text.replace("\u2019", "'"))
    if not text.isascii():
        return [Word(text, start, end, "foreign")]
    found = numeral(text)
    if found is None:
        return [Word(text, start, end, DOUBTFUL)]
    number, unit = found
    if unit and not is_unit(unit):
        return _split_hyphens(Word(text, start, end))
    return [Word(number, start, end), *([Word(unit, start, end)] if unit else [])]


def _is_number(word: Word) -> bool:
    """True if a word is only a number; "one" may not be a number."""
    return word.kind == "word" and (word.text in lexicon.NUMBERS or word.text.replace(".", "", 1).isdecimal())


def _with_numbers(words: list[Word]) -> list[Word]:
    """Join numbers of several words into one; two numbers in a row are ambiguous."""
    texts = [word.text if word.kind == "word" else "" for word in words]
    said: list[Word] = []
    i = 0
    while i < len(words):
        found = spelled(texts, i) if texts[i] else None
        text, length = found or (words[i].text, 1)
        word = Word(text, words[i].start, words[i + length - 1].end, words[i].kind)
        i += length
        divided = bool(said) and said[-1].kind == "comma" and word.text[0].isdecimal()
        before = said[-1 - divided] if len(said) > divided else None
        follows = before is not None and (before.kind == DOUBTFUL or _is_number(before)) and _is_number(word)
        if follows and before is not None and (not divided or before.text[0].isdecimal()):
            del said[-1 - divided :]
            word = Word(text, before.start, word.end, DOUBTFUL)
        said.append(word)
    return said


_ONE = frozenset({"one", "a", "half", "an"})
_STUMBLED = frozenset({"the", "a", "an", "to", "of", "can", "could", "would", "my"})
_STANDING = frozenset({"you", "it", "they", "we", "things"})  # "seen from where you are are left of"
_ASKING = frozenset({"how", "what", "where", "which", "is", "are", "i", "can", "could"})
_ARTICLES = frozenset({"the", "a", "an", "that", "this", "my"})
_COLOURS = lexicon.BASE_COLOURS | lexicon.NOUN_COLOURS
_UNFINISHED = frozenset({"the", "a", "an", "of", "to", "from"})


def without_stumbles(words: list[Word]) -> list[Word]:
    """Remove hesitations, and words said twice in a row ("the the cup")."""
    said: list[Word] = []
    hesitated = False
    for word in words:
        before = said[-1].text if said else "-"
        unit = word.text == "mm" and (before[0].isdigit() or before in lexicon.NUMBERS or before in _ONE)
        if word.kind == "word" and word.text in lexicon.HESITATIONS and not unit:
            hesitated = True
            if said and said[-1].kind == "comma":
                said.pop()
            continue
        if hesitated and word.kind in ("comma", "stop"):
            continue
        if hesitated and said and {said[-1].text, word.text} <= _COLOURS and said[-1].text != word.text:
            said.append(replace(word, text="no"))  # "the red, uh, blue cup" corrects itself
        if hesitated and said and word.text in _ARTICLES and said[-1].text in _ARTICLES:  # "that uh the cup"
            said.pop()
        hesitated = False
        said.append(word)
        for length in (1, 2):
            if _repeats(said, length):
                del said[-length:]
    return said


def _repeats(words: list[Word], length: int) -> bool:
    if len(words) < 2 * length:
        return False
    again, before = words[-length:], words[-2 * length : -length]
    if any(word.kind != "word" or word.text.isdigit() for word in again):
        return False
    if [word.text for word in again] != [word.text for word in before]:
        return False
    if again[0].text in ("are", "is") and len(words) > 2 and words[-3].text in _STANDING:
        return False
    if length > 1:
        return again[0].text in _STUMBLED | _ASKING or again[-1].text in _UNFINISHED
    kinds = phrase_table().get(again[0].text, {})
    return again[0].text not in lexicon.REPEATABLE and "ADJNOUN" not in kinds  # "the orange orange"


# --------------------------------------------------------------------------------------------------
# Account for every word of an instruction: no word is left out of a reading without a reason.
# A word is a token of the grammar; or a rule of a reviewed list dropped it (courtesy, filler, posture); or it is part
# of a construction that was rewritten, or a slip of the tongue.

SLIP = "SLIP"
"""Role of a hesitation, or of a word that was repeated by mistake."""


TAKEN_BACK = "TAKEN BACK"
"""Role of a word that a correction takes back, and of the words that mark it."""


class WordRole(NamedTuple):
    """The role that a word, or a phrase, was given.

    Args:
        start: first character in the instruction.
        end: one past the last character.
        role: kind of its token, name of the list that dropped it, or `SLIP`.
    """

    start: int
    end: int
    role: str


def lost(before: Sequence[Word], after: Sequence[Word], role: str) -> list[WordRole]:
    """List the words that a step of the reading dropped or rewrote."""
    if len(before) == len(after) and all(first is second for first, second in zip(before, after, strict=True)):
        return []
    kept = {(word.start, word.end) for word in after}
    return [WordRole(word.start, word.end, role) for word in before if (word.start, word.end) not in kept]


_DROPPED: Mapping[str, WordAccount] = {
    SLIP: "slip", TAKEN_BACK: "taken back", "ASIDE": "left out", "POLITE": "courtesy", "PLEASANTRY": "courtesy",
    **dict.fromkeys(("ADVERB", "INTENSIFIER", "MEASURE", "PARTICLE", "POSTURE"), "function"),
}  # fmt: skip
"""What became of the words that a list dropped."""


def accounted(
    words: Iterable[Word], roles: Iterable[tuple[int, int, str]], instruction: str, partial: bool = False
) -> tuple[AccountedWord, ...]:
    """What became of each word; refuses an instruction with a word that has no role, unless `partial`."""
    roles = list(roles)
    found = []
    for word in words:
        if word.kind != "word":
            continue
        role = next((role for start, end, role in roles if start <= word.start < end), None)
        if role is None and partial:
            continue
        if role is None:
            reason, repair = "this word was not understood", "leave it out, or rephrase it"
            raise NotUnderstoodError(instruction, (word.start, word.end), reason, repair)
        found.append(AccountedWord(word.start, word.end, _DROPPED.get(role, "read")))
    return tuple(found)


# --------------------------------------------------------------------------------------------------
# Singular and plural of nouns: a few rules, and exceptions for common household objects.

_IRREGULAR = dict(pair.split(":") for pair in WORDS.patterns("irregular_plurals"))
_ENDS_IN_ES = re.compile(r"(?:ss|x|ch|sh|zz|o|(?<!o)us)es$")
_ENDS_IN_IE, NEVER_PLURAL = WORDS.words("ends_in_ie"), WORDS.words("never_plural")
PAIRED, MASS_PLURALS, WORN_GLASSES = map(WORDS.words, ("paired", "mass_plurals", "worn_glasses"))


def is_plural(word: str) -> bool:
    """True if a lower-case word is the plural of a countable noun, which `singular` changes."""
    return singular(word) != word


def singular(word: str) -> str:
    """The singular of a lower-case noun; the word itself if it is not a plural."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in PAIRED and word != "glasses":
        return word
    if len(word) < 4 or not word.endswith("s") or word in NEVER_PLURAL or word.endswith(("ss", "us", "is", "'s")):
        return word
    if word.endswith("es") and word[:-2] in NEVER_PLURAL:
        return word[:-2]
    if word.endswith("ies"):
        return word[:-1] if word[:-1] in _ENDS_IN_IE else word[:-3] + "y"
    return word[:-2] if _ENDS_IN_ES.search(word) and word not in ("fuses", "uses", "muses") else word[:-1]


def plural(word: str) -> str:
    """The plural of a lower-case noun; `singular` turns it back into the noun."""
    for many, one in _IRREGULAR.items():
        if one == word:
            return many
    if word in PAIRED or word in MASS_PLURALS:
        return word
    if word.endswith("y") and len(word) > 1 and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    candidates = (word + "s", word + "es")
    if word.endswith(("s", "x", "z", "ch", "sh", "o")):
        candidates = (word + "es", word + "s")
    return next((many for many in candidates if singular(many) == word), word)
