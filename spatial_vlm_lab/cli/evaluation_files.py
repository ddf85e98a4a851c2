# SPDX-License-Identifier: Apache-2.0
"""The files that `spatial-vlm evaluate` writes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from spatial_vlm_ros.cli.outputs import check_new, check_new_folder, check_no_input
from spatial_vlm_ros.files.folders import new_folder
from spatial_vlm_ros.files.writing import write_bytes, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spatial_vlm_lab.scoring.evaluation_outcome import EvaluationOutcome
    from spatial_vlm_lab.scoring.model_run import ModelRun
    from spatial_vlm_lab.scoring.rows import Row

_MOST_IMAGES = 300  # per model: a page with more images is slow in a browser
_FOLDER_FILES = {"out": "scores.json", "html": "report.html", "markdown": "report.md", "junit": "junit.xml"}


@dataclass
class ReportFiles:
    """The requested reports and their paths.

    Attributes:
        out: JSON report; None = not requested, also for the others.
        parquet: rows.
        force: whether existing files are replaced.
        rows: collected rows, one per case.
    """

    out: Path | None = None
    html: Path | None = None
    markdown: Path | None = None
    junit: Path | None = None
    parquet: Path | None = None
    force: bool = False
    rows: list[Row] = field(default_factory=list)

    @classmethod
    def of(
        cls, out: Path | None, html: Path | None, markdown: Path | None, junit: Path | None, parquet: Path | None,
        force: bool = False, beside: str = "",
    ) -> ReportFiles:  # fmt: skip
        """Make it from command-line options; an `out` without a suffix is a folder for all reports.

        Args:
            out: JSON report, or the folder.
            parquet: rows.
            force: whether existing reports are replaced.
        """
        named = {"out": out, "html": html, "markdown": markdown, "junit": junit}
        if out is not None and (out.is_dir() or not (out.suffix or out.exists())):  # /dev/stdout is not a folder
            if not force and out.is_dir() and any(one.name != beside for one in out.iterdir()):
                more = ", or --resume to continue an evaluation in shards" if beside else ""
                raise click.UsageError(f"--out {out}: the folder is not empty. Choose a new one, or pass --force{more}")
            named = {name: named[name] if name != "out" and named[name] else out / file
                     for name, file in _FOLDER_FILES.items()}  # fmt: skip
        return cls(named["out"], named["html"], named["markdown"], named["junit"], parquet, force)

    def check_new(self) -> None:
        """Check before a long run that no report exists yet, unless it may be replaced."""
        check_new(self.force, out=self.out, html=self.html, markdown=self.markdown, junit=self.junit,
                  parquet=self.parquet)  # fmt: skip
        if self.markdown is not None:
            check_new_folder(self.force, "markdown", _images_beside(self.markdown), _is_failure_image)

    def check_no_input(self, inputs: Iterable[Path | str | None]) -> None:
        """Check that no report replaces an input file."""
        check_no_input(inputs, out=self.out, html=self.html, markdown=self.markdown, junit=self.junit,
                       parquet=self.parquet)  # fmt: skip

    def check_installed(self) -> None:
        """Check before a long run that the packages for the reports are installed."""
        from spatial_vlm_lab.reports import report
        from spatial_vlm_lab.scoring import rows

        report.check_installed(html=self.html is not None, junit=self.junit is not None)
        if self.parquet is not None:
            rows.check_installed()

    def wants_image(self, already: int) -> bool:
        """Whether to show another failure image if a model already has `already` images."""
        return (self.html is not None or self.markdown is not None) and already < _MOST_IMAGES

    def note_row(self, row: Row) -> None:
        """Store a row if rows are requested."""
        if self.parquet is not None:
            self.rows.append(row)

    def write(self, evaluation: EvaluationOutcome, runs: Sequence[ModelRun], title: str) -> None:
        """Write all reports."""
        from spatial_vlm_lab.reports.junit import junit_suites
        from spatial_vlm_lab.reports.markdown_evaluation import markdown_evaluation
        from spatial_vlm_lab.reports.report import evaluation_page
        from spatial_vlm_lab.scoring.evaluation_outcome import evaluation_json
        from spatial_vlm_lab.scoring.rows import write_rows

        if self.out is not None:
            text = json.dumps(evaluation_json(evaluation), ensure_ascii=False, allow_nan=False)
            write_text(self.out, text + "\n", force=self.force)
        if self.html is not None:
            write_text(self.html, evaluation_page(evaluation, runs, title), force=self.force)
        if self.markdown is not None:
            images = _write_images(self.markdown, runs, self.force)
            write_text(self.markdown, markdown_evaluation(evaluation, title, images), force=self.force)
        if self.junit is not None:
            name = f"spatial-vlm evaluate {title.removeprefix('Evaluation of ')}"
            write_text(self.junit, junit_suites(runs, name), force=self.force)
        if self.parquet is not None:
            write_rows(self.parquet, self.rows, force=self.force)


def _images_beside(document: Path) -> Path:
    """Folder of a document's images."""
    return document.with_name(document.stem + "_images")


def _is_failure_image(path: Path) -> bool:
    return path.suffix == ".jpg" and path.stem.rpartition("_")[2].isdecimal()


def _write_images(beside: Path, runs: Sequence[ModelRun], force: bool) -> Mapping[str, Mapping[int, str]]:
    """Write failure images into a folder beside a document; returns model → relative paths."""
    folder = _images_beside(beside)
    images = {f"{_head(run, runs)}{number + 1}.jpg": data for run in runs for number, data in run.images.items()}
    if images or folder.is_dir():
        with new_folder(folder, force=force, ours=_is_failure_image) as unfinished:
            for name, data in images.items():
                write_bytes(unfinished / name, data, sync=False)
    return {run.name: {n: f"{quote(folder.name)}/{_head(run, runs)}{n + 1}.jpg" for n in run.images} for run in runs}


def _head(run: ModelRun, runs: Sequence[ModelRun]) -> str:
    """Prefix of a model's image names, if there are several models."""
    return "".join(c if c.isalnum() and c.isascii() else "_" for c in run.name) + "_" if len(runs) > 1 else ""
