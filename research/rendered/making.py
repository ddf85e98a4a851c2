# SPDX-License-Identifier: Apache-2.0
"""The frames of one source: which recipes, how often, and with what the resolver is given."""

from __future__ import annotations

import collections
import json
from pathlib import Path

import numpy as np

from research.rendered import recipes, recipes_furniture, recipes_places
from research.rendered import recipes_aloha as aloha
from research.rendered import recipes_aloha_holders as aloha_holders
from research.rendered import recipes_aloha_rooms as aloha_rooms
from research.rendered import recipes_gazebo as loose
from research.rendered import recipes_gazebo_places as places
from research.rendered import recipes_gazebo_rooms as rooms
from research.rendered.frames import Flags, FrameWriter, Recipe, draw_frame
from research.rendered.items import Source
from research.rendered.kits import kit

PLAIN: tuple[tuple[str, Recipe], ...] = (
    ("across", recipes.across),
    ("away", recipes.away),
    ("colours", recipes.colours),
    ("contained", recipes.contained),
    ("around", recipes_places.around),
    ("halves", recipes_places.halves),
    ("stacked", recipes.stacked),
    ("two_holders", recipes_places.two_holders),
    ("sizes", recipes.sizes),
    ("table_parts", recipes_places.table_parts),
    ("neighbours", recipes.neighbours),
    ("say_it_otherwise", recipes.say_it_otherwise),
)
BLOCKS: tuple[tuple[str, Recipe], ...] = (
    ("towers", recipes_places.towers),
    ("compartments", recipes_places.compartments),
    ("full", recipes_places.full),
)
FURNITURE: tuple[tuple[str, Recipe], ...] = (
    ("drawers_left", recipes_furniture.drawers("left")),
    ("shelves", recipes_furniture.shelves),
    ("drawers_both", recipes_furniture.drawers("both")),
    ("stools", recipes_furniture.stools),
    ("shelves", recipes_furniture.shelves),
    ("drawers_right", recipes_furniture.drawers("right")),
)
GAZEBO: tuple[tuple[str, Recipe], ...] = (
    ("lineup", loose.lineup(4)),
    ("drawers_top", rooms.drawers("top", filled=True)),
    ("parking", loose.parking),
    ("bookcase", rooms.bookcase),
    ("mats", loose.mats),
    ("stove", rooms.stove),
    ("queue", loose.queue),
    ("on_boxes", places.on_boxes),
    ("rack", rooms.rack),
    ("three_sizes", loose.three_sizes),
    ("zones", places.zones),
    ("cabinet", rooms.cabinet),
    ("crate", places.crate),
    ("drawers_empty", rooms.drawers("top", filled=False)),
    ("workbench", places.workbench),
    ("steps", rooms.steps),
    ("full", places.full),
    ("neighbours", loose.neighbours),
    ("quarters", rooms.four),
    ("two_bowls", places.two_bowls),
    ("bookcase", rooms.bookcase),
    ("lineup", loose.lineup(5)),
    ("drawers_middle", rooms.drawers("middle", filled=True)),
    ("queue", loose.queue),
)
ALOHA: tuple[tuple[str, Recipe], ...] = (
    ("bench", aloha.bench(4)),
    ("drawer_left", aloha_rooms.drawer("left", filled=True)),
    ("coasters", aloha_holders.coasters),
    ("holes", aloha_rooms.holes),
    ("halves", aloha_rooms.halves),
    ("column", aloha.column),
    ("stand_used", aloha_rooms.stand(below=True)),
    ("sizes", aloha.sizes),
    ("sections", aloha_rooms.sections),
    ("desk", aloha.desk),
    ("drawer_right", aloha_rooms.drawer("right", filled=False)),
    ("pots", aloha_holders.pots),
    ("corners", aloha_rooms.corners),
    ("carry", aloha_holders.carry),
    ("colours", aloha.colours),
    ("washing", aloha_holders.washing),
    ("stand_free", aloha_rooms.stand(below=False)),
    ("beside", aloha.beside),
    ("packed", aloha_holders.packed),
    ("bench", aloha.bench(3)),
    ("halves", aloha_rooms.halves),
)
RECIPES: dict[str, tuple[tuple[str, Recipe], ...]] = {
    "aloha": ALOHA,
    "gazebo": GAZEBO,
    "ravens": PLAIN + BLOCKS,
    "vima": PLAIN + BLOCKS,
    "drake_models": FURNITURE + tuple(each for each in PLAIN if each[0] not in ("colours", "stacked")),
}


def make(source: Source, root: Path, out: Path, seed: int = 1, count: int | None = None) -> str:
    """Writes frames, cases, truth and licences into `out`; returns a summary.

    The recipes of the source go round until `count` frames are made. About half of the frames have noise, a transform,
    attributes and parts, each in turn; two thirds have masks.

    Raises:
        FileExistsError: `out` has files in it.
        LookupError: a recipe found no scene.
    """
    if out.is_dir() and any(out.iterdir()):
        raise FileExistsError(f"{out}: not empty. Name another folder.")
    items = source.items(root)
    tables = tuple(root / t for t in source.tables)
    writer, recipes_of = FrameWriter(out), RECIPES[source.name]
    licences = out / "LICENSES"
    licences.mkdir(parents=True)
    for file in source.licence_files:
        (licences / file.replace("/", "_")).write_bytes((root / file).read_bytes())
    for k in range(len(recipes_of) if count is None else count):
        name, recipe = recipes_of[k % len(recipes_of)]
        rng = np.random.default_rng((seed, k, len(source.name)))
        flags = Flags(bool(k % 2), bool(k // 2 % 2), k % 3 != 1, bool((k + k // 4) % 2), k % 4 < 2)
        writer.write(draw_frame(name, recipe, kit(source.name, items), tables, flags, rng), rng)
    cases = [json.loads(line) for line in (out / "cases.jsonl").read_text().splitlines()]
    statuses = collections.Counter(c["expect"]["status"] for c in cases)
    kinds = collections.Counter(k for c in cases for k in c["kind"])
    places = sum("place" in c["expect"] for c in cases)
    counts = f"{writer.count} frames, {len(cases)} cases, {places} with a place"
    return f"{source.name}: {counts}; {dict(statuses)}; {dict(sorted(kinds.items()))}"
