# SPDX-License-Identifier: Apache-2.0
"""Answers over the graph: what is signed, whose signature counts, and what a gate refuses."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.errors import FileError, InputError, SpatialVlmError
from spatial_vlm_ros.manipulation.approval.address import keep_secret
from spatial_vlm_ros.manipulation.approval.proposal import Decision, Proposal
from spatial_vlm_ros.manipulation.approval.signing import (
    check_signed,
    new_key,
    read_operators,
    signed_answer,
    signed_form,
)

SECOND = 1_000_000_000
ANN, BOB, STRANGER = new_key("Ann"), new_key("Bob"), new_key("Ann")


def message(proposal: Proposal, **changed: Any) -> Any:
    """The message of a proposal, with the fields of spatial_vlm_interfaces/Proposal that are signed."""
    stamp = SimpleNamespace(sec=proposal.scene_stamp_ns // SECOND, nanosec=proposal.scene_stamp_ns % SECOND)
    fields = {"goal_id": proposal.goal_id, "scene_stamp": stamp, "plan_hash": proposal.plan_hash,
              "nonce": proposal.nonce, "valid_for": SimpleNamespace(sec=60, nanosec=0), "motion": "take the chick (d1)",
              "instruction": proposal.sentence, "steps": ["take: the chick"]}  # fmt: skip
    return SimpleNamespace(**fields | changed)


class Gate:
    """What the node does with a proposal and an answer."""

    def __init__(self, office: Any, folder: Path) -> None:
        keep_secret(f"{ANN[1]}\n{BOB[1]} bob@laptop", folder / "operators")
        self.office, self.operators = office, read_operators(folder / "operators")

    def propose(self) -> Any:
        self.shown = message(self.office.proposed())
        return self.shown

    def hears(self, answer: dict[str, Any]) -> str:
        """The name of its answer, and what it says."""
        stamp = answer["scene_stamp"].sec * SECOND + answer["scene_stamp"].nanosec
        named = (answer["goal_id"], stamp, answer["plan_hash"], answer["approve"], answer["decided_by"])
        decision = Decision(*named, answer["reason"], bytes(answer["signature"]))
        try:
            self.office.broker.decidable(decision)
            check_signed(decision, self.shown, self.operators)
            self.office.broker.decide(decision, "approve")
        except SpatialVlmError as error:
            return f"{error.status_name}: {error}"
        return "OK"


@pytest.fixture
def gate(office: Any, tmp_path: Path) -> Gate:
    return Gate(office, tmp_path)


def test_what_is_signed_is_each_field_with_its_length_and_nothing_can_be_moved_between_them(office: Any) -> None:
    asked = message(office.proposal(), nonce="00ff", instruction="thé cup", steps=["take: it", "place"], motion="m")
    assert signed_form(asked, True, "Ann", "") == (
        b"26:spatial_vlm_ros approval 1,36:00000000-0000-0000-0000-000000000001,10:1000000001,64:" + b"0" * 63
        + b"1,4:00ff,11:60000000000,"
        + "8:thé cup,1:m,19:8:take: it,5:place,,7:approve,3:Ann,0:,".encode()
    )  # fmt: skip
    forms = [("An", "n"), ("Ann", ""), ("A", "nn")]
    assert len({signed_form(asked, approve, *said) for said in forms for approve in (True, False)}) == 6


@pytest.mark.parametrize("approve", [True, False])
def test_an_operator_decides_once_and_the_signature_is_on_record(gate: Gate, approve: bool) -> None:
    answer = signed_answer(gate.propose(), "Bob", BOB[0], approve, "the wrong cup")
    assert gate.hears(answer) == "OK"
    event = gate.office.records()[-1]
    assert (event["event"], event["operator"]) == ("APPROVED" if approve else "REJECTED", "Bob")
    assert bytes.fromhex(event["signature"]) == bytes(answer["signature"])
    again = gate.hears(answer)
    assert again.startswith("REJECTED")
    assert ("already decided" if approve else "Rejected by Bob") in again
    assert gate.office.records()[-1]["event"] == event["event"]


def _replayed(gate: Gate) -> dict[str, Any]:
    old = signed_answer(gate.shown, "Ann", ANN[0], approve=False)
    assert gate.hears(old) == "OK"
    new = gate.propose()
    return {**old, **{name: getattr(new, name) for name in ("goal_id", "scene_stamp", "plan_hash")}}


def _late(gate: Gate) -> dict[str, Any]:
    answer = signed_answer(gate.shown, "Ann", ANN[0])
    gate.office.clock.now += 60.0
    return answer


def _second(gate: Gate) -> dict[str, Any]:
    assert gate.hears(signed_answer(gate.shown, "Bob", BOB[0])) == "OK"
    return signed_answer(gate.shown, "Ann", ANN[0], approve=False)


UNSIGNED = "REJECTED.*not signed by 'Ann' for this answer to this proposal"
REFUSED: dict[str, tuple[Callable[[Gate], dict[str, Any]], str]] = {
    "an answer to the proposal before": (_replayed, UNSIGNED),
    "another goal": (lambda g: signed_answer(message(g.office.proposal()), "Ann", ANN[0]), "REJECTED.*not the open"),
    "another plan": (lambda g: {**signed_answer(g.shown, "Ann", ANN[0]), "plan_hash": "f" * 64}, "another plan"),
    "after it has expired": (_late, "APPROVAL_EXPIRED.*expired after 60 s"),
    "the second of two operators": (_second, "REJECTED.*already decided: Approved by Bob"),
    "no operator": (lambda g: signed_answer(g.shown, "Eve", STRANGER[0]), "REJECTED.*'Eve' is not one of"),
    "in another's name": (lambda g: signed_answer(g.shown, "Ann", BOB[0]), UNSIGNED),
    "with a new key that was not enrolled": (lambda g: signed_answer(g.shown, "Ann", STRANGER[0]), UNSIGNED),
    "a no that was made a yes": (
        lambda g: {**signed_answer(g.shown, "Ann", ANN[0], approve=False), "approve": True}, UNSIGNED,
    ),
    "an act that was shown as another": (
        lambda g: signed_answer(message(g.office.broker.view.item, steps=["point: at it"]), "Ann", ANN[0]), UNSIGNED,
    ),
    "nothing signed": (lambda g: {**signed_answer(g.shown, "Ann", ANN[0]), "signature": [0] * 64}, UNSIGNED),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_any_other_answer_is_refused_and_starts_nothing(gate: Gate, case: str) -> None:
    gate.propose()
    make, words = REFUSED[case]
    said = gate.hears(make(gate))
    assert re.search(words, said), said
    assert [event for event in gate.office.events() if event == "APPROVED"] == ["APPROVED"] * case.startswith(
        "the second"
    )


@pytest.mark.parametrize(
    ("lines", "mode", "says"),
    [
        (ANN[1], 0o664, "users other than its owner may change it. Run chmod go-w"),
        (f"{ANN[1]}\n\nBob", 0o600, "at line 3: it is not a name and an Ed25519 public key"),
        (f"Ann {'A' * 40}", 0o600, "at line 1"),
        (ANN[1].replace("ssh-ed25519", "ssh-rsa"), 0o600, "at line 1"),
        (ANN[1][:-9], 0o600, "at line 1"),
        (ANN[1].removeprefix("Ann"), 0o600, "at line 1: .*operator: ''"),
    ],
)  # fmt: skip
def test_a_file_of_operators_that_says_something_else_is_refused(
    tmp_path: Path, lines: str, mode: int, says: str
) -> None:
    file = tmp_path / "operators"
    assert read_operators(file) == {}
    file.write_text(lines)
    file.chmod(mode)
    with pytest.raises(FileError, match=says):
        read_operators(file)


def test_the_command_makes_a_key_for_its_owner_alone_and_the_line_for_the_gate(gate: Gate, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    done = CliRunner().invoke(main, ["enrol", "Carol Lee", str(key)])
    assert (done.exit_code, key.stat().st_mode & 0o777) == (0, 0o600), done.output
    with pytest.raises(InputError, match="private key"):
        signed_answer(gate.propose(), "Carol Lee", done.output)
    answer = signed_answer(gate.shown, "Carol Lee", key.read_text())
    assert "is not one of" in gate.hears(answer)
    keep_secret(done.output, tmp_path / "operators")
    gate.operators = read_operators(tmp_path / "operators")
    assert gate.hears(answer) == "OK"
    assert CliRunner().invoke(main, ["enrol", "Carol Lee", str(key)]).exit_code == 3
