# SPDX-License-Identifier: Apache-2.0
"""What becomes of requests: cancelled, one too many, withdrawn, part of a dialogue, hostile; and of their grounder."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from action_msgs.msg import GoalStatus
from action_msgs.srv import CancelGoal
from lifecycle_msgs.msg import Transition
from live_graph import Goal, Graph, HeldGrounder
from live_process import Started
from live_scene import DETECTIONS, FRAME, SENTENCE, core_position
from std_msgs.msg import String
from tables import rows

from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.streams.frame_assembler import stamp_of

CUP, CHICK = "grab me the cup", "grab me the chick"


def assert_cancelled(
    graph: Graph, goal: Goal, status: int = GoalStatus.STATUS_CANCELED, published: bool = True
) -> None:
    graph.ended(goal)
    assert (goal.name, goal.status) == ("CANCELLED", status), goal.message
    graph.assert_no_pose(goal.result, published)


@pytest.mark.parametrize(("base_frame", "stages"), [("world", [1]), ("nowhere", [1, 2])], ids=["frame", "transform"])
def test_a_goal_that_waits_can_be_cancelled_once(live: Graph, base_frame: str, stages: list[int]) -> None:
    live.use(base_frame=base_frame, transform_timeout=10.0)
    goal = live.send_goal(SENTENCE)
    if 2 in stages:
        live.feed(lambda: 2 in goal.stages, "it waits for the transform")
    live.until(lambda: goal.stages, "it waits")
    assert live.cancel(goal) == CancelGoal.Response.ERROR_NONE
    assert_cancelled(live, goal)
    assert goal.stages == stages
    live.use(base_frame="world")
    goal = live.ask()
    assert live.cancel(goal) == CancelGoal.Response.ERROR_GOAL_TERMINATED
    assert (goal.name, goal.status) == ("OK", GoalStatus.STATUS_SUCCEEDED)


def test_several_instructions_of_one_goal_are_answered_on_one_image_each_alone(live: Graph) -> None:
    goal = live.ask("grab me the gnu", others=[SENTENCE, "grab me the", CHICK])
    assert goal.name == "NOT_FOUND", goal.message
    assert [answer.status.name for answer in goal.others] == ["OK", "NOT_UNDERSTOOD", "AMBIGUOUS"]
    assert [answer.instruction for answer in goal.others] == [SENTENCE, "grab me the", CHICK]
    stamps = {stamp_of(answer) for answer in (goal.result, goal.others[0], goal.others[2])}
    assert len(stamps) == 1
    (told,) = live.answer("the one behind the cup", dialogue_id=goal.others[2].dialogue_id).target
    assert told.pose.pose.position == goal.others[0].target[0].pose.pose.position


def test_a_stop_among_other_instructions_stops(live: Graph) -> None:
    live.assert_refused(live.send_goal(CUP, others=["grab me the chick", "stop"]), "CANCELLED", "'stop' asks to stop")


def test_more_words_than_are_read_in_time_are_refused_at_once(live: Graph) -> None:
    live.assert_refused(live.send_goal(CUP, others=["the cup behind " * 60] * 4), "INVALID_INPUT", "together")


def test_words_that_are_not_understood_do_not_keep_others_from_being_answered(live: Graph) -> None:
    goal = live.ask("grab me the", others=[SENTENCE])
    assert (goal.name, [answer.status.name for answer in goal.others]) == ("NOT_UNDERSTOOD", ["OK"])


@pytest.mark.parametrize("frames", [0, 2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3))])
def test_cancelling_at_any_moment_ends_in_an_answer_or_cancelled(live: Graph, frames: int) -> None:
    goal = live.send_goal(SENTENCE)
    for _ in range(frames):
        live.camera.send(live.camera.parts(FRAME, DETECTIONS, live.camera.now()))
    live.cancel(goal)
    live.feed(lambda: goal.result is not None, "it has ended")
    expected = {"OK": GoalStatus.STATUS_SUCCEEDED, "CANCELLED": GoalStatus.STATUS_CANCELED}
    assert goal.status == expected[goal.name]
    live.answer()


def test_a_client_that_goes_away_leaves_the_node_working(live: Graph) -> None:
    guest, client = live.new_client("guest")
    live.offered(client)
    live.send_goal(SENTENCE, client=client)
    live.leave(guest)
    live.feed(lambda: live.answers, "its answer is published")
    live.answer()


def test_one_too_many_is_told_that_the_node_is_busy_and_the_first_is_answered(live: Graph) -> None:
    live.use(queue_depth=0)
    live.camera.publish("instruction", String(data=""), qos.INSTRUCTIONS)
    live.heard("instruction")
    _, other = live.new_client("other")
    live.offered(other)
    first = live.send_goal(SENTENCE)
    live.assert_refused(live.send_goal(CUP, client=other), "BUSY", SENTENCE, "cancel")
    live.camera.publish("instruction", String(data=CHICK), qos.INSTRUCTIONS)
    live.until(lambda: any(a.instruction == CHICK for a in live.answers), "the instruction by topic is refused, too")
    refused = next(a for a in live.answers if a.instruction == CHICK)
    assert refused.status.name == "BUSY"
    live.assert_no_pose(refused)
    assert first.result is None
    live.feed(lambda: first.result is not None, "the first is answered")
    assert (first.name, first.status) == ("OK", GoalStatus.STATUS_SUCCEEDED)


def test_a_burst_of_twenty_clients_gets_twenty_replies(live: Graph) -> None:
    """rclpy's services keep 10 requests by default. One is served, 8 wait, 11 are told that the node is busy."""
    goals = live.send_goals(SENTENCE, live.crowd(20))
    live.until(lambda: sum(goal.result is not None for goal in goals) == 11, "those that do not fit are refused")
    assert {goal.name for goal in goals if goal.result is not None} == {"BUSY"}
    live.feed(lambda: all(goal.result is not None for goal in goals), "all have a reply")
    assert sorted(goal.name for goal in goals) == ["BUSY"] * 11 + ["OK"] * 9
    live.until(lambda: len(live.answers) == 20, "each answer is published")
    live.until(lambda: len(live.markers) == 9, "markers are of those that were served: the busy node keeps them")


