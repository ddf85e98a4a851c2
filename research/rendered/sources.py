# SPDX-License-Identifier: Apache-2.0
"""Public repositories with objects that tables can be set with, each at a pinned commit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from research.rendered.aloha_models import FILES as ALOHA_FILES
from research.rendered.aloha_models import aloha_models
from research.rendered.drake_models import drake_models
from research.rendered.gazebo_models import FOLDERS as GAZEBO_FOLDERS
from research.rendered.gazebo_models import gazebo_models
from research.rendered.items import Item, Room, Source, flat_top, vessel
from research.rendered.meshes import Floats, Mesh, box, cylinder, joined, read_obj

PLAIN = ("red", "blue", "green", "yellow", "orange", "purple")
SHAPES = {
    "01": ("letter A", ("letter A", "A")),
    "02": ("triangle", ("triangle",)),
    "04": ("cross", ("cross", "plus sign")),
    "09": ("flower", ("flower",)),
    "10": ("star", ("star",)),
    "11": ("disc", ("disc", "round piece")),
    "16": ("ring", ("ring",)),
    "17": ("hexagon", ("hexagon",)),
    "18": ("heart", ("heart",)),
}
"""Kitting pieces of ravens (ravens/tasks/kitting… names its files by number): label, words."""


def lying(mesh: Mesh) -> Mesh:
    """The mesh turned so that its thinnest extent is upright."""
    axis = int(np.argmin(mesh.size))
    turns: dict[int, Floats] = {
        0: Rotation.from_euler("y", 90, degrees=True).as_matrix(),
        1: Rotation.from_euler("x", 90, degrees=True).as_matrix(),
        2: np.eye(3),
    }
    return mesh.moved(turns[axis]).standing()


def tray(x: float, y: float, z: float, wall: float, floor: float = 0.006) -> Mesh:
    """An open box of outer extents x, y, z."""
    sides = [
        box((-x / 2, -y / 2, 0), (x / 2, y / 2, floor)),
        box((-x / 2, -y / 2, 0), (-x / 2 + wall, y / 2, z)),
        box((x / 2 - wall, -y / 2, 0), (x / 2, y / 2, z)),
        box((-x / 2, -y / 2, 0), (x / 2, -y / 2 + wall, z)),
        box((-x / 2, y / 2 - wall, 0), (x / 2, y / 2, z)),
    ]
    return joined(sides)


def open_box(
    label: str, said: tuple[str, ...], size: tuple[float, float, float], wall: float = 0.006, **more: object
) -> Item:
    """An open box with its room; a low one (under 5 cm) is a tray, whose objects are on it and in it."""
    x, y, z = size
    room = Room(
        "inside" if z >= 0.05 else "on",
        x / 2 - wall - 0.02,
        y / 2 - wall - 0.02,
        0.006,
        height=z,
        wide=min(x, y) / 2 - wall,
    )
    return Item(label, said, tray(*size, wall), solid="cells", rooms={"main": room}, **more)  # type: ignore[arg-type]


def ravens(root: Path) -> dict[str, Item]:
    """The blocks, bowls, boxes, kits, rings and pallets of Ravens, as its tasks scale them or near it."""
    assets = root / "ravens/environments/assets"
    items = {}
    for size, name in ((0.05, "block"), (0.035, "small block"), (0.075, "large block")):
        cube = box((-size / 2, -size / 2, 0), (size / 2, size / 2, size))
        items[name] = Item("block", ("block", "cube"), cube, PLAIN, rooms={"main": flat_top(cube, 0.5)})
    bowl = read_obj(assets / "bowl/textured-0008192.obj").scaled((2.0, 2.0, 0.5)).standing()
    items["bowl"] = Item(
        "bowl",
        ("bowl",),
        bowl,
        ("green", "blue", "white", "red", "yellow"),
        solid="cells",
        rooms={"main": vessel(bowl)},
    )
    cup = read_obj(assets / "bowl/textured-0008192.obj").scaled((0.95, 0.95, 0.75)).standing()
    items["cup"] = Item(
        "cup", ("cup",), cup, ("white", "red", "blue", "orange"), solid="cells", rooms={"main": vessel(cup)}
    )
    for number, (label, said) in SHAPES.items():
        mesh = read_obj(assets / f"kitting/{number}.obj").scaled((0.0032, 0.0032, 0.0014)).standing()
        items[label] = Item(label, said, mesh, PLAIN)
    for k, diameter in ((0, 0.075), (3, 0.12)):
        mesh = read_obj(assets / f"hanoi/disk{min(k, 3)}.obj")
        mesh = mesh.scaled((diameter / mesh.size[0], diameter / mesh.size[1], 0.02 / mesh.size[2])).standing()
        items["ring" if not k else "large ring"] = Item("ring", ("ring",), mesh, PLAIN, solid="cells")
    pallet = read_obj(assets / "pallet/pallet.obj").scaled((0.23, 0.23, 0.24)).standing()
    items["pallet"] = Item(
        "wooden pallet",
        ("pallet", "wooden pallet"),
        pallet,
        colour="brown",
        solid="cells",
        rooms={"main": flat_top(pallet)},
    )
    kit = joined([box((-0.14, -0.1, 0), (0.14, 0.1, 0.008))])
    items["board"] = Item(
        "wooden board", ("board", "wooden board"), kit, colour="brown", rooms={"main": flat_top(kit, 0.78)}
    )
    items["box"] = open_box("box", ("box", "open box"), (0.2, 0.16, 0.085), colour="brown")
    items["tray"] = open_box("tray", ("tray",), (0.34, 0.22, 0.03), colours=("gray", "white"))
    carton = box((-0.075, -0.055, 0), (0.075, 0.055, 0.09))
    items["carton"] = Item(
        "cardboard box", ("cardboard box", "carton"), carton, colour="brown", rooms={"main": flat_top(carton, 0.6)}
    )
    stand = joined(
        [
            box((-0.06, -0.18, 0), (0.06, 0.18, 0.01)),
            *(cylinder(0.008, 0.07).moved(offset=np.array([0, y, 0.01])) for y in (-0.12, 0, 0.12)),
        ]
    )
    items["stand"] = Item(
        "peg stand",
        ("stand", "peg stand"),
        stand.moved(np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])),
        colour="brown",
        solid="cells",
    )
    return items


VIMA = {
    # file: label, words, longest extent (m), colours, lies flat
    "google/meshes/alarm_clock": ("alarm clock", ("alarm clock", "clock"), 0.13, ("red", "blue", "green"), False),
    "google/meshes/android_toy": ("toy robot", ("toy robot", "robot"), 0.10, ("green",), False),
    "google/meshes/ball_puzzle": ("ball", ("ball",), 0.075, ("red", "blue", "yellow", "green"), False),
    "google/meshes/black_shoe_with_green_stripes": (
        "sneaker",
        ("sneaker", "shoe"),
        0.24,
        ("black", "blue", "white"),
        False,
    ),
    "google/meshes/brown_fedora": ("hat", ("hat", "fedora"), 0.25, ("brown", "black"), False),
    "google/meshes/bull_figure": ("toy cow", ("toy cow", "cow"), 0.13, ("brown", "white"), False),
    "google/meshes/crayon_box": ("crayon box", ("crayon box", "box of crayons"), 0.115, ("yellow", "green"), True),
    "google/meshes/dog_statue": ("dog figurine", ("dog figurine", "figurine"), 0.10, ("white", "brown"), False),
    "google/meshes/hammer": ("mallet", ("mallet", "hammer"), 0.25, ("brown", "yellow"), True),
    "google/meshes/hard_drive": ("hard drive", ("hard drive", "disk drive"), 0.145, ("gray",), True),
    "google/meshes/lion_figure": ("toy lion", ("toy lion", "lion"), 0.14, ("yellow", "brown"), False),
    "google/meshes/purple_tape": (
        "roll of tape",
        ("roll of tape", "tape"),
        0.095,
        ("purple", "gray", "yellow", "blue"),
        True,
    ),
    "google/meshes/rhino_figure": ("toy rhino", ("toy rhino", "rhino"), 0.14, ("gray",), False),
    "google/meshes/green_and_white_striped_towel": (
        "towel",
        ("towel", "dish towel"),
        0.21,
        ("green", "red", "white"),
        True,
    ),
    "google/meshes/white_razer_mouse": ("computer mouse", ("computer mouse", "mouse"), 0.16, ("white", "black"), True),
    "google/meshes/toy_school_bus": ("toy bus", ("toy bus", "bus"), 0.16, ("yellow", "red"), False),
    "google/meshes/toy_train": ("toy train", ("toy train", "train"), 0.17, ("blue", "red"), False),
    "google/meshes/nintendo_cartridge": (
        "game cartridge",
        ("game cartridge", "cartridge"),
        0.115,
        ("gray", "yellow"),
        True,
    ),
    "google/meshes/unicorn_toy": ("toy horse", ("toy horse", "horse"), 0.14, ("white", "brown"), False),
}


def vima(root: Path) -> dict[str, Item]:
    """The scanned household objects and toys, the crockery, the pan, the blocks and containers of VIMA-Bench."""
    assets = root / "vima_bench/tasks/assets"
    items = {}
    for file, (label, said, longest, colours, flat) in VIMA.items():
        mesh = read_obj(assets / f"{file}.obj")
        mesh = mesh.scaled(longest / float(mesh.size.max()))
        items[label] = Item(label, said, lying(mesh) if flat else mesh.standing(), colours)
    cup = read_obj(assets / "google/meshes/red_cup.obj").standing()
    items["cup"] = Item(
        "cup", ("cup", "tumbler"), cup, ("red", "blue", "white", "green"), solid="cells", rooms={"main": vessel(cup)}
    )
    dish = read_obj(assets / "google/meshes/porcelain_cup.obj").standing()
    items["bowl"] = Item(
        "bowl", ("bowl",), dish, ("white", "red", "blue", "yellow"), solid="cells", rooms={"main": vessel(dish, 0.5)}
    )
    plate = read_obj(assets / "google/meshes/porcelain_salad_plate.obj").standing()
    bottom = Room("on", 0.062, 0.062, 0.012, wide=0.1)
    items["plate"] = Item("plate", ("plate",), plate, ("white", "blue", "gray"), solid="cells", rooms={"main": bottom})
    pan = read_obj(assets / "google/meshes_fixed/frypan.obj").standing()
    low = pan.bounds[0]
    middle = np.array([-(low[0] + pan.size[1] / 2), 0, 0])  # the round part is as wide as the pan and begins at one end
    pan = pan.moved(offset=middle if _round_end(pan) < 0 else np.array([-(pan.bounds[1][0] - pan.size[1] / 2), 0, 0]))
    items["pan"] = Item(
        "frying pan",
        ("frying pan", "pan", "skillet"),
        pan,
        ("black", "gray"),
        solid="cells",
        rooms={"main": vessel(_within(pan, 0.1), 0.5)},
    )
    for file, label, size in (("pepsi_max_box", "soda carton", 0.3), ("office_depot_box", "cardboard box", 0.13)):
        mesh = read_obj(assets / f"google/meshes/{file}.obj")
        mesh = mesh.scaled(size / float(mesh.size.max())).standing()
        colours = ("black", "blue", "red") if "soda" in label else ()
        said = ("soda carton", "carton") if "soda" in label else ("cardboard box", "small box")
        colour = None if colours else "brown"
        items[label] = Item(label, said, mesh, colours, colour, rooms={"main": flat_top(mesh, 0.55)})
    cube = box((-0.03, -0.03, 0), (0.03, 0.03, 0.06))
    items["block"] = Item("block", ("block", "cube"), cube, PLAIN, rooms={"main": flat_top(cube, 0.5)})
    tablet = read_obj(assets / "google/meshes/tablet.obj")
    items["tablet"] = Item(
        "tablet", ("tablet",), lying(tablet), ("black", "gray"), rooms={"main": flat_top(lying(tablet), 0.6)}
    )
    pallet = read_obj(assets / "pallet/pallet.obj").scaled((0.22, 0.22, 0.24)).standing()
    items["pallet"] = Item(
        "wooden pallet",
        ("pallet", "wooden pallet"),
        pallet,
        colour="brown",
        solid="cells",
        rooms={"main": flat_top(pallet)},
    )
    items["box"] = open_box("bin", ("bin", "open box"), (0.24, 0.2, 0.1), colours=("gray", "white", "blue"))
    items["tray"] = open_box("tray", ("tray",), (0.4, 0.26, 0.03), colours=("gray", "white", "brown"))
    return items


def _round_end(pan: Mesh) -> float:
    """The sign of the end along x at which a pan is round: there it is wide."""
    low, high = pan.vertices[:, 0] < 0, pan.vertices[:, 0] > 0
    return -1.0 if np.ptp(pan.vertices[low, 1]) > np.ptp(pan.vertices[high, 1]) else 1.0


def _within(mesh: Mesh, radius: float) -> Mesh:
    """The triangles whose corners are all within `radius` of the axis."""
    near = np.hypot(mesh.vertices[:, 0], mesh.vertices[:, 1]) < radius
    return Mesh(mesh.vertices, mesh.faces[near[mesh.faces].all(1)])


RAVENS = Source(
    "ravens",
    "https://github.com/google-research/ravens",
    "4752ffab487ebd387781ad7890aa540ae2780970",
    "Apache-2.0 (repository)",
    ("LICENSE",),
    ravens,
    ("ravens/environments/assets",),
)
VIMA_BENCH = Source(
    "vima",
    "https://github.com/vimalabs/VIMABench",
    "97e0af11e126fd477c9d81eeabfb6c739021c680",
    "MIT (repository); scanned objects CC BY 4.0 (headers of the files)",
    ("LICENSE",),
    vima,
    ("vima_bench/tasks/assets/google", "vima_bench/tasks/assets/pallet", "vima_bench/tasks/assets/textures"),
    ("vima_bench/tasks/assets/textures/wood_light.png", "vima_bench/tasks/assets/textures/granite.png"),
    frozenset({"vima_bench/tasks/assets/google/meshes/black_fedora.obj"}),
)
DRAKE = Source(
    "drake_models",
    "https://github.com/RobotLocomotion/models",
    "4723170e1c8ee8bc59c342bb5c491ab8f263f1fb",
    "BSD-3-Clause (dishes, manipulation_station, veggies, tri_homecart); CC0-1.0 (tutorials, of Poly Haven)",
    (
        "dishes/LICENSE",
        "manipulation_station/LICENSE.txt",
        "tri_homecart/LICENSE",
        "veggies/LICENSE",
        "tutorials/LICENSE",
    ),
    drake_models,
    ("dishes", "manipulation_station", "veggies", "tri_homecart", "tutorials/models"),
    (
        "tutorials/models/assets/textures/wood_table_worn_diff_1k.jpg",
        "tutorials/models/assets/textures/rosewood_veneer1_diff_1k.jpg",
    ),
    frozenset({"tutorials/models/assets/textures/wood_table_worn_nor_gl_1k.png"}),
)
GAZEBO = Source(
    "gazebo",
    "https://github.com/osrf/gazebo_models",
    "8163eb4b5e7e21985c6591d1c0bfb56468c0093f",
    "CC BY 3.0 (repository; authors in the model.config of each model)",
    ("LICENSE", *(f"{m}/model.config" for m in GAZEBO_FOLDERS)),
    gazebo_models,
    GAZEBO_FOLDERS,
    ("table_marble/materials/textures/marble.png",),
)
ALOHA = Source(
    "aloha",
    "https://github.com/google-deepmind/aloha_sim",
    "3cb9adff51a0962ec8b0c8eab79c5894363ec6f5",
    "CC BY 4.0 (assets/gso, scans of Google; assets/ycb); Apache-2.0 (assets/edr, letters, mujoco)",
    ("LICENSE", "aloha_sim/assets/gso/LICENSE", "aloha_sim/assets/ycb/LICENSE"),
    aloha_models,
    ALOHA_FILES,
)
SOURCES = {s.name: s for s in (RAVENS, VIMA_BENCH, DRAKE, GAZEBO, ALOHA)}
