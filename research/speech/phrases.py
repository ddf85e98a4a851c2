# SPDX-License-Identifier: Apache-2.0
"""A noun phrase in words: "the second red mug from the left that is on the tray"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from research.speech.clauses import Anchor, Wording, word_clause
from research.speech.forms import FRAME_WORDS
from research.speech.lengths import cardinal, numeral, ordinal
from research.speech.voice import Voice
from spatial_vlm_ros.errors import UnknownNameError
from spatial_vlm_ros.language.lexicon import FRAMED_SUPERLATIVES
from spatial_vlm_ros.types import FrameOfReference, NounPhrase, Ordinal


@dataclass(frozen=True)
class Place:
    """A superlative or an ordinal: words before the noun, after it, or after "that is"."""

    before: str = ""
    after: str = ""
    finite: str = ""


@dataclass(frozen=True)
class _Ways:
    """Words for a superlative: before the noun, after it, after "that is"."""

    before: tuple[str, ...]
    after: tuple[str, ...] = ()
    finite: tuple[str, ...] = ()


def _ways(*words: str) -> _Ways:
    """Of what is said before the noun and after "that is" alike."""
    return _Ways(words, (), (*words, *(f"the {word}" for word in words)))


def _sideways(side: str) -> _Ways:
    most = (f"furthest to the {side}", f"furthest {side}", f"farthest to the {side}")
    return _Ways(
        (f"{side}most", f"{side}most", f"{side}-most", f"far {side}", f"furthest {side}", f"{side}-hand"),
        (*most, f"on the far {side}", f"on the {side}", f"at the far {side}"),
        (f"{side}most", *most, f"the {side}most", f"the furthest to the {side}", f"on the far {side}"),
    )


SUPERLATIVES: Mapping[str, _Ways] = MappingProxyType(
    {
        "leftmost": _sideways("left"),
        "rightmost": _sideways("right"),
        "nearest": _Ways(
            ("nearest", "closest", "nearest", "closest"), (), ("nearest", "closest", "the nearest", "the closest")
        ),
        "farthest": _Ways(
            ("farthest", "furthest", "most distant"),
            ("farthest away", "furthest away", "furthest off"),
            ("farthest away", "furthest away", "most distant", "the furthest away", "the farthest away"),
        ),
        "highest": _Ways(
            ("highest", "topmost", "uppermost"), ("highest up",), ("highest", "highest up", "the highest", "topmost")
        ),
        "lowest": _Ways(("lowest", "bottommost"), ("lowest down",), ("lowest", "lowest down", "the lowest")),
        "middle": _Ways(
            ("middle", "middle", "centre", "central"), ("in the middle", "in the middle"), ("in the middle",)
        ),
        "tallest": _ways("tallest"),
        "shortest": _ways("shortest"),
        "largest": _ways("largest", "biggest"),
        "smallest": _ways("smallest", "littlest"),
        "longest": _ways("longest"),
        "widest": _ways("widest", "broadest"),
        "narrowest": _ways("narrowest"),
        "thickest": _ways("thickest"),
        "thinnest": _ways("thinnest", "slimmest"),
        "fullest": _ways("fullest"),
        "emptiest": _ways("emptiest"),
    }
)
"""How superlatives are said."""

_PERSONS: Mapping[FrameOfReference, tuple[str, ...]] = MappingProxyType(
    {
        FrameOfReference.VIEWER: ("the camera",),
        FrameOfReference.ROBOT: ("you", "you", "the robot"),
        FrameOfReference.SPEAKER: ("me", "me", "where I stand"),
    }
)
_OWNERS = MappingProxyType({FrameOfReference.ROBOT: "your", FrameOfReference.SPEAKER: "my"})
_RANKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"near": ("nearest", "closest"), "far": ("farthest", "furthest"), "top": ("highest",), "bottom": ("lowest",)}
)
_PLURALS = MappingProxyType(
    {
        "knife": "knives",
        "shelf": "shelves",
        "loaf": "loaves",
        "mouse": "mice",
        "bookshelf": "bookshelves",
        "leaf": "leaves",
    }
)
_OF_ALL = frozenset({"tomato", "potato"})


def pluralise(noun: str) -> str:
    """The plural of a noun; of a compound, that of its last word."""
    head, space, last = noun.rpartition(" ")
    if last in _PLURALS:
        last = _PLURALS[last]
    elif last in _OF_ALL or last.endswith(("s", "x", "z", "ch", "sh")):
        last += "es"
    elif last.endswith("y") and last[-2:-1] not in tuple("aeiou"):
        last = last[:-1] + "ies"
    else:
        last += "s"
    return head + space + last


def word_phrase(phrase: NounPhrase, voice: Voice) -> Anchor:
    """Words for an object, with its article and all that restricts it, and whether a plural verb follows.

    Raises:
        UnknownNameError: there are no words for its superlative, its ordinal or a relation.
    """
    plural = phrase.count is not None and phrase.count != 1
    place = _place(phrase, voice)
    if place.before and not plural and phrase.choice is None and not voice.terse and voice.chance(0.12):
        rest = word_phrase(replace(phrase, count=-1, superlative=None, ordinal=None, frame=None), _plain(voice))
        if phrase.superlative is not None and phrase.frame is None and rest.text.startswith("the "):
            return Anchor(f"the {place.before} of {rest.text}", False)
    shortcut = _shortcut(phrase, place, voice)
    if shortcut is not None:
        return Anchor(shortcut, False)
    within = replace(voice, antecedent=phrase.category)
    determiner, plural_noun, plural_verb = _determiner(phrase, voice)
    noun = _noun(phrase, plural_noun, bool(place.before), voice)
    attributes = [_attribute(word, voice) for word in phrase.attributes]
    words = [determiner, place.before, *attributes, noun, place.after]
    head = " ".join(word for word in words if word)
    clauses = [word_clause(clause, plural_noun, within, word_phrase) for clause in phrase.relations]
    if place.finite:
        clauses.insert(0, Wording(None, f"{'are' if plural_noun else 'is'} {place.finite}"))
    return Anchor(_joined(head, voice.closed or bool(place.after), phrase, clauses, voice), plural_verb)


def _shortcut(phrase: NounPhrase, place: Place, voice: Voice) -> str | None:
    """As in "the jar's lid", "the closest mug to the bowl", "whatever is on the tray"; None where none fits."""
    one = phrase.count is None and phrase.choice is None and place == Place()
    if not one or not phrase.relations or not voice.chance(0.25):
        return None
    first, noun = (
        phrase.relations[0],
        " ".join([*(_attribute(word, voice) for word in phrase.attributes), phrase.category]),
    )
    alone = len(phrase.relations) == len(first.anchors) == 1 and not first.negated
    if alone and first.relation == "part of" and not first.anchors[0].relations:
        whole = word_phrase(first.anchors[0], voice)
        return f"{whole.text}'s {noun}" if not whole.plural and phrase.category != "object" else None
    if alone and first.relation in _PULLED and phrase.category != "object":
        words, to = _PULLED[first.relation]
        article = "" if voice.terse else "the "
        return f"{article}{voice.word(words)} {noun} {to} {word_phrase(first.anchors[0], voice).text}"
    if phrase.category == "object" and not phrase.attributes:
        clauses = [word_clause(clause, False, voice, word_phrase) for clause in phrase.relations]
        if all(clause.finite.startswith(("is", "touch", "contain", "hold")) for clause in clauses):
            return f"{voice.choose(('whatever', 'what', 'whatever'))} {' and '.join(c.finite for c in clauses)}"
    return None


_PULLED: Mapping[str, tuple[tuple[str, ...], str]] = MappingProxyType(
    {"closest to": (("closest", "nearest"), "to"), "farthest from": (("farthest", "furthest", "most distant"), "from")}
)


def _plain(voice: Voice) -> Voice:
    return replace(voice, terse=False)


def _determiner(phrase: NounPhrase, voice: Voice) -> tuple[str, bool, bool]:
    """Article and number; whether a plural noun follows; whether a plural verb does."""
    if phrase.choice == "any":
        return voice.choose(_ANY)
    count = phrase.count
    if count is None or count == 1:
        article = "" if voice.terse else "the"
        return f"{article} {'one' if count == 1 else ''}".strip(), False, False
    if count == -1 and voice.role != "thing":
        return voice.choose((*_THE, *_THE, *_THE, *_ALL) if voice.role == "anchor" else _THE)
    if count == -1:
        return voice.choose(_ALL_OF if not phrase.superlative else _THE)
    word = str(count) if not voice.spoken and voice.chance(0.3) else cardinal(count)
    if count == 2 and not phrase.superlative and voice.chance(0.5):
        return voice.choose(("both", "both", "both the", "both of the")), True, True
    if count > 2 and voice.role != "set" and not phrase.superlative and voice.chance(0.4):
        return voice.choose((f"all {word}", f"all the {word}", f"all {word} of the")), True, True
    return f"the {word}", True, True


_ANY = (("any", False, False), ("any", False, False), ("either", False, False), ("one of the", True, False),
        ("any of the", True, False), ("any one of the", True, False))  # fmt: skip
_ALL_OF = (("all", True, True), ("all the", True, True), ("the", True, True), ("the", True, True),
           ("all of the", True, True), ("every", False, False), ("each", False, False))  # fmt: skip
_ALL = (("all", True, True), ("all the", True, True))
_THE = (("the", True, True),)


def _attribute(word: str, voice: Voice) -> str:
    return ("gray" if voice.american else "grey") if word in ("grey", "gray") else word


def _noun(phrase: NounPhrase, plural: bool, ranked: bool, voice: Voice) -> str:
    noun = phrase.category
    if noun == "object":
        told = (bool(phrase.attributes) or ranked) and voice.role == "thing" and not voice.antecedent
        noun = voice.choose(("thing", "object", "one") if told and not plural else ("thing", "object"))
    elif noun == voice.antecedent and phrase.attributes and voice.role == "anchor" and voice.chance(0.6):
        noun = "one"
    return pluralise(noun) if plural else noun


def _place(phrase: NounPhrase, voice: Voice) -> Place:
    """The superlative's or ordinal's words."""
    if phrase.ordinal is not None:
        return _ordinal(phrase.ordinal, phrase, voice)
    if phrase.superlative is None:
        return Place()
    if phrase.superlative not in SUPERLATIVES:
        raise UnknownNameError("superlative", phrase.superlative, list(SUPERLATIVES))
    ways, kind = SUPERLATIVES[phrase.superlative], voice.rng.random()
    if phrase.frame is not None and phrase.superlative in FRAMED_SUPERLATIVES:
        return _seen_from(phrase, phrase.frame, ways, voice)
    if kind < 0.6 or not (ways.after or ways.finite) or phrase.category == "object":
        return Place(before=voice.word(ways.before))
    if kind < 0.8 and ways.after:
        return Place(after=voice.word(ways.after))
    return Place(finite=voice.word(ways.finite))


def _seen_from(phrase: NounPhrase, frame: FrameOfReference, ways: _Ways, voice: Voice) -> Place:
    """A superlative from a stated viewpoint."""
    superlative = phrase.superlative or ""
    side = superlative.removesuffix("most")
    words = voice.word(FRAME_WORDS[frame]).replace("{its}", "its")
    options = [Place(finite=f"{voice.word(ways.finite)} {words}")]
    options += [Place(before=voice.word(ways.before), after=words)]
    if superlative in ("nearest", "farthest") and frame in _PERSONS:
        person, to = voice.choose(_PERSONS[frame]), "to" if superlative == "nearest" else "from"
        near = voice.word(("nearest", "closest") if to == "to" else ("farthest", "furthest", "farthest away"))
        options += [Place(after=f"{near} {to} {person}"), Place(finite=f"{near} {to} {person}")] * 2
    if superlative in ("leftmost", "rightmost") and frame in _OWNERS:
        whose = f"{_OWNERS[frame]} {side}"
        after = voice.word(
            (f"furthest to {whose}", f"on {whose}", f"farthest to {whose}", f"on {_OWNERS[frame]} far {side}")
        )
        options += [Place(after=after), Place(finite=f"furthest to {whose}")]
    return voice.choose(options)


def _ordinal(place: Ordinal, phrase: NounPhrase, voice: Voice) -> Place:
    """The n-th from a side, or the n-th nearest."""
    nth = numeral(place.n) if not voice.spoken and voice.chance(0.25) else ordinal(place.n)
    words = "" if phrase.frame is None else " " + voice.word(FRAME_WORDS[phrase.frame]).replace("{its}", "its")
    if place.from_ in ("near", "far"):
        return Place(before=f"{nth} {voice.word(_RANKS[place.from_])}", after=words.strip())
    if place.from_ not in ("left", "right", "top", "bottom"):
        raise UnknownNameError("ordinal", place.from_, ["left", "right", "near", "far", "top", "bottom"])
    sides = [f"from the {place.from_}", f"from the {place.from_}"]
    if place.from_ in ("left", "right"):
        sides += [f"counting from the {place.from_}", f"from the {place.from_}-hand side"]
    owner = _OWNERS.get(phrase.frame) if phrase.frame is not None else None
    if owner is not None and place.from_ in ("left", "right") and voice.chance(0.4):
        sides, words = [f"from {owner} {place.from_}"], ""
    side = voice.choose(sides) + words
    if phrase.category != "object" and voice.chance(0.15):
        return Place(finite=f"{nth} {side}")
    return Place(before=nth, after=side)


def _joined(head: str, ends: bool, phrase: NounPhrase, clauses: Sequence[Wording], voice: Voice) -> str:
    """A noun with its clauses: short ones first, so that what follows a long one is not taken for part of it.

    `ends`: the head ends in words of its own, and a clause needs its "that".
    """
    if not clauses:
        return head
    pairs = sorted(clauses, key=lambda clause: clause.long)
    negated = [c.negated for c in sorted(phrase.relations, key=_is_long)] if len(pairs) == len(phrase.relations) else []
    if len(pairs) == 1:
        bare, finite = pairs[0].bare, pairs[0].finite
        share = 0.2 if True in negated else 0.35 if voice.role != "thing" else 0.65
        return (
            f"{head} {bare}"
            if bare is not None and not ends and voice.chance(share)
            else f"{head} {_that(finite, voice)}"
        )
    mixed = len(pairs) == 2 and negated == [False, True] and voice.chance(0.5)
    if all(pair.bare is not None for pair in pairs) and not pairs[0].long and not ends and voice.chance(0.4):
        return f"{head} {_listed([pair.bare or '' for pair in pairs], 'but' if mixed else 'and', voice)}"
    finites = [pair.finite for pair in pairs]
    return f"{head} {_that(_listed(_elided(finites, pairs, voice), 'but' if mixed else 'and', voice), voice)}"


def _elided(finites: Sequence[str], pairs: Sequence[Wording], voice: Voice) -> list[str]:
    """From "is on it and is red": "is on it and red", "is on it and that is red"."""
    first = finites[0].split()[0]
    alike = first in ("is", "are") and all(f.split()[0] == first and " not " not in f" {f} " for f in finites)
    if alike and not pairs[0].long and voice.chance(0.5):
        return [finites[0], *(finite.partition(" ")[2] for finite in finites[1:])]
    own = any(f.split()[0] not in _VERBS_BE for f in finites)
    if own or pairs[0].long or voice.chance(0.4):
        return [finites[0], *(f"{voice.choose(('that', 'which'))} {finite}" for finite in finites[1:])]
    return list(finites)


_VERBS_BE = frozenset({"is", "are", "isn't", "aren't"})


def _is_long(clause: object) -> bool:
    return bool(getattr(clause, "distance", None)) or any(a.relations for a in getattr(clause, "anchors", ()))


def _that(finite: str, voice: Voice) -> str:
    if finite.startswith("is ") and voice.chance(0.3):
        return f"that's {finite[3:]}"
    return f"{voice.choose(('that', 'that', 'which'))} {finite}".replace(" ,", ",")


def _listed(parts: Sequence[str], conjunction: str, voice: Voice) -> str:
    *most, last = parts
    if len(parts) > 2 and not (voice.spoken or voice.terse) and voice.chance(0.6):
        return f"{', '.join(most)} {conjunction} {last}"
    return f" {conjunction} ".join(parts)
