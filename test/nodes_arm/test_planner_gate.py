# SPDX-License-Identifier: Apache-2.0
"""The gate before a simulated arm: words, approval and motion end to end, and what must not move anything."""

import copy
import json
import re
import shlex
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rclpy

pytest.importorskip("mujoco")

from action_msgs.msg import GoalStatus
from approval_visitor import Visitor
from gate_cell import CLOCK, FIXED, OTHER, SENTENCE, Cell, later, running_cell
from live_interfaces import matches_the_table
from live_process import ROOT, Started
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from spatial_vlm_interfaces.msg import Proposal
from spatial_vlm_interfaces.srv import Approve
from std_msgs.msg import String
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from spatial_vlm_ros.manipulation.approval.address import address_in
from spatial_vlm_ros.manipulation.approval.audit import verify
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import description_file
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.messages import time_of
from spatial_vlm_ros.recording.approval_replay import check_proposal, proposals

Program = Callable[..., Started]
PLANNED = "Plan only: nothing will move"
WAITING, MOVING = 4, 6
LYING = 0.02  # m: what lies on the table is lower
PATIENCE = 60.0  # s, of the gate with a person
HELD_UP = 0.6  # s for which a client shows no sign of life: longer than while the arm moves, shorter than before
OVER = "'0.35 -0.3 0.45 0.9238795 -0.3826834 0 0'"  # the hand looks down
LOOKS = 10.0  # s in which a gate has ended that heard of another one while it looked


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    more = {"observation.fixed_frame": FIXED, "motion.hand_over": OVER}
    with running_cell(Cell, tmp_path_factory.mktemp("cell"), approval_timeout=PATIENCE, **more) as made:
        yield made


@pytest.fixture
def still(cell: Cell) -> Iterator[Cell]:
    before = cell.accepted()
    yield cell
    cell.withdraw()
    assert cell.accepted() == before


@pytest.fixture
def domain(cell: Cell) -> int:
    """Programs that are started are in the graph of the cell."""
    return cell.graph.domain


def test_every_node_has_in_the_graph_what_the_table_says(still: Cell) -> None:
    looked, simulated = {"base_frame": "panda_link0", "frame_timeout": 30.0, **CLOCK}, {"clock": True}
    given = {"resolver": looked, "sim_arm": simulated, "arm_planner": CLOCK, "arm_planner_watchdog": {},
             "planner_gate": still.given, "planner_gate_watchdog": still.given}  # fmt: skip
    for name, parameters in given.items():
        matches_the_table(still.node, name, parameters)


def test_a_plan_alone_asks_nobody_and_refusals_and_questions_are_handed_on(still: Cell) -> None:
    picking = still.run(plan_only=True)
    assert (picking.name, picking.result.moved) == ("OK", False)
    assert WAITING not in picking.stages
    assert len(picking.result.plan_hash) == 64
    for instruction, status in (("put the teapot on the tray", "NOT_FOUND"), ("the blah of of", "NOT_UNDERSTOOD")):
        refused = still.run(instruction)
        assert (refused.name, refused.status) == (status, GoalStatus.STATUS_ABORTED)
    asked = still.run("put the chick on the tray").result
    assert (asked.status.name, bool(asked.resolution.question)) == ("AMBIGUOUS", True)
    answered = still.run("the ribbon one", dialogue_id=asked.resolution.dialogue_id, plan_only=True)
    assert (answered.name, answered.result.resolution.target[0].id) == ("OK", "ribbon")


@pytest.mark.slow
def test_one_of_two_chicks_is_chosen_on_the_page_where_its_plan_is_drawn(still: Cell, program: Program) -> None:
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    with still.another_gate(questions="page", page=True) as asking:
        told = [where for line in asking.output.splitlines() if (where := address_in(line)) is not None]
        link = told[-1].link()
        port, token = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)", link or "").groups()  # type: ignore[union-attr]
        assert token not in asking.output
        person = Visitor("127.0.0.1", int(port)).sign_in(token)
        picking = program("pick", "put the chick on the tray", "--plan-only", "--namespace", OTHER)
        still.says(picking, f"; approve at http://127.0.0.1:{port}/ (with its token: ")
        still.until(lambda: "Which chick" in person.get().text, "the question is on the page")
        assert person.press("the ribbon one (ribbon)").status == 303
        assert still.ends(picking) == 0, picking.output
        assert "OK  Planned: take the chick (ribbon)" in picking.output
        assert token not in picking.output, "it is no terminal"
        assert "… drawing the plan: take the chick (ribbon) " in picking.output
        assert f"; see it at http://127.0.0.1:{port}/ (with its token: " in picking.output
        plan_is_shown_and_cannot_be_approved(still, person)
        assert still.run("put the elephant on the tray", pick=still.other_pick).name == "NOT_FOUND"
        assert PLANNED not in person.get().text, "it stays until the next request"


