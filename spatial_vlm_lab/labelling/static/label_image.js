// SPDX-License-Identifier: Apache-2.0
// The colour image with numbered boxes; a box is drawn or corrected in it, by mouse or by keys.

const SVG = "http://www.w3.org/2000/svg";
const GRAB = 9; // CSS pixels around an edge that take hold of it
const CLICK = 4; // CSS pixels below which a drag is a click

export const shape = (name, attributes, words) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (words !== undefined) made.textContent = words;
  return made;
};

export class ImageView {
  // pick(id, marks): an object was clicked; changed(box): a box was drawn, `done` at the end of a drag.
  constructor(stage, { pick, changed }) {
    this.stage = stage;
    this.image = stage.querySelector("img");
    this.svg = stage.querySelector("svg");
    this.pick = pick;
    this.changed = changed;
    this.corner = 0; // 0: top left, 1: bottom right
    this.active = false;
    this.draft = null;
    this.svg.addEventListener("pointerdown", (event) => this.pressed(event));
    new ResizeObserver(() => this.draw()).observe(stage);
  }

  show(draft, url) {
    this.draft = draft;
    if (url && this.image.getAttribute("src") !== url) this.image.src = url;
    this.image.hidden = !url;
    const size = draft.shown.size;
    if (size) { this.image.width = size[0]; this.image.height = size[1]; }
    this.draw();
  }

  get scale() { // image pixels a CSS pixel
    const size = this.draft && this.draft.shown.size;
    return size ? size[0] / Math.max(1, this.stage.clientWidth) : 1;
  }

  draw() {
    if (!this.draft) return;
    this.svg.replaceChildren();
    const { shown, now } = this.draft, size = shown.size;
    if (!size) return;
    this.svg.setAttribute("viewBox", `0 0 ${size[0]} ${size[1]}`);
    const letter = 14 * this.scale, taken = [], badges = []; // over all boxes
    const order = shown.detections.map((one, n) => ({ ...one, n }))
      .sort((a, b) => (b.box[2] - b.box[0]) * (b.box[3] - b.box[1]) - (a.box[2] - a.box[0]) * (a.box[3] - a.box[1]));
    const marked = this.draft.marked;
    for (const one of order) {
      const chosen = one.id === now.id, also = marked.includes(one.id);
      const state = chosen ? "chosen" : also ? "also" : "other";
      const group = shape("g", { class: state }), badge = shape("g", { class: state });
      const [x1, y1, x2, y2] = one.box, frame = { x: x1, y: y1, width: x2 - x1, height: y2 - y1 };
      if (!(chosen && now.drawn)) group.append(shape("rect", { ...frame, class: "halo" }), shape("rect", { ...frame, class: "found" }));
      const words = `${one.n + 1}${chosen ? " ✓" : also ? " +" : ""}`;
      const wide = letter * (0.62 * words.length + 0.6), high = letter * 1.3;
      const spots = [[x1, y1 - high], [x1, y1], [x2 - wide, y1 - high], [x1, y2], [x2 - wide, y2], [x2, y1]]
        .map(([x, y]) => [Math.min(Math.max(x, 0), size[0] - wide), Math.min(Math.max(y, 0), size[1] - high)]);
      const free = ([x, y]) => !taken.some((t) => x < t[2] && x + wide > t[0] && y < t[3] && y + high > t[1]);
      const [x, y] = spots.find(free) || spots[0];
      taken.push([x, y, x + wide, y + high]);
      badge.append(shape("rect", { x, y, width: wide, height: high, rx: letter * 0.2, class: "badge" }),
        shape("text", { x: x + letter * 0.3, y: y + letter * 1.02, "font-size": letter, class: "badge-words" }, words));
      this.svg.append(group);
      badges.push(badge);
    }
    if (now.box && (now.drawn || this.active)) this.drawDraft(now.box);
    this.svg.append(...badges);
  }

  drawDraft([x1, y1, x2, y2]) {
    this.svg.append(shape("rect", { x: x1, y: y1, width: Math.max(0, x2 - x1), height: Math.max(0, y2 - y1), class: "halo" }),
      shape("rect", { x: x1, y: y1, width: Math.max(0, x2 - x1), height: Math.max(0, y2 - y1), class: "draft" }));
    if (!this.active) return;
    const [x, y] = this.corner ? [x2, y2] : [x1, y1], r = 6 * this.scale;
    this.svg.append(shape("rect", { x: x - r, y: y - r, width: 2 * r, height: 2 * r, class: "corner" }));
  }

