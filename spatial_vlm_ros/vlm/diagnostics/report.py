# SPDX-License-Identifier: Apache-2.0
"""The result of an examination as data, as a dictionary for JSON, and as Markdown."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spatial_vlm_ros.types.proportions import Interval, Share
from spatial_vlm_ros.vlm.diagnostics.examination import Examined
from spatial_vlm_ros.vlm.diagnostics.scores import Cue, Section, cues_of, sections_of
from spatial_vlm_ros.vlm.diagnostics.verdicts import BlindnessFinding, Outcome, findings_of, outcome_of, shown, words_of

if TYPE_CHECKING:  # they need torch
    from spatial_vlm_ros.vlm.diagnostics.attention import Balance
    from spatial_vlm_ros.vlm.diagnostics.loudness import Loudness
    from spatial_vlm_ros.vlm.diagnostics.permutation import Permutation, Pooled
    from spatial_vlm_ros.vlm.diagnostics.rotary_probe import RotarySensitivity

_DIGITS = 6


@dataclass(frozen=True)
class Inside:
    """Measurements inside a model; None or empty if not measured."""

    permutation: Permutation | None = None
    pooling: tuple[Pooled, ...] = ()
    loudness: Loudness | None = None
    balance: Balance | None = None
    rotary: RotarySensitivity | None = None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """All results of an examination.

    Args:
        sections: scores by kind and axis.
    """

    model: str
    verdict: str
    outcome: Outcome
    sections: tuple[Section, ...]
    cues: tuple[Cue, ...]
    findings: tuple[BlindnessFinding, ...]
    inside: Inside = Inside()


def diagnose(model: str, examined: Sequence[Examined], inside: Inside | None = None) -> Diagnosis:
    """Compute scores, findings and the verdict from the answers."""
    sections, cues = sections_of(examined), cues_of(examined)
    findings = findings_of(sections, cues)
    verdict, outcome = words_of(findings), outcome_of(findings)
    return Diagnosis(model, verdict, outcome, sections, cues, findings, inside or Inside())


def as_dict(diagnosis: Diagnosis) -> dict[str, Any]:
    """Plain lists, dictionaries, numbers and texts; NaN and infinity become None."""
    plain: dict[str, Any] = _plain(diagnosis)
    return plain


def report(diagnosis: Diagnosis) -> str:
    """Write Markdown: the verdict, tables of scores and findings, and the measurements inside or why there are none."""
    parts = [
        f"# {diagnosis.model}: {diagnosis.verdict}",
        "Shares in percent with their 95 % intervals. What each number means: docs/remedies_diagnostics.md.",
        _sections(diagnosis.sections),
        _turns(diagnosis.sections),
        _findings(diagnosis.findings),
        _pooling(diagnosis.inside.pooling),
        *inside_lines(diagnosis.inside),
        *(f"Not measured: {reason}" for reason in diagnosis.inside.left_out),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def numbers_text(finding: BlindnessFinding) -> str:
    """The numbers that a rule used, with their names."""
    told = ((name, share_text(x) if isinstance(x, Share) else interval_text(x)) for name, x in finding.numbers.items())
    return ", ".join(f"{shown(name)} {number}" for name, number in told)


def _sections(sections: Sequence[Section]) -> str:
    rows = [
        (
            s.name,
            str(s.n),
            _percent(s.chance),
            share_text(s.accuracy),
            interval_text(s.corrected),
            share_text(s.blank),
            interval_text(s.gain),
        )
        for s in sections
    ]
    return _table(("questions", "n", "guess", "accuracy", "above a guess", "with a blank image", "gain"), rows)


def _turns(sections: Sequence[Section]) -> str:
    rows = [
        (
            s.name,
            share_text(s.turned_along),
            *(share_text(x) for x in (s.same_blank, s.same_shuffled, s.same_place, s.same_paraphrased)),
        )
        for s in sections
    ]
    header = (
        "questions",
        "changes with the mirrored image",
        "same when blank",
        "same when shuffled",
        "same place when shuffled",
    )
    return _table((*header, "same in other words"), rows)


def _findings(findings: Sequence[BlindnessFinding]) -> str:
    rows = [(f.words, f.where, f.outcome, numbers_text(f)) for f in findings]
    return _table(("fault", "questions", "outcome", "numbers"), rows)


def inside_lines(inside: Inside) -> list[str]:
    """One sentence for each measurement inside, except pooled tokens."""
    lines: list[str] = []
    if (p := inside.permutation) is not None:
        lines.append(
            f"Image tokens permuted (seeds {', '.join(map(str, p.seeds))}): accuracy {share_text(p.original)} to "
            f"{share_text(p.permuted)}; PSI {interval_text(p.psi)}, corrected for chance {interval_text(p.corrected)}."
        )
    if (norms := inside.loudness) is not None:
        lines.append(f"Mean norm of image tokens {norms.image:.3g}, of text {norms.text:.3g}: ratio {norms.ratio:.3g}.")
    if (b := inside.balance) is not None:
        without = "not told" if b.without_system is None else _percent(float(np.nanmean(b.without_system)))
        steps = f"{b.steps} step{'s' * (b.steps > 1)}"
        lines.append(
            f"Share of attention on the image, of image and text, mean over {len(b.with_system)} layers, "
            f"{steps}: {_percent(float(np.nanmean(b.with_system)))}; without the system prompt: {without}."
        )
    if (r := inside.rotary) is not None:
        lines.append(
            f"Image keys {r.step:g} positions on: mean |Δα_V| {np.abs(r.change).mean():.2e}, "
            f"mean |Δg_V| {np.abs(r.slope_change).mean():.2e}, mean |dα_V/dφ| {np.abs(r.slope).mean():.2e}."
        )
    return lines


def _pooling(pooled: Sequence[Pooled]) -> str:
    rows = [(str(p.values), share_text(p.accuracy), interval_text(p.change)) for p in pooled]
    return _table(("image values", "accuracy", "change"), rows) if rows else ""


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def share_text(share: Share) -> str:
    """Percent with its interval; a dash if there were no cases."""
    return f"{_percent(share.share)} ({_percent(share.low)} to {_percent(share.high)})" if share.n else "–"


def interval_text(interval: Interval | None) -> str:
    """Percent with its interval; a dash if there is none."""
    if interval is None:
        return "–"
    return f"{_percent(interval.value)} ({_percent(interval.low)} to {_percent(interval.high)})"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, float):
        return round(value, _DIGITS) if math.isfinite(value) else None
    return value
