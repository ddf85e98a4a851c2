# SPDX-License-Identifier: Apache-2.0
"""All error classes of this package.

Every error has its data as attributes: `reason` says why, `repair` what to do about it. It builds its own message, and
has the status that it is reported with, which subclasses inherit. Inner code raises; `Resolver.resolve`, the command
line and the nodes translate errors to a status once.
"""

from __future__ import annotations

import copyreg
import math
from collections.abc import Iterable
from typing import ClassVar, Literal


class SpatialVlmError(Exception):
    """Base of all errors of this package. `status_name` is the status that the error is reported with."""

    status_name: ClassVar[str] = "MODEL_ERROR"

    def __init_subclass__(cls, status: str = "") -> None:
        """Set the status of a subclass; "" = that of its base."""
        if status:
            cls.status_name = status

    def __init__(self, *told: str) -> None:
        """Make the message of its parts: what happened, what is expected, what to do."""
        super().__init__(_sentences(*told))

    def __reduce__(self) -> tuple[object, ...]:
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class _ReasonedError(SpatialVlmError):
    """An error whose message is its reason and its fix."""

    def __init__(self, reason: str, repair: str) -> None:
        self.reason, self.repair = reason, repair
        super().__init__(reason, repair)


_LONGEST_PART, _SHOWN = 2000, 200  # characters: of a part of a message (one lists all parameters); of a longer one


def _short(text: str) -> str:
    """Shorten a text for a message: a name or value from a file may have a million characters."""
    text = str(text)
    return text if len(text) <= _LONGEST_PART else f"{text[:_SHOWN]}… ({len(text)} characters)"


_PROGRAMS = ("apt", "chrony", "colcon", "pip", "rosdep", "xacro")  # kept in lower case, even at the start of a sentence


def _sentences(*parts: str) -> str:
    """Join the parts of a message (what happened, what is expected, what to do), without empty ones.

    From the second part on, a part that begins with a word gets a capital letter; names, options and commands are
    unchanged.
    """
    told = [part.strip().rstrip(".") for part in parts]
    told = [part for part in told if part]
    for n, part in enumerate(told[1:], 1):
        first = part.split(maxsplit=1)[0].rstrip(",;:")
        if first.isascii() and first.isalpha() and first not in _PROGRAMS:
            told[n] = part[0].upper() + part[1:]
    return " ".join(f"{part}." for part in told)


def without_repair(error: SpatialVlmError) -> str:
    """Message of an error without its fix and final full stop, for when the fix is shown elsewhere."""
    repair = _sentences("error", str(getattr(error, "repair", ""))).removeprefix("error.")
    return str(error).removesuffix(repair).rstrip(" .")


class InputError(SpatialVlmError, ValueError, status="INVALID_INPUT"):
    """An input cannot be used.

    Args:
        what: what is wrong, for example "camera K".
        got: what was received; the message shortens a text of more than 2,000 characters.
        repair: what to do about it; "" if `expected` says it.
    """

    def __init__(self, what: str, got: str, expected: str, repair: str = "") -> None:
        self.what, self.got, self.expected, self.repair = what, got, expected, repair
        super().__init__(f"{_short(what)}: {_short(got)}", f"expected {_short(expected)}", _short(repair))


class ShapeError(InputError):
    """An array has the wrong shape or dtype."""

    def __init__(self, what: str, expected: str, received: str) -> None:
        super().__init__(what, received, expected, "check which image or array is passed and how it was converted")


class TransformError(InputError):
    """A transform is not rigid, or is used with frames that it does not connect."""

    def __init__(
        self, parent: str, child: str, reason: str, repair: str = "check the calibration and the frame names"
    ) -> None:
        self.parent, self.child, self.reason = parent, child, reason
        super().__init__(
            f"transform {parent} <- {child}", reason, "a rigid transform that maps child to parent", repair
        )


