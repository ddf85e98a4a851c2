# SPDX-License-Identifier: Apache-2.0
"""Check the shape that words outside the grammar need before a model may be asked which object they mean.

It is a list of what is allowed: after polite words, a verb of picking up, giving or finding, or none, and then one
object ("the thing …", "what I …"). Warnings, other actions and statements have other shapes, however many words they
have.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import dropwhile

from spatial_vlm_ros.language.accounting import WordRole
from spatial_vlm_ros.language.courtesy import WISHES
from spatial_vlm_ros.language.distances import is_unit
from spatial_vlm_ros.language.inflection import is_plural
from spatial_vlm_ros.language.lookahead import Token
from spatial_vlm_ros.language.patterns import expand, word_set
from spatial_vlm_ros.language.word_classes import TIMES, is_participle
from spatial_vlm_ros.language.words import Word

_MOVERS = ("take", "bring", "give", "deliver")
OPENINGS = frozenset(
    phrase
    for pattern in (
        "pick up|out", "grab|get|fetch|grasp|collect|retrieve|seize|choose|select", *_MOVERS, "go get",
        "get|take|grab hold of", "hand|give|pass|bring|get|fetch|grab|lend me|us", "gimme", "find me|us?", "locate",
        "show me|us?", "look|search for", "spot|identify|detect|seek", *WISHES,
    )
    for phrase in expand(pattern)
)  # fmt: skip
"""Phrases of the grammar that ask to pick up, give or find one object; they may come before free words."""
_WISHES = frozenset(phrase for pattern in WISHES for phrase in expand(pattern))
_LONGEST = max(len(phrase.split(" ")) for phrase in OPENINGS)
_SWALLOWED = frozenset({"POLITE", "SLIP"})
_ARTICLES = word_set("the a an my our your his her their its this that")
_SUBJECTS = word_set("i we he she they people someone somebody the a my our your his her their")
_ASKING_NEXT = word_set("do does did is are was were should would could can will shall might may must")
_RELATIVE = word_set("that which who whose whom i we you he she they people someone somebody")
_BEHIND = frozenset({"DET", "PRON", "PERSON", "QTY", "NUM", "UNITLESS", "DIST", "REL", "SIDE", "FROM", "THATIS", "IS",
                     "FRAME", "COMMA", "STOP", "OF", "AND"})  # fmt: skip
"""Tokens that may follow the noun: a relative clause, a relation, or a word that is judged by itself."""
_SEVERAL = word_set("both all every everything each any these those some")
_NAMING = frozenset({"NOUN", "ADJ", "SUP", "ORD"})
_COUNTING = frozenset({"NUM", "QTY", "ALONE", "PORTION", "UNCOUNTED"})
_FREE = word_set("what whatever whichever")
_CALLING = word_set("please hey hi hello ok okay well so now robot ,")
_GIVING = word_set("give bring deliver")
_PLACES = word_set("place space room spot area")
_GOING = frozenset({"to", "toward", "towards", "into", "onto", "over to", "up to", "down to", "back to", "back into",
                    "back onto", "over toward", "over towards"})  # fmt: skip
_AWAY = word_set("home upstairs downstairs outside indoors outdoors there here away back elsewhere")
_PURPOSE = word_set("use uses used using needed tries tried enough supposed ready")
"""Words before a "to" that begins a purpose: "what I use to open bottles"."""
_LIKING = word_set("like likes liked love loves loved want wants wanted need needs have has had try")
"""The same, but after a verb that moves objects ("get the mug that she loves to Bob")."""
_OWNING = word_set("belong belongs belonging")
_MOVING = word_set("take bring give deliver get fetch pass hand i")
_WITH = frozenset({"together with", "along with", "as well as", "plus"})
_ENDS_CLAUSE = frozenset({"REL", "COMMA", "SIDE", "STOP", "AND", "FROM"})
_GOES_ON = frozenset({"REL", "SIDE", "FROM", "THATIS", "FRAME"})
"""Tokens that may follow a comma or "and": more about the same object."""
_REFUSED = {
    **dict.fromkeys(
        ("OR", "EACH", "PORTION"), "they offer a choice or parts, but a model can point only at one object"
    ),
    **dict.fromkeys(("TURNED", "GRIP", "CLOSER", "VAGUE"), "they ask for a motion that is not supported"),
    **dict.fromkeys(("DENIED",), "a property is negated, which a model may ignore"),
    **dict.fromkeys(("TIME",), "they put the order in time"),
    **dict.fromkeys(("FOREIGN", "SYMBOL", "OPEN", "CLOSE"), "one of the words or signs cannot be read"),
    **dict.fromkeys(("DOUBTFUL", "UNCOUNTED", "SIGNED", "RANGE"), "a number in them is not reliable"),
    "THEN": "they have several steps, but a model can point only at one object",
}
"""Tokens that the grammar always refuses, and the reason why no model is asked."""
_NO_SHAPE = "they neither ask for one object to be picked up, given or found, nor only describe one"


def start_of(words: Sequence[Word], roles: Sequence[WordRole]) -> tuple[str, int]:
    """The opening phrase of an instruction, and the index of the word after it.

    Returns:
        The phrase of `OPENINGS` after polite words, "" if there is none, and the number of words before the object.
    """
    polite = [(role.start, role.end) for role in roles if role.role in _SWALLOWED]
    first = 0
    while first < len(words) and (
        words[first].kind == "comma" or any(start <= words[first].start < end for start, end in polite)
    ):
        first += 1
    for length in range(min(_LONGEST, len(words) - first), 0, -1):
        phrase = " ".join(word.text for word in words[first : first + length])
        if phrase in OPENINGS:
            return phrase, first + length
    return "", first


def misshapen(words: Sequence[Word], roles: Sequence[WordRole], tokens: Sequence[Token]) -> str | None:
    """Reason why words do not have the shape that a model may be asked about; None if they have.

    Args:
        tokens: in the order of the grammar.
    """
    opening, place = start_of(words, roles)
    rest = words[place:]
    if not rest:
        return "they do not name an object"
    said = [token for token in tokens if token.start >= rest[0].start]
    if not opening and rest[0].text in _FREE and any(word.text not in _CALLING for word in words[:place]):
        return _NO_SHAPE  # "you know what my niece likes"
    return (
        _known_refusal(said)
        or _not_one_object(rest, said, opening)
        or _goes_away(opening, [word.text for word in rest], said)
        or _goes_on(said)
        or _becomes(opening, said)
    )


def describes_with_what(texts: Sequence[str]) -> bool:
    """True if words that begin with "what" describe an object: "what I drink from", but not "what is that"."""
    return len(texts) > 1 and texts[0] == "what" and texts[1] in _SUBJECTS


def _not_one_object(rest: Sequence[Word], tokens: Sequence[Token], opening: str) -> str | None:
    """Reason why words do not begin with one object, or None."""
    texts, start = [word.text for word in rest], rest[0].start
    first, second = texts[0], texts[1] if len(texts) > 1 else ""
    if first in _FREE:
        fits = second not in _ASKING_NEXT - {"is", "was"} if opening else second in _SUBJECTS
        return (_stated(tokens, opening) or _second(tokens, start)) if fits and second != "ones" else _NO_SHAPE
    if first == "something":
        return _second(tokens, start)
    if tokens and tokens[0].kind in _COUNTING:
        first = tokens[0].text
    if first in _SEVERAL or (tokens and tokens[0].kind in _COUNTING):
        return f"{first!r} may mean several objects, but a model can point only at one object"
    if first == "your":
        return "they mention the robot itself"  # "take your gripper off the mug that I love"
    if first not in _ARTICLES:
        return _NO_SHAPE
    named = list(dropwhile(lambda token: token.kind == "DET" and token.text in _ARTICLES, tokens))
    if named and named[0].kind in _COUNTING:
        return f"{named[0].text!r} may mean several objects, but a model can point only at one object"
    if not named or named[0].kind not in _NAMING:
        return _NO_SHAPE
    ended = next((n for n, token in enumerate(named) if token.kind not in _NAMING), len(named))
    head, behind = named[ended - 1].text, named[ended] if ended < len(named) else None
    if head == "ones" or is_plural(head):
        return f"{head!r} may mean several objects, but a model can point only at one object"
    if any(token.text in _PLACES for token in named[:ended]):
        return "they ask for a place, but a model only points at an object"
    if behind is not None and behind.kind == "DET" and opening in _GIVING:
        return "they may say whom to give it to, but a model can point only at one object"
    if behind is not None and behind.kind == "OF" and named[ended + 1 : ended + 2]:
        next_one = named[ended + 1]
        if next_one.kind not in ("DET", "NOUN", "ADJ"):
            return "they ask for a part, or for several objects, but a model can point only at one object"
    if behind is not None and behind.kind not in _BEHIND and behind.text not in _RELATIVE:
        return _NO_SHAPE  # "my niece loves …", "get the mug filled"
    return _stated(tokens, opening) or _second(tokens, start)


def _second(tokens: Sequence[Token], start: int) -> str | None:
    second = any(token.text in _FREE for token in tokens if token.start > start)
    return "they name two objects, but a model can point only at one" if second else None


def _stated(tokens: Sequence[Token], opening: str) -> str | None:
    stating = not opening and any(token.kind == "IS" for token in tokens)
    return "they state something and ask for nothing" if stating else None


def _known_refusal(tokens: Sequence[Token]) -> str | None:
    for n, token in enumerate(tokens):
        if token.kind in _REFUSED:
            return _REFUSED[token.kind]
        counted = any(after.text in TIMES or is_unit(after.text) for after in tokens[n : n + 2])
        if token.kind == "UNITLESS" and not counted:
            return "a number in them is not reliable"
        timed = token.text in TIMES and n > 0 and tokens[n - 1].kind in ("NUM", "UNITLESS", "REL")
        if timed and [after.text for after in tokens[n + 1 : n + 2]] != ["ago"]:
            return _REFUSED["TIME"]
        if token.text == "away from" and n + 1 == len(tokens):
            return f"{token.text!r} may say what is not meant, which a model may ignore"
        if token.kind == "REL" and getattr(token.value, "name", "") == "other than":
            return f"{token.text!r} may say what is not meant, which a model may ignore"
    return None


def _goes_away(opening: str, texts: Sequence[str], tokens: Sequence[Token]) -> str | None:
    """Reason why words say where something goes, or None: "to open bottles", "next to the cup", a final "to"."""
    where = "they say where something goes, but a model only points at an object"
    verb = opening.split(" ")[0]
    for n, token in enumerate(tokens):
        if token.kind == "REL" and [after.text for after in tokens[n + 1 : n + 2]] in (["here"], ["there"]):
            return where
        if token.kind != "REL" or token.text not in _GOING or n == 0:
            continue
        stranded = n + 1 == len(tokens) or tokens[n + 1].kind in _ENDS_CLAUSE
        if not stranded and not (token.text == "to" and _says_what_for(tokens[n - 1], tokens[n + 1], verb)):
            return where
    moved = any(
        word in _AWAY and before not in ("at", "in") and after != "from" and (verb in _MOVERS or word == "home")
        for before, word, after in zip(("", *texts), texts, (*texts[1:], ""), strict=False)
    )
    return where if moved and opening else None


def _says_what_for(before: Token, after: Token, verb: str) -> bool:
    """True if "to" begins a purpose or an owner, not a place."""
    word = before.text.split(" ")[-1]
    return word in _OWNING or (after.kind != "DET" and (word in _PURPOSE or (word in _LIKING and verb not in _MOVING)))


def _goes_on(tokens: Sequence[Token]) -> str | None:
    """Reason why words say more than one object, or None: what follows a punctuation mark, "and" or a verb."""
    several = "they have several steps or name several objects, but a model can point only at one object"
    for n, token in enumerate(tokens):
        behind = tokens[n + 1 : n + 5]
        if token.kind == "STOP" and behind:
            return "they contain several sentences"
        if token.kind == "AND" and not behind:
            return several
        if token.text in _WITH or (token.kind in ("COMMA", "AND") and behind and behind[0].kind not in _GOES_ON):
            one = token.kind == "COMMA" and behind[0].kind == "DET" and any(each.text == "one" for each in behind)
            relative = token.kind == "COMMA" and behind[0].text in ("that", "which", "whose", "who")
            between = token.kind == "AND" and _joins_anchors(tokens[:n])
            if not one and not relative and not between:
                return several
    if any(token.kind == "PRON" and token.text in ("it", "them") for token in tokens):
        return "what 'it' or 'them' refers to is not known"
    return None


def _becomes(opening: str, tokens: Sequence[Token]) -> str | None:
    """Reason for refusing a wished change such as "get the mug that I love washed" or "I want it moved", or None."""
    causing = opening == "get" or opening in _WISHES
    if causing and tokens and is_participle(tokens[-1].text):
        return "they may say what to do with an object, but a model can only point at it"
    return None


def _joins_anchors(before: Sequence[Token]) -> bool:
    """True if "and" joins two anchors: "between the box and the cup"."""
    last = next((token for token in reversed(before) if token.kind in _ENDS_CLAUSE), None)
    return last is not None and last.kind == "REL" and getattr(last.value, "name", "") == "between"
