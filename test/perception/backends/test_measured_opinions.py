# SPDX-License-Identifier: Apache-2.0
"""Opinions counted by `spatial-vlm evaluate`, from labelled frames to what the file does to an answer of `resolve`."""

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runs import run
from click.testing import Result
from contract_server import Handler, finds, says, serving, silent
from frame_files import case, write_cases, write_frame

from spatial_vlm_ros.sim.examples import chicks_and_cup_frame

FRAME, SEEN = chicks_and_cup_frame()
BOX_OF = {d.id: d.box_xyxy for d in SEEN}
BEHIND, BEFORE = "the chick behind the cup", "the chick in front of the cup"
LEFT = "the chick left of the cup"
SERVED = "model=tiny url={} convention=absolute probe=no retries=0"
BONNET, RIBBON = finds(("chick", BOX_OF["bonnet"])), finds(("chick", BOX_OF["ribbon"]))
EVERYTHING = finds(*((d.label, d.box_xyxy) for d in SEEN))
EMPTY = {"right": 0, "wrong": 0, "none": 0}


def recordings(folder: Path, cases: Sequence[dict[str, Any]], frames: int = 1) -> Path:
    for number in range(frames):
        write_frame(folder / f"f{number}", FRAME, SEEN)
    write_cases(folder, cases)
    return folder


def calibrated(folder: Path, options: str, *more: str, grounder: str = "server") -> Result:
    out = folder.parent / "reliability.json"
    return run("evaluate", "--frames", folder, "--grounder", f"{grounder} {options}", "--reliability", out, *more)


def resolved(words: str, folder: Path, grounder: str, options: str, **parameters: dict[str, Any]) -> dict[str, Any]:
    file = folder.parent / "parameters.yaml"
    file.write_text(json.dumps({"/**": {"ros__parameters": parameters}}))
    image = [part for name in ("rgb.png", "depth.png", "camera_info.json")
             for part in ("--" + name.partition(".")[0].replace("_", "-"), folder / "f0" / name)]  # fmt: skip
    asked = ("--grounder", grounder, "--grounder-options", options, "--config", file)
    return json.loads(run("resolve", words, *image, *asked, "--json").stdout)


def counts_of(file: dict[str, Any]) -> dict[str, dict[str, int]]:
    return {key: {name: one[name] for name in EMPTY} for key, one in file["relations"].items()}


def test_what_was_counted_weighs_in_the_answers_of_resolve(tmp_path: Path) -> None:
    folder = recordings(tmp_path / "recordings", [case(f"f{n // 20}", BEHIND, "bonnet") for n in range(40)], frames=2)
    with serving(BONNET) as server:
        done = calibrated(folder, SERVED.format(server.url))
    assert done.exit_code == 0, done.output
    opinion = {"ask": True, "reliability": str(tmp_path / "reliability.json")}
    with serving(EVERYTHING) as finding, serving(RIBBON) as opining:
        parts = f"grounder=server options='{SERVED.format(finding.url)}' second_opinion=server " \
                f"second_opinion_options='{SERVED.format(opining.url)}'"  # fmt: skip
        resolution = resolved(BEHIND, folder, "composed", parts, second_opinion=opinion)
    told = resolution["second_opinion"]
    assert (resolution["status"], told["effect"], told["words"]) == ("DISAGREEMENT", "disagreed", BEHIND)
    assert told["reliability"] == pytest.approx(41 / 43, abs=1e-6)  # 40 cases and one of each outcome before


def test_counts_model_date_frames_and_what_was_left_out_are_told(tmp_path: Path) -> None:
    folder = recordings(
        tmp_path / "recordings",
        [case("f0", BEHIND, "bonnet", "usual"), case("f1", BEFORE, "ribbon"),
         case("f1", "the chick", status="AMBIGUOUS"), case("f0", "the cup", "cup")],
        frames=2,
    )  # fmt: skip
    answers = BONNET, BONNET, says("There are no cups in the image.")
    with serving(*answers) as server:
        done = calibrated(folder, SERVED.format(server.url), "--json")
        assert [BEHIND in each.text for each in server.received] == [True, False, False]
    assert done.exit_code == 0, done.output
    file = json.loads((tmp_path / "reliability.json").read_text())
    assert json.loads(done.stdout) == file
    assert file["model"] == "server tiny"
    assert counts_of(file) == {
        "behind": {**EMPTY, "right": 1}, "in front of": {**EMPTY, "wrong": 1}, "name": {**EMPTY, "none": 1}
    }  # fmt: skip
    measured = file["measured"]
    assert (measured["frames"], measured["cases"], measured["failed"]) == (2, 3, 0)
    assert measured["left_out"] == {"it does not expect exactly one object": 1}
    assert measured["kinds"] == {"behind, usual": {**EMPTY, "right": 1}}
    assert len(measured["date"].split("-")) == 3


