# SPDX-License-Identifier: Apache-2.0
"""Make docs/figures.md from the committed results in benchmarks/results and research/results; none is written by hand.

A row names its data, the command that measures it and its source file. A row without its file is listed as not
measured. `make generate` makes the page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.__main__ import PARTS
from scripts.figure_rows import OURS, RESEARCH, Json, Missing, Row
from scripts.figures_of_accuracy import ACCURACY, AMBIGUOUS, BELIEVED, CONDITIONS, DIALOGUES, PLACES
from scripts.figures_of_speed import CENTRES, COLD, REST, SPEED
from scripts.markdown import item, table, wrapped

ROOT = Path(__file__).resolve().parent.parent
_LONGEST = 128  # characters of a line of the page
_HEAD = """# Figures

Made by `scripts/figures_page.py` from the committed results in `benchmarks/results/` and `research/results/`. No
figure on this page is written by hand. Each row has a note with its condition, its command and its file. `make bench`
and the commands measure again; a figure holds for the version and the machine that made its file. How the data were
made: [evaluation.md](evaluation.md), [benchmarks.md](benchmarks.md).

n is the number of questions. Intervals are 95 % Wilson intervals; they take questions as independent, which those of
one frame are not.
"""
_ACCURACY = """
Two errors count. A *wrong answer* is a pose of another object than the one that is meant. A *needless refusal* is a
refusal where an answer is due. The third error, a *pose where a refusal is due*, is counted among the questions that
must be refused. *Developed on*: "yes" means that the code was changed because of this data. "no" means that
development used other seeds of the same generator. "held out" means that authors who had not read the package made
the data, and that it was scored once before anything was changed because of it. "a guess" is a baseline that never
refuses a name that it finds.
"""
_CONDITIONS = """
The same errors where masks or transforms are missing. The rows of one file ask the same questions of the same
detections.
"""
_AMBIGUOUS = """
Where two or more objects fit the words, the right answer is AMBIGUOUS with a question. *Asked* counts how often it
is. The rows are those of the first table.
"""
_DIALOGUES = """
A simulated person answers what the package asks, also with yes, no, "the other one" and astray. *Right* counts the
dialogues that end at the object that the person means.
"""
_BELIEVED = """
Two small detectors without a profile; they miss most objects of these scenes. *Right
of due* is of the questions that have an answer. The last column is the reliability diagram of the likeliest candidate
of every question: mean confidence, and how many were right; where a refusal is due none is. Means below 0.01 are left
out.
"""
_SPEED = """
Medians. Baselines ran in the same process or in turn, on the same machine and the same data. The ratio is the
baseline's time over ours: above 1 ours is faster. Ratios carry over to other machines, milliseconds do not. A row
names ours before the colon and the baseline after it. `lifting` has 20 masks of about 700, 3,000 and 11,000 pixels on
a 1280x720 frame: ours is depth check, support plane, cleaning, volume, box, covariance and visibility, the baseline a
box for each mask and nothing else.
"""
_COLD = """
A process that has just started. No model is loaded: detections are given. Imports are wall time of whole
interpreters; the other rows are the processor's time, because the machine did other work.
"""
MISSING = (
    Missing(
        "rendered, Gazebo models, first scoring", "evaluation.md states it as held out; no result file is committed"
    ),
    Missing(
        "rendered, aloha_sim, after development", "evaluation.md states it as developed on; no result file is committed"
    ),
    Missing("cold start of the live node", "no benchmark"),
    Missing("cold start with a model", "no benchmark; `onnx_detectors` has peak memory and time of a frame"),
    Missing("answers with released weights of published detectors and vision-language models", "no benchmark"),
    Missing("a real robot, a real camera's driver", "not tried"),
    Missing("Gazebo and Isaac Sim", "written, not run: [simulators.md](simulators.md), [containers.md](containers.md)"),
    Missing("a Jetson", "written, not run: [containers.md](containers.md); [backends.md](backends.md) has empty rows"),
)


@dataclass(frozen=True)
class Section:
    """Title, words, header of the cells after the name, and rows."""

    title: str
    words: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]


_ERRORS = ("wrong answers", "needless refusals", "pose where a refusal is due")
_AGAINST = ("ours", "baseline", "ratio")
SECTIONS = (
    Section("Accuracy by data set", _ACCURACY, (*_ERRORS, "developed on"), ACCURACY),
    Section("Boxes without masks, no TF", _CONDITIONS, _ERRORS, CONDITIONS),
    Section("Ambiguous words", _AMBIGUOUS, ("asked",), AMBIGUOUS),
    Section("Dialogues", _DIALOGUES, ("right", "wrong"), DIALOGUES),
    Section(
        "Answers from real detectors",
        _BELIEVED,
        ("wrong poses", "right of due", "right of 0.9 and more", "stated: right"),
        BELIEVED,
    ),
    Section(
        "Errors of position",
        "\nDistance of the estimated centre from the true one.\n",
        ("n", "median", "95th percentile"),
        PLACES,
    ),
    Section("Speed", _SPEED, _AGAINST, SPEED),
    Section(
        "Errors of the centre in the same run",
        "\nWhat the times of `lifting` buy.\n",
        ("n", "ours", "baseline"),
        CENTRES,
    ),
    Section("Cold start", _COLD, _AGAINST, COLD),
    Section("Losses, memory", "\nWithout a baseline in milliseconds.\n", ("measured",), REST),
)


def figures_page(root: Path = ROOT) -> str:
    """Make the page, as Markdown.

    Args:
        root: root of the repository whose result files are read.
    """
    lines, missing = [_HEAD], [*MISSING]
    for section in SECTIONS:
        there = [row for row in section.rows if (root / row.run.file).is_file()]
        missing += [
            Missing(f"{section.title}: {row.name}", f"`{row.run.command}`") for row in section.rows if row not in there
        ]
        if there:
            lines += [f"## {section.title}", section.words, _table(root, section, there), "", *_notes(there), ""]
    lines += ["## Targets", "", *_targets(root), "", "## Machines", "", *_machines(root), ""]
    lines += ["## Not measured", "", table(("what", "why"), [(each.what, each.why) for each in missing])]
    lines += ["", _without_file(root)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _table(root: Path, section: Section, rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        cells = row.cells(json.loads((root / row.run.file).read_text(encoding="utf-8")))
        if len(cells) != len(section.header):
            raise ValueError(f"{row.name}: {len(cells)} cells for {len(section.header)} columns")
        lines.append((row.name, *cells))
    return table(("", *section.header), lines)


def _notes(rows: Sequence[Row]) -> Iterator[str]:
    """For each command its file, and the condition of each row that has one; rows with the same one share a line."""
    for run in dict.fromkeys(row.run for row in rows if row.note):
        program, _, options = run.command.partition(" --")
        split = f"`{program}` with `--{options}`" if len(run.command) > _LONGEST - 10 else f"`{run.command}`"
        yield item(f"{split} → `{run.file}`", 0, _LONGEST)
        conditions: dict[str, list[str]] = {}
        for row in rows:
            if row.run == run:
                conditions.setdefault(row.note, []).append(row.group or row.name)
        for note, names in conditions.items():
            yield item(f"*{'*, *'.join(dict.fromkeys(names))}*: {note}.", 1, _LONGEST)


def results(root: Path) -> dict[str, Json]:
    """Every result file by its path from the root; those of the remedies' cells are left out."""
    paths = [path for folder in (OURS, RESEARCH) for path in sorted((root / folder).glob("*.json"))]
    return {str(path.relative_to(root)): json.loads(path.read_text(encoding="utf-8")) for path in paths}


