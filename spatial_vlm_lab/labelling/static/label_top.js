// SPDX-License-Identifier: Apache-2.0
// Objects seen from above, and the region of a place in base. Turned by quarters of a circle, so that the axes of base
// are those of the drawing and the camera looks up it as nearly as that allows.
import { shape } from "./label_image.js";

const SIDE = 480, EDGE = 30; // units of the drawing
const WIDE = 1.5; // metres: what is longer is a support, and may leave the drawing
const LEAST = 0.3; // metres shown
const CLICK = 5; // units below which a drag is a click
const SPOT = 0.06; // metres: half a side of a new region

export class TopView {
  // changed(place, done): the region was moved or drawn.
  constructor(stage, { changed }) {
    this.stage = stage;
    this.svg = stage.querySelector("svg");
    this.changed = changed;
    this.active = false;
    this.draft = null;
    this.svg.setAttribute("viewBox", `0 0 ${SIDE} ${SIDE}`);
    this.svg.addEventListener("pointerdown", (event) => this.pressed(event));
  }

  show(draft) {
    this.draft = draft;
    const ground = draft.shown.ground;
    if (ground) this.fit(ground, draft.now.place);
    this.draw();
  }

  setActive(is) {
    this.active = is;
    this.stage.classList.toggle("active", is);
    this.draw();
  }

  fit(ground, place) {
    const angle = Math.atan2(ground.ahead[1], ground.ahead[0]), turn = Math.round((angle - Math.PI / 2) / (Math.PI / 2));
    const [c, s] = [Math.round(Math.cos(turn * Math.PI / 2)), Math.round(Math.sin(turn * Math.PI / 2))];
    this.right = [c, s]; // of the drawing, in base
    this.up = [-s, c];
    const span = (list) => [0, 1].map((k) => [Math.min(...list.map((p) => p[k])), Math.max(...list.map((p) => p[k]))]);
    const small = ground.objects.filter((one) => span(one.outline).every(([low, high]) => high - low < WIDE));
    const points = (small.length ? small : ground.objects).flatMap((one) => one.outline);
    if (place) for (const k of [-1, 1]) points.push([0, 1].map((a) => place.region_center[a] + k * place.region_half[a]));
    if (!points.length) points.push([0, 1].map((a) => ground.camera[a] + ground.ahead[a]));
    const turned = span(points.map((p) => this.turned(p)));
    const side = Math.max(LEAST, ...turned.map(([low, high]) => high - low)) * 1.15;
    this.scale = (SIDE - 2 * EDGE) / side; // units a metre
    this.middle = turned.map(([low, high]) => (low + high) / 2);
  }

  turned([x, y]) { return [x * this.right[0] + y * this.right[1], x * this.up[0] + y * this.up[1]]; }

  seen(point) {
    const [right, up] = this.turned(point);
    return [SIDE / 2 + (right - this.middle[0]) * this.scale, SIDE / 2 - (up - this.middle[1]) * this.scale];
  }

  ground([x, y]) {
    const [right, up] = [(x - SIDE / 2) / this.scale + this.middle[0], (SIDE / 2 - y) / this.scale + this.middle[1]];
    return [0, 1].map((a) => right * this.right[a] + up * this.up[a]);
  }

  draw() {
    this.svg.replaceChildren();
    const ground = this.draft && this.draft.shown.ground;
    if (!ground) {
      this.svg.append(shape("text", { x: SIDE / 2, y: SIDE / 2, "text-anchor": "middle", "font-size": 18, class: "top-words plain" }, "Nothing is measured here"));
      return;
    }
    const step = [0.05, 0.1, 0.2, 0.5, 1, 2, 5].find((one) => one * this.scale > 38) || 10;
    this.grid(step);
    const { shown, now } = this.draft, marked = this.draft.marked, words = [];
    const area = (one) => Math.abs(one.outline.reduce((sum, p, k) => {
      const q = one.outline[(k + 1) % one.outline.length];
      return sum + p[0] * q[1] - q[0] * p[1];
    }, 0));
    for (const one of [...ground.objects].sort((a, b) => area(b) - area(a))) {
      const chosen = one.id === now.id, also = marked.includes(one.id), points = one.outline.map((p) => this.seen(p));
      const n = shown.detections.findIndex((d) => d.id === one.id), wide = area(one) / 2 > 0.3 * (SIDE / this.scale) ** 2;
      this.svg.append(shape("polygon", { points: points.map((p) => p.map((v) => v.toFixed(1)).join(",")).join(" "),
        class: `shape${wide ? " wide-shape" : ""}${chosen ? " chosen" : also ? " also" : ""}` }));
      const at = [0, 1].map((k) => points.reduce((sum, p) => sum + p[k], 0) / points.length);
      const inside = at.every((v) => v > 12 && v < SIDE - 12);
      if (n >= 0 && inside) words.unshift([wide ? null : at, points, `${n + 1}${chosen ? " ✓" : also ? " +" : ""}`]);
    }
    if (now.place) this.region(now.place);
    const taken = [];
    for (const [middle, points, text] of words) { // the smallest first: what lies in a bowl keeps the middle
      const free = middle && !taken.some((one) => Math.hypot(one[0] - middle[0], one[1] - middle[1]) < 20);
      const [x, y] = free ? middle : this.beside(points);
      taken.push([x, y]);
      this.svg.append(shape("text", { x, y: y + 6, "text-anchor": "middle", "font-size": 17, class: "top-words" }, text));
    }
    this.axes(ground, step);
  }

