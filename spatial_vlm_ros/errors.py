# SPDX-License-Identifier: Apache-2.0
"""All error classes of this package.

Every error has its data as attributes, builds its own message, names the fix, and has the status that it is reported
with. Inner code raises; `Resolver.resolve`, the command line and the nodes translate errors to a status once.

    SpatialVlmError
    ├── InputError (ValueError)          INVALID_INPUT
    │   ├── ShapeError                   an array of the wrong shape or dtype
    │   ├── TransformError               a transform that is not rigid, or wrong frames
    │   ├── FileError                    a file that is missing, truncated or of the wrong form
    │   │   └── FileChangedError         a file that another program has written since it was read
    │   ├── RobotDescriptionError        a URDF, SRDF or joint limits that the planner cannot use
    │   └── UnknownNameError             a relation, backend or frame name that does not exist
    ├── NotUnderstoodError               NOT_UNDERSTOOD, with the span of characters
    ├── NotExecutableError               NOT_EXECUTABLE, with the act and its object
    ├── DepthError                       DEPTH_INVALID
    ├── FrameUndefinedError              FRAME_UNDEFINED
    ├── StreamError
    │   ├── StaleInputError              STALE_INPUT
    │   │   └── ClockError               STALE_INPUT: stamps that run ahead of now, or lie far behind
    │   └── NotSynchronisedError         NOT_SYNCHRONISED
    ├── TransformUnavailableError        TF_UNAVAILABLE
    ├── ModelError                       MODEL_ERROR
    │   ├── ModelTimeoutError            TIMEOUT
    │   ├── DomainMismatchError          MODEL_ERROR, a model was given images that it was not trained for
    │   └── UnfamiliarImageError         MODEL_ERROR, an image unlike those that the model was trained on
    ├── BusyError                        BUSY
    ├── CancelledError                   CANCELLED
    ├── GoalError                        UNREACHABLE: the object cannot be taken or put down, with the reasons
    │   └── OutOfWorkspaceError          OUT_OF_WORKSPACE
    ├── SceneChangedError                SCENE_CHANGED, with what moved and how far
    ├── UnreachableError                 UNREACHABLE, no arm configuration reaches the pose
    ├── RejectedError                    REJECTED: a person rejected, or the decision does not fit the proposal
    │   └── AuditError                   REJECTED: the decision cannot be recorded
    ├── ApprovalExpiredError             APPROVAL_EXPIRED
    ├── PlanningFailedError              PLANNING_FAILED
    │   ├── NoPathError                  PLANNING_FAILED, an obstacle or no time left
    │   └── PlannerUnavailableError      PLANNER_UNAVAILABLE
    ├── ExecutionFailedError             EXECUTION_FAILED, with the phase of the plan
    ├── DependencyError                  MODEL_ERROR, a package that is not installed
    ├── DisplayError                     MODEL_ERROR, no window can be opened
    ├── PlugInError                      MODEL_ERROR, a relation plug-in cannot be used
    └── EvaluationError                  INTERNAL_ERROR, an evaluation cannot start or continue
        ├── EngineUnavailableError       the engine is not available, or lost its workers
        ├── StoreError                   a disk or object store cannot read or write a file
        ├── FolderInUseError             another evaluation writes to the folder
        └── RunMismatchError             the folder holds another evaluation
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar, Literal


class SpatialVlmError(Exception):
    """Base of all errors of this package. `status_name` is the status that the error is reported with."""

    status_name: ClassVar[str] = "MODEL_ERROR"

    def __reduce__(self) -> tuple[object, ...]:
        return _copied, (type(self), self.args, self.__dict__)


def _copied(kind: type[SpatialVlmError], args: tuple[object, ...], data: dict[str, object]) -> SpatialVlmError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(data)
    return error


_LONGEST_PART = 2000  # characters of a part of a message; the longest of our own lists all parameters
_SHOWN = 200  # of a longer one, from its beginning


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
    return " ".join(f"{part if n == 0 else _capital(part)}." for n, part in enumerate(told))


def _capital(part: str) -> str:
    first = part.split(maxsplit=1)[0].rstrip(",;:")
    is_word = first.isascii() and first.isalpha() and first not in _PROGRAMS
    return part[0].upper() + part[1:] if is_word else part


def without_repair(error: SpatialVlmError) -> str:
    """Message of an error without its fix and final full stop, for when the fix is shown elsewhere."""
    repair = _sentences("error", str(getattr(error, "repair", ""))).removeprefix("error.")
    return str(error).removesuffix(repair).rstrip(" .")


class InputError(SpatialVlmError, ValueError):
    """An input cannot be used.

    Args:
        what: what is wrong, for example "camera K".
        got: what was received; the message shortens a text of more than 2,000 characters.
        expected: what would be valid.
        repair: what to do about it; "" if `expected` says it.
    """

    status_name = "INVALID_INPUT"

    def __init__(self, what: str, got: str, expected: str, repair: str = "") -> None:
        self.what, self.got, self.expected, self.repair = what, got, expected, repair
        super().__init__(_sentences(f"{_short(what)}: {_short(got)}", f"expected {_short(expected)}", _short(repair)))


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
            f"transform {parent} <- {child}",
            reason,
            "a rigid transform that maps child to parent",
            repair,
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
        super().__init__(
            path,
            "another program has changed it since it was read; nothing was written",
            "apply your changes to the new file",
        )


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
        joint: name of the joint.
        position: its position, radians or metres.
        lower, upper: its limits.
    """

    def __init__(self, joint: str, position: float, lower: float, upper: float) -> None:
        self.joint, self.position, self.lower, self.upper = joint, position, lower, upper
        got = f"{joint} is at {position:.3f}, {max(lower - position, position - upper):.3f} beyond its limits"
        expected = f"{lower:.3f} to {upper:.3f} (radians, or metres for a joint that slides)"
        super().__init__("start", got, expected, "check the units, or move the arm back within its limits by hand")


