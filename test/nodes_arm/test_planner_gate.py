# SPDX-License-Identifier: Apache-2.0
"""The gate before a simulated arm: words, approval and motion end to end, and what must not move anything.

One cell is started for all of these; its world is put back between them. Goals that the controllers accept are counted
by the simulation.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("mujoco")

from action_msgs.msg import GoalStatus
from approval_visitor import Visitor
from gate_cell import FIXED, OTHER, SENTENCE, Cell, later, running_cell
from live_process import ROOT, Started
from spatial_vlm_interfaces.msg import Proposal
from std_msgs.msg import String
from std_srvs.srv import Trigger

from spatial_vlm_ros.evaluation.approval_replay import check_proposal, proposals
from spatial_vlm_ros.manipulation.approval.address import address_in
from spatial_vlm_ros.manipulation.approval.audit import verify
from spatial_vlm_ros.manipulation.builtin_planner.robot import description_file
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.messages import time_of

Program = Callable[..., Started]
PLANNED = "Plan only: nothing will move"
PLANNING, WAITING, MOVING = 3, 4, 6
PATIENCE = 60.0  # s, of the gate with a person
HELD_UP = 0.6  # s for which a client shows no sign of life: longer than while the arm moves, shorter than before
LOOKS = 10.0  # s in which a gate has ended that heard of another one while it looked


@pytest.fixture
def program(cell: Cell, tmp_path: Path) -> Iterator[Program]:
    """Starts a program of the repository in the cell's domain."""
    running: list[Started] = []

    def begin(*words: str) -> Started:
        log = tmp_path / f"{len(running)}.txt"
        running.append(Started(words, log, {"ROS_DOMAIN_ID": str(cell.graph.domain)}))
        return running[-1]

    yield begin
    for each in running:
        each.close()


def link_of(gate: Started) -> tuple[str, str]:
    """Port and token of a gate's page, as its log says where they are."""
    told = [where for line in gate.output.splitlines() if (where := address_in(line)) is not None]
    link = told[-1].link()
    assert link is not None, gate.output
    assert link not in gate.output
    port, token = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)", link).groups()  # type: ignore[union-attr]
    assert token not in gate.output
    return port, token


def ended_or_stays(gate: subprocess.Popen[bytes], until: float) -> bool:
    """Whether it has ended, or the time (monotonic, s) is over."""
    return gate.poll() is not None or time.monotonic() > until


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    mobile = {"observation.fixed_frame": FIXED}
    with running_cell(Cell, tmp_path_factory.mktemp("cell"), approval_timeout=PATIENCE, **mobile) as made:
        yield made


def test_a_request_for_a_plan_alone_asks_nobody_and_moves_nothing(cell: Cell) -> None:
    picking = cell.run(plan_only=True)
    assert (picking.name, picking.result.moved) == ("OK", False)
    assert WAITING not in picking.stages
    assert len(picking.result.plan_hash) == 64
    assert cell.accepted() == 0


def test_an_ambiguous_request_is_asked_back_and_its_answer_is_planned(cell: Cell) -> None:
    asked = cell.run("put the chick on the tray").result
    assert asked.status.name == "AMBIGUOUS"
    assert asked.resolution.question
    answered = cell.run("the ribbon one", dialogue_id=asked.resolution.dialogue_id, plan_only=True)
    assert (answered.name, answered.result.resolution.target[0].id) == ("OK", "ribbon")
    assert cell.accepted() == 0


