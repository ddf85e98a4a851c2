# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm audit`: lists an approval record, verifies it, and shows an approval as the person saw it."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import click

from spatial_vlm_ros.cli.group import ANSWERED, FAILED, json_option, print_json, say
from spatial_vlm_ros.cli.outputs import check_new_folder, force_option

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("record", type=_PATH)
@click.option("--goal", help="Check one proposal, given by its goal id or the start of it.")
@click.option("--out", type=_PATH, metavar="FOLDER", help="Folder for a page that replays what was shown for --goal.")
@click.option(
    "--robot-description", default="", metavar="URDF", help="Recompute the path of the tip from the trajectories."
)
@force_option
@json_option
def audit(record: Path, goal: str | None, out: Path | None, robot_description: str, force: bool, as_json: bool) -> None:
    """List and verify the proposals in an approval RECORD.

    With --goal, one proposal is checked completely: each kept file against its hash, the plan against the approved
    hash, and the images against images drawn again from the motion. Exit code: 0 if every check passes, else 1.

    \b
    Examples:
      spatial-vlm audit ~/.local/state/spatial_vlm_ros/audit.jsonl
      spatial-vlm audit audit.jsonl --goal 3f0c --out shown/     # then open shown/index.html
    """
    from spatial_vlm_ros.recording import approval_replay

    if out is not None and goal is None:
        raise click.UsageError("--out shows one proposal; choose it with --goal")
    check_new_folder(force, "out", out, approval_replay.is_page_file)
    chosen = approval_replay.proposals(record) if goal is None else (approval_replay.proposal_in(record, goal),)
    whole = True
    for proposal in chosen:
        if goal is None:
            files, checks = approval_replay.files_in(record, proposal)
        else:
            files, checks = approval_replay.check_proposal(record, proposal, robot_description)
        holds = all(check.holds for check in checks)
        whole &= holds
        if as_json:
            events = [line["event"] for line in proposal.events]
            told = {"goal_id": proposal.goal_id, "sentence": proposal.content["sentence"], "events": events}
            print_json({**told, "holds": holds, "checks": [dataclasses.asdict(check) for check in checks]})
        else:
            when = proposal.events[0]["utc"]
            say(f"{when}  {proposal.goal_id}  {proposal.ended:16} {proposal.content['sentence']!r}")
            for check in checks:
                if goal is not None or not check.holds:
                    words = f": {check.words}" if check.words else ""
                    say(f"  {'ok    ' if check.holds else 'FAILED'}  {check.what}{words}")
        if out is not None:
            page = approval_replay.write_page(out, proposal, files, checks, force=force)
            say(f"  written: {page}", err=True)
    if not as_json and goal is None:
        complete = f"{len(chosen)} proposals; the record is complete"
        say(complete if whole else "files beside the record do not match it")
    sys.exit(ANSWERED if whole else FAILED)
