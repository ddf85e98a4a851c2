# SPDX-License-Identifier: Apache-2.0
"""Tables (Markdown) and images (SVG) of the runs of `python -m research.experiments.remedies`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from research.replication.cells import BASE, COMBINATIONS, ENCODERS, FACTORS, LOUD, LOUD_ONES
from research.replication.effects import Effect, crossed_interval, difference, effects
from research.replication.questions import KINDS, TYPES
from research.replication.results import Results
from spatial_vlm_ros.types.proportions import Interval

IMAGES = {
    "remedies_accuracy.svg": "Accuracy of each cell by kind of question; dotted line: chance",
    "remedies_effects.svg": "Effects of the remedies in the factorial",
    "remedies_norms.svg": "Cost of permuting image tokens, against the norm of image tokens",
}
_METHOD = """\
All values are in percent, with 95 % intervals. Both seeds and groups of questions are treated as random (two-way
crossed, `effects.py`). A group of questions counts as one. n is the number of questions of one seed."""


def report(results: Results) -> str:
    """A page of Markdown; it shows IMAGES."""
    parts = ["# Results of the small replication", _intro(results), _accuracies(results), _by_type(results)]
    parts.append(_loudness(results))
    found = _effects(results)
    if found:
        parts.append(_effect_table("Effects of the factorial", found))
    others = _differences(results)
    if others:
        parts.append(_effect_table(f"Paired differences from another cell (encoders: from {BASE})", others))
    winner = results.winner()
    if winner:
        parts.append(f"Best combination on the validation questions: `{winner}`.")
    parts += [text for cell in results.cells() if cell.startswith("pin-") for text in [_locations(results, cell)]]
    shown = [name for name in IMAGES if found or name != "remedies_effects.svg"]
    parts += [f"![{IMAGES[name]}](images/{name})" for name in shown]
    return "\n\n".join(parts) + "\n"


def _intro(results: Results) -> str:
    seeds = {cell: len(results.seeds(cell)) for cell in results.cells()}
    learnt = [sum(t for name, t in run["seconds"].items() if name.endswith(("-projector", "-tuning")))
              for run in results.runs.values()]  # fmt: skip
    return f"""\
This page has all tables of the replication. It is for researchers who want to check a number.
`python -m research.experiments.remedies --report` writes it from `research/results/remedies/<cell>-<seed>.json`.

There are {sum(seeds.values())} runs of {len(seeds)} cells, with {len(results.questions())} test questions each.
Stages (c) and (d) of the fastest run took {min(learnt):.0f} s on one core. The other runs shared the machine.

