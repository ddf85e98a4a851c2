# SPDX-License-Identifier: Apache-2.0
"""Words that stop, take back what was said, offer a choice, or make an order depend on what is seen.

A request to stop is never a command and never a noun. A sentence that begins with one of the plain words ("stop, grab
the box"), or ends with one ("grab the box, stop!"), is one, too, so a stop is never lost in a command. The milder words
("wait", "never mind") count only if nothing else is said. Phrases are in acts.toml, words around them in answers.toml.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache
from itertools import dropwhile, groupby

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import lexicon
from spatial_vlm_ros.language.acts import STOP_WORDS, WAIT_WORDS, phrases_of
from spatial_vlm_ros.language.distances import distance_at
from spatial_vlm_ros.language.lexicon import BASE_COLOURS, NOUN_COLOURS
from spatial_vlm_ros.language.lookahead import Lookahead, Token
from spatial_vlm_ros.language.patterns import all_phrases, read_table, word_set
from spatial_vlm_ros.language.sentence import AVOID, FORBIDDEN
from spatial_vlm_ros.language.vocabulary import phrase_table
from spatial_vlm_ros.language.words import MAX_LENGTH, Word, split

_NO_BEFORE = word_set(", the a an my that this not it left right behind on in")
"""What comes after a "no" that takes something back; "no rush" and "no more than" do not."""
_SIGNS = frozenset({"comma", "stop"})
_AROUND = word_set("no sorry wait well oh actually rather yes oops um uh er or say")
"""What may stand around the words that take something back."""
_DENYING = frozenset({"no", "sorry", "wait", "mean", "meant", "scratch", "correction", "oops", "wrong", "mistake"})
_QUESTIONS = frozenset({"how", "where", "which", "what", "is", "are"})
_EMPTY = frozenset({"the", "a", "an", "to", "of", "my"})
_BACK = frozenset({"it", "them", "that", "one", "there"})
_AFTER_IDIOMS = frozenset({",", "with", "and", "then", "please", "now", "to", "for", "but", "so", ""})
_DESCRIBING = frozenset({"NUM", "ORD", "SUP", "ADJ"})
_PHRASE = _DESCRIBING | {"DET", "QTY", "NOUN", "OTHER"}

_STOPPING = read_table("answers")["stopping"]
PLAIN = word_set(_STOPPING["plain"])
"""Words that stop whenever they begin or end an instruction."""
AROUND = word_set(_STOPPING["around"])
"""Words around them without effect."""
_NOT_TO = word_set(_STOPPING["not_to"])
_OBJECTS_AFTER = word_set(_STOPPING["objects_after"])
_NAMED_BY = word_set(_STOPPING["named_by"])
_LONGEST_STOP = 8  # words of a request
_DOUBLED = re.compile(r"(.)\1+")
_DRAWN: dict[str, str] = {_DOUBLED.sub(r"\1", word): word for word in _STOPPING["drawn"].split()} | _STOPPING["spelled"]


@cache
def _by_first_word(table: str) -> dict[str, list[tuple[str, ...]]]:
    found: dict[str, list[tuple[str, ...]]] = {}
    for phrase in sorted(phrases_of(table), key=len, reverse=True):
        found.setdefault(phrase[0], []).append(phrase)
    return found


def phrase_at(table: str, texts: list[str], i: int) -> tuple[str, ...]:
    """The longest phrase of a table of the verbs that begins at a word; empty if none does."""
    phrases = _by_first_word(table).get(texts[i], ()) if i < len(texts) else ()
    return next((phrase for phrase in phrases if tuple(texts[i : i + len(phrase)]) == phrase), ())


def check_idioms(words: Sequence[Word], instruction: str) -> None:
    """Refuse a figure of speech: "give me a hand" asks for no hand."""
    texts = [*(word.text if word.kind == "word" else "," for word in words), ""]
    for first in range(len(words)):
        phrase = phrase_at("idioms", texts, first)
        after = first + len(phrase)
        if phrase and (phrase[-1] in ("of", "with") or texts[after] in _AFTER_IDIOMS):
            reason = "this is a figure of speech, which asks for no object"
            repair = 'name the object and what to do: "take the cup"'
            raise NotUnderstoodError(instruction, (words[first].start, words[after - 1].end), reason, repair)


def without_condition(words: list[Word]) -> tuple[list[Word], bool]:
    """The words without "if there is" before an object and an order about it; True if it was there."""
    length = len(phrase_at("conditions", [word.text for word in words], 0))
    return words[length:], length > 0


def corrected(words: list[Word]) -> list[Word]:
    """The words without what corrections take back: "the white mug, no, the blue one" is "the blue mug".

    Only where one part may be meant; other corrections stay, and are refused by name.
    """
    while (shorter := _corrected_once(words)) is not words:
        words = shorter
    return words


def _corrected_once(words: list[Word]) -> list[Word]:
    texts = [word.text for word in words]
    for i in range(1, len(words) - 1):
        mark = phrase_at("correction_marks", texts, i)
        if not mark:
            continue
        before, after = i, i + len(mark)
        while before and (words[before - 1].kind in _SIGNS or texts[before - 1] in _AROUND):
            before -= 1
        while after < len(words) and (words[after].kind in _SIGNS or texts[after] in _AROUND):
            after += 1
        while len(again := phrase_at("correction_marks", texts, after)) > 1:
            after += len(again)
        after += after < len(words) and words[after].kind == "comma"
        alone = after == i + len(mark) and texts[i - 1] != ","
        colours = before and after < len(words) and {texts[before - 1], texts[after]} <= BASE_COLOURS | NOUN_COLOURS
        if mark == ("no",) and after == i + 1 and not colours and not _NO_BEFORE.intersection(texts[i + 1 : i + 2]):
            continue
        if alone and mark in (("rather",), ("actually",)):  # "the rather large cup"
            continue
        if not before or after >= len(words):
            return words
        first = max((n + 1 for n in range(before) if texts[n] == "then"), default=0)
        if any(word.kind in ("stop", "comma") for word in words[first:before]):
            return words
        return _replaced(words, first, before, after, not _DENYING.isdisjoint(texts[before:after]))
    return words


def _replaced(words: list[Word], first: int, before: int, after: int, denies: bool) -> list[Word]:
    """The words in which what follows a mark stands for what it takes back; `words` if that is not clear.

    Args:
        first: first word of the order that is corrected.
        before: one past its last word before the mark.
        after: first word after the mark.
        denies: the mark takes back a whole order ("no", "sorry"); "actually" may add one.
    """
    seen, texts, rest = Lookahead(list(words)), [word.text for word in words], list(words[after:])
    cut, kinds = None, seen.peek(after)
    relations = [n for n in range(first, before) if seen.relating(n) and seen.peek(n) & {"REL", "SIDE"}]
    lengths = ((n, distance_at(texts[:before], n)) for n in range(first, before))
    measured = next((n for n, said in lengths if said is not None and n + said.length == before), None)
    begins = next((n for n in range(first, before) if "VERB" in seen.peek(n) or texts[n] in _QUESTIONS), None)
    if seen.peek(before - 1) & {"NUM", "ONE"} and kinds & {"NUM", "ONE"}:
        cut = before - 1
    elif measured is not None and distance_at(texts, after):
        cut = measured
    elif texts[after] == "from":
        sides = [n for n in range(first, before) if texts[n] == "from"]
        cut = sides[0] if len(sides) == 1 else None
    elif seen.relating(after):
        open_end = bool(relations) and relations[-1] + seen.matches(relations[-1])[0].length == before
        cut = relations[-1] if len(relations) == 1 or open_end else None
        back = next((n for n, word in enumerate(rest) if word.text in ("it", "them")), None)
        own = any(seen.peek(after + n) & {"DET", "QTY"} for n in range(back or 0))
        if cut is not None and back is not None and not own:  # "in the box, no, next to it"
            named = next((n for n in range(cut, before) if seen.peek(n) & {"DET", "QTY"}), before)
            rest[back : back + 1] = words[named:before]
            cut = cut if named < before else None
    elif begins is not None and ("VERB" in kinds or texts[after] in _QUESTIONS) and _BACK.isdisjoint(texts[after:]):
        forbids = any("FORBID" in seen.peek(n) for n in range(first, before))
        orders = texts[after] in _QUESTIONS or seen.opens(after + seen.matches(after)[0].length)
        cut = begins if denies and orders and not forbids else None
    elif "ADJ" in kinds and "ADJ" in seen.peek(before - 1):
        cut = before - 1
    else:
        determiners = [n for n in range(first, before) if seen.peek(n) & {"DET", "QTY"}]
        alone = len(determiners) == 1 and not relations and seen.opens(after) and not kinds & {"PRON"}
        cut = determiners[0] if alone else None
        one = next((n for n, word in enumerate(rest) if word.text == "one"), None)
        if one and words[before - 1].text != "one" and "DET" not in seen.peek(before - 1):
            rest[one] = replace(rest[one], text=words[before - 1].text)
        it = next((n for n, word in enumerate(rest) if word.text in ("it", "them")), 0)
        if alone and it and Lookahead(rest).peek(it - 1) & {"REL"}:  # "the coke, no, the sprite next to it"
            rest[it : it + 1] = words[determiners[0] : before]
        comma = next((n for n, word in enumerate(rest) if word.kind == "comma"), len(rest))
        if Lookahead(rest).relating(comma + 1):  # "the pan, no, the pot, on the stove"
            del rest[comma]
    takes_back = cut is not None and not _EMPTY.issuperset(texts[cut:before])
    return [*words[:cut], *rest] if takes_back else words


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


# ------------------------------------------------------------------------------------------------- stopping


@lru_cache(maxsize=1)
def _stop_phrases() -> frozenset[str]:
    return all_phrases((*STOP_WORDS, *WAIT_WORDS))


@lru_cache(maxsize=4096)
def _undrawn(text: str) -> str:
    return _DRAWN.get(_DOUBLED.sub(r"\1", text), text)


def stops(instruction: str) -> bool:
    """True if words ask to stop; they need not be understood otherwise."""
    return isinstance(instruction, str) and asks_to_stop(split(instruction[:MAX_LENGTH]))


def waits(instruction: str) -> bool:
    """True if words that ask to stop only ask to wait."""
    said = f" {' '.join(word.text for word in split(instruction[:MAX_LENGTH]) if word.kind == 'word')} "
    waiting, stopping = (
        any(f" {phrase} " in said for phrase in all_phrases(table)) for table in (WAIT_WORDS, STOP_WORDS)
    )
    return waiting and not stopping


def asks_to_stop(words: Sequence[Word]) -> bool:
    """As `stops`, for words that are already split."""
    texts = [_undrawn(word.text) if word.kind == "word" else "" for word in words]
    parts = [list(part) for said, part in groupby(texts, bool) if said]
    parts = [part for part in parts if PLAIN.intersection(part) or not AROUND.issuperset(part)]
    if not parts:
        return False
    if all(map(_is_request, parts)):
        return True
    first = list(dropwhile(lambda text: text in AROUND - PLAIN, parts[0]))
    if first[0] in PLAIN and _OBJECTS_AFTER.isdisjoint(first[1:2]):
        return True
    said = parts[-1]
    if len(parts) > 1 and PLAIN.intersection(said) and _is_request(said):
        return True
    while said and said[-1] in AROUND - PLAIN:
        said = said[:-1]
    alone = len(said) > 2 and said[-1] in PLAIN and _NOT_TO.isdisjoint(said)
    return alone and said[-2] not in _NAMED_BY and "ADJ" not in phrase_table().get(said[-2], {})


def _is_request(part: Sequence[str]) -> bool:
    """True if words are one request or several in a row, with only harmless words around them."""
    i, found = 0, False
    while i < len(part):
        ends = range(min(i + _LONGEST_STOP, len(part)), i, -1)
        end = next((end for end in ends if " ".join(part[i:end]) in _stop_phrases()), 0)
        if not end and part[i] not in AROUND:
            return False
        i, found = end or i + 1, found or end > 0
    return found
