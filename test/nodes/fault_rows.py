# SPDX-License-Identifier: Apache-2.0
"""The rows of docs/faults.md that need a camera: which fault, how it is injected, what is right then. Not a test."""

from __future__ import annotations

from dataclasses import dataclass

OK = "OK"
ANY_REFUSAL = (
    "NOT_UNDERSTOOD", "INVALID_INPUT", "DEPTH_INVALID", "STALE_INPUT", "NOT_SYNCHRONISED", "TF_UNAVAILABLE",
    "NOT_FOUND", "AMBIGUOUS", "RELATION_UNSATISFIED", "OCCLUDED", "LOW_CONFIDENCE", "DISAGREEMENT", "MODEL_ERROR",
    "TIMEOUT",
)  # fmt: skip


@dataclass(frozen=True)
class FaultRow:
    """One fault.

    Args:
        section: of the page.
        fault: in words for people.
        injected: what the parameter `faults` of the player is set to, or what the model's file says.
        right: statuses that are right; OK is right only with the right pose.
        set_up: "" a moving camera pose on /tf; "static" on /tf_static; "clock" simulated time; "model" a grounder.
        undetectable: why no check of one camera can find it, where it cannot: a wrong pose is recorded, and no failure.
    """

    section: str
    fault: str
    injected: str
    right: tuple[str, ...]
    set_up: str = ""
    undetectable: str = ""

    @property
    def id(self) -> str:
        """A name for files."""
        prefix = f"{self.set_up} " if self.set_up else ""
        return "".join(c if c.isalnum() or c in "-." else "_" for c in prefix + self.injected)


def _streams() -> list[FaultRow]:
    stale, sync = ("STALE_INPUT",), ("NOT_SYNCHRONISED", "STALE_INPUT")
    frozen = "with good stamps it looks like a scene that does not change"
    return [
        FaultRow("Streams", "colour stops", "rgb=off", stale),
        FaultRow("Streams", "depth stops", "depth=off", sync),
        FaultRow("Streams", "camera info stops", "info=off", (OK, "STALE_INPUT", "INVALID_INPUT")),
        FaultRow("Streams", "the camera stops", "camera=off", stale),
        FaultRow("Streams", "colour freezes, depth goes on", "rgb=stuck", ANY_REFUSAL, undetectable=frozen),
        FaultRow("Streams", "depth freezes, colour goes on", "depth=stuck", ANY_REFUSAL, undetectable=frozen),
        FaultRow("Streams", "the whole camera freezes", "camera=stuck", ANY_REFUSAL, undetectable=frozen),
        FaultRow("Streams", "colour is noise", "rgb=garbage", (OK, *ANY_REFUSAL)),
        FaultRow("Streams", "depth is noise", "depth=garbage", ANY_REFUSAL),
        FaultRow("Streams", "camera info is noise", "info=garbage", ANY_REFUSAL),
        FaultRow("Streams", "one image a second", "camera=slow:1", (OK, *sync)),
        FaultRow("Streams", "one image in five seconds", "camera=slow:0.2", (OK, *sync)),
        FaultRow("Streams", "images arrive 0.3 s late", "camera=delayed:0.3", (OK,)),
        FaultRow("Streams", "images arrive 3 s late", "camera=delayed:3", (OK, *stale)),
        FaultRow("Streams", "depth arrives 0.3 s after colour", "depth=delayed:0.3", (OK,)),
        FaultRow("Streams", "half of the colour images are lost", "rgb=intermittent:0.5", (OK, *sync)),
        FaultRow("Streams", "nine of ten messages are lost", "camera=intermittent:0.9", (OK, *sync)),
        FaultRow("Streams", "colour is mirrored, depth is not", "rgb=wrong", (OK, *ANY_REFUSAL)),
        FaultRow("Streams", "depth is 10 % too long", "depth=wrong:1.1", ANY_REFUSAL,
                 undetectable="a scaled scene is a scene; `doctor --table-height` finds it"),
        FaultRow("Streams", "focal length is 10 % too long", "info=wrong:1.1", ANY_REFUSAL,
                 undetectable="a scaled scene is a scene; `doctor --table-height` finds it"),
        FaultRow("Streams", "images of another frame id", "rgb.frame_id=wrong", ("TF_UNAVAILABLE", "INVALID_INPUT")),
    ]  # fmt: skip


def _transforms() -> list[FaultRow]:
    gone = ("TF_UNAVAILABLE",)
    shifted = "one transform has nothing to be compared with; `doctor --table-height` finds errors of height and tilt"
    return [
        FaultRow("Transforms", "/tf stops", "tf=off", gone),
        FaultRow("Transforms", "/tf repeats one pose with new stamps", "tf=stuck", (OK,)),
        FaultRow("Transforms", "/tf repeats one stamp", "tf.stamp=stuck", gone),
        FaultRow("Transforms", "NaN and zero quaternions", "tf=garbage", gone),
        FaultRow("Transforms", "one transform in three seconds", "tf=slow:0.3", (OK, *gone)),
        FaultRow("Transforms", "/tf arrives 0.3 s late", "tf=delayed:0.3", (OK,)),
        FaultRow("Transforms", "/tf arrives 2 s late", "tf=delayed:2", (OK, *gone)),
        FaultRow("Transforms", "nine of ten transforms are lost", "tf=intermittent:0.9", (OK, *gone)),
        FaultRow("Transforms", "the camera's mount is 0.1 m off", "tf=wrong:0.1", ANY_REFUSAL, undetectable=shifted),
        FaultRow("Transforms", "stamps of /tf lie 1 s behind", "tf.stamp=wrong:-1", gone),
        FaultRow("Transforms", "stamps of /tf lie 1 s ahead", "tf.stamp=wrong:1", (OK, "STALE_INPUT", *gone)),
        FaultRow("Transforms", "no parent frame of that name", "tf.frame_id=wrong", gone),
        FaultRow("Transforms", "/tf_static is never published", "tf_static=off", gone, set_up="static"),
        FaultRow("Transforms", "/tf_static has NaN", "tf_static=garbage", gone, set_up="static"),
    ]


