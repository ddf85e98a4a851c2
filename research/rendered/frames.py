# SPDX-License-Identifier: Apache-2.0
"""From a recipe to a frame folder: draws, settles, looks, judges, writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from research.rendered.items import PlacedItem
from research.rendered.judge import Judge
from research.rendered.kits import Kit, Plan, Planner
from research.rendered.meshes import Floats
from research.rendered.noise import stereo
from research.rendered.sentences import Case, SentenceMaker
from research.rendered.stage import TABLE, Looks, RenderedFrame, Stage, View

Recipe = Callable[[Planner], Plan]
ATTEMPTS = 60
"""Draws of a recipe before it is given up."""
LEAST = 4
"""Fewest objects of a scene, the table not counted."""
ASKED, REFUSED = 4, 2
"""Most cases of a frame that have an answer, and that have none."""


@dataclass(frozen=True)
class Flags:
    """What the frame offers the resolver."""

    depth_noise: bool
    has_tf: bool
    has_masks: bool
    has_attributes: bool
    has_parts: bool


@dataclass(frozen=True)
class Frame:
    """A settled scene, what is seen of it, and its cases."""

    recipe: str
    stage: Stage
    view: View
    image: RenderedFrame
    cases: tuple[Case, ...]
    flags: Flags


def draw_frame(
    name: str, recipe: Recipe, kit: Kit, tables: tuple[Path, ...], flags: Flags, rng: np.random.Generator
) -> Frame:
    """A frame of a recipe in which everything stands as it was put, is in sight, and can be asked for.

    Raises:
        LookupError: ATTEMPTS draws gave none.
    """
    for _ in range(ATTEMPTS):
        try:
            plan = recipe(Planner(kit, rng))
        except LookupError:
            continue
        if len(plan.objects) < LEAST:
            continue
        stage = Stage(plan.objects, _looks(tables, rng))
        if stage.settle() > 0.02 or not _as_put(stage, plan):
            continue
        for _ in range(12):
            view = _view(plan, rng)
            if not _in_image(stage, view, plan):
                continue
            image = stage.look(view)
            judge = Judge(stage, view, image)
            if judge.crowded():
                break
            if not _in_sight(judge, plan):
                continue
            sentences = SentenceMaker(judge, rng)
            plan.ask(sentences)
            cases = _chosen(sentences.cases, flags, rng)
            if sum(c.status == "OK" for c in cases) >= 3 and any(c.status != "OK" for c in cases):
                return Frame(name, stage, view, image, cases, flags)
    raise LookupError(f"{name}: no frame in {ATTEMPTS} draws")


def _looks(tables: tuple[Path, ...], rng: np.random.Generator) -> Looks:
    plain = [(0.72, 0.68, 0.60), (0.55, 0.42, 0.30), (0.62, 0.64, 0.66), (0.36, 0.30, 0.26)]
    k = int(rng.integers(len(plain) + len(tables)))
    grey = float(rng.uniform(0.3, 0.6))
    return Looks(
        tables[k - len(plain)] if k >= len(plain) else plain[k],
        (grey, 0.98 * grey, 0.95 * grey),
        float(rng.uniform(0.6, 0.85)),
        float(rng.choice((-0.9, 0.9))),
    )


def _view(plan: Plan, rng: np.random.Generator) -> View:
    pitch = float(rng.uniform(plan.low, plan.high))
    fovy = float(rng.uniform(52, 58) if plan.whole else rng.uniform(42, 56))
    aim = (float(rng.uniform(-0.02, 0.02)), 0.0 if plan.whole else float(rng.uniform(-0.02, 0.05)), plan.aim)
    return View(aim, pitch, float(rng.uniform(plan.near, plan.far)), float(rng.uniform(-plan.swing, plan.swing)), fovy)


def _as_put(stage: Stage, plan: Plan) -> bool:
    """Whether everything stayed where it was put and upright; what lies loose in a vessel may have rolled a little."""
    for t in plan.objects:
        rotation, position = stage.pose(t.name)
        start = stage.start[t.name][1]
        slack = 0.035 if t.name in plan.loose or t.on is not None else 0.012
        upright = t.name in plan.loose or float(rotation[2, 2]) > 0.985
        if np.linalg.norm((position - start)[:2]) > slack or abs(position[2] - start[2]) > 0.03 or not upright:
            return False
    return True


def _in_sight(judge: Judge, plan: Plan) -> bool:
    """Whether every object is well enough in sight to be a detection; what holds others may be covered by them."""
    holders = {t.on[0] for t in plan.objects if t.on is not None}
    for t in plan.objects:
        names = [n for n in judge.stage.bodies if n == t.name or n.startswith(f"{t.name}/")]
        owned = np.isin(judge.image.owner, [judge.stage.bodies.index(n) for n in names])
        rows, _ = np.nonzero(owned)
        if len(rows) < 100 or len(rows) / max(sum(judge.image.alone[n] for n in names), 1) < (
            0.2 if t.name in holders else 0.35
        ):
            return False
    return True


def _in_image(stage: Stage, view: View, plan: Plan) -> bool:
    """Whether the whole of every object is within the image."""
    pose = view.pose
    for t in plan.objects:
        p = (stage.mesh(t.name).vertices - pose[:3, 3]) @ pose[:3, :3]
        u, v, _ = view.k @ (p / p[:, 2:]).T
        if u.min() < 3 or v.min() < 3 or u.max() > 636 or v.max() > 476:
            return False
    return True


def _chosen(cases: list[Case], flags: Flags, rng: np.random.Generator) -> tuple[Case, ...]:
    """Some of the cases; those that ask for a part only where parts are detections."""
    cases = [c for c in cases if flags.has_parts or "/" not in c.target]
    good, refusals = [c for c in cases if c.status == "OK"], [c for c in cases if c.status != "OK"]
    keep = [
        c
        for group, most in ((good, ASKED), (refusals, REFUSED))
        for c in (group[int(i)] for i in sorted(rng.permutation(len(group))[:most]))
    ]
    return tuple(keep)


class FrameWriter:
    """Writes frames in the layout of research/README.md, section "Rendered scenes"."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("cases.jsonl", "truth.jsonl"):
            (folder / name).write_text("")

    def write(self, frame: Frame, rng: np.random.Generator) -> None:
        """One frame and its cases; base is the world, moved and turned by a multiple of 90 degrees at random."""
        name = f"f{self.count:03d}"
        here = self.folder / name
        (here / "masks").mkdir(parents=True, exist_ok=True)
        self.count += 1
        base = np.eye(4)
        base[:3, :3] = np.round(_turn(90.0 * int(rng.integers(4))))
        base[:3, 3] = [*rng.uniform(-0.6, 0.6, 2), float(rng.uniform(0.0, 0.9))]
        detections, ids, objects = self._detections(frame, base, here, rng)
        self._images(frame, here, rng)
        camera = {"parent": "base", "child": "camera_optical", "matrix": _rounded(base @ frame.view.pose, 6)}
        flags = frame.flags
        if flags.has_tf:
            _write(here / "base_T_camera.json", camera)
        _write(
            here / "camera_info.json",
            {
                "width": 640,
                "height": 480,
                "k": [round(float(x), 6) for x in frame.view.k.ravel()],
                "d": [],
                "frame_id": "camera_optical",
                "domain": "simulated",
            },
        )
        _write(here / "detections.json", {"image": {"width": 640, "height": 480}, "detections": detections})
        view = {
            "target": list(frame.view.target),
            "pitch": frame.view.pitch,
            "dist": frame.view.distance,
            "az": frame.view.azimuth,
            "fovy": frame.view.fovy,
        }
        kept = {k: getattr(flags, k) for k in ("depth_noise", "has_tf", "has_masks", "has_attributes")}
        _write(
            here / "truth.json",
            {
                "recipe": frame.recipe,
                "assets": sorted({t.item.label for t in frame.stage.objects.values()}),
                "camera": view,
                **kept,
                "base_T_camera": camera,
                "objects": objects,
            },
        )
        lines = [self._case(name, c, ids, base) for c in frame.cases]
        with (self.folder / "cases.jsonl").open("a") as f:
            f.writelines(json.dumps(line) + "\n" for line in lines)
        with (self.folder / "truth.jsonl").open("a") as f:
            for k, c in enumerate(frame.cases):
                extra = {"objects": objects} if k == 0 else {}
                by = next((x for x in c.kinds if x[0] in "1234"), None)
                to = next((x for x in c.kinds if x[0] == "5"), None) if c.place else None
                f.write(
                    json.dumps(
                        {
                            "frame": name,
                            "instruction": c.instruction,
                            "source": f"{frame.recipe}__{name}",
                            "target": c.target or None,
                            "refers_by": by,
                            "place_by": to,
                            "compound": " and " in c.instruction,
                            **extra,
                        }
                    )
                    + "\n"
                )

    def _detections(
        self, frame: Frame, base: Floats, here: Path, rng: np.random.Generator
    ) -> tuple[list[dict[str, Any]], dict[str, str], dict[str, Any]]:
        stage, image = frame.stage, frame.image
        groups: dict[str, list[str]] = {}
        for body in stage.bodies:
            groups.setdefault(body if frame.flags.has_parts else body.partition("/")[0], []).append(body)
        names = list(groups)
        order = [names[int(i)] for i in rng.permutation(len(names))]
        ids = {n: f"d{k}" for k, n in enumerate(order)}
        detections, objects = [], {}
        for n in order:
            mask = np.isin(image.owner, [stage.bodies.index(b) for b in groups[n]])
            if not mask.any():
                raise LookupError(f"{n} is not in sight")
            rows, columns = np.nonzero(mask)
            bounds = [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]
            object_ = stage.objects.get(n.partition("/")[0])
            label, tone = _label(object_, n)
            d: dict[str, Any] = {
                "id": ids[n],
                "label": label,
                "score": round(float(rng.uniform(0.35, 0.9)), 3),
                "attributes": [tone] if tone and frame.flags.has_attributes else [],
                "box": bounds,
            }
            if frame.flags.has_masks:
                cv2.imwrite(
                    str(here / "masks" / f"{ids[n]}.png"), mask.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1]
                )
                d["mask"] = f"masks/{ids[n]}.png"
            detections.append(d)
            points = np.concatenate([stage.mesh(b).vertices for b in groups[n]]) if n != "table" else _table_corners()
            points = points @ base[:3, :3].T + base[:3, 3]
            low, high = points.min(0), points.max(0)
            alone = sum(image.alone[b] for b in groups[n])
            objects[ids[n]] = {
                "name": n,
                "label": label,
                "center": _rounded((low + high) / 2),
                "size": _rounded(high - low),
                "px": int(mask.sum()),
                "visible": round(min(int(mask.sum()) / max(alone, 1), 1.0), 3),
            }
        return detections, ids, objects

    def _images(self, frame: Frame, here: Path, rng: np.random.Generator) -> None:
        depth = frame.image.depth
        if frame.flags.depth_noise:
            depth = stereo(depth, float(frame.view.k[0, 0]), rng)
        cv2.imwrite(str(here / "rgb.png"), frame.image.rgb[..., ::-1])
        cv2.imwrite(str(here / "depth.png"), np.clip(np.round(depth * 1000), 0, 65535).astype(np.uint16))
        if not frame.flags.has_masks:
            (here / "masks").rmdir()

    def _case(self, name: str, case: Case, ids: dict[str, str], base: Floats) -> dict[str, Any]:
        def known(body: str) -> str:
            return ids.get(body) or ids[body.partition("/")[0]]

        expect: dict[str, Any] = {"status": case.status}
        if case.status == "OK":
            expect["id"] = known(case.target)
            if case.also:
                expect["id_also"] = [known(n) for n in case.also]
        if case.place is not None:
            p = case.place
            also = sorted({known(n) for n in p.also} - {known(p.anchor)})
            half = np.abs(base[:3, :3] @ p.half)
            expect["place"] = {
                "relation": p.relation,
                "anchor_id": known(p.anchor),
                "region_center": _rounded(base[:3, :3] @ p.middle + base[:3, 3]),
                "region_half": _rounded(half),
                **({"anchor_also": also} if also else {}),
            }
        return {"frame": name, "instruction": case.instruction, "expect": expect, "kind": list(case.kinds)}


def _label(object_: PlacedItem | None, name: str) -> tuple[str, str | None]:
    """What the detector calls it, and its colour."""
    if object_ is None:
        return "table", None
    part = name.partition("/")[2]
    if part:
        return object_.item.parts[part].label, object_.tone
    return object_.label or object_.item.label, object_.tone


def _table_corners() -> Floats:
    x, y, z = TABLE
    return np.array([[a, b, c] for a in (-x / 2, x / 2) for b in (-y / 2, y / 2) for c in (-z, 0.0)])


def _turn(degrees: float) -> Floats:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def _rounded(values: Floats, digits: int = 4) -> Any:
    return np.round(np.asarray(values, float), digits).tolist()


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1))
