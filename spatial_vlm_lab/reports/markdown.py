# SPDX-License-Identifier: Apache-2.0
"""An evaluation as GitHub-flavoured Markdown: models beside each other, then each of them by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from spatial_vlm_lab.reports.sections import ReportSection, sections_of
from spatial_vlm_lab.scoring.outcome import EvaluationOutcome
from spatial_vlm_ros.printable import printable

_MARKS = re.compile(r"([\\`*_{}\[\]()#+!|~$@:.=^-])")
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})
_MOST_LISTED = 50  # sentences of a list; the rest is counted


def escape(text: str) -> str:
    """Escape text for one line of Markdown: no markup, HTML, links or terminal control characters."""
    # HTML as entities: a backslash before "<" is an escape in CommonMark, and not in every other kind of Markdown.
    return _MARKS.sub(r"\\\1", printable(text)).translate(_HTML)


def markdown_evaluation(
    evaluation: EvaluationOutcome, title: str, images: Mapping[str, Mapping[int, str]] | None = None
) -> str:
    """Everything that is said of an evaluation.

    Args:
        images: name of a model → number of its judged case, from 0 → its drawn answer, relative to the document.
    """
    lines, images = [f"# {escape(title)}", ""], images or {}
    drawn, level = images.get(evaluation.models[0].model, {}), "##"
    for section in sections_of(evaluation, of_each=True):
        if section.model:
            lines += [f"## {escape(section.model)}", ""]
            drawn, level = images.get(section.model, {}), "###"
        lines += _table(section)
        lines += _list(section, drawn, level)
    return "\n".join(lines).rstrip("\n") + "\n"


def _table(section: ReportSection) -> Iterator[str]:
    if section.rows:
        columns = range(len(section.columns))
        yield "| " + " | ".join(map(escape, section.columns)) + " |"
        yield "|" + "".join("---|" if n in section.left else "---:|" for n in columns)
        yield from ("| " + " | ".join((escape(row[0]).strip(), *row[1:])) + " |" for row in section.rows)
        yield ""


def _list(section: ReportSection, drawn: Mapping[int, str], level: str) -> Iterator[str]:
    """The sentences, each with the drawing of its case below it."""
    sentences = section.sentences
    if not sentences:
        return
    if section.title:
        yield f"{level} {section.title}"
        yield ""
    for n, sentence in enumerate(sentences[:_MOST_LISTED]):
        yield f"- {escape(sentence)}"
        image = drawn.get(section.images[n]) if section.images else None
        if image is not None:
            yield from ("", f"  ![The answer drawn on its frame, and from above]({image})", "")
    if len(sentences) > _MOST_LISTED:
        yield f"- … and {len(sentences) - _MOST_LISTED} more"
    yield ""
