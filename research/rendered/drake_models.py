# SPDX-License-Identifier: Apache-2.0
"""The tea set, dishes and furniture of RobotLocomotion/models; the furniture is scaled to stand on a table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from research.rendered.items import Item, Room, flat_top, vessel
from research.rendered.meshes import Mesh, box, joined, read_gltf

CABINET = 0.42
"""Scale of the painted cabinet: half a metre wide."""
HUTCH = 0.25
"""Scale of the painted hutch: 25 cm wide, 64 cm high."""
SHELVES = 0.62
"""Scale of the cupboard of the manipulation station: 50 cm high, 37 cm wide, two shelves, no doors."""


def drake_models(root: Path) -> dict[str, Item]:
    """Every object, by a name of its own."""
    models, items = root / "tutorials/models/assets", {}
    tea = read_gltf(models / "tea_set_01_1k.gltf")

    def piece(name: str) -> Mesh:
        return tea[f"tea_set_01_{name}"].standing()

    cup, sugar, saucer = piece("cup_small_01"), piece("sugar_cup_01"), piece("saucer_circular_03")
    plate, square = piece("plate_large_circular_03"), piece("plate_large_square_01")
    pot = joined([tea["tea_set_01_teapot_01"], tea["tea_set_01_teapot_01_lid"]]).standing()
    items["teacup"] = Item(
        "cup", ("cup", "teacup"), cup, colour="white", solid="cells", rooms={"main": vessel(cup, 0.4)}
    )
    items["sugar bowl"] = Item(
        "sugar bowl", ("sugar bowl",), sugar, colour="white", solid="cells", rooms={"main": vessel(sugar, 0.4)}
    )
    items["saucer"] = Item(
        "saucer",
        ("saucer",),
        saucer,
        colour="white",
        solid="cells",
        rooms={"main": Room("on", 0.042, 0.042, 0.006, wide=0.08)},
    )
    items["plate"] = Item(
        "plate",
        ("plate",),
        plate,
        colour="white",
        solid="cells",
        rooms={"main": Room("on", 0.056, 0.056, 0.006, wide=0.1)},
    )
    items["square plate"] = Item(
        "square plate",
        ("square plate",),
        square,
        colour="white",
        solid="cells",
        rooms={"main": Room("on", 0.056, 0.056, 0.006, wide=0.1)},
    )
    items["teapot"] = Item("teapot", ("teapot",), pot, colour="white")
    pepper = next(iter(read_gltf(root / "veggies/assets/yellow_bell_pepper_no_stem_low.gltf").values())).standing()
    items["bell pepper"] = Item("bell pepper", ("bell pepper", "pepper"), pepper, colour="yellow")
    red = replace(pepper, texture=None, uv=None)
    items["red pepper"] = Item("bell pepper", ("bell pepper", "pepper"), red, ("red", "green"))
    bowl = next(iter(read_gltf(root / "dishes/assets/evo_bowl.gltf").values())).standing()
    items["bowl"] = Item(
        "bowl", ("bowl",), bowl, ("blue", "green", "red", "white"), solid="cells", rooms={"main": vessel(bowl, 0.55)}
    )
    dinner = next(iter(read_gltf(root / "dishes/assets/plate_8in.gltf").values())).standing()
    items["dinner plate"] = Item(
        "plate",
        ("plate",),
        dinner,
        ("blue", "green", "gray"),
        solid="cells",
        rooms={"main": Room("on", 0.06, 0.06, 0.006, wide=0.1)},
    )
    crate = next(iter(read_gltf(root / "manipulation_station/assets/bin.gltf").values())).scaled(0.5).standing()
    x, y, z = crate.size
    items["crate"] = Item(
        "crate",
        ("crate", "bin", "plastic bin"),
        crate,
        colour="gray",
        solid="cells",
        rooms={"main": Room("inside", x / 2 - 0.03, y / 2 - 0.03, 0.008, height=z, wide=y / 2 - 0.01)},
    )
    board = next(iter(read_gltf(root / "tri_homecart/assets/homecart_cutting_board.gltf").values()))
    board = board.scaled((0.45, 0.36, 0.8)).standing()
    items["board"] = Item(
        "cutting board",
        ("cutting board", "board"),
        board,
        colour="brown",
        rooms={"main": Room("on", 0.09, 0.09, float(board.size[2]), wide=0.12)},
    )
    stool = next(iter(read_gltf(models / "painted_wooden_stool_1k.gltf").values())).scaled(0.42).standing()
    items["stool"] = Item(
        "stool", ("stool", "little stool"), stool, colour="white", solid="cells", rooms={"main": flat_top(stool, 0.6)}
    )
    for opened in ("", "left", "right", "both"):
        items[f"cabinet {opened}".strip()] = cabinet(models, opened)
    items["hutch"] = hutch(models)
    items["shelf"] = shelf()
    return items


def cabinet(models: Path, opened: str) -> Item:
    """The painted cabinet: two drawers side by side above two doors.

    The `opened` drawers ("", "left", "right", "both") are pulled out by 13 cm.
    """
    nodes = {
        n.removeprefix("painted_wooden_cabinet").strip("_"): m.scaled(CABINET)
        for n, m in read_gltf(models / "painted_wooden_cabinet_1k.gltf").items()
    }
    corpus = nodes[""]
    low = corpus.bounds[0]
    shift = np.array(
        [-(corpus.bounds[0][0] + corpus.bounds[1][0]) / 2, -(corpus.bounds[0][1] + corpus.bounds[1][1]) / 2, -low[2]]
    )
    parts, rooms = {}, {"main": Room("on", 0.4 * corpus.size[0], 0.36 * corpus.size[1], float(corpus.size[2]))}
    for side, number in (("left", "01"), ("right", "02")):
        door = nodes[f"door_{number}"]
        parts[f"{side} door"] = Item("cabinet door", (f"{side} door",), door.moved(offset=shift))
        drawer = nodes[f"drawer_{number}"]
        front = (
            float(corpus.bounds[0][1]) - 0.006
        )  # the drawer's panel stands a little before the corpus when it is shut
        out = 0.13 if opened in (side, "both") else 0.0
        drawer = drawer.moved(offset=shift + np.array([0, front - float(drawer.bounds[0][1]) - out, 0]))
        parts[f"{side} drawer"] = Item("drawer", (f"{side} drawer",), drawer, solid="cells")
        if out:
            a, b = drawer.bounds
            x, floor = float(a[0] + b[0]) / 2, float(a[2]) + 0.012
            rooms[f"{side} drawer"] = Room(
                "inside",
                0.36 * float(b[0] - a[0]),
                out / 2 - 0.016,
                floor,
                x,
                float(a[1]) + 0.016 + out / 2,
                0.08,
                out / 2 - 0.012,
            )
    return Item(
        "cabinet",
        ("cabinet", "sideboard"),
        corpus.moved(offset=shift),
        colour="white",
        solid="cells",
        rooms=rooms,
        parts=parts,
    )


def hutch(models: Path) -> Item:
    """The tall blue cabinet: open shelves above, one drawer and one door below, both shut."""
    nodes = read_gltf(models / "painted_wooden_cabinet_02_1k.gltf")
    whole = joined(list(nodes.values())).scaled(HUTCH).standing()
    x, y, z = whole.size
    return Item(
        "cabinet",
        ("cabinet", "cupboard"),
        whole,
        colour="blue",
        solid="cells",
        rooms={"main": Room("on", 0.36 * x, 0.3 * y, z)},
    )


def shelf() -> Item:
    """The cupboard of the manipulation station without its doors, from the boxes of cupboard.sdf and shelves.sdf.

    Its walls are 1.6 cm of 80 x 60 x 30 cm; shelves are at −0.4, −0.131, 0.131 and 0.4 m. The open side faces −y.
    """
    walls = [box((-0.15, s - 0.008, -0.3915), (0.15, s + 0.008, 0.3915)) for s in (-0.292, 0.292)]
    levels = (-0.3995, -0.13115, 0.13115, 0.3995)
    boards = [box((-0.15, -0.3, h - 0.008), (0.15, 0.3, h + 0.008)) for h in levels]
    back = box((-0.15, -0.3, -0.3915), (-0.134, 0.3, 0.3915))
    whole = (
        joined([*walls, *boards, back]).moved(np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]])).scaled(SHELVES).standing()
    )
    rooms = {}
    for name, h in zip(("bottom", "middle", "top", "main"), levels, strict=True):
        floor = (h + 0.008 + 0.4075) * SHELVES
        rooms[name] = Room("on", 0.25 * SHELVES, 0.09 * SHELVES, floor, 0, -0.02 * SHELVES, 0.02, 0.13 * SHELVES)
    return Item("shelf", ("shelf", "bookshelf"), whole, ("brown", "white", "gray"), solid="cells", rooms=rooms)
