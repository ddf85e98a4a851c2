# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm hand-eye`: calibrates a camera on an arm, or beside it, and writes its mount."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from spatial_vlm_ros.cli.doctor import of_camera
from spatial_vlm_ros.cli.group import config_option, json_option, print_json, read_settings, save_image, say
from spatial_vlm_ros.cli.live import INTERRUPTED, conversation, fail, of_nodes
from spatial_vlm_ros.cli.outputs import check_new, force_option
from spatial_vlm_ros.errors import CalibrationError, InputError
from spatial_vlm_ros.types import Transform

if TYPE_CHECKING:
    from spatial_vlm_ros.geometry.charuco import CharucoTarget
    from spatial_vlm_ros.geometry.hand_eye import HandEyeResult, PoseSample
    from spatial_vlm_ros.parameters import Settings
    from spatial_vlm_ros.streams.still_poses import BoardSampler

_BOARD = "7x5 0.03 0.022 DICT_5X5_100"


@click.command("hand-eye", context_settings={"ignore_unknown_options": True})
@click.argument("source", required=False, type=click.Path(path_type=Path))
@click.option("--eye", type=click.Choice(["in-hand", "to-hand"]), help="Camera on the hand, or one that stands.")
@click.option("--base", default="base_link", show_default=True, help="TF frame of the arm's base.")
@click.option("--effector", default="tool0", show_default=True, help="TF frame of the link with the camera or board.")
@click.option("--board", default=_BOARD, show_default=True,
              help="ChArUco board: squares in x and y, edges of square and marker in metres, dictionary.")  # fmt: skip
@click.option("--print-board", type=click.Path(dir_okay=False, path_type=Path), metavar="PNG",
              help="Write the board as an image to print, and do nothing else.")  # fmt: skip
@click.option("--poses", default=15, show_default=True, type=click.IntRange(3), help="Live: poses to take.")
@click.option("--seconds", default=900.0, show_default=True, type=click.FloatRange(1.0), help="Live: longest time.")
@click.option(
    "--without", multiple=True, type=click.IntRange(1), metavar="N", help="Leave out pose N; may be repeated."
)
@click.option("--child", default="", help="Frame to publish; '' = the root frame of the camera's driver, from TF.")
@click.option("--out", default="camera_mount", show_default=True, type=click.Path(path_type=Path), metavar="NAME",
              help="Writes NAME.launch.py and NAME.urdf.")  # fmt: skip
@click.option("--samples", "samples_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write the samples, in the form of MoveIt Calibration.")  # fmt: skip
@click.option("--namespace", default="", help="ROS namespace of the camera's topics.")
@click.option(
    "--camera", default="none", show_default=True, metavar="PRESET", help="Preset of config/cameras, or a file."
)
@config_option
@json_option
@force_option
@click.argument("ros_args", nargs=-1, type=click.UNPROCESSED)
def hand_eye(source: Path | None, eye: str | None, base: str, effector: str, board: str, print_board: Path | None,
             poses: int, seconds: float, without: tuple[int, ...], child: str, out: Path, samples_file: Path | None,
             namespace: str, camera: str, config_file: Path | None, as_json: bool, force: bool,
             ros_args: tuple[str, ...]) -> None:  # fmt: skip
    """Calibrate where a camera is mounted, by a ChArUco board.

    SOURCE is a bag, samples of MoveIt Calibration (.yaml) or a result of easy_handeye2 (.calib); without one, the
    command listens to the camera. Move the arm by hand or by its panel: a sample is taken when it stands still for
    half a second. Nothing is moved by this command. With --eye in-hand the board lies still; with --eye to-hand it is
    fixed to the hand. Errors at left-out poses show how good the result is.

    \b
    Examples:
      spatial-vlm hand-eye --print-board board.png
      spatial-vlm hand-eye --eye to-hand --base panda_link0 --effector panda_hand --camera realsense
      spatial-vlm hand-eye run1 --eye in-hand --base base_link --effector tool0
      spatial-vlm hand-eye samples.yaml --eye in-hand --effector tool0 --child camera_color_optical_frame
      spatial-vlm hand-eye ~/.ros2/easy_handeye2/calibrations/cell.calib
    """
    from spatial_vlm_ros.files.writing import write_text
    from spatial_vlm_ros.geometry import hand_eye as solver
    from spatial_vlm_ros.recording import hand_eye_files as files

    if source is not None and str(source) == "--ros-args":
        source, ros_args = None, ("--ros-args", *ros_args)
    if print_board is not None:
        check_new(force, print_board=print_board)
        grey = _target(board).image(200)
        save_image(print_board, np.repeat(grey[..., None], 3, axis=2), force=force)
        return
    launch, urdf = (out.with_name(out.name + end) for end in (".launch.py", ".urdf"))
    check_new(force, out=launch)
    check_new(force, out=urdf)
    check_new(force, samples=samples_file)
    result, root_T_optical = None, None
    with conversation():
        if source is not None and source.suffix == ".calib":
            mount = files.read_easy_handeye2(source)
        else:
            if eye is None:
                raise click.UsageError("give --eye in-hand or --eye to-hand")
            if source is not None and source.suffix in (".yaml", ".yml") and source.name != "metadata.yaml":
                samples = files.read_samples(source)
                if not child:
                    raise click.UsageError("give --child with the frame of the samples' sensor")
            else:
                settings = read_settings(config_file)
                sampler = _sampled(source, settings, _target(board), base, effector, eye == "in-hand", poses, seconds,
                                   namespace, camera, list(ros_args))  # fmt: skip
                samples = sampler.samples
                if samples:
                    root_T_optical = sampler.camera_root(base)
                if samples_file is not None and samples:
                    files.write_samples(samples_file, samples, force)
            samples = [one for n, one in enumerate(samples, 1) if n not in without]
            result = solver.calibrate(samples, eye == "in-hand")
            mount = Transform(effector if eye == "in-hand" else base, child or "optical", result.pose)
        if root_T_optical is not None and child in ("", root_T_optical.parent):
            mount = Transform(mount.parent, root_T_optical.parent, mount.matrix @ root_T_optical.inverse().matrix)
        write_text(launch, files.launch_text(mount), force=force)
        write_text(urdf, files.urdf_text(mount), force=force)
    told = {"parent": mount.parent, "child": mount.child, "matrix": mount.matrix.tolist()}
    if result is not None:
        rms = np.sqrt((result.left_out**2).mean(axis=0))
        told |= {
            "left_out_mm": (result.left_out[:, 0] * 1e3).tolist(),
            "left_out_deg": result.left_out[:, 1].tolist(),
            "sigma_mm": result.sigma[0] * 1e3,
            "sigma_deg": result.sigma[1],
            "turns_deg": result.turns.tolist(),
        }
        if not as_json:
            for n, (metres, degrees) in enumerate(result.left_out, 1):
                say(f"pose {n:2}: {metres * 1e3:5.1f} mm {degrees:5.2f} degrees when it is left out")
            say(f"rms of all: {rms[0] * 1e3:.1f} mm, {rms[1]:.2f} degrees; the result is unsure by "
                f"{result.sigma[0] * 1e3:.1f} mm, {result.sigma[1]:.2f} degrees")  # fmt: skip
    if as_json:
        print_json(told)
        return
    x, y, z = mount.translation
    say(f"{mount.child} is at {x:.4f} {y:.4f} {z:.4f} m in {mount.parent}; written to {launch} and {urdf}")


