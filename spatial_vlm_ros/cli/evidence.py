# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm evidence`: lists the decisions that a node has stored; the lab adds what makes tests of them."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from spatial_vlm_ros.cli.group import ANSWERED, FAILED, FOLDER, PLUG_INS, Group, json_option, print_json, say
from spatial_vlm_ros.errors import FileError

_LONGEST = 100  # most characters of a reason in a line


@click.group(cls=Group, plug_ins=f"{PLUG_INS}.evidence")
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
    from spatial_vlm_ros.recording.evidence.bundle import bundles_in, evidence_folder, read_record

    folder, damaged = folder or evidence_folder(""), 0
    found = bundles_in(folder)
    for path in found:
        try:
            record = read_record(path)
            answer, model = record.answer, record.model
            if as_json:
                print_json({
                    "file": str(path), "utc": record.utc, "status": answer.status.value,
                    "instruction": record.instruction, "message": answer.message,
                    "id": answer.target.id if answer.target is not None else None,
                    "candidates": [
                        {"id": c.id, "label": c.label, "probability": c.probability} for c in answer.candidates
                    ],
                    "frame": record.frame, "node": record.node, "model": None if model is None else model.name,
                    "model_sha256": None if model is None else model.sha256_all, "versions": record.versions,
                })  # fmt: skip
                continue
            reason = answer.message
            reason = reason if len(reason) <= _LONGEST else reason[: _LONGEST - 3] + "..."
            say(f"{record.utc[:19]}Z  {answer.status.value:20} {record.instruction!r}: {reason}")
            say(f"  {path}")
        except FileError as error:
            damaged += 1
            print_json({"file": str(path), "error": str(error)}) if as_json else say(f"{path.name}: {error}")
    if not as_json:
        size = sum(path.stat().st_size for path in found if path.exists())
        say(f"{len(found)} bundle{'' if len(found) == 1 else 's'}, {size / 1e6:.1f} MB, in {folder}")
        others = len({*folder.glob("*.mcap")} - {*found})
        if others:
            renamed = "if it is a renamed bundle, pass its path to `replay`"
            say(f"not shown: {others} .mcap files that are not named like bundles; {renamed}", err=True)
    sys.exit(FAILED if damaged else ANSWERED)