def test_of_two_chicks_one_is_chosen_by_a_button_of_the_page_and_its_plan_is_drawn_there(
    cell: Cell, program: Program
) -> None:
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    with cell.another_gate(questions="page", page=True) as asking:
        port, token = link_of(asking)
        person = Visitor("127.0.0.1", int(port)).sign_in(token)
        picking = program(*COMMAND, "put the chick on the tray", "--plan-only", "--namespace", OTHER)
        picking.says(f"; approve at http://127.0.0.1:{port}/ (with its token: ")
        cell.until(lambda: "Which chick" in person.get().text, "the question is on the page")
        assert person.press("the ribbon one (ribbon)").status == 303
        assert picking.ends() == 0, picking.output
        assert "OK  Planned: take the chick (ribbon)" in picking.output
        assert token not in picking.output, "it is no terminal"
        assert "… drawing the plan: take the chick (ribbon) " in picking.output
        assert f"; see it at http://127.0.0.1:{port}/ (with its token: " in picking.output
        plan_is_shown_and_cannot_be_approved(cell, person)
        assert cell.run("put the elephant on the tray", pick=cell.other_pick).name == "NOT_FOUND"
        assert PLANNED not in person.get().text, "it stays until the next request"
    assert cell.accepted() == 0


def plan_is_shown_and_cannot_be_approved(cell: Cell, person: Visitor) -> None:
    """Of the other gate: on its page, and by its service."""
    text = person.get().text
    for words in (PLANNED, "Nothing moves: plan_only is set.", '<td class="number">', "take the chick (ribbon)"):
        assert words in text, words
    assert "could not be approved" not in text
    for address in re.findall(r'(?:src|data-motion|data-scene)="(/(?:picture|motion)/\w+)"', text):
        assert person.get(address).status == 200
    motion = person.get(re.findall(r'data-motion="([^"]+)"', text)[0])
    assert json.loads(motion.body)["links"], "the arm is drawn"
    for words in ("/decide", "Approve this plan", "Reject this plan"):
        assert words not in text
    goal, stamp, plan = re.findall(r"<dd><code>([\w-]+)</code>", text)
    before = cell.record(cell.other_audit)
    assert "PROPOSED" not in [line["event"] for line in before]
    assert not [proposal for proposal in cell.proposals if proposal.goal_id == goal]
    named = Proposal(goal_id=goal, scene_stamp=time_of(int(stamp)), plan_hash=plan)
    for said in (True, False):
        assert cell.approve(named, said, cell.other_approving) == "REJECTED"
    after = cell.record(cell.other_audit)[len(before) :]
    assert [(line["event"], "not the open proposal" in line["outcome"]) for line in after] == [("REFUSED", True)] * 2
    assert PLANNED in person.get().text


def test_a_behaviour_tree_has_an_object_planned_as_the_guide_says(cell: Cell, program: Program) -> None:
    pytest.importorskip("py_trees")
    guide = (ROOT / "docs" / "drop_in.md").read_text(encoding="utf-8")
    calls = re.findall(r"^python (examples/py_trees_pick\.py --action .*)\n((?:# .*\n)+)", guide, re.MULTILINE)
    ((line, printed),) = calls
    tree = program(*shlex.split(line))
    assert tree.ends() == 0, tree.output
    said = [line.rstrip() for line in tree.output.splitlines() if line.strip() and not line.startswith("[")]
    assert said == [line.removeprefix("# ") for line in printed.splitlines()], tree.output
    assert cell.accepted() == 0


def test_a_behaviour_tree_that_is_interrupted_withdraws_its_proposal(cell: Cell, program: Program) -> None:
    pytest.importorskip("py_trees")
    before = len(cell.proposals)
    tree = program("examples/py_trees_pick.py", "--action", "pick", SENTENCE)
    cell.until(lambda: len(cell.proposals) > before, "it is proposed")
    tree.says("waiting for approval")
    tree.interrupt()
    assert tree.ends() == 1
    goal = cell.proposals[-1].goal_id
    withdrawn = ("WITHDRAWN", goal)
    cell.until(lambda: withdrawn in [(e["event"], e.get("goal_id")) for e in cell.record()], "the gate withdraws it")
    assert cell.accepted() == 0


COMMAND = ("-m", "spatial_vlm_ros.cli", "pick")


def test_the_command_tells_the_stages_and_what_was_planned(cell: Cell, program: Program) -> None:
    picking = program(*COMMAND, SENTENCE, "--plan-only")
    assert picking.ends() == 0, picking.output
    stages = ("… looking for the object", "… planning how to take the chick", "OK  Planned: take the chick (bonnet)")
    assert all(words in picking.output for words in stages), picking.output
    assert cell.accepted() == 0