class UnknownNameError(InputError):
    """A name of a given kind does not exist; the message lists the valid names."""

    def __init__(self, kind: str, name: str, available: Iterable[str]) -> None:
        self.kind, self.name, self.available = kind, name, tuple(available)
        listed = ", ".join(self.available)
        super().__init__(f"{kind} {name!r}", "an unknown name", f"one of {listed}", _short(f"choose one of: {listed}"))
        self.args = (_sentences(f"unknown {kind} {_short(repr(name))}", self.repair),)


RefusedWords = Literal["unknown words", "refused"]
"""Why words are not understood: a word is unknown, or the request is known but not supported."""


class NotUnderstoodError(SpatialVlmError):
    """The words are outside the grammar, or use an unknown name.

    Args:
        instruction: the words.
        span: (start, end) characters of the part that was not understood.
        reason: why, as text; the message quotes the part itself.
        repair: how to rephrase it.
        kind: "unknown words" if only a word or a relation is unknown; only then may a model be asked. "refused" if the
            words are known but not supported in this form.
    """

    status_name = "NOT_UNDERSTOOD"

    def __init__(
        self, instruction: str, span: tuple[int, int], reason: str, repair: str, kind: RefusedWords = "refused"
    ) -> None:
        self.instruction, self.span, self.reason, self.repair = instruction, span, reason, repair
        self.kind: RefusedWords = kind
        part = instruction[span[0] : span[1]]
        self.part = part if len(part) <= 60 else part[:57] + "..."
        where = f": {self.part!r} (characters {span[0]} to {span[1]})" if self.part else ""
        super().__init__(_sentences(f"{reason}{where}", repair))


class NotExecutableError(SpatialVlmError):
    """The words are understood, but nothing carries the act out.

    Args:
        act: of the closed list in `types.query.Act`.
        what: the act and its object, in words ("wipe the table").
        reason: why it is not carried out.
        repair: what can be asked instead.
    """

    status_name = "NOT_EXECUTABLE"

    def __init__(self, act: str, what: str, reason: str, repair: str) -> None:
        self.act, self.what, self.reason, self.repair = act, what, reason, repair
        super().__init__(_sentences(f"the request is understood ({act}: {_short(what)}), but {reason}", repair))


class DepthError(SpatialVlmError):
    """The depth cannot be trusted as a measurement."""

    status_name = "DEPTH_INVALID"

    def __init__(self, reason: str, repair: str) -> None:
        self.reason, self.repair = reason, repair
        super().__init__(_sentences(reason, repair))


