# SPDX-License-Identifier: Apache-2.0
"""Speech around a command: courtesies before it, remarks beside it, sounds and starts that lead nowhere.

Only a sentence that was refused as it stands comes here. What is taken away must be inert: it has no order,
prohibition, condition, report, correction or wish, shares no noun with the command, which refers to nothing in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from spatial_vlm_ros.language.lexicon import WISHED, base_forms, homophones, phrases_of, spoken_patterns, words_of
from spatial_vlm_ros.language.patterns import SETS
from spatial_vlm_ros.language.words import (
    SLIP,
    TAKEN_BACK,
    Lookahead,
    Word,
    WordRole,
    lost,
    singular,
    without_stumbles,
)

ASIDE = "ASIDE"
"""Role of a word of a remark that says nothing about the command."""
POLITE = "POLITE"

_MOST_PARTS = 8
_LONGEST_REPEAT = 4
_QUOTED = re.compile(r"(?<!\w)['\"\u201c\u201d\u201e\u00ab\u00bb\u2018]|[\"\u201c\u201d\u00ab\u00bb]")
_ASKING = SETS.question_words | {"tell", "is", "are", "i", "i'd", "we", "it'd", "it", "you", "may", "might"}
_HEARD_AFTER = {
    ("next", "too"): "to", ("next", "two"): "to", ("left", "off"): "of", ("right", "off"): "of",
    ("front", "off"): "of", ("top", "off"): "of", ("and", "than"): "then", ("is", "their"): "there",
}  # fmt: skip
_Kept = tuple[list[Word], list[WordRole]]


def plainer(words: Sequence[Word], instruction: str) -> Iterator[_Kept]:
    """Yield the words of what may be the command in an utterance, the longest first, with the roles of the others.

    Words that a recogniser may have written for others that sound the same ("buy" for "by") are replaced last.
    """
    if _QUOTED.search(instruction):  # what somebody else says
        return
    kept = without_stumbles(_with_dictated_signs(words))
    roles = lost(words, kept, SLIP)
    kept = _without_fillers(_without_starts(kept, roles), roles)
    for heard in (kept, misheard(kept)):
        if heard is not None:
            yield from _commands(heard, roles)


def _commands(words: list[Word], roles: Sequence[WordRole]) -> Iterator[_Kept]:
    parts = _parts(words)
    if len(parts) > _MOST_PARTS:
        return
    for length in range(len(parts), 0, -1):
        for first in range(len(parts) - length + 1):
            whole = [word for part in parts[first : first + length] for word in part]
            chosen = list(whole)
            while chosen and chosen[-1].kind in ("comma", "stop"):
                chosen.pop()
            while (first or roles) and chosen and (chosen[0].text in SETS.joining or chosen[0].kind == "comma"):
                chosen.pop(0)
            rest = [*parts[:first], *parts[first + length :]]
            named = any(_names(Lookahead(part)) for part in rest)
            if not chosen or (named and not _stands_alone(chosen)):  # it may refer to an object of a remark
                continue
            nouns = _nouns(chosen) if rest else frozenset()
            role = ASIDE
            if not all(_inert(part, nouns, n >= first) for n, part in enumerate(rest)):
                if first + length < len(parts) or not _abandoned(rest, chosen, nouns):
                    continue
                role = TAKEN_BACK
            told = [*roles, *(WordRole(word.start, word.end, role) for part in rest for word in part)]
            asks = Lookahead(chosen).peek(0) & {"VERB", "POLITE", "FORBID"} or chosen[0].text in _ASKING
            if not rest or asks or any(word.text in SETS.belonging_to for word in chosen):
                yield from _ordered(chosen, [*told, *lost(whole, chosen, "ADVERB")])


def _with_dictated_signs(words: Sequence[Word]) -> list[Word]:
    """The words with signs for those that were dictated ("comma", "full stop"), for "just" and before "can you"."""
    said, seen, texts = list[Word](), Lookahead(list(words)), [word.text for word in words]
    for i, word in enumerate(words):
        if word.text == "stop" and said and said[-1].text == "full":
            said[-1] = replace(said[-1], text=".", end=word.end, kind="stop")
        elif word.text == "comma" or (said and word.text == "just" and "VERB" in seen.peek(i + 1)):
            said.append(replace(word, text=",", kind="comma"))  # "don't touch the cup just take the plate"
        else:
            follows = " ".join(texts[i + (word.text == "so") :][:2])
            asks = follows in SETS.requesting or (word.text == "so" and follows.startswith("please "))
            if asks and len(said) > 1 and said[-1].kind == "word" and said[-1].text not in SETS.links:
                said.append(replace(word, text=",", kind="comma", end=word.start))  # "I'm thirsty can you pass the cup"
            said.append(word)
    return said


def misheard(words: Sequence[Word]) -> list[Word] | None:
    """The words with others that sound the same, where only those are words of a command; None if there are none."""
    sounds, counted = homophones()
    said = list(words)
    for i, word in enumerate(words):
        before, after = (words[n].text if 0 <= n < len(words) else "" for n in (i - 1, i + 1))
        if word.text in counted and before in SETS.before_numbers and after not in SETS.owned_articles:
            said[i] = replace(word, text=counted[word.text])
        elif (i or word.text in ("wear", "witch")) and word.text in sounds:
            said[i] = replace(word, text=sounds[word.text])
        elif word.text in ("too", "two") and after in SETS.owned_articles:
            said[i] = replace(word, text="to")
        elif word.text == "then" and before.endswith("er"):
            said[i] = replace(word, text="than")
        elif (before, word.text) in _HEARD_AFTER:
            said[i] = replace(word, text=_HEARD_AFTER[before, word.text])
    return None if said == list(words) else said


def _without_starts(words: list[Word], roles: list[WordRole]) -> list[Word]:
    """Drop words before a comma that are said again after it ("give me, give me the cup")."""
    i = 1
    while i < len(words) - 1:
        if words[i].kind != "comma" and words[i].text not in ("...", "\u2026"):
            i += 1
            continue
        texts = [word.text for word in words]
        again = next(
            (n for n in range(min(_LONGEST_REPEAT, i), 0, -1)
             if texts[i - n : i] == texts[i + 1 : i + 1 + n] and all(word.kind == "word" for word in words[i - n : i])),
            0,
        )  # fmt: skip
        orders = "then" in texts[i - again : i]
        if again and not orders and not any(text[0].isdigit() for text in texts[i - again : i]):
            roles += [WordRole(word.start, word.end, SLIP) for word in words[i - again : i + 1]]
            del words[i - again : i + 1]
            i = max(1, i - again)
        else:
            i += 1
    return words


def _text(words: Sequence[Word]) -> str:
    return " ".join(word.text if word.kind == "word" else "," for word in words)


def _without_fillers(words: list[Word], roles: list[WordRole]) -> list[Word]:
    """Drop what stands between commas, or before the first, and is only courtesy or a sound of thinking."""
    parts = _parts(words)
    kept: list[Word] = []
    for n, part in enumerate(parts):
        said = [word for word in part if word.kind == "word"]
        if said and len(parts) > 1 and spoken_patterns()[0].fullmatch(_text(said)):
            roles += [WordRole(word.start, word.end, POLITE) for word in part]
            if n == len(parts) - 1 and kept and kept[-1].kind == "comma":
                kept.pop()
        else:
            kept += part
    return _without_starts(kept, roles)


def _parts(words: Sequence[Word]) -> list[list[Word]]:
    """The words up to each comma or full stop, with it."""
    parts: list[list[Word]] = [[]]
    for word in words:
        parts[-1].append(word)
        if word.kind in ("comma", "stop"):
            parts.append([])
    return [part for part in parts if part]


def _nouns(words: Sequence[Word]) -> frozenset[str]:
    seen = Lookahead(list(words))
    return frozenset(
        singular(word.text) for i, word in enumerate(words) if word.kind == "word" and seen.peek(i) & SETS.nominal
    )


def _abandoned(parts: Sequence[Sequence[Word]], command: Sequence[Word], nouns: frozenset[str]) -> bool:
    """True if parts are starts of what the command says whole ("the bishop, no, the rook, take the rook")."""
    if "VERB" not in Lookahead(list(command)).peek(0) or not any(word.text in SETS.owned_articles for word in command):
        return False
    last: frozenset[str] = frozenset()
    for part in parts:
        texts = [word.text for word in part if word.kind == "word"]
        marks = {text for mark in phrases_of("correction_marks") for text in mark} | {"no", "not", "oh", "yes", "well"}
        seen = Lookahead([word for word in part if word.kind == "word"])
        own = _nouns(part) - marks
        if not (words_of("changing") - marks - SETS.ones).isdisjoint(texts) or ("not" in texts and own & nouns):
            return False
        if any("VERB" in seen.peek(i) and seen.opens(i + 1) for i in range(len(texts))) or states(texts):
            return False
        last = own or last
    return bool(last & nouns)


def _stands_alone(words: Sequence[Word]) -> bool:
    """True if a command refers to nothing that was said before it: only to its own object, in a further order."""
    seen = Lookahead(list(words))
    for i, word in enumerate(words):
        named = any(seen.peek(n) & {"DET", "QTY"} for n in range(i - 1))
        if word.text in ("it", "them") and named and "VERB" in seen.peek(i - 1):
            continue
        if word.text in ("one", "ones") and sum("DET" in seen.peek(n) for n in range(i)) > 1:
            continue
        if word.text in SETS.referring_back and _refers(words, i):
            return False
    return True


def _names(seen: Lookahead) -> bool:
    """True if a remark names an object ("ticket roll's stuck, pull it out", "this jar is stuck")."""
    pointing = any("PRON" in seen.peek(i) and seen.nominal(i + 1) for i in range(len(seen.words) - 1))
    return pointing or seen.nominal(0) or any(seen.peek(i) & SETS.naming for i in range(len(seen.words)))


def _refers(words: Sequence[Word], i: int) -> bool:
    """True if the word at `i` refers back; "that is" and "there is" do not."""
    after = words[i + 1].text if i + 1 < len(words) else ""
    relative = words[i].text == "that" and (i and words[i - 1].kind == "word") and after in words_of("stating")
    relative = relative or (i > 0 and words[i - 1].text == "after")
    return not (relative or (words[i].text == "there" and after in ("is", "are")))


def _inert(part: Sequence[Word], nouns: frozenset[str], later: bool) -> bool:
    """True if a remark changes nothing about a command with these nouns; after it, only if it tells of the speaker."""
    said = [word for word in part if word.kind == "word"]
    texts = [word.text for word in said]
    reasons = bool(texts) and texts[0] in SETS.reasons
    while texts and texts[0] in SETS.links:
        said, texts = said[1:], texts[1:]
    strange = any(word.kind not in ("word", "comma", "stop") for word in part)
    if strange or not texts or texts[0] in SETS.question_words or not words_of("changing").isdisjoint(texts):
        return False
    seen = Lookahead(said)
    kinds = frozenset().union(*(seen.peek(i) for i, text in enumerate(texts) if text != "far"))
    counts = any(seen.peek(i) & {"NUM"} and not SETS.times & set(texts[i + 1 : i + 2]) for i in range(len(texts)))
    pointing = "it" in texts[1:] or (texts[0] in ("it", "it's", "its") and not kinds.isdisjoint(("DET", "QTY")))
    if counts or kinds & {"SUP", "ORD", "SIDE", "POSITION"} or (pointing and not later):
        return False  # it may say which object is meant ("it's on the tray, take the cup"), or how many
    if not (reasons or states(texts)) or nouns & {singular(text) for text in texts}:
        return False
    denied = any(text in ("not", "no", "never", "cannot") or text.endswith(("n't", "nt")) for text in texts)
    addressed = "you" in texts or "robot" in texts
    verbs = any("VERB" in seen.peek(i) and texts[i] not in words_of("perceiving") for i in range(1, len(texts)))
    if denied and (addressed or verbs):
        return False
    if later:
        ends = texts[-1] in ("it", "them") and denied
        return texts[0] in SETS.first_person and (ends or SETS.referring_back.isdisjoint(texts))
    return "VERB" not in seen.peek(0) or texts[0] in SETS.first_person


def states(texts: Sequence[str]) -> bool:
    """True if the words have a subject and a verb that is not an order."""
    stating = words_of("stating")
    verb = next(
        (i for i, text in enumerate(texts) if text in stating or re.search(r"'(?:s|m|re|ve|ll)$|n't$", text)), None
    )
    if verb is None:
        verb = next((i for i, text in enumerate(texts) if i > 1 and text.endswith("ed")), None)
    return verb is not None and (verb > 0 or "'" in texts[0])


def _ordered(words: list[Word], roles: list[WordRole]) -> Iterator[_Kept]:
    """The words as they are, and without a courtesy before the order."""
    yield words, roles
    said = _text(words) + " "
    _, before, wishes = spoken_patterns()
    wish = wishes.match(said)
    if wish is not None and wish.group().strip() in WISHED:  # refused as it stands
        return
    match = wish or before.match(said)
    first = match.group().count(" ") if match is not None else _courteous(words)
    if not first:
        return
    rest = words[first:]
    told = [*roles, *(WordRole(word.start, word.end, POLITE) for word in words[:first])]
    if not rest or rest[0].kind != "word":
        return
    if wish:
        give = [replace(words[first - 1], text="give"), replace(words[first - 1], text="me")]
        yield [*give, *rest], told[:-1]
        return
    form = base_forms().get(rest[0].text)
    said_before = [word.text for word in words[:first]]
    if form is not None and not SETS.forming.isdisjoint(said_before) and "VERB" not in Lookahead(rest[:1]).peek(0):
        rest = [replace(rest[0], text=form), *rest[1:]]
    if rest[0].text in SETS.question_words:
        rest = [replace(words[first - 1], text="tell"), replace(words[first - 1], text="me"), *rest]
    yield rest, told


def _courteous(words: Sequence[Word]) -> int:
    """Number of words of courtesy before an order to the robot; 0 if there are none, or they may be more."""
    seen, courteous = Lookahead(list(words)), words_of("courteous")
    texts = [word.text for word in words]
    for i, text in enumerate(texts):
        formed = text in base_forms() and not SETS.forming.isdisjoint(texts[:i])
        if i and text not in courteous and ("VERB" in seen.peek(i) or formed) and seen.opens(i + 1):
            who = next((each for each in reversed(texts[:i]) if each in SETS.who), "")
            own = texts[i - 1] == "to" and texts[i - 2] in ("me", "us")
            supposes = "if" in texts[:i] and SETS.warm.isdisjoint(texts[:i])
            tells = texts[0] in SETS.telling and SETS.wishing.isdisjoint(
                texts[:i]
            )  # "I'm glad you put the cup on the tray"
            tells = tells or (texts[0] == "you" and SETS.able.isdisjoint(texts[:i]))  # "you kindly put the cup there"
            past = not {"was", "were"}.isdisjoint(texts[:i]) and {"wondering", "hoping"}.isdisjoint(texts[:i])
            said = " ".join(texts[:i])
            praises = "of you" in said and {"if", "would", "it'd"}.isdisjoint(texts[:i])  # "nice of you to open it"
            doubts = "help you" in said or re.match("(could|might|can|may) it be", said) is not None
            tells = tells or past or praises or doubts
            asks = who in ("you", "ye", "u", "you'd") or (not who and texts[i - 1] in ("and", "please", "kindly", ","))
            return i if asks and not (own or supposes or tells) else 0
        if words[i].kind == "word" and text not in courteous and (not text.endswith("ly") or text in SETS.scarce):
            return 0
    return 0
