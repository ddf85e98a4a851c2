# SPDX-License-Identifier: Apache-2.0
"""Household and workshop objects of osrf/gazebo_models, and furniture made of boxes.

Left out: models with signs of a third party's model library (hammer, monkey wrench, saucepan, cafe table), and labels
and logos of brands (can, beer, post box): of the can there is the shape alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from research.rendered.box_furniture import book, chest, full_tray, mat, quarters, rack, steps, stove
from research.rendered.collada import read_dae, read_xml
from research.rendered.items import Item, Room, flat_top, vessel
from research.rendered.meshes import Floats, Mesh, box, cylinder, joined, read_obj

FOLDERS = (
    "ambulance",
    "bookshelf",
    "bowl",
    "bus",
    "cabinet",
    "cardboard_box",
    "cinder_block",
    "coke_can",
    "construction_barrel",
    "construction_cone",
    "cordless_drill",
    "cricket_ball",
    "euro_pallet",
    "fire_hydrant",
    "fire_truck",
    "gear_part",
    "grey_tote",
    "hatchback",
    "hatchback_blue",
    "hatchback_red",
    "kinect",
    "first_2015_trash_can",
    "plastic_cup",
    "pulley_part",
    "robocup_3Dsim_ball",
    "robocup_spl_ball",
    "round_tin_base",
    "round_tin_top",
    "table_marble",
    "wooden_case",
)
"""What of the repository is read."""
PLAIN = ("red", "blue", "green", "yellow", "white")
QUARTER: Floats = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
"""Turns what is long along y so that it is long along x; its inverse turns what faces −x so that it faces −y."""
BODIES = {
    # file: label, words, longest extent (m), materials of the body, of the rest, dark spot of the texture, colour
    "fire_truck": ("toy fire truck", ("fire truck",), 0.21, ("Firetruck_Body",), (0.7375, 0.8625), "red"),
    "hatchback_red": ("toy car", ("car", "toy car"), 0.135, ("Hatchback",), (0.7875, 0.1375), "red"),
    "hatchback_blue": ("toy car", ("car", "toy car"), 0.135, ("Hatchback",), (0.7875, 0.1375), "blue"),
    "hatchback": ("toy car", ("car", "toy car"), 0.135, ("Hatchback",), (0.7875, 0.1375), "white"),
    "bus": ("toy bus", ("bus", "toy bus"), 0.24, ("Bus",), (0.9125, 0.2625), "gray"),
    "ambulance": ("toy ambulance", ("ambulance",), 0.16, ("Ambulance",), (0.6625, 0.2125), "white"),
}


def gazebo_models(root: Path) -> dict[str, Item]:
    """Every object, by a name of its own."""
    items = _crockery(root) | _workshop(root) | _toys(root) | _holders(root)
    items["bookcase"], items["cabinet"] = bookcase(root), open_cabinet(root)
    items |= {"stove": stove(root), "quarters": quarters(), "rack": rack(), "steps": steps(), "mat": mat()}
    return items | {"book": book(), "full tray": full_tray(), "chest": chest("top")}


def _crockery(root: Path) -> dict[str, Item]:
    items = {}
    can = read_dae(root / "coke_can/meshes/coke_can.dae").standing()
    colours = ("red", "blue", "green", "yellow", "gray")
    items["can"] = Item("soda can", ("can", "soda can"), can, colours)
    cup = read_dae(root / "plastic_cup/meshes/plastic_cup.dae").standing()
    items["cup"] = Item("cup", ("cup", "plastic cup"), cup, PLAIN, solid="cells", rooms={"main": vessel(cup)})
    dish = read_dae(root / "bowl/meshes/bowl.dae")
    bowl = dish.scaled((0.75, 0.75, 1.6)).standing()
    items["bowl"] = Item("bowl", ("bowl",), bowl, PLAIN, solid="cells", rooms={"main": vessel(bowl, 0.5)})
    plate = dish.scaled((1.0, 1.0, 0.5)).standing()
    floor = vessel(plate).floor
    room = {"main": Room("on", 0.05, 0.05, floor, wide=0.095)}
    items["plate"] = Item("plate", ("plate",), plate, ("white", "blue", "green"), solid="cells", rooms=room)
    tin = joined(
        [
            read_dae(root / "round_tin_base/meshes/round_tin_base.dae").standing(),
            read_dae(root / "round_tin_top/meshes/round_tin_top.dae")
            .moved(np.diag([1.0, -1.0, -1.0]))
            .standing()
            .moved(offset=np.array([0, 0, 0.02])),
            cylinder(0.0385, 0.0305),  # both are rings
        ]
    )
    items["tin"] = Item("tin", ("tin", "round tin"), tin, ("gray", "red", "blue"), rooms={"main": flat_top(tin, 0.6)})
    return items


def _workshop(root: Path) -> dict[str, Item]:
    items = {}
    drill = read_dae(
        root / "cordless_drill/meshes/cordless_drill.dae", root / "cordless_drill/materials/textures/cordless_drill.png"
    )
    on_side = drill.scaled(0.85).moved(Rotation.from_euler("y", 90, degrees=True).as_matrix()).standing()
    items["drill"] = Item("cordless drill", ("drill", "power drill"), on_side, colour="red")
    cone = read_dae(
        root / "construction_cone/meshes/construction_cone.dae",
        root / "construction_cone/materials/textures/Construction_Cone_Diffuse.png",
    )
    items["cone"] = Item("traffic cone", ("cone", "traffic cone"), cone.scaled(1.1).standing(), colour="orange")
    barrel = read_dae(
        root / "construction_barrel/meshes/construction_barrel.dae",
        root / "construction_barrel/materials/textures/Construction_Barrel_Diffuse.png",
    )
    items["barrel"] = Item("traffic barrel", ("barrel",), barrel.scaled(0.085).standing(), colour="orange")
    stone = read_dae(
        root / "cinder_block/meshes/cinder_block.dae",
        root / "cinder_block/materials/textures/cinder_block_diffuse.png",
    )
    stone = stone.scaled(0.45).standing()
    items["cinder block"] = Item(
        "cinder block", ("cinder block",), stone, colour="gray", rooms={"main": flat_top(stone, 0.7)}
    )
    for name, file in (("gear", "gear_part/meshes/gear.dae"), ("pulley", "pulley_part/meshes/pulley.dae")):
        part = read_dae(root / file)
        part = part.scaled(0.1 / float(part.size.max())).standing()
        said = ("gear", "cogwheel") if name == "gear" else ("pulley",)
        items[name] = Item(name, said, part, ("gray", "blue", "black"))
    for name, size in (("cube", 0.05), ("large cube", 0.075), ("small cube", 0.0375)):
        cube = box((-size / 2, -size / 2, 0), (size / 2, size / 2, size))
        items[name] = Item(
            "wooden cube", ("cube", "wooden block", "block"), cube, colour="brown", rooms={"main": flat_top(cube, 0.5)}
        )
    sensor = read_dae(root / "kinect/meshes/kinect.dae").moved(QUARTER).standing()
    items["camera"] = Item("depth camera", ("camera", "depth camera"), sensor, ("black",))
    return items


def _toys(root: Path) -> dict[str, Item]:
    items = {}
    for name, (label, said, longest, body, dark, colour) in BODIES.items():
        texture = root / f"{name}/materials/textures/{'hatchback' if 'hatch' in name else name}.png"
        file = root / f"{name}/meshes/{'hatchback' if 'hatch' in name else name}.obj"
        mine, every = read_obj(file, body), _materials(file)
        rest = read_obj(file, every - set(body))
        assert mine.uv is not None
        whole = joined(
            [
                Mesh(mine.vertices, mine.faces, mine.uv * (1, -1) + (0, 1), texture),
                Mesh(rest.vertices, rest.faces, np.tile(dark, (len(rest.vertices), 1)), texture),
            ]
        )
        whole = whole.scaled(longest / float(whole.size.max())).moved(QUARTER).standing()
        items[name] = Item(label, said, whole, colour=colour)
    hydrant = read_dae(
        root / "fire_hydrant/meshes/fire_hydrant.dae",
        root / "fire_hydrant/materials/textures/fire_hydrant_diffuse.png",
    )
    items["hydrant"] = Item("toy fire hydrant", ("hydrant",), hydrant.scaled(0.15).standing(), colour="red")
    soccer = read_dae(
        root / "robocup_3Dsim_ball/meshes/ball.dae", root / "robocup_3Dsim_ball/materials/textures/rcs-soccerball.png"
    )
    items["soccer ball"] = Item("soccer ball", ("soccer ball", "ball"), soccer.scaled(0.04).standing(), colour="white")
    items["cricket ball"] = Item("ball", ("ball",), sphere(_radius(root, "cricket_ball")), ("red", "blue", "green"))
    items["small ball"] = Item(
        "ball", ("ball",), sphere(_radius(root, "robocup_spl_ball")), ("red", "orange", "yellow")
    )
    return items


def _holders(root: Path) -> dict[str, Item]:
    items = {}
    carton = read_dae(
        root / "cardboard_box/meshes/cardboard_box.dae", root / "cardboard_box/materials/textures/cardboard_box.png"
    )
    carton = carton.scaled((0.48, 0.4, 0.3)).standing()
    items["carton"] = Item(
        "cardboard box", ("cardboard box", "box"), carton, colour="brown", rooms={"main": flat_top(carton, 0.6)}
    )
    tote = read_dae(root / "grey_tote/meshes/tote.dae").scaled((0.42, 0.5, 0.3)).standing()
    items["tote"] = Item(
        "plastic tote", ("tote", "plastic tote"), tote, colour="gray", rooms={"main": flat_top(tote, 0.65)}
    )
    pail = read_dae(root / "first_2015_trash_can/meshes/trash_can.dae").scaled((0.26, 0.26, 0.2)).standing()
    items["trash can"] = Item("trash can", ("trash can",), pail, ("green", "gray", "black"))
    pallet = read_dae(root / "euro_pallet/meshes/pallet.dae").moved(QUARTER).scaled((0.019, 0.021, 0.019)).standing()
    items["pallet"] = Item(
        "pallet",
        ("pallet", "wooden pallet"),
        pallet,
        colour="brown",
        solid="cells",
        rooms={"main": flat_top(pallet, 0.75)},
    )
    case = joined([m for n, m in boxes(root / "wooden_case/model.sdf") if n in CASE])
    case = case.moved(Rotation.from_euler("y", -90, degrees=True).as_matrix()).moved(QUARTER).scaled(0.45).standing()
    x, y, z = case.size
    items["wooden case"] = Item(
        "wooden crate",
        ("wooden crate", "crate"),
        case,
        colour="brown",
        solid="cells",
        rooms={"main": Room("inside", x / 2 - 0.035, y / 2 - 0.03, 0.009, height=z, wide=y / 2 - 0.015)},
    )
    return items


CASE = ("visual_back", "visual_bottom", "visual_top", "visual_left", "visual_right")


def bookcase(root: Path) -> Item:
    """The bookshelf at four tenths of its size: 37 cm wide, 48 cm high, three open levels that face −y."""
    whole = joined([m for _, m in boxes(root / "bookshelf/model.sdf")]).scaled(0.4).standing()
    x, y, z = whole.size
    rooms = {
        n: Room("on", 0.13, 0.045, 0.4 * h, 0, -0.012, 0.14, wide=0.07)
        for n, h in (("bottom", 0.06), ("middle", 0.44), ("top", 0.81))
    }
    rooms["main"] = Room("on", 0.4 * x, 0.35 * y, z)
    return Item("bookshelf", ("bookcase", "shelf", "bookshelf"), whole, ("brown", "white"), solid="cells", rooms=rooms)


def open_cabinet(root: Path) -> Item:
    """The cabinet at four tenths of its size in height, six in width: two open compartments, one above the other."""
    whole = (
        joined([m for _, m in boxes(root / "cabinet/model.sdf")]).moved(QUARTER.T).scaled((0.6, 0.45, 0.4)).standing()
    )
    x, y, z = whole.size
    rooms = {
        n: Room("inside", 0.36 * x, 0.28 * y, 0.4 * h, 0, -0.01, 0.18, wide=0.4 * y)
        for n, h in (("lower", 0.02), ("upper", 0.52))
    }
    rooms["main"] = Room("on", 0.4 * x, 0.38 * y, z)
    return Item("cabinet", ("cabinet", "cupboard"), whole, ("brown", "white", "gray"), solid="cells", rooms=rooms)


def boxes(file: Path) -> list[tuple[str, Mesh]]:
    """The visible boxes of the links of an SDF model without turned links, by name, metres."""
    found = []
    for link in read_xml(file).iter("link"):
        at = np.array((link.findtext("pose") or "0 0 0 0 0 0").split(), float)[:3]
        for visual in link.findall("visual"):
            size = visual.findtext("geometry/box/size")
            if size is not None:
                half = np.array(size.split(), float) / 2
                middle = at + np.array((visual.findtext("pose") or "0 0 0 0 0 0").split(), float)[:3]
                low, high = middle - half, middle + half
                found.append((visual.get("name", ""), box((low[0], low[1], low[2]), (high[0], high[1], high[2]))))
    return found


def sphere(radius: float, rings: int = 18) -> Mesh:
    """A ball that lies on the origin, metres."""
    a = np.linspace(0, np.pi, rings + 1)
    b = np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False)
    v = np.array([[np.sin(s) * np.cos(t), np.sin(s) * np.sin(t), np.cos(s)] for s in a for t in b]) * radius
    n, faces = 2 * rings, []
    for i in range(rings):
        for j in range(n):
            p, q = i * n + j, i * n + (j + 1) % n
            faces += [(p, p + n, q), (q, p + n, q + n)]
    return Mesh(v + np.array([0, 0, radius]), np.array([f for f in faces if len(set(f)) == 3]))


def _radius(root: Path, model: str) -> float:
    found = read_xml(root / model / "model.sdf").find(".//visual//sphere/radius")
    if found is None or not found.text:
        raise ValueError(f"{root / model}: its model has no sphere. Give the pinned commit.")
    return float(found.text)


def _materials(file: Path) -> set[str]:
    return {line.split()[1] for line in file.read_text(errors="replace").splitlines() if line.startswith("usemtl")}
