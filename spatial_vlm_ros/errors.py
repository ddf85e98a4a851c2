# SPDX-License-Identifier: Apache-2.0
"""The whole error taxonomy.

Every error carries its data as attributes, builds its own message, names the repair, and knows the status it becomes
at the edge. Deep code raises; `Resolver.resolve`, the command line and the nodes translate once.

    SpatialVlmError
    ├── InputError (ValueError)          INVALID_INPUT
    │   ├── ShapeError                   an array of the wrong shape or dtype
    │   ├── TransformError               no rigid transform, or frames that do not fit
    │   ├── FileError                    a file that is missing, truncated or of the wrong form
    │   │   └── FileChangedError         a file that another program has written since it was read
    │   ├── RobotDescriptionError        a URDF, SRDF or limits that no arm can be planned with
    │   └── UnknownNameError             a relation, backend or frame name that does not exist
    ├── NotUnderstoodError               NOT_UNDERSTOOD, with the span
    ├── DepthError                       DEPTH_INVALID
    ├── FrameUndefinedError              FRAME_UNDEFINED
    ├── StreamError
    │   ├── StaleInputError              STALE_INPUT
    │   │   └── ClockError               STALE_INPUT: stamps that run ahead of now, or lie far behind
    │   └── NotSynchronisedError         NOT_SYNCHRONISED
    ├── TransformUnavailableError        TF_UNAVAILABLE
    ├── ModelError                       MODEL_ERROR
    │   ├── ModelTimeoutError            TIMEOUT
    │   ├── DomainMismatchError          MODEL_ERROR, a model asked about images that it was not trained for
    │   └── UnfamiliarImageError         MODEL_ERROR, an image unlike those that the model was trained on
    ├── BusyError                        BUSY
    ├── CancelledError                   CANCELLED
    ├── GoalError                        UNREACHABLE: no way to take or put down the object, with the reasons
    │   └── OutOfWorkspaceError          OUT_OF_WORKSPACE
    ├── SceneChangedError                SCENE_CHANGED, with what moved and how far
    ├── UnreachableError                 UNREACHABLE, no configuration of the arm
    ├── RejectedError                    REJECTED: a person said no, or what was said is not valid for what is proposed
    │   └── AuditError                   REJECTED: what was said cannot be recorded
    ├── ApprovalExpiredError             APPROVAL_EXPIRED
    ├── PlanningFailedError              PLANNING_FAILED
    │   ├── NoPathError                  PLANNING_FAILED, something in the way or no time
    │   └── PlannerUnavailableError      PLANNER_UNAVAILABLE
    ├── ExecutionFailedError             EXECUTION_FAILED, in which phase of a plan
    ├── DependencyError                  MODEL_ERROR, a package that is not installed
    ├── DisplayError                     MODEL_ERROR, a window where none can be opened
    ├── PlugInError                      MODEL_ERROR, a relation of an installed package that cannot be used
    └── EvaluationError                  INTERNAL_ERROR, an evaluation that cannot begin or go on
        ├── EngineUnavailableError       what should run it is not there, or lost its workers
        ├── StoreError                   a disk or an object store does not give or take a file
        ├── FolderInUseError             another evaluation writes to the folder
        └── RunMismatchError             the folder holds another evaluation
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar, Literal


class SpatialVlmError(Exception):
    """Base of all errors of this package. `status_name` is the status it becomes at the edge."""

    status_name: ClassVar[str] = "MODEL_ERROR"

    def __reduce__(self) -> tuple[object, ...]:
        """Copies, and passes to another process, with its message and its data."""
        return _copied, (type(self), self.args, self.__dict__)


def _copied(kind: type[SpatialVlmError], args: tuple[object, ...], data: dict[str, object]) -> SpatialVlmError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(data)
    return error


_LONGEST_PART = 2000  # characters of a part of a message; the longest of our own lists all parameters
_SHOWN = 200  # of a longer one, from its beginning


def _short(text: str) -> str:
    """Text for a message: a name or value from a file may have a million characters."""
    text = str(text)
    return text if len(text) <= _LONGEST_PART else f"{text[:_SHOWN]}… ({len(text)} characters)"


_PROGRAMS = ("apt", "chrony", "colcon", "pip", "rosdep", "xacro")  # as they are typed, also where a sentence begins


def _sentences(*parts: str) -> str:
    """One message of several parts: what happened, what would be right, what to do. Empty parts are left out.

    From the second part on, one that begins with a word begins with a capital letter; names, options and commands stay
    as they are.
    """
    told = [part.strip().rstrip(".") for part in parts]
    told = [part for part in told if part]
    return " ".join(f"{part if n == 0 else _capital(part)}." for n, part in enumerate(told))


def _capital(part: str) -> str:
    first = part.split(maxsplit=1)[0].rstrip(",;:")
    is_word = first.isascii() and first.isalpha() and first not in _PROGRAMS
    return part[0].upper() + part[1:] if is_word else part


def without_repair(error: SpatialVlmError) -> str:
    """The message of an error without its repair and its last full stop, to show the repair elsewhere."""
    repair = _sentences("error", str(getattr(error, "repair", ""))).removeprefix("error.")
    return str(error).removesuffix(repair).rstrip(" .")


class InputError(SpatialVlmError, ValueError):
    """The caller gave something that cannot be used.

    Args:
        what: the object, for example "camera K".
        got: what was received; the message has the beginning of what is longer than 2,000 characters.
        expected: what would have been right.
        repair: what to do about it; "" where what is expected says it.
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
    """A transform is not rigid, or is used with frames it does not connect."""

    def __init__(self, parent: str, child: str, reason: str) -> None:
        self.parent, self.child, self.reason = parent, child, reason
        super().__init__(
            f"transform {parent} <- {child}",
            reason,
            "a rigid transform that maps child to parent",
            "check the calibration and the frame names",
        )


