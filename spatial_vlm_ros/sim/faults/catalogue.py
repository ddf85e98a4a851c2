# SPDX-License-Identifier: Apache-2.0
"""List of all faults: the effect and the unit of the amount for every stream and kind.

A *stream* is the output of one publisher, controller or model. A *part* of a stream is the contents of its messages
(""), their "stamp" or their "frame_id". The *form* of a stream decides the effect of its faults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

KINDS = ("off", "stuck", "garbage", "slow", "delayed", "intermittent", "wrong")
CONTENTS, STAMP, FRAME_ID = "", "stamp", "frame_id"


@dataclass(frozen=True)
class Effect:
    """Effect of a kind of fault on a stream.

    Args:
        unit: unit of the amount; None if the kind takes no amount.
        default: the amount if none is given.
        low, high: least and greatest amount.
    """

    does: str
    unit: str | None = None
    default: float = 0.0
    low: float = 0.0
    high: float = 0.0


def _timing(unit: str) -> dict[str, Effect]:
    """Effects for every stream of messages."""
    return {
        "off": Effect(f"no {unit} is published"),
        "slow": Effect(
            f"at most this many {unit}s a second are published, and the others are dropped", "Hz", 1, 0.01, 100
        ),
        "delayed": Effect(f"every {unit} is published this much later, with its stamp unchanged", "s", 0.3, 0.001, 30),
        "intermittent": Effect(f"this fraction of the {unit}s, at random, is dropped", "", 0.5, 0, 1),
    }


def _ordered(effects: Mapping[str, Effect]) -> Mapping[str, Effect]:
    return MappingProxyType({kind: effects[kind] for kind in KINDS if kind in effects})


_CONTROLLER = {
    "off": Effect("every goal is rejected"),
    "stuck": Effect("goals are accepted, but nothing moves, and they end only when they are cancelled"),
    "garbage": Effect("goals are aborted at once, with numbers that no message defines"),
    "intermittent": Effect("this fraction of the goals, at random, is aborted at once", "", 0.5, 0, 1),
    "wrong": Effect("goals succeed at once, but nothing moves"),
}
_FROZEN = "the contents of the last {} before the fault, under the header of each new one"

EFFECTS: Mapping[str, Mapping[str, Effect]] = MappingProxyType(
    {
        "colour": _ordered(
            _timing("image")
            | {
                "stuck": Effect(_FROZEN.format("image")),
                "garbage": Effect("every byte of the image is random"),
                "wrong": Effect("the image is mirrored left to right; depth is not"),
            }
        ),
        "depth": _ordered(
            _timing("image")
            | {
                "stuck": Effect(_FROZEN.format("image")),
                "garbage": Effect("every byte of the image is random"),
                "wrong": Effect("every distance is multiplied by this", "", 1.1, 0.01, 100),
            }
        ),
        "compressed": _ordered(
            _timing("image")
            | {"stuck": Effect(_FROZEN.format("image")), "garbage": Effect("every byte of the image is random")}
        ),
        "other": _ordered(_timing("message")),
        "info": _ordered(
            _timing("message")
            | {
                "stuck": Effect(_FROZEN.format("camera info")),
                "garbage": Effect("K, D, R and P are random numbers"),
                "wrong": Effect("focal lengths are multiplied by this", "", 1.1, 0.01, 100),
            }
        ),
        "detections": _ordered(
            _timing("message")
            | {
                "stuck": Effect(_FROZEN.format("message")),
                "garbage": Effect("boxes and scores are NaN, labels are random letters"),
                "wrong": Effect("each detection has the label, attributes and id of the next one"),
            }
        ),
        "transforms": _ordered(
            _timing("message")
            | {
                "stuck": Effect("the transforms of the last message before the fault, with the stamps of each new one"),
                "garbage": Effect("translations are NaN, quaternions are zero"),
                "wrong": Effect("every child is shifted by this along x of its parent", "m", 0.05, -100, 100),
            }
        ),
        "joints": _ordered(
            _timing("message")
            | {
                "stuck": Effect(_FROZEN.format("message")),
                "garbage": Effect("positions, velocities and efforts are NaN"),
                "wrong": Effect("this is added to every position", "rad", 0.05, -10, 10),
            }
        ),
        "clock": _ordered(
            _timing("message")
            | {
                "stuck": Effect("time stays at the last value before the fault"),
                "garbage": Effect("times are random, between 0 and twice the right one"),
                "wrong": Effect("time is ahead by this; below 0: behind", "s", 0.5, -1e6, 1e6),
            }
        ),
        STAMP: _ordered(
            {
                "off": Effect("stamps are 0"),
                "stuck": Effect("stamps stay at the first value after the fault"),
                "garbage": Effect("stamps are random, between 0 and twice the right one"),
                "slow": Effect("from now on stamps advance this many seconds a second", "s/s", 0.9, 0.001, 10),
                "intermittent": Effect("this fraction of the stamps, at random, is 0", "", 0.5, 0, 1),
                "wrong": Effect("stamps are ahead by this; below 0: behind", "s", 0.5, -1e6, 1e6),
            }
        ),
        FRAME_ID: _ordered(
            {
                "off": Effect("frame ids are empty"),
                "garbage": Effect("frame ids are random letters"),
                "intermittent": Effect("this fraction of the frame ids, at random, is wrong_frame", "", 0.5, 0, 1),
                "wrong": Effect("frame ids are wrong_frame"),
            }
        ),
        "arm": _ordered(
            _CONTROLLER
            | {
                "slow": Effect("trajectories run at this fraction of their speed", "", 0.5, 0.01, 1),
                "delayed": Effect("trajectories start this much later than they are accepted", "s", 1, 0.001, 30),
            }
        ),
        "gripper": _ordered(
            _CONTROLLER | {"delayed": Effect("fingers move this much later than accepted", "s", 1, 0.001, 30)}
        ),
        "model": _ordered(
            {
                "off": Effect("the model raises an error at every request"),
                "stuck": Effect("the model repeats its last answer before the fault, whatever the request is"),
                "garbage": Effect("boxes, scores, labels and matches are random; boxes reach to twice the image size"),
                "slow": Effect("every answer takes this many times as long", "", 5, 1, 1000),
                "delayed": Effect("every answer comes this much later", "s", 5, 0.001, 3600),
                "intermittent": Effect("this fraction of the requests, at random, raises an error", "", 0.5, 0, 1),
                "wrong": Effect("each detection has the label, attributes, id and match of the next one"),
            }
        ),
    }
)
"""Form of a stream, or part → kind → its effect. A kind that is not listed is not possible, see `IMPOSSIBLE`."""

IMPOSSIBLE: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        (STAMP, "delayed"): "use wrong with an amount below 0: stamps are then earlier by that amount",
        ("compressed", "wrong"): "the pixels of compressed images are not decoded; play raw images",
        ("other", "stuck"): "the contents of this type are unknown; use off, slow, delayed or intermittent",
        ("other", "garbage"): "the contents of this type are unknown; use off, slow, delayed or intermittent",
        ("other", "wrong"): "the contents of this type are unknown; use off, slow, delayed or intermittent",
        ("gripper", "slow"): "a GripperCommand has no speed; use delayed",
        (FRAME_ID, "stuck"): "frame ids do not change over time; use wrong",
        (FRAME_ID, "slow"): "frame ids do not change over time; use wrong",
        (FRAME_ID, "delayed"): "frame ids do not change over time; use wrong",
    }
)
"""(Form or part, kind) → why there is no such fault, and what to use instead."""

FORMS: Mapping[str, str] = MappingProxyType(
    {
        "rgb": "colour",
        "depth": "depth",
        "info": "info",
        "detections": "detections",
        "tf": "transforms",
        "tf_static": "transforms",
        "joints": "joints",
        "clock": "clock",
        "arm": "arm",
        "gripper": "gripper",
        "model": "model",
    }
)
"""Stream → its form."""

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType({"camera": ("rgb", "depth", "info", "detections")})
"""Name → the streams that one fault of this group applies to: streams from one host, stamped by its clock."""

WITH_FRAME_ID = ("colour", "depth", "compressed", "info", "detections", "transforms")
WITH_STAMP = (*WITH_FRAME_ID, "joints")
