# SPDX-License-Identifier: Apache-2.0
"""Draw the answer as one image: on the camera image, from above to scale, and in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.output import drawing
from spatial_vlm_ros.output.answer_content import AnswerContent, content_of
from spatial_vlm_ros.output.camera_view import draw_camera_view
from spatial_vlm_ros.output.top_view import draw_top_view
from spatial_vlm_ros.output.verdict_panel import draw_verdict
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.perception.validation import check_detections
from spatial_vlm_ros.spatial.layout import lay_out
from spatial_vlm_ros.types import Detection, Resolution, Rgb, RgbdFrame, Scene

_SMALLEST_WIDTH = 640  # images are enlarged to this width, so that the text is readable
_LETTERS = 13.0  # pixels: letter size on an image of that width
_SIZES = (1.0, 1.6)  # factor of the letter size on larger images
_TOP_VIEW = 0.85  # width of the top view over the height of the image
_NARROWEST, _WIDEST = 320, 640  # pixels


def draw(
    frame: RgbdFrame,
    detections: Sequence[Detection],
    resolution: Resolution,
    config: ResolverConfig | None = None,
    scene: Scene | None = None,
) -> Rgb:
    """Draw a resolution on its frame.

    Args:
        frame: the frame that was resolved.
        detections: the detections it was resolved with.
        resolution: the answer.
        config: the resolver's configuration; None = defaults.
        scene: scene the answer rests on; None = lifted from the detections if possible.

    Returns:
        (H', W', 3) uint8: the image in the left upper corner, enlarged to 640 pixels width if smaller; the top view to
        its right, if there is a scene; and a text panel below.
    """
    config = config or ResolverConfig()
    content = content_from(frame, detections, resolution, config, scene)
    rgb = frame.rgb if content is None else content.layout.scene.frame.rgb
    scale = enlargement(frame)
    canvas = rgb.copy() if scale == 1 else np.repeat(np.repeat(rgb, scale, axis=0), scale, axis=1)
    height, width = canvas.shape[:2]
    size = round(_LETTERS * min(max(width / 1000, _SIZES[0]), _SIZES[1]))
    if content is not None:
        draw_camera_view(canvas, scale, content, config.depth, size)
        beside = draw_top_view(content, min(max(round(_TOP_VIEW * height), _NARROWEST), _WIDEST), height, size)
        border = np.full((height, 1, 3), drawing.LINE, np.uint8)
        canvas = np.hstack((canvas, border, beside))
    return np.vstack((canvas, draw_verdict(resolution, content, canvas.shape[1], size)))


def enlargement(frame: RgbdFrame) -> int:
    """Enlargement of the frame's image in a drawn answer; the image is at its left upper corner."""
    return max(1, -(-_SMALLEST_WIDTH // frame.rgb.shape[1]))


def content_from(
    frame: RgbdFrame,
    detections: Sequence[Detection],
    resolution: Resolution,
    config: ResolverConfig,
    scene: Scene | None = None,
) -> AnswerContent | None:
    """Make the content to show for an answer; None if its frame cannot be lifted. Arguments as in `draw`."""
    try:
        if scene is None:
            checked = check_detections(detections, frame.camera.width, frame.camera.height)
            scene = build_scene(frame, checked, config.depth, config.lift)
        return content_of(lay_out(scene, config.depth, config.relation), resolution, config)
    except SpatialVlmError:
        return None
