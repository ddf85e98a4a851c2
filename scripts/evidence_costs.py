# SPDX-License-Identifier: Apache-2.0
"""Size of evidence bundles of the simulated camera, and the resolver's cost of keeping them: docs/evidence.md.

python -m scripts.evidence_costs    # needs rclpy, rosbags and MuJoCo; half a minute
"""

from __future__ import annotations

import queue
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from scripts.markdown import table
from spatial_vlm_ros.nodes import messages
from spatial_vlm_ros.nodes.perception.evidence import EvidenceKeeper
from spatial_vlm_ros.nodes.perception.request_queue import InstructionRequest, RequestOutcome, RequestQueue
from spatial_vlm_ros.parameters import EvidenceConfig, Settings, StreamConfig
from spatial_vlm_ros.sim.grounder import simulated_frames
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.frame_assembler import SECOND, FrameAssembler
from spatial_vlm_ros.types import Detection, RgbdFrame

WORDS = "grab me the chick behind the cup"
BUNDLES = 6  # images with different noise
ROUNDS = 6
WIDTHS = (640, 1280)
TICK = 0.001  # seconds until a bundle that is not yet written is looked for again


class Asker:
    """Sends requests to the resolver's queue on rclpy messages, with or without evidence."""

    def __init__(self, folder: Path, keep: str) -> None:
        streams = StreamConfig(base_frame="base_link", clocks_in_step=True, clock_error=0.0)
        settings = Settings(streams=streams, evidence=EvidenceConfig(keep=keep, folder=str(folder)))
        self.now_ns, self._jobs = 1000 * SECOND, queue.SimpleQueue[Callable[[], None]]()
        assembler = FrameAssembler(streams, with_detections=True)
        self._queue = RequestQueue(settings, assembler, None, lambda: self.now_ns, self._jobs.put, {})
        self.keeper = EvidenceKeeper(lambda: settings, dict, messages.serialised, None, "/resolver", print)
        self._queue.evidence = self.keeper
        self._make = messages.composer()

    def ask(self, frame: RgbdFrame, detections: tuple[Detection, ...]) -> float:
        """Seconds from a frame's last message to the reply."""
        replies: list[RequestOutcome] = []
        self._queue.accept(InstructionRequest(WORDS, "", "", replies.append, lambda *_: None))
        self.now_ns += SECOND // 10
        make, camera = self._make, frame.camera
        header = make.header(self.now_ns, frame.frame_id)
        assert frame.base_T_camera is not None  # noqa: S101 - the simulator gives it
        pose = make.tf_message([make.transform_stamped(frame.base_T_camera, self.now_ns)])
        self._queue.assembler.add(roles.STATIC_TRANSFORMS, pose, self.now_ns)
        sent = {
            roles.RGB_INFO: make.camera_info(camera, header),
            roles.RGB: make.image_rgb(frame.rgb, header),
            roles.DEPTH: make.image_depth(frame.depth, header),
            roles.DETECTIONS: make.detection_array(detections, header, camera.width, camera.height),
        }
        begun = time.perf_counter()
        for role, message in sent.items():
            self._queue.assembler.add(role, message, self.now_ns)
        self._queue.step()
        while not replies:
            self._jobs.get()()
        return time.perf_counter() - begun


def row(width: int) -> tuple[str, ...]:
    """One row of the table: sizes and times at one width."""
    shots = list(simulated_frames("behind", width, {}, BUNDLES))
    times: dict[str, list[float]] = {"off": [], "all": []}
    writing = []
    with tempfile.TemporaryDirectory() as name:
        askers = {keep: Asker(Path(name), keep) for keep in times}
        for number, shot in enumerate([shots[0], *shots * ROUNDS], 1):  # alternating, so that load affects both alike
            for keep in sorted(askers, reverse=number % 2 == 0):
                times[keep].append(askers[keep].ask(*shot))
            begun = time.perf_counter()
            while askers["all"].keeper.state.kept < number:
                time.sleep(TICK)
            writing.append(time.perf_counter() - begun)
        askers["all"].keeper.close(30.0)
        medians = {keep: statistics.median(each[1:]) for keep, each in times.items()}  # the first one loads code
        written = statistics.median(writing[1:])
        sizes = [path.stat().st_size for path in Path(name).glob("*.mcap")]
    frame = shots[0][0]
    raw = frame.rgb.nbytes + 2 * frame.depth.size
    return (
        f"{width} x {frame.camera.height}",
        f"{raw / 1e6:.2f}",
        f"{statistics.median(sizes) / 1e6:.2f} ({min(sizes) / 1e6:.2f} to {max(sizes) / 1e6:.2f}, n = {len(sizes)})",
        f"{medians['off'] * 1e3:.1f} / {medians['all'] * 1e3:.1f}",
        f"{written * 1e3:.0f}",
    )


if __name__ == "__main__":
    header = ("image", "its raw messages MB", "bundle MB: median (range)", "answer ms, off / all", "then writing ms")
    print(table(header, map(row, WIDTHS)))
