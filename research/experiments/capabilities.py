# SPDX-License-Identifier: Apache-2.0
"""Claim: contrast, parts, contact, places, votes for "up", and names each answer what nothing else does.

    python -m research.experiments.capabilities --frames DIR [--frames DIR ...] [--name NAME]

Each DIR is a folder of frames with cases (docs/evaluation.md). The resolver as it is, against resolvers that have one
capability taken out, by the same code otherwise.

What is taken out: *contrast*: of distances, directions of spread and colours (docs/relations.md), so that an object is
what its own limits say; *parts*: compartments, boards, drawers and burners in the geometry of the whole, so that only
the stated share is left; *contact*: the surface beneath an object, so that its supporting object's highest point
counts; *places*: the measured foot, what is hidden behind a rim, stacks, and room beneath; *up*: votes of the objects
for the plane they stand on, so that it is the largest one in the image; *names*: labels that fit by their head noun
alone, or as less or more specific ones; *symmetry*: hidden sides.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.harness import REAL_FRAMES, Claim, arguments, finish
from research.experiments import RESULTS
from spatial_vlm_lab.scoring.frame_truth import read_frame_truth
from spatial_vlm_lab.scoring.outcome import judge
from spatial_vlm_ros.geometry import extent, support
from spatial_vlm_ros.perception import labels
from spatial_vlm_ros.recording.cases import Case
from spatial_vlm_ros.recording.replay import answer_cases
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.spatial import clauses, phrase_scorer, placement, superlatives, tops
from spatial_vlm_ros.spatial.parts import finding
from spatial_vlm_ros.spatial.relations import pairs
from spatial_vlm_ros.spatial.relations.resting import FAR, Resting
from spatial_vlm_ros.spatial.surfaces import NoSurface
from spatial_vlm_ros.types import Status
from spatial_vlm_ros.types.proportions import Share, wilson


def _none(*_: Any) -> tuple[()]:
    return ()


def _nothing(*_: Any) -> None:
    return None


@contextmanager
def without_contrast() -> Iterator[None]:
    """The middle one is that across, and further colours do not matter."""

    def across(layout: Any, view: Any, member: Any) -> Any:
        return superlatives.in_the_middle(superlatives.key_of("leftmost", layout, view), member)

    def no_more(_: Any, layout: Any, __: Any) -> Any:
        return np.zeros(len(layout), np.bool_)

    with (
        mock.patch.object(clauses, "CONTRASTED", {}),
        mock.patch.object(superlatives, "middle_of_spread", across),
        mock.patch.object(phrase_scorer, "more_than_said", no_more),
    ):
        yield


@contextmanager
def without_parts() -> Iterator[None]:
    """Parts are nothing but shares of the whole."""
    with (
        mock.patch.object(finding, "compartments", _none),
        mock.patch.object(finding, "levels", _none),
        mock.patch.object(finding, "burners", _none),
        mock.patch.object(finding, "open_drawer", _nothing),
    ):
        yield


@contextmanager
def without_contact() -> Iterator[None]:
    """Nothing is known of the surface beneath an object."""

    def unseen(_: Any, __: Any, ___: Any, inside: Any) -> Resting:
        return Resting(*(np.full(inside.shape, empty) for empty in (np.nan, 0.0, 0.0, np.nan, -FAR, -FAR)))

    with mock.patch.object(pairs, "resting", unseen):
        yield


@contextmanager
def without_places() -> Iterator[None]:
    """An object stands on all of its outline, on what is seen, and neither in a stack nor beneath anything."""

    def refused(*_: Any) -> NoSurface:
        return NoSurface("no surface", "it is not looked at")

    with (
        mock.patch.object(placement, "measured_widths", _none),
        mock.patch.object(placement, "stacked_on", refused),
        mock.patch.object(placement, "under_of", refused),
        mock.patch.object(tops, "_behind_rim", lambda _, __, ___, seen, ____: np.zeros_like(seen.surface)),
        mock.patch.object(tops, "_between_rows", lambda _, __, ___, ____, cells: cells),
    ):
        yield


@contextmanager
def without_votes() -> Iterator[None]:
    """The support is the plane that most of the image lies on."""

    def all_alike(frame: Any, _: Any) -> support.SupportPoints:
        return support.SupportPoints.of(support.everywhere(frame)[0])

    with mock.patch.object(support, "around_objects", all_alike):
        yield


@contextmanager
def without_symmetry() -> Iterator[None]:
    """What is out of sight of an object is as deep as a rule for its kind of shape says."""
    with mock.patch.object(extent, "axis_of", _nothing):
        yield


@contextmanager
def without_names() -> Iterator[None]:
    """A label fits as a whole, with listed synonyms, or not at all."""
    fit = labels.label_fit

    def strict(category: str, label: str, attributes: tuple[str, ...] = ()) -> float:
        found = fit(category, label, attributes)
        return found if found >= labels.SYNONYM else labels.NONE

    with mock.patch.object(labels, "label_fit", strict):
        yield


WITHOUT: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "nothing": nullcontext,
    "contrast": without_contrast,
    "parts": without_parts,
    "contact": without_contact,
    "places": without_places,
    "up": without_votes,
    "names": without_names,
    "symmetry": without_symmetry,
}


def run(folder: Path, most: int | None) -> dict[str, Share]:
    """Shares of what this version answers of a folder, of its first frames where not all are wanted."""
    frames: list[str] = []

    def first(cases: Iterable[Case]) -> Iterator[Case]:
        for case in cases:
            if case.frame not in frames:
                frames.append(case.frame)
            if most is None or len(frames) <= most:
                yield case

    found = list(answer_cases(folder, Resolver(), watch=first))
    cases = [one.case for one in found]
    truths = {case.frame: truth for case in cases if (truth := read_frame_truth(folder, case)) is not None}
    result = judge(cases, [one.resolution for one in found], truths=truths)
    due = [case for case in result.cases if case.expected_status is Status.OK]
    wrong = sum(case.status is Status.OK and not case.as_expected for case in due)
    return {
        "right": result.right_instance, "wrong": wilson(wrong, len(due)), "right_place": result.right_place,
        "wrong_place": result.wrong_place, "pose_where_refusal_due": result.pose_on_refusal,
    }  # fmt: skip


def main() -> int:
    """Measure and write."""
    options = arguments(__doc__, frames=[Path], most=int, name="capabilities")
    found: dict[str, dict[str, dict[str, Share]]] = {}
    for folder in options.frames or [REAL_FRAMES]:
        found[folder.name] = {}
        for name, without in WITHOUT.items():
            with without():
                found[folder.name][name] = run(folder, options.most)
    claims = [
        Claim(f"{name}: right or rightly placed more than without {way}, cases",
              sum(one["nothing"][part].k - without[part].k for part in ("right", "right_place")), 0, "", least=True)
        for name, one in found.items() for way, without in one.items() if way != "nothing"
    ]  # fmt: skip
    folders = {
        name: {way: {part: dataclasses.asdict(share) for part, share in run.items()} for way, run in one.items()}
        for name, one in found.items()
    }
    return finish(options.name, {"folders": folders}, claims, RESULTS)


if __name__ == "__main__":
    sys.exit(main())