class FileError(InputError):
    """A file is missing or not of the expected form; `field` names the location inside it, if known."""

    def __init__(self, path: object, reason: str, repair: str, field: str | None = None) -> None:
        self.path, self.field = str(path), field
        place = f"{path}" if field is None else f"{path} at {field}"
        super().__init__(place, reason, "a readable file in the documented form", repair)
        self.args = (_sentences(f"{_short(place)}: {_short(reason)}", _short(repair)),)


class FileChangedError(FileError):
    """Another program has changed a file since it was read; nothing was written."""

    def __init__(self, path: object) -> None:
        reason = "another program has changed it since it was read; nothing was written"
        super().__init__(path, reason, "apply your changes to the new file")


class StaleCaseError(InputError):
    """A decision is about a case that has changed meanwhile; nothing was written."""

    def __init__(self, got: str) -> None:
        super().__init__("case", got, "the case that the page shows", "look at the case again, then decide")
        self.args = (_sentences(f"{got}; nothing was written", self.repair),)


class RobotDescriptionError(InputError):
    """A URDF, SRDF or joint-limits file does not describe a robot that the planner supports."""


class JointLimitError(InputError):
    """The arm is beyond a joint limit.

    Args:
        position: its position, radians or metres.
    """

    def __init__(self, joint: str, position: float, lower: float, upper: float) -> None:
        self.joint, self.position, self.lower, self.upper = joint, position, lower, upper
        got = f"{joint} is at {position:.3f}, {max(lower - position, position - upper):.3f} beyond its limits"
        expected = f"{lower:.3f} to {upper:.3f} (radians, or metres for a joint that slides)"
        super().__init__("start", got, expected, "check the units, or move the arm back within its limits by hand")


class CalibrationError(InputError):
    """Poses of arm and board do not give a hand-eye calibration."""

    def __init__(self, got: str, expected: str, repair: str) -> None:
        super().__init__("hand-eye calibration", got, expected, repair)


class UnknownNameError(InputError):
    """A name of a given kind does not exist; the message lists the valid names."""

    def __init__(self, kind: str, name: str, available: Iterable[str]) -> None:
        self.kind, self.name, self.available = kind, name, tuple(available)
        listed = ", ".join(self.available)
        super().__init__(f"{kind} {name!r}", "an unknown name", f"one of {listed}", _short(f"choose one of: {listed}"))
        self.args = (_sentences(f"unknown {kind} {_short(repr(name))}", self.repair),)


RefusedWords = Literal["unknown words", "refused"]
"""Why words are not understood: a word is unknown, or the request is known but not supported."""


class NotUnderstoodError(SpatialVlmError, status="NOT_UNDERSTOOD"):
    """The words are outside the grammar, or use an unknown name.

    Args:
        span: (start, end) characters of the part that was not understood.
        reason: why, as text; the message quotes the part itself.
        kind: "unknown words" if only a word or a relation is unknown; only then may a model be asked. "refused" if the
            words are known but not supported in this form.
    """

    def __init__(
        self, instruction: str, span: tuple[int, int], reason: str, repair: str, kind: RefusedWords = "refused"
    ) -> None:
        self.instruction, self.span, self.reason, self.repair = instruction, span, reason, repair
        self.kind: RefusedWords = kind
        part = instruction[span[0] : span[1]]
        self.part = part if len(part) <= 60 else part[:57] + "..."
        where = f": {self.part!r} (characters {span[0]} to {span[1]})" if self.part else ""
        super().__init__(f"{reason}{where}", repair)


class NotExecutableError(SpatialVlmError, status="NOT_EXECUTABLE"):
    """The words are understood, but nothing carries the act out; `what` are act and object ("wipe the table")."""

    def __init__(self, act: str, what: str, reason: str, repair: str) -> None:
        self.act, self.what, self.reason, self.repair = act, what, reason, repair
        super().__init__(f"the request is understood ({act}: {_short(what)}), but {reason}", repair)