def plan_is_shown_and_cannot_be_approved(cell: Cell, person: Visitor) -> None:
    """Of the other gate, by its service; what its page shows is tested in manipulation/approval."""
    text = person.get().text
    assert PLANNED in text
    motion = person.get(re.findall(r'data-motion="([^"]+)"', text)[0])
    assert json.loads(motion.body)["links"], "the arm is drawn"
    goal, stamp, plan = re.findall(r"<dd><code>([\w-]+)</code>", text)
    assert "PROPOSED" not in [line["event"] for line in cell.record(cell.other_audit)]
    assert not [proposal for proposal in cell.proposals if proposal.goal_id == goal]
    named = Proposal(goal_id=goal, scene_stamp=time_of(int(stamp)), plan_hash=plan)
    assert cell.approve(named, approving=cell.other_approving) == "REJECTED"
    cell.until(
        lambda: "not the open proposal" in cell.record(cell.other_audit)[-1].get("outcome", ""), "it is on record"
    )
    assert PLANNED in person.get().text


@pytest.mark.slow
@pytest.mark.parametrize("example", ["py_trees_pick", "pick_client"])
def test_an_example_plans_as_the_guide_says(still: Cell, start: Program, domain: int, example: str) -> None:
    pytest.importorskip("py_trees")
    guide = (ROOT / "docs" / "drop_in.md").read_text(encoding="utf-8")
    ((line, printed),) = re.findall(rf"^python (examples/{example}\.py .*--plan-only .*)\n((?:# .*\n)+)", guide, re.M)
    client = start(*shlex.split(line), ROS_DOMAIN_ID=str(domain))
    assert still.ends(client) == 0, client.output
    said = [line.rstrip() for line in client.output.splitlines() if line.strip() and not line.startswith("[")]
    assert said == [line.removeprefix("# ") for line in printed.splitlines()], client.output


@pytest.mark.slow
def test_ctrl_c_takes_back_what_a_plain_client_asked_for(still: Cell, start: Program, domain: int) -> None:
    before = len(still.proposals)
    client = start("examples/pick_client.py", SENTENCE, ROS_DOMAIN_ID=str(domain))
    still.until(lambda: len(still.proposals) > before, "it is proposed")
    client.interrupt()
    assert still.ends(client) == 3, client.output
    assert "CANCELLED" in client.output


@pytest.mark.parametrize(
    "interrupted",
    [pytest.param(True, id="interrupted"), pytest.param(False, id="held up, then rejected", marks=pytest.mark.slow)],
)
def test_the_command_tells_the_stages_and_takes_back_what_waits_but_keeps_it_while_it_is_held_up(
    still: Cell, program: Program, interrupted: bool
) -> None:
    before = len(still.proposals)
    picking = program("pick", SENTENCE)
    still.until(lambda: len(still.proposals) > before, "it is proposed")
    stages = ("… looking for the object", "… planning a motion for the chick", "… waiting for approval")
    still.says(picking, *stages, "; this gate has no page; approve with the service /approve")
    if interrupted:
        picking.interrupt()
        assert still.ends(picking) == 130, picking.output
        assert "CANCELLED" in picking.output
        assert still.approve(still.proposals[-1]) in ("CANCELLED", "REJECTED")
    else:
        picking.process.send_signal(signal.SIGSTOP)
        end = time.monotonic() + HELD_UP
        still.until(lambda: time.monotonic() > end, "some time passes")
        picking.process.send_signal(signal.SIGCONT)
        assert still.approve(still.proposals[-1], approve=False, reason="not today") == "OK"
        assert still.ends(picking) == 3, picking.output
        assert "not today" in picking.output


