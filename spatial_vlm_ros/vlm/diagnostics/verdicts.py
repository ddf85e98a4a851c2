# SPDX-License-Identifier: Apache-2.0
"""Turn numbers into words, by rules on intervals and never on point values.

A fault is "found" if the whole interval is on its side, "not found" if the interval excludes it, and otherwise
"undecided". docs/remedies_diagnostics.md describes the rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from spatial_vlm_ros.types.proportions import Interval, Share
from spatial_vlm_ros.vlm.diagnostics.depth_items import HIGHER, LARGER
from spatial_vlm_ros.vlm.diagnostics.items import AXES, KINDS
from spatial_vlm_ros.vlm.diagnostics.scores import Cue, Section

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
    """Result of one rule on one section.

    Args:
        fault: its name, which JSON keeps; `words` is for people.
    """

    fault: str
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
    return tuple(_findings(named, cues))


def outcome_of(findings: Sequence[BlindnessFinding]) -> Outcome:
    """Combined outcome: "found" if any rule found a fault, else "undecided" if any is, else "not found"."""
    outcomes = {finding.outcome for finding in findings}
    order: tuple[Outcome, ...] = ("found", "undecided")
    return next((outcome for outcome in order if outcome in outcomes), "not found")


def words_of(findings: Sequence[BlindnessFinding]) -> str:
    """The verdict in one line: the faults found and where, then what is undecided; or that there is no fault."""
    found, open_ = _told(findings, "found"), _told(findings, "undecided")
    if found:
        return found + (f"; undecided: {open_}" if open_ else "")
    return f"{TOO_FEW}: {open_}" if open_ else NO_FAULT


def _findings(named: dict[str, Section], cues: Sequence[Cue]) -> Iterator[BlindnessFinding]:
    yield from (_looking(named[axis]) for axis in AXES if axis in named)
    yield from (_heuristic(cue) for cue in cues if cue.cue in _CUES)
    for axis, fault in (("left-right", MIRRORS), ("above-below", UPSIDE_DOWN)):
        if axis in named:
            yield _gross(fault, axis, "opposite answers", named[axis].opposite)
    yield from (_inverting(cue) for cue in cues if cue.cue == HIGHER)
    yield from (_gross(BY_PLACE, kind, "same place", named[kind].same_place) for kind in KINDS if kind in named)
    yield from (_guessing(named[kind]) for kind in KINDS if kind in named)


def _looking(section: Section) -> BlindnessFinding:
    """Whether accuracy rises with the image; if not, whether answers depend on it at all."""
    gain, same = section.gain, section.same_blank
    outcome: Outcome = "undecided"
    if gain.low > 0:
        outcome = "not found"
    elif gain.high < LITTLE:
        outcome = "found"
    fault = USELESS if outcome == "found" and same.low <= HALF else BLIND
    shares = {"with the picture": section.accuracy, "without": section.blank, "same answers": same}
    return BlindnessFinding(fault, section.name, outcome, {**shares, "gain": gain})


def _heuristic(cue: Cue) -> BlindnessFinding:
    """Whether a depth cue explains the accuracy, and pulls it below a guess where the cue is wrong."""
    difference, words = cue.difference, _CUES[cue.cue]
    outcome: Outcome = "undecided"
    fault = f"takes {words}"
    if difference.low > WELL:
        outcome = "found"
        fault = f"takes {words}" if cue.counter.high < HALF else f"leans on {words}"
    elif difference.high < WELL:
        outcome = "not found"
    numbers: dict[str, Share | Interval] = {"usual": cue.usual, "counter": cue.counter, "usual - counter": difference}
    return BlindnessFinding(fault, "depth", outcome, numbers)


def _inverting(cue: Cue) -> BlindnessFinding:
    """Whether most answers are wrong both where the cue helps and where it misleads."""
    outcome: Outcome = "undecided"
    if cue.usual.high < 1 - HALF and cue.counter.high < 1 - HALF:
        outcome = "found"
    elif max(cue.usual.low, cue.counter.low) > 1 - GROSS:
        outcome = "not found"
    return BlindnessFinding(INVERTS, "depth", outcome, {"usual": cue.usual, "counter": cue.counter})


def _gross(fault: str, where: str, name: str, share: Share) -> BlindnessFinding:
    """Whether most answers show a fault."""
    outcome: Outcome = "undecided"
    if share.low > HALF:
        outcome = "found"
    elif share.high < GROSS:
        outcome = "not found"
    return BlindnessFinding(fault, where, outcome, {name: share})


def _guessing(section: Section) -> BlindnessFinding:
    """Whether accuracy is above chance."""
    outcome: Outcome = "undecided"
    if section.accuracy.low > section.chance:
        outcome = "not found"
    elif section.accuracy.high < section.chance + LITTLE:
        outcome = "found"
    chance = Interval(section.chance, section.chance, section.chance)
    return BlindnessFinding(GUESSES, section.name, outcome, {"accuracy": section.accuracy, "chance": chance})


def _told(findings: Sequence[BlindnessFinding], outcome: Outcome) -> str:
    places: dict[str, list[str]] = {}
    for finding in findings:
        if finding.outcome == outcome:
            places.setdefault(finding.words, []).append(finding.where)
    return "; ".join(f"{fault} ({', '.join(where)})" for fault, where in places.items())
