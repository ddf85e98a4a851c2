# SPDX-License-Identifier: Apache-2.0
"""Whole sentences, in several styles."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from research.speech.canonical import frames_said, reframed, said_once
from research.speech.clauses import Anchor, word_goal
from research.speech.forms import FRAME_WORDS
from research.speech.phrases import word_phrase
from research.speech.verbs import CARRYING, VERBS, Said, gerund
from research.speech.voice import Voice
from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.types import FrameOfReference, NounPhrase, SpatialQuery, Step

STYLES: tuple[str, ...] = ("plain", "polite", "question", "blunt", "wish", "topic", "transcript")
"""plain: an order; polite: with please and would; question: can you, where is; blunt: short, articles left out;
wish: "I
want you to"; topic: the object first, then what to do with it; transcript: as a speech recogniser writes it."""

_SHARES = (0.3, 0.14, 0.14, 0.12, 0.1, 0.08, 0.12)


@dataclass(frozen=True)
class _Command:
    """A command in words: as an order, after "would you mind", and its object alone."""

    order: str
    doing: str


def random_style(rng: np.random.Generator) -> str:
    """One of STYLES, orders more often than the rest."""
    return STYLES[int(rng.choice(len(STYLES), p=_SHARES))]


def say(query: SpatialQuery, rng: np.random.Generator, style: str | None = None) -> str:
    """An English sentence that means the query.

    Args:
        query: the meaning; its `instruction`, `readings` and `preference` are not read.
        rng: draws the words.
        style: one of STYLES; None draws one.

    Returns:
        One line of text.

    Raises:
        UnknownNameError: there are no words for the style, an action, a relation, a superlative or an ordinal.
        InputError: a relation has no anchor, or the action no destination.
    """
    style = random_style(rng) if style is None else style
    if style not in STYLES:
        raise UnknownNameError("style", style, list(STYLES))
    voice = Voice(rng, bool(rng.random() < 0.45), style == "blunt" and bool(rng.random() < 0.5), style == "transcript")
    front = ""
    frame = _common_frame(query)
    if frame is not None and style != "topic" and voice.chance(0.35 if said_once(query) else 0.8):
        front = voice.word(FRAME_WORDS[frame])
        query, voice = reframed(query, None), replace(voice, fronted=True)
    text = _STEPS[style](query, voice) if query.steps else _ONE[style](query, voice)
    if front:
        comma = "" if voice.spoken or voice.chance(0.15) else ","
        text = f"{front}{comma} {text}"
    return _dressed(text, style, voice)


def _common_frame(query: SpatialQuery) -> FrameOfReference | None:
    """The frame that every part of the query that can have one has, where a person or the world has it."""
    frames = frames_said(query)
    if len(frames) != 1:
        return None
    (frame,) = frames
    return None if frame is FrameOfReference.OBJECT else frame


def _said(action: str) -> Said:
    if action not in VERBS:
        raise UnknownNameError("action", action, list(VERBS))
    return VERBS[action]


def _command(query: SpatialQuery | Step, voice: Voice, obj: Anchor | None = None, goal: str | None = None) -> _Command:
    """The order and its gerund; `thing` and `goal` in place of the words for the target and the destination."""
    said = _said(query.action)
    if query.destination is not None and query.action not in CARRYING:
        expected, repair = f"one of {', '.join(sorted(CARRYING))}", 'say it in two steps, the second with "place"'
        raise InputError("action with a destination", query.action, expected, repair)
    obj = obj or word_phrase(query.target, replace(voice, closed=query.destination is not None))
    light = len(obj.text.split()) <= 5 and _bare(query.target)
    template = voice.choose((*said.commands, *(said.short if light else ())))
    if obj.text in ("it", "them"):
        template = voice.choose(
            [t for t in (*said.commands, *said.short) if not any(p in t for p in _HEAVY) and t != "pick {x}"]
        )
    if query.destination is not None and "{to}" not in template:
        template += " {to}"
    parts = {"{x}": obj.text, "{is}": "are" if obj.plural else "is", "{to}": _goal(query, voice, goal)}
    return _Command(_put(template, parts), _put(gerund(template), parts))


def _bare(phrase: NounPhrase) -> bool:
    return not (phrase.relations or phrase.superlative or phrase.ordinal)


_HEAVY = (" up {x}", " out {x}", " over {x}", " down {x}", " me {x}")  # no pronoun comes after these


def _goal(query: SpatialQuery | Step, voice: Voice, goal: str | None = None) -> str:
    if query.destination is None:
        return ""
    return goal or word_goal(query.destination, voice, word_phrase)