def test_an_answer_that_a_second_server_hears_is_worth_nothing_elsewhere(still: Cell) -> None:
    heard: list[Approve.Request] = []

    def hear(request: Approve.Request, response: Approve.Response) -> Approve.Response:
        heard.append(request)
        response.status.name = "OK"  # whoever asks may hear this lie; nothing moves by it
        return response

    spy = still.node.create_service(Approve, "approve", hear)
    still.until(lambda: still.node.count_services("/approve") > 1, "both servers are there")
    picking, first = still.proposed()
    still.approve(first, approve=False, reason="not today")
    still.until(lambda: heard and picking.result, "both hear the answer")
    assert "tester rejected it: not today" in picking.result.status.message
    still._bridge.put(lambda: still.node.destroy_service(spy))
    still.until(lambda: still.node.count_services("/approve") == 1, "the gate's is alone")
    picking, proposal = still.proposed()
    own = {"goal_id": proposal.goal_id, "scene_stamp": proposal.scene_stamp, "plan_hash": proposal.plan_hash}
    told = {"decided_by": "tester", "reason": "not today", "signature": heard[0].signature}
    tries = [heard[0], *(Approve.Request(**own | told, approve=said) for said in (True, False))]
    for request in (*tries, Approve.Request(**own | told | {"decided_by": "eve"})):
        assert still.answer(request) == "REJECTED", request
    for other in ({"goal_id": str(uuid.uuid4())}, {"plan_hash": "0" * 64}, {"scene_stamp": later(first.scene_stamp)}):
        assert still.approve(proposal, **other) == "REJECTED", other
    for malformed in ({"goal_id": "the other one"}, {"decided_by": ""}):
        assert still.approve(proposal, **malformed) == "INVALID_INPUT", malformed
    refused = ["PROPOSED", *["REFUSED"] * 9]
    still.until(lambda: [line["event"] for line in still.record()][-10:] == refused, "every try is on record")
    assert still.run().name == "BUSY", "one goal at a time"
    assert picking.result is None
    assert still.approve(proposal, approve=False) == "OK"
    assert still.end(picking).name == "REJECTED"
    assert still.approve(proposal) == "REJECTED"


@pytest.mark.slow
def test_the_examples_sign_for_an_operator(cell: Cell, start: Program, domain: int, tmp_path: Path) -> None:
    pytest.importorskip("py_trees")
    (tmp_path / "key.pem").write_text(cell.key)
    options = (SENTENCE, "--operator", "tester", "--key", str(tmp_path / "key.pem"))
    client = start("examples/pick_client.py", *options, ROS_DOMAIN_ID=str(domain))
    assert cell.ends(client) == 3, client.output
    assert "tester rejected it" in client.output, "nobody says yes to it"
    tree = start("examples/py_trees_pick.py", "--action", "pick", *options, ROS_DOMAIN_ID=str(domain))
    assert cell.ends(tree) == 0, tree.output
    cell.until(lambda: cell.verdict()["done"], "physics agrees")
    cell.again()


@pytest.mark.parametrize(
    "words",
    ["halt! put it down", "ask: stop!", "", *(pytest.param(w, marks=pytest.mark.slow) for w in ("stop", "never mind"))],
)
def test_a_stop_ends_what_waits(still: Cell, program: Program, words: str) -> None:
    """By the service, by words that are no goal, or by what the resolver is asked."""
    picking, proposal = still.proposed()
    if not words:
        assert still.wait(still.stopping.call_async(Trigger.Request()), "stop answers").success
        who = "service stop (/person or /resolver)"  # both have a client of it
        still.until(lambda: who in [line.get("operator") for line in still.record()], "the record says who it was")
    elif words.startswith("ask"):
        asking = program("ask", words.removeprefix("ask: "))
        assert still.ends(asking) == 3, asking.output
        assert "asks to stop" in asking.output
    else:
        said = still.run(words)
        assert said.name == "CANCELLED"
        assert "asks to stop" in said.result.status.message  # type: ignore[union-attr]
    assert still.end(picking).name == "CANCELLED"
    assert still.approve(proposal) != "OK"


def test_a_second_gate_on_the_same_arm_ends_and_while_it_is_there_nothing_moves(still: Cell) -> None:
    for _ in range(3):
        with still.another_gate(same_arm=True) as second:
            still.until(lambda: "another gate" in second.output, "the second gate hears of the first")
            ends, end = second.process.poll, time.monotonic() + LOOKS
            still.until(lambda ends=ends, end=end: ends() is not None or time.monotonic() > end, "it ends or stays")
            if ends() is not None:
                break
            # On a busy machine it hears of the other one late. Then both stay, and neither moves anything.
            assert still.run().name == "REJECTED"
    assert second.process.returncode == 1
    assert "another gate commands this arm: " in second.output, second.output
    outcomes = [line.get("outcome", "") for line in still.record(still.other_audit) if line["event"] == "REFUSED"]
    assert any("another gate commands this arm" in outcome for outcome in outcomes)
    with still.somebody_who_says_it_is_a_gate():
        assert still.run().name == "REJECTED"
        assert still.run(plan_only=True).name == "OK"
    assert any(line.get("remote") == "second gate" for line in still.record())
    assert still.run(plan_only=True).name == "OK"


