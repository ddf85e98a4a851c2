# SPDX-License-Identifier: Apache-2.0
"""From images to the planning scene, through JSON, and to goals, against the truth of simulated worlds."""

import dataclasses
import json
import math

import cv2
import numpy as np
import planning_scenes
import pytest
from planning_scenes import WIDE, config, gripper_points, inside, path, tip_axes
from scipy.spatial.transform import Rotation
from tables import tables

from spatial_vlm_ros.errors import DepthError, GoalError, InputError, TransformUnavailableError
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.manipulation.occupancy.measuring import Occupancy
from spatial_vlm_ros.manipulation.occupancy.unseen import HiddenSpace
from spatial_vlm_ros.manipulation.occupancy.voxels import voxels_at
from spatial_vlm_ros.manipulation.planning.pick import pick_goal
from spatial_vlm_ros.manipulation.planning.place import place_goal
from spatial_vlm_ros.manipulation.planning.scene import AllowedContact, PlanningScene, planning_scene
from spatial_vlm_ros.manipulation.planning.solids import Solid
from spatial_vlm_ros.manipulation.planning.surroundings import (
    SeenSurface,
    SurroundingObject,
    Surroundings,
    _surface,
    surroundings_of,
)
from spatial_vlm_ros.output.json_schema import as_json, surroundings_from_json
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig, PlanningConfig
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup, chicks_and_cup_frame
from spatial_vlm_ros.types import PinholeCamera, Resolution, RgbdFrame, Scene, SceneObject, Status

TABLES = tables(__file__)
FOR_CHICKS = PlanningConfig(gripper=WIDE)
Seen = tuple[RgbdFrame, Scene, Resolution]


@pytest.fixture(scope="module")
def chicks() -> Seen:
    frame, detections = chicks_and_cup_frame()
    answer = Resolver().resolve(frame, "put the chick behind the cup left of the box", detections)
    assert answer.status is Status.OK, answer.message
    return frame, build_scene(frame, detections, DepthConfig(), LiftConfig()), answer


@pytest.fixture(scope="module")
def exported(chicks: Seen) -> PlanningScene:
    _, scene, answer = chicks
    return planning_scene(surroundings_of(scene, answer), FOR_CHICKS)


def scene_with(chicks: Seen, config: PlanningConfig = FOR_CHICKS, **changed: object) -> PlanningScene:
    """The planning scene of the frame, but for something of its lift."""
    _, scene, answer = chicks
    return planning_scene(surroundings_of(dataclasses.replace(scene, **changed), answer), config)  # type: ignore[arg-type]


def test_the_image_travels_with_the_answer(chicks: Seen) -> None:
    frame, scene, answer = chicks
    image = surroundings_of(scene, answer).image
    assert (image.instruction, image.stamp_ns) == (answer.instruction, frame.stamp_ns)
    decoded = cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert decoded.shape == (image.height, image.width, 3) == frame.rgb.shape
    assert np.abs(decoded.astype(float) - frame.rgb).mean() < 4.0
    K = frame.camera.K
    assert image.intrinsics == (K[0, 0], K[1, 1], K[0, 2], K[1, 2])


def test_a_wide_image_is_sent_smaller_and_its_intrinsics_fit(chicks: Seen) -> None:
    """A point lies on what it lay on before."""
    _, scene, answer = chicks
    height, width, at = 1200, 1600, np.array([1203.0, 404.0])
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[400:409, 1199:1208] = 255
    camera = PinholeCamera(np.array([[1400.0, 0, 790.0], [0, 1390.0, 610.0], [0, 0, 1]]), width, height)
    wide = dataclasses.replace(
        scene.frame, rgb=rgb, depth=np.ones((height, width), np.float32), camera=camera, robot=None
    )
    image = surroundings_of(dataclasses.replace(scene, frame=wide), answer).image
    assert (image.width, image.height) == (1280, 960)
    x, y = (at - (790.0, 610.0)) / (1400.0, 1390.0)
    fx, fy, cx, cy = image.intrinsics
    decoded = cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_GRAYSCALE)
    bright = np.where(decoded > 40, decoded, 0).astype(float)
    rows, columns = (np.average(np.arange(n), weights=bright.sum(axis=k)) for n, k in ((960, 1), (1280, 0)))
    assert (columns, rows) == pytest.approx((fx * x + cx, fy * y + cy), abs=0.1)


