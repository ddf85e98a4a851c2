# SPDX-License-Identifier: Apache-2.0
"""What is shown to a MoveIt, read back and taken away, against the double of its scene. Nothing is sent here."""

import copy
import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from arm_graph import BLOCK, CUP, never, scene
from geometry_msgs.msg import Point, Pose, Quaternion
from moveit_msgs.msg import (
    AllowedCollisionEntry,
    AllowedCollisionMatrix,
    AttachedCollisionObject,
    PlanningScene,
    PlanningSceneComponents,
)
from moveit_msgs.srv import ApplyPlanningScene, GetPlanningScene
from planning_scenes import box, config
from scene_double import PlanningSceneDouble

from spatial_vlm_ros import errors
from spatial_vlm_ros.manipulation.planning.moveit import OWN
from spatial_vlm_ros.nodes.arm.motion_messages import (
    attached_by_name,
    box_object,
    matrix_of,
    pose_message,
    removed_object,
    scene_diff,
)
from spatial_vlm_ros.nodes.arm.shown_scene import ShownScene


def own(*names: str) -> set[str]:
    return {OWN + name for name in names}


TIP, FINGERS = "panda_hand_tcp", ["panda_leftfinger", "panda_rightfinger"]


class ServiceOf:
    """A double of a client of a service, which answers at once; `late` says that no answer comes."""

    def __init__(self, name: str, answer: Callable[[Any], Any]) -> None:
        self.name, self._answer, self.late, self.asked = name, answer, False, 0

    def call(self, request: Any, seconds: float, cancelled: Callable[[], bool] = never) -> Any:
        self.asked += 1
        if cancelled():
            raise errors.CancelledError("the request was withdrawn")
        if self.late:
            raise errors.PlannerUnavailableError(self.name, f"no response for {seconds:g} s", "start MoveIt")
        return self._answer(request)

    def ready(self) -> bool:
        return not self.late


class Desk:
    """A MoveIt's scene and a client of it; `another` client is as after the death of the first."""

    def __init__(self, **motion: Any) -> None:
        tip = np.eye(4)
        tip[:3, 3] = (0.4, 0.0, 0.5)
        self.moveit = PlanningSceneDouble(poses={TIP: tip}, joints={"panda_joint1": 0.0})
        self.said: list[str] = []
        self.refuses = False
        self.apply = ServiceOf("/apply_planning_scene", self._on_apply)
        self.get = ServiceOf("/get_planning_scene", self._on_get)
        self.motion = config(motion=motion).motion
        self.client = self.another()

    def another(self) -> ShownScene:
        logger = SimpleNamespace(warning=self.said.append)
        node: Any = SimpleNamespace(get_logger=lambda: logger, context=SimpleNamespace(ok=lambda: True))
        services: Any = (self.apply, self.get)
        return ShownScene(node, self.motion, *services)

    def _on_apply(self, request: Any) -> Any:
        done = not self.refuses and self.moveit.apply(request.scene)
        return ApplyPlanningScene.Response(success=done)

    def _on_get(self, request: Any) -> Any:
        return GetPlanningScene.Response(scene=self.moveit.tell(request.components.components))

    def add(self, name: str, x: float = 0.0) -> None:
        pose = np.eye(4)
        pose[0, 3] = x
        assert self.moveit.apply(scene_diff([box_object(name, "panda_link0", pose, (0.1, 0.1, 0.1))]))

    def remove(self, name: str) -> None:
        assert self.moveit.apply(scene_diff([removed_object(name, "panda_link0")]))


def test_everything_is_shown_under_our_ids_beside_others_of_the_same_names_and_taken_away_again() -> None:
    desk, theirs = Desk(), {"camera", "support", "cup", "block"}
    for name in theirs:
        desk.add(name, 2.0)
    look = desk.client.show(scene(CUP), never)
    assert set(look.objects) == theirs | own("support", "cup", "block")
    assert look.ours == own("support", "cup", "block")
    desk.client.show(scene(), never)
    assert set(desk.moveit.world) == theirs | own("support", "block")  # the cup of before is gone
    desk.client.clear()
    assert set(desk.moveit.world) == theirs
    assert desk.said == []