def test_the_command_hands_on_a_question_and_ends_as_refused(program: Program) -> None:
    picking = program(*COMMAND, "put the chick on the tray")
    assert picking.ends() == 3, picking.output
    assert "AMBIGUOUS" in picking.output
    assert "Which chick" in picking.output
    assert "answer:" not in picking.output, "nobody is at its terminal"


def test_the_command_takes_back_what_waits_for_approval(cell: Cell, program: Program) -> None:
    before = len(cell.proposals)
    picking = program(*COMMAND, SENTENCE)
    cell.until(lambda: len(cell.proposals) > before, "it is proposed")
    picking.says("… waiting for approval")
    picking.says("; this gate has no page; approve with the service /approve")
    picking.interrupt()
    assert picking.ends() == 130, picking.output
    assert "CANCELLED" in picking.output
    assert cell.approve(cell.proposals[-1]) in ("CANCELLED", "REJECTED")
    assert cell.accepted() == 0


def test_a_client_that_is_held_up_before_the_motion_keeps_its_goal(cell: Cell, program: Program) -> None:
    before = len(cell.proposals)
    picking = program(*COMMAND, SENTENCE)
    cell.until(lambda: len(cell.proposals) > before, "it is proposed")
    picking.process.send_signal(signal.SIGSTOP)
    end = time.monotonic() + HELD_UP
    cell.until(lambda: time.monotonic() > end, "some time passes")
    picking.process.send_signal(signal.SIGCONT)
    assert cell.approve(cell.proposals[-1], approve=False, reason="not today") == "OK"
    assert picking.ends() == 3, picking.output
    assert "not today" in picking.output
    assert cell.accepted() == 0


@pytest.mark.parametrize(
    ("instruction", "status"),
    [("put the teapot on the tray", "NOT_FOUND"), ("the blah of of", "NOT_UNDERSTOOD")],
)
def test_refusals_of_the_resolver_are_handed_on(cell: Cell, instruction: str, status: str) -> None:
    picking = cell.run(instruction)
    assert (picking.name, picking.status) == (status, GoalStatus.STATUS_ABORTED)
    assert cell.accepted() == 0


def test_what_is_rejected_does_not_move(cell: Cell) -> None:
    picking, proposal = cell.proposed()
    assert cell.approve(proposal, approve=False, reason="not today") == "OK"
    assert cell.end(picking).name == "REJECTED"
    assert "not today" in picking.result.status.message
    assert cell.approve(proposal) == "REJECTED"
    assert cell.accepted() == 0


def test_an_approval_of_something_else_counts_for_nothing(cell: Cell) -> None:
    picking, proposal = cell.proposed()
    assert cell.approve(proposal, goal_id=str(uuid.uuid4())) == "REJECTED"
    assert cell.approve(proposal, plan_hash="0" * 64) == "REJECTED"
    assert cell.approve(proposal, scene_stamp=later(proposal.scene_stamp)) == "REJECTED"
    assert cell.approve(proposal, goal_id="the other one") == "INVALID_INPUT"
    assert cell.approve(proposal, decided_by="") == "INVALID_INPUT"
    assert picking.result is None
    picking.handle.cancel_goal_async()
    assert cell.end(picking).status == GoalStatus.STATUS_CANCELED
    assert picking.name == "CANCELLED"
    assert cell.approve(proposal) in ("CANCELLED", "REJECTED")
    assert cell.accepted() == 0


