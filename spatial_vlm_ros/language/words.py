# SPDX-License-Identifier: Apache-2.0
"""Split an instruction into lower-case words that keep their position in the text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from spatial_vlm_ros.budgets import MAX_LENGTH
from spatial_vlm_ros.errors import InputError, NotUnderstoodError
from spatial_vlm_ros.language import distances, lexicon, vocabulary
from spatial_vlm_ros.language.patterns import SETS, WORDS, Kinds, phrase_set, word_set
from spatial_vlm_ros.types import AccountedWord
from spatial_vlm_ros.types.query import WordAccount

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
_PIECE_OR_FRACTION = re.compile(rf"(?P<fraction>(?<![^\W_])(?:{distances.FRACTION}))|{_PIECES}")
_FRACTION_SIGNS = frozenset({*distances.VULGAR, "/", "\u2044"})
_SPELLED = distances.ANY_NUMBER | {"one"}
_QUOTES = frozenset(_APOSTROPHES) | set('"\u201c\u201d\u201e\u00ab\u00bb')
_COUNTING = _SPELLED | lexicon.ORDINALS.keys() | word_set("half halves third thirds quarter quarters and a")
_HYPHEN = re.compile(r"[-\u2010\u2011]")


@dataclass(frozen=True)
class Word:
    """One word or punctuation mark."""

    text: str  # lower case; the mark itself for a punctuation mark
    start: int  # first character in the instruction
    end: int  # one past the last character
    kind: str = "word"  # or "comma", "stop", "open", "close", "symbol", "foreign", "doubtful" (an ambiguous number)


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
    phrases = vocabulary.phrase_table()
    known = " ".join(parts) in phrases or (
        not parts[0].isdigit() and all(part.isdigit() or part in phrases for part in parts)
    )
    known = known or (parts[0] in _SPELLED and all(part in _COUNTING or distances.is_unit(part) for part in parts[1:]))
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
            words[-1] = replace(words[-1], end=end, kind=distances.DOUBTFUL)
        elif kind in ("and", "named"):
            words.append(Word("and" if kind == "and" else text, start, end))
        elif kind == "fraction":
            value = distances.fraction(text)
            words.append(Word(value or text, start, end, "word" if value else distances.DOUBTFUL))
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
    found = distances.numeral(text)
    if found is None:
        return [Word(text, start, end, distances.DOUBTFUL)]
    number, unit = found
    if unit and not distances.is_unit(unit):
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
        found = distances.spelled(texts, i) if texts[i] else None
        text, length = found or (words[i].text, 1)
        word = Word(text, words[i].start, words[i + length - 1].end, words[i].kind)
        i += length
        divided = bool(said) and said[-1].kind == "comma" and word.text[0].isdecimal()
        before = said[-1 - divided] if len(said) > divided else None
        follows = before is not None and (before.kind == distances.DOUBTFUL or _is_number(before)) and _is_number(word)
        if follows and before is not None and (not divided or before.text[0].isdecimal()):
            del said[-1 - divided :]
            word = Word(text, before.start, word.end, distances.DOUBTFUL)
        said.append(word)
    return said


_COLOURS = lexicon.BASE_COLOURS | lexicon.NOUN_COLOURS


def without_stumbles(words: list[Word]) -> list[Word]:
    """Remove hesitations, and words said twice in a row ("the the cup")."""
    said: list[Word] = []
    hesitated = False
    for word in words:
        before = said[-1].text if said else "-"
        unit = word.text == "mm" and (before[0].isdigit() or before in lexicon.NUMBERS or before in SETS.one)
        if word.kind == "word" and word.text in lexicon.HESITATIONS and not unit:
            hesitated = True
            if said and said[-1].kind == "comma":
                said.pop()
            continue
        if hesitated and word.kind in ("comma", "stop"):
            continue
        if hesitated and said and {said[-1].text, word.text} <= _COLOURS and said[-1].text != word.text:
            said.append(replace(word, text="no"))  # "the red, uh, blue cup" corrects itself
        if hesitated and said and word.text in SETS.articles and said[-1].text in SETS.articles:  # "that uh the cup"
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
    if again[0].text in ("are", "is") and len(words) > 2 and words[-3].text in SETS.standing:
        return False
    if length > 1:
        return again[0].text in SETS.stumbled | SETS.asking or again[-1].text in SETS.unfinished
    kinds = vocabulary.phrase_table().get(again[0].text, {})
    return again[0].text not in lexicon.REPEATABLE and "ADJNOUN" not in kinds  # "the orange orange"


# Account for every word of an instruction: no word is left out of a reading without a reason.
# A word is a token of the grammar; or a rule of a reviewed list dropped it (courtesy, filler, posture); or it is part
# of a construction that was rewritten, or a slip of the tongue.

SLIP = "SLIP"
"""Role of a hesitation, or of a word that was repeated by mistake."""

TAKEN_BACK = "TAKEN BACK"
"""Role of a word that a correction takes back, and of the words that mark it."""


class WordRole(NamedTuple):
    """The role that a word, or a phrase, was given."""

    start: int  # first character in the instruction
    end: int  # one past the last character
    role: str  # kind of its token, name of the list that dropped it, or `SLIP`


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


# Singular and plural of nouns: a few rules, and exceptions for common household objects.

_IRREGULAR = dict(pair.split(":") for pair in WORDS.patterns("irregular_plurals"))
_ENDS_IN_ES = re.compile(r"(?:ss|x|ch|sh|zz|o|(?<!o)us)es$")
_ENDS_IN_IE, NEVER_PLURAL = WORDS.words("ends_in_ie"), WORDS.words("never_plural")
PAIRED, MASS_PLURALS, WORN_GLASSES = map(WORDS.words, ("paired", "mass_plurals", "worn_glasses"))


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


_LONGEST_PLEASANTRY = max(map(len, phrase_set(*lexicon.PLEASANTRIES)))
_LOOKUPS = ("texts", "measurable", "tail", "_found", "_kinds")


@dataclass
class Token:
    """One token."""

    kind: str
    value: Any
    start: int  # first character in the instruction
    end: int
    text: str


@dataclass
class PhraseMatch:
    """A phrase of the tables found in the words."""

    kinds: Kinds
    first: int
    length: int
    text: str

    @property
    def after(self) -> int:
        """Index of the word after it."""
        return self.first + self.length


class Lookahead:
    """The words of one instruction, with the table entries found for them; `known` has those of the same words."""

    def __init__(self, words: list[Word], known: Lookahead | None = None) -> None:
        self.words = words
        self.phrases = vocabulary.phrase_table()
        self.tokens: list[Token] = []
        self.roles: list[tuple[int, int, str]] = []  # start, end and role of each word, as in WordRole
        if known is not None:
            vars(self).update({name: vars(known)[name] for name in _LOOKUPS})
        else:
            self.reset()

    def emit(self, kind: str, value: object, first: int, length: int, text: str) -> None:
        """Append the token (or tokens) for the words from `first` on."""
        words = self.words[first : first + length]  # in another order than said, if they were rewritten
        start, end = min(word.start for word in words), max(word.end for word in words)
        self.roles += [(word.start, word.end, kind) for word in words]
        for single in kind.split():
            self.tokens.append(Token(single, value, start, end, text))

    def swallow(self, first: int, after: int, role: str) -> None:
        """Record that the words from `first` to before `after` have no meaning by themselves."""
        self.roles += [(word.start, word.end, role) for word in self.words[first:after]]

    def reset(self) -> None:
        """Clear the lookups after the words changed."""
        self.texts = [word.text if word.kind == "word" else "" for word in self.words]
        self.measurable = distances.mentions_unit(self.texts)
        self._found: dict[int, list[PhraseMatch]] = {}
        self._kinds: dict[int, frozenset[str]] = {}
        self.tail = self._tail()

    def matches(self, i: int) -> list[PhraseMatch]:
        """Phrases of the tables that start at word `i`, longest first."""
        if i in self._found:
            return self._found[i]
        found, text = [], ""
        first = self.words[i].text.split(" ", 1)[0] if i < len(self.words) else ""
        for length in range(1, min(self.phrases.longest_from(first), len(self.words) - i) + 1):
            word = self.words[i + length - 1]
            if word.kind != "word":
                break
            text = word.text if length == 1 else f"{text} {word.text}"
            kinds = self.phrases.get(text)
            if kinds:
                found.append(PhraseMatch(kinds, i, length, text))
        self._found[i] = found[::-1]
        return self._found[i]

    def peek(self, i: int) -> frozenset[str]:
        """Possible kinds of the words at `i`, by the longest phrase there."""
        if i not in self._kinds:
            if i >= len(self.words):
                kinds = frozenset({"END"})
            elif self.words[i].kind != "word":
                kinds = frozenset({self.words[i].kind.upper()})
            else:
                found = self.matches(i)
                kinds = frozenset(found[0].kinds) if found else frozenset({"NOUN"})
            self._kinds[i] = kinds
        return self._kinds[i]

    def relating(self, i: int, measured: bool = True) -> bool:
        """True if a relation or side starts at `i`, perhaps after dropped words or, if `measured`, a distance."""
        while i < len(self.words):
            if self.peek(i) & SETS.relating or self._relates_shorter(i) or self.close_to(i):
                return True
            if measured and self.measurable and self.measures(i):
                return True
            if not self.peek(i) & SETS.filling:
                return False
            i += self.matches(i)[0].length
        return False

    def after_fillers(self, i: int) -> int:
        """Index of the first word from `i` on that is not dropped before a relation."""
        while i < len(self.words) and self.peek(i) & SETS.filling and not self.peek(i) & {"REL"}:
            i += self.matches(i)[0].length
        return i

    def close_to(self, i: int) -> bool:
        """True if a superlative at `i` is a relation ("nearest the box")."""
        if "SUP" not in self.peek(i):
            return False
        match = self.matches(i)[0]
        before = self.phrases.get(self.texts[i - 1], {}) if i else {}
        posed = ("POSTURE" in before and "VERB" not in before) or "IS" in before
        posed = posed and self.nominal(i + 1)
        return match.text in ("nearest", "closest") and (posed or bool(self.peek(i + 1) & {"DET"}))

    def _relates_shorter(self, i: int) -> bool:
        """True if a relation is hidden by a longer phrase ("in the top drawer" by "in the top")."""
        hidden = self.matches(i)[1:] if "FROM" in self.peek(i) else ()
        return any("REL" in match.kinds and self.opens(i + match.length) for match in hidden)

    def nominal(self, i: int) -> bool:
        """True if a word of a noun phrase, other than an article, is at `i`."""
        if self.peek(i) == {"OPEN"}:
            closing = (j + 1 for j in range(i, len(self.words)) if self.words[j].kind == "close")
            return self.nominal(next(closing, len(self.words)))
        if self.measurable and self.measures(i):
            return False
        kinds = self.peek(i)
        if kinds & {"THEN", "AND", "FROM", "FRAME"} or (self.tail[i] and kinds & {"PLEASANTRY"}):
            return False
        if kinds & {"INTENSIFIER", "POSTURE", "PARTICLE"} and self.relating(i):
            return False
        if "VERB" in kinds and self.peek(i + self.matches(i)[0].length) & SETS.openers:
            return False
        if self.close_to(i):
            return False
        if kinds & SETS.relating:
            return "ADJ" in kinds and not self.peek(i + 1) & SETS.openers and self.nominal(i + 1)  # "the round tray"
        if i < len(self.words) and self.words[i].text in lexicon.NOUNS_TOO:
            return True
        if kinds == {"IS REL"}:
            return True
        if kinds == {"GERUND"}:
            return self.nominal(i + 1)  # "the metal cutting board"
        return bool(kinds & SETS.nominal) or (
            bool(kinds & {"VERB", "POSTURE", "STANDS"}) and self.matches(i)[0].length == 1
        )

    def measures(self, i: int) -> bool:
        """True if a distance and its relation start at `i` ("10 cm left of")."""
        said = distances.distance_at(self.texts, i)
        if said is None:
            return False
        after = i + said.length
        return self.relating(after, measured=False) or (said.bounded and self.texts[after : after + 1] == ["of"])

    def opens(self, i: int) -> bool:
        """True if a noun phrase can start at `i`."""
        return bool(self.peek(i) & SETS.openers) or self.nominal(i)

    def polite_there(self, text: str, after: int) -> bool:
        """True if the words before word `after` are polite there; they are not in "if you have a second mug"."""
        if text in lexicon.BEFORE_COMMA:
            return bool(self.peek(after) & {"COMMA", "STOP"})
        if text.startswith(lexicon.TIME_OPENINGS):
            timed = text.endswith(lexicon.TIME_ENDS) and self.peek(after) & {"VERB", "POLITE"}
            return bool(timed or self.peek(after) & {"COMMA", "STOP"})
        return True

    def previous(self) -> str:
        """Kind of the last token."""
        return self.tokens[-1].kind if self.tokens else ""

    def last(self, *kinds: str) -> Token | None:
        """The last token of some kinds, or None."""
        return next((token for token in reversed(self.tokens) if token.kind in kinds), None)

    def _tail(self) -> list[bool]:
        """For each word, True if only polite words follow from there to the end."""
        n = len(self.words)
        tail = [False] * n + [True]
        last = n
        for i in reversed(range(n)):
            if last - i > _LONGEST_PLEASANTRY:  # no phrase reaches from here to where only polite words follow
                break
            word = self.words[i]
            if word.kind in ("stop", "comma"):
                tail[i] = tail[i + 1]
            elif word.text in lexicon.VOCATIVES:
                tail[i] = tail[i + 1] and i > 0 and self.words[i - 1].kind == "comma"
            else:
                tail[i] = any("PLEASANTRY" in match.kinds and tail[i + match.length] for match in self.matches(i))
            if tail[i]:
                last = i
        return tail
