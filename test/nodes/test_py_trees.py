# SPDX-License-Identifier: Apache-2.0
"""The behaviour of examples/py_trees_pick.py on the live action: it never waits, reports, and cancels."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import rclpy
import tables
from action_msgs.msg import GoalStatus
from lifecycle_msgs.msg import Transition
from live_graph import Graph
from live_scene import DETECTIONS, FRAME, SENTENCE
from rclpy.context import Context
from spatial_vlm_interfaces.action import PickInstruction, ResolveInstruction
from spatial_vlm_interfaces.msg import Target
from waiting import until

py_trees = pytest.importorskip("py_trees")
Status = py_trees.common.Status


@pytest.fixture(scope="module")
def example() -> Any:
    return tables.example("py_trees_pick.py")


@pytest.fixture(autouse=True)
def board() -> Iterator[None]:
    py_trees.blackboard.Blackboard.enable_activity_stream()
    yield
    py_trees.blackboard.Blackboard.clear()


class Tree:
    """A tree on a node of its own that spins beside the ticks."""

    def __init__(self, graph: Graph, root: Any) -> None:
        self.graph, self.tree = graph, py_trees.trees.BehaviourTree(root)

        def make(context: Context) -> Any:
            node = rclpy.create_node("tree", context=context)
            self.tree.setup(node=node)
            return node

        graph.spin(make)
        if graph.resolver is not None:
            graph.offered(clients=1 + sum("CallAction" in type(each).__name__ for each in root.iterate()))

    def tick(self) -> Any:
        self.tree.tick()
        return self.tree.root.status

    def until(self, condition: Callable[[], Any], what: str, frames: bool = True) -> None:
        def turn() -> None:
            if frames:
                self.graph.camera.send(self.graph.camera.parts(FRAME, DETECTIONS, self.graph.camera.now()))
            self.tick()

        until(condition, f"{what}, ticking", meanwhile=turn, period=0.02)

    def ended(self, frames: bool = True) -> Any:
        self.until(lambda: self.tree.root.status not in (Status.RUNNING, Status.INVALID), "the tree has ended", frames)
        return self.tree.root.status


def board_of(name: str) -> dict[str, Any]:
    prefix = f"/{name}/"
    stored = py_trees.blackboard.Blackboard.storage
    return {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)}


def test_an_answer_is_success_and_its_result_is_on_the_blackboard(live: Graph, example: Any) -> None:
    tree = Tree(live, example.which_object(SENTENCE, ""))
    assert tree.tick() is Status.RUNNING
    assert board_of("resolve") == {"result": None, "status": "", "message": "", "question": "", "dialogue_id": ""}
    assert tree.ended() is Status.SUCCESS
    found = board_of("resolve")
    assert found["status"] == "OK"
    assert found["result"].resolution.target[0].id == "bonnet"
    assert example.told(found["result"]).startswith("bonnet: ")


def test_a_refusal_is_failure_and_its_question_is_answered_in_its_dialogue(live: Graph, example: Any) -> None:
    tree = Tree(live, example.which_object("grab me the chick", "the bonnet one"))
    tree.until(lambda: board_of("resolve").get("status"), "the first goal has ended")
    asked = board_of("resolve")
    assert (asked["status"], asked["question"]) == ("AMBIGUOUS", "Which chick: the bonnet one or the ribbon one?")
    assert asked["dialogue_id"]
    assert not asked["result"].resolution.target
    assert tree.ended() is Status.SUCCESS
    assert board_of("again")["result"].resolution.target[0].id == "bonnet"
    assert example.last_result() is board_of("again")["result"]


def test_of_a_pick_its_own_status_is_told_beside_the_question_of_its_resolution(example: Any) -> None:
    result = PickInstruction.Result()
    result.status.name, result.status.message = "PLANNING_FAILED", "no path"
    result.resolution.status.name, result.resolution.dialogue_id = "OK", "d1"
    result.resolution.target = [Target(id="bonnet")]
    behaviour = example.which_object("take the chick", "", "pick", plan_only=True)
    assert behaviour.name == "pick"
    assert behaviour._goal() == PickInstruction.Goal(instruction="take the chick", plan_only=True)
    ended = SimpleNamespace(result=result, status=GoalStatus.STATUS_ABORTED)
    assert behaviour._judge(ended) is Status.FAILURE
    found = board_of("pick")
    assert (found["status"], found["message"], found["dialogue_id"]) == ("PLANNING_FAILED", "no path", "d1")
    assert example.last_result() is result
    assert example.told(result) == "PLANNING_FAILED: no path"


@pytest.mark.parametrize("words", [["--plan-only", "the chick"], ["--action", "grasp", "the chick"]])
def test_what_makes_no_sense_is_refused_before_anything_is_called(example: Any, words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        example.main(["py_trees_pick.py", *words])
    assert ended.value.code == 2


def test_a_tree_that_is_interrupted_cancels_its_goal_and_can_begin_again(live: Graph, example: Any) -> None:
    tree = Tree(live, example.which_object(SENTENCE, ""))
    tree.until(lambda: live.desk.busy, "the goal waits for a frame", frames=False)
    tree.tree.root.stop(Status.INVALID)
    live.until(lambda: live.answers, "the goal has ended")
    assert live.answers[-1].status.name == "CANCELLED"
    assert tree.tree.root.status is Status.INVALID
    assert tree.ended() is Status.SUCCESS


def test_an_interruption_before_the_goal_is_accepted_cancels_it_too(example: Any) -> None:
    class Handle:
        accepted, cancelled = True, False

        def get_result_async(self) -> Any:
            return self

        def add_done_callback(self, _: Any) -> None: ...

        def cancel_goal_async(self) -> None:
            self.cancelled = True

        def result(self) -> Any:
            return self

    call, handle = example.Call(), Handle()
    call.abandon()
    assert not handle.cancelled
    call.accepted(handle)
    assert handle.cancelled


def test_a_server_that_is_not_there_is_failure_after_a_while_and_no_tick_waits(quiet: Graph, example: Any) -> None:
    goals = iter([ResolveInstruction.Goal(instruction=SENTENCE)])
    nobody = example.CallAction("nobody", ResolveInstruction, "nowhere", lambda: next(goals), patience=0.2)
    tree = Tree(quiet, nobody)
    assert tree.tick() is Status.RUNNING
    assert "waiting for nowhere" in nobody.feedback_message
    assert tree.ended(frames=False) is Status.FAILURE
    assert "does its node run" in board_of("nobody")["message"]


def test_a_node_that_is_not_active_rejects_and_that_is_failure(live: Graph, example: Any) -> None:
    assert live.change(Transition.TRANSITION_DEACTIVATE)
    tree = Tree(live, example.which_object(SENTENCE, ""))
    assert tree.ended(frames=False) is Status.FAILURE
    assert "rejected" in board_of("resolve")["message"]