def test_approve_wants_the_token_that_lies_beside_the_record(cell: Cell) -> None:
    token = cell.audit.with_suffix(".token")
    assert token.stat().st_mode & 0o777 == 0o600
    assert len(token.read_text().strip()) >= 43  # 256 bits
    picking, proposal = cell.proposed()
    for wrong in ("", token.read_text().strip()[:-1], "\u00e9" * 43):
        assert cell.approve(proposal, token=wrong) == "REJECTED"
    assert picking.result is None
    picking.handle.cancel_goal_async()
    assert cell.end(picking).name == "CANCELLED"
    refused = [line for line in cell.record() if line["event"] == "REFUSED" and "token" in line["outcome"]]
    assert {line["goal_id"] for line in refused} == {proposal.goal_id}
    assert len(refused) == 3
    assert cell.accepted() == 0


def test_a_second_gate_on_the_same_arm_ends_and_while_it_is_there_nothing_moves(cell: Cell) -> None:
    for _ in range(3):
        with cell.second_gate() as second:
            cell.until(lambda: "another gate" in second.output, "the second gate hears of the first")
            cell.until(partial(ended_or_stays, second.process, time.monotonic() + LOOKS), "it ends or stays")
            if second.process.poll() is not None:
                break
            # On a busy machine it hears of the other one late. Then both stay, and neither moves anything.
            assert cell.run().name == "REJECTED"
    assert second.process.returncode == 1
    assert "another gate commands this arm: " in second.output, second.output
    outcomes = [line.get("outcome", "") for line in cell.record(cell.other_audit) if line["event"] == "REFUSED"]
    assert any("another gate commands this arm" in outcome for outcome in outcomes)
    with cell.somebody_who_says_it_is_a_gate():
        assert cell.run().name == "REJECTED"
        assert cell.run(plan_only=True).name == "OK"
    assert any(line.get("remote") == "second gate" for line in cell.record())
    assert cell.run(plan_only=True).name == "OK"
    assert cell.accepted() == 0


def test_an_approval_that_comes_late_is_told_so(cell: Cell) -> None:
    with cell.another_gate(approval_timeout=3.0):
        picking, proposal = cell.proposed(cell.other_pick)
        assert (cell.end(picking).name, picking.result.moved) == ("APPROVAL_EXPIRED", False)
        assert cell.approve(proposal, approving=cell.other_approving) == "APPROVAL_EXPIRED"
    assert [line["event"] for line in cell.record(cell.other_audit)].count("EXPIRED") == 1
    assert cell.accepted() == 0


def test_the_arm_is_drawn_as_the_topic_robot_description_has_it(cell: Cell) -> None:
    """As robot_state_publisher tells it for MoveIt: the text of a URDF, once."""
    urdf = description_file()
    text = urdf.read_text().replace("package://example-robot-data/robots/panda_description", str(urdf.parents[1]))
    told = cell.node.create_publisher(String, "robot_description", qos.DESCRIPTION)
    told.publish(String(data=text))
    try:
        with cell.another_gate(robot_description="''"):
            cell.until(lambda: told.get_subscription_count() > 1, "both gates hear the description")
            picking, proposal = cell.proposed(cell.other_pick)
            assert cell.approve(proposal, approve=False, approving=cell.other_approving) == "OK"
            assert cell.end(picking).name == "REJECTED"
        with cell.another_gate(robot_description="/"):
            picking, proposal = cell.proposed(cell.other_pick)
            assert cell.approve(proposal, approve=False, approving=cell.other_approving) == "OK"
            cell.end(picking)
    finally:
        cell.node.destroy_publisher(told)
    drawn, without = proposals(cell.other_audit)[-2:]
    assert drawn.content["preview"]["missing"] == drawn.content["preview"]["fault"] == ""
    assert all(check.holds for check in check_proposal(cell.other_audit, drawn, text)[1])
    assert "no description of the arm" in without.content["preview"]["missing"]
    assert cell.accepted() == 0


def test_a_transform_that_jumps_while_a_person_decides_is_noticed(cell: Cell) -> None:
    picking, proposal = cell.proposed()
    cell.camera_jumps_and_comes_back()
    assert cell.approve(proposal) == "OK"
    assert (cell.end(picking).name, picking.result.moved) == ("SCENE_CHANGED", False)
    assert "the transform" in picking.result.status.message
    assert cell.accepted() == 0