def test_no_contact_is_ever_allowed_in_the_planners_own_scene() -> None:
    desk = Desk()
    rows = [AllowedCollisionEntry(enabled=[False, True]), AllowedCollisionEntry(enabled=[True, False])]
    own = AllowedCollisionMatrix(entry_names=["panda_link0", "panda_link1"], entry_values=rows)
    desk.moveit.apply(scene_diff(allowed=own))
    desk.client.show(scene(CUP), never)
    desk.client.hold(BLOCK.id)
    assert desk.moveit.tell().allowed_collision_matrix == own
    desk.client.clear()
    assert desk.moveit.tell().allowed_collision_matrix == own


@pytest.mark.parametrize("held", [False, True])
def test_what_a_killed_client_has_left_is_taken_away_at_the_next_start(held: bool) -> None:
    desk = Desk()
    desk.add("camera", 1.0)
    tool = AttachedCollisionObject(link_name=TIP, object=box_object("tool", TIP, np.eye(4), (0.1, 0.1, 0.1)))
    desk.moveit.attach(tool)  # of somebody else, without touch links
    desk.client.show(scene(CUP), never)
    if held:
        desk.client.hold(BLOCK.id)
    other = box("can", 0.6, 0.0, (0.05, 0.05, 0.1))
    desk.another().show(scene(target=other, contacts=False), never)  # the first one is dead
    assert set(desk.moveit.world) == {"camera"} | own("support", "can")
    assert set(desk.moveit.attached) == {"tool"}
    desk.client.hold("can")
    desk.another().clear()  # as at the start of a node
    assert (set(desk.moveit.world), set(desk.moveit.attached)) == ({"camera"}, {"tool"})
    assert desk.said == []


def test_what_is_held_goes_with_the_tip_with_its_touch_links() -> None:
    desk, name = Desk(), OWN + BLOCK.id
    desk.client.show(scene(), never)
    before = desk.moveit.world[name][0]
    desk.client.hold(BLOCK.id)
    held = desk.moveit.attached[name]
    assert (held.link, held.touch, name in desk.moveit.world) == (TIP, FINGERS, False)
    assert desk.moveit.poses[TIP] @ held.body[0] == pytest.approx(before)
    desk.client.let_go(BLOCK.id)
    assert desk.moveit.world[name][0] == pytest.approx(before)
    assert not desk.moveit.attached


def test_what_was_held_is_attached_again_after_it_was_planned_for() -> None:
    desk, name = Desk(), OWN + BLOCK.id
    desk.client.show(scene(), never)
    desk.client.hold(BLOCK.id)
    for again in (desk.client.hold_again, lambda: desk.client.clear(holds=True)):
        desk.client.show(scene(CUP), never, held=True)
        assert not desk.moveit.attached, "each request attaches it"
        again()
        assert (desk.moveit.attached[name].link, desk.moveit.attached[name].touch) == (TIP, FINGERS)
    assert set(desk.another().attached(never)) == {BLOCK.id}
    desk.client.let_go("in_the_hand")
    assert (set(desk.moveit.attached), name in desk.moveit.world) == (set(), True)
    desk.client.hold_again()
    assert not desk.moveit.attached


def test_a_refused_difference_is_a_failure_though_the_objects_of_before_are_there() -> None:
    desk = Desk()
    desk.client.show(scene(), never)
    desk.refuses = True
    moved = dataclasses.replace(BLOCK, solid=dataclasses.replace(BLOCK.solid, centre=(0.55, 0.1, 0.04)))
    with pytest.raises(errors.PlanningFailedError, match="'cup' is missing, 'block' differs from what was sent"):
        desk.client.show(scene(CUP, target=moved), never)