class FrameUndefinedError(SpatialVlmError):
    """A frame of reference that the words need is not defined in this scene."""

    status_name = "FRAME_UNDEFINED"

    def __init__(self, frame: str, reason: str, repair: str) -> None:
        self.frame, self.reason, self.repair = frame, reason, repair
        super().__init__(_sentences(f"frame of reference {frame!r}: {reason}", repair))


class TransformUnavailableError(SpatialVlmError):
    """A transform is not known at the requested stamp.

    `may_come` says whether waiting can help. `is_past` says that the stamp is older than all known transforms; then a
    newer stamp can help.
    """

    status_name = "TF_UNAVAILABLE"

    def __init__(
        self, parent: str, child: str, reason: str, repair: str, *, may_come: bool = False, is_past: bool = False
    ) -> None:
        self.parent, self.child, self.reason, self.repair = parent, child, reason, repair
        self.may_come, self.is_past = may_come, is_past
        super().__init__(_sentences(f"transform {parent} <- {child}: {reason}", repair))

    def advising(self, repair: str) -> TransformUnavailableError:
        """A copy of this error with another fix."""
        known = {"may_come": self.may_come, "is_past": self.is_past}
        return TransformUnavailableError(self.parent, self.child, self.reason, repair, **known)


class ModelError(SpatialVlmError):
    """A grounding model failed; a crash is never "not found"."""

    status_name = "MODEL_ERROR"

    def __init__(self, model: str, reason: str, repair: str) -> None:
        self.model, self.reason, self.repair = model, reason, repair
        super().__init__(_sentences(f"model {model!r}: {reason}", repair))


class ModelTimeoutError(ModelError):
    """A grounding model exceeded its time limit."""

    status_name = "TIMEOUT"


class GraspReplyError(ModelError):
    """A server of learned grasps sent an invalid reply; no part of it is used.

    Args:
        server: name of its service.
        kind: "empty", "frame", "count", "not_finite", "rotation", "score" or "width".
        reason: the same as text.
        repair: what to do about it.
    """

    def __init__(self, server: str, kind: str, reason: str, repair: str) -> None:
        self.kind = kind
        super().__init__(server, reason, repair)
        self.args = (_sentences(f"grasp server {server!r}: {reason}", repair),)


class DomainMismatchError(ModelError):
    """A model trained only on simulated images was given images that are not known to be simulated.

    Args:
        model: its name.
        model_domain: what it was trained on.
        image_domain: what is known of the images: "real" or "unknown".
    """

    def __init__(self, model: str, model_domain: str, image_domain: str) -> None:
        self.model_domain, self.image_domain = model_domain, image_domain
        known = "the images are real" if image_domain == "real" else "the images are not marked as simulated"
        super().__init__(
            model,
            f"it was trained only on {model_domain} images, and {known}, so its scores mean nothing",
            "choose another model. If a simulator makes the images, set domain_gate.images to simulated "
            "(--image-domain simulated). To use the model anyway, set domain_gate.allow_mismatch to true "
            "(--any-domain)",
        )


class UnfamiliarImageError(ModelError):
    """An image differs too much from those that a model was trained on.

    Args:
        model: its name.
        distance: distance of the image's features from those of the training images.
        limit: distance above which an image is refused.
    """

    def __init__(self, model: str, distance: float, limit: float) -> None:
        self.distance, self.limit = distance, limit
        super().__init__(
            model,
            f"the image is unlike those that it was trained on (distance {distance:.2f}, limit {limit:.2f})",
            "choose another model, or set its option unfamiliar=answer to use it anyway",
        )


class DeadlineError(SpatialVlmError):
    """Decoding and resolving exceeded the time limit of a request.

    Args:
        stage: the running stage.
        seconds: the limit.
    """

    status_name = "TIMEOUT"

    def __init__(self, stage: str, seconds: float) -> None:
        self.stage, self.seconds = stage, seconds
        self.repair = "raise resolve_timeout, or reduce the load of this computer"
        super().__init__(_sentences(f"{stage} took longer than {seconds:g} s", self.repair))


