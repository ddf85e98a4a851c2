# SPDX-License-Identifier: Apache-2.0
"""Grasps of a server of learned grasps: what it is asked, what is refused of its replies, and how they are judged."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from planning_scenes import Array, box, config
from tables import tables
from test_pick_sequence import Cell, seen_but
from test_surface_grasps import disc, free_of, inside_mug, mug, ring, scene_of, seen

from spatial_vlm_ros.errors import GoalError, GraspReplyError, InputError, ModelTimeoutError
from spatial_vlm_ros.geometry.rotation import quaternion_xyzw_from_matrix
from spatial_vlm_ros.manipulation.grasping import proposals
from spatial_vlm_ros.manipulation.grasping.proposals import GraspQuestion, GraspReply, checked, question_of
from spatial_vlm_ros.manipulation.grasping.search import hand_axes
from spatial_vlm_ros.manipulation.occupancy.measuring import Occupancy
from spatial_vlm_ros.manipulation.occupancy.voxels import voxels_at
from spatial_vlm_ros.manipulation.pick_sequence import Ending
from spatial_vlm_ros.manipulation.planning.pick import pick_goal
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene
from spatial_vlm_ros.manipulation.planning.solids import Solid
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.types import Status

SERVICE = config(grasp={"source": "service", "headings": 6})
BOTH = config(grasp={"source": "both", "headings": 6})
RIM = (0.548, 0.0, 0.0895)  # of the mug's wall; the fingers reach 20 mm down
DOWN, ACROSS, ALONG = (0.0, 0.0, -1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def reply(*grasps: tuple[tuple[float, float, float], Array, float], **changes: Any) -> GraspReply:
    """(position, rotation, score) of each."""
    made = GraspReply(
        "base_link",
        np.array([position for position, _, _ in grasps]).reshape(-1, 3),
        np.array([quaternion_xyzw_from_matrix(rotation) for _, rotation, _ in grasps]).reshape(-1, 4),
        np.array([score for _, _, score in grasps]),
        np.empty(0),
    )
    return dataclasses.replace(made, **changes)


def good() -> GraspReply:
    """Three of the mug's rim: the second is the best by its score."""
    return reply(
        (RIM, hand_axes(DOWN, ACROSS), 0.6),
        ((0.452, 0.0, 0.0895), hand_axes(DOWN, ACROSS), 0.9),
        ((0.5, 0.048, 0.0895), hand_axes(DOWN, ALONG), 0.3),
    )


def proposed(position: tuple[float, float, float], rotation: Array, width: float = 0.0) -> proposals.ProposedGrasp:
    return proposals.ProposedGrasp(rotation, np.array(position), 0.8, width)


def asked(setting: PlanningConfig = SERVICE) -> GraspQuestion:
    return question_of(mug(), setting)


def test_a_question_holds_the_target_and_what_is_around_it_without_the_target() -> None:
    cup = box("cup", 0.7, 0.0, (0.06, 0.06, 0.1))
    scene = scene_of((0.1, 0.1, 0.1), seen(ring(0.05, 0.0, 0.1)), cup)
    question = question_of(scene, SERVICE)
    assert (question.frame_id, question.stamp_ns, question.label) == ("base_link", 1_000, "it")
    assert question.target.shape == question.normals.shape
    assert np.hypot(question.target[:, 0] - 0.5, question.target[:, 1]) == pytest.approx(0.05, abs=1e-3)
    assert np.linalg.norm(question.normals, axis=1) == pytest.approx(1.0, abs=1e-5)
    around = question.scene[question.scene[:, 2] > 0.001]
    assert np.abs(around[:, :2] - (0.7, 0.0)).max() == pytest.approx(0.03, abs=1e-6)
    assert question.scene[:, 2].min() < 0, "the support is part of it"
    assert (question.opening_max, question.most) == (0.08, 100)