class DepthError(_ReasonedError, status="DEPTH_INVALID"):
    """The depth cannot be trusted as a measurement."""


class FrameUndefinedError(SpatialVlmError, status="FRAME_UNDEFINED"):
    """A frame of reference that the words need is not defined in this scene."""

    def __init__(self, frame: str, reason: str, repair: str) -> None:
        self.frame, self.reason, self.repair = frame, reason, repair
        super().__init__(f"frame of reference {frame!r}: {reason}", repair)


class FrameInconsistentError(_ReasonedError, status="FRAME_INCONSISTENT"):
    """A frame contradicts itself: nothing measured in it can be trusted."""


class TransformUnavailableError(SpatialVlmError, status="TF_UNAVAILABLE"):
    """A transform is not known at the requested stamp.

    `may_come` says whether waiting can help. `is_past` says that the stamp is older than all known transforms; then a
    newer stamp can help.
    """

    def __init__(
        self, parent: str, child: str, reason: str, repair: str, *, may_come: bool = False, is_past: bool = False
    ) -> None:
        self.parent, self.child, self.reason, self.repair = parent, child, reason, repair
        self.may_come, self.is_past = may_come, is_past
        super().__init__(f"transform {parent} <- {child}: {reason}", repair)

    def advising(self, repair: str) -> TransformUnavailableError:
        """A copy of this error with another fix."""
        return TransformUnavailableError(**{**vars(self), "repair": repair})


class ModelError(SpatialVlmError, status="MODEL_ERROR"):
    """A grounding model failed; a crash is never "not found"."""

    def __init__(self, model: str, reason: str, repair: str) -> None:
        self.model, self.reason, self.repair = model, reason, repair
        super().__init__(f"model {model!r}: {reason}", repair)


class ModelTimeoutError(ModelError, status="TIMEOUT"):
    """A grounding model exceeded its time limit."""


class GraspReplyError(ModelError):
    """A server of learned grasps sent an invalid reply; no part of it is used.

    Args:
        kind: "empty", "frame", "count", "not_finite", "rotation", "score" or "width"; the reason is the same as text.
    """

    def __init__(self, server: str, kind: str, reason: str, repair: str) -> None:
        self.kind = kind
        super().__init__(server, reason, repair)
        self.args = (_sentences(f"grasp server {server!r}: {reason}", repair),)


class DomainMismatchError(ModelError):
    """A model trained only on simulated images was given images that are not known to be simulated.

    Args:
        image_domain: what is known of the images: "real" or "unknown".
    """

    def __init__(self, model: str, model_domain: str, image_domain: str) -> None:
        self.model_domain, self.image_domain = model_domain, image_domain
        known = "the images are real" if image_domain == "real" else "the images are not marked as simulated"
        reason = f"it was trained only on {model_domain} images, and {known}, so its scores mean nothing"
        repair = (
            "choose another model. If a simulator makes the images, set domain_gate.images to simulated "
            "(--image-domain simulated). To use the model anyway, set domain_gate.allow_mismatch to true (--any-domain)"
        )
        super().__init__(model, reason, repair)


class UnfamiliarImageError(ModelError):
    """An image is unlike those that a model was trained on: the `distance` of its features exceeds the `limit`."""

    def __init__(self, model: str, distance: float, limit: float) -> None:
        self.distance, self.limit = distance, limit
        reason = f"the image is unlike those that it was trained on (distance {distance:.2f}, limit {limit:.2f})"
        super().__init__(model, reason, "choose another model, or set its option unfamiliar=answer to use it anyway")


class DeadlineError(SpatialVlmError, status="TIMEOUT"):
    """Decoding and resolving exceeded the time limit of a request, in seconds."""

    def __init__(self, stage: str, seconds: float) -> None:
        self.stage, self.seconds = stage, seconds
        self.repair = "raise resolve_timeout, or reduce the load of this computer"
        super().__init__(f"{stage} took longer than {seconds:g} s", self.repair)


