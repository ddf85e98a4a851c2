# SPDX-License-Identifier: Apache-2.0
"""Shared by all commands: exit codes, error messages, options and output; loads commands when they are called."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from spatial_vlm_ros.errors import (
    DependencyError,
    DisplayError,
    EvaluationError,
    FileError,
    InputError,
    SpatialVlmError,
)
from spatial_vlm_ros.files.documents import read_yaml
from spatial_vlm_ros.files.writing import write_bytes
from spatial_vlm_ros.printable import printable, printable_json

if TYPE_CHECKING:
    from spatial_vlm_ros.parameters import ResolverConfig, Settings, StreamConfig
    from spatial_vlm_ros.types import Detection, Resolution, Rgb, RgbdFrame, Scene

ANSWERED, FAILED, REFUSED = 0, 1, 3

PLUG_INS = "spatial_vlm_ros.commands"
"""Entry-point group of plug-in commands: name → click.Command. They cannot replace built-in commands."""


class Group(click.Group):
    """Command group that translates uncaught errors to exit codes: a status means refused, anything else failed.

    Args:
        verbs: names of the commands; `cli/VERB.py` has a function of the same name (with _ for -), loaded when called.
        plug_ins: entry-point group of its plug-in commands.
    """

    def __init__(self, *args: Any, verbs: Sequence[str] = (), plug_ins: str = PLUG_INS, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._verbs, self._plug_ins = tuple(verbs), plug_ins

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return sorted({*super().list_commands(ctx), *self._verbs, *entry_points(group=self._plug_ins).names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command by name."""
        if cmd_name not in self._verbs:
            return super().get_command(ctx, cmd_name) or _plug_in(self._plug_ins, cmd_name)
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"spatial_vlm_ros.cli.{name}"), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (DependencyError, DisplayError, EvaluationError) as error:
            say(error, err=True)
            ctx.exit(FAILED)
        except SpatialVlmError as error:
            say(f"{error.status_name}: {error}", err=True)
            ctx.exit(REFUSED)
        except click.ClickException as error:
            vars(error)["message"] = printable(error.message, keep="\n")
            raise
        except BrokenPipeError:
            ctx.exit(FAILED)


def _plug_in(group: str, name: str) -> click.Command | None:
    """Load a plug-in command; if it cannot be loaded, return a command that says why."""
    found = next(iter(entry_points(group=group, name=name)), None)
    if found is None:
        return None
    try:
        command = found.load()
        if isinstance(command, click.Command):
            return command
        reason = f"TypeError: {found.value} is of type {type(command).__name__}, not click.Command"
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
    reason = printable(reason)
    package = found.dist.name if found.dist is not None else "an installed package"

    def fail() -> NoReturn:
        repair = f"Install what it needs, or uninstall {package}."
        raise click.ClickException(f"command {name!r} of {package} cannot be loaded: {reason}. {repair}")

    anything: dict[str, Any] = {"ignore_unknown_options": True, "allow_extra_args": True}
    short = f"(of {package}; cannot be loaded: {reason})"
    return click.Command(name, anything, fail, short_help=short, add_help_option=False)


# ------------------------------------------------------------------------------------------------ options, output

IMAGES = (".png", ".jpg", ".jpeg")
SCENES = (".ply",)
FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
config_option = click.option(
    "--config", "config_file", type=FILE, help="Parameter file, in the form of config/resolver.yaml."
)
FRAMES_OF_REFERENCE = ("viewer", "robot", "world", "speaker", "object")  # FrameOfReference, which loads NumPy
IMAGE_DOMAINS = ("simulated", "real")  # ImageDomain without "unknown"
image_domain_option = click.option(
    "--image-domain",
    type=click.Choice(IMAGE_DOMAINS),
    help="Source of the images, if they do not state it. Detectors trained only on simulated images refuse others.",
)
any_domain_option = click.option(
    "--any-domain", is_flag=True, help="Allow a detector trained only on simulated images to run on any images."
)
frame_option = click.option(
    "--frame-of-reference",
    type=click.Choice(FRAMES_OF_REFERENCE),
    help="Frame of reference for words such as left and behind, if the words do not say. Default: viewer (the camera).",
)

_Command = Callable[..., Any]


