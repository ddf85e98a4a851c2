# SPDX-License-Identifier: Apache-2.0
"""Draw docs/images/demo.gif for README.md: a command, a question and its answer in the demo's world.

MuJoCo renders the frame, the compact model finds the objects, and the GIF shows the resolver's answers. Needs Pillow
and the extras `sim` and `compact`. Run: python -m scripts.draw_demo_gif
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from scripts.images import IMAGES, demo_frame
from spatial_vlm_ros import Resolver, ResolverConfig
from spatial_vlm_ros.output import drawing, lettering
from spatial_vlm_ros.output.annotated_image import content_from, draw_camera_view
from spatial_vlm_ros.output.answer_content import AnswerContent
from spatial_vlm_ros.output.top_view import draw_top_view
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.resolver import Answered
from spatial_vlm_ros.types import Resolution, Rgb, RgbdFrame, Status

FILE = IMAGES / "demo.gif"
LARGEST = 1_500_000  # bytes
TOP, BOTTOM = 76, 396  # rows of the image that are shown
SIDE = 360  # pixels: width of the view from above
WORDS_HEIGHT = 104  # pixels below both
LETTERS, SMALL, LARGE = 16, 19, 24  # pixels: in the views, in the answer, in the instruction
COLOURS = 256
TYPED = 3  # letters added per typing step
TYPING, PAUSE, READING, LONG = 90, 900, 2200, 3600  # ms
FIRST, SECOND, REPLY = "grab me the chick behind the cup", "grab me the chick", "the nearer one"

Step = tuple[Rgb, int]
"""An image, and its duration in ms."""


def main() -> int:
    """Draw it; returns 1 if the file is too large."""
    frame, _ = demo_frame("behind")
    steps = list(story(frame))
    write(FILE, steps)
    size = FILE.stat().st_size
    seconds = sum(shown for _, shown in steps) / 1000
    print(f"{FILE}: {len(steps)} images, {seconds:.1f} s, {steps[0][0].shape[1]} pixels wide, {size / 1e6:.2f} MB")
    return 0 if size < LARGEST else 1


def story(frame: RgbdFrame) -> Iterator[Step]:
    """A command that is answered; then an ambiguous one, and the reply to its question."""
    config = ResolverConfig()
    observed = Resolver(config, load_grounder("compact", {})).look_at(frame)
    answered = observed.ask(FIRST)
    shown = content(frame, answered, config)
    yield from typing(frame, shown, FIRST)
    unjudged = neutral(frame, answered, config, shown)
    yield panel(frame, unjudged, FIRST, ["A detector says what the objects are."], seen_from_above=False), READING
    yield panel(frame, unjudged, FIRST, ["Measured depth says where they are."]), READING
    yield panel(frame, shown, FIRST, told(answered.resolution), status="OK"), LONG

    asked = observed.ask(SECOND)
    doubted = content(frame, asked, config)
    yield from typing(frame, doubted, SECOND)
    question = f"“{asked.resolution.question}”"
    yield panel(frame, doubted, SECOND, [question], status=asked.resolution.status.value), LONG
    replied = observed.ask(REPLY, follows=asked.dialogue)
    chosen = content(frame, replied, config)
    for typed in parts(REPLY):
        yield panel(frame, doubted, typed, [question], status=asked.resolution.status.value, cursor=True), TYPING
    yield panel(frame, chosen, REPLY, told(replied.resolution), status="OK"), LONG


def told(resolution: Resolution) -> list[str]:
    """The answer in two lines."""
    if resolution.status is not Status.OK or resolution.target is None:
        raise SystemExit(f"{resolution.instruction!r} is {resolution.status.value}: {resolution.message}")
    x, y, z = resolution.target.pose.position
    lines = [f"The {resolution.target.label} at ({x:.3f}, {y:.3f}, {z:.3f}) m in {resolution.target.pose.frame_id}"]
    for clause in resolution.candidates[0].clauses:
        if clause.anchor_ids and clause.margin_m is not None:
            lines.append(f"{clause.relation} the cup by {clause.margin_m:.3f} m, seen from the camera")
    return lines


# ------------------------------------------------------------------------------------------------ images


def content(frame: RgbdFrame, answered: Answered, config: ResolverConfig) -> AnswerContent:
    """Make the content to show for an answer."""
    found = content_from(frame, answered.detections, answered.resolution, config, answered.scene)
    if found is None:
        raise SystemExit("the frame cannot be lifted")
    return found


def neutral(frame: RgbdFrame, answered: Answered, config: ResolverConfig, like: AnswerContent) -> AnswerContent:
    """The same objects without an answer, at the same scale from above."""
    nothing = Resolution(answered.resolution.instruction, Status.CANCELLED, "")
    shown = content(frame, answered._replace(resolution=nothing), config)
    return dataclasses.replace(shown, low=like.low, high=like.high)


def parts(words: str) -> Iterator[str]:
    """The text at each typing step."""
    for end in range(TYPED, len(words) + TYPED, TYPED):
        yield words[:end]


def typing(frame: RgbdFrame, like: AnswerContent, words: str) -> Iterator[Step]:
    """Only the image, while the text is typed."""
    for typed in parts(words):
        yield panel(frame, None, typed, [], width=like, cursor=True), TYPING
    yield panel(frame, None, words, [], width=like), PAUSE


def panel(
    frame: RgbdFrame,
    shown: AnswerContent | None,
    said: str,
    lines: list[str],
    status: str = "",
    seen_from_above: bool = True,
    cursor: bool = False,
    width: AnswerContent | None = None,
) -> Rgb:
    """One image: the camera's view, the view from above, the instruction and the answer."""
    canvas = frame.rgb.copy()
    if shown is not None:
        draw_camera_view(canvas, 1, shown, ResolverConfig().depth, LETTERS)
    canvas = canvas[TOP:BOTTOM]
    height = canvas.shape[0]
    beside = np.full((height, SIDE, 3), drawing.PAPER, np.uint8)
    if shown is not None and seen_from_above and width is None:
        beside = draw_top_view(shown, SIDE, height, LETTERS)
    border = np.full((height, 1, 3), drawing.LINE, np.uint8)
    views = np.hstack((canvas, border, beside))
    below = np.full((WORDS_HEIGHT, views.shape[1], 3), drawing.PAPER, np.uint8)
    below[0] = drawing.LINE
    lettering.write(below, f"> {said}{'_' if cursor else ''}", (14, 33), LARGE, drawing.INK, strong=True)
    left = 14
    if status:
        colour = drawing.GREEN if status == "OK" else drawing.VERMILLION
        wide = lettering.width_of(status, SMALL, strong=True) + 20
        below[48:76, left : left + wide] = colour
        lettering.write(below, status, (left + 10, 69), SMALL, drawing.PAPER, strong=True)
        left += wide + 12
    for number, line in enumerate(lines):
        lettering.write(below, line, (left, 68 + number * 26), SMALL, drawing.INK)
    image: Rgb = np.vstack((views, below))
    return image


def write(path: Path, steps: list[Step]) -> None:
    """Write the images as one repeating GIF with a common palette."""
    images = [Image.fromarray(image) for image, _ in steps]
    whole = Image.new("RGB", (images[0].width, images[0].height * len(images)))
    for number, image in enumerate(images):
        whole.paste(image, (0, number * image.height))
    palette = whole.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    drawn = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    drawn[0].save(
        path, save_all=True, append_images=drawn[1:], duration=[shown for _, shown in steps], loop=0, optimize=True,
        disposal=1,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