def test_a_base_that_moves_while_a_person_decides_is_noticed(cell: Cell) -> None:
    picking, proposal = cell.proposed()
    try:
        cell.base_is(0.02)
        assert cell.approve(proposal) == "OK"
        assert (cell.end(picking).name, picking.result.moved) == ("SCENE_CHANGED", False)
        assert "the base moved by 0.020 m" in picking.result.status.message
        assert cell.accepted() == 0
    finally:
        cell.base_is(0.0)


def test_nothing_is_planned_where_it_is_not_known_whether_the_base_moves(cell: Cell) -> None:
    cell.base_is(None)
    try:
        picking = cell.run(plan_only=True)
        assert (picking.name, picking.result.moved) == ("TF_UNAVAILABLE", False)
        assert "odom <- panda_link0" in picking.result.status.message
        assert PLANNING not in picking.stages
    finally:
        cell.base_is(0.0)


def test_one_goal_at_a_time(cell: Cell) -> None:
    first, _ = cell.proposed()
    assert cell.run().name == "BUSY"
    first.handle.cancel_goal_async()
    assert cell.end(first).name == "CANCELLED"


def test_a_stop_ends_what_waits(cell: Cell) -> None:
    picking, proposal = cell.proposed()
    assert cell.wait(cell.stopping.call_async(Trigger.Request()), "stop answers").success
    assert cell.end(picking).name == "CANCELLED"
    assert cell.approve(proposal) != "OK"
    assert cell.accepted() == 0


@pytest.mark.parametrize("words", ["stop", "never mind, please", "halt! put it down"])
def test_words_that_ask_to_stop_end_what_waits_and_are_no_goal(cell: Cell, words: str) -> None:
    picking, proposal = cell.proposed()
    said = cell.run(words)
    assert said.name == "CANCELLED"
    assert said.result is not None
    assert "asks to stop" in said.result.status.message
    assert cell.end(picking).name == "CANCELLED"
    assert cell.approve(proposal) != "OK"
    assert cell.accepted() == 0


def test_words_that_ask_the_resolver_to_stop_reach_the_gate(cell: Cell, program: Program) -> None:
    picking, proposal = cell.proposed()
    asking = program("-m", "spatial_vlm_ros.cli", "ask", "stop!")
    assert asking.ends() == 3, asking.output
    assert "asks to stop" in asking.output
    assert cell.end(picking).name == "CANCELLED"
    assert cell.approve(proposal) != "OK"


@pytest.mark.parametrize(
    "change",
    [
        {"move": {"id": "bonnet", "to": [0.5, 0.2, 0.0]}},
        {"move": {"id": "bonnet", "to": [0.433, 0.03, 0.0]}},
        {"remove": {"id": "bonnet"}},
        {"remove": {"id": "cup"}},
        {"camera": {"by": [0.05, 0.0, 0.0], "told": True}},
    ],
    ids=["target moved", "target 13 mm off", "target removed", "anchor removed", "camera moved"],
)
def test_what_changed_after_the_plan_is_not_acted_on(cell: Cell, change: dict[str, object]) -> None:
    picking, proposal = cell.proposed()
    try:
        cell.disturb(**change)
        assert cell.approve(proposal) == "OK"
        assert (cell.end(picking).name, picking.result.moved) == ("SCENE_CHANGED", False)
        assert cell.accepted() == 0
    finally:
        cell.again()


def test_a_cancelled_motion_leaves_the_arm_still(cell: Cell) -> None:
    before = cell.accepted()
    picking, proposal = cell.proposed()
    assert cell.approve(proposal) == "OK"
    cell.until(lambda: cell.accepted() > before or picking.result, "the arm has begun")
    picking.handle.cancel_goal_async()
    assert (cell.end(picking).name, picking.result.moved) == ("CANCELLED", True)
    told = cell.verdict()["goals"]["arm"]
    assert told["accepted"] == sum(told.get(end, 0) for end in ("succeeded", "aborted", "canceled"))
    cell.again()