def test_an_answer_that_is_lost_and_asked_for_again_is_no_failure() -> None:
    desk = Desk()
    desk.client.show(scene(CUP), never)
    inner = desk._on_apply
    desk.apply._answer = lambda request: (inner(request), inner(request))[1]  # "cup" is removed twice: not successful
    assert set(desk.client.show(scene(), never).objects) == own("support", "block")


@pytest.mark.parametrize("late", ["apply", "get"])
def test_a_scene_service_that_is_late_is_a_planner_that_does_not_answer(late: str) -> None:
    desk = Desk()
    getattr(desk, late).late = True
    with pytest.raises(errors.PlannerUnavailableError, match=f"/{late}_planning_scene.*no response for 10 s"):
        desk.client.show(scene(), never)
    with pytest.raises(errors.CancelledError):
        desk.client.show(scene(), lambda: True)


class Elsewhere(Desk):
    """A MoveIt that tells objects in the root of its model, and may tell what it has not taken."""

    def __init__(self, wrong: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
        super().__init__()
        self.world_T_base = matrix_of(Pose(position=Point(x=1.0, y=-2.0, z=0.7), orientation=Quaternion(z=0.6, w=0.8)))
        self.wrong = wrong

    def _on_get(self, request: Any) -> Any:
        answer = super()._on_get(request)
        objects = {each.id: copy.deepcopy(each) for each in answer.scene.world.collision_objects}
        for each in objects.values():
            each.header.frame_id = "world"
            each.pose = pose_message(self.world_T_base @ matrix_of(each.pose))
        self.wrong(objects)
        answer.scene.world.collision_objects = list(objects.values())
        return answer


def shifted(name: str, by: float) -> Callable[[dict[str, Any]], None]:
    def wrong(objects: dict[str, Any]) -> None:
        if OWN + name in objects:
            objects[OWN + name].pose.position.x += by

    return wrong


def without_shapes(objects: dict[str, Any]) -> None:
    for each in objects.values():
        each.primitives, each.primitive_poses = [], []


def larger(objects: dict[str, Any]) -> None:
    for each in objects.values():
        each.primitives[0].dimensions = [2 * float(edge) for edge in each.primitives[0].dimensions]


def test_a_scene_that_is_told_in_another_frame_is_compared_too() -> None:
    look = Elsewhere().client.show(scene(CUP), never)
    assert {shape.frame for shapes in look.objects.values() for shape in shapes} == {"world"}


@pytest.mark.parametrize(
    ("wrong", "differs"),
    [
        pytest.param(shifted("cup", 0.01), "cup", id="cup"),
        pytest.param(shifted("block", -0.01), "block", id="block"),
        pytest.param(shifted("cup", float("nan")), "cup", id="not finite"),
        pytest.param(without_shapes, "support", id="no shapes"),
        pytest.param(larger, "support", id="size"),
    ],
)
def test_what_is_not_there_as_it_was_sent_is_noticed(wrong: Any, differs: str) -> None:
    with pytest.raises(errors.PlanningFailedError, match=f"'{differs}' differs from what was sent"):
        Elsewhere(wrong).client.show(scene(CUP), never)
    with pytest.raises(errors.PlanningFailedError, match=r"'support' is missing, .*motion.planning_frame"):
        Desk().client.show(dataclasses.replace(scene(), frame_id="base"), never)


def test_fingers_that_the_planners_model_does_not_have_are_named() -> None:
    desk = Desk(finger_links="panda_leftfinger robotiq_finger")
    with pytest.raises(errors.InputError, match=r"motion.finger_links.*robotiq_finger.*panda_hand, panda_leftfinger"):
        desk.client.show(scene(), never)
    assert not desk.moveit.world
    desk.moveit.links = ()  # a planner that does not tell its links is not judged
    desk.client.show(scene(), never)


def test_a_scene_that_stayed_as_it_was_is_in_step() -> None:
    desk = Desk()
    desk.add("camera", 1.0)
    first = desk.client.show(scene(CUP), never)
    desk.client.check(scene(CUP), False, first, never)
    desk.remove("camera")  # which makes the way wider
    desk.client.check(scene(CUP), False, first, never)
    desk.client.show(scene(), never)  # of a later step
    desk.client.check(scene(CUP), False, first, never)  # which is shown the first step's again
    assert own("cup") <= set(desk.moveit.world)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda desk: desk.add("chair"), "'chair' was added"),
        (lambda desk: desk.add("camera", 1.05), r"'camera' moved by 0\.050 m"),
        (lambda desk: desk.remove(f"{OWN}cup"), "'cup' is no longer there"),
        (lambda desk: desk.moveit.apply(scene_diff([box_object(f"{OWN}cup", "panda_link0", np.eye(4), (1, 1, 1))])),
         "'cup' has another shape"),
        (lambda desk: desk.moveit.attach(attached_by_name("camera", TIP, ())), f"'camera' is attached to {TIP}"),
        (lambda desk: desk.moveit.world.clear(), "is no longer there"),
    ],
)  # fmt: skip
def test_a_scene_that_has_changed_since_is_told(change: Callable[[Desk], Any], words: str) -> None:
    desk = Desk()
    desk.add("camera", 1.0)
    planned_in = desk.client.show(scene(CUP), never)
    change(desk)
    with pytest.raises(errors.SceneChangedError, match=words) as caught:
        desk.client.check(scene(CUP), False, planned_in, never)
    assert caught.value.status_name == "SCENE_CHANGED"
    assert "Send the instruction again" in str(caught.value)


