# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm evidence`: lists the decisions that a node has stored, and makes tests of them. Loaded when called."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spatial_vlm_ros.cli.group import ANSWERED, FAILED, FILE, FOLDER, json_option, print_json, say
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.documents import LARGEST_YAML
from spatial_vlm_ros.files.reading import read_bytes
from spatial_vlm_ros.files.writing import write_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spatial_vlm_ros.evaluation.evidence.bundle import EvidenceRecord

_PARAMETERS = "resolver.yaml"
_LONGEST = 100  # most characters of a reason in a line


@click.group()
def evidence() -> None:
    """Inspect kept decisions, and turn them into tests.

    A node keeps decisions as evidence bundles if evidence.keep is set.

    \b
    Examples:
      spatial-vlm evidence list
      spatial-vlm replay BUNDLE --out answer.png
      spatial-vlm evidence keep-as-test BUNDLE --out tests/field --status OK --id d2
      spatial-vlm evaluate --frames tests/field --config tests/field/resolver.yaml
    """


@evidence.command("list")
@click.argument("folder", type=FOLDER, required=False)
@json_option
def list_bundles(folder: Path | None, as_json: bool) -> None:
    """List the bundles of FOLDER, oldest first.

    Each line has time, status, words and reason. FOLDER is ~/.local/state/spatial_vlm_ros/evidence by default. Exit
    code: 1 if a bundle is damaged, else 0.
    """
    from spatial_vlm_ros.evaluation.evidence.bundle import read_record
    from spatial_vlm_ros.evaluation.evidence.store import bundles_in, evidence_folder

    folder, damaged = folder or evidence_folder(""), 0
    found = bundles_in(folder)
    for path in found:
        try:
            record = read_record(path)
            print_json({"file": str(path), **_facts(record)}) if as_json else _show(path, record)
        except FileError as error:
            damaged += 1
            print_json({"file": str(path), "error": str(error)}) if as_json else say(f"{path.name}: {error}")
    if not as_json:
        size = sum(path.stat().st_size for path in found if path.exists())
        say(f"{len(found)} bundle{'' if len(found) == 1 else 's'}, {size / 1e6:.1f} MB, in {folder}")
        others = len({*folder.glob("*.mcap")} - {*found})
        if others:
            say(
                f"not shown: {others} .mcap files that are not named like bundles; if it is a renamed bundle, pass its "
                "path to `replay`",
                err=True,
            )
    sys.exit(FAILED if damaged else ANSWERED)


@evidence.command("keep-as-test")
@click.argument("bundles", type=FILE, nargs=-1, required=True)
@click.option("--out", type=FOLDER, required=True, help="Folder for the cases; created if missing.")
@click.option("--status", metavar="STATUS", help="Expected outcome, such as OK or AMBIGUOUS.")
@click.option(
    "--id", "id_", metavar="ID", help="Id of the right detection; implies --status OK. Needs exactly one bundle."
)
@click.option("--as-answered", is_flag=True, help="Take the recorded answer as the right one.")
@json_option
def keep_as_test(bundles: tuple[Path, ...], out: Path, status: str | None, id_: str | None, as_answered: bool,
                 as_json: bool) -> None:  # fmt: skip
    """Write BUNDLES as test cases for `evaluate --frames`.

    The parameters of the decision are written beside them. Without --status, --id or --as-answered the cases have no
    expected result: add "expect" to cases.jsonl, by hand or with `spatial-vlm label`. Exit code: 0 once the cases are
    written, whether or not the current answers are right.

    \b
    Example:
      spatial-vlm evidence keep-as-test BUNDLE --out tests/field --status OK --id d2
    """
    from spatial_vlm_ros.evaluation.evidence import cases
    from spatial_vlm_ros.evaluation.evidence.bundle import read_bundle
    from spatial_vlm_ros.types import Status

    if as_answered and (status is not None or id_ is not None):
        raise click.UsageError("--as-answered sets the expected outcome; omit --status and --id")
    if id_ is not None and len(bundles) > 1:
        raise click.UsageError("--id needs exactly one bundle, because detection ids belong to one bundle")
    if status is not None and status not in Status.__members__:
        raise click.UsageError(f"unknown status {status!r}. Choose one of: {', '.join(Status.__members__)}")
    if id_ is not None and status not in (None, Status.OK.value):
        raise click.UsageError(f"--id names the object of an OK answer, but --status is {status}; omit one of them")
    read = [read_bundle(path) for path in bundles]
    for bundle in read:  # check all before writing the first
        cases.check_keepable(bundle, out)
    parameters, differing = cases.parameters_of(read)
    for n, bundle in enumerate(read):
        right = None if status is None else Status[status]
        case = cases.keep_as_test(bundle, out, right, id_, as_answered)
        if n == 0:  # at once, so that the first cases can be evaluated even if later ones fail
            _write_parameters(out / _PARAMETERS, parameters, differing)
        is_right = case.is_right
        if as_json:
            print_json({"frame": case.frame, "instruction": case.instruction, "expect": case.expect,
                        "then": case.then.status.value, "now": case.now.status.value, "right": is_right})  # fmt: skip
        else:
            state = "the right outcome is not known" if is_right is None else "passes" if is_right else "fails"
            words = f"{case.then.status.value} then, {case.now.status.value} now: {state}"
            say(f"{out / case.frame}: {case.instruction!r}: {words}")
    say(f"next: spatial-vlm evaluate --frames {out} --config {out / _PARAMETERS}", err=True)


def _facts(record: EvidenceRecord) -> dict[str, Any]:
    answer = record.answer
    return {
        "utc": record.utc, "status": answer.status.value, "instruction": record.instruction, "message": answer.message,
        "id": answer.target.id if answer.target is not None else None,
        "candidates": [{"id": c.id, "label": c.label, "probability": c.probability} for c in answer.candidates],
        "frame": record.frame, "node": record.node, "model": None if record.model is None else record.model.name,
        "model_sha256": None if record.model is None else record.model.sha256_all, "versions": record.versions,
    }  # fmt: skip


def _show(path: Path, record: EvidenceRecord) -> None:
    answer = record.answer
    reason = answer.message if len(answer.message) <= _LONGEST else answer.message[: _LONGEST - 3] + "..."
    say(f"{record.utc[:19]}Z  {answer.status.value:20} {record.instruction!r}: {reason}")
    say(f"  {path}")


def _yaml_lines(values: dict[str, Any], indent: int) -> Iterator[str]:
    """Format parameter groups as YAML; text is quoted, so that it is not read as another type."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield f"{' ' * indent}{name}:"
            yield from _yaml_lines(value, indent + 2)
            continue
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, float) and "e" in text and "." not in text:  # YAML 1.1 reads 1e-05 as text
            text = text.replace("e", ".0e")
        yield f"{' ' * indent}{name}: {text}"


def _write_parameters(path: Path, parameters: dict[str, Any], differing: tuple[str, ...]) -> None:
    """Write the bundles' parameters for `evaluate --config`; an existing file that differs is kept."""
    if differing:
        say(f"the bundles differ in {', '.join(differing)}: `evaluate` uses the parameters of the first one", err=True)
    text = "\n".join(["/**:", "  ros__parameters:", *_yaml_lines(parameters, 4)]) + "\n"
    there = read_bytes(path, "remove it, then run keep-as-test again", LARGEST_YAML) if path.exists() else None
    if there is None:
        write_text(path, text)
    elif there != text.encode():
        say(f"{path} is unchanged: this bundle was answered with other parameters", err=True)
