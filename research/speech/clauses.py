# SPDX-License-Identifier: Apache-2.0
"""One relation clause in words: after a noun ("left of the bowl"), and as a sentence's end ("is left of the bowl")."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from research.speech.forms import FORMS, FRAME_WORDS, FRAMED, OTHER_SIDE_FROM, Forms, negatable
from research.speech.lengths import bounded, length
from research.speech.voice import Voice
from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.types import Destination, FrameOfReference, NounPhrase, RelationClause

_PAIRING = frozenset({"between", "flanked"})
_POSTURES = ("standing", "sitting", "placed", "located", "positioned", "situated", "standing", "sitting")
_SIDES = ("on my side", "on your side", "'s own left", "'s own right")
_STANDS = (("stands", "stand"), ("sits", "sit"))


@dataclass(frozen=True)
class Anchor:
    """What a relation is to: its words, and whether they are a plural."""

    text: str
    plural: bool


@dataclass(frozen=True)
class Wording:
    """One clause.

    Args:
        bare: follows the noun at once; None where English has nothing such.
        finite: follows "that" or "which"; begins with its verb, or with its own subject.
        long: holds clauses of its own, so that what follows might be taken for part of it.
    """

    bare: str | None
    finite: str
    long: bool = False


Worder = Callable[[NounPhrase, Voice], Anchor]


def word_clause(clause: RelationClause, plural: bool, voice: Voice, worder: Worder) -> Wording:
    """Words for a clause about one object or (`plural`) several; `worder` words its anchors.

    Raises:
        UnknownNameError: there are no words for the relation.
        InputError: it has no anchor.
    """
    saying = _saying(clause, plural, voice, worder)
    makers = [maker for maker, share in saying.makers() for _ in range(share)]
    long = any(phrase.relations for phrase in clause.anchors) or clause.distance is not None
    made = replace(voice.choose(makers)(), long=long)
    return made if clause.frame is None else saying.framed(made, clause.frame)


def word_goal(goal: Destination, voice: Voice, worder: Worder) -> str:
    """What follows "put the cup": "on the table", "10 cm left of the plate, as you see it".

    Raises:
        UnknownNameError: there are no words for the relation, or nothing can be put so.
        InputError: it has no anchor.
    """
    clause = RelationClause(goal.relation, goal.anchors, goal.frame, distance=goal.distance)
    saying = _saying(clause, False, voice, worder)
    forms = saying.forms
    if goal.distance is None and not forms.at:
        raise UnknownNameError("destination", goal.relation, [name for name, some in FORMS.items() if some.at])
    core = saying.core(tuple(_between(saying.places(), forms.goal)))
    if goal.frame is None:
        return core
    return saying.framed(Wording(core, core), goal.frame, last=True).finite


def _saying(clause: RelationClause, plural: bool, voice: Voice, worder: Worder) -> _Saying:
    if clause.relation not in FORMS:
        raise UnknownNameError("relation", clause.relation, list(FORMS))
    if not clause.anchors:
        raise InputError(f"anchors of {clause.relation!r}", "none", "one or two", "name what it relates to")
    role = replace(voice, closed=False, role="set" if clause.relation in ("among", "between") else "anchor")
    anchors = [worder(phrase, role) for phrase in clause.anchors]
    return _Saying(clause, FORMS[clause.relation], anchors, plural, voice)


@dataclass(frozen=True, eq=False)
class _Saying:
    """A clause that is being said: what of, by whom, its anchors in words already."""

    clause: RelationClause
    forms: Forms
    anchors: Sequence[Anchor]
    plural: bool
    voice: Voice

    def makers(self) -> list[tuple[Callable[[], Wording], int]]:
        """Ways of wording, each with its share."""
        clause, forms = self.clause, self.forms
        if clause.relation == "facing away from":
            return [(self.acting, 2), (self.stative, 1), (self.back_to, 2)]
        if clause.relation == "part of":
            return [(self.belonging, 0 if clause.negated else 4), (self.acting, 2), (self.stative, 1)]
        if clause.distance is not None:
            return [(self.placed, 1)]
        pair = clause.relation == "between" and len(clause.anchors) == 2
        return [
            (self.placed, len(forms.at) + len(forms.here)),
            (self.stative, len(self.states())),
            (self.acting, len(forms.verbs)),
            (self.having, len(forms.having)),
            (self.stranded, len(forms.stranded) if len(clause.anchors) == 1 else 0),
            (self.on_either_side, 2 if pair and not clause.negated else 0),
        ]

    def placed(self) -> Wording:
        """As in "left of it", "standing left of it", "that sits left of it"."""
        core, voice = self.core(self.places()), self.voice
        posture = f"{voice.choose(_POSTURES)} {core}" if self.forms.posture else core
        bare = posture if voice.chance(0.2) else core
        if not self.clause.negated and self.forms.posture and voice.chance(0.15):
            return Wording(bare, f"{voice.choose(_STANDS)[self.plural]} {core}")
        return self._being(bare)

    def places(self) -> tuple[str, ...]:
        """Templates that fit after "is" and after "put it"."""
        clause, forms, voice = self.clause, self.forms, self.voice
        if clause.distance is not None:
            return forms.measured or tuple(form + ", {d} away" for form in forms.at)
        if clause.relation == "on the other side of" and len(clause.anchors) == 2:
            return OTHER_SIDE_FROM
        if clause.relation == "in front of" and clause.frame in (FrameOfReference.SPEAKER, FrameOfReference.ROBOT):
            side = "on my side of {a}" if clause.frame is FrameOfReference.SPEAKER else "on your side of {a}"
            return (*forms.at, side, side)
        if clause.frame is FrameOfReference.OBJECT and clause.relation in ("left of", "right of"):
            side = clause.relation.removesuffix(" of")
            own = (f"on {{a}}'s own {side}", f"to {{a}}'s own {side}", f"on {{a}}'s own {side}-hand side")
            if len(clause.anchors) == 1 and not clause.anchors[0].relations and voice.chance(0.4):
                return own
        anywhere = clause.frame is None and not voice.fronted
        return (*forms.at, *forms.here) if anywhere else forms.at

    def core(self, templates: Sequence[str]) -> str:
        """One of the templates with its anchors and its distance."""
        text, distance = self.voice.spell(self.voice.usual(templates)), self.clause.distance
        if distance is not None:
            near = distance.bound == "at most" and self.clause.relation == "at a distance from"
            if near and self.voice.chance(0.6):
                text = f"within {length(distance.metres, self.voice)} of {{a}}"
            else:
                text = text.replace("{d}", bounded(distance, self.voice))
        return self.filled(text)

    def filled(self, text: str = "{a}") -> str:
        """The template with its anchors."""
        if len(self.anchors) == 1:
            (anchor,) = self.anchors
            return text.replace("{a}", anchor.text).replace("{is}", _is(anchor.plural))
        first, *_, last = [anchor.text for anchor in self.anchors]
        if "{b}" in text:
            return text.replace("{a}", first).replace("{b}", last)
        pair = len(self.anchors) == 2 and not _PAIRING & set(text.split())
        both = "both " if pair and self.voice.chance(0.5) else ""
        most = ", ".join(anchor.text for anchor in self.anchors[:-1])
        return text.replace("{a}", f"{both}{most} and {last}").replace("{is}", "are")

    def states(self) -> list[str]:
        """Templates that fit after "is", or after "is not"."""
        forms = (*self.forms.stative, *self.forms.finite)
        long = any(phrase.relations for phrase in self.clause.anchors)
        fitting = [form for form in forms if not (long and "{is}" in form)]
        return [form for form in fitting if negatable(form) or not self.clause.negated]

    def stative(self) -> Wording:
        """As in "resting on it", "that is part of it"."""
        template = self.voice.usual(self.states())
        made = self._being(self.filled(self.voice.spell(template)))
        return made if template in self.forms.stative else replace(made, bare=None)

    def acting(self) -> Wording:
        """As in "touching it", "that touches it", "that doesn't touch it"."""
        verb = self.voice.usual(self.forms.verbs)
        third, base, participle = (self.filled(self.voice.spell(form) + " {a}") for form in verb)
        made = self._being(participle)
        if self.clause.relation != "part of" and self.voice.chance(0.3):
            return made
        return Wording(made.bare, self._doing(third, base))

    def having(self) -> Wording:
        """As in "with it on top", "that has it on top"."""
        place = self.voice.usual(self.forms.having).replace("{it}", "them" if self.plural else "it")
        objects = f"{self.filled()} {place}"
        return Wording(
            f"{'without' if self.clause.negated else 'with'} {objects}",
            self._doing(f"has {objects}", f"have {objects}"),
        )

    def stranded(self) -> Wording:
        """As in "that it is in"."""
        place, anchor = self.voice.usual(self.forms.stranded), self.anchors[0]
        verb = _is_not(anchor.plural, self.voice) if self.clause.negated else _is(anchor.plural)
        return Wording(None, f"{anchor.text} {verb} {place}")

    def on_either_side(self) -> Wording:
        """As in "with A on one side and B on the other"."""
        first, second = self.anchors
        sides = f"{first.text} on one side and {second.text} on the other"
        return Wording(f"with {sides}", self._doing(f"has {sides}", f"have {sides}"))

    def back_to(self) -> Wording:
        """As in "with its back to it"."""
        back = f"{'their backs' if self.plural else 'its back'} to {self.filled()}"
        return Wording(
            f"{'not ' if self.clause.negated else ''}with {back}", self._doing(f"has {back}", f"have {back}")
        )

    def belonging(self) -> Wording:
        """Parts: "of the jar"."""
        return Wording(f"of {self.filled()}", self._doing(f"belongs to {self.filled()}", f"belong to {self.filled()}"))

    def _being(self, state: str) -> Wording:
        if self.clause.negated:
            return Wording(f"not {state}", f"{_is_not(self.plural, self.voice)} {state}")
        return Wording(state, f"{_is(self.plural)} {state}")

    def _doing(self, third: str, base: str) -> str:
        if self.clause.negated:
            auxiliary = ("do not", "don't") if self.plural else ("does not", "doesn't")
            return f"{self.voice.choose(auxiliary)} {base}"
        return base if self.plural else third

    def framed(self, made: Wording, frame: FrameOfReference, last: bool = False) -> Wording:
        """The clause with its frame of reference, where the words do not say it yet; `last`: only after the rest."""
        if self.clause.relation not in FRAMED or any(side in made.finite for side in _SIDES):
            return made
        voice = self.voice
        owner = "its" if len(self.anchors) != 1 or made.long or voice.chance(0.6) else f"{self.anchors[0].text}'s"
        words = voice.word(FRAME_WORDS[frame]).replace("{its}", owner)
        if not last and (made.long or voice.chance(0.2)):
            comma = "" if voice.spoken or voice.chance(0.4) else ","
            return Wording(None, f"{comma} {words}{comma} {made.finite}".strip(), made.long)
        return Wording(made.bare and f"{made.bare} {words}", f"{made.finite} {words}", made.long)


def _between(one: Sequence[str], other: Sequence[str]) -> Iterator[str]:
    """Both lists in turn."""
    for pair in zip_longest(one, other):
        yield from (form for form in pair if form is not None)


def _is(plural: bool) -> str:
    return "are" if plural else "is"


def _is_not(plural: bool, voice: Voice) -> str:
    return voice.choose(("are not", "aren't") if plural else ("is not", "isn't"))