def test_every_object_is_there_once_at_its_true_place_with_padding(chicks: Seen, exported: PlanningScene) -> None:
    _, scene, answer = chicks
    assert (exported.frame_id, exported.stamp_ns) == ("world", answer.stamp_ns)
    assert exported.target.id == "bonnet"
    assert {obj.id for obj in exported.neighbours} == {"ribbon", "cup", "box"}
    for obj in (exported.target, *exported.neighbours):
        true = chicks_and_cup()[obj.id]
        assert np.linalg.norm(np.subtract(obj.solid.centre, true.centre)) < 0.015, obj.id
        assert np.abs(np.sort(obj.solid.size[:2]) - np.sort(true.size[:2])).max() < 0.02, obj.id
    box = next(obj for obj in exported.neighbours if obj.id == "box")
    assert math.sin(2 * (box.solid.yaw - math.pi / 2 - 0.4)) == pytest.approx(0.0, abs=0.2)  # its long side is y
    assert exported.target.solid.centre == pytest.approx(answer.target.pose.position, abs=1e-5)
    assert exported.target.solid.size == pytest.approx(answer.target.size, abs=1e-5)
    yaw = Rotation.from_quat(answer.target.pose.orientation).as_euler("xyz")[2]
    assert math.cos(exported.target.solid.yaw - yaw) == pytest.approx(1.0)
    assert 0 < min(exported.target.padding) <= max(exported.target.padding) <= 0.02
    for obj, lifted in zip(exported.neighbours, (o for o in scene.objects if o.id != "bonnet"), strict=True):
        sigma = math.sqrt(float(lifted.box.axes[:, 0] @ lifted.covariance[:3, :3] @ lifted.box.axes[:, 0]))
        assert obj.padding[0] == pytest.approx(min(0.003 + sigma, 0.02))
        assert obj.padded.size[0] == pytest.approx(obj.solid.size[0] + 2 * obj.padding[0])


def test_the_support_lies_under_all_and_only_it_and_fingers_are_touched(chicks: Seen, exported: PlanningScene) -> None:
    (support,) = exported.support
    assert support.solid.top == pytest.approx(0.0, abs=0.004)
    for body in chicks_and_cup().bodies:
        assert inside(np.array([(*body.position[:2], support.solid.centre[2])]), support.solid).all()
    allowed = {AllowedContact(f"{side}_finger", "bonnet", "grasp") for side in ("left", "right")}
    assert set(exported.allowed) == allowed | {AllowedContact("bonnet", "support", p) for p in ("lift", "lower")}
    floating = scene_with(chicks, support=None)
    assert floating.support[0].solid.top == pytest.approx(floating.target.solid.bottom), "at the target's foot"


def test_keep_outs_have_names_of_their_own_and_are_boxes(chicks: Seen) -> None:
    volumes = config(workspace={"keep_out": "support -1 -1 0 -0.9 1 1; shelf -1 -1 1 1 1 1.1"})
    exported = scene_with(chicks, volumes)
    assert [obj.id for obj in exported.keep_outs] == ["keep_out/support", "keep_out/shelf"]
    assert exported.keep_outs[1].solid == Solid((0.0, 0.0, 1.05), 0.0, (2.0, 2.0, pytest.approx(0.1)))
    for text in TABLES["no keep-outs"]:
        with pytest.raises(InputError, match="keep-out 'w"):
            scene_with(chicks, config(workspace={"keep_out": text}))


def unmeasured(scene: Scene, id_: str) -> Scene:
    """The scene as it would be if one object were of glass."""

    def glass(obj: SceneObject) -> SceneObject:
        nothing = np.full(3, np.nan)
        box = dataclasses.replace(obj.box, centre=nothing, size=nothing)
        return dataclasses.replace(obj, box=box, depth_problem="it is transparent")

    return dataclasses.replace(scene, objects=tuple(glass(o) if o.id == id_ else o for o in scene.objects))


@pytest.mark.parametrize("id_", ["cup", "box", "ribbon"])
def test_what_could_not_be_measured_stands_where_it_is_seen_to_stand(chicks: Seen, id_: str) -> None:
    glass_ones = unmeasured(chicks[1], id_).objects
    glass = next(obj for obj in scene_with(chicks, objects=glass_ones).neighbours if obj.id == id_)
    true = chicks_and_cup()[id_]
    inner = true.centre + (true.corners() - true.centre) * (0.7, 0.7, 0.85)
    assert inside(inner, glass.padded).all()
    assert max(glass.padded.size) < 0.35
    with pytest.raises(DepthError, match=rf"\({id_}\) could not be measured"):
        scene_with(chicks, objects=glass_ones, support=None)