def test_a_question_holds_what_depth_shows_without_a_name_and_needs_a_measured_surface() -> None:
    cells = np.argwhere(np.ones((3, 3, 5))).astype(np.int32) + np.array([60, 0, 0], np.int32)
    shown = Occupancy(voxels_at(cells, 0.01), voxels_at(np.array([[60, 20, 0]], np.int32), 0.01), 1.0)
    with_it, without = (question_of(dataclasses.replace(mug(), occupancy=o), SERVICE) for o in (shown, None))
    assert len(with_it.scene) == len(without.scene) + 45, "what is only hidden is no measured surface"
    assert with_it.scene[-45:].mean(axis=0) == pytest.approx((0.615, 0.015, 0.025), abs=1e-6)
    assert question_of(dataclasses.replace(mug(), target=box("it", 0.5, 0.0, (0.1, 0.1, 0.1))), SERVICE) is None


def test_faces_of_a_turned_box_lie_on_it_and_keep_out_volumes_stay_small() -> None:
    turned = Solid((1.0, 2.0, 3.0), 0.5, (0.1, 0.2, 0.3))
    c, s = math.cos(0.5), math.sin(0.5)
    local = np.abs((proposals.faces_of(turned, 0.01) - (1.0, 2.0, 3.0)) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]))
    assert (local <= np.array([0.05, 0.1, 0.15]) + 1e-9).all()
    assert (np.abs(local - (0.05, 0.1, 0.15)) < 1e-9).any(axis=1).all()
    assert len(proposals.faces_of(Solid((0.0, 0.0, 0.0), 0.0, (100.0, 100.0, 100.0)), 0.01)) < 300_000


def test_a_good_reply_is_ranked_by_its_scores_and_cut_off() -> None:
    grasps = checked(good(), asked(), "s")
    assert [grasp.score for grasp in grasps] == [0.9, 0.6, 0.3]
    assert grasps[0].rotation == pytest.approx(hand_axes(DOWN, ACROSS))
    few = config(grasp={"source": "service", "service_most": 2})
    assert len(checked(good(), asked(few), "s")) == 2


@pytest.mark.parametrize(("changes", "kind"), tables(__file__)["bad replies"])
def test_a_bad_reply_is_refused_as_a_whole(changes: dict[str, Any], kind: str) -> None:
    arrays = {name: np.array(value) if isinstance(value, list) else value for name, value in changes.items()}
    with pytest.raises(GraspReplyError) as refused:
        checked(dataclasses.replace(good(), **arrays), asked(), "propose_grasps")
    assert refused.value.kind == kind
    assert "propose_grasps" in str(refused.value)
    assert refused.value.repair


def test_an_empty_reply_says_why() -> None:
    with pytest.raises(GraspReplyError, match="nothing is above the threshold") as refused:
        checked(reply(message="nothing is above the threshold"), asked(), "s")
    assert refused.value.kind == "empty"
    with pytest.raises(GraspReplyError) as long:
        checked(reply(message="no " * 100_000), asked(), "s")
    assert len(str(long.value)) < 600


def test_what_a_server_proposes_is_measured_and_alone_where_it_is_the_source() -> None:
    goal = pick_goal(mug(), SERVICE, checked(good(), asked(), "s"))
    assert len(goal.grasps) == 3
    for grasp in goal.grasps:
        assert (grasp.way, grasp.closes_on) == ("rim", "surface")
        assert grasp.width == pytest.approx(0.004, abs=0.003)
        assert grasp.opening >= grasp.width + 2 * SERVICE.goal.jaw_clearance - 1e-9
        assert dict(grasp.terms)["server"] in (0.9, 0.6, 0.3)
    assert dict(goal.grasps[0].terms)["server"] == 0.9
    free_of(goal, inside_mug, SERVICE)
    both = pick_goal(mug(), BOTH, checked(good(), asked(), "s"))
    assert {"server" in dict(grasp.terms) for grasp in both.grasps} == {True, False}


def test_a_grasp_is_moved_to_the_middle_of_the_wall_and_may_be_told_wider() -> None:
    at = (RIM[0] - 0.01, *RIM[1:])
    grasp = pick_goal(mug(), SERVICE, [proposed(at, hand_axes(DOWN, ACROSS))]).grasps[0]
    assert grasp.grasp.position[0] == pytest.approx(0.548, abs=0.002)
    grasp = pick_goal(mug(), SERVICE, [proposed(RIM, hand_axes(DOWN, ACROSS), 0.02)]).grasps[0]
    assert grasp.width == pytest.approx(0.02)


