# SPDX-License-Identifier: Apache-2.0
"""Words outside the grammar: may a model get them as a whole, and which of them are understood?

A model points at an object whatever the words say. So the words must have the shape of a request for one object
(`free_shape`), and words are held back that ask for a place, a second step or an answer, that deny or take back
something, or that the grammar knows and refuses.
What the grammar reads before and after the refused part is kept, so that it can be measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import dropwhile, pairwise

from spatial_vlm_ros.errors import InputError, NotUnderstoodError, RefusedWords
from spatial_vlm_ros.language.acts import ACTIONS, WISHES
from spatial_vlm_ros.language.answers import classify
from spatial_vlm_ros.language.dialogue import description_of
from spatial_vlm_ros.language.distances import is_unit
from spatial_vlm_ros.language.lexicon import TIMES, is_participle
from spatial_vlm_ros.language.lookahead import Token
from spatial_vlm_ros.language.parser import account, parse, tokens_of
from spatial_vlm_ros.language.patterns import expand, word_set
from spatial_vlm_ros.language.words import Word, WordRole, is_plural, split
from spatial_vlm_ros.types import NounPhrase, RelationClause

# Check the shape that words outside the grammar need before a model may be asked which object they mean.
#
# It is a list of what is allowed: after polite words, a verb of picking up, giving or finding, or none, and then one
# object ("the thing …", "what I …"). Warnings, other actions and statements have other shapes, however many words
# they have.

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
    reason = (
        _known_refusal(said)
        or _not_one_object(rest, said, opening)
        or _goes_away(opening, [word.text for word in rest], said)
        or _goes_on(said)
    )
    causing = opening == "get" or opening in _WISHES  # "get the mug that I love washed", "I want it moved"
    if reason is None and causing and said and is_participle(said[-1].text):
        return "they may say what to do with an object, but a model can only point at it"
    return reason


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
            last = next((each for each in reversed(tokens[:n]) if each.kind in _ENDS_CLAUSE), None)
            anchors = last is not None and last.kind == "REL" and getattr(last.value, "name", "") == "between"
            if not one and not relative and not (token.kind == "AND" and anchors):
                return several
    if any(token.kind == "PRON" and token.text in ("it", "them") for token in tokens):
        return "what 'it' or 'them' refers to is not known"
    return None


_ASKING = word_set("""
    how what what's which where where's who whose whom when why is are was were does did isn't aren't whether if count
""")
_POLITE = word_set("could can would will may might please")
_DENYING = word_set("""
    not no never none nothing nobody neither nor without except excluding unless avoid avoiding instead cannot
    don't dont doesn't didn't won't wont can't cant isn't isnt aren't wasn't shouldn't mustn't leave but beware careful
    besides hardly
    nicht nichts kein keine keinen keinem keiner keins nie niemals ohne außer statt sondern pas sans jamais sauf sin
    nunca jamás excepto não nem sem senza tranne niet geen zonder behalve
""")
"""Words that deny, except or warn: the object they refer to is not the one meant. The shape of the words is checked
first."""
_CONDITIONS = word_set("""
    if unless until when whenever once before after while provided otherwise else wenn falls sobald bevor nachdem bis
    si quand lorsque cuando hasta antes después se quando als wanneer
""")
"""Words that make a command conditional, or place it in time."""
_CORRECTING = word_set("sorry oops correction wait undo actually rather nay")
_CORRECTING_PAIRS = frozenset({("i", "mean"), ("i", "meant"), ("scratch", "that"), ("make", "it"), ("make", "that")})
_LATER = word_set("""
    tomorrow tonight later soon afterwards meanwhile beforehand noon midnight now eventually
    monday tuesday wednesday thursday friday saturday sunday