@pytest.mark.slow
@pytest.mark.parametrize("source", ["''", "/"], ids=["the topic", "nothing"])
def test_the_arm_is_drawn_as_the_topic_robot_description_has_it(still: Cell, source: str) -> None:
    """As robot_state_publisher tells it for MoveIt: the text of a URDF, once."""
    urdf = description_file()
    text = urdf.read_text().replace("package://example-robot-data/robots/panda_description", str(urdf.parents[1]))
    told = still.node.create_publisher(String, "robot_description", qos.DESCRIPTION)
    told.publish(String(data=text))
    try:
        with still.another_gate(robot_description=source, **{"motion.controller_actions": "/other/follow"}):
            if source == "''":
                still.until(lambda: told.get_subscription_count() > 1, "both gates hear the description")
            picking, proposal = still.proposed(pick=still.other_pick)
            assert still.approve(proposal, approve=False, approving=still.other_approving) == "OK"
            assert still.end(picking).name == "REJECTED"
    finally:
        still._bridge.put(lambda: still.node.destroy_publisher(told))
    drawn = proposals(still.other_audit)[-1]
    preview = drawn.content["preview"]
    if source == "''":
        assert preview["missing"] == preview["fault"] == ""
        assert all(check.holds for check in check_proposal(still.other_audit, drawn, text)[1])
    else:
        assert "no description of the arm" in preview["missing"]


def test_a_target_that_moved_after_the_plan_is_not_acted_on(still: Cell) -> None:
    picking, proposal = still.proposed()
    try:
        still.disturb(move={"id": "bonnet", "to": [0.45, 0.03, 0.0]})  # 3 cm off
        assert still.approve(proposal) == "OK"
        assert (still.end(picking).name, picking.result.moved) == ("SCENE_CHANGED", False)
    finally:
        still.again()


@pytest.mark.parametrize(
    ("topic", "was"),
    [
        ("/tf_static", "it came from /sim_arm"),
        ("/joint_states", "it came from /sim_arm"),
        ("/annotated/image", "it came from /resolver"),
        pytest.param("/resolve/alive", "it came from /resolver", id="heartbeats that would hide its death"),
        pytest.param("", "/resolver has had parameters set", id="parameters of the resolver"),
    ],
)
def test_a_stranger_in_mid_goal_is_refused_and_the_next_proposal_says_so(still: Cell, topic: str, was: str) -> None:
    picking, _ = still.proposed()
    stranger = still.graph.spin(lambda context: rclpy.create_node("stranger", context=context))
    if topic == "/tf_static":
        forged = copy.deepcopy(still.static[-1])
        forged.transforms[0].transform.translation.x += 0.30
        stranger.create_publisher(TFMessage, topic, qos.STATIC_TRANSFORMS).publish(forged)
    elif not topic:
        setting = stranger.create_client(SetParameters, "/resolver/set_parameters")
        still.until(setting.service_is_ready, "they can be set")
        setting.call_async(SetParameters.Request(parameters=[Parameter("sync_slop", value=0.02).to_parameter_msg()]))
    else:
        stranger.create_publisher(JointState if topic == "/joint_states" else String, topic, 10)
    try:
        assert (still.end(picking).name, picking.result.moved) == ("SOURCE_CHANGED", False)
        for words in (picking.result.status.message, still.record()[-1]["reason"]):
            assert re.search(r"(comes from|set by) (/stranger|a node of unknown name)", words)
    finally:
        still.graph.leave(stranger)
        still.again()
    for _ in range(2):  # a rejection confirms nothing
        picking, proposal = still.proposed()
        assert "A source changed" in proposal.motion
        assert was in proposal.motion
        assert still.approve(proposal, approve=False) == "OK"
        assert still.end(picking).name == "REJECTED"


def test_who_was_refused_before_there_was_a_proposal_is_on_record_too(still: Cell) -> None:
    stranger = still.graph.spin(lambda context: rclpy.create_node("stranger", context=context))
    stranger.create_publisher(String, "/rgb/image", 10)
    try:
        still.until(lambda: still.run().name == "SOURCE_CHANGED", "the stranger is seen")
        said = still.record()[-1]
        assert (said["event"], "/rgb/image" in said["outcome"]) == ("REFUSED", True)
    finally:
        still.graph.leave(stranger)
        still.again()
    picking, proposal = still.proposed()
    assert "A source changed" in proposal.motion
    assert still.approve(proposal, approve=False) == "OK"
    assert still.end(picking).name == "REJECTED"