class StreamError(_ReasonedError):
    """Messages do not make a complete frame."""


class StaleInputError(StreamError, status="STALE_INPUT"):
    """A stream is silent, or all its messages are older than the request."""


class ClockError(StaleInputError):
    """Stamps are ahead of now, or so far behind that the age is not known.

    Args:
        ahead: how far the stamps are ahead of the receiver's clock, seconds; negative = behind.
        limit: name of the parameter that sets the limit.
        allowed: its value, seconds.
    """

    def __init__(self, stream: str, ahead: float, limit: str, allowed: float) -> None:
        self.stream, self.ahead, self.limit, self.allowed = stream, ahead, limit, allowed
        where = "ahead of now" if ahead > 0 else "behind its arrival"
        reason = f"{stream} is stamped {abs(ahead):.2f} s {where}, but {limit} is {allowed:g} s"
        repair = (
            "synchronise the clocks of the two hosts (chrony, PTP), set the driver's time domain (realsense2_camera: "
            "global_time_enabled; orbbec_camera: time_domain), and set use_sim_time to the same value in all nodes"
        )
        super().__init__(reason, repair)


class NotSynchronisedError(StreamError, status="NOT_SYNCHRONISED"):
    """Colour and depth arrive, but their stamps never match."""


class BusyError(SpatialVlmError, status="BUSY"):
    """Another request is being answered.

    Args:
        instruction: of the other request; "" where it is not known, or there is none.
        reason: what is going on instead, in words; None = the instruction is being answered.
    """

    def __init__(self, instruction: str, reason: str | None = None) -> None:
        self.instruction, self.repair = instruction, "wait for its result, or cancel it"
        shown = instruction if len(instruction) <= 60 else instruction[:57] + "..."
        super().__init__(reason or f"another instruction is being answered: {shown!r}", self.repair)


