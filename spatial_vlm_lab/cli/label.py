# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm label`: a local page on which a person enters the truth that `evaluate` scores against."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spatial_vlm_ros.cli import group
from spatial_vlm_ros.errors import FileError

if TYPE_CHECKING:
    from spatial_vlm_lab.labelling.label_file import LabelSource
    from spatial_vlm_ros.parameters import Settings

_MOST_SAID = 5  # invalid lines that are listed


@click.command()
@click.option("--frames", type=group.FOLDER, help="Folder of frames; truth is saved to its cases.jsonl.")
@click.option("--bag", type=click.Path(path_type=Path), help="Bag; truth is saved to NAME.truth.jsonl beside it.")
@click.option("--out", type=group.FILE, help="Another truth file to use. Its contents are kept.")
@click.option(
    "--instructions", type=group.FILE, help="Text file with one sentence per line; each is used on every frame."
)
@click.option("--grounder", help="Backend that detects objects, instead of given detections.")
@click.option("--grounder-options", help="Options of --grounder: name=value, separated by spaces.")
@group.image_domain_option
@group.any_domain_option
@click.option("--blind", is_flag=True, help="Hide answers until you have decided, so that they do not bias the truth.")
@click.option("--apart", type=click.FloatRange(0.0, 1e6), default=1.0, show_default=True, metavar="SECONDS",
              help="Minimum time between two frames of a bag, in seconds; 0 uses every complete frame.")  # fmt: skip
@group.topic_options(without=("instruction",))
@group.stream_options
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port of the page on 127.0.0.1; 0 chooses a free one."
)
@group.config_option
@group.frame_option
def label(frames: Path | None, bag: Path | None, out: Path | None, instructions: Path | None, grounder: str | None,
          grounder_options: str | None, image_domain: str | None, any_domain: bool, blind: bool, apart: float,
          port: int, config_file: Path | None, frame_of_reference: str | None, **of_bag: Any) -> None:  # fmt: skip
    """Label frames or a bag on a local web page.

    The page proposes the truth from current answers; you accept or correct it. Open the printed link in a browser on
    this machine. Press Ctrl-C to close the page. Every decision is saved at once.

    \b
    Examples:
      spatial-vlm label --frames recordings/
      spatial-vlm label --frames recordings/ --instructions sentences.txt --blind
      spatial-vlm label --bag run1 --instructions sentences.txt --grounder grounding-dino \\
          --grounder-options "model=grounding-dino-tiny"
    """
    from spatial_vlm_lab.labelling.label_file import LabelFile, refused_lines
    from spatial_vlm_lab.labelling.session import LabelSession
    from spatial_vlm_lab.labelling.truth_proposal import read_sentences
    from spatial_vlm_ros.perception import load_grounder, parse_options
    from spatial_vlm_ros.perception.domain import check_domain
    from spatial_vlm_ros.recording.cases import CASES_FILE
    from spatial_vlm_ros.resolver import Resolver
    from spatial_vlm_ros.types import FrameOfReference
    from spatial_vlm_ros.web.serving import check_installed

    if (frames is None) == (bag is None):
        raise click.UsageError("give either --frames DIR or --bag BAG")
    if grounder is None and (grounder_options is not None or image_domain is not None or any_domain):
        raise click.UsageError("--grounder-options, --image-domain and --any-domain need --grounder")
    topics = group.named_topics(of_bag)
    if bag is None and any(value is not None for value in of_bag.values()):
        raise click.UsageError("options for topics, frames and the robot need --bag")
    if grounder is not None and "detections" in topics:
        raise click.UsageError("give either --detections or --grounder")
    check_installed()
    from spatial_vlm_lab.labelling.session import serve_labels

    sentences = () if instructions is None else read_sentences(instructions)
    settings = group.read_settings(config_file)
    model = load_grounder(grounder, parse_options(grounder_options or "")) if grounder is not None else None
    gate = group.gated(settings.resolver, image_domain, any_domain)
    if bag is not None and model is not None:
        check_domain(model, gate.domain_gate)  # a bag does not say what made its images: check before reading
    reference = None if frame_of_reference is None else FrameOfReference(frame_of_reference)
    whole = (bag or Path()).resolve()
    beside = whole.with_name(f"{whole.name if whole.is_dir() else whole.stem}.truth.jsonl")
    path = out or (beside if frames is None else frames / CASES_FILE)
    with LabelFile(path) as file:  # first, so that a page open elsewhere is reported before reading a bag
        refused = refused_lines(file)
        for n, reason in refused[:_MOST_SAID]:
            group.say(f"{file.path}: line {n} is not a valid case: {reason}", err=True)
        if refused:  # they are kept, and `evaluate` refuses the whole file
            more = f" ({len(refused) - _MOST_SAID} more)" if len(refused) > _MOST_SAID else ""
            kept = f"these lines are kept unchanged{more}"
            group.say(f"{kept}; `evaluate` refuses the file until they are corrected or removed", err=True)
        with _source(frames, bag, file.path, model is not None, settings, of_bag, apart) as source:
            labels = LabelSession(source, file, Resolver(gate, model), sentences, reference, blind=blind)
            title = (frames or bag or path).resolve().name
            with serve_labels(labels, title, port) as page:
                group.say(f"label at {page.url}")
                group.say(f"truth is saved to {file.path}; press Ctrl-C to close the page")
                sys.stdout.flush()
                over = threading.Event()
                if threading.current_thread() is threading.main_thread():
                    signal.signal(signal.SIGTERM, lambda *_: over.set())
                with contextlib.suppress(KeyboardInterrupt):
                    while not over.wait(3600.0):
                        pass
        try:
            left = labels.close()
        except FileError as error:
            group.say(f"not saved, and no copy could be written beside it: {error}", err=True)
            group.say("copy these lines into the truth file; they are saved nowhere else:", err=True)
            for line in labels.unsaved_lines():
                group.say(line.decode("utf-8", "replace"), err=True)
            sys.exit(group.FAILED)
        if left is not None:
            group.say(f"not saved: {labels.saved()['problem']}", err=True)
            group.say(f"your decisions are in {left}: copy its lines into the truth file", err=True)
    sys.exit(group.ANSWERED if left is None else group.FAILED)


@contextlib.contextmanager
def _source(
    frames: Path | None, bag: Path | None, truth: Path, asks_grounder: bool, settings: Settings,
    of_bag: dict[str, Any], apart: float,
) -> Iterator[LabelSource]:  # fmt: skip
    from spatial_vlm_lab.labelling.label_file import bag_source, folder_source
    from spatial_vlm_ros.manipulation.planning.robot_model import robot_of
    from spatial_vlm_ros.recording.bags.topics import choose_roles, open_bag

    if bag is None:
        yield folder_source(frames or "", ask_grounder=asks_grounder)
        return
    config = group.changed_streams(settings.streams, of_bag)
    with contextlib.ExitStack() as stack:
        with open_bag(bag) as opened:
            roles = choose_roles(opened.contents, config, group.named_topics(of_bag), with_detections=not asks_grounder)
            robot = robot_of(config, settings.resolver.depth)
            source = stack.enter_context(bag_source(opened, truth.parent, roles, config, apart, robot))
        yield source