def test_the_summary_has_intervals_and_weight_and_unwritten_counts_are_told(tmp_path: Path) -> None:
    folder = recordings(tmp_path / "recordings", [*[case("f0", BEHIND, "bonnet")] * 17, case("f0", "the chick")])
    (tmp_path / "file").touch()
    with serving(BONNET) as server:
        said = calibrated(folder, SERVED.format(server.url)).output
        told = calibrated(folder, SERVED.format(server.url), f"--reliability={tmp_path}/file/x.json", "--json")
    for words in (
        *("behind", "81.6% to 100.0%", "may break a tie"),  # of 17 of 17: Wilson (1927)
        "server tiny: 17 answers on 1 frames, 0 requests failed",
        "1 cases not asked: it does not expect exactly one object",
    ):
        assert words in said
    assert (told.exit_code, "Choose a writable location" in told.stderr) == (1, True)
    assert counts_of(json.loads(told.stdout)) == {"behind": {**EMPTY, "right": 17}}


def interrupts(handler: Handler) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    silent(handler)


def test_what_was_counted_before_ctrl_c_is_kept(tmp_path: Path) -> None:
    folder = recordings(tmp_path / "recordings", [case("f0", BEHIND, "bonnet")] * 9)
    with serving(BONNET, BONNET, interrupts) as server:
        done = calibrated(folder, SERVED.format(server.url))
        assert server.requests == 3
    assert done.exit_code == 1
    file = json.loads((tmp_path / "reliability.json").read_text())
    assert (counts_of(file), file["measured"]["failed"]) == ({"behind": {**EMPTY, "right": 2}}, 0)


def test_where_nothing_can_be_counted_nothing_is_written_and_the_reason_is_told(tmp_path: Path) -> None:
    folder = recordings(tmp_path / "recordings", [case("f0", "the chick", status="AMBIGUOUS"), case("f0", "the cup")])
    done = calibrated(folder, SERVED.format("http://127.0.0.1:9/v1"))
    assert done.exit_code == 1
    assert "2 where it does not expect exactly one object" in done.output
    assert calibrated(folder, "", grounder="nobody").exit_code == 1
    assert not (tmp_path / "reliability.json").exists()


def test_of_models_that_are_composed_the_one_that_is_asked_is_named(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    folder = recordings(tmp_path / "recordings", [case("f0", BEHIND, "bonnet")])
    with serving(BONNET) as server:
        options = f"grounder=compact second_opinion=server second_opinion_options='{SERVED.format(server.url)}'"
        assert calibrated(folder, options, grounder="composed").exit_code == 0
    assert json.loads((tmp_path / "reliability.json").read_text())["model"] == "server tiny"


def looks(handler: Handler) -> None:
    received = handler.server.contract.received[-1]
    if "answer" not in received.answer_schema["properties"]:
        EVERYTHING(handler)
        return
    marks = ((received.image == colour).all(axis=2) for colour in ((230, 30, 30), (30, 60, 230)))
    target, anchor = (float(np.nonzero(mark)[1].mean()) for mark in marks)
    says(json.dumps({"answer": "left" if target < anchor else "right"}))(handler)


def test_relations_are_calibrated_and_weigh_in_the_answers_of_resolve(tmp_path: Path) -> None:
    folder = recordings(tmp_path / "recordings", [case(f"f{k}", LEFT, "ribbon") for k in range(10)], 10)
    out = tmp_path / "judge.json"
    with serving(looks) as server:
        served = SERVED.format(server.url) + " image=png"
        done = run("evaluate", "--frames", folder, "--grounder", f"server {served}", "--judge-calibration", out)
        assert done.exit_code == 0, done.output
        assert "weighed" in done.output
        known = json.loads(out.read_text())["relations"]["left of"]
        assert (known["n"], known["positive"]) == (20, 10)
        assert known["slope"] > 0.0
        told = resolved(LEFT, folder, "server", served, judge={"mode": "fuse", "calibration": str(out)})
    assert (told["status"], told["judge"]["effect"]) == ("OK", "confirmed")
    assert told["candidates"][0]["clauses"][0]["model_p"] > 0.8
