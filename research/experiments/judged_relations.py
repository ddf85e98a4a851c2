# SPDX-License-Identifier: Apache-2.0
"""What the small judge of relations says on scenes built by construction, whose truth shares nothing with the package.

Of each question with one right object of several of its name, the relation holds of that object and fails of the
others; left out are those within the band that the truth itself calls unclear. Seeds are those of reports.

    python -m research.experiments.judged_relations --seeds 60
"""

from __future__ import annotations

import argparse
import os
import sys
import zlib
from functools import partial

import numpy as np

from benchmarks.harness import finish
from benchmarks.judged_pairs import JudgedPair, LabelledRelation, judged
from benchmarks.relation_judge import show, summary
from research.constructed.building import build
from research.constructed.distribution import REPORTING_FROM
from research.experiments import RESULTS
from research.experiments.constructed import Say, speech
from spatial_vlm_lab.comparison.judge_calibration import labelled_pairs
from spatial_vlm_ros import ResolverConfig, Status
from spatial_vlm_ros.perception.backends.relation_judge import SmallRelationJudge, load
from spatial_vlm_ros.perception.judging import CHOICES
from spatial_vlm_ros.recording.cases import Case, Expectation


def pairs_of(judge: SmallRelationJudge, say: Say, relation: str, seed: int) -> list[JudgedPair]:
    """What the judge says of the pairs that the questions of a scene tell the truth about."""
    found: list[JudgedPair] = []
    for number, item in enumerate(build(seed, relation)):
        if item.status is not Status.OK or len(item.ids) != 1 or item.band:
            continue
        words = say(item.query, np.random.default_rng((seed, number, zlib.crc32(relation.encode()))))
        case = Case(f"{relation} {seed}", words, Expectation(Status.OK, item.ids[0]))
        told = labelled_pairs(case, item.detections, ResolverConfig())
        if not isinstance(told, str):
            asked = [LabelledRelation(one.question, one.holds) for one in told]
            found += judged(judge, case.frame, item.frame.rgb, asked)
    return list(dict.fromkeys(found))  # further questions about a scene tell the same pairs


def main() -> int:
    """Measure, print and write research/results/judged_relations.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], add_help=False)
    parser.add_argument("--seeds", type=int, default=60, help="scenes of each relation")
    given, sys.argv[1:] = parser.parse_known_args()
    os.environ.setdefault("LP_NUM_THREADS", "1")
    of = partial(pairs_of, load(), speech())
    seeds = range(REPORTING_FROM, REPORTING_FROM + given.seeds)
    pairs = [pair for relation in CHOICES for seed in seeds for pair in of(relation, seed)]
    figures = summary(pairs)
    show("constructed scenes", figures)
    return finish("judged_relations", {"seeds": [seeds.start, seeds.stop], "figures": figures}, [], RESULTS)


if __name__ == "__main__":
    sys.exit(main())
