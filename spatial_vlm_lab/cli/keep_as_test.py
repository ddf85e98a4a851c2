# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm evidence keep-as-test`: makes cases of decisions that a node has stored. Loaded when called."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from spatial_vlm_ros.cli.group import FILE, FOLDER, json_option, print_json, say
from spatial_vlm_ros.files.documents import LARGEST_YAML
from spatial_vlm_ros.files.reading import read_bytes
from spatial_vlm_ros.files.writing import write_text

_PARAMETERS = "resolver.yaml"


@click.command("keep-as-test")
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
    from spatial_vlm_lab.scoring import bundle_cases as cases
    from spatial_vlm_ros.recording.evidence.bundle import read_bundle
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
            if differing:
                named = ", ".join(differing)
                say(f"the bundles differ in {named}: `evaluate` uses the parameters of the first one", err=True)
            path = out / _PARAMETERS
            text = "\n".join(["/**:", "  ros__parameters:", *_yaml_lines(parameters, 4)]) + "\n"
            if not path.exists():
                write_text(path, text)
            elif read_bytes(path, "remove it, then run keep-as-test again", LARGEST_YAML) != text.encode():
                say(f"{path} is unchanged: this bundle was answered with other parameters", err=True)
        is_right = case.is_right
        if as_json:
            print_json({"frame": case.frame, "instruction": case.instruction, "expect": case.expect,
                        "then": case.then.status.value, "now": case.now.status.value, "right": is_right})  # fmt: skip
        else:
            state = "the right outcome is not known" if is_right is None else "passes" if is_right else "fails"
            words = f"{case.then.status.value} then, {case.now.status.value} now: {state}"
            say(f"{out / case.frame}: {case.instruction!r}: {words}")
    say(f"next: spatial-vlm evaluate --frames {out} --config {out / _PARAMETERS}", err=True)


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
