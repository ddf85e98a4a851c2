# SPDX-License-Identifier: Apache-2.0
"""CircularEval and FlipEval: a question counts only if all its variants are answered correctly.

3DSRBench gives a question an id of eight characters, and its variants further parts: "-1" to "-3" the choices in
another order, "-flip" the mirrored image, "-flip-1" both. Which variants belong together:

- vanilla: each variant separately;
- flip: the question and its mirror image, each order of choices separately;
- circular: all orders of choices, the mirror image separately. The benchmark's authors publish this one;
- flip_circular: all of them.

Sources: open-compass/VLMEvalKit e8e78f0, vlmeval/dataset/image_mcq.py:2704-2732 (all four); johnson111788/
SpatialReasoner 339b29a, src/eval/compute_3dsrbench_results.py:48-73 (circular, by the benchmark's authors).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

VariantRule = Literal["vanilla", "flip", "circular", "flip_circular"]
VARIANT_RULES: tuple[VariantRule, ...] = get_args(VariantRule)

_PARTS = re.compile(r"(?P<question>.+?)(?P<flip>-flip)?(?P<order>-\d)?", re.DOTALL)


def variant_group(qid: str, rule: VariantRule) -> str:
    """The id that a question shares with the variants that count together with it.

    Args:
        qid: its id, for example "VIN6MS3J-flip-1".
    """
    parts = _PARTS.fullmatch(qid)
    if parts is None:
        return qid
    flip, order = parts["flip"] or "", parts["order"] or ""
    kept = {"vanilla": flip + order, "flip": order, "circular": flip, "flip_circular": ""}[rule]
    return parts["question"] + kept


def all_right(qids: Sequence[str], right: Sequence[bool], rule: VariantRule) -> Mapping[str, bool]:
    """Group → whether all its variants are answered correctly, in order of first occurrence.

    Args:
        qids: N ids.
        right: N values, whether each was answered correctly.
    """
    groups: dict[str, bool] = {}
    for qid, good in zip(qids, right, strict=True):
        group = variant_group(qid, rule)
        groups[group] = groups.get(group, True) and good
    return groups
