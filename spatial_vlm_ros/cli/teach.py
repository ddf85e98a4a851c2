# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm teach`: keeps objects that are shown in frames; lists, renames, forgets and exports them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spatial_vlm_ros.cli.group import FILE, FOLDER, REFUSED, config_option, json_option, print_json, read_settings, say
from spatial_vlm_ros.cli.live import INTERRUPTED, conversation, fail, of_nodes
from spatial_vlm_ros.cli.outputs import check_new, check_no_input, force_option
from spatial_vlm_ros.errors import InputError

if TYPE_CHECKING:
    from spatial_vlm_ros.perception.taught_store import KeptObject

_SIDES = ("height", "longer", "shorter")


@click.command()
@click.argument("name", required=False)
@click.argument("frames", nargs=-1, type=FOLDER)
@click.option("--taught", type=FILE, metavar="FILE", help="File of the taught objects; a running resolver has its own.")
@click.option("--at", multiple=True, metavar="U,V", help="Pixel of the object; once for each frame.")
@click.option("--box", multiple=True, metavar="L,T,R,B", help="Box around the object, pixels; once for each frame.")
@click.option("--before", type=FOLDER, metavar="FRAME", help="Frame before the object was put down; the camera still.")
@click.option("--put-down", is_flag=True, help="Without FRAMES: put the object down when the command asks for it.")
@click.option("--namespace", default="", help="ROS namespace of the running resolver.")
@click.option("--list", "listed", is_flag=True, help="List the taught objects.")
@click.option("--rename", metavar="NEW", help="Give the object another name.")
@click.option("--forget", is_flag=True, help="Remove the object.")
@click.option("--export", type=FILE, metavar="OUT", help="Write the object, or all, to a file of their own.")
@force_option
@config_option
@json_option
def teach(name: str | None, frames: tuple[Path, ...], taught: Path | None, at: tuple[str, ...], box: tuple[str, ...],
          before: Path | None, put_down: bool, namespace: str, listed: bool, rename: str | None, forget: bool,
          export: Path | None, force: bool, config_file: Path | None, as_json: bool) -> None:  # fmt: skip
    """Teach the object NAME by showing it in frame folders, or without any to the camera of a running resolver.

    It must be seen whole and stand free on something. If several objects do, say which by --at, --box, --before or
    --put-down. The same name again adds views; eight are kept. `resolve --taught FILE` then finds it, with or without a
    detector.

    \b
    Examples:
      spatial-vlm teach bonnet f1 f2 --taught objects.taught --at 320,240 --at 305,251
      spatial-vlm teach "red mug" after --before before --taught objects.taught
      spatial-vlm teach "red mug" --put-down
      spatial-vlm resolve "the bonnet behind the red mug" --rgb … --taught objects.taught
      spatial-vlm teach --list --taught objects.taught
      spatial-vlm teach bonnet --rename hat --taught objects.taught
    """
    from spatial_vlm_ros.perception import taught_store as store

    asked = sum((listed, rename is not None, forget, export is not None, bool(frames)))
    if asked > 1 or (asked and (put_down or namespace)):
        raise click.UsageError("give FRAMES, or one of --list, --rename, --forget, --export")
    if name is None and not (listed or export is not None):
        raise click.UsageError("give the NAME of the object")
    if name is not None and not asked:
        if taught is not None or before is not None or config_file is not None or len(at) + len(box) + put_down > 1:
            raise click.UsageError("give FRAMES, or for a running resolver only --at, --box or --put-down, once")
        _live(name, at, box, put_down, namespace, as_json)
        return
    if taught is None:
        raise click.UsageError("give --taught FILE")
    if export is not None:
        check_new(force, export=export)
        check_no_input([taught], export=export)
        store.export(taught, export, None if name is None else [name], force=force)
        say(f"written to {export}")
    elif listed:
        kept = store.kept_objects(taught, None if name is None else [name])
        if as_json:
            print_json({"objects": [_facts(one) for one in kept]})
            return
        for one in kept:
            say(f"{one}; shown {time.strftime('%Y-%m-%d %H:%M', time.localtime(one.shown_s))}")
        say(f"{len(kept)} object{'' if len(kept) == 1 else 's'} in {taught}")
    elif name is not None and rename is not None:
        store.rename(taught, name, rename)
        say(f"{name} is now {rename}")
    elif name is not None and forget:
        store.forget(taught, name)
        say(f"{name} is forgotten")
    elif name is not None:
        _teach(name, frames, taught, at, box, before, config_file, as_json)


