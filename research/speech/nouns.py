# SPDX-License-Identifier: Apache-2.0
"""Things of households and workshops, by what can be said of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SMALL: tuple[str, ...] = (
    "mug", "cup", "glass", "teacup", "coffee mug", "bottle", "water bottle", "can", "tin", "jar", "bowl", "plate",
    "saucer", "spoon", "fork", "knife", "spatula", "ladle", "whisk", "apple", "banana", "orange", "lemon", "pear",
    "tomato", "potato", "onion", "egg", "carrot", "sponge", "cloth", "towel", "candle", "vase", "clock",
    "remote control", "phone", "book", "notebook", "pen", "pencil", "marker", "stapler", "key", "wallet", "cube",
    "block", "ball", "toy", "screwdriver", "hammer", "wrench", "spanner", "drill", "saw", "file", "chisel",
    "tape measure", "clamp", "screw", "bolt", "nut", "nail", "battery", "torch", "brush", "paint tin", "soap dispenser",
    "salt shaker", "coffee grinder", "teapot", "kettle", "jug", "thermos", "milk carton", "cereal box", "rice bag",
    "lunch box", "tennis ball", "tape", "glue stick", "gear", "cable", "charger", "multimeter", "soldering iron",
    "safety helmet",
)  # fmt: skip
"""What a hand can take."""

CONTAINERS: tuple[str, ...] = (
    "box", "bowl", "basket", "bin", "crate", "bucket", "pot", "pan", "toolbox", "carton", "hamper", "tray", "jar",
    "bag", "container", "tub", "saucepan", "casserole", "suitcase",
)  # fmt: skip
"""What holds objects, and can be carried."""

HOLDERS: tuple[str, ...] = (*CONTAINERS, *CONTAINERS, "drawer", "sink", "cupboard", "fridge", "microwave", "dishwasher")
"""What holds objects."""

GROWN: tuple[str, ...] = (
    "apple", "banana", "orange", "lemon", "pear", "tomato", "potato", "onion", "egg", "carrot", "rice bag", "towel",
    "cloth", "sponge", "candle",
)  # fmt: skip
"""What no one makes of wood or metal."""

SURFACES: tuple[str, ...] = (
    "table", "tray", "shelf", "desk", "counter", "workbench", "chopping board", "stool", "plate", "mat", "bench",
    "coffee table", "sideboard", "windowsill", "cutting board", "pallet", "trolley", "cart",
)  # fmt: skip
"""What carries objects."""

BORNE: tuple[str, ...] = (
    "tray",
    "plate",
    "stool",
    "chopping board",
    "mat",
    "pallet",
    "saucer",
    "book",
    "cake stand",
    "lid",
)
"""Surfaces that can be carried themselves."""

LONG: tuple[str, ...] = (
    "table",
    "tray",
    "shelf",
    "desk",
    "counter",
    "workbench",
    "chopping board",
    "bench",
    "sideboard",
)
"""Surfaces with edges, corners, ends and sides."""

TALL: tuple[str, ...] = (
    "cabinet", "bookcase", "rack", "wardrobe", "fridge", "cupboard", "ladder", "tool rack", "shelving unit", "locker",
)  # fmt: skip
"""What has a top, a bottom and a height between."""

FRONTED: tuple[str, ...] = (
    "chair", "armchair", "toy car", "teddy bear", "doll", "toy robot", "monitor", "camera", "duck", "toy horse",
    "office chair", "laptop",
)  # fmt: skip
"""What has a front and can be turned."""

SEATS: tuple[str, ...] = (
    "chair",
    "armchair",
    "sofa",
    "toy car",
    "teddy bear",
    "stove",
    "television",
    "oven",
    "cabinet",
    "fridge",
)
"""Anchors with a front of their own."""

LEANED_ON: tuple[str, ...] = ("wall", "cupboard", "box", "cabinet", "crate", "bookcase", "fence", "door", "toolbox")
"""What objects lean against."""

OVERHEAD: tuple[str, ...] = ("table", "shelf", "desk", "workbench", "lamp", "counter", "hook", "stool", "bench", "sink")
"""What objects are below or under."""

PARTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "lid": ("jar", "pot", "box", "kettle", "bin"),
        "handle": ("mug", "drawer", "pan", "kettle", "door"),
        "door": ("cabinet", "fridge", "oven", "microwave"),
        "leg": ("table", "chair", "stool"),
        "spout": ("kettle", "teapot"),
        "button": ("microwave", "coffee machine", "radio"),
        "knob": ("stove", "drawer", "radio"),
        "cap": ("bottle", "marker"),
        "blade": ("knife", "saw"),
        "plug": ("lamp", "charger"),
    }
)
"""Parts and what has them."""

LOOSE: tuple[str, ...] = ("lid", "cap", "plug", "blade")
"""Parts that come off."""

REGIONS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = MappingProxyType(
    {
        "drawer": (("top", "bottom", "upper", "lower"), ("cabinet", "desk", "dresser", "workbench")),
        "shelf": (("top", "bottom", "upper", "lower"), ("bookcase", "cupboard", "fridge", "rack")),
        "compartment": (("left", "right", "top", "bottom"), ("toolbox", "tray", "fridge")),
    }
)
"""Parts of furniture: their words, and what has them."""

OPENED: tuple[str, ...] = (
    "box",
    "drawer",
    "jar",
    "cupboard",
    "cabinet",
    "door",
    "toolbox",
    "lunch box",
    "fridge",
    "oven",
)
SHOVED: tuple[str, ...] = ("box", "chair", "drawer", "trolley", "crate", "stool", "cart", "lever", "toolbox", "door")
PRESSED: tuple[str, ...] = ("button", "switch", "doorbell", "light switch", "key", "lever", "pedal")
VISITED: tuple[str, ...] = (
    "table",
    "shelf",
    "workbench",
    "door",
    "chair",
    "fridge",
    "cupboard",
    "desk",
    "sofa",
    "window",
)

COLOURS: tuple[str, ...] = (
    "red", "blue", "green", "yellow", "white", "black", "orange", "purple", "pink", "brown", "grey", "silver", "beige",
    "turquoise",
)  # fmt: skip
SIZES: tuple[str, ...] = ("big", "small", "large", "little", "tiny")
KINDS: tuple[str, ...] = ("old", "new", "clean", "dirty", "shiny", "heavy")
FILLINGS: tuple[str, ...] = ("empty", "full", "round", "square")
MATERIALS: tuple[str, ...] = ("wooden", "metal", "plastic")