class FileError(InputError):
    """A file cannot be read as what it should be; `field` names the place inside it, where there is one."""

    def __init__(self, path: object, reason: str, repair: str, field: str | None = None) -> None:
        self.path, self.field = str(path), field
        place = f"{path}" if field is None else f"{path} at {field}"
        super().__init__(place, reason, "a readable file in the documented form", repair)
        self.args = (_sentences(f"{_short(place)}: {_short(reason)}", _short(repair)),)


class FileChangedError(FileError):
    """Another program has written a file since it was read; nothing was written."""

    def __init__(self, path: object) -> None:
        super().__init__(
            path,
            "another program has changed it since it was read; nothing was written",
            "apply your changes to the new file",
        )


class StaleCaseError(InputError):
    """A decision about a case that is another one by now; nothing was written."""

    def __init__(self, got: str) -> None:
        super().__init__("case", got, "the case that the page shows", "look at the case again, then decide")
        self.args = (_sentences(f"{got}; nothing was written", self.repair),)


class RobotDescriptionError(InputError):
    """A URDF, SRDF or file of joint limits is not of a robot that can be planned for."""


class JointLimitError(InputError):
    """The arm stands beyond a limit of a joint.

    Args:
        joint: its name.
        position: where it is, radians or metres.
        lower, upper: its limits.
    """

    def __init__(self, joint: str, position: float, lower: float, upper: float) -> None:
        self.joint, self.position, self.lower, self.upper = joint, position, lower, upper
        got = f"{joint} is at {position:.3f}, {max(lower - position, position - upper):.3f} beyond its limits"
        expected = f"{lower:.3f} to {upper:.3f} (radians, or metres for a joint that slides)"
        super().__init__("start", got, expected, "check the units, or move the arm back within its limits by hand")


class UnknownNameError(InputError):
    """A name of a given kind does not exist; lists those that do."""

    def __init__(self, kind: str, name: str, available: Iterable[str]) -> None:
        self.kind, self.name, self.available = kind, name, tuple(available)
        listed = ", ".join(self.available)
        super().__init__(f"{kind} {name!r}", "an unknown name", f"one of {listed}")
        self.args = (_sentences(f"unknown {kind} {_short(repr(name))}", _short(f"choose one of: {listed}")),)


RefusedWords = Literal["unknown words", "refused"]
"""Why words are not understood: a word is not known, or what they ask for is known and refused."""


