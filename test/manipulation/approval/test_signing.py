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
from spatial_vlm_ros.manipulation.approval import signing
from spatial_vlm_ros.manipulation.approval.address import keep_secret
from spatial_vlm_ros.manipulation.approval.proposal import Decision, Proposal

SECOND = 1_000_000_000
(ANN, ANN_LINE), (BOB, BOB_LINE), (LOST, _) = (signing.new_key(name) for name in ("Ann", "Bob", "Ann"))


def message(proposal: Proposal, **changed: Any) -> Any:
    """The signed fields of a message spatial_vlm_interfaces/Proposal."""
    stamp, valid = (SimpleNamespace(sec=ns // SECOND, nanosec=ns % SECOND)
                    for ns in (proposal.scene_stamp_ns, 60 * SECOND))  # fmt: skip
    own = {name: getattr(proposal, name) for name in ("goal_id", "plan_hash", "nonce")}
    told = {"instruction": proposal.sentence, "motion": "take the chick", "steps": ["take: the chick"]}
    return SimpleNamespace(**{**own, "scene_stamp": stamp, "valid_for": valid, **told, **changed})


class Gate:
    """What the node does with proposals and answers."""

    def __init__(self, office: Any, folder: Path) -> None:
        keep_secret(f"{ANN_LINE}\n{BOB_LINE} bob@laptop", folder / "operators")
        self.office, self.operators = office, signing.read_operators(folder / "operators")
        self.propose()

    def propose(self) -> None:
        self.item = self.office.proposed()
        self.shown = message(self.item)

    def signed(self, name: str = "Ann", key: str = ANN, approve: bool = True, **shown: Any) -> dict[str, Any]:
        return signing.signed_answer(message(self.item, **shown), name, key, approve)

    def hears(self, answer: dict[str, Any]) -> str:
        stamp = answer["scene_stamp"].sec * SECOND + answer["scene_stamp"].nanosec
        said = (answer[name] for name in ("plan_hash", "approve", "decided_by", "reason"))
        decision = Decision(answer["goal_id"], stamp, *said, bytes(answer["signature"]))
        try:
            self.office.broker.decidable(decision)
            signing.check_signed(decision, self.shown, self.operators)
            self.office.broker.decide(decision, "approve")
        except SpatialVlmError as error:
            return f"{error.status_name}: {error}"
        return "OK"


@pytest.fixture
def gate(office: Any, tmp_path: Path) -> Gate:
    return Gate(office, tmp_path)


def test_what_is_signed_is_each_field_with_its_length_and_nothing_can_be_moved_between_them(office: Any) -> None:
    asked = message(office.proposal(), nonce="00ff", instruction="thé cup", steps=["take: it", "place"], motion="m")
    first = "26:spatial_vlm_ros approval 1,36:00000000-0000-0000-0000-000000000001,10:1000000001,64:" + "0" * 63
    rest = "1,4:00ff,11:60000000000,8:thé cup,1:m,19:8:take: it,5:place,,7:approve,3:Ann,0:,"
    assert signing.signed_form(asked, True, "Ann") == (first + rest).encode()
    said = [(approve, *words) for words in (("An", "n"), ("Ann", ""), ("A", "nn")) for approve in (True, False)]
    assert len({signing.signed_form(asked, *each) for each in said}) == 6


def _replayed(gate: Gate) -> dict[str, Any]:
    old = gate.signed(approve=False)
    assert gate.hears(old) == "OK"
    assert "Rejected by Ann" in gate.hears(old)
    gate.propose()
    return old | {name: getattr(gate.shown, name) for name in ("goal_id", "scene_stamp", "plan_hash")}


def _late(gate: Gate) -> dict[str, Any]:
    gate.office.clock.now += 60.0
    return gate.signed()


def _second(gate: Gate) -> dict[str, Any]:
    answer = gate.signed("Bob", BOB)
    assert gate.hears(answer) == "OK"
    assert gate.office.records()[-1]["signature"] == bytes(answer["signature"]).hex()
    return gate.signed(approve=False)


UNSIGNED = "REJECTED.*not signed by 'Ann' for this answer to this proposal"
REFUSED: dict[str, tuple[Callable[[Gate], dict[str, Any]], str]] = {
    "an answer to the proposal before": (_replayed, UNSIGNED),
    "another goal": (lambda g: g.signed(goal_id="0" * 8 + "-0000-0000-0000-" + "f" * 12), "REJECTED.*not the open"),
    "another plan": (lambda g: g.signed(plan_hash="f" * 64), "REJECTED.*another plan"),
    "another nonce": (lambda g: g.signed(nonce="0" * 32), UNSIGNED),
    "an act that was shown as another": (lambda g: g.signed(steps=["point: at it"]), UNSIGNED),
    "a no that was made a yes": (lambda g: g.signed(approve=False) | {"approve": True}, UNSIGNED),
    "after it has expired": (_late, "APPROVAL_EXPIRED.*expired after 60 s"),
    "the second of two operators": (_second, "REJECTED.*already decided: Approved by Bob"),
    "nobody who is enrolled": (lambda g: g.signed("Eve"), "REJECTED.*'Eve' is not one of"),
    "in another's name": (lambda g: g.signed(key=BOB), UNSIGNED),
    "a key that was made anew for a lost one": (lambda g: g.signed(key=LOST), UNSIGNED),
    "nothing signed": (lambda g: g.signed() | {"signature": [0] * 64}, UNSIGNED),
}


@pytest.mark.parametrize("case", REFUSED)
def test_any_other_answer_is_refused_and_starts_nothing(gate: Gate, case: str) -> None:
    make, words = REFUSED[case]
    said = gate.hears(make(gate))
    assert re.search(words, said), said
    assert gate.office.events().count("APPROVED") == case.startswith("the second")


@pytest.mark.parametrize(
    ("lines", "mode", "says"),
    [
        (ANN_LINE, 0o664, "users other than its owner may change it. Run chmod go-w"),
        (f"{ANN_LINE}\n\nBob", 0o600, "at line 3: it is not a name and an Ed25519 public key"),
        (ANN_LINE.replace("ssh-ed25519", "ssh-rsa"), 0o600, "at line 1"),
        (ANN_LINE[:-9], 0o600, "at line 1"),
        (ANN_LINE.removeprefix("Ann"), 0o600, "at line 1: .*operator: ''"),
    ],
    ids=("writable by others", "no key", "another kind of key", "too short a key", "no name"),
)
def test_a_bad_file_of_operators_is_refused(tmp_path: Path, lines: str, mode: int, says: str) -> None:
    file = tmp_path / "operators"
    assert signing.read_operators(file) == {}
    file.write_text(lines)
    file.chmod(mode)
    with pytest.raises(FileError, match=says):
        signing.read_operators(file)


def test_the_command_makes_a_key_for_its_owner_alone_and_the_line_for_the_gate(gate: Gate, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    done = CliRunner().invoke(main, ["enrol", "Carol Lee", str(key)])
    assert (done.exit_code, key.stat().st_mode & 0o777) == (0, 0o600), done.output
    assert CliRunner().invoke(main, ["enrol", "Carol Lee", str(key)]).exit_code == 3, "it is there already"
    with pytest.raises(InputError, match="private key"):
        gate.signed("Carol Lee", done.output)
    keep_secret(done.output, tmp_path / "operators")
    gate.operators = signing.read_operators(tmp_path / "operators")
    assert gate.hears(gate.signed("Carol Lee", key.read_text())) == "OK"