class StreamError(SpatialVlmError):
    """Messages do not make a complete frame."""

    def __init__(self, reason: str, repair: str) -> None:
        self.reason, self.repair = reason, repair
        super().__init__(_sentences(reason, repair))


class StaleInputError(StreamError):
    """A stream is silent, or all its messages are older than the request."""

    status_name = "STALE_INPUT"


class ClockError(StaleInputError):
    """Stamps are ahead of now, or so far behind that the age is not known.

    Args:
        stream: the topic or transform with these stamps.
        ahead: how far the stamps are ahead of the receiver's clock, seconds; negative = behind.
        limit: name of the parameter that sets the limit.
        allowed: its value, seconds.
    """

    def __init__(self, stream: str, ahead: float, limit: str, allowed: float) -> None:
        self.stream, self.ahead, self.limit, self.allowed = stream, ahead, limit, allowed
        where = "ahead of now" if ahead > 0 else "behind its arrival"
        reason = f"{stream} is stamped {abs(ahead):.2f} s {where}, but {limit} is {allowed:g} s"
        repair = (
            "synchronise the clocks of the two hosts (chrony, PTP), set the driver's time domain "
            "(realsense2_camera: global_time_enabled; orbbec_camera: time_domain), and set use_sim_time to the "
            "same value in all nodes"
        )
        super().__init__(reason, repair)


class NotSynchronisedError(StreamError):
    """Colour and depth arrive, but their stamps never match."""

    status_name = "NOT_SYNCHRONISED"


class BusyError(SpatialVlmError):
    """Another request is being answered.

    Args:
        instruction: of the other request; "" where it is not known, or there is none.
        reason: what is going on instead, in words; None = the instruction is being answered.
    """

    status_name = "BUSY"

    def __init__(self, instruction: str, reason: str | None = None) -> None:
        self.instruction, self.repair = instruction, "wait for its result, or cancel it"
        shown = instruction if len(instruction) <= 60 else instruction[:57] + "..."
        super().__init__(_sentences(reason or f"another instruction is being answered: {shown!r}", self.repair))


class CancelledError(SpatialVlmError):
    """The request was withdrawn before it was answered."""

    status_name = "CANCELLED"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(_sentences(reason, "send the instruction again"))


class StopRequestedError(SpatialVlmError):
    """The words ask to stop: they are not an instruction, and nothing is resolved.

    Args:
        words: as said.
    """

    status_name = "CANCELLED"

    def __init__(self, words: str) -> None:
        self.words = words
        super().__init__(
            _sentences(f"{words!r} asks to stop, so nothing is executed", "give the next instruction by itself")
        )


class GoalError(SpatialVlmError):
    """The gripper has no collision-free way to take an object or to put it down.

    Args:
        what: the requested action, for example "take the chick (d2)".
        reasons: (kind, text) of each reason, most frequent first; docs/planning.md lists the kinds.
        repair: what to do about it.
    """

    status_name = "UNREACHABLE"

    def __init__(self, what: str, reasons: Iterable[tuple[str, str]], repair: str) -> None:
        self.what, self.reasons, self.repair = what, tuple(reasons), repair
        super().__init__(_sentences(f"no free way to {what}: {'; '.join(words for _, words in self.reasons)}", repair))


class OutOfWorkspaceError(GoalError):
    """Every possible motion leaves the workspace or enters a keep-out volume."""

    status_name = "OUT_OF_WORKSPACE"


def _moved(moved: float, turned_deg: float, limit: float, limit_deg: float) -> str:
    """How far something moved, and how far it may; what is not known, or has no limit, is left out."""
    if moved == math.inf:
        return "is gone since the observation"
    told, allowed = [], []
    if math.isfinite(moved) and math.isfinite(limit):
        told.append(f"moved by {moved:.3f} m")
        allowed.append(f"{limit:g} m")
    if math.isfinite(turned_deg) and math.isfinite(limit_deg):
        told.append(f"turned by {turned_deg:.1f}°")
        allowed.append(f"{limit_deg:g}°")
    if not told:
        return "may have moved since the observation: how far is not known"
    verb = "is" if len(allowed) == 1 else "are"
    return f"{' and '.join(told)} since the observation, but only {' and '.join(allowed)} {verb} allowed"


