# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm teach`: keeps objects that are shown in frames; lists, renames, forgets and exports them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spatial_vlm_ros.cli.group import FILE, FOLDER, config_option, json_option, print_json, read_settings, say
from spatial_vlm_ros.cli.outputs import check_new, check_no_input, force_option
from spatial_vlm_ros.errors import InputError

if TYPE_CHECKING:
    from spatial_vlm_ros.perception.taught_store import KeptObject


@click.command()
@click.argument("name", required=False)
@click.argument("frames", nargs=-1, type=FOLDER)
@click.option("--taught", type=FILE, required=True, metavar="FILE", help="File of the taught objects.")
@click.option("--at", multiple=True, metavar="U,V", help="Pixel of the object; once for each frame.")
@click.option("--box", multiple=True, metavar="L,T,R,B", help="Box around the object, pixels; once for each frame.")
@click.option("--before", type=FOLDER, metavar="FRAME", help="Frame before the object was put down; the camera still.")
@click.option("--list", "listed", is_flag=True, help="List the taught objects.")
@click.option("--rename", metavar="NEW", help="Give the object another name.")
@click.option("--forget", is_flag=True, help="Remove the object.")
@click.option("--export", type=FILE, metavar="OUT", help="Write the object, or all, to a file of their own.")
@force_option
@config_option
@json_option
def teach(name: str | None, frames: tuple[Path, ...], taught: Path, at: tuple[str, ...], box: tuple[str, ...],
          before: Path | None, listed: bool, rename: str | None, forget: bool, export: Path | None, force: bool,
          config_file: Path | None, as_json: bool) -> None:  # fmt: skip
    """Teach the object NAME by showing it in frame folders, each a view of it.

    It must be seen whole and stand free on something. If several objects do, say which by --at, --box or --before. The
    same name again adds views; eight are kept. `resolve --taught FILE` then finds it, with or without a detector.

    \b
    Examples:
      spatial-vlm teach bonnet f1 f2 --taught objects.taught --at 320,240 --at 305,251
      spatial-vlm teach "red mug" after --before before --taught objects.taught
      spatial-vlm resolve "the bonnet behind the red mug" --rgb … --taught objects.taught
      spatial-vlm teach --list --taught objects.taught
      spatial-vlm teach bonnet --rename hat --taught objects.taught
    """
    from spatial_vlm_ros.perception import taught_store as store

    if sum((listed, rename is not None, forget, export is not None, bool(frames))) != 1:
        raise click.UsageError("give FRAMES, or one of --list, --rename, --forget, --export")
    if name is None and (frames or forget or rename is not None):
        raise click.UsageError("give the NAME of the object")
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
            say(f"{_line(one)}; shown {time.strftime('%Y-%m-%d %H:%M', time.localtime(one.shown_s))}")
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
    views, free = [], True
    for number, folder in enumerate(frames):
        where: Any = {"before": earlier}
        where |= {"at": _numbers("--at", at[number], 2)} if at else {}
        where |= {"box": _numbers("--box", box[number], 4)} if box else {}
        try:
            view, alone = shown_view(load_frame(folder)[0], observe, config, **where)
        except InputError as error:
            raise InputError(f"{error.what} in {folder}", error.got, error.expected, error.repair) from error
        views.append(view)
        free &= alone
    known = store.taught_objects(taught) if taught.exists() else None
    own, alike = (None, []) if known is None else known.alike(name, views)
    store.teach(taught, name, views)
    kept = store.kept_objects(taught, [name])[0]
    if as_json:
        print_json({**_facts(kept), "alike": alike, "found_by_depth": free, "like_earlier_views": own})
        return
    say(f"{_line(kept)}; taught in {taught}")
    if own is False:
        say("it does not look like its earlier views; if it is another object, forget this name first")
    for other in alike:
        say(f"it looks like {other!r}, too: where both fit, a request asks which is meant")
    if not free:
        say("it is flat: depth alone does not find it, but in a detector's box it is named")


def _numbers(option: str, text: str, count: int) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(abs(number) < 1e6 for number in numbers):
        raise click.UsageError(f"{option} {text}: give {count} numbers, separated by commas, without blanks")
    return numbers


def _line(one: KeptObject) -> str:
    height, longer, shorter, sigma = (100 * length for length in one.views[-1].size)
    size = f"{longer:.1f} × {shorter:.1f} × {height:.1f} cm ± {sigma:.1f}"
    return f"{one.name}: {len(one.views)} view{'' if len(one.views) == 1 else 's'}, {size}"


def _facts(one: KeptObject) -> dict[str, object]:
    names = ("height_m", "longer_m", "shorter_m", "sigma_m")
    size = {name: round(length, 4) for name, length in zip(names, one.views[-1].size, strict=True)}
    features = sum(len(view.local) for view in one.views)
    return {"name": one.name, "views": len(one.views), **size, "local_features": features, "shown_s": one.shown_s}