def _put(template: str, parts: Mapping[str, str]) -> str:
    for key, words in parts.items():
        template = template.replace(key, words)
    return re.sub(
        r"\bright right (of )?", lambda m: "right to the right of " if m.group(1) else "right ", template
    ).strip()


def _pronoun(obj: Anchor) -> Anchor:
    return Anchor("them" if obj.plural else "it", obj.plural)


def _plain(query: SpatialQuery, voice: Voice) -> str:
    if query.action == "place" and query.destination is not None and voice.chance(0.12):
        return _take_and_put(query, voice)
    if query.action == "find" and voice.chance(0.2):
        return word_phrase(query.target, voice).text + "."
    return _command(query, voice).order + "."


def _take_and_put(query: SpatialQuery, voice: Voice) -> str:
    """As in "take the mug and put it on the shelf": one object to do, in two verbs."""
    obj = word_phrase(query.target, voice)
    taken = _command(replace(query, action="pick", destination=None), voice, obj).order
    put = _command(query, voice, _pronoun(obj)).order
    return f"{taken} and {put}."


def _polite(query: SpatialQuery, voice: Voice) -> str:
    return _politely(_command(query, voice), voice)


def _politely(command: _Command, voice: Voice) -> str:
    order, doing = command.order, command.doing
    options = (
        f"please {order}.", f"{order}, please.", f"please {order}.", f"could you please {order}?",
        f"would you please {order}?", f"would you mind {doing}?", f"would you kindly {order}?",
        f"would you be so kind as to {order}?", f"could you {order}, please?", f"kindly {order}.",
        f"please could you {order}?", f"I'd be grateful if you could {order}.", f"if you don't mind, {order}.",
        f"can you please {order}?", f"would you be able to {order}?", f"do you think you could {order}?",
    )  # fmt: skip
    return voice.choose(options)


def _question(query: SpatialQuery, voice: Voice) -> str:
    said = _said(query.action)
    if said.questions and voice.chance(0.6):
        obj = word_phrase(query.target, voice)
        parts = {"{x}": obj.text, "{is}": "are" if obj.plural else "is"}
        asked = _put(
            voice.choose([q for q in said.questions if _bare(query.target) or not q.endswith(" {x} {is}")]), parts
        )
        return asked.replace("where is ", voice.choose(("where is ", "where's ")), 1) + "?"
    return _asking(_command(query, voice), voice)


def _asking(command: _Command, voice: Voice) -> str:
    asked = ("can you {o}?", "could you {o}?", "can you {o}?", "will you {o}?", "would you {o}?", "can you {o} for me?")
    return voice.choose(asked if len(command.order.split()) < 6 and " me " not in command.order else asked[:5]).replace(
        "{o}", command.order
    )


def _blunt(query: SpatialQuery, voice: Voice) -> str:
    command = _command(query, voice).order
    if voice.terse:
        return command
    return voice.choose(
        (f"{command}!", f"{command}, now.", f"just {command}.", f"you need to {command}.", f"go and {command}.",
        f"{command}!")
        if query.action != "go" else (f"{command}!", f"{command}, now.", f"just {command}.")
    )  # fmt: skip


def _wish(query: SpatialQuery, voice: Voice) -> str:
    said = _said(query.action)
    stated = query.destination is not None or not said.wishes[:1] or "{to}" not in said.wishes[0]
    if said.wishes and stated and voice.chance(0.6):
        obj = word_phrase(query.target, replace(voice, closed=query.destination is not None))
        wish = voice.choose(said.wishes)
        if obj.plural:
            wish = wish.replace("goes", "go")
        return _put(wish, {"{x}": obj.text, "{to}": _goal(query, voice)}) + "."
    return _wishing(_command(query, voice), voice)


def _wishing(command: _Command, voice: Voice) -> str:
    starts = (
        "I want you to",
        "I'd like you to",
        "I need you to",
        "you should",
        "I would like you to",
        "your task is to",
    )
    return f"{voice.choose(starts)} {command.order}."


def _topic(query: SpatialQuery, voice: Voice) -> str:
    """The object first, as in "the mug behind the box: pick it up"."""
    target = query.target
    if target.choice is not None or target.category == "object" or query.action in ("find", "look"):
        return _plain(query, voice)
    obj = word_phrase(target, voice)
    if obj.text.startswith(("every", "each")):
        return _command(query, voice, obj).order + "."
    command = _command(query, voice, _pronoun(obj)).order
    frames = (
        f"{obj.text}: {command}.", f"you see {obj.text}? {_capital(command)}.",
        f"see {obj.text}? {_capital(command)}.",
        f"do you see {obj.text}? {_capital(command)}.", f"{obj.text}, {command}.", f"{obj.text} - {command}.",
    )  # fmt: skip
    return voice.choose(frames)