class CancelledError(SpatialVlmError, status="CANCELLED"):
    """The request was withdrawn before it was answered."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason, "send the instruction again")


class StopRequestedError(SpatialVlmError, status="CANCELLED"):
    """The words ask to stop: they are not an instruction, and nothing is resolved."""

    def __init__(self, words: str) -> None:
        self.words = words
        super().__init__(f"{words!r} asks to stop, so nothing is executed", "give the next instruction by itself")


class GoalError(SpatialVlmError, status="UNREACHABLE"):
    """The gripper has no collision-free way to take an object or to put it down.

    Args:
        what: the requested action, for example "take the chick (d2)".
        reasons: (kind, text) of each reason, most frequent first; docs/planning.md lists the kinds.
    """

    def __init__(self, what: str, reasons: Iterable[tuple[str, str]], repair: str) -> None:
        self.what, self.reasons, self.repair = what, tuple(reasons), repair
        super().__init__(f"no free way to {what}: {'; '.join(words for _, words in self.reasons)}", repair)


class OutOfWorkspaceError(GoalError, status="OUT_OF_WORKSPACE"):
    """Every possible motion leaves the workspace or enters a keep-out volume."""


def _moved(moved: float, turned_deg: float, limit: float, limit_deg: float) -> str:
    """How far something moved, and how far it may; what is not known, or has no limit, is left out."""
    if moved == math.inf:
        return "is gone since the observation"
    parts = (
        (f"moved by {moved:.3f} m", f"{limit:g} m", moved + limit),
        (f"turned by {turned_deg:.1f}°", f"{limit_deg:g}°", turned_deg + limit_deg),
    )
    known = [(did, may) for did, may, both in parts if math.isfinite(both)]
    if not known:
        return "may have moved since the observation: how far is not known"
    did, may = (" and ".join(each) for each in zip(*known, strict=True))
    return f"{did} since the observation, but only {may} {'is' if len(known) == 1 else 'are'} allowed"


class SceneChangedError(SpatialVlmError, status="SCENE_CHANGED"):
    """The scene has changed since it was seen.

    Args:
        what: what changed, for example "the camera".
        moved: how far it moved, metres; infinite if it is gone.
        turned_deg: how far it turned, degrees.
        limit: allowed motion, metres.
        limit_deg: allowed rotation, degrees.
        happened: what happened to it, in words that go on after `what`; None = it moved, or is gone.
    """

    def __init__(
        self,
        what: str,
        moved: float,
        turned_deg: float,
        limit: float,
        limit_deg: float,
        repair: str,
        happened: str | None = None,
    ) -> None:
        self.what, self.moved, self.turned_deg, self.repair = what, moved, turned_deg, repair
        self.limit, self.limit_deg = limit, limit_deg
        super().__init__(f"{what} {happened or _moved(moved, turned_deg, limit, limit_deg)}", repair)


class SourceChangedError(_ReasonedError, status="SOURCE_CHANGED"):
    """An input has two publishers, or another one or value than when the goal began; `publishers` names them."""

    def __init__(self, what: str, publishers: tuple[str, ...], happened: str, repair: str) -> None:
        self.what, self.publishers = what, publishers
        super().__init__(f"{what} {happened}", repair)


class UnreachableError(SpatialVlmError, status="UNREACHABLE"):
    """No configuration of the arm reaches the pose.

    Args:
        segment: which motion of the request, from 0.
        position_error: position error of the nearest configuration, metres.
        rotation_error: its rotation error, radians.
    """

    def __init__(self, segment: int, position_error: float, rotation_error: float) -> None:
        self.segment, self.position_error, self.rotation_error = segment, position_error, rotation_error
        nearest = f"the nearest it gets is {position_error:.3f} m and {rotation_error:.2f} rad away"
        repair = "choose another grasp, or move the object or the arm closer"
        super().__init__(f"motion {segment}: the arm cannot reach the pose; {nearest}", repair)


class RejectedError(SpatialVlmError, status="REJECTED"):
    """A person rejected a proposal, or the decision is not valid for it; `about` is the goal or question it names."""

    def __init__(self, about: str, reason: str, repair: str) -> None:
        self.about, self.reason, self.repair = about, reason, repair
        super().__init__(f"{about}: {reason}", repair)


class AuditError(RejectedError):
    """A decision or an action cannot be recorded, and is therefore not accepted."""

    def __init__(self, path: object, reason: str, repair: str) -> None:
        self.path = str(path)
        super().__init__(f"audit log {path}", reason, repair)


class ApprovalExpiredError(SpatialVlmError, status="APPROVAL_EXPIRED"):
    """There was no approval in time, or the approval was not used in time.

    Args:
        expires_after: seconds that it was valid for; 0 where that is not known.
        reason: why it was not used in time, in words; "" = nobody says.
    """

    def __init__(self, about: str, expires_after: float, reason: str = "") -> None:
        self.about, self.expires_after, self.reason = about, expires_after, reason
        after = f"after {round(expires_after, 1):g} s" if expires_after else "before it was used"
        why = f": {reason}" if reason else ""
        super().__init__(f"{about} expired {after}{why}", "send the instruction again")


class PlanningFailedError(SpatialVlmError, status="PLANNING_FAILED"):
    """A planner answered, but with no usable plan.

    Args:
        number: the planner's own error number, where it has one.
        shown: how the message names it; "" = "planner" and its name.
    """

    def __init__(self, planner: str, reason: str, repair: str, number: int | None = None, shown: str = "") -> None:
        self.planner, self.reason, self.repair, self.number = planner, reason, repair, number
        super().__init__(f"{shown or f'planner {planner!r}'}: {reason}", repair)


_NAMED = 5  # objects in a message; the error has all


class NoPathError(PlanningFailedError):
    """The built-in planner can reach the pose, but found no free way to it.

    Args:
        segment: which motion of the request, from 0.
        touched: ids of the objects in the way, if known.
    """

    def __init__(self, segment: int, reason: str, touched: tuple[str, ...], repair: str) -> None:
        self.segment, self.touched = segment, touched
        more = f" and {len(touched) - _NAMED} more" if len(touched) > _NAMED else ""
        blamed = f" ({', '.join(touched[:_NAMED])}{more})" if touched else ""
        super().__init__("built-in", f"motion {segment}: {reason}{blamed}", repair)


class StandsWrongError(NoPathError):
    """The arm's current configuration is in collision or invalid; no other goal helps."""


