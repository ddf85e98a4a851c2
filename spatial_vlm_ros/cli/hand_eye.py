# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm hand-eye`: calibrates a camera on an arm, or beside it, and writes its mount."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import click
import numpy as np

from spatial_vlm_ros.cli.group import FILE, config_option, json_option, print_json, read_settings, save_image, say
from spatial_vlm_ros.cli.live import fill, of_camera
from spatial_vlm_ros.cli.outputs import check_new, force_option
from spatial_vlm_ros.errors import CalibrationError
from spatial_vlm_ros.types import Transform

_BOARD = "7x5 0.03 0.022 DICT_5X5_100"


@click.command("hand-eye", context_settings={"ignore_unknown_options": True})
@click.argument("source", required=False, type=click.Path(path_type=Path))
@click.option("--eye", type=click.Choice(["in-hand", "to-hand"]), help="Camera on the hand, or one that stands.")
@click.option("--base", default="base_link", show_default=True, help="TF frame of the arm's base.")
@click.option("--effector", default="tool0", show_default=True, help="TF frame of the link with the camera or board.")
@click.option("--board", default=_BOARD, show_default=True,
              help="ChArUco board: squares in x and y, edges of square and marker in metres, dictionary.")  # fmt: skip
@click.option("--print-board", type=FILE, metavar="PNG", help="Write the board as an image to print, and exit.")
@click.option(
    "--poses", default=15, show_default=True, type=click.IntRange(4), help="Live: poses to take; Ctrl-C ends earlier."
)
@click.option("--without", multiple=True, type=click.IntRange(1), metavar="N", help="Leave out pose N of SOURCE.")
@click.option("--optical", default="", metavar="FRAME", help="Optical frame of the camera, for samples in a .yaml.")
@click.option("--out", default="camera_mount", show_default=True, type=click.Path(path_type=Path), metavar="NAME",
              help="Write NAME.launch.xml and NAME.urdf.")  # fmt: skip
@click.option("--namespace", default="", help="ROS namespace of the camera's topics.")
@click.option("--camera", default="none", show_default=True, metavar="PRESET", help="One of config/cameras, or a file.")
@config_option
@json_option
@force_option
@click.argument("ros_args", nargs=-1, type=click.UNPROCESSED)
def hand_eye(source: Path | None, eye: str, base: str, effector: str, board: str, print_board: Path | None,
             poses: int, without: tuple[int, ...], optical: str, out: Path, namespace: str, camera: str,
             config_file: Path | None, as_json: bool, force: bool, ros_args: tuple[str, ...]) -> None:  # fmt: skip
    """Calibrate where a depth camera is mounted, by a ChArUco board.

    SOURCE is a bag, samples of MoveIt Calibration (.yaml) or a result of easy_handeye2 (.calib). Without one, the
    command listens to the camera and moves nothing: move the arm by hand or by its panel; a pose is taken when it
    stands still for half a second. With --eye in-hand the board lies still; with --eye to-hand it is fixed to the hand.

    \b
    Examples:
      spatial-vlm hand-eye --print-board board.png
      spatial-vlm hand-eye --eye to-hand --base panda_link0 --effector panda_hand --camera realsense
      spatial-vlm hand-eye run1 --eye in-hand --base base_link --effector tool0
      spatial-vlm hand-eye samples.yaml --eye in-hand --effector tool0 --optical camera_color_optical_frame
      spatial-vlm hand-eye ~/.ros2/easy_handeye2/calibrations/cell.calib
    """
    from spatial_vlm_ros.doctor.hand_eye import mount_texts, read_hand_eye
    from spatial_vlm_ros.files.writing import write_text
    from spatial_vlm_ros.geometry.hand_eye import CharucoTarget, calibrate
    from spatial_vlm_ros.streams.still_poses import BoardSampler

    if source is not None and str(source) == "--ros-args":
        source, ros_args = None, ("--ros-args", *ros_args)
    if print_board is not None:
        check_new(force, print_board=print_board)
        save_image(print_board, CharucoTarget(board).image(200), force=force)
        return
    files = [out.with_name(out.name + end) for end in (".launch.xml", ".urdf")]
    for path in files:
        check_new(force, out=path)
    told, root, facts = None, None, {}
    if source is not None and source.suffix in (".calib", ".yaml", ".yml"):
        told = read_hand_eye(source)
    if isinstance(told, Transform):
        mount = told
    else:
        if eye is None or (told is not None and not optical):
            raise click.UsageError("give --eye in-hand or --eye to-hand, and with samples in a .yaml --optical")
        in_hand = eye == "in-hand"
        if told is None:
            settings, arguments = of_camera(read_settings(config_file), camera, ros_args)
            most = poses if source is None else sys.maxsize
            sampler = BoardSampler(CharucoTarget(board), settings.streams, base, effector, in_hand, most)
            fill(sampler, source, settings, math.inf, namespace, arguments)
            if not sampler.samples:
                repair = "check --board, --base, --effector and topics, and that the arm stands still for a second"
                raise CalibrationError(f"no pose was taken: {sampler.why_none()}", "15 poses", repair)
            told, root = sampler.samples, sampler.camera_root()
            optical = root.child
        numbers = [number for number in range(1, len(told) + 1) if number not in without]
        result = calibrate([told[number - 1] for number in numbers], in_hand)
        mount = Transform(effector if in_hand else base, optical, result.pose)
        mount = mount if root is None or root.parent == optical else mount @ root.inverse()
        rms = np.sqrt((result.left_out**2).mean(axis=0))
        facts = {"poses": numbers, "left_out": result.left_out.tolist(), "sigma": result.sigma.tolist()}
        for number, (metres, degrees) in zip(numbers, result.left_out, strict=True):
            say(f"pose {number:2}: {metres * 1e3:5.1f} mm {degrees:5.2f} degrees when it is left out", err=True)
        say(f"rms of all: {rms[0] * 1e3:.1f} mm, {rms[1]:.2f} degrees; the result is unsure by "
            f"{result.sigma[0] * 1e3:.1f} mm, {result.sigma[1]:.2f} degrees", err=True)  # fmt: skip
    for path, text in zip(files, mount_texts(mount), strict=True):
        write_text(path, text, force=force)
    if as_json:
        print_json({"parent": mount.parent, "child": mount.child, "matrix": mount.matrix.tolist(), **facts})
        return
    x, y, z = mount.translation
    say(f"{mount.child} is at {x:.4f} {y:.4f} {z:.4f} m in {mount.parent}; written to {files[0]} and {files[1]}")