""")
_SAID_BEFORE = word_set("same former latter aforementioned previous mentioned")
_LEADING = ("VERB", "UNKNOWN_VERB", "VERB_HERE")
_LINKING = ("AND", "BUT", "COMMA", "STOP")
_NEXT = word_set(
    "then afterwards afterward next finally dann danach anschließend ensuite puis luego después poi daarna"
)
_PLACING = {pattern.split(" ")[0] for pattern in ACTIONS["place"]} - {"chuck|bung|sling|lob|toss|throw|slide"}
_PLACE_VERBS = frozenset(verb for words in _PLACING for verb in words.split("|")) - {"rest", "keep"}
_PER = word_set("a an per every each in")  # "once a day"
_COURTEOUS = frozenset({"POLITE", "PLEASANTRY", "INTENSIFIER"})
_INTO = word_set("into onto")
_UNITS = ("UNITLESS", "NOUN")  # kinds of a unit's word if nothing measures it
_ORDERING = frozenset({"SUP", "ORD", "PLACED", "SIDE", "FROM", "FROM_BEFORE"})
_MOST_PARTS = 24  # words after the refused part at which a relation may begin
_TRAILING = re.compile(r"[\s,;:]*(?:\b(?:that|which|who|whom)\b)?[\s,;:]*$", re.IGNORECASE)


@dataclass(frozen=True)
class PartialReading:
    """The understood part of words that are refused as a whole.

    Args:
        head: description of the object before the refused part, for example "red mug" or "leftmost object"; None if
            there is none.
    """

    head: NounPhrase | None = None
    clauses: tuple[RelationClause, ...] = ()
    unread: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()


def held_back(instruction: str, kind: RefusedWords = "unknown words") -> str | None:
    """Reason why words outside the grammar must not be given to a pointing model; None if they may."""
    if classify(instruction).kind != "words":
        return "they answer a question, but no question is open"
    split_words = split(instruction)
    words, roles = [word.text for word in split_words], account(instruction)
    first = next((word for word in words if word[0].isalnum()), "")
    asks = first in _ASKING and not describes_with_what(words[start_of(split_words, roles)[1] :])
    if asks or ("?" in words[-1] and first not in _POLITE):
        return "a model that points at an object cannot answer a question"
    courteous = [role for role in roles if role.role in _COURTEOUS]  # "if you don't mind", "rather"
    meant = [w.text for w in split_words if not any(role.start <= w.start < role.end for role in courteous)]
    return (
        _by_words(meant)
        or _by_verbs(instruction, words, roles)
        or misshapen(split_words, roles, tokens_of(instruction))
        or (None if kind == "unknown words" else "the words are known, and what they ask for is not supported")
    )


def _by_words(words: Sequence[str]) -> str | None:
    """Reason against asking a model found in single words, or None."""
    pairs = list(pairwise((*words, "")))
    denying = next((a for a, b in pairs if a in _DENYING or a.endswith("n't") or (a, b) == ("rather", "than")), None)
    if denying is not None:
        return f"{denying!r} may say what is not meant, which a model may ignore"
    condition = next((a for a, b in pairs if a in _CONDITIONS and not (a == "once" and b in _PER)), None)
    condition = "in case" if ("in", "case") in pairs else condition
    if condition is not None:
        return f"{condition!r} may be a condition, which a model that points at an object does not check"
    correcting = next((a for a, b in pairs if a in _CORRECTING or (a, b) in _CORRECTING_PAIRS), None)
    if correcting is not None:
        return f"{correcting!r} may take back what was said before, and a model may still point at it"
    later = next((a for a, _ in pairs if a in _LATER), None)
    if later is not None:
        return f"{later!r} may put the order in time, and a model that points at an object does not wait"
    before = next((a for a, _ in pairs if a in _SAID_BEFORE), None)
    return None if before is None else f"{before!r} refers to what was said before"


def _by_verbs(instruction: str, words: Sequence[str], roles: Sequence[WordRole]) -> str | None:
    """Reason against asking a model found in the verbs, or None."""
    verbs = [_said(instruction, role) for role in roles if role.role in _LEADING]
    placing = next((verb for verb in verbs if verb in _PLACE_VERBS), None) or next(
        (w for w in words if w in _INTO), None
    )
    if placing is not None:
        return "they say where something goes, but a model only points at an object"
    if next((role.role for role in roles if role.role != "POLITE"), "") == "UNKNOWN_VERB":
        return "they ask for an action that is not known here, but a model can only point at an object"
    relating = {_said(instruction, role) for role in roles if role.role == "REL"}  # "next to"
    if not (_NEXT - relating).isdisjoint(words) or _has_steps(roles):
        return "they have several steps, but a model can point only at one object"
    return None


def partial_reading(instruction: str, span: tuple[int, int]) -> PartialReading:
    """Read the understood parts of words that were refused."""
    with suppress(NotUnderstoodError):
        whole = parse(instruction)[0].target  # everything was read, but a relation cannot be judged
        return _reading(whole, whole.relations, ())
    before = _TRAILING.sub("", instruction[: span[0]])
    leading = [
        role.role in _LEADING or role.role == "POLITE" for role in account(instruction) if role.start < len(before)
    ]
    alone = all(leading)
    head = None if alone else _described(before)  # a lone "look for" would be read as a noun
    clauses = () if head is None else head.relations
    known_to, known_from = (len(before) if head is not None else 0), len(instruction)
    for start in _relations_from(instruction, span[1]):
        tail = _described(instruction[start:])
        if tail is not None and tail.category == "object" and (tail.relations or _ordered(tail)):
            clauses = (*clauses, *tail.relations)
            if tail.relations and not _ordered(tail):
                known_from = start
            break
    ordering = [token for token in tokens_of(instruction) if token.kind in _ORDERING]
    said_first = [token for token in ordering if token.start < known_to and token.kind not in ("FROM", "FROM_BEFORE")]
    if head is None or len(said_first) > _orders_in(head):
        known_to = 0
    unread = tuple(token.text for token in ordering if known_to <= token.start < known_from)
    return _reading(head, clauses, unread)


def _ordered(phrase: NounPhrase) -> bool:
    return phrase.superlative is not None or phrase.ordinal is not None


def _orders_in(phrase: NounPhrase) -> int:
    anchors = (anchor for clause in phrase.relations for anchor in clause.anchors)
    own = (phrase.superlative is not None) + (phrase.ordinal is not None) + (phrase.also is not None)
    return own + sum(_orders_in(anchor) for anchor in anchors)


def _reading(head: NounPhrase | None, clauses: tuple[RelationClause, ...], unread: tuple[str, ...]) -> PartialReading:
    if head is not None and head.category in ("object", "it", "them") and not head.attributes and not _ordered(head):
        head = None
    if head is None:
        return PartialReading(None, clauses, unread)
    said = NounPhrase(
        head.category, head.attributes, superlative=head.superlative, ordinal=head.ordinal, frame=head.frame
    )
    return PartialReading(said, clauses, unread)


def _said(instruction: str, role: WordRole) -> str:
    return instruction[role.start : role.end].lower()


def _has_steps(roles: Sequence[WordRole]) -> bool:
    """True if a second verb follows "and" or a punctuation mark."""
    led = False
    for before, role in pairwise((WordRole(0, 0, "STOP"), *roles)):
        if role.role in _LEADING and before.role not in _LEADING:
            if led and before.role in _LINKING:
                return True
            led = True
    return False


def _relations_from(instruction: str, start: int) -> Iterator[int]:
    """Starts of relations after a character, including their distances, first ones first."""
    roles = account(instruction)
    found: list[int] = []
    for n, role in enumerate(roles):
        if role.role == "REL":
            measured = n > 1 and roles[n - 2].role == "NUM" and roles[n - 1].role in _UNITS
            found.append(roles[n - 2].start if measured else role.start)
    yield from [place for place in found if place >= start][:_MOST_PARTS]


def _described(words: str) -> NounPhrase | None:
    """The object that some words describe, as a command or not; None if they are not understood."""
    try:
        return description_of(words) or parse(words)[0].target
    except (InputError, NotUnderstoodError):
        return None
