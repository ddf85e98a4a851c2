# SPDX-License-Identifier: Apache-2.0
"""The result of an examination as data, as a dictionary for JSON, and as a folder with Markdown and images."""

from __future__ import annotations

import dataclasses
import json
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.files.writing import UnfinishedFolder, changed_folder, require_new, write_bytes
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.types.proportions import Interval, Share
from spatial_vlm_ros.vlm.diagnostics.scores import (
    BlindnessFinding,
    Cue,
    Examined,
    Outcome,
    Section,
    cues_of,
    findings_of,
    outcome_of,
    sections_of,
    shown,
    words_of,
)

if TYPE_CHECKING:
    from spatial_vlm_ros.vlm.diagnostics.measures import Balance, Loudness, Permutation, Pooled, RotarySensitivity

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
    """All results of an examination."""

    model: str
    verdict: str
    outcome: Outcome
    sections: tuple[Section, ...]  # scores by kind and axis
    cues: tuple[Cue, ...]
    findings: tuple[BlindnessFinding, ...]
    inside: Inside = Inside()


def diagnose(model: str, examined: Sequence[Examined], inside: Inside | None = None) -> Diagnosis:
    """Compute scores, findings and the verdict from the answers."""
    sections, cues = sections_of(examined), cues_of(examined)
    findings = findings_of(sections, cues)
    verdict, outcome = words_of(findings), outcome_of(findings)
    return Diagnosis(model, verdict, outcome, sections, cues, findings, inside or Inside())


