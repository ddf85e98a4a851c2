# SPDX-License-Identifier: Apache-2.0
"""The files that `spatial-vlm evaluate` writes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from spatial_vlm_ros.cli.group import write_text
from spatial_vlm_ros.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spatial_vlm_ros.evaluation.evaluation_outcome import EvaluationOutcome
    from spatial_vlm_ros.evaluation.model_run import ModelRun
    from spatial_vlm_ros.evaluation.rows import Row

_MOST_IMAGES = 300  # of each model: a page of more takes a browser long to show
_FOLDER_FILES = {"out": "scores.json", "html": "report.html", "markdown": "report.md", "junit": "junit.xml"}


@dataclass
class ReportFiles:
    """Which reports are wanted, and where.

    Attributes:
        out: JSON; None = not wanted, as of the others.
        html: page.
        markdown: summary, with images beside it.
        junit: XML.
        parquet: rows.
        rows: grows with the cases.
    """

    out: Path | None = None
    html: Path | None = None
    markdown: Path | None = None
    junit: Path | None = None
    parquet: Path | None = None
    rows: list[Row] = field(default_factory=list)

    @classmethod
    def of(
        cls, out: Path | None, html: Path | None, markdown: Path | None, junit: Path | None, parquet: Path | None,
        beside: str = "", again: bool = False,
    ) -> ReportFiles:  # fmt: skip
        """The files of a command line; an `out` without an ending is a folder that takes all reports.

        Args:
            out: JSON, or the folder.
            html: page.
            markdown: summary.
            junit: XML.
            parquet: rows.
            beside: name of what the folder may hold already.
            again: whether reports that are there are replaced.

        Raises:
            FileError: the folder holds something already.
        """
        named = {"out": out, "html": html, "markdown": markdown, "junit": junit}
        if out is not None and (out.is_dir() or not out.suffix):
            if not again and out.is_dir() and any(one.name != beside for one in out.iterdir()):
                more = "; --resume goes on with an evaluation in shards" if beside else ""
                repair = f"name a new one, or empty it: no report is replaced{more}"
                raise FileError(out, "the folder is not empty", repair)
            named = {name: named[name] if name != "out" and named[name] else out / file
                     for name, file in _FOLDER_FILES.items()}  # fmt: skip
        return cls(named["out"], named["html"], named["markdown"], named["junit"], parquet)

    def check_installed(self) -> None:
        """See that what the reports need is there, before a long run.

        Raises:
            DependencyError: it is not installed.
        """
        from spatial_vlm_ros.evaluation import report, rows_file

        report.check_installed(html=self.html is not None, junit=self.junit is not None)
        if self.parquet is not None:
            rows_file.check_installed()

    def wants_image(self, already: int) -> bool:
        """Whether an image of a failure is shown, where a model has so many already."""
        return (self.html is not None or self.markdown is not None) and already < _MOST_IMAGES

    def note_row(self, row: Row) -> None:
        """Keep a row where rows are wanted."""
        if self.parquet is not None:
            self.rows.append(row)

    def write(self, evaluation: EvaluationOutcome, runs: Sequence[ModelRun], title: str) -> None:
        """Write all of them.

        Raises:
            FileError: a place cannot be written.
        """
        from spatial_vlm_ros.evaluation.evaluation_outcome import evaluation_json
        from spatial_vlm_ros.evaluation.junit import junit_suites
        from spatial_vlm_ros.evaluation.markdown_evaluation import markdown_evaluation
        from spatial_vlm_ros.evaluation.report import evaluation_page
        from spatial_vlm_ros.evaluation.rows_file import write_rows

        if self.out is not None:
            text = json.dumps(evaluation_json(evaluation), ensure_ascii=False, allow_nan=False)
            write_text(self.out, text + "\n")
        if self.html is not None:
            write_text(self.html, evaluation_page(evaluation, runs, title))
        if self.markdown is not None:
            images = {run.name: _write_images(self.markdown, run, len(runs) > 1) for run in runs}
            write_text(self.markdown, markdown_evaluation(evaluation, title, images))
        if self.junit is not None:
            write_text(self.junit, junit_suites(runs, f"spatial-vlm evaluate {title.removeprefix('Evaluation of ')}"))
        if self.parquet is not None:
            write_rows(self.parquet, self.rows)


def _write_images(beside: Path, run: ModelRun, is_one_of_several: bool) -> Mapping[int, str]:
    """Write images of failures into a folder beside a document; where they are, relative to it."""
    folder = beside.with_name(beside.stem + "_images")
    head = "".join(c if c.isalnum() and c.isascii() else "_" for c in run.name) + "_" if is_one_of_several else ""
    files = {number: f"{head}{number + 1}.jpg" for number in run.images}
    try:
        if run.images:
            folder.mkdir(parents=True, exist_ok=True)
        for number, data in run.images.items():
            (folder / files[number]).write_bytes(data)
    except OSError as error:
        raise FileError(folder, str(error), "choose a place that can be written") from error
    return {number: f"{quote(folder.name)}/{name}" for number, name in files.items()}
