# SPDX-License-Identifier: Apache-2.0
"""Write the decision page: one HTML file with everything said, seen, planned, approved and done, and the film."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scripts.demo_arm.story import Story, checks, others
from spatial_vlm_ros.manipulation.approval.audit import verify

_STYLE = Path(__file__).resolve().parents[2] / "spatial_vlm_lab" / "reports" / "templates"
_JPEG = 85
_SHOWN_BY_BROWSERS = "vp09"
_NAMED = ("event", "utc", "operator", "remote", "reason", "outcome")  # fields of a line of the record


def write_page(path: Path, story: Story, film: Path | None, encoding: str) -> None:
    """Write the page.

    Args:
        path: path of the HTML file.
        story: everything that happened.
        film: MP4 file, or None; it is embedded if browsers can play its encoding.
        encoding: FourCC of its encoding.
    """
    loader = FileSystemLoader([Path(__file__).parent, _STYLE], encoding="utf-8")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        finalize=printable,
    )  # fmt: skip
    record = story.record()
    shown_film = film is not None and encoding == _SHOWN_BY_BROWSERS
    text = environment.get_template("decision.html.j2").render(
        story=story,
        answer=story.resolution,
        shown=story.shown,
        verdict=story.verdict,
        checks=checks(story),
        neighbours=others(story.verdict),
        images={name: image_url(rgb) for name, rgb in story.images.items()},
        motions=motions_of(story),
        decisions=[line for line in record if line["event"] in ("APPROVED", "REJECTED", "EXPIRED")],
        record=[(line, {name: line[name] for name in _NAMED if line.get(name)}) for line in record],
        chained=verify(story.audit),
        film=film.name if film is not None else None,
        film_url=data_url("video/mp4", film.read_bytes()) if film is not None and shown_film else None,
        shift=story.shift(),
    )
    path.write_text(text, encoding="utf-8")


def motions_of(story: Story) -> list[dict[str, Any]]:
    """The plan's phases with the controllers' motions: planned and measured seconds of each, simulated time."""
    motions = story.motions_of()
    start = min((motion.begun for motion in motions if motion), default=0.0)
    rows = []
    for number, motion in enumerate(motions):
        planned = story.phases[number]["duration"] if number < len(story.phases) else None
        begun = motion.begun - start if motion else None
        took = motion.ended - motion.begun if motion and motion.ended is not None else None
        name = story.phases[number]["name"] if number < len(story.phases) else ""
        rows.append({"name": name, "planned": planned, "who": motion.who if motion else "", "begun": begun,
                     "took": took, "end": motion.end if motion else "not begun"})  # fmt: skip
    return rows


def printable(value: Any) -> Any:
    """Replace invisible and text-direction characters by question marks."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return "".join(sign if sign.isprintable() else " " if sign.isspace() else "?" for sign in value)


def image_url(rgb: Any) -> str:
    """Encode an image as a data URL."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG])
    return data_url("image/jpeg", data.tobytes()) if done else ""


def data_url(media: str, data: bytes) -> str:
    """Encode bytes as a data URL."""
    return f"data:{media};base64,{base64.b64encode(data).decode('ascii')}"