class SceneChangedError(SpatialVlmError):
    """The scene has changed since it was seen.

    Args:
        what: what changed, for example "the camera".
        moved: how far it moved, metres; infinite if it is gone.
        turned_deg: how far it turned, degrees.
        limit: allowed motion, metres.
        limit_deg: allowed rotation, degrees.
        repair: what to do about it.
        happened: what happened to it, in words that go on after `what`; None = it moved, or is gone.
    """

    status_name = "SCENE_CHANGED"

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
        super().__init__(_sentences(f"{what} {happened or _moved(moved, turned_deg, limit, limit_deg)}", repair))


class UnreachableError(SpatialVlmError):
    """No configuration of the arm reaches the pose.

    Args:
        segment: which motion of the request, from 0.
        position_error: position error of the nearest configuration, metres.
        rotation_error: its rotation error, radians.
    """

    status_name = "UNREACHABLE"

    def __init__(self, segment: int, position_error: float, rotation_error: float) -> None:
        self.segment, self.position_error, self.rotation_error = segment, position_error, rotation_error
        super().__init__(
            _sentences(
                f"motion {segment}: the arm cannot reach the pose; the nearest it gets is {position_error:.3f} m "
                f"and {rotation_error:.2f} rad away",
                "choose another grasp, or move the object or the arm closer",
            )
        )


class RejectedError(SpatialVlmError):
    """A person rejected a proposal, or the decision is not valid for it.

    Args:
        about: the goal or the question that the decision names.
        reason: why, as text.
        repair: what to do about it.
    """

    status_name = "REJECTED"

    def __init__(self, about: str, reason: str, repair: str) -> None:
        self.about, self.reason, self.repair = about, reason, repair
        super().__init__(_sentences(f"{about}: {reason}", repair))


class AuditError(RejectedError):
    """A decision or an action cannot be recorded, and is therefore not accepted."""

    def __init__(self, path: object, reason: str, repair: str) -> None:
        self.path = str(path)
        super().__init__(f"audit log {path}", reason, repair)


class ApprovalExpiredError(SpatialVlmError):
    """There was no approval in time, or the approval was not used in time.

    Args:
        about: the goal or the question that was named.
        expires_after: seconds that it was valid for; 0 where that is not known.
        reason: why it was not used in time, in words; "" = nobody says.
    """

    status_name = "APPROVAL_EXPIRED"

    def __init__(self, about: str, expires_after: float, reason: str = "") -> None:
        self.about, self.expires_after, self.reason = about, expires_after, reason
        after = f"after {round(expires_after, 1):g} s" if expires_after else "before it was used"
        why = f": {reason}" if reason else ""
        super().__init__(_sentences(f"{about} expired {after}{why}", "send the instruction again"))


class PlanningFailedError(SpatialVlmError):
    """A planner answered, but with no usable plan.

    Args:
        planner: its name.
        reason: why, in words.
        repair: what to do about it.
        number: the planner's own error number, where it has one.
        shown: how the message names it; None = "planner" and its name.
    """

    status_name = "PLANNING_FAILED"

    def __init__(
        self, planner: str, reason: str, repair: str, number: int | None = None, shown: str | None = None
    ) -> None:
        self.planner, self.reason, self.repair, self.number = planner, reason, repair, number
        super().__init__(_sentences(f"{shown or f'planner {planner!r}'}: {reason}", repair))


_NAMED = 5  # objects in a message; the error has all


class NoPathError(PlanningFailedError):
    """The built-in planner can reach the pose, but found no free way to it.

    Args:
        segment: which motion of the request, from 0.
        reason: why, as text.
        touched: ids of the objects in the way, if known.
        repair: what to do about it.
    """

    def __init__(self, segment: int, reason: str, touched: tuple[str, ...], repair: str) -> None:
        self.segment, self.touched = segment, touched
        more = f" and {len(touched) - _NAMED} more" if len(touched) > _NAMED else ""
        blamed = f" ({', '.join(touched[:_NAMED])}{more})" if touched else ""
        super().__init__("built-in", f"motion {segment}: {reason}{blamed}", repair)


class StandsWrongError(NoPathError):
    """The arm's current configuration is in collision or invalid; no other goal helps."""


class PlannerUnavailableError(PlanningFailedError):
    """No planner runs, or it does not answer."""

    status_name = "PLANNER_UNAVAILABLE"