def test_an_attachment_that_moveit_only_says_it_made_is_said() -> None:
    desk = Desk()
    desk.client.show(scene(), never)
    desk.remove(OWN + BLOCK.id)  # MoveIt answers SUCCESS to attaching what is not there
    desk.client.hold(BLOCK.id)
    assert desk.said == [f"the planner reports that it attached 'block' to {TIP}, but its scene does not show it"]


def test_services_that_are_late_while_an_object_is_held_are_said_and_fail_nothing() -> None:
    desk = Desk()
    desk.client.show(scene(), never)
    desk.apply.late = desk.get.late = True
    desk.client.hold(BLOCK.id)
    desk.client.clear()  # the service is not there
    desk.apply.late = False
    desk.client.clear()
    assert len(desk.said) == 2
    assert all("could not be asked" in words for words in desk.said)
    desk.apply.late = desk.get.late = False
    desk.another().show(scene(), never)
    assert set(desk.moveit.world) == own("support", "block")


def test_the_double_loses_the_type_of_what_is_attached() -> None:
    moveit, typed = PlanningSceneDouble(poses={TIP: np.eye(4)}), box_object("cup", "panda_link0", np.eye(4), (1, 1, 1))
    typed.type.key = "mug"
    assert moveit.apply(scene_diff([typed]))
    assert moveit.tell().world.collision_objects[0].type.key == "mug"
    moveit.apply(scene_diff(attached=[attached_by_name("cup", TIP, ())]))
    assert not moveit.tell().robot_state.attached_collision_objects[0].object.type.key
    moveit.apply(scene_diff(attached=[attached_by_name("cup", TIP, (), attach=False)]))
    assert not moveit.tell().world.collision_objects[0].type.key


def test_the_double_says_success_to_attachments_that_it_refuses() -> None:
    moveit = PlanningSceneDouble(poses={TIP: np.eye(4)})
    for body in (
        attached_by_name("ghost", TIP, ()),
        attached_by_name("ghost", TIP, (), attach=False),
        AttachedCollisionObject(link_name="nowhere", object=box_object("box", TIP, np.eye(4), (1, 1, 1))),
    ):
        assert moveit.apply(scene_diff(attached=[body]))
        assert not moveit.attached
    assert len(moveit.said) == 2  # nothing is said of what is not attached


