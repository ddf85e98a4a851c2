# SPDX-License-Identifier: Apache-2.0
"""A camera, a client and a resolver process for benchmarks of the live node, with DDS between two processes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SENTENCE = "grab me the chick behind the cup"
PATIENCE = 30.0  # s


def prepare() -> None:
    """Set the environment that rclpy reads when it is loaded: a separate ROS domain, large images in shared memory."""
    os.environ["ROS_DOMAIN_ID"] = str(91 + os.getpid() % 10)  # tests use smaller ones
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] = str(ROOT / "config" / "fastdds_images.xml")
    os.environ.setdefault("ROS_LOG_DIR", str(Path(tempfile.gettempdir()) / "spatial_vlm_ros_log"))


@contextlib.contextmanager
def resolver(*parameters: str) -> Iterator[int]:
    """Start the resolver node in its own process and yield its id."""
    one_host = ("clocks_in_step:=true", "clock_error:=0.0")  # camera and resolver have one clock
    arguments = [part for parameter in (*one_host, *parameters) for part in ("-p", parameter)]
    command = [
        sys.executable,
        "-m",
        "spatial_vlm_ros.nodes",
        "resolver",
        "--ros-args",
        "--log-level",
        "warn",
        *arguments,
    ]
    running = subprocess.Popen(command, cwd=ROOT)
    try:
        yield running.pid
    finally:
        running.terminate()
        running.wait(20)


class Bench:
    """This process's side: a camera with one frame of a demo world, a client, and the content of /diagnostics."""

    def __init__(self, width: int, with_detections: bool = True) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from sensor_msgs.msg import CameraInfo, Image
        from spatial_vlm_interfaces.msg import DetectionArray
        from tf2_msgs.msg import TFMessage

        from spatial_vlm_ros.nodes import messages, qos
        from spatial_vlm_ros.nodes.perception.ask import Asker
        from spatial_vlm_ros.sim.grounder import simulated_frames

        self._rclpy = rclpy
        self.frame, self.detections = next(simulated_frames("behind", width, {}, 1))
        rclpy.init(args=[])
        self.node = rclpy.create_node("bench")
        composer = messages.composer()
        self._stamp = messages.time_of
        self._header = composer.header(0, self.frame.frame_id)
        size = (self.frame.camera.width, self.frame.camera.height)
        profile = qos.images("reliable")
        create = self.node.create_publisher
        self._parts = [
            (create(CameraInfo, "rgb/camera_info", profile), composer.camera_info(self.frame.camera, self._header)),
            (create(DetectionArray, "detections", profile),
             composer.detection_array(self.detections, self._header, *size)),
            (create(Image, "rgb/image", profile), composer.image_rgb(self.frame.rgb, self._header)),
            (create(Image, "depth/image", profile), composer.image_depth(self.frame.depth, self._header)),
        ]  # fmt: skip
        if not with_detections:
            del self._parts[1]
        static = create(TFMessage, "/tf_static", qos.STATIC_TRANSFORMS)
        static.publish(composer.tf_message([composer.transform_stamped(self.frame.base_T_camera, 0)]))
        self._reports: dict[str, dict[str, str]] = {}
        self._wanted_ns = 0
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._hear, 10)
        self.client = Asker(self.node, patience=PATIENCE)
        self.client.wait_for_server(PATIENCE)
        self.until(lambda: all(p.get_subscription_count() for p, _ in self._parts), "subscriptions")

    def _hear(self, array: Any) -> None:
        if array.header.stamp.sec * 1_000_000_000 + array.header.stamp.nanosec < self._wanted_ns:
            return  # old messages are in the queue if this process did not spin
        for status in array.status:
            self._reports[status.name.partition(": ")[2]] = {pair.key: pair.value for pair in status.values}

    def publish(self, stamp_ns: int | None = None) -> None:
        """Send one frame."""
        self._header.stamp = self._stamp(self.now() if stamp_ns is None else stamp_ns)
        for publisher, message in self._parts:
            publisher.publish(message)

    def now(self) -> int:
        """The node's time, nanoseconds."""
        return int(self.node.get_clock().now().nanoseconds)

    def ask(self, between: Callable[[], None]) -> dict[str, Any]:
        """Send a goal, run `between` once it is accepted, and wait for its answer."""
        state: dict[str, Any] = {}

        def on_accepted(future: Any) -> None:
            state["handle"] = future.result()
            state["handle"].get_result_async().add_done_callback(lambda f: state.update(response=f.result()))

        from spatial_vlm_interfaces.action import ResolveInstruction

        goal = ResolveInstruction.Goal(instruction=SENTENCE)
        self.client._client.send_goal_async(goal).add_done_callback(on_accepted)
        self.until(lambda: "handle" in state, "acceptance")
        between()
        self.until(lambda: "response" in state, "a result")
        told = state["response"].result.resolution.json
        if not told:
            accepted, status = state["handle"].accepted, state["response"].status
            raise SystemExit(f"an empty result: goal accepted: {accepted}, status of the goal: {status}")
        answer: dict[str, Any] = json.loads(told)
        return answer

    def fresh_report(self) -> dict[str, dict[str, str]]:
        """The node's next diagnostics, by status."""
        self._reports.clear()
        self._wanted_ns = self.now()
        self.until(lambda: {"streams", "requests"} <= self._reports.keys(), "diagnostics")
        return self._reports

    def report(self, status: str) -> dict[str, str]:
        """The node's latest diagnostics of one status; empty before they arrive."""
        return self._reports.get(status, {})

    def spin(self, seconds: float) -> None:
        """Process messages for some seconds, at least one if there is one."""
        end = time.perf_counter() + seconds
        self._rclpy.spin_once(self.node, timeout_sec=seconds)
        while (left := end - time.perf_counter()) > 0:
            self._rclpy.spin_once(self.node, timeout_sec=left)

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Spin until a condition holds."""
        end = time.monotonic() + PATIENCE
        while not condition():
            self._rclpy.spin_once(self.node, timeout_sec=0.02)
            if time.monotonic() > end:
                raise SystemExit(f"waited {PATIENCE:.0f} s in vain for {what}")

    def close(self) -> None:
        """Leave the graph."""
        self.node.destroy_node()
        self._rclpy.try_shutdown()


def private_mb(pid: int) -> float:
    """Private memory (USS) of a process, MB."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kb = sum(int(line.split()[1]) for line in rollup if line.startswith(("Private_Clean:", "Private_Dirty:")))
    return kb / 1024
