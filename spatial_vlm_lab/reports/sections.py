# SPDX-License-Identifier: Apache-2.0
"""An evaluation as tables and lists of sentences; the same in GitHub-flavoured Markdown and at a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from spatial_vlm_lab.scoring.outcome import UNKNOWN, EvaluationOutcome, ModelOutcome, by_reason
from spatial_vlm_ros.output.terminal import new_console, new_table
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.types import Status
from spatial_vlm_ros.types.proportions import Interval, Share, wilson

_MOST_REASONS = 20
_MARKS = re.compile(r"([\\`*_{}\[\]()#+!|~$@:.=^-])")
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})
_MOST_LISTED = 50  # sentences of a list; the rest is counted


@dataclass(frozen=True)
class ReportSection:
    """A table with sentences below it; either may be missing."""

    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    left: Sequence[int] = (0,)  # columns of text; the others are numbers
    sentences: Sequence[str] = ()
    title: str = ""
    head: str = ""  # what each sentence begins with where it stands alone
    tone: str = ""
    model: str = ""  # that this and the next sections are about, where they begin
    images: Sequence[int] = ()  # numbers of the judged cases that the sentences are about


# ------------------------------------------------------------------------------------------------ cells


def between(share: Share | Interval) -> str:
    """An interval in percent."""
    return f"{share.low:.1%} to {share.high:.1%}"


def points(change: Interval) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * change.value:+.1f} ({100 * change.low:+.1f} to {100 * change.high:+.1f}) points"


def estimate(value: Interval) -> str:
    """A value from 0 to 1 with its interval."""
    return f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})"


def ended(status: Status, id_: str | None) -> str:
    """Status and object of an answer."""
    return f"{status.value} {id_ or ''}".strip()


# ------------------------------------------------------------------------------------------------ sections


def sections_of(evaluation: EvaluationOutcome, of_each: bool) -> Iterator[ReportSection]:
    """Everything that is said of an evaluation; `of_each` adds figures and misses of each of several models."""
    models = evaluation.models
    if len(models) == 1:
        yield from _of_model(models[0])
        yield from _of_all(evaluation)
        return
    columns = ("", "cases", "as expected, place and all", "right instance", "wrong pose", "pose on refusal",
               "the resolver alone")  # fmt: skip
    rows = []
    for m in models:
        shares = (m.complete, m.right_instance, m.wrong_pose, m.pose_on_refusal, m.oracle)
        told = (f"{share.k}/{share.n} {share.share:.1%}" if share.n else "-" for share in shares)
        rows.append((m.model, str(m.complete.n), *told))
    yield ReportSection(columns, rows)
    yield from _of_all(evaluation)
    for m in models:
        if of_each or m.comparison is not None:
            yield ReportSection(model=m.model)
            yield from _of_model(m) if of_each else _compared(m)


def _of_model(model: ModelOutcome) -> Iterator[ReportSection]:
    """Shares with intervals, calibration, confusion of statuses, every miss, and the comparison."""
    split = model.split
    shares: dict[str, Share] = {
        **model.figures(),
        **({} if split is None else {"usual": split["usual"], "counter-heuristic": split["counter_heuristic"]}),
        **{f"  {kind}": share for kind, share in model.by_kind.items()},
        **{f"  '{relation}'": share for relation, share in model.by_relation.items()},
        **{f"  {frame} frame": share for frame, share in model.by_frame_of_reference.items()},
    }
    rows, sentences = [], []
    for name, s in shares.items():
        over = model.over_frames.get(name)
        rows.append((name, str(s.k), str(s.n), f"{s.share:.1%}", between(s), "" if over is None else between(over)))
    if model.misses:
        sentences.append("misses: " + ", ".join(f"{n} {kind}" for kind, n in model.by_miss.items() if n))
    if split is not None and split["difference"] is not None:
        sentences.append(f"usual minus counter-heuristic: {points(split['difference'])}")
    yield ReportSection(("", "k", "n", "share", "95 % interval", "over frames"), rows, sentences=sentences)
    yield ReportSection(
        ("confidence of", "n", "right", "mean confidence", "ECE", "Brier", "constant's Brier", "AURC", "by chance"),
        [
            (name, str(c.n), f"{c.right.share:.1%}", f"{c.confidence:.3f}", estimate(c.ece), estimate(c.brier),
             f"{c.brier_constant:.3f}", estimate(c.aurc), f"{c.aurc_random:.3f}")
            for name, key in (("answers given", "answered"), ("likeliest of all cases", "all"))
            if (c := model.calibration[key]) is not None
        ],
        sentences=[
            f"expected {expected}: " + ", ".join(f"{n} {status}" for status, n in given.items())
            for expected, given in model.confusion.items()
        ],
    )  # fmt: skip
    sentences = []
    for source, counts in model.checks.items():
        verdicts = "; ".join(f"{check.replace('_', ' ')} {n}" for check, n in sorted(counts.items()))
        sentences.append(f"frames of {source or 'the cases'}: {verdicts}")
    for source, n in model.boxes.items():
        right, found = wilson(n["right"], n["boxes"]), wilson(n["found"], n["objects"])
        sentences.append(
            f"boxes of {source}: {n['right']} of {n['boxes']} have the right name ({between(right)}); "
            f"{n['found']} of {n['objects']} objects have a box of their name ({between(found)})"
        )
    yield ReportSection(title="Frames and names", sentences=sentences)
    missed = {n: case for n, case in enumerate(model.cases) if not case.complete}
    yield ReportSection(
        title=f"{len(missed)} not as expected",
        head="miss ",
        sentences=[
            f"{m.image} '{m.instruction}': expected {ended(m.expected_status, m.expected_id)}, "
            f"got {ended(m.status, m.id)}{f' ({m.miss.value})' if m.miss else ''}: {m.message}"
            for m in missed.values()
        ],
        tone="yellow",
        images=tuple(missed),
    )
    yield from _compared(model)


def _compared(model: ModelOutcome) -> Iterator[ReportSection]:
    """A run against its baseline, with every changed case."""
    compared = model.comparison
    if compared is None:
        return
    columns = ("against the baseline", "before", "now", "n", "difference", "lost", "gained", "p", "verdict")
    rows = [
        (c.metric, str(c.before.k), str(c.now.k), str(c.now.n), points(c.difference), str(c.lost), str(c.gained),
         f"{c.p:.3g}", c.verdict.value)
        for c in compared.changes
    ]  # fmt: skip
    yield ReportSection(columns, rows, left=(0, len(columns) - 1))
    for what, switches, tone in (
        ("no longer as expected", compared.lost, "yellow"), ("as expected again", compared.gained, "green"),
    ):  # fmt: skip
        told = [
            f"{s.frame} '{s.instruction}': {ended(s.before_status, s.before_id)} before, {ended(s.status, s.id)} now"
            for s in switches
        ]
        yield ReportSection(title=what.capitalize(), head=f"{what}: ", sentences=told, tone=tone)
    sentences = [f"against the baseline: {compared.verdict.value}"]
    if compared.only_now or compared.only_before:
        left_out = f"{compared.only_now} cases that the baseline lacks, and {compared.only_before} of its answers"
        sentences.insert(0, f"not compared: {left_out} to other cases")
    yield ReportSection(sentences=sentences)


def _of_all(evaluation: EvaluationOutcome) -> Iterator[ReportSection]:
    """Errors, pairs of models, notes, and what was left out."""
    models, wrong = evaluation.models, []
    for error in errors_of(models):
        counted = [model.errors.get(error) or {} for model in models]
        told = [f"{sum(n.values())} ({n['model']} / {n['resolver']} / {n[UNKNOWN]})" if n else "0" for n in counted]
        wrong.append((error, *told))
    columns = ("what went wrong (to blame: model / resolver / not known)", *(model.model for model in models))
    yield ReportSection(columns, wrong)
    yield ReportSection(
        ("pair", "figure", "first", "second", "n", "only first", "only second", "difference", "p", "p (Holm)",
         "the first is"),
        [
            (f"{one.first} / {one.second}", one.metric, str(one.first_k), str(one.second_k), str(one.n),
             str(one.only_first), str(one.only_second), points(one.difference), f"{one.p:.3g}", f"{one.p_holm:.3g}",
             one.verdict.value)
            for one in evaluation.pairs
        ],
    )  # fmt: skip
    yield ReportSection(title="Notes", head="note: ", sentences=evaluation.notes, tone="yellow")
    unusable = by_reason(case for model in models for case in model.unusable)
    told = [
        f"{case.image} '{case.instruction}'{f' and {n - 1} more' if n > 1 else ''} of {case.source}: {case.problem}"
        for case, n in unusable[:_MOST_REASONS]
    ]
    if len(unusable) > _MOST_REASONS:
        told.append(f"{sum(n for _, n in unusable[_MOST_REASONS:])} more")
    title = f"{sum(n for _, n in unusable)} not judged"
    yield ReportSection(title=title, head="not judged: ", sentences=told, tone="yellow")


def errors_of(models: Sequence[ModelOutcome]) -> list[str]:
    """What went wrong for any model."""
    return list(dict.fromkeys(error for model in models for error in model.errors))


# ------------------------------------------------------------------------------------------------ Markdown and terminal


def escape(text: str) -> str:
    """Escape text for one line of Markdown: no markup, HTML, links or terminal control characters."""
    # HTML as entities: a backslash before "<" is an escape in CommonMark, and not in every other kind of Markdown.
    return _MARKS.sub(r"\\\1", printable(text)).translate(_HTML)


def markdown_evaluation(
    evaluation: EvaluationOutcome, title: str, images: Mapping[str, Mapping[int, str]] | None = None
) -> str:
    """Everything that is said of an evaluation.

    `images`: name of a model → number of its judged case, from 0 → its drawn answer, relative to the document.
    """
    lines, images = [f"# {escape(title)}", ""], images or {}
    drawn, level = images.get(evaluation.models[0].model, {}), "##"
    for section in sections_of(evaluation, of_each=True):
        if section.model:
            lines += [f"## {escape(section.model)}", ""]
            drawn, level = images.get(section.model, {}), "###"
        if section.rows:
            columns = range(len(section.columns))
            lines.append("| " + " | ".join(map(escape, section.columns)) + " |")
            lines.append("|" + "".join("---|" if n in section.left else "---:|" for n in columns))
            lines += ["| " + " | ".join((escape(row[0]).strip(), *row[1:])) + " |" for row in section.rows]
            lines.append("")
        if not section.sentences:
            continue
        if section.title:
            lines += [f"{level} {section.title}", ""]
        for n, sentence in enumerate(section.sentences[:_MOST_LISTED]):
            lines.append(f"- {escape(sentence)}")
            image = drawn.get(section.images[n]) if section.images else None
            if image is not None:
                lines += ["", f"  ![The answer drawn on its frame, and from above]({image})", ""]
        if len(section.sentences) > _MOST_LISTED:
            lines.append(f"- … and {len(section.sentences) - _MOST_LISTED} more")
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def show(sections: Iterable[ReportSection]) -> None:
    """Print tables that have rows, and sentences; columns are right-aligned but for those in `left`."""
    console = new_console()
    for section in sections:
        if section.model:
            console.print(f"{printable(section.model)}:")
        if section.rows:
            columns = [printable(column) for column in section.columns]
            table = new_table(columns, {columns[n] for n in section.left})
            for row in section.rows:
                table.add_row(*map(printable, row))
            console.print(table)
        for sentence in section.sentences:
            console.print(printable(f"{section.head}{sentence}"), style=section.tone or None)
