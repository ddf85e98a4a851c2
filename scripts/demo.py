# SPDX-License-Identifier: Apache-2.0
"""The demo: "grab me the chick behind the cup", live.

A simulated camera and the resolver run in separate processes, connected by DDS; this process sends requests like a
robot's program. The compact model finds the objects in the image, in a process of the resolver; the simulator tells the
resolver nothing. Three worlds: a chick behind the cup, the same with the chicks swapped, and both chicks in front.
Prints each answer beside the simulator's truth, writes out/demo_*.png, and exits with 0 if all three are as expected.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out"
SENTENCE = "grab me the chick behind the cup"
WORLDS = (("behind", "OK", "bonnet"), ("swapped", "OK", "ribbon"), ("both_in_front", "RELATION_UNSATISFIED", None))
PATIENCE = 30.0  # seconds for anything that should take about 1 s
NEAR = 0.03  # m from the centre of an object, within which a pose belongs to it

# Set before rclpy is loaded: a separate ROS domain on this machine, large images in shared memory.
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(ROOT / "config" / "fastdds_images.xml"))
os.environ.setdefault("ROS_LOG_DIR", str(Path(tempfile.gettempdir()) / "spatial_vlm_ros_log"))


def main() -> int:
    """Ask in each world; returns 0 if every answer is as expected."""
    import rclpy
    from sensor_msgs.msg import Image

    from spatial_vlm_ros.nodes.perception.ask import Asker

    OUT.mkdir(exist_ok=True)
    begun = time.monotonic()
    rclpy.init(args=[])
    node = rclpy.create_node("demo")
    images: list[Image] = []
    node.create_subscription(Image, "annotated/image", images.append, 1)
    good = []
    resolver = ("base_frame:=base_link", "grounder:=compact", "domain_gate.images:=simulated")
    with process("resolver", *(word for value in resolver for word in ("-p", value))):
        client = Asker(node, patience=PATIENCE)
        for world, status, target in WORLDS:
            with process("frame_player", "-p", f"world:={world}", "-p", "detections:=false"):
                client.wait_for_server(PATIENCE)
                wait(node, lambda: node.count_publishers("/rgb/image") == 1, "the camera")
                images.clear()
                answer = ask(client)
                wait(node, lambda: images, "the image of the answer")
            found = show(world, answer)
            save(images[-1], OUT / f"demo_{world}.png")
            good.append((answer["status"], found) == (status, target))
            wait(node, lambda: node.count_publishers("/rgb/image") == 0, "the camera to leave")
    node.destroy_node()
    rclpy.try_shutdown()
    print(f"\n{sum(good)} of {len(good)} as expected in {time.monotonic() - begun:.0f} s; images in {OUT}")
    return 0 if all(good) else 1


def ask(client: Any) -> dict[str, Any]:
    """Return the answer to the sentence; a camera that has just started may need a second request."""
    end = time.monotonic() + PATIENCE
    while True:
        ended = client.ask(SENTENCE)
        answer: dict[str, Any] = json.loads(ended.resolution.json)
        if answer["status"] not in ("STALE_INPUT", "TF_UNAVAILABLE") or time.monotonic() > end:
            return answer


def show(world: str, answer: dict[str, Any]) -> str | None:
    """Print the answer beside the truth; returns the object that is truly at the pose, or None."""
    from spatial_vlm_ros.sim.settled import DEMO_WORLDS

    print(f'\n[{world}] "{SENTENCE}"')
    print(f"  {answer['status']}: {answer['message']}")
    clauses = [clause for candidate in answer["candidates"][:1] for clause in candidate["clauses"]]
    for clause in clauses:
        print(
            f"  {clause['relation']} {', '.join(clause['anchor_ids'])}: margin {clause['margin_m']:+.3f} m, "
            f"{clause['state']}, in the frame of the {answer['frame_of_reference']}"
        )
    if answer["target"] is None:
        return None
    pose = answer["target"]["pose"]
    with DEMO_WORLDS[world]() as simulated:
        off = {id_: math.dist(pose["position"], obj.centre) for id_, obj in simulated.truth.items()}
        found = min(off, key=lambda id_: off[id_])
        obj = simulated.truth[found]
    x, y, z = pose["position"]
    true = ", ".join(f"{value:.3f}" for value in obj.centre)
    print(f"  {answer['target']['id']} at ({x:.3f}, {y:.3f}, {z:.3f}) m in {pose['frame_id']}; in truth "
          f"{found}, a {obj.label}, at ({true}), {off[found] * 1000:.0f} mm off")  # fmt: skip
    return found if off[found] < NEAR else None


def save(image: Any, path: Path) -> None:
    """Save an image message as a file."""
    import cv2

    from spatial_vlm_ros.streams.image import decode_rgb

    cv2.imwrite(str(path), cv2.cvtColor(decode_rgb(image), cv2.COLOR_RGB2BGR))


@contextlib.contextmanager
def process(name: str, *arguments: str) -> Iterator[None]:
    """Run a node in its own process within this context; its log goes to out/."""
    with (OUT / f"{name}.log").open("a") as log:
        command = [sys.executable, "-m", "spatial_vlm_ros.nodes", name, "--ros-args", *arguments]
        running = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)  # noqa: S603
        try:
            yield
        finally:
            running.terminate()
            try:
                running.wait(10)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def wait(node: Any, condition: Any, what: str) -> None:
    """Spin until a condition holds."""
    import rclpy

    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"waited {PATIENCE:.0f} s in vain for {what}; see {OUT}/*.log")
        rclpy.spin_once(node, timeout_sec=0.05)


if __name__ == "__main__":
    sys.exit(main())
