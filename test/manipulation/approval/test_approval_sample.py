# SPDX-License-Identifier: Apache-2.0
"""The sample really resolves, asks, proposes and waits; it says that it is a sample."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from approval_visitor import Visitor

from spatial_vlm_ros.manipulation.approval.audit import verify
from spatial_vlm_ros.manipulation.approval.proposal import PersonAnswer, Proposal
from spatial_vlm_ros.manipulation.approval.view import ApprovalStage
from spatial_vlm_ros.sim.approval_sample import ApprovalSample


def test_the_sample_asks_proposes_and_ends(office: Any, aside: Callable[..., Callable[[], Any]]) -> None:
    going = aside(lambda: ApprovalSample(office.broker, runs=0.0).once())

    def reached(stage: ApprovalStage) -> bool:
        with office.broker._changed:
            return bool(office.broker._changed.wait_for(lambda: office.broker.view.stage is stage, 60))

    assert reached(ApprovalStage.ASKED)
    question = office.broker.view.item
    assert "Which chick" in question.text
    office.broker.answer(PersonAnswer(question.dialogue_id, question.answers[1], "Ann"))
    assert reached(ApprovalStage.PROPOSED)
    proposal = office.broker.view.item
    assert isinstance(proposal, Proposal)
    assert proposal.target_id == "ribbon"
    assert "sample" in proposal.warnings[0]
    office.broker.decide(office.says(proposal))
    going()
    assert office.events()[-1] == "EXECUTION_ENDED"
    assert verify(office.audit.path)


@pytest.mark.live
def test_the_sample_is_served_by_a_command_until_interrupted(tmp_path: Path) -> None:
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    command = [sys.executable, "-m", "spatial_vlm_ros.sim.approval_sample"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            said, record = process.stdout.readline(), process.stdout.readline()
            assert said.startswith("A sample without a robot: http://127.0.0.1:")
            assert str(tmp_path) in record
            port, _, token = said.strip().rpartition(":")[2].partition("/?token=")
            assert Visitor("127.0.0.1", int(port)).sign_in(token).get().status == 200
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()
    assert not list(tmp_path.iterdir())