def test_refusals_other_frames_and_frames_without_a_base_have_no_scene(chicks: Seen) -> None:
    frame, scene, answer = chicks
    with pytest.raises(InputError, match="a refusal \\(NOT_FOUND\\)"):
        planning_scene(surroundings_of(scene, Resolution("take it", Status.NOT_FOUND, "")), FOR_CHICKS)
    with pytest.raises(InputError, match="Resolve and lift one frame"):
        planning_scene(surroundings_of(scene, dataclasses.replace(answer, stamp_ns=5)), FOR_CHICKS)
    with pytest.raises(InputError, match="target 'bonnet'"):
        scene_with(chicks, objects=tuple(obj for obj in scene.objects if obj.id != "bonnet"))
    with pytest.raises(TransformUnavailableError, match="base_T_camera"):
        scene_with(chicks, frame=dataclasses.replace(frame, base_T_camera=None))


def test_the_chick_behind_the_cup_is_straddled_and_put_where_asked(chicks: Seen, exported: PlanningScene) -> None:
    answer, goal = chicks[2], pick_goal(exported, FOR_CHICKS)
    world = chicks_and_cup()
    true = world["bonnet"]
    for grasp in goal.grasps:
        sideways = tip_axes(grasp.grasp)[:, 1] @ (np.array(true.centre) - grasp.grasp.position)
        assert abs(sideways) + 0.035 <= grasp.opening / 2  # a ball of 3.5 cm between the fingers
        points = gripper_points(WIDE, grasp.opening)
        for there in path(points, grasp.pre_grasp, grasp.grasp, grasp.retreat):
            assert (there[:, 2] > 0.0).all()  # above the true table
            for body in world.bodies:
                if body.id != "bonnet":
                    assert not inside(there, Solid(body.centre, body.yaw, body.size)).any()
        for there in path(points, grasp.pre_grasp, grasp.grasp):
            assert (np.linalg.norm(there - true.centre, axis=1) > 0.034).all()
    grasp = goal.grasps[0]
    place = place_goal(exported, answer, grasp, FOR_CHICKS)
    best = place.placements[0]
    assert best.obj.position[:2] == pytest.approx(answer.places[best.spot].pose.position[:2], abs=1e-5)
    for there in path(gripper_points(WIDE, grasp.width), best.pre_place, best.place):
        assert (there[:, 2] > 0.0).all()


def test_the_franka_hand_takes_a_cup_that_is_too_wide_by_its_rim(chicks: Seen) -> None:
    """Fingers inside and outside of the wall of a cup of 80 mm, whose wall the simulated camera sees for itself."""
    _, scene, _ = chicks
    answer = Resolver().resolve(scene.frame, "the cup", [obj.detection for obj in scene.objects])
    around = planning_scene(surroundings_of(scene, answer), PlanningConfig())
    goal = pick_goal(around, PlanningConfig())
    assert {grasp.way for grasp in goal.grasps} == {"rim"}
    for grasp in goal.grasps:
        x, y, _ = grasp.grasp.position
        assert 0.033 < math.hypot(x, y) < 0.041, "on the wall"
        radial = abs(x * grasp.closing[0] + y * grasp.closing[1]) / math.hypot(x, y)
        assert radial > math.cos(math.radians(30)), "across the wall"
        assert grasp.width < 0.012
    blind = dataclasses.replace(around, target=dataclasses.replace(around.target, seen=None))
    with pytest.raises(GoalError, match=r"gripper opens 0\.08 m"):
        pick_goal(blind, PlanningConfig())


GLASS = SurroundingObject("glass", "glass", Solid((0.5, 0.1, 0.05), 0.0, (0.06, 0.06, 0.1)), None)
TARGET = dataclasses.replace(planning_scenes.CHICK, sigma=(0.002, 0.001, 0.003))
OTHERS = (dataclasses.replace(planning_scenes.CUP, sigma=(0.004,) * 3), GLASS)
SEEN = dataclasses.replace(
    planning_scenes.SEEN, target=TARGET, others=OTHERS, support_height=0.001, all_objects=False, occupancy=None
)
SURFACE = SeenSurface(((0.38, -0.02), (0.42, -0.02), (0.42, 0.02)), 0.001, 0.06)