{_METHOD}"""


def _accuracies(results: Results) -> str:
    numbers = Counter(one.kind for one in results.questions())
    header = ("cell", "seeds", *(f"{kind} (n = {numbers[kind]})" for kind in KINDS))
    rows = []
    for cell, field, name in _answering(results):
        seeds = results.seeds(cell)
        shares = (_told(crossed_interval(results.table(cell, seeds, [kind], field)), least=0.0) for kind in KINDS)
        rows.append([f"`{name}`", str(len(seeds)), *shares])
    chances = (np.mean([q.item.chance for q in results.questions() if q.kind == kind]) for kind in KINDS)
    rows.append(["chance", "", *(f"{100 * float(one):.1f}" for one in chances)])
    return "## Accuracy\n\n" + _table(header, rows)


def _by_type(results: Results) -> str:
    numbers = Counter(one.type for one in results.questions())
    parts = ["## Accuracy by type of question"]
    for kind in KINDS:
        types = [one for one in TYPES if one.split()[0] == kind]
        header = ["cell", *(f"{one} (n = {numbers[one]})" for one in types)]
        if kind == "depth":
            header.append("usual - counter")
        rows = []
        for cell, field, name in _answering(results):
            tables = [results.table(cell, results.seeds(cell), [one], field) for one in types]
            rows.append([f"`{name}`", *(_told(crossed_interval(table), least=0.0) for table in tables)])
            if kind == "depth":
                usual, counter = tables
                rows[-1].append(_told(difference(usual, counter, "").interval))
        parts.append(_table(header, rows))
    return "\n\n".join(parts)


def _answering(results: Results) -> list[tuple[str, str, str]]:
    """Cell, field of its answers, name in tables."""
    found = []
    for cell in results.cells():
        if cell.startswith("attention-"):
            found += [(cell, f"right_{name}", f"{cell}: {name}") for name in ("scaling", "adaptive")]
        else:
            found.append((cell, "right", cell))
    return found


def _loudness(results: Results) -> str:
    rows = []
    for cell in results.cells():
        plain, corrected = results.psi(cell)
        before, after = (_plain(results.ratio(cell, when)) for when in ("before", "after"))
        rows.append([f"`{cell}`", str(len(results.seeds(cell))), before, after, _told(plain), _told(corrected)])
    header = ("cell", "seeds", "norm ratio before", "after", "PSI", "PSI corrected for chance")
    return (
        "## Norm ratio, and the cost of permuting image tokens\n\n"
        "The norm ratio is the mean norm of image tokens divided by that of text embeddings.\n"
        "Values are means over seeds, with Student's interval.\n\n" + _table(header, rows)
    )


def _effects(results: Results) -> list[tuple[str, Effect]]:
    """Measure and effect, of the factorial as far as all of its cells have the same seeds."""
    seeds = results.seeds(*COMBINATIONS)
    if not seeds:
        return []
    found = []
    for kind in (*KINDS, "depth counter"):
        found += [(kind, one) for one in effects(FACTORS, lambda c: results.table(c, seeds, [kind]))]  # noqa: B023
    return found


def _differences(results: Results) -> list[tuple[str, Effect]]:
    asked = [(cell, "right", BASE) for cell in ENCODERS]
    asked.append((f"{LOUD}{LOUD_ONES[1]}", "right", f"{LOUD}{LOUD_ONES[0]}"))
    for cell in results.cells():
        kind, _, rest = cell.partition("-")
        if kind in ("cloc", "pin"):
            asked.append((cell, "right", rest))
        elif kind == "attention":
            asked += [(cell, f"right_{name}", cell) for name in ("scaling", "adaptive")]
        elif cell.startswith(LOUD):
            asked.append((cell, "right", cell.removeprefix(LOUD)))
    found = []
    for cell, field, base in asked:
        seeds = results.seeds(cell, base)
        if not seeds:
            continue
        name = f"{field.removeprefix('right_')} {cell}" if field != "right" else f"{cell} - {base}"
        for kind in KINDS:
            pair = results.table(cell, seeds, [kind], field), results.table(base, seeds, [kind])
            found.append((kind, difference(*pair, name)))
    return found


def _effect_table(title: str, rows: Sequence[tuple[str, Effect]]) -> str:
    told = [[one.name, kind, _told(one.interval), str(one.seeds), str(one.groups)] for kind, one in rows]
    return f"## {title}\n\n" + _table(("effect", "questions", "percentage points", "seeds", "groups"), told)


def _locations(results: Results, cell: str) -> str:
    rows = []
    for seed in results.seeds(cell):
        run = results.runs[cell, seed]
        for when in ("before", "after"):
            one = run[f"location_{when}"]
            shares = [f"{100 * one[part]:.1f}" for part in ("row", "column", "both")]
            rows.append([str(seed), when, *shares, str(one["n"])])
    header = ("seed", "PIN", "row %", "column %", "both %", "n")
    return f"## Places named correctly by `{cell}`\n\n" + _table(header, rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _told(interval: Interval | None, least: float = -1.0) -> str:
    """In percent, the interval cut at what is possible: shares are `least` to 1."""
    if interval is None:
        return "-"
    if not math.isfinite(interval.low):
        return f"{100 * interval.value:.1f}"
    low, high = max(interval.low, least), min(interval.high, 1.0)
    return f"{100 * interval.value:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _plain(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.value:.2f}"


def draw(results: Results, images: Path) -> None:
    """Write IMAGES below `images`, which is created if it is missing."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "remedies"
    from matplotlib import pyplot as plt

    images.mkdir(parents=True, exist_ok=True)
    answering = _answering(results)
    figure, axes = plt.subplots(1, 3, figsize=(11, 1.2 + 0.28 * len(answering)), sharey=True, layout="constrained")
    for axis, kind in zip(axes, KINDS, strict=True):
        tables = [results.table(cell, results.seeds(cell), [kind], field) for cell, field, _ in answering]
        _bars(axis, [crossed_interval(table) for table in tables], [name for _, _, name in answering])
        axis.set(title=kind, xlabel="accuracy", xlim=(0, 1))
        chance = np.mean([one.item.chance for one in results.questions() if one.kind == kind])
        axis.axvline(float(chance), color="grey", linestyle=":")
    _save(figure, images / "remedies_accuracy.svg")
    found = _effects(results)
    if found:
        figure, axis = plt.subplots(figsize=(7, 1.2 + 0.24 * len(found)), layout="constrained")
        _bars(axis, [one.interval for _, one in found], [f"{one.name}: {kind}" for kind, one in found])
        axis.axvline(0, color="grey", linestyle=":")
        axis.set(xlabel="effect on accuracy", xlim=(-0.5, 0.5))
        _save(figure, images / "remedies_effects.svg")
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    for cell in results.cells():
        ratio, cost = results.ratio(cell, "after"), results.psi(cell)[1]
        if ratio is not None and cost is not None:
            axis.plot(ratio.value, cost.value, "o", color="tab:red" if LOUD in cell else "tab:blue")
    axis.set(xscale="log", xlabel="norm of image tokens by text, after training", ylabel="PSI corrected for chance")
    _save(figure, images / "remedies_norms.svg")
    plt.close("all")


def _bars(axis: object, told: Sequence[Interval], names: Sequence[str]) -> None:
    places = np.arange(len(told))[::-1]
    for place, one in zip(places, told, strict=True):
        axis.plot(one.value, place, "o", color="tab:blue")  # type: ignore[attr-defined]
        if math.isfinite(one.low):
            axis.plot((one.low, one.high), (place, place), color="tab:blue")  # type: ignore[attr-defined]
    axis.set_yticks(places, names)  # type: ignore[attr-defined]


def _save(figure: object, place: Path) -> None:
    figure.savefig(place, metadata={"Date": None})  # type: ignore[attr-defined]