  // Where the number of a support is written: by its leftmost corner in sight.
  beside(points) {
    const [x, y] = points.reduce((best, p) => (p[0] < best[0] ? p : best));
    return [Math.min(Math.max(x + 14, 14), SIDE - 14), Math.min(Math.max(y, 20), SIDE - 70)];
  }

  grid(step) {
    const half = SIDE / 2 / this.scale;
    for (const k of [0, 1]) {
      for (let v = Math.ceil((this.middle[k] - half) / step) * step; v < this.middle[k] + half; v += step) {
        const at = k ? SIDE / 2 - (v - this.middle[1]) * this.scale : SIDE / 2 + (v - this.middle[0]) * this.scale;
        this.svg.append(shape("line", k ? { x1: 0, x2: SIDE, y1: at, y2: at, class: "grid" } : { y1: 0, y2: SIDE, x1: at, x2: at, class: "grid" }));
      }
    }
  }

  region(place) {
    const [a, b] = [-1, 1].map((k) => this.seen([0, 1].map((n) => place.region_center[n] + k * place.region_half[n])));
    const [x, y] = this.seen(place.region_center);
    if (![...a, ...b].every(Number.isFinite)) return;
    this.svg.append(shape("rect", { x: Math.min(a[0], b[0]), y: Math.min(a[1], b[1]), width: Math.abs(a[0] - b[0]), height: Math.abs(a[1] - b[1]), class: "region" }),
      shape("path", { d: `M${x - 7} ${y}h14M${x} ${y - 7}v14`, class: "region" }));
  }

  axes(ground, step) {
    const length = step * this.scale, words = step < 1 ? `${Math.round(100 * step)} cm` : `${step} m`;
    this.svg.append(shape("path", { d: `M${SIDE - 12 - length} ${SIDE - 16}v6h${length}v-6`, class: "shape", "fill-opacity": 0 }),
      shape("text", { x: SIDE - 12 - length / 2, y: SIDE - 22, "text-anchor": "middle", "font-size": 15, class: "top-words plain" }, words));
    if (ground.frame_id === null) return;
    const name = (way) => (way[0] ? (way[0] > 0 ? "x" : "−x") : way[1] > 0 ? "y" : "−y");
    this.svg.append(shape("path", { d: `M14 ${SIDE - 14}h34m-8 -5l8 5l-8 5M14 ${SIDE - 14}v-34m-5 8l5 -8l5 8`, class: "shape", "fill-opacity": 0 }),
      shape("text", { x: 54, y: SIDE - 9, "font-size": 15, class: "top-words plain" }, name(this.right)),
      shape("text", { x: 9, y: SIDE - 54, "font-size": 15, class: "top-words plain" }, name(this.up)));
  }

  // ---------------------------------------------------------------------------------------------- the region

  // A place to begin with: at what it is told by, or in the middle of the drawing.
  start() {
    const { shown, now } = this.draft, proposed = shown.proposal && shown.proposal.place;
    if (now.place) return now.place;
    if (proposed) return JSON.parse(JSON.stringify(proposed));
    const heights = shown.ground.objects.map((one) => one.bottom).sort((a, b) => a - b);
    const middle = this.ground([SIDE / 2, SIDE / 2]), z = heights.length ? heights[Math.floor(heights.length / 2)] : 0;
    return { relation: "on", anchor_id: "support", region_center: [...middle, z].map(round), region_half: [SPOT, SPOT, 0] };
  }

  moved(place, right, up) {
    const next = JSON.parse(JSON.stringify(place));
    for (const a of [0, 1]) next.region_center[a] = round(place.region_center[a] + right * this.right[a] + up * this.up[a]);
    return next;
  }

  grown(place, by) {
    const next = JSON.parse(JSON.stringify(place));
    for (const a of [0, 1]) next.region_half[a] = round(Math.max(0, place.region_half[a] + by));
    return next;
  }

  at(event) {
    const area = this.svg.getBoundingClientRect();
    return [((event.clientX - area.left) / area.width) * SIDE, ((event.clientY - area.top) / area.height) * SIDE];
  }

  pressed(event) {
    if (!this.active || !this.draft.now.place || event.button !== 0) return;
    event.preventDefault();
    const begin = this.at(event), before = JSON.parse(JSON.stringify(this.draft.now.place));
    let place = null;
    const set = (one, other) => {
      const next = JSON.parse(JSON.stringify(before)), [p, q] = [this.ground(one), this.ground(other)];
      const drawn = Math.hypot(one[0] - other[0], one[1] - other[1]) > CLICK;
      for (const a of [0, 1]) {
        next.region_center[a] = round((p[a] + q[a]) / 2);
        if (drawn) next.region_half[a] = round(Math.abs(p[a] - q[a]) / 2);
      }
      return next;
    };
    const move = (other) => { place = set(begin, this.at(other)); this.changed(place, false); };
    const end = (other) => {
      this.svg.removeEventListener("pointermove", move);
      this.svg.removeEventListener("pointerup", end);
      this.svg.removeEventListener("pointercancel", end);
      this.changed(place || set(begin, this.at(other)), true);
    };
    this.svg.setPointerCapture(event.pointerId);
    this.svg.addEventListener("pointermove", move);
    this.svg.addEventListener("pointerup", end);
    this.svg.addEventListener("pointercancel", end);
  }
}

const round = (value) => Math.round(value * 1000) / 1000;