def report(diagnosis: Diagnosis) -> str:
    """Write Markdown: the verdict, tables of scores and findings, and the measurements inside or why there are none."""
    inside = diagnosis.inside
    parts = [
        f"# {diagnosis.model}: {diagnosis.verdict}",
        "Shares in percent with their 95 % intervals. What each number means: docs/remedies_diagnostics.md.",
        _table(_ACCURACIES, diagnosis.sections),
        _table(_CHANGES, diagnosis.sections),
        _table(_FINDINGS, diagnosis.findings),
        _table(_POOLED, inside.pooling) if inside.pooling else "",
        *inside_lines(inside),
        *(f"Not measured: {reason}" for reason in inside.left_out),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def numbers_text(finding: BlindnessFinding) -> str:
    """The numbers that a rule used, with their names."""
    return ", ".join(f"{shown(name)} {number_text(number)}" for name, number in finding.numbers.items())


_Columns = Mapping[str, Callable[[Any], str]]
_ACCURACIES: _Columns = {
    "questions": lambda s: s.name,
    "n": lambda s: str(s.n),
    "guess": lambda s: _percent(s.chance),
    "accuracy": lambda s: number_text(s.accuracy),
    "above a guess": lambda s: number_text(s.corrected),
    "with a blank image": lambda s: number_text(s.blank),
    "gain": lambda s: number_text(s.gain),
}
_CHANGES: _Columns = {
    "questions": lambda s: s.name,
    "changes with the mirrored image": lambda s: number_text(s.turned_along),
    "same when blank": lambda s: number_text(s.same_blank),
    "same when shuffled": lambda s: number_text(s.same_shuffled),
    "same place when shuffled": lambda s: number_text(s.same_place),
    "same in other words": lambda s: number_text(s.same_paraphrased),
}
_FINDINGS: _Columns = {
    "fault": lambda f: f.words,
    "questions": lambda f: f.where,
    "outcome": lambda f: f.outcome,
    "numbers": numbers_text,
}
_POOLED: _Columns = {
    "image values": lambda p: str(p.values),
    "accuracy": lambda p: number_text(p.accuracy),
    "change": lambda p: number_text(p.change),
}


def _table(columns: _Columns, things: Sequence[Any]) -> str:
    rows = [list(columns), ["---"] * len(columns), *([cell(thing) for cell in columns.values()] for thing in things)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def inside_lines(inside: Inside) -> list[str]:
    """One sentence for each measurement inside, except pooled tokens."""
    lines: list[str] = []
    if (p := inside.permutation) is not None:
        lines.append(
            f"Image tokens permuted (seeds {', '.join(map(str, p.seeds))}): accuracy {number_text(p.original)} to "
            f"{number_text(p.permuted)}; PSI {number_text(p.psi)}, corrected for chance {number_text(p.corrected)}."
        )
    if (norms := inside.loudness) is not None:
        lines.append(f"Mean norm of image tokens {norms.image:.3g}, of text {norms.text:.3g}: ratio {norms.ratio:.3g}.")
    if (b := inside.balance) is not None:
        without = "not told" if b.without_system is None else _percent(float(np.nanmean(b.without_system)))
        lines.append(
            f"Share of attention on the image, of image and text, mean over {len(b.with_system)} layers, "
            f"{b.steps} step: {_percent(float(np.nanmean(b.with_system)))}; without the system prompt: {without}."
        )
    if (r := inside.rotary) is not None:
        lines.append(
            f"Image keys {r.step:g} positions on: mean |Δα_V| {np.abs(r.change).mean():.2e}, "
            f"mean |Δg_V| {np.abs(r.slope_change).mean():.2e}, mean |dα_V/dφ| {np.abs(r.slope).mean():.2e}."
        )
    return lines


def number_text(number: Share | Interval | None) -> str:
    """Percent with its interval; a dash if there is none, or if there were no cases."""
    if number is None or (isinstance(number, Share) and not number.n):
        return "–"
    value = number.share if isinstance(number, Share) else number.value
    return f"{_percent(value)} ({_percent(number.low)} to {_percent(number.high)})"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def as_dict(value: Any) -> Any:
    """A Diagnosis as plain lists, dictionaries, numbers and texts; NaN and infinity become None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_dict(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): as_dict(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_dict(one) for one in value]
    if isinstance(value, np.ndarray):
        return as_dict(value.tolist())
    if isinstance(value, float):
        return round(value, _DIGITS) if math.isfinite(value) else None
    return value


_SIDE, _TEXT, _LINE, _WIDTH = 240, 76, 15, 36  # pixels, pixels, pixels, characters
Ink = tuple[int, int, int]
_RIGHT, _WRONG, _INK, _WHITE = (20, 130, 40), (200, 30, 30), (40, 40, 40), (255, 255, 255)
_MARK = 5  # pixels of the coloured edge
_COLUMNS, _MOST = 4, 24  # columns of a sheet, most questions on it


def attention_image(rgb: Rgb, weights: npt.NDArray[np.floating]) -> Rgb:
    """Draw (rows, columns) attention over an image, in equal parts: red is the strongest cell, blue has none."""
    levels = np.rint(weights / max(float(weights.max()), 1e-12) * 255).astype(np.uint8)
    coloured = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)
    laid = cv2.resize(coloured, rgb.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return np.rint((rgb.astype(float) + laid) / 2).astype(np.uint8)


def attention_strip(rgb: Rgb, weights: npt.NDArray[np.floating]) -> Rgb:
    """Draw an image beside the (L, rows, columns) `attention_map` in the first, middle and last third of the layers.

    Below each image are its layers and the share of attention on the image.
    """
    tiles = [_tile(rgb, _WHITE, {"the image": _INK})]
    for layers in np.array_split(np.arange(len(weights)), min(3, len(weights))):
        mean = weights[layers].mean(axis=0)
        first, last = int(layers[0]) + 1, int(layers[-1]) + 1
        name = f"layer {first}" if first == last else f"layers {first} to {last}"
        texts = {name: _INK, f"{mean.sum():.1%} on the image": _INK}
        tiles.append(_tile(attention_image(rgb, mean), _WHITE, texts))
    return np.hstack(tiles)


def answer_sheet(examined: Sequence[Examined]) -> Rgb:
    """Draw questions with images and answers, wrong ones first: a green edge for right, a red one for wrong.

    If there are too many, the shown ones are spread evenly over all, so that each kind appears.
    """
    wrong, right = ([one for one in examined if one.right == good] for good in (False, True))
    shown = _spread(wrong, _MOST)
    tiles = []
    for one in (*shown, *_spread(right, _MOST - len(shown))):
        ink, plain = _RIGHT if one.right else _WRONG, one.item.plain
        tiles.append(_tile(plain.rgb, ink, {plain.question: _INK, _answer(one): ink}))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % _COLUMNS)
    return np.vstack([np.hstack(tiles[i : i + _COLUMNS]) for i in range(0, len(tiles), _COLUMNS)])


def _spread(examined: Sequence[Examined], most: int) -> list[Examined]:
    """At most `most` items, evenly spread, beginning with the first."""
    count = min(most, len(examined))
    return [examined[i * len(examined) // count] for i in range(count)]


def _answer(one: Examined) -> str:
    answer = one.answers["picture"]
    return answer if one.right else f"{answer}; it is: {one.item.truth}"


def _tile(rgb: Rgb, edge: Ink, texts: Mapping[str, Ink]) -> Rgb:
    """A square image within an edge, above texts in their inks."""
    tile, inner = np.full((_SIDE + _TEXT, _SIDE, 3), 255, np.uint8), _SIDE - 2 * _MARK
    tile[:_SIDE] = edge
    tile[_MARK:-_MARK][:inner, _MARK:-_MARK] = cv2.resize(rgb, (inner, inner), interpolation=cv2.INTER_AREA)
    lines = [(line, ink) for text, ink in texts.items() for line in textwrap.wrap(text, _WIDTH)]
    for i, (line, ink) in enumerate(lines):
        at = (_MARK, _SIDE + _LINE * (i + 1) - 2)
        cv2.putText(tile, line, at, cv2.FONT_HERSHEY_SIMPLEX, 0.36, ink, 1, cv2.LINE_AA)
    return tile


REPORT, DATA, SHEET = "report.md", "diagnosis.json", "answers.png"


def check_folder(folder: Path) -> None:
    """Check that a report can be written, before the examination starts."""
    for name in (REPORT, DATA, SHEET):
        require_new(folder / name, force=True)
    UnfinishedFolder(folder, force=True).drop()


def write_folder(
    folder: Path, diagnosis: Diagnosis, examined: Sequence[Examined], attention: Mapping[str, Rgb] | None = None
) -> list[Path]:
    """Write the report, JSON, sheet and images of attention, all or none; an existing folder keeps its other files."""
    by_key = {one.item.key: one for one in examined}
    images = {SHEET: answer_sheet(examined)}
    told = [
        report(diagnosis),
        "## Answers\n",
        "Wrong answers first; red: the answer and the truth.\n",
        f"![answers]({SHEET})\n",
    ]
    if attention:
        told.append("## Attention of the last token of the prompt\n")
        told.append("The strongest place of each image is red; no attention is blue.\n")
    for key, image in (attention or {}).items():
        one, name = by_key[key], f"attention-{key}.png"
        images[name] = image
        told.append(f"{one.item.plain.question} {_answer(one)}\n\n![{key}]({name})\n")
    contents = {
        REPORT: "\n".join(told).encode(),
        DATA: (json.dumps(as_dict(diagnosis), indent=1, allow_nan=False) + "\n").encode(),
    }
    for name, rgb in images.items():
        contents[name] = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()
    with changed_folder(folder) as unfinished:
        for name, data in contents.items():
            write_bytes(unfinished / name, data, force=True, sync=False)
    return [folder / name for name in contents]