def options(*each: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Make one decorator of several options, in the order of the help page."""

    def add(command: _Command) -> _Command:
        for option in reversed(each):
            command = option(command)
        return command

    return add


_FRAME_FILES = {
    "--rgb": "Colour image, 8 bit.",
    "--depth": "Depth: 16-bit PNG in millimetres (0 = none), or .npy / float TIFF in metres.",
    "--camera-info": "Intrinsics of the colour image as JSON.",
    "--depth-camera-info": "Intrinsics of the depth image, if it is not registered.",
    "--rgb-t-depth": "Pose of the depth camera in the colour camera frame, as JSON (see --base-t-camera).",
    "--base-t-camera": "Pose of the camera in the robot base frame, as JSON: "
    '{"parent": …, "child": …, "matrix": 4 rows of 4}.',
    "--camera-t-speaker": "Pose of the speaker in the camera frame, as JSON (see --base-t-camera).",
    "--detections": "Detections of the colour image as JSON.",
}
frame_file_options = options(
    *(click.option(name, type=FILE, help=words) for name, words in _FRAME_FILES.items()),
    click.option("--grounder", help="Backend that detects objects, if no detections are given."),
    click.option("--grounder-options", help="Options of --grounder: name=value, separated by spaces."),
)
"""Decorator that adds the options for one frame as single files and for its detector."""


_TOPICS = {  # role, as in recording.bags.topics → option and help
    "rgb/image": ("--rgb", "Topic of the colour images, raw or compressed."),
    "depth/image": ("--depth", "Topic of the depth images, raw or compressedDepth."),
    "rgb/camera_info": ("--camera-info", "Topic of the colour camera info."),
    "depth/camera_info": ("--depth-camera-info", "Topic of the depth camera info, if depth is not registered."),
    "detections": ("--detections", "Topic of detections: DetectionArray, or Detection2DArray of vision_msgs."),
    "imu": ("--imu", "Topic of the IMU, if imu is true."),
    "instruction": ("--instruction-topic", "Topic std_msgs/String of instructions, used if no INSTRUCTION is given."),
}
_STREAMS = {  # parameter → help of its option
    "base_frame": "TF frame of output poses, z up; '' means the camera frame.",
    "fixed_frame": "TF frame that stays still while the camera moves, such as odom.",
    "speaker_frame": "TF frame of the speaker, for 'my left'.",
    "robot_description": "URDF of the robot, whose points are removed from depth; '' removes nothing.",
}
_RECTIFIED = "Whether the images are rectified. Default: from the parameters."
stream_options = options(
    *(click.option(f"--{name.replace('_', '-')}", help=words) for name, words in _STREAMS.items()),
    click.option("--rectified/--raw", default=None, help=_RECTIFIED),
)
"""Decorator that adds the options for assembling messages to frames."""


def topic_options(
    renamed: Mapping[str, str] | None = None, without: tuple[str, ...] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator that adds an option for each topic; the argument is named after the last words of its role."""
    names = {role: (renamed or {}).get(role, option) for role, (option, _) in _TOPICS.items() if role not in without}
    return options(
        *(click.option(name, _argument(role), metavar="TOPIC", help=_TOPICS[role][1]) for role, name in names.items())
    )


def named_topics(given: Mapping[str, Any]) -> dict[str, str]:
    """Role → topic, for the topics that were given."""
    return {role: given[_argument(role)] for role in _TOPICS if given.get(_argument(role)) is not None}


def changed_streams(config: StreamConfig, given: Mapping[str, Any]) -> StreamConfig:
    """The parameter file's values, overridden by the command line."""
    changes = {name: given[name] for name in (*_STREAMS, "rectified") if given[name] is not None}
    if given.get(_argument("depth/camera_info")) is not None:
        changes["depth_registered"] = False
    if given.get(_argument("imu")) is not None:
        changes["imu"] = True
    return dataclasses.replace(config, **changes)


def _argument(role: str) -> str:
    return f"topic_{role.replace('/', '_')}"


def check_frame_files(files: Mapping[str, Any]) -> None:
    """Raise click.UsageError if a required file of the frame is not given."""
    missing = [f"--{name.replace('_', '-')}" for name in ("rgb", "depth", "camera_info") if files[name] is None]
    if missing:
        raise click.UsageError(f"missing {', '.join(missing)}")


def read_frame_files(files: Mapping[str, Any]) -> tuple[RgbdFrame, tuple[Detection, ...] | None]:
    """Read the frame of `frame_file_options`, and its detections if a file is given."""
    from spatial_vlm_ros.recording.frame_folder import read_detections, read_frame

    frame = read_frame(
        files["rgb"],
        files["depth"],
        files["camera_info"],
        base_T_camera=files["base_t_camera"],
        camera_T_speaker=files["camera_t_speaker"],
        depth_camera_info=files["depth_camera_info"],
        rgb_T_depth=files["rgb_t_depth"],
    )
    if files["detections"] is None:
        return frame, None
    return frame, read_detections(files["detections"], (frame.camera.width, frame.camera.height))


def read_settings(path: Path | None) -> Settings:
    """Read parameters from a ROS parameter file, or return the defaults."""
    from spatial_vlm_ros.parameters import Settings, settings_from

    if path is None:
        return Settings()
    form = "write it in the form of config/resolver.yaml"
    try:
        values = read_yaml(path, form)["/**"]["ros__parameters"]
    except (KeyError, TypeError) as error:
        repair = "begin with the lines `/**:` and `  ros__parameters:`, as config/resolver.yaml does"
        raise FileError(path, "there is no /** with ros__parameters", repair) from error
    if not isinstance(values, dict):
        raise FileError(path, "there are no parameters below ros__parameters", form)
    return settings_from(values)


def gated(config: ResolverConfig, image_domain: str | None, any_domain: bool) -> ResolverConfig:
    """The parameter file's values, overridden by `image_domain_option` and `any_domain_option`."""
    gate = config.domain_gate
    images, allowed = image_domain or gate.images, any_domain or gate.allow_mismatch
    return dataclasses.replace(config, domain_gate=dataclasses.replace(gate, images=images, allow_mismatch=allowed))


def with_taught(config: ResolverConfig, taught: Path | None) -> ResolverConfig:
    """The parameter file's values, with the objects of --taught, if it is given."""
    if taught is None:
        return config
    return dataclasses.replace(config, decision=dataclasses.replace(config.decision, taught=str(taught)))


def print_resolution(resolution: Resolution, as_json: bool) -> None:
    """Print an answer as text, or as one line of JSON."""
    from spatial_vlm_ros.output import terminal
    from spatial_vlm_ros.output.json_schema import resolution_json

    print_json(resolution_json(resolution)) if as_json else terminal.resolution(resolution)


def say(text: object, err: bool = False) -> None:
    """Print one line of text; characters that would control the terminal become question marks."""
    click.echo(printable(text), err=err)


def print_json(value: Any) -> None:
    """Print one JSON object on one line and flush; characters that would control the terminal are escaped."""
    click.echo(printable_json(json.dumps(value, ensure_ascii=False, allow_nan=False)))


def write_image(
    path: Path,
    frame: RgbdFrame,
    detections: tuple[Detection, ...],
    resolution: Resolution,
    config: ResolverConfig,
    scene: Scene | None = None,
    *,
    force: bool = False,
) -> None:
    """Write the image of an answer, or its 3-D scene (.ply); an existing file is replaced only with `force`."""
    from spatial_vlm_ros.output.annotated_image import content_from, draw

    if path.suffix.lower() not in SCENES:
        save_image(path, draw(frame, detections, resolution, config, scene), force=force)
        return
    from spatial_vlm_ros.output import scene_3d

    content = content_from(frame, detections, resolution, config, scene)
    scene_3d.write_ply(path, scene_3d.mesh_of(frame, content), force=force)


def save_image(path: Path, image: Rgb, *, force: bool = False) -> None:
    """Write an image and create its parent folders. An existing file is replaced only with `force`."""
    import cv2

    done, data = cv2.imencode(path.suffix.lower(), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise InputError("--out", path.name, "a file name with an image format", "use .png or .jpg")
    write_bytes(path, data.tobytes(), force=force)


def slug(text: str) -> str:
    """Make a file name from a text."""
    return "".join(c if c.isalnum() and c.isascii() else "_" for c in text)[:60]


def say_answer(where: str, instruction: str, resolution: Resolution) -> None:
    """Print one of several answers on a line: frame or time, status, target, words."""
    target = resolution.target.id if resolution.target else "-"
    say(f"{where}  {resolution.status.value:22} {target:5} {instruction}{told_source(resolution)}")


def told_source(resolution: Resolution) -> str:
    """Suffix for a line about an answer that a model chose; otherwise ""."""
    from spatial_vlm_ros.types import CHOSEN_BY_MODEL

    return f"  ({CHOSEN_BY_MODEL})" if resolution.source == "model" and resolution.target is not None else ""