  setActive(is) {
    this.active = is;
    this.stage.classList.toggle("active", is);
    this.draw();
  }

  // ---------------------------------------------------------------------------------------------- keys

  // A box to begin with: the one that is there, that of the right object, or the middle of the image.
  start() {
    const { shown, now } = this.draft;
    if (now.box || !shown.size) return now.box;
    const found = this.draft.detection(now.id), [w, h] = shown.size;
    return found ? found.box.map((v) => Math.round(v)) : [w * 0.4, h * 0.4, w * 0.6, h * 0.6].map((v) => Math.round(v));
  }

  moved(dx, dy) {
    const box = this.draft.now.box.slice(), k = this.corner ? 2 : 0;
    box[k] += dx;
    box[k + 1] += dy;
    return this.fitted(box);
  }

  fitted(box) {
    const [w, h] = this.draft.shown.size, inside = (v, low, high) => Math.min(Math.max(v, low), high);
    const [x1, y1] = [inside(box[0], 0, w - 1), inside(box[1], 0, h - 1)];
    return [x1, y1, inside(box[2], x1 + 1, w), inside(box[3], y1 + 1, h)].map((v) => Math.round(v * 10) / 10);
  }

  // ---------------------------------------------------------------------------------------------- mouse

  at(event) {
    const area = this.svg.getBoundingClientRect(), [w, h] = this.draft.shown.size;
    return [((event.clientX - area.left) / area.width) * w, ((event.clientY - area.top) / area.height) * h];
  }

  pressed(event) {
    if (!this.draft || !this.draft.shown.size || event.button !== 0) return;
    if (!this.active) return this.clicked(event);
    event.preventDefault();
    const begin = this.at(event), held = this.grip(begin), before = this.draft.now.box ? this.draft.now.box.slice() : null;
    let box = before;
    const move = (other) => {
      const [x, y] = this.at(other), [dx, dy] = [x - begin[0], y - begin[1]];
      if (held === "new") {
        if (Math.hypot(dx, dy) < CLICK * this.scale) return;
        box = this.fitted([Math.min(begin[0], x), Math.min(begin[1], y), Math.max(begin[0], x), Math.max(begin[1], y)].map(Math.round));
      } else if (held === "inside") {
        const [w, h] = this.draft.shown.size;
        const [mx, my] = [Math.min(Math.max(dx, -before[0]), w - before[2]), Math.min(Math.max(dy, -before[1]), h - before[3])];
        box = [before[0] + mx, before[1] + my, before[2] + mx, before[3] + my].map((v) => Math.round(v));
      } else {
        box = before.slice();
        for (const k of held) box[k] = Math.round(before[k] + (k % 2 ? dy : dx));
        box = this.fitted(box);
      }
      this.changed(box, false);
    };
    const end = () => {
      this.svg.removeEventListener("pointermove", move);
      this.svg.removeEventListener("pointerup", end);
      this.svg.removeEventListener("pointercancel", end);
      if (box && box !== before) this.changed(box, true);
    };
    this.svg.setPointerCapture(event.pointerId);
    this.svg.addEventListener("pointermove", move);
    this.svg.addEventListener("pointerup", end);
    this.svg.addEventListener("pointercancel", end);
  }

  // Which edges are held: indices of the box; "inside", or "new".
  grip([x, y]) {
    const box = this.draft.now.box, slack = GRAB * this.scale;
    if (!box || x < box[0] - slack || x > box[2] + slack || y < box[1] - slack || y > box[3] + slack) return "new";
    const edges = [];
    if (Math.abs(x - box[0]) <= slack) edges.push(0); else if (Math.abs(x - box[2]) <= slack) edges.push(2);
    if (Math.abs(y - box[1]) <= slack) edges.push(1); else if (Math.abs(y - box[3]) <= slack) edges.push(3);
    return edges.length ? edges : "inside";
  }

  // The smallest box around a click is meant.
  clicked(event) {
    const [x, y] = this.at(event);
    const hit = this.draft.shown.detections.filter(({ box }) => x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3])
      .sort((a, b) => (a.box[2] - a.box[0]) * (a.box[3] - a.box[1]) - (b.box[2] - b.box[0]) * (b.box[3] - b.box[1]))[0];
    if (hit) this.pick(hit.id, event.shiftKey || event.ctrlKey || event.metaKey);
  }
}
