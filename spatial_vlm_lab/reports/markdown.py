# SPDX-License-Identifier: Apache-2.0
"""An evaluation as GitHub-flavoured Markdown: models beside each other, then each of them by itself."""

from __future__ import annotations

import re
from collections.abc import Mapping

from spatial_vlm_lab.reports.sections import sections_of
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
