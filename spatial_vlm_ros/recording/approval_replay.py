# SPDX-License-Identifier: Apache-2.0
"""Reconstructs an approval from its record: what was shown and decided, and whether the parts are consistent.

Needs only the record and the folder of files beside it, no ROS and no robot. See docs/approval.md.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from spatial_vlm_ros.budgets import LONGEST_LINE
from spatial_vlm_ros.errors import FileError, InputError, SpatialVlmError, UnknownNameError
from spatial_vlm_ros.files.reading import read_bytes, read_lines
from spatial_vlm_ros.files.writing import new_folder, write_bytes, write_text
from spatial_vlm_ros.manipulation.approval.audit import files_of, verify
from spatial_vlm_ros.manipulation.approval.proposal import Phase
from spatial_vlm_ros.manipulation.arm_kinematics import kinematics_of
from spatial_vlm_ros.manipulation.planned_motion import PlannedMotion
from spatial_vlm_ros.output.plan_images import draw_on_scene, draw_plan_view, motion_from, png, same_pixels
from spatial_vlm_ros.recording.frame_folder import decode_json
from spatial_vlm_ros.web import STATIC, templates_of

_APPROVAL = Path(__file__).resolve().parent.parent / "manipulation" / "approval"
_OF_PREVIEW = ("above", "side", "scene", "motion", "plan")
_SAME_PLACE = 1e-4  # metres: kept positions are rounded to 1e-5
_RECORD = "pass the record that the planner gate wrote"
_LARGEST = 64 * 1024 * 1024  # bytes of a kept file
_PREVIEW = msgspec.defstruct("_Preview", [("phases", list[Phase], [])])
_TOLD = [("goal_id", str), ("sentence", str), ("plan_hash", str), ("scene_stamp_ns", int), ("answered", str | None)]
_WORDS = [(name, str, "") for name in ("answer", "seen_from", "target_label", "target_id")]
_SHOWN: list[tuple[str, Any, Any]] = [("warnings", list[str], []), ("preview", _PREVIEW | None, None)]
_CONTENT = msgspec.defstruct("_Content", [*_TOLD, *_WORDS, *_SHOWN])
_LINE = msgspec.defstruct("_Line", [("event", str), ("utc", str), ("goal_id", str | None, None)])
_PROPOSED = msgspec.defstruct("_Proposed", [("content", _CONTENT)], bases=(_LINE,), kw_only=True)


@dataclass(frozen=True)
class RecordCheck:
    """Result of one check of a record."""

    what: str
    holds: bool
    words: str = ""


@dataclass(frozen=True)
class ProposalRecord:
    """A proposal in a record, with its events in their order."""

    content: dict[str, Any]
    events: tuple[dict[str, Any], ...]

    @property
    def goal_id(self) -> str:
        """UUID of the goal."""
        return str(self.content["goal_id"])

    @property
    def ended(self) -> str:
        """The last event."""
        return str(self.events[-1]["event"])

    def kept(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the content type of each kept file, and its entry in the record."""
        preview = self.content.get("preview") or {}
        entries = [("camera", self.content.get("picture")), *((name, preview.get(name)) for name in _OF_PREVIEW)]
        yield from ((name, entry) for name, entry in entries if isinstance(entry, dict))


def proposals(record: str | Path) -> tuple[ProposalRecord, ...]:
    """All proposals of a record, oldest first."""
    cut_short = verify(record).cut_short
    found: dict[str, ProposalRecord] = {}
    for number, raw in read_lines(record, _RECORD, LONGEST_LINE):
        if number in cut_short:
            continue
        line = json.loads(raw)
        is_new = line.get("event") == "PROPOSED"
        decode_json(raw, _PROPOSED if is_new else _LINE, record, f"line {number}", _RECORD)
        goal = line["content"]["goal_id"] if is_new else line.get("goal_id")
        if is_new:
            found[goal] = ProposalRecord(line["content"], found[goal].events if goal in found else ())
        if goal in found:
            event = {key: value for key, value in line.items() if key != "content"}
            found[goal] = replace(found[goal], events=(*found[goal].events, event))
    return tuple(found.values())


def proposal_in(record: str | Path, goal_id: str) -> ProposalRecord:
    """Find a proposal of a record by its goal id or the first characters of it."""
    found = proposals(record)
    fitting = [one for one in found if one.goal_id.startswith(goal_id)]
    if len(fitting) != 1:
        raise UnknownNameError("goal", goal_id, [one.goal_id for one in (fitting or found)])
    return fitting[0]


def files_in(record: str | Path, proposal: ProposalRecord) -> tuple[dict[str, bytes], list[RecordCheck]]:
    """Read the kept files with the recorded hashes, by content type, and a check of each."""
    files, checks = {}, []
    for name, entry in proposal.kept():
        what = f"file of the {name} is as recorded"
        if not isinstance(entry.get("file"), str):
            checks.append(RecordCheck(what, False, "the record names no file: it was written before files were kept"))
            continue
        path = files_of(record) / Path(entry["file"]).name
        try:
            data = read_bytes(path, "restore it from a copy", _LARGEST)
        except FileError as error:
            checks.append(RecordCheck(what, False, str(error)))
            continue
        same = hashlib.sha256(data).hexdigest() == entry.get("sha256")
        checks.append(RecordCheck(what, same, path.name if same else f"{path.name} was changed"))
        if same:
            files[name] = data
    return files, checks


