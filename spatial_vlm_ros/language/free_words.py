# SPDX-License-Identifier: Apache-2.0
"""Words outside the grammar: may a model get them as a whole, and which of them are understood?

A model points at an object whatever the words say. So the words must have the shape of a request for one object: after
polite words a verb of picking up, giving or finding, or none, and then one object ("the thing …", "what I …"). That
is a list of what is allowed: warnings, other actions and statements have other shapes, however many words they have.
Words are held back, too, that answers.toml or the grammar refuses. What is read around the refused part is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import dropwhile, pairwise

from spatial_vlm_ros.errors import InputError, NotUnderstoodError, RefusedWords
from spatial_vlm_ros.language import answers, dialogue, parser
from spatial_vlm_ros.language.distances import is_unit
from spatial_vlm_ros.language.lexicon import ACTIONS, TIMES, WISHED, WISHES, is_participle, patterns_of
from spatial_vlm_ros.language.patterns import SETS, all_phrases, read_table, word_set
from spatial_vlm_ros.language.words import Token, Word, WordRole, singular, split
from spatial_vlm_ros.types import NounPhrase, RelationClause

_MOVERS = ("take", "bring", "give", "deliver")
OPENINGS = all_phrases((
    "pick up|out", "grab|get|fetch|grasp|collect|retrieve|seize|choose|select", *_MOVERS, "go get", "locate", "gimme",
    "get|take|grab hold of", "hand|give|pass|bring|get|fetch|grab|lend me|us", "find me|us?", "show me|us?",
    "look|search for", "spot|identify|detect|seek", *WISHES,
))  # fmt: skip
"""Phrases of the grammar that ask to pick up, give or find one object; they may come before free words."""
_LONGEST = max(len(phrase.split(" ")) for phrase in OPENINGS)
_SUBJECTS = SETS.people | word_set("the a my our your his her their")
_RELATIVE = SETS.people | word_set("you that which who whose whom")
_GOING = all_phrases(("over|up|down|back? to", "toward|towards", "over toward|towards", "back? into|onto"))
_PLACING = {pattern.split(" ")[0] for pattern in ACTIONS["place"]} - {"chuck|bung|sling|lob|toss|throw|slide"}
_PLACE_VERBS = frozenset(verb for words in _PLACING for verb in words.split("|")) - {"rest", "keep"}
_MOST_PARTS = 24  # words after the refused part at which a relation may begin
_TRAILING = re.compile(r"[\s,;:]*(?:\b(?:that|which|who|whom)\b)?[\s,;:]*$", re.IGNORECASE)

_READ = read_table("answers")
_AGAINST = {why: all_phrases(patterns) for why, patterns in _READ["against"].items()}
_AGAINST["may take back what was said before, and a model may still point at it"] |= all_phrases(
    patterns_of("correction_marks")
)
_REFUSED = {kind: why for why, kinds in _READ["against_kinds"].items() for kind in kinds.split()}
"""Tokens that the grammar always refuses, and the reason why no model is asked."""
_NO_SHAPE = "they neither ask for one object to be picked up, given or found, nor only describe one"
_NUMBER, _IN_TIME, _STEPS = (_REFUSED[kind] for kind in ("DOUBTFUL", "TIME", "THEN"))
_IGNORED = next(iter(_AGAINST))
_GOES = "they say where something goes, but a model only points at an object"
_SEVERAL_MEANT = "{!r} may mean several objects, but a model can point only at one object"
_MORE_STEPS = "they have several steps or name several objects, but a model can point only at one object"


@dataclass(frozen=True)
class PartialReading:
    """The understood part of words that are refused as a whole."""

    head: NounPhrase | None = None  # description of the object before the refused part: "red mug", "leftmost object"
    clauses: tuple[RelationClause, ...] = ()
    unread: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()


def held_back(instruction: str, kind: RefusedWords = "unknown words") -> str | None:
    """Reason why words outside the grammar must not be given to a pointing model; None if they may."""
    return next(_reasons(instruction, kind), None)


def _reasons(instruction: str, kind: RefusedWords) -> Iterator[str]:
    if answers.classify(instruction).kind != "words":
        yield "they answer a question, but no question is open"
    words, roles = split(instruction), parser.account(instruction)
    texts = [word.text for word in words]
    opening, place = _start_of(words, roles)
    asked = texts[place:]
    first = next((text for text in texts if text[0].isalnum()), "")
    describes = len(asked) > 1 and asked[0] == "what" and asked[1] in _SUBJECTS  # "what I drink from"
    if (first in SETS.asking_first and not describes) or ("?" in texts[-1] and first not in SETS.polite):
        yield "a model that points at an object cannot answer a question"
    courteous = [role for role in roles if role.role in SETS.courteous]  # "if you don't mind", "rather"
    meant = [w.text for w in words if not any(role.start <= w.start < role.end for role in courteous)]
    said = [
        phrase for a, b in pairwise((*meant, "")) for phrase in (f"{a} {b}", a) if not (a == "once" and b in SETS.per)
    ]
    for why, phrases in _AGAINST.items():
        yield from (f"{phrase!r} {why}" for phrase in said if phrase in phrases)
    yield from _by_verbs(instruction, texts, roles)
    yield from _misshapen(words, place, opening, parser.tokens_of(instruction))
    if kind != "unknown words":
        yield "the words are known, and what they ask for is not supported"


def _by_verbs(instruction: str, words: Sequence[str], roles: Sequence[WordRole]) -> Iterator[str]:
    def said(*kinds: str) -> list[str]:
        return [instruction[role.start : role.end].lower() for role in roles if role.role in kinds]

    if not _PLACE_VERBS.isdisjoint(said(*SETS.leading)) or "into" in words or "onto" in words:
        yield _GOES
    if next((role.role for role in roles if role.role != "POLITE"), "") == "UNKNOWN_VERB":
        yield "they ask for an action that is not known here, but a model can only point at an object"
    led = [pair for pair in pairwise((WordRole(0, 0, "STOP"), *roles)) if pair[1].role in SETS.leading]
    begun = [before.role for before, _ in led if before.role not in SETS.leading]
    if not (SETS.next - set(said("REL"))).isdisjoint(words) or not SETS.linking.isdisjoint(begun[1:]):  # not "next to"
        yield _STEPS


def _start_of(words: Sequence[Word], roles: Sequence[WordRole]) -> tuple[str, int]:
    """The phrase of `OPENINGS` after polite words, "" if there is none, and the number of words before the object."""
    polite = [(role.start, role.end) for role in roles if role.role in ("POLITE", "SLIP")]
    courteous = (word.kind == "comma" or any(a <= word.start < b for a, b in polite) for word in words)
    first = next((n for n, swallowed in enumerate(courteous) if not swallowed), len(words))
    for length in range(min(_LONGEST, len(words) - first), 0, -1):
        phrase = " ".join(word.text for word in words[first : first + length])
        if phrase in OPENINGS:
            return phrase, first + length
    return "", first


def _misshapen(words: Sequence[Word], place: int, opening: str, tokens: Sequence[Token]) -> Iterator[str]:
    """Reasons why words do not have the shape that a model may be asked about."""
    rest = words[place:]
    if not rest:
        yield "they do not name an object"
        return
    said = [token for token in tokens if token.start >= rest[0].start]
    texts = [word.text for word in rest]
    if not opening and texts[0] in SETS.free and not SETS.calling.issuperset(word.text for word in words[:place]):
        yield _NO_SHAPE  # "you know what my niece likes"
    yield from _known_refusals(said)
    yield from _not_one_object(texts, said, opening)
    if texts[0] != "something" and not opening and any(token.kind == "IS" for token in said):
        yield "they state something and ask for nothing"
    if any(token.text in SETS.free for token in said if token.start > rest[0].start):
        yield "they name two objects, but a model can point only at one"
    yield from _going_away(opening, texts, said)
    yield from _going_on(said)
    causing = opening == "get" or opening in WISHED  # "get the mug that I love washed", "I want it moved"
    if causing and said and is_participle(said[-1].text):
        yield "they may say what to do with an object, but a model can only point at it"


def _not_one_object(texts: Sequence[str], tokens: Sequence[Token], opening: str) -> Iterator[str]:
    """Reasons why words do not begin with one object."""
    first, second = texts[0], texts[1] if len(texts) > 1 else ""
    if first in SETS.free:
        if second == "ones" or (second in SETS.asking_next if opening else second not in _SUBJECTS):
            yield _NO_SHAPE
        return
    if first == "something":
        return
    named = list(dropwhile(lambda token: token.kind == "DET" and token.text in SETS.determiners, tokens))
    counted = next((some[0].text for some in (tokens, named) if some and some[0].kind in SETS.counting), None)
    if first in SETS.several or counted is not None:
        yield _SEVERAL_MEANT.format(counted or first)
    if first == "your":
        yield "they mention the robot itself"  # "take your gripper off the mug that I love"
    if first not in SETS.determiners or not named or named[0].kind not in SETS.naming_kinds:
        yield _NO_SHAPE
        return
    ended = next((n for n, token in enumerate(named) if token.kind not in SETS.naming_kinds), len(named))
    head, behind = named[ended - 1].text, named[ended] if ended < len(named) else None
    if head == "ones" or singular(head) != head:
        yield _SEVERAL_MEANT.format(head)
    if any(token.text in SETS.places for token in named[:ended]):
        yield "they ask for a place, but a model only points at an object"
    if behind is None:
        return
    if behind.kind == "DET" and opening in SETS.giving:
        yield "they may say whom to give it to, but a model can point only at one object"
    if behind.kind == "OF" and any(token.kind not in ("DET", "NOUN", "ADJ") for token in named[ended + 1 : ended + 2]):
        yield "they ask for a part, or for several objects, but a model can point only at one object"
    if behind.kind not in SETS.behind and behind.text not in _RELATIVE:
        yield _NO_SHAPE  # "my niece loves …", "get the mug filled"


def _known_refusals(tokens: Sequence[Token]) -> Iterator[str]:
    for n, token in enumerate(tokens):
        after = [each.text for each in tokens[n + 1 : n + 2]]
        if token.kind in _REFUSED:
            yield _REFUSED[token.kind]
        if token.kind == "UNITLESS" and not any(text in TIMES or is_unit(text) for text in (token.text, *after)):
            yield _NUMBER
        timed = token.text in TIMES and n > 0 and tokens[n - 1].kind in ("NUM", "UNITLESS", "REL")
        if timed and after != ["ago"]:
            yield _IN_TIME
        if (token.text == "away from" and not after) or _names(token, "other than"):
            yield f"{token.text!r} {_IGNORED}"


def _names(token: Token, relation: str) -> bool:
    return token.kind == "REL" and getattr(token.value, "name", "") == relation


def _going_away(opening: str, texts: Sequence[str], tokens: Sequence[Token]) -> Iterator[str]:
    """Reasons why words say where something goes: "next to the cup", a final "to", but not "to open bottles"."""
    verb = opening.split(" ")[0]
    for before, token, after in zip((None, *tokens), tokens, (*tokens[1:], None), strict=False):
        if token.kind != "REL":
            continue
        if after is not None and after.text in ("here", "there"):
            yield _GOES
        if token.text not in _GOING or before is None or (after is not None and after.kind in SETS.ends_clause):
            continue
        word = before.text.split(" ")[-1]
        if token.text == "to" and after is not None:  # what begins a purpose or an owner is not a place
            what_for = word in SETS.purpose or (word in SETS.liking and verb not in SETS.moving)
            after = None if word in SETS.owning or (after.kind != "DET" and what_for) else after
        if after is not None:
            yield _GOES
    moved = any(
        word in SETS.elsewhere
        and before not in ("at", "in")
        and after != "from"
        and (verb in _MOVERS or word == "home")
        for before, word, after in zip(("", *texts), texts, (*texts[1:], ""), strict=False)
    )
    if moved and opening:
        yield _GOES


def _going_on(tokens: Sequence[Token]) -> Iterator[str]:
    """Reasons why words say more than one object: what follows a punctuation mark, "and" or a verb."""
    for n, token in enumerate(tokens):
        behind = tokens[n + 1 : n + 5]
        if token.kind == "STOP" and behind:
            yield "they contain several sentences"
        if token.kind == "AND" and not behind:
            yield _MORE_STEPS
        if token.text in SETS.together_with or (
            token.kind in ("COMMA", "AND") and behind and behind[0].kind not in SETS.goes_on
        ):
            next_one = behind[:1] if token.kind == "COMMA" else []
            one = any(each.kind == "DET" for each in next_one) and any(each.text == "one" for each in behind)
            relative = any(each.text in ("that", "which", "whose", "who") for each in next_one)
            last = next((each for each in reversed(tokens[:n]) if each.kind in SETS.ends_clause), None)
            anchors = token.kind == "AND" and last is not None and _names(last, "between")
            if not (anchors or one or relative):
                yield _MORE_STEPS
    if any(token.kind == "PRON" and token.text in ("it", "them") for token in tokens):
        yield "what 'it' or 'them' refers to is not known"


def partial_reading(instruction: str, span: tuple[int, int]) -> PartialReading:
    """Read the understood parts of words that were refused."""
    with suppress(NotUnderstoodError):
        whole = parser.parse(instruction)[0].target  # everything was read, but a relation cannot be judged
        return PartialReading(_alone(whole), whole.relations)
    before, roles = _TRAILING.sub("", instruction[: span[0]]), parser.account(instruction)
    led = all(role.role in SETS.leading or role.role == "POLITE" for role in roles if role.start < len(before))
    head = None if led else _described(before)  # a lone "look for" would be read as a noun
    clauses = () if head is None else head.relations
    known_to, known_from = len(before), len(instruction)
    for start in _relations_from(roles, span[1]):
        tail = _described(instruction[start:])
        if tail is not None and tail.category == "object" and (tail.relations or _orders(tail)):
            clauses = (*clauses, *tail.relations)
            known_from = known_from if _orders(tail) else start
            break
    ordering = [token for token in parser.tokens_of(instruction) if token.kind in SETS.ordering]
    said_first = [token for token in ordering if token.start < known_to and token.kind not in ("FROM", "FROM_BEFORE")]
    if head is None or len(said_first) > _orders(head, inside=True):
        known_to = 0
    unread = tuple(token.text for token in ordering if known_to <= token.start < known_from)
    return PartialReading(_alone(head), clauses, unread)


def _orders(phrase: NounPhrase, *, inside: bool = False) -> int:
    own = sum(order is not None for order in (phrase.superlative, phrase.ordinal, phrase.also))
    anchors = (anchor for clause in phrase.relations for anchor in clause.anchors)
    return own + (sum(_orders(anchor, inside=True) for anchor in anchors) if inside else 0)


def _alone(head: NounPhrase | None) -> NounPhrase | None:
    """A phrase without its relations; None if it says no more than "it"."""
    if head is None or (head.category in ("object", "it", "them") and not head.attributes and not _orders(head)):
        return None
    return replace(head, relations=(), count=None, choice=None, also=None)


def _relations_from(roles: Sequence[WordRole], start: int) -> list[int]:
    """Starts of relations after a character, including their distances, first ones first."""
    found = []
    for n, role in enumerate(roles):
        if role.role == "REL":
            measured = n > 1 and roles[n - 2].role == "NUM" and roles[n - 1].role in ("UNITLESS", "NOUN")
            found.append(roles[n - 2].start if measured else role.start)
    return [place for place in found if place >= start][:_MOST_PARTS]


def _described(words: str) -> NounPhrase | None:
    """The object that some words describe, as a command or not; None if they are not understood."""
    try:
        return dialogue.description_of(words) or parser.parse(words)[0].target
    except (InputError, NotUnderstoodError):
        return None
