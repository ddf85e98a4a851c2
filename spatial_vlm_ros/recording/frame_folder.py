# SPDX-License-Identifier: Apache-2.0
"""Reads and writes frames with their detections as folders, and checks files for damage.

The layout of a folder:

    rgb.png                  8-bit colour
    depth.png                16-bit, millimetres, 0 = not measured
    camera_info.json         {"width", "height", "k" (9 numbers or 3 rows), "d"?, "distortion_model"?, "frame_id"?,
                             "domain"?, "up"?}; domain: what made the images, "simulated", "real" or "unknown"
                             (default); up: unit vector against gravity, 3 numbers, camera frame, from an IMU
    detections.json          optional: {"detections": [{"id", "label", "box", "score"?, "attributes"?, "mask"?,
                             "front"?}]}; front: direction of the object's front, 3 numbers, camera frame
    base_T_camera.json       optional: {"parent", "child", "matrix" (4 rows of 4)}, maps child to parent, metres
    camera_T_speaker.json    optional, as base_T_camera.json: the person who speaks (x ahead, z up), in the camera
    depth_camera_info.json   optional, with rgb_t_depth.json (as base_T_camera.json): depth.png is not registered
"""

from __future__ import annotations

import codecs
import difflib
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import FileError, InputError, TransformError
from spatial_vlm_ros.files.documents import parse_yaml
from spatial_vlm_ros.files.images import decode_file, read_npy
from spatial_vlm_ros.files.reading import MIB, inside, member, read_bytes
from spatial_vlm_ros.files.writing import changed_folder, write_bytes, write_text
from spatial_vlm_ros.geometry.depth import depth_from_image, register_depth
from spatial_vlm_ros.perception.grounding_checks import check_detections
from spatial_vlm_ros.streams.image import distortion
from spatial_vlm_ros.types import (
    Depth,
    Detection,
    ImageDomain,
    Mask,
    PinholeCamera,
    Rgb,
    RgbdFrame,
    Transform,
)

RGB_FILE = "rgb.png"
DEPTH_FILE = "depth.png"
CAMERA_FILE = "camera_info.json"
DETECTIONS_FILE = "detections.json"
BASE_FILE = "base_T_camera.json"
SPEAKER_FILE = "camera_T_speaker.json"
DEPTH_CAMERA_FILE = "depth_camera_info.json"
DEPTH_POSE_FILE = "rgb_t_depth.json"
_MASKS = "masks"

LARGEST_TYPED = 8 * MIB
"""Bytes of a JSON file whose form is known before it is parsed: 20,000 detections."""
DEFAULT_FRAME_ID = "camera_color_optical_frame"

BYTE_ORDER_MARK = codecs.BOM_UTF8
_ALIKE = 0.75  # share of characters from which a field is a known one misspelled
_UNIT = 1e-3  # most by which the length of a direction differs from 1
_FORM = "fix the file; docs/tutorials/own_image.md shows its format"
_READABLE = "use a JSON file of the documented format"
# Names that camera_calibration_parsers writes (image_common, parse_yml.cpp); matrices are in their `data`.
_CALIBRATION = {"image_width": "width", "image_height": "height", "camera_matrix": "k", "distortion_coefficients": "d"}
_T = TypeVar("_T")


# ------------------------------------------------------------------------------------------------ whole frames