@pytest.mark.slow
def test_a_resolver_that_sees_nothing_keeps_the_approval_and_a_cancelled_motion_ends_still(cell: Cell) -> None:
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
    assert (cell.end(picking).name, picking.result.moved) == ("CANCELLED", True), picking.result.status.message
    told = cell.verdict()["goals"]["arm"]
    assert told["accepted"] == sum(told.get(end, 0) for end in ("succeeded", "aborted", "canceled"))
    cell.again()


def test_what_was_approved_is_done_and_physics_agrees(cell: Cell) -> None:
    before = cell.accepted()
    picking, proposal = cell.proposed()
    assert (proposal.instruction, cell.accepted()) == (SENTENCE, before)
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


def test_two_steps_are_carried_out_and_what_is_held_then_is_put_down_before_anything_is_taken(cell: Cell) -> None:
    impossible = cell.run("put the chick behind the cup on the tray, then put the teapot on the tray")
    assert (impossible.name, impossible.result.moved) == ("NOT_FOUND", False)
    picking, proposal = cell.proposed("put the chick behind the cup on the tray, then take the lemon")
    assert list(proposal.steps) == ["place: put the chick behind the cup on the tray", "take: pick up the lemon"]
    assert cell.approve(proposal) == "OK"
    result = cell.end(picking).result
    assert (picking.name, result.steps_done, result.held) == ("OK", 2, "lemon"), result.status.message
    assert picking.stages.count(MOVING) == 2
    verdict = cell.verdict()
    assert (verdict["delivered"], sorted(verdict["moved"])) == (["bonnet"], ["bonnet", "lemon"])
    taking = cell.run("take the can")
    assert (taking.name, taking.result.moved, taking.result.held) == ("NOT_EXECUTABLE", False, "lemon")
    assert "the hand holds the lemon" in taking.result.status.message
    picking, proposal = cell.proposed("put it down")
    assert proposal.motion == "put the lemon on the table"
    assert cell.approve(proposal) == "OK"
    assert (cell.end(picking).name, picking.result.held) == ("OK", ""), picking.result.status.message
    assert cell.verdict()["things"]["lemon"]["position"][2] < LYING
    cell.again()


@pytest.mark.slow
def test_what_is_handed_over_is_let_go_after_a_second_approval_and_what_slips_stops_the_arm(cell: Cell) -> None:
    for words, motion, held in (
        ("give me the lemon", "take the lemon (lemon) from above and hold it out", "lemon"),
        ("let go", "open the hand and let the lemon go", ""),
    ):
        picking, proposal = cell.proposed(words)
        assert proposal.motion.startswith(motion)
        assert cell.approve(proposal) == "OK"
        assert (cell.end(picking).name, picking.result.held) == ("OK", held), picking.result.status.message
    cell.again()
    picking, proposal = cell.proposed("put the lemon on the tray")
    assert cell.approve(proposal) == "OK"
    lifted = lambda: cell.verdict()["things"]["lemon"]["position"][2] > LYING  # noqa: E731
    cell.until(lambda: picking.result or lifted(), "it is lifted")
    cell.disturb(move={"id": "lemon", "to": [0.72, -0.3, 0.0]})  # aside, or the fingers take it again
    assert (cell.end(picking).name, picking.result.held) == ("EXECUTION_FAILED", "")
    assert "slipped out of the hand" in picking.result.status.message
    cell.again()


def test_all_of_it_is_on_record_and_what_was_shown_is_put_together_again_from_it(cell: Cell) -> None:
    events = [line["event"] for line in cell.record()]
    assert events.count("EXECUTION_BEGUN") == events.count("EXECUTION_ENDED") >= 1
    assert "REFUSED" in events
    assert verify(cell.audit).lines == len(events)
    begun = [p for p in proposals(cell.audit) if any(line["event"] == "EXECUTION_BEGUN" for line in p.events)]
    assert begun
    for proposal in begun:
        files, checks = check_proposal(cell.audit, proposal, str(description_file()))
        assert not [check for check in checks if not check.holds]
        assert set(files) == {"camera", "above", "side", "scene", "motion", "plan"}
        phases = proposal.content["preview"]["phases"]
        still = all(phase["estimated"] for phase in phases)  # only the hand opens
        assert still or all(phase["clearance"] is not None for phase in phases)