def _teach(name: str, frames: tuple[Path, ...], taught: Path, at: tuple[str, ...], box: tuple[str, ...],
           before: Path | None, config_file: Path | None, as_json: bool) -> None:  # fmt: skip
    from spatial_vlm_ros.perception import taught_store as store
    from spatial_vlm_ros.perception.taught import sayable, shown_view
    from spatial_vlm_ros.recording.frame_folder import load_frame
    from spatial_vlm_ros.resolver import Resolver

    if sum((bool(at), bool(box), before is not None)) > 1 or {len(at), len(box)} - {0, len(frames)}:
        raise click.UsageError("give --at or --box once for each frame, or --before, or none of them")
    name, config = sayable(name), read_settings(config_file).resolver
    observe, earlier = Resolver(config).observe, None if before is None else load_frame(before)[0]
    views = []
    for number, folder in enumerate(frames):
        try:
            where = _where(at[number : number + 1], box[number : number + 1])
            views.append(shown_view(load_frame(folder)[0], observe, config, before=earlier, **where))
        except InputError as error:
            raise InputError(f"{error.what} in {folder}", error.got, error.expected, error.repair) from error
    made = store.lesson(taught, name, views)
    if as_json:
        found = {"alike": made.alike, "found_by_depth": made.found_by_depth, "like_earlier_views": made.like_earlier}
        print_json({**_facts(made.kept), **found})
        return
    say(f"{made.kept}; taught in {taught}")
    for note in made.notes:
        say(note)


def _live(name: str, at: Sequence[str], box: Sequence[str], put_down: bool, namespace: str, as_json: bool) -> None:
    try:
        with conversation(), of_nodes("perception.ask").asker(namespace) as client:
            client.wait_for_server(10.0)  # s
            if put_down and (made := client.teach()).status.name == "ANSWERED":
                click.prompt(f"put down the {name}, then press Enter", "", show_default=False, err=True)
            if not put_down or made.status.name == "ANSWERED":
                made = client.teach(name=name, put_down=put_down, **_where(at, box))
    except KeyboardInterrupt:
        fail("cancelled", INTERRUPTED)
    if made.status.name != "ANSWERED":
        fail(f"{made.status.name}: {made.status.message}", REFUSED)
    if as_json:
        sizes = {f"{side}_m": round(length, 4) for side, length in zip(_SIDES, made.size, strict=True)}
        found = {"alike": list(made.alike), "found_by_depth": made.found_by_depth, "notes": list(made.notes)}
        print_json({"name": name, "views": made.views, **sizes, **found})
        return
    for line in (made.status.message, *made.notes):
        say(line)


def _where(at: Sequence[str], box: Sequence[str]) -> dict[str, Any]:
    """Where the object of one frame is, if it is said."""
    return {"at": _numbers("--at", at[0], 2)} if at else {"box": _numbers("--box", box[0], 4)} if box else {}


def _numbers(option: str, text: str, count: int) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(abs(number) < 1e6 for number in numbers):
        raise click.UsageError(f"{option} {text}: give {count} numbers, separated by commas, without blanks")
    return numbers


def _facts(one: KeptObject) -> dict[str, object]:
    size = {f"{side}_m": round(length, 4) for side, length in zip((*_SIDES, "sigma"), one.views[-1].size, strict=True)}
    features = sum(len(view.local) for view in one.views)
    return {"name": one.name, "views": len(one.views), **size, "local_features": features, "shown_s": one.shown_s}