def load_frame(folder: str | Path) -> tuple[RgbdFrame, tuple[Detection, ...]]:
    """Read the frame of one folder, depth registered to colour, and its detections, none without detections.json.

    Raises:
        FileError: a file is missing, damaged, of the wrong form, or does not fit the others.
        InputError: two detections share an id, or a box lies wholly outside the image.
        TransformError: a transform is not rigid or is for other frames.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileError(folder, "no such folder", "pass a folder with rgb.png, depth.png and camera_info.json")

    def present(name: str) -> Path | None:
        return member(folder, name) if (folder / name).exists() or (folder / name).is_symlink() else None

    frame = read_frame(
        *(member(folder, name) for name in (RGB_FILE, DEPTH_FILE, CAMERA_FILE)),
        base_T_camera=present(BASE_FILE),
        camera_T_speaker=present(SPEAKER_FILE),
        depth_camera_info=present(DEPTH_CAMERA_FILE),
        rgb_T_depth=present(DEPTH_POSE_FILE),
    )
    detections = present(DETECTIONS_FILE)
    return frame, () if detections is None else read_detections(detections, (frame.camera.width, frame.camera.height))


def read_frame(
    rgb: str | Path,
    depth: str | Path,
    camera_info: str | Path,
    *,
    base_T_camera: str | Path | None = None,
    camera_T_speaker: str | Path | None = None,
    depth_camera_info: str | Path | None = None,
    rgb_T_depth: str | Path | None = None,
) -> RgbdFrame:
    """Read a frame from single files.

    `base_T_camera` has the colour camera's frame as child, `camera_T_speaker`, of the person who speaks, as parent.
    """
    info = _camera_info(camera_info)
    camera, frame_id = _camera(camera_info, info), info.frame_id
    this = "use the camera_info of this image"
    colour = read_rgb(rgb)
    _check_size(rgb, colour, camera_info, camera, this)
    if (depth_camera_info is None) != (rgb_T_depth is None):
        reason = "one of depth intrinsics and depth pose is missing"
        repair = "use both for depth that is not registered to colour, and neither for registered depth"
        raise FileError(depth_camera_info or rgb_T_depth, reason, repair)
    metres = read_depth(depth)
    if depth_camera_info is None or rgb_T_depth is None:
        repair = "register depth to colour, or add the depth camera's own"
        _check_size(depth, metres, camera_info, camera, repair)
    else:
        depth_camera, depth_frame_id = read_camera_info(depth_camera_info)
        _check_size(depth, metres, depth_camera_info, depth_camera, this)
        depth_pose = read_transform(rgb_T_depth)
        if (depth_pose.parent, depth_pose.child) == (depth_frame_id, frame_id) != (frame_id, depth_frame_id):
            raise TransformError(depth_pose.parent, depth_pose.child, "it maps colour to depth: use its inverse")
        metres = register_depth(metres, depth_camera, camera, depth_pose)
    pose = None if base_T_camera is None else read_transform(base_T_camera)
    speaker = None if camera_T_speaker is None else read_transform(camera_T_speaker)
    up = None if isinstance(info.up, msgspec.UnsetType) else np.array(info.up)
    if up is not None and abs(math.hypot(*up) - 1) > _UNIT:
        reason, repair = f"{up.tolist()} has length {math.hypot(*up):.4g}", "give the unit vector against gravity"
        raise FileError(camera_info, reason, repair, "$.up")
    return RgbdFrame(
        colour, metres, camera, frame_id=frame_id, base_T_camera=pose, up=up, camera_T_speaker=speaker,
        domain=info.domain,
    )  # fmt: skip


def _check_size(
    path: str | Path, image: npt.NDArray[Any], info: str | Path, camera: PinholeCamera, repair: str
) -> None:
    height, width = image.shape[:2]
    if (width, height) != (camera.width, camera.height):
        reason = f"{width}x{height} pixels, but {Path(info).name} says {camera.width}x{camera.height}"
        raise FileError(path, reason, repair)


# ------------------------------------------------------------------------------------------------ single files


def read_rgb(path: str | Path) -> Rgb:
    """A colour image: (H, W, 3) uint8, RGB. Orientation tags are ignored: depth does not rotate with them."""
    bgr = decode_file(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return np.ascontiguousarray(bgr[..., ::-1], np.uint8)


def read_depth(path: str | Path) -> Depth:
    """(H, W) float32, metres, NaN = none, from a .npy or image, 16-bit (millimetres, 0 = none) or float (metres)."""
    path = Path(path)
    raw = read_npy(path) if path.suffix.lower() == ".npy" else decode_file(path, cv2.IMREAD_UNCHANGED)
    kind = f"{raw.dtype} image with shape {raw.shape}"
    if raw.ndim != 2:
        raise FileError(path, f"a {kind} is not a depth image", "use one channel: 16-bit millimetres or float metres")
    if raw.dtype.itemsize == 1:
        reason = "an 8-bit depth image has lost its unit and most of its steps (JPEG, or an image made for viewing)"
        raise FileError(path, reason, "save depth as 16-bit PNG in millimetres")
    if raw.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what is too large for float32 is no distance either
            return depth_from_image(raw.astype(np.float32), "32FC1")
    if raw.dtype.kind != "u" or raw.dtype.itemsize != 2:
        raise FileError(path, f"a {kind} has no known unit", "save 16-bit millimetres or float metres")
    return depth_from_image(raw, "16UC1")


def read_camera_info(path: str | Path) -> tuple[PinholeCamera, str]:
    """Read intrinsics, with the fields of sensor_msgs/CameraInfo, and the frame id of the image.

    From JSON, or YAML: of `camera_calibration` or as `ros2 topic echo --once` prints the message.
    """
    info = _camera_info(path)
    return _camera(path, info), info.frame_id


def _camera_info(path: str | Path) -> _CameraInfo:
    if Path(path).suffix.lower() not in (".yaml", ".yml"):
        return _json(path, _CameraInfo)
    message, _, _ = read_bytes(path, _READABLE, LARGEST_TYPED).partition(b"\n---")  # echo ends each message with it
    told = parse_yaml(message, path, _READABLE)
    found = {}
    for name, value in told.items() if isinstance(told, dict) else ():
        found[_CALIBRATION.get(name, name)] = value["data"] if isinstance(value, dict) and "data" in value else value
    if isinstance(header := found.get("header"), dict):
        found["frame_id"] = header.get("frame_id")
    return decode_json(json.dumps(found, default=str, skipkeys=True).encode(), _CameraInfo, path)


def _camera(path: str | Path, info: _CameraInfo) -> PinholeCamera:
    flat = [v for row in info.k for v in (row if isinstance(row, tuple) else (row,))]
    if len(flat) != 9:
        raise FileError(path, f"{len(flat)} numbers", "write k as 9 numbers, row by row, or as 3 rows of 3", "$.k")
    K = np.array(flat).reshape(3, 3)
    try:
        model, D = distortion(info.distortion_model, np.array(info.d, np.float64))
        return PinholeCamera(K, info.width, info.height, model, tuple(D.tolist()))
    except InputError as error:
        raise FileError(path, f"{error.what} is {error.got}, expected {error.expected}", error.repair) from error


def read_transform(path: str | Path) -> Transform:
    """A rigid transform: JSON {"parent", "child", "matrix"}, 4 rows of 4, maps child to parent, metres."""
    info = _json(path, TransformInfo)
    return Transform(info.parent, info.child, np.array(info.matrix))


def read_detections(path: str | Path, image_size: tuple[int, int]) -> tuple[Detection, ...]:
    """Read the detections of one image of (width, height) pixels; boxes that leave it are clipped."""
    path, (width, height) = Path(path), image_size
    text = read_bytes(path, _READABLE, LARGEST_TYPED)
    found = decode_json(text, _Detections, path)
    whole = msgspec.json.decode(text)
    listed = ((f"$.detections[{n}]", entry, _Detection) for n, entry in enumerate(whole["detections"]))
    for place, entry, form in (("$", whole, _Detections), *listed):
        known = form.__struct_fields__
        for name in (each for each in entry if each not in known):  # a misspelled optional one would be left out
            if close := similar_name(name, [each for each in known if each not in entry]):
                raise FileError(path, f"unknown field `{name}`", f"write `{close}`, or rename yours", place)
    size = found.image
    if size is not None and (size.width, size.height) != image_size:
        reason = f"made for an image of {size.width}x{size.height} pixels, but the image has {width}x{height}"
        raise FileError(path, reason, "use the detections of this image", "$.image")
    numbers = [number for entry in found.detections for number in entry.box]
    if all(abs(number) <= 1 for number in numbers) and not all(number.is_integer() for number in numbers):
        reason = f"the boxes look like fractions of the image (the largest number is {max(numbers):.3g})"
        repair = f"give pixels of the {width}x{height} image: [left, top, right, bottom]"
        raise FileError(path, reason, repair, "$.detections")
    detections = []
    for n, read in enumerate(found.detections):
        mask, place = None, f"$.detections[{n}]"
        if read.mask is not None:
            mask = read_mask(inside(path.parent, read.mask, path, f"{place}.mask"), image_size)
        try:
            one = Detection(read.id, read.label, read.score, read.box, mask, read.attributes, read.front)
        except InputError as error:
            reason = f"{error.what} is {error.got}, expected {error.expected}"
            raise FileError(path, reason, error.repair, place) from error
        detections.append(one)
    return check_detections(detections, width, height)


def similar_name(name: str, known: Iterable[str]) -> str:
    """The known name of which another is a misspelling; "" = none."""
    return next(iter(difflib.get_close_matches(name, list(known), 1, _ALIKE)), "")


def read_mask(path: Path, image_size: tuple[int, int]) -> Mask:
    """Read a mask of a whole image of (width, height) pixels: (H, W) bool, not 0 = object."""
    mask: Mask = np.not_equal(decode_file(path, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH), 0)
    height, width = mask.shape
    if (width, height) != image_size:
        reason = f"the mask has {width}x{height} pixels, but the image has {image_size[0]}x{image_size[1]}"
        raise FileError(path, reason, "use masks of the whole image")
    if not mask.any():
        raise FileError(path, "the mask is empty", "remove the detection, or use its box without a mask")
    return mask


# ------------------------------------------------------------------------------------------------ forms of the JSON


class _CameraInfo(msgspec.Struct):
    width: int
    height: int
    k: tuple[float | tuple[float, ...], ...]
    d: tuple[float, ...] = ()
    distortion_model: str = "plumb_bob"
    frame_id: str = DEFAULT_FRAME_ID
    domain: ImageDomain = "unknown"
    up: tuple[float, float, float] | msgspec.UnsetType = msgspec.UNSET


_Row = tuple[float, float, float, float]


class TransformInfo(msgspec.Struct):
    """A rigid transform as written in files."""

    parent: str
    child: str
    matrix: tuple[_Row, _Row, _Row, _Row]


class _Size(msgspec.Struct):
    width: int
    height: int


class _Detection(msgspec.Struct):
    id: str
    label: str
    box: tuple[float, float, float, float]
    score: float = 1.0
    attributes: tuple[str, ...] = ()
    mask: str | None = None
    front: tuple[float, float, float] | None = None


class _Detections(msgspec.Struct):
    detections: tuple[_Detection, ...]
    image: _Size | None = None


def _json(path: str | Path, form: type[_T]) -> _T:
    return decode_json(read_bytes(path, _READABLE, LARGEST_TYPED), form, path)


def decode_json(text: bytes, form: type[_T], path: str | Path, place: str = "", repair: str = _FORM) -> _T:
    """Decode JSON to a msgspec type."""
    try:
        return msgspec.json.decode(text, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if text.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            repair = "save it as UTF-8 without a byte order mark"
            raise FileError(path, "a byte order mark before the JSON", repair, place or None) from error
        reason, _, inner = str(error).partition(" - at `")
        field = " ".join(part for part in (place, inner.rstrip("`")) if part)
        raise FileError(path, reason, repair, field or None) from error


# ------------------------------------------------------------------------------------------------ writing


def write_frame(folder: str | Path, frame: RgbdFrame, detections: Sequence[Detection] = ()) -> Path:
    """Write a frame and its detections to a folder, without the speaker's pose.

    Existing files with these names are replaced, all or none; other files of the folder stay. Depth is rounded to
    millimetres, masks go into the folder "masks".
    """
    camera, pose = frame.camera, frame.base_T_camera
    with changed_folder(folder) as unfinished:
        (unfinished / _MASKS).mkdir(exist_ok=True)
        millimetres = np.nan_to_num(frame.depth * 1000.0).round().clip(0, 65535).astype(np.uint16)
        _write_png(unfinished / RGB_FILE, np.ascontiguousarray(frame.rgb[..., ::-1]))
        _write_png(unfinished / DEPTH_FILE, millimetres)
        k, d = tuple(camera.K.reshape(-1).tolist()), tuple(camera.D)
        up = msgspec.UNSET if frame.up is None else tuple(frame.up.tolist())
        info = _CameraInfo(camera.width, camera.height, k, d, camera.distortion_model, frame.frame_id, frame.domain, up)
        listed = []
        for number, one in enumerate(detections):
            entry: dict[str, Any] = {"id": one.id, "label": one.label, "score": one.score}
            entry |= {"box": [float(v) for v in one.box_xyxy], "attributes": list(one.attributes)}
            if one.front is not None:
                entry["front"] = [float(v) for v in one.front]
            if one.mask is not None:
                entry["mask"] = f"{_MASKS}/{number}.png"
                _write_png(unfinished / entry["mask"], one.mask.astype(np.uint8) * 255)
            listed.append(entry)
        forms = {CAMERA_FILE: msgspec.to_builtins(info), DETECTIONS_FILE: {"detections": listed}}
        if pose is not None:
            forms[BASE_FILE] = transform_form(pose)
        for name, form in forms.items():
            write_text(unfinished / name, json.dumps(form) + "\n", force=True, sync=False)
    return Path(folder)


def transform_form(pose: Transform) -> dict[str, Any]:
    """A transform as `read_transform` reads it."""
    return {"parent": pose.parent, "child": pose.child, "matrix": pose.matrix.tolist()}


def _write_png(path: Path, image: Any) -> None:
    write_bytes(path, cv2.imencode(".png", image)[1].tobytes(), force=True, sync=False)
