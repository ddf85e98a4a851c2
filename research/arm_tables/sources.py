# SPDX-License-Identifier: Apache-2.0
"""Public repositories whose objects are put before the arms, each at a pinned commit.

An object keeps its real size. What is not in its file is stated here: the label that a detector gives it, the words for
it, its mass, which way up it lies, and how its surface is cut into convex pieces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np

from research.rendered.items import Item, Source
from research.rendered.meshes import Mesh, read_obj, read_stl
from research.rendered.sources import VIMA_BENCH, lying

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
COLOURS = ("red", "blue", "green", "yellow", "orange", "white")


@dataclass(frozen=True)
class ObjectFile:
    """One object of a source.

    Args:
        file: its mesh, a path in the checkout.
        label: what an open-vocabulary detector says, and people too.
        family: vessel, bottle, can, box, flat or figure.
        mass: kilograms.
        cut: how its surface is cut into convex pieces: see `pieces.convex_pieces`.
        flat: whether it is laid on its largest side.
        rolling: rolling friction, metres, for what is round and lies.
        colours: names of the colours that it is painted in.
    """

    file: str
    label: str
    family: str
    mass: float
    cut: str = "whole"
    flat: bool = False
    rolling: float = 0.0
    colours: tuple[str, ...] = COLOURS


def _ycb(name: str) -> str:
    return f"pybullet_object_models/ycb_objects/Ycb{name}/textured_simple_reoriented.obj"


def _gso(name: str) -> str:
    return f"vima_bench/tasks/assets/google/meshes/{name}.obj"


OBJECT_SIM_FILES: Mapping[str, ObjectFile] = MappingProxyType(
    {
        "mug": ObjectFile("mug/mug.stl", "mug", "vessel", 0.25, "turned"),
        "bowl": ObjectFile("bowl/bowl.stl", "bowl", "vessel", 0.22, "turned"),
        "cup": ObjectFile("cup/cup.stl", "cup", "vessel", 0.15, "turned"),
        "wine glass": ObjectFile("wineglass/wineglass.stl", "goblet", "vessel", 0.15, "turned"),
        "bottle": ObjectFile("waterbottle/waterbottle.stl", "water bottle", "bottle", 0.25, "slices"),
        "flashlight": ObjectFile("flashlight/flashlight.stl", "flashlight", "bottle", 0.12, "slices"),
        "toothpaste": ObjectFile("toothpaste/toothpaste.stl", "toothpaste", "box", 0.15, "whole", flat=True),
        "stapler": ObjectFile("stapler/stapler.stl", "stapler", "box", 0.2, "whole"),
        "phone": ObjectFile("phone/phone.stl", "phone", "flat", 0.12, "whole", flat=True),
        "computer mouse": ObjectFile("mouse/mouse.stl", "computer mouse", "box", 0.1, "whole"),
        "camera": ObjectFile("camera/camera.stl", "camera", "box", 0.25, "whole"),
        "alarm clock": ObjectFile("alarmclock/alarmclock.stl", "alarm clock", "box", 0.25, "slices"),
        "toothbrush": ObjectFile("toothbrush/toothbrush.stl", "toothbrush", "flat", 0.02, "strips", flat=True),
        "knife": ObjectFile("knife/knife.stl", "knife", "flat", 0.08, "strips", flat=True),
        "scissors": ObjectFile("scissors/scissors.stl", "scissors", "flat", 0.05, "strips", flat=True),
        "banana": ObjectFile("banana/banana.stl", "banana", "figure", 0.12, "strips", flat=True, colours=("yellow",)),
        "rubber duck": ObjectFile("rubberduck/rubberduck.stl", "rubber duck", "figure", 0.06, "slices",
                                  colours=("yellow",)),
        "toy elephant": ObjectFile("elephant/elephant.stl", "toy elephant", "figure", 0.12, "slices"),
        "toy train": ObjectFile("train/train.stl", "toy train", "figure", 0.12, "slices"),
        "apple": ObjectFile("apple/apple.stl", "apple", "figure", 0.15, "whole", rolling=0.002),
        "piggy bank": ObjectFile("piggybank/piggybank.stl", "piggy bank", "figure", 0.3, "slices"),
    }
)  # fmt: skip
YCB_FILES: Mapping[str, ObjectFile] = MappingProxyType(
    {
        "soup can": ObjectFile(_ycb("TomatoSoupCan"), "soup can", "can", 0.349, "whole"),
        "meat can": ObjectFile(_ycb("PottedMeatCan"), "meat can", "can", 0.37, "whole"),
        "coffee can": ObjectFile(_ycb("MasterChefCan"), "coffee can", "can", 0.414, "whole"),
        "mustard bottle": ObjectFile(_ycb("MustardBottle"), "mustard bottle", "bottle", 0.603, "slices"),
        "gelatin box": ObjectFile(_ycb("GelatinBox"), "gelatin box", "box", 0.097, "whole", flat=True),
        "cracker box": ObjectFile(_ycb("CrackerBox"), "cracker box", "box", 0.411, "whole"),
        "foam brick": ObjectFile(_ycb("FoamBrick"), "foam brick", "box", 0.028, "whole"),
        "large scissors": ObjectFile(_ycb("Scissors"), "scissors", "flat", 0.082, "strips", flat=True),
        "large banana": ObjectFile(_ycb("Banana"), "banana", "figure", 0.066, "strips", flat=True, colours=("yellow",)),
    }
)
"""Masses: Calli et al., "Benchmarking in Manipulation Research", IEEE RAM 2015, table of the objects."""
VIMA_FILES: Mapping[str, ObjectFile] = MappingProxyType(
    {
        "red cup": ObjectFile(_gso("red_cup"), "tumbler", "vessel", 0.15, "turned"),
        "porcelain cup": ObjectFile(_gso("porcelain_cup"), "dish", "vessel", 0.25, "turned", colours=("white", "blue")),
        "crayon box": ObjectFile(_gso("crayon_box"), "crayon box", "box", 0.12, "whole"),
        "tape": ObjectFile(_gso("purple_tape"), "roll of tape", "vessel", 0.1, "ring", flat=True),
        "toy robot": ObjectFile(_gso("android_toy"), "toy robot", "figure", 0.08, "slices"),
        "toy lion": ObjectFile(_gso("lion_figure"), "toy lion", "figure", 0.06, "slices"),
        "toy horse": ObjectFile(_gso("unicorn_toy"), "toy horse", "figure", 0.08, "slices"),
        "toy rhino": ObjectFile(_gso("rhino_figure"), "toy rhino", "figure", 0.08, "slices"),
        "chocolate bar": ObjectFile(_gso("butterfinger_chocolate"), "chocolate bar", "flat", 0.06, "whole", flat=True),
        "spatula": ObjectFile(_gso("spatula_with_purple_head"), "spatula", "flat", 0.08, "strips", flat=True),
        "screwdriver": ObjectFile(_gso("screwdriver"), "screwdriver", "flat", 0.12, "strips", flat=True, rolling=0.002),
        "magnifying glass": ObjectFile(_gso("magnifying_glass"), "magnifying glass", "flat", 0.08, "strips", flat=True),
        "cartridge": ObjectFile(_gso("nintendo_cartridge"), "game cartridge", "flat", 0.1, "whole", flat=True),
        "hard drive": ObjectFile(_gso("hard_drive"), "hard drive", "flat", 0.3, "whole", flat=True),
    }
)
FILES: Mapping[str, Mapping[str, ObjectFile]] = MappingProxyType(
    {"object_sim": OBJECT_SIM_FILES, "ycb": YCB_FILES, "vima": VIMA_FILES}
)
"""Source → name of the object → its file."""


def squared(mesh: Mesh) -> Mesh:
    """The mesh turned about the vertical so that the rectangle of least area around it lies along the axes."""
    flat = mesh.vertices[:, :2].astype(np.float32)
    angle = np.radians(cv2.minAreaRect(flat)[2])
    c, s = np.cos(angle), np.sin(angle)
    return mesh.moved(np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])).standing()


def read(root: Path, files: Mapping[str, ObjectFile]) -> dict[str, Item]:
    """The objects of a checkout, by name."""
    items = {}
    for name, file in files.items():
        path = root / file.file
        mesh = read_stl(path) if path.suffix == ".stl" else read_obj(path)
        mesh = Mesh(mesh.vertices, mesh.faces)
        mesh = squared(mesh)
        if file.flat:
            mesh = squared(lying(mesh))
        items[name] = Item(file.label, (file.label,), mesh, file.colours)
    return items


OBJECT_SIM = Source(
    "object_sim",
    "https://github.com/vikashplus/object_sim",
    "5257bbdbe7e3af32aae5ad67ffa1d4402ac2e871",
    "Apache-2.0",
    ("LICENSE",),
    lambda root: read(root, OBJECT_SIM_FILES),
    tuple(file.file for file in OBJECT_SIM_FILES.values()),
)
YCB = Source(
    "ycb",
    "https://github.com/eleramp/pybullet-object-models",
    "57cc4007607f6bcbb0a5364ccab7636faf7a91e4",
    "LGPL-2.1 (repository, its code); YCB objects: CC BY 4.0 by their authors",
    ("LICENSE",),
    lambda root: read(root, YCB_FILES),
    tuple(file.file for file in YCB_FILES.values()),
)
VIMA = Source(
    "vima",
    VIMA_BENCH.url,
    VIMA_BENCH.commit,
    VIMA_BENCH.licence,
    VIMA_BENCH.licence_files,
    lambda root: read(root, VIMA_FILES),
    tuple(file.file for file in VIMA_FILES.values()),
)
SOURCES: Mapping[str, Source] = MappingProxyType({source.name: source for source in (OBJECT_SIM, YCB, VIMA)})