def test_what_was_approved_is_done_and_physics_agrees(cell: Cell) -> None:
    before = cell.accepted()
    picking, proposal = cell.proposed()
    assert proposal.instruction == SENTENCE
    assert cell.approve(proposal) == "OK"
    assert cell.approve(proposal) == "REJECTED"  # a second use
    assert (cell.end(picking).name, picking.result.moved) == ("OK", True), picking.result.status.message
    assert picking.result.plan_hash == proposal.plan_hash
    assert picking.stages[-1] == MOVING
    cell.until(lambda: cell.verdict()["done"], "physics agrees")
    verdict = cell.verdict()
    assert verdict["moved"] == ["bonnet"]
    others = {name: force for name, force in verdict["forces_n"].items() if name not in ("bonnet", "table", "tray")}
    assert all(force <= 5.0 for force in others.values()), others
    assert cell.accepted() == before + 9  # six trajectories, three widths
    cell.again()


def test_a_resolver_that_sees_nothing_for_a_while_keeps_the_approval_and_is_told(cell: Cell) -> None:
    before = cell.accepted()
    picking, proposal = cell.proposed()
    with cell.resolver_inactive():
        assert cell.approve(proposal) == "OK"
        told = "the resolver is not active"
        cell.until(lambda: any(told in words for words in picking.words) or picking.result, "it is told")
        assert picking.result is None, picking.result.status.message
        assert any("The approval is valid for another" in words for words in picking.words), picking.words
        assert MOVING not in picking.stages
    cell.until(lambda: cell.accepted() > before or picking.result, "it goes on")
    picking.handle.cancel_goal_async()
    assert cell.end(picking).result.moved, picking.result.status.message
    cell.again()


def test_a_controller_that_does_not_take_the_trajectory_ends_it(cell: Cell) -> None:
    somebody = cell.occupy(3600.0)
    before = cell.verdict()["goals"]["arm"]
    picking, proposal = cell.proposed()
    assert cell.approve(proposal) == "OK"
    assert cell.end(picking).name == "EXECUTION_FAILED", picking.result.status.message
    after = cell.verdict()["goals"]["arm"]
    assert (after["accepted"], after["refused"]) == (before["accepted"], before["refused"] + 1)
    cell.wait(somebody.cancel_goal_async(), "the cancel is taken")
    cell.wait(somebody.get_result_async(), "the arm is free")


def test_a_planner_that_is_killed_while_it_plans_ends_the_goal(cell: Cell) -> None:
    before = cell.accepted()
    planner = cell.processes["arm_planner"].process
    planner.send_signal(signal.SIGSTOP)  # so that it ends while it plans
    picking = cell.send()
    cell.until(lambda: PLANNING in picking.stages, "it is planned")
    planner.terminate()  # killed, it may leave locks in shared memory, on which others wait
    planner.send_signal(signal.SIGCONT)
    planner.wait()
    assert (cell.end(picking).name, picking.result.moved) == ("PLANNER_UNAVAILABLE", False)
    assert cell.run().name == "PLANNER_UNAVAILABLE"
    assert cell.accepted() == before


def test_all_of_it_is_on_record(cell: Cell) -> None:
    events = [line["event"] for line in cell.record()]
    assert events.count("EXECUTION_BEGUN") == events.count("EXECUTION_ENDED") == 4  # cancelled, done, kept, not taken
    assert "REFUSED" in events
    assert verify(cell.audit).lines == len(events)


def test_what_was_shown_is_put_together_again_from_the_record(cell: Cell) -> None:
    begun = [p for p in proposals(cell.audit) if any(line["event"] == "EXECUTION_BEGUN" for line in p.events)]
    assert begun
    for proposal in begun:
        files, checks = check_proposal(cell.audit, proposal, str(description_file()))
        assert all(check.holds for check in checks), checks
        assert set(files) == {"camera", "above", "side", "scene", "motion", "plan"}
        assert all(phase["clearance"] is not None for phase in proposal.content["preview"]["phases"])