def test_the_double_detaches_at_the_link_that_it_is_attached_to_alone() -> None:
    moveit = PlanningSceneDouble(poses={TIP: np.eye(4), "panda_hand": np.eye(4)})
    moveit.attach(AttachedCollisionObject(link_name=TIP, object=box_object("box", TIP, np.eye(4), (1, 1, 1))))
    assert moveit.apply(scene_diff(attached=[attached_by_name("box", "panda_hand", (), attach=False)]))
    assert set(moveit.attached) == {"box"}
    moveit.apply(scene_diff([box_object("box", "panda_link0", np.eye(4), (2, 2, 2))]))
    moveit.apply(scene_diff(attached=[attached_by_name("box", "", (), attach=False)]))
    assert not moveit.attached
    assert list(moveit.world["box"][1][0][0].dimensions) == [2, 2, 2]  # the one of the world stays


def test_the_double_keeps_matrices_as_moveit_does() -> None:
    moveit = PlanningSceneDouble()
    rows = [AllowedCollisionEntry(enabled=row) for row in ([False, True], [False, False])]
    moveit.apply(scene_diff(allowed=AllowedCollisionMatrix(entry_names=["a", "no such link"], entry_values=rows)))
    assert moveit.matrix.allowed("no such link", "a")  # the upper triangle counts; no name is looked up
    ragged = AllowedCollisionMatrix(entry_names=["a", "b", "c"], entry_values=rows[:1])
    assert moveit.apply(scene_diff(allowed=ragged))
    assert not moveit.matrix.entries  # all is lost, and nothing is said
    moveit.matrix.set("a", "b", True)
    moveit.matrix.defaults = {"aa": True, "z": True}
    told = moveit.tell().allowed_collision_matrix
    assert (list(told.entry_names), list(told.default_entry_names)) == (["a", "aa", "b"], ["aa"])  # "z" is not told
    assert moveit.apply(
        scene_diff(allowed=AllowedCollisionMatrix(default_entry_names=["z"], default_entry_values=[True]))
    )
    assert moveit.matrix.allowed("a", "b")  # defaults alone are no change
    moveit.matrix.set("b", "cup", True)
    moveit.apply(scene_diff([box_object("cup", "panda_link0", np.eye(4), (1, 1, 1))]))
    moveit.apply(scene_diff([removed_object("cup", "panda_link0")]))
    assert not moveit.matrix.allowed("b", "cup")


def test_the_double_refuses_what_moveit_refuses_of_the_world() -> None:
    moveit = PlanningSceneDouble()
    for name, frame in (("cup", "world"), ("<octomap>", "")):
        assert not moveit.apply(scene_diff([box_object(name, frame, np.eye(4), (1, 1, 1))]))
        assert not moveit.world


def test_the_double_applies_what_it_can_and_keeps_its_octomap_until_a_whole_scene_comes() -> None:
    moveit, mapped = PlanningSceneDouble(), scene_diff([box_object("cup", "panda_link0", np.eye(4), (0.1, 0.1, 0.1))])
    mapped.world.octomap.octomap.id, mapped.world.octomap.octomap.data = "OcTree", [1, 2]
    assert moveit.apply(mapped)
    only = moveit.tell(PlanningSceneComponents.ALLOWED_COLLISION_MATRIX)
    assert (only.world.collision_objects, list(only.world.octomap.octomap.data)) == ([], [])
    change = [removed_object(name, "panda_link0") for name in ("nothing", "cup")]
    assert not moveit.apply(scene_diff(change))  # it has no object "nothing"
    told = moveit.tell()
    assert (told.world.collision_objects, list(told.world.octomap.octomap.data)) == ([], [1, 2])
    assert moveit.apply(PlanningScene())  # no diff: a whole, empty scene
    assert not moveit.tell().world.octomap.octomap.data
