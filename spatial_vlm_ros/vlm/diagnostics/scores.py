# SPDX-License-Identifier: Apache-2.0
"""Ask all questions in all their variants, and turn the answers into scores, findings and a verdict in words.

Words follow from rules on intervals, never on point values: a fault is "found" if the whole interval is on its side,
"not found" if the interval excludes it, and otherwise "undecided". docs/remedies_diagnostics.md describes the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types.proportions import Interval, Share, newcombe_paired, wilson
from spatial_vlm_ros.vlm.diagnostics.items import AXES, HIGHER, KINDS, LARGER, Answerer, ItemPrompt, ProbeItem, ask

GREY = 127
"""Value of all pixels of a blank image, as in Decodable Is Not Grounded (2026)."""


def forms_of(item: ProbeItem) -> dict[str, ItemPrompt]:
    """Make the variants of a question: control → variant. Variants without meaning for the item are left out.

    - picture: unchanged.
    - blank: a grey image of the same size; no truth.
    - mirrored: left and right of the image exchanged.
    - flipped: top and bottom of the image exchanged.
    - shuffled: candidates rotated by a number drawn from the item's key, so that each has another index in the list.
    - paraphrased: other words.
    - swapped: the two objects exchanged along depth.
    """
    plain, choices = item.plain, item.plain.choices
    steps = int(np.random.default_rng([0, *item.key.encode()]).integers(1, len(choices)))
    forms = {
        "picture": plain,
        "blank": replace(plain, rgb=np.full_like(plain.rgb, GREY), truth=None),
        "mirrored": replace(plain, rgb=np.ascontiguousarray(plain.rgb[:, ::-1]), truth=item.mirrored),
        "shuffled": replace(plain, choices=choices[steps:] + choices[:steps]),
        "paraphrased": replace(plain, question=item.paraphrase),
    }
    if item.flipped is not None:
        forms["flipped"] = replace(plain, rgb=np.ascontiguousarray(plain.rgb[::-1]), truth=item.flipped)
    if item.swapped is not None:
        other = next(choice for choice in choices if choice != item.truth)
        forms["swapped"] = replace(plain, rgb=item.swapped, truth=other)
    return forms


@dataclass(frozen=True, eq=False)
class Examined:
    """An item with the answers to it."""

    item: ProbeItem
    answers: Mapping[str, str]
    shuffled: tuple[str, ...]  # candidates in the order of the control "shuffled"

    @property
    def right(self) -> bool:
        """Whether the plain question was answered correctly."""
        return self.answers["picture"] == self.item.truth


def examine(
    answerer: Answerer, items: Sequence[ProbeItem], progress: Callable[[int, int], None] | None = None
) -> list[Examined]:
    """Ask all variants of items from `draw_items`; `progress` gets the number of items done and of all."""
    if not items:
        raise InputError("questions", "none", "one or more", "draw some with draw_items")
    done = []
    for item in items:
        forms = forms_of(item)
        answers = {control: ask(answerer, form) for control, form in forms.items()}
        done.append(Examined(item, answers, forms["shuffled"].choices))
        if progress is not None:
            progress(len(done), len(items))
    return done


@dataclass(frozen=True)
class Section:
    """Scores of the items of one kind or one axis; shares without items are 0 of 0.

    Args:
        corrected: (accuracy - chance) / (1 - chance): 0 = a guess, 1 = all right. None for an axis: "left-right" is not
            a balanced set, because a constant answer is right in half of its relations.
        turned_along: of items along left-right, answers that change consistently with the mirrored image; of
            above-below, with the image upside down; of depth, with the objects exchanged.
        opposite: of items along left-right or above-below, answers that are true in the image mirrored along that axis.
        same_place: answers that keep their index in the list when candidates are rotated.
    """

    name: str
    n: int
    chance: float
    accuracy: Share
    corrected: Interval | None
    blank: Share
    gain: Interval
    same_blank: Share
    mirrored: Share
    flipped: Share
    turned_along: Share
    opposite: Share
    same_shuffled: Share
    same_place: Share
    same_paraphrased: Share


@dataclass(frozen=True)
class Cue:
    """Accuracy on depth questions by a depth cue."""

    cue: str
    usual: Share
    counter: Share
    difference: Interval


def sections_of(examined: Sequence[Examined]) -> tuple[Section, ...]:
    """Scores of all items, of each kind and of each axis with items; depth, both kind and axis, is listed once."""
    sets = {"all": list(examined)}
    sets |= {kind: [e for e in examined if e.item.kind == kind] for kind in KINDS}
    sets |= {axis: [e for e in examined if e.item.axis == axis] for axis in AXES if axis not in sets}
    return tuple(
        _section(name, some, balanced=name not in AXES or name in KINDS) for name, some in sets.items() if some
    )


def cues_of(examined: Sequence[Examined]) -> tuple[Cue, ...]:
    """Scores for each depth cue in the items."""
    cues = []
    for name in dict.fromkeys(name for e in examined for name in e.item.cues):
        sides = [[e for e in examined if e.item.cues.get(name) is holds] for holds in (True, False)]
        alike: list[dict[object, bool]] = [{}, {}]  # items that differ only in this cue have one key
        for side, right in zip(sides, alike, strict=True):
            for e in side:
                others = tuple(sorted((cue, holds) for cue, holds in e.item.cues.items() if cue != name))
                right[e.item.group, e.item.truth, others] = e.right
        pairs = [(right, alike[1][key]) for key, right in alike[0].items() if key in alike[1]]
        difference = paired_difference([one for one, _ in pairs], [other for _, other in pairs])
        usual, counter = (_share(side, lambda e: e.right) for side in sides)
        cues.append(Cue(name, usual, counter, difference))
    return tuple(cues)


def corrected_for_chance(accuracy: Share, chance: float) -> Interval:
    """(accuracy - chance) / (1 - chance), with the ends of the interval transformed alike."""
    value, low, high = ((p - chance) / (1 - chance) for p in (accuracy.share, accuracy.low, accuracy.high))
    return Interval(value, low, high)


def paired_difference(first: Sequence[bool], second: Sequence[bool]) -> Interval:
    """Share of the first minus share of the second, over the same cases; without cases the interval is -1 to 1."""
    pairs = list(zip(first, second, strict=True))
    counts = (pairs.count(ways) for ways in ((True, True), (True, False), (False, True), (False, False)))
    return newcombe_paired(*counts) or Interval(0.0, -1.0, 1.0)


def _section(name: str, examined: Sequence[Examined], *, balanced: bool) -> Section:
    n = len(examined)
    chance = sum(e.item.chance for e in examined) / n
    accuracy = _share(examined, lambda e: e.right)
    blank = [e.answers["blank"] == e.item.truth for e in examined]
    return Section(
        name, n, chance, accuracy,
        corrected_for_chance(accuracy, chance) if balanced else None,
        wilson(sum(blank), n),
        paired_difference([e.right for e in examined], blank),
        _share(examined, lambda e: e.answers["blank"] == e.answers["picture"]),
        _share(examined, lambda e: e.answers["mirrored"] == e.item.mirrored),
        _share((e for e in examined if e.item.flip is not None), lambda e: e.answers["flipped"] == e.item.flipped),
        _share(examined, _turned_along),
        _share(
            (e for e in examined if e.item.axis != "depth"),
            lambda e: e.answers["picture"] == (e.item.mirrored if e.item.axis == "left-right" else e.item.flipped),
        ),
        _share(examined, lambda e: e.answers["shuffled"] == e.answers["picture"]),
        _share(  # whether the answers to both orders of candidates are at the same index of the list
            examined,
            lambda e: e.shuffled[e.item.plain.choices.index(e.answers["picture"])] == e.answers["shuffled"],
        ),
        _share(examined, lambda e: e.answers["paraphrased"] == e.answers["picture"]),
    )  # fmt: skip


def _turned_along(examined: Examined) -> bool:
    item, answers = examined.item, examined.answers
    was = answers["picture"]
    if item.axis == "left-right":
        return answers["mirrored"] == item.mirror.get(was, was)
    if item.axis == "above-below":
        return answers["flipped"] == (item.flip or {}).get(was, was)
    return answers["swapped"] != was


def _share(examined: Iterable[Examined], good: Callable[[Examined], bool]) -> Share:
    outcomes = [good(e) for e in examined]
    return wilson(sum(outcomes), len(outcomes))


Outcome = Literal["found", "not found", "undecided"]
LITTLE = 0.10
"""A gain in accuracy below this counts as none."""
WELL = 0.20
"""Accuracy on usual items clearly exceeds that on counter items by more than this."""
HALF, GROSS = 0.5, 0.75
"""A fault is found if more than half of the answers show it, and not found if less than three quarters do."""

BLIND, USELESS = "does not look at the picture", "gains nothing from the picture"
GUESSES = "answers no better than a guess"
MIRRORS, UPSIDE_DOWN = "mirrors left and right", "turns above and below round"
INVERTS = "takes near for far"
BY_PLACE = "answers by the place in the list of candidates"
NO_FAULT, TOO_FEW = "no fault found", "undecided (too few questions)"
_CUES = {HIGHER: "higher for farther", LARGER: "larger for nearer"}
_SHOWN = {
    BLIND: "ignores the image",
    USELESS: "does not profit from the image",
    GUESSES: "is no better than chance",
    MIRRORS: "swaps left and right",
    UPSIDE_DOWN: "swaps above and below",
    INVERTS: "swaps near and far",
    BY_PLACE: "prefers a position in the list of candidates",
    f"takes {_CUES[HIGHER]}": "judges depth by height in the image",
    f"takes {_CUES[LARGER]}": "judges depth by size in the image",
    f"leans on {_CUES[HIGHER]}": "is biased by height in the image",
    f"leans on {_CUES[LARGER]}": "is biased by size in the image",
    "with the picture": "with the image",
    "without": "with a blank image",
}
"""What people read instead of a fault, or of the name of a number, that JSON keeps."""


@dataclass(frozen=True)
class BlindnessFinding:
    """Result of one rule on one section."""

    fault: str  # its name, which JSON keeps; `words` is for people
    where: str
    outcome: Outcome
    numbers: dict[str, Share | Interval]

    @property
    def words(self) -> str:
        """The fault as people read it."""
        return shown(self.fault)


def shown(name: str) -> str:
    """A fault, or the name of a number, as people read it."""
    return _SHOWN.get(name, name)


def findings_of(sections: Sequence[Section], cues: Sequence[Cue]) -> tuple[BlindnessFinding, ...]:
    """Apply all rules to all sections that they are for."""
    named = {section.name: section for section in sections}
    kinds = [named[kind] for kind in KINDS if kind in named]
    found: list[BlindnessFinding] = []

    # Whether accuracy rises with the image; if not, whether answers depend on it at all.
    for section in (named[axis] for axis in AXES if axis in named):
        gain, same = section.gain, section.same_blank
        outcome = _outcome(gain.low <= 0 and gain.high < LITTLE, gain.low > 0)
        fault = USELESS if outcome == "found" and same.low <= HALF else BLIND
        numbers: dict[str, Share | Interval] = {"with the picture": section.accuracy, "without": section.blank}
        numbers |= {"same answers": same, "gain": gain}
        found.append(BlindnessFinding(fault, section.name, outcome, numbers))

    # Whether a depth cue explains the accuracy, and pulls it below a guess where the cue is wrong.
    for cue in (cue for cue in cues if cue.cue in _CUES):
        difference, words = cue.difference, _CUES[cue.cue]
        outcome = _outcome(difference.low > WELL, difference.high < WELL)
        fault = f"leans on {words}" if outcome == "found" and cue.counter.high >= HALF else f"takes {words}"
        numbers = {"usual": cue.usual, "counter": cue.counter, "usual - counter": difference}
        found.append(BlindnessFinding(fault, "depth", outcome, numbers))

    for axis, fault in (("left-right", MIRRORS), ("above-below", UPSIDE_DOWN)):
        if axis in named:
            found.append(_gross(fault, axis, "opposite answers", named[axis].opposite))

    # Whether most answers are wrong both where the cue helps and where it misleads.
    for cue in (cue for cue in cues if cue.cue == HIGHER):
        inverted = cue.usual.high < 1 - HALF and cue.counter.high < 1 - HALF
        outcome = _outcome(inverted, max(cue.usual.low, cue.counter.low) > 1 - GROSS)
        found.append(BlindnessFinding(INVERTS, "depth", outcome, {"usual": cue.usual, "counter": cue.counter}))

    found += [_gross(BY_PLACE, kind.name, "same place", kind.same_place) for kind in kinds]
    for kind in kinds:
        above = kind.accuracy.low > kind.chance
        outcome = _outcome(not above and kind.accuracy.high < kind.chance + LITTLE, above)
        chance = Interval(kind.chance, kind.chance, kind.chance)
        found.append(BlindnessFinding(GUESSES, kind.name, outcome, {"accuracy": kind.accuracy, "chance": chance}))
    return tuple(found)


def outcome_of(findings: Sequence[BlindnessFinding]) -> Outcome:
    """Combined outcome: "found" if any rule found a fault, else "undecided" if any is, else "not found"."""
    outcomes = {finding.outcome for finding in findings}
    return _outcome("found" in outcomes, "undecided" not in outcomes)


def words_of(findings: Sequence[BlindnessFinding]) -> str:
    """The verdict in one line: the faults found and where, then what is undecided; or that there is no fault."""
    found, open_ = _told(findings, "found"), _told(findings, "undecided")
    if found:
        return found + (f"; undecided: {open_}" if open_ else "")
    return f"{TOO_FEW}: {open_}" if open_ else NO_FAULT


def _gross(fault: str, where: str, name: str, share: Share) -> BlindnessFinding:
    return BlindnessFinding(fault, where, _outcome(share.low > HALF, share.high < GROSS), {name: share})


def _outcome(found: bool, excluded: bool) -> Outcome:
    return "found" if found else "not found" if excluded else "undecided"


def _told(findings: Sequence[BlindnessFinding], outcome: Outcome) -> str:
    places: dict[str, list[str]] = {}
    for finding in findings:
        if finding.outcome == outcome:
            places.setdefault(finding.words, []).append(finding.where)
    return "; ".join(f"{fault} ({', '.join(where)})" for fault, where in places.items())
