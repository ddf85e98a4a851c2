# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/drop_in.md run as they are documented, beside the real nodes."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from live_process import Started

pytest.importorskip("mujoco")
ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "drop_in.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"-?\d+\.\d+")


def documented(example: str) -> list[tuple[list[str], str]]:
    """The calls of an example with what the guide says they print."""
    blocks = re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL)
    calls = []
    for block in blocks:
        for line, printed in re.findall(rf"^python (examples/{example}.*)\n((?:# .*\n)*)", block, re.MULTILINE):
            whole = printed.replace(" \\\n# ", " ")  # a line that is too long for a page
            calls.append((shlex.split(line), re.sub(r"^# ", "", whole, flags=re.MULTILINE)))
    assert calls, example
    return calls


def played(start: Callable[..., Started], domain: int, section: str) -> None:
    """The nodes of a section of the guide, as it starts them."""
    text = GUIDE[GUIDE.index(f"## {section}") :]
    lines = re.findall(r"^python (-m spatial_vlm_ros\.nodes .*?)(?: &)?$", text.partition("\n## ")[0], re.MULTILINE)
    assert len(lines) == 2, lines
    for line in lines:
        running = start(*shlex.split(line), ROS_DOMAIN_ID=str(domain))
        running.says("playing" if "frame_player" in line else "resolver is active")


@pytest.mark.parametrize(
    ("example", "section"),
    [
        ("select_detection.py", "Choose one of your detector's detections"),
        pytest.param("list_objects.py", "Take all that was measured", marks=pytest.mark.slow),
        pytest.param("py_trees_pick.py", "A behaviour tree", marks=pytest.mark.slow),
    ],
)
def test_an_example_prints_what_the_guide_says(
    start: Callable[..., Started], domain: int, example: str, section: str
) -> None:
    played(start, domain, section)
    dialogue = ""
    for words, printed in documented(example):
        words = [dialogue if word == "DIALOGUE" else word for word in words]
        done = start(*words, ROS_DOMAIN_ID=str(domain))
        code, said = done.ends(), done.output
        assert code in (0, 3), said
        asked = re.search(r"--dialogue (\w+)", said)
        dialogue = asked[1] if asked else dialogue
        lines, shown = lines_of(said), [line for line in lines_of(printed) if line != "..."]
        assert len(lines) == len(shown) or "..." in printed, said
        lines = lines[: len(shown)]
        assert [in_general(line) for line in lines] == [in_general(line) for line in shown], said
        values = [[float(x) for x in NUMBER.findall("\n".join(text))] for text in (lines, shown)]
        assert values[0] == pytest.approx(values[1], abs=0.02), said


def lines_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.startswith("[")]


def in_general(line: str) -> str:
    """Without what differs each time: numbers, ids of dialogues."""
    line = re.sub(r"± \d+ mm", "± # mm", NUMBER.sub("#", line))
    return re.sub(r"--dialogue \w+", "--dialogue DIALOGUE", line)


def test_ctrl_c_cancels_the_goal_of_a_tree(start: Callable[..., Started], domain: int) -> None:
    resolver = start(
        "-m", "spatial_vlm_ros.nodes", "resolver", "--ros-args", "-p", "frame_timeout:=60.0", ROS_DOMAIN_ID=str(domain)
    )  # fmt: skip
    resolver.says("resolver is active")
    tree = start("examples/py_trees_pick.py", "the cup", ROS_DOMAIN_ID=str(domain))
    tree.says("waiting for a complete frame")
    tree.interrupt()
    assert tree.ends() == 1
    resolver.says("CANCELLED: the client cancelled the goal")