def check_proposal(
    record: str | Path, proposal: ProposalRecord, robot_description: str = ""
) -> tuple[dict[str, bytes], list[RecordCheck]]:
    """Reconstruct a proposal and check that its parts agree; with a URDF, the path of the tip, too."""
    files, checks = files_in(record, proposal)
    content = proposal.content
    decided = [line for line in proposal.events if line["event"] in ("APPROVED", "EXECUTION_BEGUN")]
    if decided:
        keys = ("goal_id", "scene_stamp_ns", "plan_hash")
        named = all(line.get(key) == content[key] for line in decided for key in keys)
        checks.append(RecordCheck("approval and execution name this goal, image and plan", named))
    if "plan" in files:
        same = hashlib.sha256(files["plan"]).hexdigest() == content["plan_hash"]
        checks.append(RecordCheck("the plan has the hash that was approved", same))
    if "motion" in files:
        try:
            motion = motion_from(files["motion"])
        except InputError as error:
            del files["motion"]
            return files, [*checks, RecordCheck("the motion is readable", False, str(error))]
        wanted = (content["plan_hash"], content["scene_stamp_ns"], content["answered"] or content["sentence"])
        same = (motion.plan_hash, motion.stamp_ns, motion.instruction) == wanted
        checks.append(RecordCheck("the motion belongs to this plan, image and instruction", same))
        for name in ("above", "side", "camera"):
            if name not in files:
                continue
            what = f"the image {name} matches the drawing of the motion"
            try:
                if name == "camera":
                    redrawn = draw_on_scene(motion, files.get("scene", b""))
                else:
                    redrawn = draw_plan_view(motion, "above" if name == "above" else "side")
            except InputError as error:
                checks.append(RecordCheck(what, False, str(error)))
            else:
                checks.append(RecordCheck(what, same_pixels(png(redrawn), files[name])))
        if robot_description and "plan" in files:
            checks.append(_of_arm(files["plan"], motion, robot_description))
    return files, checks


def _of_arm(plan: bytes, motion: PlannedMotion, robot_description: str) -> RecordCheck:
    """Check the path of the tip against the trajectories, with a description of the arm."""
    what = "the path of the tip matches the plan's trajectories"
    try:
        steps = json.loads(plan)["steps"]
        trajectories = [step["trajectory"] for step in steps if step["trajectory"] is not None]
        if not trajectories:  # the hand opens where it is
            return RecordCheck(what, not motion.tip_path, f"0 waypoints, of {len(motion.tip_path)} points")
        if not motion.tip_link:
            return RecordCheck(what, False, "the motion names no link of the arm as its tip")
        names = trajectories[0]["joint_names"]
        arm = kinematics_of(robot_description, motion.frame_id, motion.tip_link, names)
        way = [arm.poses(dict(zip(t["joint_names"], row, strict=True)))[1][:3, 3]
               for t in trajectories for row in t["positions"]]  # fmt: skip
    except (SpatialVlmError, ValueError, LookupError, TypeError, RecursionError) as error:
        return RecordCheck(what, False, str(error))
    if len(way) != len(motion.tip_path):
        return RecordCheck(what, False, f"{len(motion.tip_path)} points, of {len(way)} waypoints")
    off = max((math.dist(one, other) for one, other in zip(way, motion.tip_path, strict=True)), default=0.0)
    return RecordCheck(what, off < _SAME_PLACE, f"{len(way)} waypoints, at most {off * 1000:.3f} mm off")


def write_page(
    folder: str | Path,
    proposal: ProposalRecord,
    files: dict[str, bytes],
    checks: Sequence[RecordCheck],
    *,
    force: bool = False,
) -> Path:
    """Write a page that shows and plays a proposal, with its files beside it; it needs no server."""
    templates = templates_of(_APPROVAL / "templates")
    templates.filters["line"] = lambda words: "".join(c if c.isprintable() else "\ufffd" for c in str(words))
    kept, static = dict(proposal.kept()), _APPROVAL / "static"
    content: Any = msgspec.convert(proposal.content, _CONTENT)
    names = {name: f"{name}{Path(str(kept[name]['file'])).suffix}" for name in files}
    shown = {name: names.get(name, "") for name in ("camera", *_OF_PREVIEW)} if "motion" in files else None
    text = templates.get_template("record.html.j2").render(
        content=content,
        preview=content.preview,
        shown=shown,
        events=[{"operator": "", "outcome": "", "reason": "", **line} for line in proposal.events],
        checks=checks,
        css=STATIC["base.css"].read_text(encoding="utf-8") + (static / "page.css").read_text(encoding="utf-8"),
        player=(static / "player.js").read_text(encoding="utf-8"),
        # In a script element "<" could end it; in JSON it only occurs in strings.
        motion_json=files.get("motion", b"").decode("ascii").replace("<", "\\u003c"),
    )
    with new_folder(folder, force=force, ours=is_page_file) as unfinished:
        for name, data in files.items():
            write_bytes(unfinished / names[name], data, sync=False)
        write_text(unfinished / "index.html", text, sync=False)
    return Path(folder) / "index.html"


def is_page_file(path: Path) -> bool:
    """Whether a path is a file that `write_page` writes."""
    return path.name == "index.html" or path.stem in ("camera", *_OF_PREVIEW)
