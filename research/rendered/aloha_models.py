# SPDX-License-Identifier: Apache-2.0
"""Household objects of google-deepmind/aloha_sim, crockery turned about an axis, and furniture made of boxes.

Laptop, marker, headset and USB stick have plain colours: their textures show the logos of brands.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from research.rendered.desk_furniture import board, coaster, cubbies, cutlery_tray, dresser, punnet, riser, turned
from research.rendered.items import Item, Room, flat_top, vessel
from research.rendered.meshes import Z_UP, Mesh, box, joined, read_obj

GSO = "aloha_sim/assets/gso"
SCANS = {
    "crock": "BIA_Cordon_Bleu_White_Porcelain_Utensil_Holder_900028",
    "screwdriver": "Craftsman_Grip_Screwdriver_Phillips_Cushion",
    "shears": "Diamond_Visions_Scissors_Red",
    "can opener": "Granimals_20_Wooden_ABC_Blocks_Wagon",
    "USB stick": "Kingston_DT4000MR_G2_Management_Ready_USB_64GB",
    "magnifying glass": "Magnifying_Glassassrt",
    "headset": "Razer_Kraken_Pro_headset_Full_size_Black_with_cable",
    "dish rack": "Rubbermaid_Large_Drainer",
    "caddy": "Sterilite_Caddy_Blue_Sky_17_58_x_12_58_x_9_14",
}
"""Folders of the scans; the one of the can opener has the name of another toy."""
LETTERS = "ABEF"
SHOWN = ("crock", "screwdriver", "shears", "can opener", "magnifying glass", "dish rack", "caddy")
"""Scans that keep their texture."""
HEADSET = 101.3
"""About which the headset is turned to lie on its ear cups and its band, degrees."""
PLAIN = ("red", "blue", "green", "yellow", "white")
POT = ((0, 0), (0.038, 0), (0.055, 0.085), (0.06, 0.085), (0.06, 0.1), (0.052, 0.1), (0.034, 0.012), (0, 0.012))
BOWL = (
    (0, 0), (0.04, 0), (0.075, 0.03), (0.09, 0.065), (0.085, 0.065), (0.07, 0.034), (0.038, 0.007), (0, 0.007)
)  # fmt: skip
PLATE = ((0, 0), (0.07, 0), (0.085, 0.006), (0.12, 0.018), (0.119, 0.022), (0.083, 0.011), (0, 0.008))
BOTTLE = (
    (0, 0), (0.033, 0), (0.034, 0.004), (0.034, 0.13), (0.014, 0.17),
    (0.013, 0.19), (0.015, 0.19), (0.015, 0.205), (0, 0.205)
)  # fmt: skip
"""Profiles (radius, height) of what is turned, metres."""
FILES = (
    *(f"{GSO}/{f}/meshes/model.obj" for f in SCANS.values()),
    *(f"{GSO}/{SCANS[n]}/materials/textures/texture.png" for n in SHOWN),
    *(f"aloha_sim/assets/letters/letter_{x}.png" for x in LETTERS),
    "aloha_sim/assets/edr/pen/meshes/textured.obj",
    "aloha_sim/assets/mujoco/Laptop/meshes/laptop_body.obj",
    "aloha_sim/assets/mujoco/Laptop/meshes/laptop_screen.obj",
    "aloha_sim/assets/mujoco/Marker/meshes/marker.obj",
    "aloha_sim/assets/mujoco/Marker/meshes/cap.obj",
    "aloha_sim/assets/ycb/025_mug/google_64k/meshes/white_mug.obj",
)
"""What of the repository is read."""


def aloha_models(root: Path) -> dict[str, Item]:
    """Every object, by a name of its own."""
    items = _tools(root) | _desk(root) | _kitchen(root)
    items |= {"dresser": dresser("middle"), "cubbies": cubbies(), "cutlery tray": cutlery_tray(), "riser": riser()}
    return items | {"board": board(), "coaster": coaster(), "punnet": punnet()}


def scan(root: Path, name: str) -> Mesh:
    """A scan, standing as its file has it, with its texture where that is shown."""
    folder = root / GSO / SCANS[name]
    mesh = read_obj(folder / "meshes/model.obj")
    assert mesh.uv is not None
    if name not in SHOWN:
        return replace(mesh, uv=None).standing()
    return replace(mesh, uv=mesh.uv * (1, -1) + (0, 1), texture=folder / "materials/textures/texture.png").standing()


def _tools(root: Path) -> dict[str, Item]:
    items = {}
    items["screwdriver"] = Item("screwdriver", ("screwdriver",), scan(root, "screwdriver"))
    items["shears"] = Item("scissors", ("scissors", "shears"), scan(root, "shears"), colour="red")
    items["can opener"] = Item("can opener", ("can opener", "tin opener"), scan(root, "can opener"))
    lens = scan(root, "magnifying glass")
    items["magnifier"] = Item("magnifying glass", ("magnifying glass", "magnifier"), lens)
    return items


def _desk(root: Path) -> dict[str, Item]:
    items = {}
    stick = scan(root, "USB stick")
    items["USB stick"] = Item(
        "USB stick", ("USB stick", "memory stick", "flash drive"), stick, ("black", "blue", "red")
    )
    lying = scan(root, "headset").moved(Rotation.from_euler("x", HEADSET, degrees=True).as_matrix()).standing()
    items["headset"] = Item("headphones", ("headset",), lying, ("black", "white", "blue"))
    pen = replace(read_obj(root / "aloha_sim/assets/edr/pen/meshes/textured.obj"), uv=None)
    items["pen"] = Item("pen", ("pen",), pen.scaled((1.4, 1.0, 1.4)).standing(), ("black", "blue", "red"))
    folder = root / "aloha_sim/assets/mujoco"
    whole = joined([replace(read_obj(folder / f"Marker/meshes/{n}.obj"), uv=None) for n in ("marker", "cap")])
    items["marker"] = Item("marker", ("marker", "felt-tip pen"), whole.standing(), ("red", "blue", "green", "black"))
    base, lid = (replace(read_obj(folder / f"Laptop/meshes/laptop_{n}.obj"), uv=None) for n in ("body", "screen"))
    hinge = np.array([0, 0.006941, -0.107527])
    opened = Rotation.from_euler("x", -105, degrees=True).as_matrix()
    lid = lid.moved(offset=-hinge).moved(opened).moved(offset=hinge)
    laptop = joined([base, lid]).moved(Z_UP).scaled(0.8).standing()
    items["laptop"] = Item("laptop", ("laptop", "computer"), laptop, ("gray", "black", "white"), solid="cells")
    for letter in LETTERS:
        image = root / f"aloha_sim/assets/letters/letter_{letter}.png"
        cube = block(0.048, image)
        said = ("block", "letter block", "toy block")
        items[f"block {letter}"] = Item("letter block", said, cube, colour="blue", rooms={"main": flat_top(cube, 0.5)})
    return items


def _kitchen(root: Path) -> dict[str, Item]:
    items = {}
    mug = replace(read_obj(root / "aloha_sim/assets/ycb/025_mug/google_64k/meshes/white_mug.obj"), uv=None).standing()
    radius = mug.size[1] / 2
    handle = np.sign(np.ptp(mug.vertices[mug.vertices[:, 0] < 0, 1]) - np.ptp(mug.vertices[mug.vertices[:, 0] > 0, 1]))
    mug = mug.moved(offset=np.array([float(handle) * (mug.size[0] / 2 - radius), 0, 0]))
    near = np.hypot(mug.vertices[:, 0], mug.vertices[:, 1]) < radius * 1.02
    room = vessel(Mesh(mug.vertices, mug.faces[near[mug.faces].all(1)]))
    items["mug"] = Item("mug", ("mug",), mug, PLAIN, solid="cells", rooms={"main": room})
    holder = scan(root, "crock").scaled(0.8)
    said = ("utensil holder", "utensil crock")
    items["crock"] = Item("utensil holder", said, holder, colour="white", solid="cells", rooms={"main": vessel(holder)})
    rack = scan(root, "dish rack").scaled((0.85, 0.85, 0.75))
    drain = {"main": Room("inside", 0.08, 0.02, 0.032, 0, 0.142, 0.05, 0.045)}  # the slotted part behind the prongs
    words = ("dish rack", "drying rack", "draining rack")
    items["dish rack"] = Item("dish rack", words, rack, solid="cells", rooms=drain)
    items["caddy"] = caddy(root)
    pot = turned(POT)
    items["flower pot"] = Item(
        "flower pot", ("flower pot", "plant pot"), pot, ("brown", "white", "green", "blue"), solid="cells",
        rooms={"main": vessel(pot)},
    )  # fmt: skip
    bowl = turned(BOWL)
    items["bowl"] = Item("bowl", ("bowl",), bowl, PLAIN, solid="cells", rooms={"main": vessel(bowl, 0.5)})
    plate = turned(PLATE)
    flat = {"main": Room("on", 0.06, 0.06, 0.009, wide=0.11)}
    items["plate"] = Item("plate", ("plate", "dinner plate"), plate, PLAIN, solid="cells", rooms=flat)
    bottle = turned(BOTTLE)
    items["bottle"] = Item("bottle", ("bottle",), bottle, ("green", "blue", "white", "yellow"))
    sponge = box((-0.052, -0.035, 0), (0.052, 0.035, 0.032))
    items["sponge"] = Item("sponge", ("sponge",), sponge, ("yellow", "green", "pink"))
    return items


def caddy(root: Path) -> Item:
    """The caddy at 0.65 of its size; its handle is between a left and a right compartment."""
    mesh = scan(root, "caddy").scaled(0.65)
    x, y, _ = mesh.size
    rooms = {
        n: Room("inside", x / 4 - 0.03, y / 2 - 0.05, 0.012, s * x / 4, 0, 0.07, x / 4 - 0.012)
        for n, s in (("left", -1), ("right", 1))
    }
    said = ("caddy", "tool caddy")
    return Item("caddy", said, mesh, colour="blue", solid="cells", rooms=rooms)


def block(size: float, image: Path) -> Mesh:
    """A cube that shows an image on its four sides and its top, upright to the viewer, metres."""
    h = size / 2
    quad = np.array([[-h, -h, -h], [h, -h, -h], [h, -h, h], [-h, -h, h]])
    turns = [Rotation.from_euler("z", 90 * k, degrees=True).as_matrix() for k in range(4)]
    turns += [Rotation.from_euler("x", s * 90, degrees=True).as_matrix() for s in (-1, 1)]
    uv, faces = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], float), np.array([[0, 1, 2], [0, 2, 3]])
    return joined([Mesh(quad @ r.T, faces, uv, image) for r in turns]).standing()