def _target(words: str) -> CharucoTarget:
    from spatial_vlm_ros.geometry.charuco import CharucoTarget

    try:
        size, square, marker, dictionary = words.split()
        columns, rows = size.split("x")
        return CharucoTarget(int(columns), int(rows), float(square), float(marker), dictionary)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise click.UsageError(f"--board {words!r}: write it like {_BOARD!r}") from error


def _sampled(source: Path | None, settings: Settings, target: CharucoTarget, base: str, effector: str, in_hand: bool,
             poses: int, seconds: float, namespace: str, camera: str,
             arguments: list[str]) -> BoardSampler:  # fmt: skip
    """The samples of a bag, or of the live camera, with what to do next after each."""
    from spatial_vlm_ros.streams.frame_assembler import RGB, RGB_INFO
    from spatial_vlm_ros.streams.still_poses import BoardSampler

    if source is not None:
        from spatial_vlm_ros.recording.bags.reader import open_bag
        from spatial_vlm_ros.recording.bags.topics import choose_roles

        sampler = BoardSampler(target, settings.streams, base, effector)
        with open_bag(source) as bag:
            names = choose_roles(bag.contents, settings.streams, with_detections=False, with_depth=False)
            role_of = {topic: role for role, topic in names.items()}
            for message in bag.messages(list(role_of)):
                if sampler.add(role_of[message.topic], message.decode(), message.log_ns):
                    _say_next(sampler, in_hand)
    else:
        settings, remappings = of_camera(settings, camera)
        arguments = [*(arguments or ["--ros-args"]), *remappings] if remappings else arguments
        sampler = BoardSampler(target, settings.streams, base, effector)

        def add(role: str, message: object, now_ns: int) -> None:
            if sampler.add(role, message, now_ns):
                _say_next(sampler, in_hand)

        say(f"listening; stand still with the board in view, {poses} times; Ctrl-C ends", err=True)
        try:
            of_nodes("perception.hand_eye").hear(
                settings, (RGB, RGB_INFO), add, lambda: len(sampler.samples) >= poses, seconds, namespace, arguments
            )
        except KeyboardInterrupt:
            if len(sampler.samples) < 3:
                fail("cancelled", INTERRUPTED)
    if not sampler.samples:
        reasons = "; ".join(f"{words} ({count} images)" for words, count in sampler.why_not.most_common(3))
        repair = "check --board, --base, --effector, the topics, and that the arm stands still for half a second"
        raise CalibrationError(f"no pose was taken: {reasons or 'no image with camera info came'}", "15 poses", repair)
    return sampler


def _say_next(sampler: BoardSampler, in_hand: bool) -> None:
    from spatial_vlm_ros.geometry.hand_eye import calibrate, proposed_views

    samples: Sequence[PoseSample] = sampler.samples
    result: HandEyeResult | None = None
    try:
        result = calibrate(samples, in_hand)
        state = f"unsure by {result.sigma[0] * 1e3:.1f} mm, {result.sigma[1]:.2f} degrees; turned by " + \
            " ".join(f"{turn:.0f}" for turn in result.turns) + " degrees about x y z"  # fmt: skip
    except CalibrationError as error:
        state = f"not enough yet: {error.got}"
    say(f"pose {len(samples)}: corners in {sampler.covered.mean():.0%} of the image; {state}", err=True)
    for view in proposed_views(samples, in_hand, result)[:1]:
        say(f"  next, for example: {view}", err=True)