def _clocks() -> list[FaultRow]:
    stale = ("STALE_INPUT",)
    return [
        FaultRow("Clocks", "the camera's clock is 0.15 s ahead", "camera.stamp=wrong:0.15", (OK, *stale)),
        FaultRow("Clocks", "0.15 s ahead, and images 0.1 s late",
                 "camera=delayed:0.1 camera.stamp=wrong:0.15", (OK, *stale)),
        FaultRow("Clocks", "the camera's clock is 1 s ahead", "camera.stamp=wrong:1", (OK, "TF_UNAVAILABLE", *stale)),
        FaultRow("Clocks", "the camera's clock is 60 s ahead", "camera.stamp=wrong:60", ("TF_UNAVAILABLE", *stale)),
        FaultRow("Clocks", "the camera's clock is 0.15 s behind", "camera.stamp=wrong:-0.15", (OK,)),
        FaultRow("Clocks", "the camera's clock is 60 s behind", "camera.stamp=wrong:-60", ("TF_UNAVAILABLE", *stale)),
        FaultRow("Clocks", "the camera's clock is 10 % slow", "camera.stamp=slow:0.9", (OK, "TF_UNAVAILABLE", *stale)),
        FaultRow("Clocks", "one stamp for ever", "camera.stamp=stuck", ("NOT_SYNCHRONISED", *stale)),
        FaultRow("Clocks", "stamps of 0", "camera.stamp=off", ("INVALID_INPUT", *stale)),
        FaultRow("Clocks", "random stamps", "camera.stamp=garbage", ("NOT_SYNCHRONISED", "TF_UNAVAILABLE", *stale)),
        FaultRow("Clocks", "half of the stamps are 0", "camera.stamp=intermittent:0.5",
                 (OK, "NOT_SYNCHRONISED", *stale)),
        FaultRow("Clocks", "depth's clock is 0.1 s off colour's", "depth.stamp=wrong:-0.1",
                 ("NOT_SYNCHRONISED", OK, *stale)),
        FaultRow("Clocks", "/clock stops", "clock=off", stale, set_up="clock"),
        FaultRow("Clocks", "/clock stands still", "clock=stuck", stale, set_up="clock"),
        FaultRow("Clocks", "/clock is random", "clock=garbage",
                 (OK, "TF_UNAVAILABLE", "NOT_SYNCHRONISED", *stale), set_up="clock"),
        FaultRow("Clocks", "/clock ticks once a second", "clock=slow:1", (OK, *stale), set_up="clock"),
        FaultRow("Clocks", "/clock is 1 s behind the stamps", "clock=wrong:-1", (OK, *stale), set_up="clock"),
        FaultRow("Clocks", "/clock is 5 s ahead of the stamps", "clock=wrong:5", ("TF_UNAVAILABLE", *stale),
                 set_up="clock"),
    ]  # fmt: skip


def _detections() -> list[FaultRow]:
    return [
        FaultRow("Detections", "detections stop", "detections=off", ("STALE_INPUT", "NOT_SYNCHRONISED")),
        FaultRow("Detections", "old detections on new images", "detections=stuck", ANY_REFUSAL,
                 undetectable="boxes with good stamps look like those of the image"),
        FaultRow("Detections", "boxes and scores are NaN", "detections=garbage", ("INVALID_INPUT", "MODEL_ERROR")),
        FaultRow("Detections", "labels are swapped", "detections=wrong", ANY_REFUSAL,
                 undetectable="what a detector calls an object is not measured; `second_opinion` asks another model"),
        FaultRow("Detections", "detections come 1 s after the image", "detections=delayed:1", (OK,)),
        FaultRow("Detections", "one in ten images has detections", "detections=intermittent:0.9", (OK, "STALE_INPUT")),
        FaultRow("Detections", "stamps of their own", "detections.stamp=wrong:0.05",
                 ("STALE_INPUT", "NOT_SYNCHRONISED")),
        FaultRow("Detections", "stamps of 0", "detections.stamp=off",
                 ("STALE_INPUT", "NOT_SYNCHRONISED", "INVALID_INPUT")),
        FaultRow("Detections", "frame id of another camera", "detections.frame_id=wrong", ("INVALID_INPUT",)),
    ]  # fmt: skip


def _models() -> list[FaultRow]:
    failed = ("MODEL_ERROR",)
    repeated = "an answer that fits the image of before looks like one that fits"
    return [
        FaultRow("Models", "every request raises", "model=off", failed, set_up="model"),
        FaultRow("Models", "it repeats an old answer", "model=stuck", ANY_REFUSAL, set_up="model",
                 undetectable=repeated),
        FaultRow("Models", "random boxes and labels", "model=garbage", ANY_REFUSAL, set_up="model"),
        FaultRow("Models", "answers take 3 s longer", "model=delayed:3", (OK,), set_up="model"),
        FaultRow("Models", "longer than grounder_timeout", "model=delayed:8", ("TIMEOUT",), set_up="model"),
        FaultRow("Models", "half of the requests raise", "model=intermittent:0.5", (OK, *failed), set_up="model"),
        FaultRow("Models", "objects are taken for each other", "model=wrong", ANY_REFUSAL, set_up="model",
                 undetectable="what a model calls an object is not measured; `second_opinion` asks another model"),
    ]  # fmt: skip


ROWS = (*_streams(), *_transforms(), *_clocks(), *_detections(), *_models())