class ExecutionFailedError(SpatialVlmError):
    """A plan was not executed to its end. The arm stays where it stopped, and may hold an object.

    Args:
        phase: phase of the plan, as in manipulation/planning/planner.py.
        reason: why, as text.
        repair: what to do about it.
        number: MoveIt's error number, if there is one.
    """

    status_name = "EXECUTION_FAILED"

    def __init__(self, phase: str, reason: str, repair: str, number: int | None = None) -> None:
        self.phase, self.reason, self.repair, self.number = phase, reason, repair, number
        super().__init__(_sentences(f"execution failed in phase {phase!r}: {reason}", repair))


class InternalError(SpatialVlmError):
    """An unexpected exception: a bug in this package. It ends one request; the log has its trace.

    Args:
        reason: type and message of the exception.
        repair: what to do about it.
    """

    status_name = "INTERNAL_ERROR"

    def __init__(
        self, reason: str, repair: str = "report this error with the instruction, the frame and the log"
    ) -> None:
        self.reason, self.repair = reason, repair
        super().__init__(_sentences(f"internal error: {reason}", repair))

    @classmethod
    def of(cls, error: Exception) -> InternalError:
        """Make the error for an unexpected exception."""
        return cls(f"{type(error).__name__}: {error}")


class DependencyError(SpatialVlmError):
    """A package that this function needs is not installed."""

    def __init__(self, package: str, repair: str) -> None:
        self.package, self.repair = package, repair
        super().__init__(_sentences(f"the package {package!r} is not installed", repair))


class DisplayError(SpatialVlmError):
    """No window can be opened, for example over ssh, in a container or on a robot without a screen."""

    def __init__(
        self, reason: str, repair: str = "write the scene with --out scene.ply and open it on another computer"
    ) -> None:
        self.reason, self.repair = reason, repair
        super().__init__(_sentences(f"there is no display: {reason}", repair))


class PlugInError(SpatialVlmError):
    """A relation of an installed plug-in package cannot be used; other relations are not affected.

    Args:
        name: name of the relation.
        source: the package and its entry point.
        reason: why, as text.
        repair: what to do about it.
    """

    def __init__(self, name: str, source: str, reason: str, repair: str) -> None:
        self.name, self.source, self.reason, self.repair = name, source, reason, repair
        super().__init__(_sentences(f"relation {name!r} of {source}: {reason}", repair))


class EvaluationError(SpatialVlmError):
    """An evaluation cannot start or continue; results that are already stored are kept.

    Args:
        reason: why, as text.
        repair: what to do about it.
    """

    status_name = "INTERNAL_ERROR"

    def __init__(self, reason: str, repair: str) -> None:
        self.reason, self.repair = reason, repair
        super().__init__(_sentences(reason, repair))


class EngineUnavailableError(EvaluationError):
    """Ray is not reachable, or no worker starts."""


class StoreError(EvaluationError):
    """A disk or an object store cannot read or write a file.

    Args:
        uri: URI of the file.
        reason: why, as text.
        repair: what to do about it.
    """

    def __init__(self, uri: str, reason: str, repair: str) -> None:
        self.uri = uri
        super().__init__(f"{uri}: {reason}", repair)


class FolderInUseError(EvaluationError):
    """Another evaluation writes to the folder.

    Args:
        folder: path or URI.
        owner: host and process, as text.
        age: seconds since it began.
        seen: seconds since its last sign of life.
        repair: what to do about it.
    """

    def __init__(self, folder: str, owner: str, age: float, seen: float, repair: str) -> None:
        self.folder, self.owner, self.age, self.seen = folder, owner, age, seen
        reason = f"{folder} is in use by {owner}"
        if age or seen:
            reason += f", for {age:.0f} s; its last sign of life was {seen:.0f} s ago"
        super().__init__(reason, repair)


class RunMismatchError(EvaluationError):
    """The folder holds another evaluation, or something else.

    Args:
        folder: path or URI.
        reason: what it holds.
        repair: what to do about it.
    """

    def __init__(self, folder: str, reason: str, repair: str) -> None:
        self.folder = folder
        super().__init__(f"{folder} {reason}", repair)