MUG = seen(ring(0.05, 0.0, 0.1), ring(0.046, 0.005, 0.1, True), disc(0.046, 0.005))
BESIDE = scene_of((0.1, 0.1, 0.1), MUG, box("tin", 0.61, 0.0, (0.1, 0.1, 0.2)))
CAN = scene_of((0.1, 0.1, 0.1), seen(ring(0.05, 0.0, 0.1), disc(0.05, 0.1)))
SMALL = config(grasp={"source": "service"}, workspace={"x_max": 0.5})


@pytest.mark.parametrize(
    ("scene", "setting", "position", "width", "kinds"),
    [
        pytest.param(mug(), SERVICE, (0.5, 0.0, 0.0895), 0.0, ["not_opposite"], id="nothing is between the fingers"),
        pytest.param(mug(), SERVICE, (0.9, 0.0, 0.0895), 0.0, ["not_opposite"], id="beside the mug"),
        pytest.param(mug(), SERVICE, RIM, 0.09, ["too_wide"], id="as the server itself says"),
        pytest.param(mug(), SERVICE, (0.548, 0.0, 0.03), 0.0, ["palm"], id="the palm would be in the mug"),
        pytest.param(CAN, SERVICE, (0.5, 0.0, 0.08), 0.0, ["too_wide", "palm"], id="a can wider than the hand"),
        pytest.param(BESIDE, SERVICE, RIM, 0.0, ["blocked"], id="a neighbour"),
        pytest.param(mug(), SMALL, RIM, 0.0, ["out_of_workspace"], id="out of the workspace"),
    ],
)
def test_a_grasp_that_does_not_fit_is_refused_by_its_kind(
    scene: PlanningScene, setting: PlanningConfig, position: Any, width: float, kinds: list[str]
) -> None:
    with pytest.raises(GoalError) as refused:
        pick_goal(scene, setting, [proposed(position, hand_axes(DOWN, ACROSS), width)])
    assert {kind for kind, _ in refused.value.reasons} <= set(kinds)


Answer = Callable[[GraspQuestion], GraspReply]


def run(answer: Answer, setting: PlanningConfig, surface: bool = True) -> tuple[Ending, Cell]:
    """A request for a plan alone: of an upright can with a measured surface, in the place of the chick."""
    points, normals = ring(0.02, 0.0, 0.06)
    measured = seen((points - (0.05, 0.0, 0.0), normals)) if surface else None
    cell = Cell(seen_but(target_points=measured))
    return cell.run(plan_only=True, config=setting, server=lambda question, _: answer(question)), cell


def on_the_can(question: GraspQuestion) -> GraspReply:
    assert question.label == "chick"
    return reply(((0.45, 0.0, 0.04), hand_axes(DOWN, ACROSS), 0.7), frame_id=question.frame_id)


def late(_: GraspQuestion) -> GraspReply:
    raise ModelTimeoutError("propose_grasps", "no reply within 5 s", "start it")


@pytest.mark.parametrize(
    ("answer", "status"),
    [(late, Status.TIMEOUT), (lambda _: reply(), Status.MODEL_ERROR), (lambda _: good(), Status.MODEL_ERROR)],
)
def test_a_server_that_fails_ends_the_request_or_is_replaced_with_both_sources(answer: Answer, status: Status) -> None:
    ending, cell = run(answer, SERVICE)
    assert (ending.status, ending.moved) == (status, False)
    assert "plan" not in cell.log
    ending, cell = run(answer, BOTH)
    assert ending.status is Status.OK, ending.message
    assert any(words.startswith("no grasps from the server") for words in cell.said)


def test_a_request_takes_what_the_server_proposes_which_needs_a_measured_surface() -> None:
    for setting, surface, status in (
        (SERVICE, True, Status.OK),
        (SERVICE, False, Status.DEPTH_INVALID),
        (BOTH, False, Status.OK),
    ):
        ending, _ = run(on_the_can, setting, surface)
        assert ending.status is status, ending.message
    with pytest.raises(InputError):
        config(grasp={"source": "graspgen"})
