# SPDX-License-Identifier: Apache-2.0
"""Questions about space on frame folders: orders of their cases asked as questions, and lengths where truth is known.

"Grab the can behind the cup" becomes "where is the can behind the cup?", with the same object or the same refusal
expected, and "is there a can behind the cup?". Where the frames have a truth.json with centres and sizes in the base,
heights and distances between centres of objects that are told apart by their label are compared with their intervals.

    python -m research.experiments.questions_on_frames --frames DIR [--frames DIR …]   default: SPATIAL_VLM_REAL_RGBD
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Claim, finish, table
from research.experiments import RESULTS
from spatial_vlm_ros import Resolver, load_frame
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.language import describe, parse
from spatial_vlm_ros.recording.cases import Case, load_cases
from spatial_vlm_ros.resolver import ObservedFrame
from spatial_vlm_ros.types import Resolution, SpatialQuery, Status
from spatial_vlm_ros.types.proportions import wilson

FOLDER = Path(os.environ.get("SPATIAL_VLM_REAL_RGBD", Path(__file__).parents[3] / "shared" / "data" / "real_rgbd"))
_SEEN = 0.6  # visible share from which the sizes of an object are compared
_PAIRS = 6  # pairs of objects of a frame, at most


@dataclasses.dataclass(frozen=True)
class AskedCase:
    """What came of one question: its kind, whether it is right, whether the order had been right, and the miss."""

    kind: str
    right: bool
    order_right: bool
    text: str


def asked(case: Case, observed: ObservedFrame) -> Iterator[AskedCase]:
    """A case's order as questions."""
    if case.expect is None:
        return
    try:
        order: SpatialQuery = parse(case.instruction)[0]
    except SpatialVlmError:
        return
    if order.steps or order.destination is not None or order.question is not None or order.readings > 1:
        return
    expected, given = case.expect, observed.ask(case.instruction).resolution
    found = given.target.id if given.target is not None else None
    right = given.status is expected.status and expected.id in (None, found)
    ids = {expected.id, *expected.id_also}
    several = order.target.count not in (None, 1)
    words = f"where {'are' if several else 'is'} {describe(order.target)}?"
    answer = observed.ask(words).resolution
    if expected.status is Status.OK:
        named = _named(answer)
        good = bool(named) and (expected.id is None or bool(ids & set(named)))
    else:
        good = answer.status is expected.status
    yield AskedCase(
        "where", good, right, f"{case.frame} {words!r}: {expected.status.value} {expected.id}, got {answer.message}"
    )
    plain = order.target.superlative is None and order.target.ordinal is None and not several
    if order.target.relations and plain and expected.status in (Status.OK, Status.RELATION_UNSATISFIED):
        phrase = describe(dataclasses.replace(order.target, choice=None)).removeprefix("the ")
        words = f"is there {'an' if phrase[0] in 'aeiou' else 'a'} {phrase}?"
        answer = observed.ask(words).resolution
        wanted = "yes" if expected.status is Status.OK else "no"
        good = answer.answer is not None and answer.answer.value == wanted
        yield AskedCase("exists", good, right, f"{case.frame} {words!r}: {wanted}, got {answer.message}")


def _named(answer: Resolution) -> list[str]:
    return [] if answer.answer is None else [obj.id for obj in answer.answer.objects if obj.role == "subject"]


def lengths(folder: Path, observed: ObservedFrame) -> Iterator[tuple[str, bool, float]]:
    """Of objects whose true centre and size are known: kind, whether the interval holds the truth, and the error."""
    path = folder / "truth.json"
    if not path.is_file():
        return
    truth: dict[str, Any] = json.loads(path.read_text())["objects"]
    labels = Counter(one["label"] for one in truth.values())
    known = {i: o for i, o in truth.items() if labels[o["label"]] == 1 and o["visible"] >= _SEEN}
    known = {i: o for i, o in known.items() if max(o["size"]) < 0.5}
    for one in known.values():
        said = observed.ask(f"how tall is the {one['label']}?").resolution.answer
        if said is not None and said.interval is not None and isinstance(said.value, float):
            low, high = said.interval
            yield "height", low <= one["size"][2] <= high, abs(said.value - one["size"][2])
    for (one_id, one), (_, other) in itertools.islice(itertools.combinations(known.items(), 2), _PAIRS):
        said = observed.ask(f"how far is the {one['label']} from the {other['label']}?").resolution.answer
        centres = next((each for each in said.lengths if each.name == "between centres"), None) if said else None
        if centres is not None and one_id in {obj.id for obj in said.objects} if said else False:
            true = float(np.linalg.norm(np.array(one["center"]) - np.array(other["center"])))
            low, high = centres.interval
            yield "between centres", low <= true <= high, abs(centres.value - true)


def main() -> int:
    """Run and write research/results/questions_on_frames.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=Path, action="append", help="a folder with cases.jsonl; may be repeated")
    parser.add_argument("--most", type=int, default=10_000, help="frames of a folder")
    parser.add_argument("--verbose", action="store_true", help="print misses")
    options, rest = parser.parse_known_args()
    found: dict[str, Any] = {}
    claims = []
    for folder in options.frames or [FOLDER]:
        cases = load_cases(folder)
        outcomes: list[AskedCase] = []
        measured: list[tuple[str, bool, float]] = []
        by_frame = itertools.groupby(sorted(cases, key=lambda case: case.frame), key=lambda case: case.frame)
        for name, some in itertools.islice(by_frame, options.most):
            frame, detections = load_frame(folder / name)
            observed = Resolver().look_at(frame, detections)
            for case in some:
                outcomes += asked(case, observed)
            measured += lengths(folder / name, observed)
        rows = {}
        for kind in ("where", "exists"):
            of = [o for o in outcomes if o.kind == kind]
            rows[kind] = dataclasses.asdict(wilson(sum(o.right for o in of), len(of)))
            told = [o for o in of if o.order_right]
            rows[f"{kind}, where the order is right"] = dataclasses.asdict(
                wilson(sum(o.right for o in told), len(told))
            )
        for kind in ("height", "between centres"):
            each = [(held, error) for what, held, error in measured if what == kind]
            if each:
                rows[f"{kind} in its interval"] = dataclasses.asdict(wilson(sum(held for held, _ in each), len(each)))
                rows[f"{kind} in its interval"]["median_error_m"] = round(float(np.median([e for _, e in each])), 4)
        found[folder.name] = rows
        table(
            f"questions on {folder.name}", ("what", "k", "n", "share", "low", "high"),
            [(name, *(row[key] for key in ("k", "n", "share", "low", "high"))) for name, row in rows.items()],
        )  # fmt: skip
        if options.verbose:
            print(*(o.text for o in outcomes if not o.right and o.order_right), sep="\n")
        both = [o for o in outcomes if o.order_right]
        share = 100 * sum(o.right for o in both) / max(len(both), 1)
        claims.append(Claim(f"{folder.name}: as right as the order", share, 95, "%", least=True))
    sys.argv = [sys.argv[0], *rest]
    return finish("questions_on_frames", found, claims, RESULTS)


if __name__ == "__main__":
    raise SystemExit(main())
