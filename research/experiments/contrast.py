# SPDX-License-Identifier: Apache-2.0
"""Claim: absolute limits and contrast are both needed: each alone answers less, or answers wrongly.

    python -m research.experiments.contrast --frames DIR [--frames DIR ...] [--name NAME]

Each DIR is a folder of frames with cases. The resolver as it is, against two that have one half of the listener
model (docs/relations.md): without contrast (an object is what its own limits say, the middle is that across,
further colours do not matter), and with hardly any limit to next to, near and far from, so that contrast alone
decides.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.harness import Claim, finish, table
from research.experiments import RESULTS
from research.experiments.caution import REAL_FRAMES, cases_of, of_resolver, summary
from spatial_vlm_ros.spatial import clauses, phrase_scorer, superlatives

NO_LIMITS: Mapping[str, Any] = {"relation": {"next_to_sizes": 10.0, "near_sizes": 20.0, "far_sizes": 0.1}}
WAYS = ("both", "limits only", "contrast only")


@contextmanager
def without_contrast() -> Iterator[None]:
    """The package with the contrast of distances, directions of spread and colours taken out."""

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


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m research.experiments.contrast")
    parser.add_argument("--frames", type=Path, action="append", help="folder of frames; may be repeated")
    parser.add_argument("--most", type=int, help="frames looked at of each folder")
    parser.add_argument("--name", default="contrast", help="of the file of figures")
    options, sys.argv[1:] = parser.parse_known_args()
    found: dict[str, dict[str, Any]] = {}
    for folder in options.frames or [REAL_FRAMES]:
        cases = cases_of(folder, options.most)
        with without_contrast():
            limits = of_resolver(folder, cases)
        runs = (of_resolver(folder, cases), limits, of_resolver(folder, cases, config=NO_LIMITS))
        found[folder.name] = {way: summary(run) for way, run in zip(WAYS, runs, strict=True)}
    parts = ("coverage", "wrong_of_due", "pose_where_refusal_due")
    table(
        "one half of the listener model against both",
        ("frames", "way", "right of due", "wrong of due", "pose where a refusal is due"),
        [(name, way, *(f"{run[part]['k']}/{run[part]['n']}" for part in parts))
         for name, one in found.items() for way, run in one.items()],
    )  # fmt: skip
    claims = [
        Claim(f"{name}: coverage against {way}, points",
              100 * (one["both"]["coverage"]["share"] - one[way]["coverage"]["share"]), 0, "%", least=True)
        for name, one in found.items() for way in WAYS[1:]
    ]  # fmt: skip
    return finish(options.name, {"folders": found}, claims, RESULTS)


if __name__ == "__main__":
    sys.exit(main())