def _cancelled(graph: Graph, goal: Goal) -> None:
    assert graph.cancel(goal) == CancelGoal.Response.ERROR_NONE
    assert_cancelled(graph, goal)


def _deactivated(graph: Graph, goal: Goal) -> None:
    assert graph.change(Transition.TRANSITION_DEACTIVATE)
    assert_cancelled(graph, goal, GoalStatus.STATUS_ABORTED, published=False)
    assert graph.send_goal(SENTENCE).accepted is False
    assert graph.change(Transition.TRANSITION_ACTIVATE)


def test_a_grounder_that_computes_is_disturbed_by_nothing_but_the_end_of_its_goal(graph: Graph, tmp_path: Path) -> None:
    held = HeldGrounder(tmp_path)
    graph.start(base_frame="", frame_timeout=15.0, queue_depth=0, **held.parameters)
    ends: tuple[Callable[[Graph, Goal], None], ...] = (_cancelled, _deactivated)
    pid = graph.resolver._keeper.grounder.pid
    for ended in ends:
        ended(graph, held.computes(graph))
        held.end.touch()
        graph.answer()
        assert graph.resolver._keeper.grounder.pid == pid
        graph.until(lambda: graph.targets, "the answer is published")
        graph.targets.clear()
    goal = held.computes(graph)
    graph.assert_refused(graph.send_goal(CUP), "BUSY")
    held.end.touch()
    graph.ended(goal)
    assert goal.name == "OK"


def test_the_answer_to_a_question_is_looked_for_in_a_new_frame_and_may_be_mended(live: Graph) -> None:
    asked = live.ask(CHICK)
    live.assert_refused(asked, "AMBIGUOUS")
    assert asked.result.question == "Which chick: the bonnet one or the ribbon one?"
    found = live.answer("the bonnet one", dialogue_id=asked.result.dialogue_id)
    assert found.target[0].id == "bonnet"
    assert stamp_of(found) > stamp_of(asked.result)
    assert live.answer("no, the other one", dialogue_id=found.dialogue_id).target[0].id == "ribbon"


def test_hostile_words_are_refused_and_the_node_answers_on(live: Graph) -> None:
    for what, words in rows(__file__, "hostile_words"):
        goal = live.ask(words)
        assert goal.name in ("NOT_UNDERSTOOD", "NOT_FOUND", "INVALID_INPUT"), (what, goal.name)
        live.assert_refused(goal, goal.name)
        assert len(goal.message) < 2000, what
    live.answer()


@pytest.mark.parametrize(
    ("field", "words"), [("frame_of_reference", ("martian", "viewer")), ("dialogue_id", ("martian", "dialogue_id"))]
)
def test_fields_that_cannot_be_are_refused_and_it_answers_on(live: Graph, field: str, words: tuple[str, ...]) -> None:
    live.assert_refused(live.ask(**{field: "martian"}), "INVALID_INPUT", *words)
    for hostile in ("x" * 10_000, "%s {}", "🐤", "\x1b[2J", '"'):
        live.assert_refused(live.ask(**{field: hostile}), "INVALID_INPUT")
    live.answer()


def test_a_grounder_answers_and_costs_one_goal_where_it_is_killed_or_hangs(graph: Graph, tmp_path: Path) -> None:
    held = HeldGrounder(tmp_path)
    held.end.touch()
    graph.start(base_frame="world", frame_timeout=15.0, **held.parameters)
    graph.camera.tf(FRAME.base_T_camera, static=True)

    def pid() -> int:
        return int(graph.resolver._keeper.grounder.pid)

    def answers() -> None:
        held.end.touch()
        goal = graph.ask(change=lambda parts: parts.pop("detections"))
        assert goal.position == pytest.approx(core_position(), abs=1e-6)
        assert json.loads(goal.surroundings)["all_objects"] is False
        graph.until(lambda: graph.targets, "the answer is published")
        graph.targets.clear()

    answers()
    assert not graph.node.count_subscribers(graph.node.resolve_topic_name("detections"))
    first, goal = pid(), held.computes(graph)
    os.kill(first, signal.SIGKILL)
    graph.assert_refused(goal, "MODEL_ERROR", "SIGKILL", "the next request")
    answers()
    assert pid() != first

    graph.use(grounder_timeout=0.3)
    second = pid()
    graph.assert_refused(held.computes(graph), "TIMEOUT", "0.3 s")
    graph.until(lambda: not Started.alive(second), "it is dead")
    graph.use(grounder_timeout=20.0)
    answers()

    third = pid()
    assert graph.change(Transition.TRANSITION_DEACTIVATE)
    assert Started.alive(third)
    assert graph.change(Transition.TRANSITION_CLEANUP)
    graph.until(lambda: not Started.alive(third), "a clean-up ends it")
    assert graph.change(Transition.TRANSITION_CONFIGURE)
    assert graph.change(Transition.TRANSITION_ACTIVATE)
    graph.offered()
    fourth, goal = pid(), held.computes(graph)
    assert graph.change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    graph.ended(goal)
    assert goal.name == "CANCELLED"
    graph.until(lambda: not Started.alive(fourth), "a shutdown ends it")