class NotUnderstoodError(SpatialVlmError):
    """The words are outside the grammar, or name something the package does not know.

    Args:
        instruction: the words.
        span: (start, end) characters of the part that was not understood.
        reason: why, in words; the message quotes the part itself.
        repair: how to say it instead.
        kind: "unknown words" where a word or a relation is not known, and nothing else speaks against the words; a
            model may be asked about these alone. "refused" where the words are known and not supported as they stand.
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


class DepthError(SpatialVlmError):
    """Depth that cannot be trusted as a measurement."""

    status_name = "DEPTH_INVALID"

    def __init__(self, reason: str, repair: str) -> None:
        self.reason, self.repair = reason, repair
        super().__init__(_sentences(reason, repair))


class FrameUndefinedError(SpatialVlmError):
    """A frame of reference that the words need is not defined here."""

    status_name = "FRAME_UNDEFINED"

    def __init__(self, frame: str, reason: str, repair: str) -> None:
        self.frame, self.reason, self.repair = frame, reason, repair
        super().__init__(_sentences(f"frame of reference {frame!r}: {reason}", repair))


class TransformUnavailableError(SpatialVlmError):
    """A transform is not known at the stamp asked for.

    `may_come` tells whether waiting can help, `is_past` that the stamp lies before all that is known: then a newer
    stamp can.
    """

    status_name = "TF_UNAVAILABLE"

    def __init__(
        self, parent: str, child: str, reason: str, repair: str, *, may_come: bool = False, is_past: bool = False
    ) -> None:
        self.parent, self.child, self.reason, self.repair = parent, child, reason, repair
        self.may_come, self.is_past = may_come, is_past
        super().__init__(_sentences(f"transform {parent} <- {child}: {reason}", repair))

    def advising(self, repair: str) -> TransformUnavailableError:
        """The same with other advice."""
        known = {"may_come": self.may_come, "is_past": self.is_past}
        return TransformUnavailableError(self.parent, self.child, self.reason, repair, **known)


class ModelError(SpatialVlmError):
    """A grounding model failed; a crash is never "not found"."""

    status_name = "MODEL_ERROR"

    def __init__(self, model: str, reason: str, repair: str) -> None:
        self.model, self.reason, self.repair = model, reason, repair
        super().__init__(_sentences(f"model {model!r}: {reason}", repair))


class ModelTimeoutError(ModelError):
    """A grounding model took longer than it may."""

    status_name = "TIMEOUT"


class GraspReplyError(ModelError):
    """A server of learned grasps replied with something that cannot be used; nothing of the reply is.

    Args:
        server: its service.
        kind: "empty", "frame", "count", "not_finite", "rotation", "score" or "width".
        reason: the same for a person.
        repair: what to do about it.
    """

    def __init__(self, server: str, kind: str, reason: str, repair: str) -> None:
        self.kind = kind
        super().__init__(server, reason, repair)
        self.args = (_sentences(f"grasp server {server!r}: {reason}", repair),)


class DomainMismatchError(ModelError):
    """A model that was trained on simulated images only was given images that are not known to be simulated.

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
    """An image is unlike those that a model was trained on.

    Args:
        model: its name.
        distance: of the image's features from those of the training images.
        limit: distance from which an image is refused.
    """

    def __init__(self, model: str, distance: float, limit: float) -> None:
        self.distance, self.limit = distance, limit
        super().__init__(
            model,
            f"the image is unlike those that it was trained on (distance {distance:.2f}, limit {limit:.2f})",
            "choose another model, or set its option unfamiliar=answer to use it anyway",
        )