def _spoken(query: SpatialQuery, voice: Voice) -> str:
    made = voice.choose((_plain, _plain, _plain, _polite, _question, _wish))
    return _stumbled(made(query, voice), voice)


_ONE: Mapping[str, Callable[[SpatialQuery, Voice], str]] = MappingProxyType(
    {"plain": _plain, "polite": _polite, "question": _question, "blunt": _blunt, "wish": _wish, "topic": _topic,
     "transcript": _spoken}
)  # fmt: skip


def _chain(query: SpatialQuery, voice: Voice) -> _Command:
    """All steps in one breath."""
    orders, last = [], None
    for step in query.steps:
        orders.append(_step(step, last, voice))
        last = step.target
    link = voice.choose((" and ", " and then ", ", then ", " and ", ", and then "))
    ing = [order.doing for order in orders]
    return _Command(link.join(order.order for order in orders), " and ".join(ing))


def _step(step: Step, last: NounPhrase | None, voice: Voice) -> _Command:
    """One step; what the step before was about is "it"."""
    if last is not None and step.target == last:
        return _command(step, voice, _pronoun(Anchor("", last.count not in (None, 1))))
    goal = step.destination
    if goal is not None and last is not None and goal.anchors == (last,) and (last.relations or voice.chance(0.5)):
        plural = last.count not in (None, 1)
        it = word_goal(goal, voice, lambda _phrase, _voice: _pronoun(Anchor("", plural)))
        return _command(step, voice, goal=it)
    return _command(step, voice)


def _plain_steps(query: SpatialQuery, voice: Voice) -> str:
    if len(query.steps) == 2 and voice.chance(0.4):
        first, second = query.steps
        one = _step(first, None, voice)
        two = _step(second, first.target, voice).order
        return voice.choose(
            (f"first {one.order}, then {two}.", f"{one.order}. Then {two}.", f"{one.order}, and after that {two}.",
             f"{one.order}. After that, {two}.", f"first {one.order} and then {two}.", f"after {one.doing}, {two}.")
        )  # fmt: skip
    return _chain(query, voice).order + "."


def _spoken_steps(query: SpatialQuery, voice: Voice) -> str:
    return _stumbled(_chain(query, voice).order, voice)


def _blunt_steps(query: SpatialQuery, voice: Voice) -> str:
    return _chain(query, voice).order + ("" if voice.terse else "!")


_STEPS: Mapping[str, Callable[[SpatialQuery, Voice], str]] = MappingProxyType(
    {
        "plain": _plain_steps,
        "polite": lambda query, voice: _politely(_chain(query, voice), voice),
        "question": lambda query, voice: _asking(_chain(query, voice), voice),
        "blunt": _blunt_steps,
        "wish": lambda query, voice: _wishing(_chain(query, voice), voice),
        "topic": _plain_steps,
        "transcript": _spoken_steps,
    }
)


_FILLERS = ("um", "uh", "er", "uhm")
_STARTS = ("okay", "ok", "so", "um", "uh", "hey", "hey robot", "okay so", "well", "alright")


def _stumbled(text: str, voice: Voice) -> str:
    """With the hesitations of speech."""
    if voice.chance(0.3):
        text = f"{voice.choose(_STARTS)} {text}"
    if voice.chance(0.3):
        text = text.replace(" the ", f" the {voice.choose(_FILLERS)} ", 1)
    elif voice.chance(0.15):
        text = text.replace(" the ", " the the ", 1)
    if voice.chance(0.15) and "please" not in text:
        text = f"{text} {voice.choose(('please', 'thanks', 'please'))}"
    return text


def _dressed(text: str, style: str, voice: Voice) -> str:
    """Capitals and punctuation as the style has them."""
    text = text.replace(" ,", ",")
    if style == "transcript" or voice.terse:
        plain = re.sub(r"[,.?!:;](?=\s|$)| -(?= )", "", text)
        return re.sub(r"\s+", " ", plain).strip().lower()
    if style in ("polite", "plain") and voice.chance(0.06):
        text = f"{voice.choose(('robot', 'hey robot', 'hello', 'hi'))}, {text}"
    return _capital(text)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
