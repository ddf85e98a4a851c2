# SPDX-License-Identifier: Apache-2.0
"""The demo of an arm: "put the chick behind the cup on the tray", from words to a physics verdict.

`spatial-vlm up sim-arm` runs a simulated Panda, the resolver, the planner and the gate in separate processes; this
process asks, approves and watches as a person would, only by topics, actions and services. It prints each stage, leaves
the gate's record in out/demo_arm, and exits with 0 if the right object lies on the tray, nothing else was moved, and no
neighbour was touched with more than 5 N.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scripts.demo_arm.story import page_address
from spatial_vlm_ros.manipulation.approval.address import keep_secret
from spatial_vlm_ros.manipulation.approval.signing import new_key

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "out" / "demo_arm"
SENTENCE = "put the chick behind the cup on the tray"
OPEN_SENTENCE, ANSWER = "put the chick on the tray", "the ribbon one"  # two chicks stand there
SCRIPTED = "demo"  # name of the approver, unless a person approves by hand
SOON = ("STALE_INPUT", "TF_UNAVAILABLE", "PLANNER_UNAVAILABLE")  # a cell that has just started may need another request
WAITING = 4  # stage of the action pick
STARTING, APPROVING, WORKING, SETTLING = 300.0, 300.0, 900.0, 20.0  # s; a busy machine takes a minute to start

# Set before rclpy is loaded: a separate ROS domain on this machine, large images in shared memory.
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(ROOT / "config" / "fastdds_images.xml"))
os.environ.setdefault("ROS_LOG_DIR", str(Path(tempfile.gettempdir()) / "spatial_vlm_ros_log"))


def main() -> int:
    """Ask, approve, watch, judge; returns 0 if everything went well."""
    from scripts.demo_arm.person import Person
    from scripts.demo_arm.story import Story

    said = arguments()
    out: Path = said.out
    out.mkdir(parents=True, exist_ok=True)
    for name in ("audit.jsonl", "cell.log"):
        (out / name).unlink(missing_ok=True)
    name = os.environ.get("USER", "terminal") if said.by_hand else SCRIPTED
    key, line = new_key(name)
    keep_secret(line, out / "operators")
    with contextlib.ExitStack() as stack:
        story = Story(out / "audit.jsonl")
        print(f"starting a simulated Panda (world {said.world}), resolver, planner and gate ...", flush=True)
        alive = stack.enter_context(cell(said, out))
        person = Person(story.stage, story.motion, alive, (name, key))
        stack.callback(person.close)
        person.wait_for_cell(STARTING)
        goal = ask(person, story, said.sentence)
        if said.ambiguous and goal.result is not None and goal.result.resolution.question:
            asked = goal.result.resolution
            story.say("QUESTION", asked.question)
            words = input("your answer: ").strip() if said.by_hand else ANSWER
            story.say("ANSWERED", f'{who(said)}: "{words}"')
            goal = ask(person, story, words, asked.dialogue_id)
        if goal.result is None:
            person.wait(lambda: goal.stage >= WAITING, "the stage of approval")
            decide(person, story, said, out)
            person.wait(lambda: goal.result is not None, "the end of the motion", WORKING)
        status = goal.result.status
        story.say(status.name, status.message)
        with contextlib.suppress(SystemExit):  # if it does not come to rest in time, it was not done
            settling = SETTLING if goal.result.moved else 0.0
            person.wait(lambda: person.judged()["done"], "the object to lie still", settling)
        good = story.judged_well(status.name, person.judged())
    print(f"\n{'Done' if good else 'NOT done'} in {time.monotonic() - story.begun:.0f} s")
    for path in (out / "audit.jsonl", out / "cell.log"):
        print(f"  {path} ({path.stat().st_size / 1024:.0f} KiB)")
    return 0 if good else 1


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.demo_arm", description=__doc__)
    parser.add_argument("--by-hand", action="store_true", help="a person approves, on the page or in this terminal")
    parser.add_argument("--ambiguous", action="store_true", help=f'"{OPEN_SENTENCE}", and the answer to the question')
    parser.add_argument("--world", help="behind, swapped, or the seed of a random one")
    parser.add_argument("--speed", type=float, default=1.0, help="simulated seconds a second, at most")
    parser.add_argument("--rate", type=float, default=5.0, help="images a simulated second; drawing takes most time")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of what is written")
    said = parser.parse_args()
    # In "swapped" the simulation's judge expects the chick with the ribbon.
    said.world = said.world or ("swapped" if said.ambiguous else "behind")
    said.sentence = OPEN_SENTENCE if said.ambiguous else SENTENCE
    said.out = said.out.resolve()
    return said


def who(said: argparse.Namespace) -> str:
    """Name of the person or script that approves."""
    return "you" if said.by_hand else f"{SCRIPTED} (a script, not a person)"


@contextlib.contextmanager
def cell(said: argparse.Namespace, out: Path) -> Iterator[Callable[[], bool]]:
    """Run all processes of the cell within this context, with output in cell.log; yields a check that they run."""
    given = {
        "world": said.world,
        "speed": said.speed,
        "rate": said.rate,
        "plan_only": "false",
        "page": str(said.by_hand).lower(),
        "approval_timeout": APPROVING,
        "audit_log": out / "audit.jsonl",
    }
    words = ["up", "sim-arm", *(f"{name}:={value}" for name, value in given.items())]
    with (out / "cell.log").open("w") as log:
        command = [sys.executable, "-m", "spatial_vlm_ros.cli", *words]
        running = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)  # noqa: S603
        try:
            yield lambda: running.poll() is None
        finally:
            running.terminate()
            try:
                running.wait(30)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def ask(person: Any, story: Any, words: str, dialogue_id: str = "") -> Any:
    """Send a goal until it is proposed, or ends for a reason other than that something is still starting."""
    end = time.monotonic() + STARTING
    while True:
        story.say("ASKED", f'"{words}"{" (in answer)" * bool(dialogue_id)}')
        before = len(person.proposals)
        goal = person.send(words, dialogue_id)
        person.wait(lambda: goal.result is not None or len(person.proposals) > before, "a plan", WORKING)  # noqa: B023
        if goal.result is None:
            return goal
        status = goal.result.status
        if goal.result.moved or status.name not in SOON or time.monotonic() > end:
            return goal
        story.say(status.name, f"{status.message} Asking again.")


def decide(person: Any, story: Any, said: argparse.Namespace, out: Path) -> None:
    """Show the question of approval and have it answered."""
    proposal = person.proposals[-1]
    story.proposed(proposal)
    if not said.by_hand:
        story.say("APPROVE", f"{who(said)} says yes without looking; --by-hand leaves it to you")
        story.say("", person.decide(proposal))
        return
    log = out / "cell.log"
    person.wait(lambda: page_address(log), "the page's address in cell.log")
    print(f"           on the page: {page_address(log)}")
    print('           or here: "yes", or "no" with a reason', flush=True)
    threading.Thread(target=read_decision, args=(person, story, proposal), daemon=True).start()


def read_decision(person: Any, story: Any, proposal: Any) -> None:
    """Read a yes or no from the terminal; the page may be faster."""
    for line in sys.stdin:
        word, _, reason = line.strip().partition(" ")
        if word in ("yes", "no"):
            story.say("", person.decide(proposal, word == "yes", reason.strip()))
            return
        print('           "yes" or "no"?', flush=True)


if __name__ == "__main__":
    sys.exit(main())
