# SPDX-License-Identifier: Apache-2.0
"""What is approved is what is shown, can be put together again, and runs into nothing that was seen."""

import dataclasses
import hashlib
import itertools
import json
import math
import stat
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import planned_offer
import pytest
from click.testing import CliRunner
from planned_offer import CONFIG
from tables import tables

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.errors import AuditError, InputError, PlanningFailedError, RejectedError, UnknownNameError
from spatial_vlm_ros.manipulation.approval.audit import files_of
from spatial_vlm_ros.manipulation.approval.broker import ApprovalStage
from spatial_vlm_ros.manipulation.approval.proposal import Preview, Proposal
from spatial_vlm_ros.manipulation.arm_kinematics import ArmKinematics, kinematics_of
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import ARM_JOINTS, description_file
from spatial_vlm_ros.manipulation.occupancy.measuring import Occupancy
from spatial_vlm_ros.manipulation.occupancy.voxels import voxels_at
from spatial_vlm_ros.manipulation.pick_sequence import Offer
from spatial_vlm_ros.manipulation.plan_check import check_plan_clear
from spatial_vlm_ros.manipulation.planned_motion import PlannedMotion, fingers_at, planned_motion
from spatial_vlm_ros.manipulation.planning.planner import PlanStep, Trajectory
from spatial_vlm_ros.manipulation.planning.solids import Solid
from spatial_vlm_ros.nodes.arm.proposals import proposal_of, shown_plan
from spatial_vlm_ros.output.plan_images import draw_on_scene, draw_plan_view, motion_from, plan_eye
from spatial_vlm_ros.recording.approval_replay import check_proposal, proposal_in, proposals, write_page
from spatial_vlm_ros.types import CHOSEN_BY_MODEL

for package in ("pinocchio", "coal", "ompl", "daqp", "msgspec"):
    pytest.importorskip(package)

GOAL = "00000000-0000-4000-8000-000000000001"


def proposed(description: str = "", offer: Offer | None = None) -> Proposal:
    return proposal_of(GOAL, offer or planned_offer.offer(), 60.0, CONFIG, description)


def seen_as(offer: Offer, **changed: Any) -> Offer:
    around = dataclasses.replace(offer.seen.surroundings, **changed)
    return dataclasses.replace(offer, seen=dataclasses.replace(offer.seen, surroundings=around))


@pytest.fixture(scope="module")
def shown() -> Proposal:
    """The proposal of a real plan, with all that is drawn."""
    return proposed(str(description_file()))


@pytest.fixture(scope="module")
def motion(shown: Proposal) -> PlannedMotion:
    return motion_from(shown.preview.motion)


def preview_of(proposal: Proposal, **changed: Any) -> dict[str, Any]:
    return {"preview": dataclasses.replace(proposal.preview, **changed)}


@pytest.mark.parametrize(("changed", "words"), tables(__file__)["barred"])
def test_what_is_not_shown_can_only_be_rejected(office: Any, shown: Proposal, changed: Any, words: str) -> None:
    if isinstance(changed.get("preview"), dict):
        changed = preview_of(shown, **changed["preview"])
    proposal = dataclasses.replace(shown, **changed)
    office.broker.propose(proposal)
    with pytest.raises(RejectedError, match=words):
        office.broker.decide(office.says(proposal))
    assert office.broker.view.stage is ApprovalStage.PROPOSED
    record = office.records()[-1]
    assert (record["event"], words in record["outcome"]) == ("REFUSED", True)
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
    office.broker.propose(dataclasses.replace(shown, **preview_of(shown, above=shown.preview.side)))
    _, checks = check_proposal(office.audit.path, proposals(office.audit.path)[0])
    assert [check.what for check in checks if not check.holds] == ["the image above matches the drawing of the motion"]


@pytest.mark.parametrize("changed", tables(__file__)["spoilt"])
def test_a_motion_that_cannot_be_drawn_is_said(office: Any, shown: Proposal, tmp_path: Path, changed: Any) -> None:
    motion = json.dumps(json.loads(shown.preview.motion) | changed, ensure_ascii=False).encode()
    office.broker.propose(dataclasses.replace(shown, **preview_of(shown, motion=motion)))
    said = CliRunner().invoke(main, ["audit", str(office.audit.path), "--goal", GOAL, "--out", str(tmp_path / "shown")])
    assert said.exit_code == 1
    assert "FAILED  the motion is readable" in said.output


