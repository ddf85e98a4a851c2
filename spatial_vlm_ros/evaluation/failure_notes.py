# SPDX-License-Identifier: Apache-2.0
"""Sentences about cases that failed: neither words nor objects decided them, so a share of right ones says little.

Works on judged cases only.
"""

from __future__ import annotations

from collections.abc import Sequence

from spatial_vlm_ros.evaluation.case_result import CaseResult
from spatial_vlm_ros.evaluation.error_split import CaseError


def failure_notes(runs: Sequence[tuple[str, Sequence[CaseResult]]]) -> tuple[str, ...]:
    """Make a sentence for each source and failed status, with the message of the first such case.

    Models with the same sentence share it.
    """
    shared: dict[str, list[str]] = {}
    for model, results in runs:
        sources: dict[str, list[CaseResult]] = {}
        for result in results:
            sources.setdefault(result.source, []).append(result)
        for source, own in sources.items():
            failed: dict[str, list[CaseResult]] = {}
            for result in own:
                if result.error is CaseError.FAILED:
                    failed.setdefault(result.status.value, []).append(result)
            for status, cases in failed.items():
                head = f"{source}: " if source else ""
                words = f"{head}{len(cases)} of {len(own)} cases ended in {status}; the first says: {cases[0].message}"
                shared.setdefault(words, []).append(model)
    several = len(runs) > 1
    return tuple(f"{', '.join(models)}: {words}" if several else words for words, models in shared.items())