class PlannerUnavailableError(PlanningFailedError, status="PLANNER_UNAVAILABLE"):
    """No planner runs, or it does not answer."""


class ExecutionFailedError(SpatialVlmError, status="EXECUTION_FAILED"):
    """A plan was not executed to its end. The arm stays where it stopped, and may hold an object.

    Args:
        phase: phase of the plan, as in manipulation/planning/planner.py.
        number: MoveIt's error number, if there is one.
    """

    def __init__(self, phase: str, reason: str, repair: str, number: int | None = None) -> None:
        self.phase, self.reason, self.repair, self.number = phase, reason, repair, number
        super().__init__(f"execution failed in phase {phase!r}: {reason}", repair)


class NothingHeldError(ExecutionFailedError):
    """The fingers closed on nothing: by their width, or by a switch."""


class InternalError(SpatialVlmError, status="INTERNAL_ERROR"):
    """An unexpected exception: a bug in this package. It ends one request; the log has its trace."""

    def __init__(self, reason: str) -> None:
        self.reason, self.repair = reason, "report this error with the instruction, the frame and the log"
        super().__init__(f"internal error: {reason}", self.repair)

    @classmethod
    def of(cls, error: Exception) -> InternalError:
        """Make the error for an unexpected exception."""
        return cls(f"{type(error).__name__}: {error}")


class DependencyError(SpatialVlmError):
    """A package that this function needs is not installed."""

    def __init__(self, package: str, repair: str) -> None:
        self.package, self.repair = package, repair
        super().__init__(f"the package {package!r} is not installed", repair)


class DisplayError(SpatialVlmError):
    """No window can be opened, for example over ssh, in a container or on a robot without a screen."""

    def __init__(self, reason: str) -> None:
        self.reason, self.repair = reason, "write the scene with --out scene.ply and open it on another computer"
        super().__init__(f"there is no display: {reason}", self.repair)


class PlugInError(SpatialVlmError):
    """A relation of a plug-in (`source`: its package and entry point) cannot be used; others are not affected."""

    def __init__(self, name: str, source: str, reason: str, repair: str) -> None:
        self.name, self.source, self.reason, self.repair = name, source, reason, repair
        super().__init__(f"relation {name!r} of {source}: {reason}", repair)


class EvaluationError(_ReasonedError, status="INTERNAL_ERROR"):
    """An evaluation cannot start or continue; results that are already stored are kept."""


class EngineUnavailableError(EvaluationError):
    """No worker starts."""


class StoreError(EvaluationError):
    """A disk or an object store cannot read or write a file."""

    def __init__(self, uri: str, reason: str, repair: str) -> None:
        self.uri = uri
        super().__init__(f"{uri}: {reason}", repair)


class FolderInUseError(EvaluationError):
    """Another evaluation (`owner`: host and process) writes to the folder, for `age` s; last sign `seen` s ago."""

    def __init__(self, folder: str, owner: str, age: float, seen: float, repair: str) -> None:
        self.folder, self.owner, self.age, self.seen = folder, owner, age, seen
        reason = f"{folder} is in use by {owner}"
        if age or seen:
            reason += f", for {age:.0f} s; its last sign of life was {seen:.0f} s ago"
        super().__init__(reason, repair)


class RunMismatchError(EvaluationError):
    """The folder holds another evaluation, or something else."""

    def __init__(self, folder: str, reason: str, repair: str) -> None:
        self.folder = folder
        super().__init__(f"{folder} {reason}", repair)