def test_the_command_lists_and_writes_a_page(record: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    listed = runner.invoke(main, ["audit", str(record)])
    assert listed.exit_code == 0, listed.output
    assert all(words in listed.output for words in (GOAL, "1 proposals; the record is complete"))
    written = runner.invoke(main, ["audit", str(record), "--goal", "0000", "--out", str(tmp_path / "shown")])
    assert written.exit_code == 0, written.output
    page = (tmp_path / "shown" / "index.html").read_text()
    assert 'src="camera.png"' in page
    assert (tmp_path / "shown" / "camera.png").stat().st_size > 10_000
    assert runner.invoke(main, ["audit", str(record), "--out", str(tmp_path)]).exit_code == 2
    assert runner.invoke(main, ["audit", str(tmp_path / "none")]).exit_code == 3


def test_words_of_a_record_do_not_become_markup(office: Any, shown: Proposal, tmp_path: Path) -> None:
    words = "</script><script>alert(1)</script>"
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


@pytest.fixture(scope="module")
def arm() -> ArmKinematics:
    return kinematics_of(str(description_file()), "panda_link0", CONFIG.motion.tip_link, ARM_JOINTS)


def occupied(offer: Offer, *middles: np.ndarray) -> Offer:
    """With a voxel of 1 cm around each place."""
    cells = np.floor(np.array(middles) / 0.01).astype(np.int32)
    scene = dataclasses.replace(offer.scene, occupancy=Occupancy(voxels_at(cells, 0.01), EMPTY, 1.0))
    return dataclasses.replace(offer, scene=scene)


def trajectory_of(offer: Offer, phase: str) -> Trajectory:
    return next(step.trajectory for step in offer.plan.steps if step.phase == phase)


def with_trajectory(offer: Offer, phase: str, trajectory: Trajectory) -> Offer:
    steps = tuple(PlanStep(s.phase, trajectory) if s.phase == phase else s for s in offer.plan.steps)
    return dataclasses.replace(offer, plan=dataclasses.replace(offer.plan, steps=steps))


def middle_of(arm: ArmKinematics, link: str, joints: dict[str, float], width: float = 0.08) -> np.ndarray:
    """The middle of a link's corners, planning frame."""
    number = list(arm.vertices).index(link)
    pose = arm.poses({**fingers_at(width, CONFIG), **joints})[0][number]
    corners = arm.vertices[link]
    return np.asarray(pose[:3, :3] @ ((corners.min(axis=0) + corners.max(axis=0)) / 2) + pose[:3, 3])


OFTEN = {("reach", "panda_link5"), ("approach", "panda_hand"), ("lift", "panda_leftfinger"), ("withdraw", "panda_hand")}


@pytest.mark.parametrize(
    ("phase", "link"),
    [
        pytest.param(phase, link, marks=[] if (phase, link) in OFTEN else pytest.mark.slow)
        for phase in ("reach", "approach", "lift", "carry", "lower", "withdraw")
        for link in ("panda_link5", "panda_hand", "panda_leftfinger")
    ],
)
def test_a_plan_through_an_object_without_a_name_is_refused(arm: ArmKinematics, phase: str, link: str) -> None:
    offer = planned_offer.offer()
    grasp = offer.goal.grasps[offer.plan.grasp]
    width = grasp.width if phase in ("lift", "carry", "lower") else grasp.opening
    middle = middle_of(arm, link, trajectory_of(offer, phase).end, width)
    there = middle + 0.01 * np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    with pytest.raises(PlanningFailedError, match=r"in phase '\w+' of its plan .* mm into an object without a name"):
        check_plan_clear(occupied(offer, *there), CONFIG, arm)


def test_what_is_held_may_not_pass_an_object_without_a_name_either(arm: ArmKinematics) -> None:
    offer = planned_offer.offer()
    middle = trajectory_of(offer, "carry")
    half = dict(zip(middle.joint_names, middle.positions[len(middle.positions) // 2], strict=True))
    below = arm.poses(half)[1][:3, 3] - (0.0, 0.0, 0.02)  # of the tip: between the fingers, and no part of the hand
    with pytest.raises(PlanningFailedError, match=r"'carry' of its plan block would run \d+ mm into an object without"):
        check_plan_clear(occupied(offer, below), CONFIG, arm)


def test_what_is_beside_the_target_may_touch_it_while_it_is_lifted(arm: ArmKinematics) -> None:
    offer = planned_offer.offer()
    x, y, _ = offer.scene.target.solid.centre
    check_plan_clear(occupied(offer, np.array([x, y, 0.012])), CONFIG, arm)


def in_a_crate(offer: Offer) -> Offer:
    """The tray has a rim of 12 cm, and the place is on its floor."""
    tray, rim = offer.scene.neighbours[1], 0.12
    assert tray.id == "t1"
    x, y, _ = tray.solid.centre
    crate = dataclasses.replace(tray, solid=Solid((x, y, rim / 2), tray.solid.yaw, (*tray.solid.size[:2], rim)))
    space = Solid((x, y, 0.05), tray.solid.yaw, (*tray.solid.size[:2], 0.06))
    scene = dataclasses.replace(offer.scene, neighbours=(offer.scene.neighbours[0], crate), entered=space)
    return dataclasses.replace(offer, scene=scene)


def test_inside_a_rim_the_gripper_is_checked_against_what_is_measured_there(arm: ArmKinematics) -> None:
    offer = in_a_crate(planned_offer.offer())
    check_plan_clear(offer, CONFIG, arm)
    lower = trajectory_of(offer, "lower")
    finger = middle_of(arm, "panda_leftfinger", lower.end, offer.goal.grasps[offer.plan.grasp].width)
    with pytest.raises(PlanningFailedError, match=r"leftfinger would run \d+ mm into an object without a name"):
        check_plan_clear(occupied(offer, finger), CONFIG, arm)
    wall = arm.poses(lower.end)[1][:3, 3] - (0.0, 0.0, 0.02)  # where the target's box, not its real shape, reaches
    check_plan_clear(occupied(offer, wall), CONFIG, arm)
    elsewhere = dataclasses.replace(offer, scene=dataclasses.replace(offer.scene, entered=None))
    with pytest.raises(PlanningFailedError, match=r"'lower' of its plan block would run"):
        check_plan_clear(occupied(elsewhere, wall), CONFIG, arm)


def test_what_lies_between_two_points_of_a_trajectory_counts(arm: ArmKinematics) -> None:
    """A planner that gives but the ends of a way is followed all along it."""
    offer = planned_offer.offer()
    start, end = trajectory_of(offer, "carry").start, trajectory_of(offer, "carry").end
    ends = Trajectory(ARM_JOINTS, (0.0, 9.0), tuple(tuple(at[j] for j in ARM_JOINTS) for at in (start, end)))
    half = {joint: (start[joint] + end[joint]) / 2 for joint in ARM_JOINTS}
    sparse = with_trajectory(offer, "carry", ends)
    place = arm.poses(half)[1][:3, 3]
    cup = offer.scene.neighbours[0]
    solid = dataclasses.replace(cup.solid, centre=tuple(place.tolist()))
    scene = dataclasses.replace(offer.scene, neighbours=(dataclasses.replace(cup, solid=solid),))
    with pytest.raises(PlanningFailedError, match=r"phase 'carry' of its plan \w+ would run \d+ mm into the cup"):
        check_plan_clear(dataclasses.replace(sparse, scene=scene), CONFIG, arm)


def test_positions_beyond_a_limit_and_ways_too_fast_are_refused(arm: ArmKinematics) -> None:
    offer = planned_offer.offer()
    reach = trajectory_of(offer, "reach")
    rows = np.array(reach.positions)
    rows[len(rows) // 2, 3] = 0.4  # the elbow of a Panda does not open so far
    beyond = dataclasses.replace(reach, positions=tuple(map(tuple, rows.tolist())), velocities=(), accelerations=())
    with pytest.raises(PlanningFailedError, match=r"takes panda_joint4 to 0\.400; its range is -3\.\d+ to -0\.\d+"):
        check_plan_clear(with_trajectory(offer, "reach", beyond), CONFIG, arm)
    hasty = dataclasses.replace(reach, times=tuple(at / 100 for at in reach.times), velocities=(), accelerations=())
    with pytest.raises(PlanningFailedError, match=r"moves panda_joint\d at \d+\.\d+ per second; its limit is 2\.\d+"):
        check_plan_clear(with_trajectory(offer, "reach", hasty), CONFIG, arm)


def test_such_a_plan_is_laid_before_nobody(arm: ArmKinematics) -> None:
    offer = planned_offer.offer()
    through = occupied(offer, middle_of(arm, "panda_hand", trajectory_of(offer, "reach").end))
    with pytest.raises(PlanningFailedError, match="into an object without a name"):
        proposed(str(description_file()), through)
    assert proposed(offer=through).preview is not None  # no arm is known: nothing is judged