def _targets(root: Path) -> Iterator[str]:
    """Number of targets met, and every missed target."""
    claims = [
        (file, claim)
        for file, found in results(root).items()
        if isinstance(found, dict)
        for claim in found.get("claims", ())
    ]
    missed: dict[str, list[str]] = {}
    for file, claim in claims:
        if not claim["met"]:
            text = f"{claim['text']}, {claim['bound']} {claim['limit']:g} {claim['unit']}".rstrip()
            missed.setdefault(text, []).append(f"{claim['value']:g} (`{Path(file).stem}`)")
    yield f"The result files hold {len(claims)} targets; {sum(claim['met'] for _, claim in claims)} are met. Missed:"
    yield ""
    for text, values in missed.items():
        yield item(f"{text}: {', '.join(values)}", 0, _LONGEST)


def _machines(root: Path) -> Iterator[str]:
    """Processors and the files made on them."""
    made: dict[str, list[str]] = {}
    for file, found in results(root).items():
        machine = found.get("machine") if isinstance(found, dict) else None
        if machine:
            cores = f"{machine['cores']} core{'' if machine['cores'] == 1 else 's'}"
            made.setdefault(f"{machine['cpu']}, {cores}, Python {machine['python']}", []).append(file)
    for machine, files in sorted(made.items()):
        yield item(f"{machine}: {', '.join(f'`{Path(file).stem}`' for file in files)}", 0, _LONGEST)


def _without_file(root: Path) -> str:
    """Benchmarks whose result file is not committed."""
    there = {path.stem for folder in (OURS, RESEARCH) for path in (root / folder).iterdir()}
    absent = [name for name in PARTS if not any(stem == name or stem.startswith(f"{name}_") for stem in there)]
    return wrapped(f"Benchmarks without a committed result: {', '.join(f'`{name}`' for name in absent)}.")