def read_again(seen: Surroundings) -> Surroundings:
    return surroundings_from_json(json.loads(json.dumps(as_json(seen))))


def test_it_is_the_same_after_json() -> None:
    assert read_again(SEEN) == SEEN
    whole = dataclasses.replace(SEEN, all_objects=True, surface=SURFACE)
    assert read_again(whole) == whole
    older = {key: value for key, value in as_json(SEEN).items() if key not in ("all_objects", "surface")}
    read = surroundings_from_json(older)  # an answer that does not say so has not looked for all objects
    assert (read.all_objects, read.surface) == (False, None)


def test_occupancy_is_the_same_after_json_and_too_much_of_it_is_refused() -> None:
    cells = np.random.default_rng(0).integers(-40, 40, (500, 3))
    hidden = (HiddenSpace(0.3, voxels_at(cells[:9] + 5, 0.01)),)
    occupancy = Occupancy(voxels_at(cells, 0.01), voxels_at(cells[:20] + 3, 0.02), 0.8, hidden)
    seen = dataclasses.replace(SEEN, occupancy=occupancy)
    written = json.loads(json.dumps(as_json(seen)))
    read = surroundings_from_json(written)
    assert read == seen
    assert np.array_equal(read.occupancy.measured.indices, np.unique(cells, axis=0))
    written["occupancy"]["measured"]["shape"] = [9999, 9999, 9999]
    with pytest.raises(InputError, match="voxels"):
        surroundings_from_json(written)


@pytest.mark.parametrize("change", TABLES["no surroundings"])
def test_what_nothing_can_be_planned_by_is_refused(change: dict[str, object]) -> None:
    named = change in ({"camera": None}, {"others": [{"id": 3}]}, {"support_height": "low"})
    with pytest.raises(InputError, match=next(iter(change)) if named else None):
        surroundings_from_json(as_json(SEEN) | change)


def test_extents_of_a_visible_surface_are_quantiles_of_its_points() -> None:
    rng = np.random.default_rng(3)
    points = (rng.uniform(-1, 1, (4000, 3)) * (0.03, 0.02, 0.04) + (0.4, 0.1, 0.04)).astype(np.float32)
    points[:40] += 0.5  # mixed pixels at an edge
    surface = _surface(points)
    outline = np.array(surface.outline)
    inner = np.array((0.03, 0.02)) * 0.92  # 5 % of a side of points is left out on each, less what was added
    assert outline.min(axis=0) == pytest.approx(np.array((0.4, 0.1)) - inner, abs=0.003)
    assert outline.max(axis=0) == pytest.approx(np.array((0.4, 0.1)) + inner, abs=0.003)
    assert (surface.low, surface.high) == pytest.approx((0.004, 0.077), abs=0.002)
    assert _surface(points[:20]) is None


def test_the_target_may_leave_a_neighbour_whose_box_reaches_it() -> None:
    x, y, _ = SEEN.target.solid.centre
    for gap, meets in ((0.002, True), (0.05, False)):
        flat = Solid((x + 0.05 + gap + 0.1, y, 0.01), 0.0, (0.2, 0.1, 0.02))
        scissors = SurroundingObject("scissors", "scissors", flat, (0.0,) * 3)
        upright = dataclasses.replace(SEEN.target, solid=Solid((x, y, 0.03), 0.0, (0.1, 0.06, 0.06)))
        scene = planning_scene(dataclasses.replace(SEEN, target=upright, others=(scissors,)), FOR_CHICKS)
        assert (AllowedContact("c1", "scissors", "lift") in scene.allowed) == meets


def test_what_was_not_measured_gets_the_most_padding_and_what_is_nowhere_is_in_the_way() -> None:
    scene = planning_scene(SEEN, FOR_CHICKS)
    cup, glass = scene.neighbours
    goal = FOR_CHICKS.goal
    assert cup.padding == pytest.approx((goal.padding + goal.sigmas * 0.004,) * 3)
    assert glass.padding == (goal.most_padding,) * 3
    assert scene.target.padding == pytest.approx(np.array((0.002, 0.001, 0.003)) * goal.sigmas)
    assert scene.support[0].solid.top == pytest.approx(0.001)
    with pytest.raises(DepthError, match="the vase"):
        planning_scene(dataclasses.replace(SEEN, unplaced=("the vase (v1)",)), FOR_CHICKS)
