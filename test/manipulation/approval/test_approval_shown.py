# SPDX-License-Identifier: Apache-2.0
"""What is approved is what is shown: else it cannot be approved; and what was shown can be put together again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import planned_offer
import pytest
from click.testing import CliRunner
from planned_offer import CONFIG

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.errors import AuditError, InputError, RejectedError, UnknownNameError
from spatial_vlm_ros.evaluation.approval_replay import check_proposal, proposal_in, proposals, write_page
from spatial_vlm_ros.manipulation.approval.audit import files_of
from spatial_vlm_ros.manipulation.approval.proposal import Preview, Proposal
from spatial_vlm_ros.manipulation.approval.view import ApprovalStage
from spatial_vlm_ros.manipulation.builtin_planner.robot import description_file
from spatial_vlm_ros.manipulation.occupancy.measuring import Occupancy
from spatial_vlm_ros.manipulation.occupancy.voxels import voxels_at
from spatial_vlm_ros.manipulation.pick_sequence import Offer
from spatial_vlm_ros.manipulation.planned_motion import PlannedMotion, planned_motion
from spatial_vlm_ros.nodes.arm.proposals import proposal_of, shown_plan
from spatial_vlm_ros.output.plan_images import draw_on_scene, draw_plan_view, motion_from, plan_eye
from spatial_vlm_ros.types import CHOSEN_BY_MODEL

for package in ("pinocchio", "coal", "ompl", "daqp", "msgspec"):
    pytest.importorskip(package)

GOAL = "00000000-0000-4000-8000-000000000001"


def proposed(description: str = "", offer: Offer | None = None) -> Proposal:
    return proposal_of(GOAL, offer or planned_offer.offer(), 60.0, CONFIG, description)


def seen_as(offer: Offer, **changed: Any) -> Offer:
    """With other surroundings."""
    assert offer.seen.surroundings is not None
    around = dataclasses.replace(offer.seen.surroundings, **changed)
    return dataclasses.replace(offer, seen=dataclasses.replace(offer.seen, surroundings=around))


@pytest.fixture(scope="module")
def shown() -> Proposal:
    """The proposal of a real plan, with all that is drawn."""
    return proposed(str(description_file()))


@pytest.fixture(scope="module")
def motion(shown: Proposal) -> PlannedMotion:
    assert shown.preview is not None
    assert shown.preview.motion is not None
    return motion_from(shown.preview.motion)


def preview_of(proposal: Proposal, **changed: Any) -> dict[str, Any]:
    assert proposal.preview is not None
    return {"preview": dataclasses.replace(proposal.preview, **changed)}


BARRED: dict[str, tuple[Callable[[Proposal], dict[str, Any]], str]] = {
    "no image": (lambda _: {"image": None, "image_missing": "the camera is off"}, "the camera is off"),
    "another stamp": (lambda p: {"image_stamp_ns": p.image_stamp_ns + 1}, "stamp differs"),
    "another instruction": (lambda _: {"image_instruction": "take the cup"}, "'take the cup'"),
    "no preview": (lambda _: {"preview": None}, "not shown"),
    "another plan": (lambda p: preview_of(p, plan=None, plan_hash="0" * 64), "another plan"),
    "another arm": (lambda p: preview_of(p, fault="it is another arm"), "it is another arm"),
    "a model": (lambda _: {"source": "model"}, "does not say that a model chose"),
}


@pytest.mark.parametrize("case", BARRED)
def test_what_is_not_shown_cannot_be_approved_but_rejected(office: Any, shown: Proposal, case: str) -> None:
    change, words = BARRED[case]
    proposal = dataclasses.replace(shown, **change(shown))
    office.broker.propose(proposal)
    with pytest.raises(RejectedError, match=words):
        office.broker.decide(office.says(proposal))
    assert office.broker.view.stage is ApprovalStage.PROPOSED
    assert office.records()[-1]["event"] == "REFUSED"
    assert words in office.records()[-1]["outcome"]
    office.broker.decide(office.says(proposal, approve=False))
    assert "APPROVED" not in office.events()


def test_what_a_model_chose_can_be_approved_where_that_is_said(office: Any, shown: Proposal) -> None:
    proposal = dataclasses.replace(shown, source="model", warnings=(f"{CHOSEN_BY_MODEL}.",))
    office.broker.propose(proposal)
    assert office.records()[-1]["content"]["source"] == "model"
    office.broker.decide(office.says(proposal))
    assert office.broker.view.stage is ApprovalStage.APPROVED


def test_an_image_belongs_to_the_answer_that_it_came_with() -> None:
    offer = planned_offer.offer()
    for image, words in (
        (None, "the resolver sent none"),
        (planned_offer.image(instruction="take the cup"), "another instruction: 'take the cup'"),
        (planned_offer.image(stamp_ns=planned_offer.STAMP - 1), "its stamp differs"),
        (dataclasses.replace(planned_offer.image(), width=320), "640 x 480"),
        (dataclasses.replace(planned_offer.image(), jpeg="AAAA"), "no image"),
        (dataclasses.replace(planned_offer.image(), jpeg=""), "no image"),
        (dataclasses.replace(planned_offer.image(), jpeg="?"), "base64"),
    ):
        made = proposed(offer=seen_as(offer, image=image))
        assert words in made.barred, made.barred
    assert proposed().barred == ""


def test_the_bytes_of_a_plan_have_its_hash_and_a_bad_description_is_told_before(shown: Proposal) -> None:
    with pytest.raises(InputError, match="bytes of another hash"):
        preview_of(shown, plan=b"{}")
    with pytest.raises(InputError, match="PNG or JPEG"):
        Preview("base", above=b"<svg/>")
    made = proposed("/nowhere/arm.urdf")
    assert made.preview is not None
    assert "no such file" in made.preview.missing
    assert "no such file" in made.warnings[0]
    assert made.barred == ""


def planned_only(offer: Offer, accept_unseen: bool = False, description: str = "") -> Proposal:
    return shown_plan(GOAL, offer, 60.0, CONFIG, description, accept_unseen)


EMPTY = voxels_at(np.zeros((0, 3), np.int32), 0.01)
SEEN_WAY = Occupancy(EMPTY, EMPTY, 1.0)


def test_a_plan_that_nobody_is_asked_about_is_drawn_as_one_that_somebody_is(shown: Proposal) -> None:
    seen = seen_as(planned_offer.offer(), occupancy=SEEN_WAY, all_objects=True)
    warnings = tuple(warning for warning in shown.warnings if "Only objects named" not in warning)
    assert planned_only(seen, description=str(description_file())) == dataclasses.replace(shown, warnings=warnings)


def test_a_plan_that_would_not_be_offered_is_drawn_and_says_why() -> None:
    offer = seen_as(planned_offer.offer(), occupancy=SEEN_WAY)
    unseen = "Only objects named in the instruction were detected; all others are known from depth alone"
    condition = "Such a plan is offered for approval only with accept_unseen_obstacles:=true"
    assert planned_only(offer).warnings[1:] == (f"{unseen}. {condition}",)
    assert planned_only(offer, accept_unseen=True).warnings[1:] == (unseen,)
    blind = planned_only(seen_as(offer, occupancy=None), accept_unseen=True)
    assert blind.warnings[0].startswith("This plan would not be offered for approval: ")
    assert "there is no depth of the way" in blind.warnings[0]
    # A wall where the hand passes.
    cells = np.argwhere(np.ones((4, 40, 40), bool)) + np.array((42, -30, 2))
    blocked = Occupancy(voxels_at(cells.astype(np.int32), 0.01), EMPTY, 1.0)
    walled = dataclasses.replace(offer, scene=dataclasses.replace(offer.scene, occupancy=blocked))
    made = planned_only(walled, accept_unseen=True, description=str(description_file()))
    assert "into an object without a name" in made.warnings[0]
    assert made.preview is not None
    assert made.preview.motion is not None


def test_both_views_have_one_scale_and_show_everything(motion: PlannedMotion) -> None:
    above, side = plan_eye(motion, "above"), plan_eye(motion, "side")
    assert above.metres_to_pixels == side.metres_to_pixels
    target = np.array([next(box for box in motion.boxes if box.role == "target").solid.centre])
    for eye, right, up in ((above, (0, -0.1, 0), (0.1, 0, 0)), (side, (0.1, 0, 0), (0, 0, 0.1))):
        at, to_right, higher = (eye.see(target + step)[0][0] for step in ((0, 0, 0), right, up))
        assert to_right - at == pytest.approx((0.1 * eye.metres_to_pixels, 0.0), abs=1e-6)
        assert higher - at == pytest.approx((0.0, -0.1 * eye.metres_to_pixels), abs=1e-6)
        pixels, _ = eye.see(np.array(motion.tip_path))
        assert (pixels >= 0).all()
        assert (pixels <= (640, eye.height)).all()


def test_what_moves_is_drawn_where_it_is(motion: PlannedMotion) -> None:
    """Pixels that differ when the arm alone is taken out lie on its links, and every link has some."""
    assert motion.camera is not None
    empty = dataclasses.replace(motion, links=(), frames=tuple(dataclasses.replace(f, links=()) for f in motion.frames))
    scene = cv2.imencode(".jpg", np.full((480, 640, 3), 200, np.uint8))[1].tobytes()
    differs = (draw_on_scene(motion, scene) != draw_on_scene(empty, scene)).any(axis=2)
    assert differs.mean() > 0.05
    fx, fy, cx, cy = motion.camera.intrinsics
    x, y, z = motion.frames[-1].target[:3]  # a camera at (0.45, 0, 1.3) that looks down, its x along the frame's x
    u, v = fx * (x - 0.45) / (1.3 - z) + cx, fy * -y / (1.3 - z) + cy
    hand = differs[int(v) - 20 : int(v) + 20, int(u) - 20 : int(u) + 20]
    assert hand.mean() > 0.5  # the hand is over its place when it lets go
    assert not differs[440:, :120].any()  # where the arm never is
    assert np.array_equal(draw_plan_view(motion, "side"), draw_plan_view(motion, "side"))


CELLS = np.random.default_rng(3).integers((25, 5, 0), (60, 45, 20), (400, 3))


def test_obstacles_without_a_name_are_in_a_few_boxes_that_are_drawn() -> None:
    offer = planned_offer.offer()
    blocks = voxels_at(CELLS, 0.01)
    occupied = dataclasses.replace(offer.scene, occupancy=Occupancy(blocks, voxels_at(CELLS[:50] + 1, 0.01), 0.9))
    bare = planned_motion(offer, CONFIG, None)
    shown = planned_motion(dataclasses.replace(offer, scene=occupied), CONFIG, None)
    boxes = [box for box in shown.boxes if box.role == "occupied"]
    assert 1 <= len(boxes) <= 40
    assert {box.role for box in shown.boxes} - {box.role for box in bare.boxes} == {"occupied", "unseen"}
    held = np.zeros(len(blocks), bool)
    for box in boxes:
        away = np.abs(blocks.centres() - box.solid.centre)
        held |= (away <= np.array(box.solid.size) / 2).all(axis=1)
    assert held.all()
    assert [box.label for box in boxes if box.label] == ["without a name"]
    assert motion_from(shown.data()) == shown
    surroundings = offer.seen.surroundings
    assert surroundings is not None
    assert surroundings.image is not None
    red = np.array((213, 94, 0))
    for draw in (lambda m: draw_plan_view(m, "above"), lambda m: draw_on_scene(m, surroundings.image.data)):
        before, after = draw(bare).astype(int), draw(shown).astype(int)
        changed = np.abs(before - after).sum(axis=2) > 20
        assert changed.sum() > 500
        nearer = np.abs(after - red).sum(axis=2) < np.abs(before - red).sum(axis=2)
        assert nearer[changed].mean() > 0.5
    assert plan_eye(bare, "above") == plan_eye(shown, "above"), "far obstacles do not make the view smaller"


@pytest.fixture
def record(office: Any, shown: Proposal) -> Path:
    """A proposal that was approved and carried out."""
    office.broker.propose(shown)
    decision = office.says(shown)
    office.broker.decide(decision)
    office.broker.begin(decision)
    office.broker.end(shown.goal_id, "done")
    return Path(office.audit.path)


def test_an_approval_is_put_together_again_from_files_for_its_owner_alone(record: Path, shown: Proposal) -> None:
    (only,) = proposals(record)
    assert (only.goal_id, only.ended) == (GOAL, "EXECUTION_ENDED")
    files, checks = check_proposal(record, only, str(description_file()))
    assert all(check.holds for check in checks), checks
    assert len(checks) == 6 + 7  # files; names, plan, motion, three images, the way of the tip
    assert files["camera"] == shown.image
    assert hashlib.sha256(files["plan"]).hexdigest() == shown.plan_hash
    assert proposal_in(record, GOAL[:8]) == only
    with pytest.raises(UnknownNameError):
        proposal_in(record, "f")
    folder = files_of(record)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    kept = list(folder.iterdir())
    assert sorted(path.suffix for path in kept) == [".jpg", ".json", ".json", ".png", ".png", ".png"]
    for path in kept:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("what", ["camera", "above", "side", "scene", "motion", "plan"])
def test_a_kept_file_that_was_changed_or_lost_shows(record: Path, what: str) -> None:
    entry = dict(proposals(record)[0].kept())[what]
    path = files_of(record) / entry["file"]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    runner = CliRunner()
    said = runner.invoke(main, ["audit", str(record), "--goal", GOAL])
    assert said.exit_code == 1
    assert f"FAILED  file of the {what} is as recorded" in said.output
    path.unlink()
    said = runner.invoke(main, ["audit", str(record), "--json"])
    assert said.exit_code == 1
    failed = [check["what"] for check in json.loads(said.stdout)["checks"] if not check["holds"]]
    assert failed == [f"file of the {what} is as recorded"]


def test_images_that_are_not_of_the_motion_show(office: Any, shown: Proposal) -> None:
    """A record that was made with other images: its files fit their hashes, and yet it does not hold."""
    assert shown.preview is not None
    office.broker.propose(dataclasses.replace(shown, **preview_of(shown, above=shown.preview.side)))
    _, checks = check_proposal(office.audit.path, proposals(office.audit.path)[0])
    assert [check.what for check in checks if not check.holds] == ["the image above matches the drawing of the motion"]


def test_the_command_lists_and_writes_a_page(record: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    listed = runner.invoke(main, ["audit", str(record)])
    assert listed.exit_code == 0, listed.output
    assert GOAL in listed.output
    assert "1 proposals; the record is complete" in listed.output
    written = runner.invoke(main, ["audit", str(record), "--goal", "0000", "--out", str(tmp_path / "shown")])
    assert written.exit_code == 0, written.output
    page = (tmp_path / "shown" / "index.html").read_text()
    assert 'src="camera.png"' in page
    assert (tmp_path / "shown" / "camera.png").stat().st_size > 10_000
    assert runner.invoke(main, ["audit", str(record), "--out", str(tmp_path)]).exit_code == 2
    assert runner.invoke(main, ["audit", str(tmp_path / "none")]).exit_code == 3


def test_words_of_a_record_do_not_become_markup(office: Any, shown: Proposal, tmp_path: Path) -> None:
    words = "</script><script>alert(1)</script>"
    assert shown.preview is not None
    assert shown.preview.motion is not None
    text = json.loads(shown.preview.motion)
    text["boxes"][0]["label"] = words
    changed = preview_of(shown, motion=json.dumps(text).encode())
    office.broker.propose(dataclasses.replace(shown, sentence=words, answered=shown.answered, **changed))
    only = proposals(office.audit.path)[0]
    files, checks = check_proposal(office.audit.path, only)
    page = write_page(tmp_path / "shown", only, files, checks).read_text()
    assert "<script>alert" not in page
    assert page.count("</script>") == 2


def test_what_cannot_be_kept_is_not_proposed(office: Any, shown: Proposal) -> None:
    files_of(office.audit.path).write_text("a file where the folder should be")
    with pytest.raises(AuditError, match="Make room"):
        office.broker.propose(shown)
    assert office.broker.view.stage is ApprovalStage.IDLE
    files_of(office.audit.path).unlink()
    office.broker.propose(shown)
    assert office.broker.view.stage is ApprovalStage.PROPOSED
    assert math.isfinite(office.broker.view.deadline)