class DeadlineError(SpatialVlmError):
    """Decoding and resolving took longer than a request may.

    Args:
        stage: what was under way.
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
    """A stream is silent, or all it brings is older than the request."""

    status_name = "STALE_INPUT"


class ClockError(StaleInputError):
    """Stamps that run ahead of now, or lie so far behind that no one can say how old they are.

    Args:
        stream: what is stamped so: a topic, or a transform.
        ahead: by how much the stamps run ahead of the clock that hears them, seconds; negative = behind.
        limit: the parameter that says how much is allowed, by name.
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
    """Colour and depth arrive, but their stamps never fit together."""

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
    """The words ask to stop: they are no order, and nothing is resolved.

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
    """There is no free way for the gripper to take an object, or to put it down.

    Args:
        what: what was wanted, for example "take the chick (d2)".
        reasons: why not, as (kind, words), the most frequent first; the kinds are in docs/planning.md.
        repair: what to do about it.
    """

    status_name = "UNREACHABLE"

    def __init__(self, what: str, reasons: Iterable[tuple[str, str]], repair: str) -> None:
        self.what, self.reasons, self.repair = what, tuple(reasons), repair
        super().__init__(_sentences(f"no free way to {what}: {'; '.join(words for _, words in self.reasons)}", repair))


class OutOfWorkspaceError(GoalError):
    """Every way leaves the workspace, or enters a volume to keep out of."""

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
    """What was seen is no longer how objects are.

    Args:
        what: what changed, for example "the camera".
        moved: by how many metres; infinite where it is gone.
        turned_deg: by how many degrees.
        limit: metres that are allowed.
        limit_deg: degrees that are allowed.
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
    """No configuration of the arm has its tip where it should be.

    Args:
        segment: which motion of the request, from 0.
        position_error: how far the nearest one stays away, metres.
        rotation_error: the same, radians.
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
    """A person said no, or what was said is not valid for what is proposed.

    Args:
        about: the goal or the question that was named.
        reason: why, in words.
        repair: what to do about it.
    """

    status_name = "REJECTED"

    def __init__(self, about: str, reason: str, repair: str) -> None:
        self.about, self.reason, self.repair = about, reason, repair
        super().__init__(_sentences(f"{about}: {reason}", repair))


class AuditError(RejectedError):
    """What was said, or is about to be done, cannot be recorded, and is therefore not accepted."""

    def __init__(self, path: object, reason: str, repair: str) -> None:
        self.path = str(path)
        super().__init__(f"audit log {path}", reason, repair)


class ApprovalExpiredError(SpatialVlmError):
    """Nobody approved in time, or what was approved was not used in time.

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
        reason: why, in words.
        touched: ids of what is in the way, where that is known.
        repair: what to do about it.
    """

    def __init__(self, segment: int, reason: str, touched: tuple[str, ...], repair: str) -> None:
        self.segment, self.touched = segment, touched
        more = f" and {len(touched) - _NAMED} more" if len(touched) > _NAMED else ""
        blamed = f" ({', '.join(touched[:_NAMED])}{more})" if touched else ""
        super().__init__("built-in", f"motion {segment}: {reason}{blamed}", repair)


class StandsWrongError(NoPathError):
    """The arm stands where it cannot stand, or objects are told to be where it stands; no other goal helps."""


class PlannerUnavailableError(PlanningFailedError):
    """There is no planner, or it does not answer."""

    status_name = "PLANNER_UNAVAILABLE"


class ExecutionFailedError(SpatialVlmError):
    """A plan was not carried out to its end. The arm stands where it came to rest, and may hold something.

    Args:
        phase: of the plan, as in manipulation/planning/planner.py.
        reason: why, in words.
        repair: what to do about it.
        number: MoveIt's error number, where it gave one.
    """

    status_name = "EXECUTION_FAILED"

    def __init__(self, phase: str, reason: str, repair: str, number: int | None = None) -> None:
        self.phase, self.reason, self.repair, self.number = phase, reason, repair, number
        super().__init__(_sentences(f"execution failed in phase {phase!r}: {reason}", repair))


class InternalError(SpatialVlmError):
    """An exception that nobody expected: a fault of this package. It costs one request; its trace is in the log.

    Args:
        reason: type and words of the exception.
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
        """The error for an unexpected exception."""
        return cls(f"{type(error).__name__}: {error}")


class DependencyError(SpatialVlmError):
    """A package that this function needs is not installed."""

    def __init__(self, package: str, repair: str) -> None:
        self.package, self.repair = package, repair
        super().__init__(_sentences(f"the package {package!r} is not installed", repair))


class DisplayError(SpatialVlmError):
    """A window was asked for where none can be opened: over ssh, in a container, on a robot without a screen."""

    def __init__(
        self, reason: str, repair: str = "write the scene with --out scene.ply and open it on another computer"
    ) -> None:
        self.reason, self.repair = reason, repair
        super().__init__(_sentences(f"there is no display: {reason}", repair))


class PlugInError(SpatialVlmError):
    """A relation that an installed package brings cannot be used; other relations are not touched by that.

    Args:
        name: of the relation.
        source: the package and its entry point.
        reason: why, in words.
        repair: what to do about it.
    """

    def __init__(self, name: str, source: str, reason: str, repair: str) -> None:
        self.name, self.source, self.reason, self.repair = name, source, reason, repair
        super().__init__(_sentences(f"relation {name!r} of {source}: {reason}", repair))


class EvaluationError(SpatialVlmError):
    """An evaluation cannot begin or go on; results that are stored already are kept.

    Args:
        reason: why, in words.
        repair: what to do about it.
    """

    status_name = "INTERNAL_ERROR"

    def __init__(self, reason: str, repair: str) -> None:
        self.reason, self.repair = reason, repair
        super().__init__(_sentences(reason, repair))


class EngineUnavailableError(EvaluationError):
    """Ray is not reachable, or no worker starts."""


class StoreError(EvaluationError):
    """A disk or an object store does not give or take a file.

    Args:
        uri: of the file.
        reason: why, in words.
        repair: what to do about it.
    """

    def __init__(self, uri: str, reason: str, repair: str) -> None:
        self.uri = uri
        super().__init__(f"{uri}: {reason}", repair)


class FolderInUseError(EvaluationError):
    """Another evaluation writes to the folder.

    Args:
        folder: path or URI.
        owner: host and process, in words.
        age: seconds since it began.
        seen: seconds since it last gave a sign of life.
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
