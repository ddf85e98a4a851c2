// SPDX-License-Identifier: Apache-2.0
// The truth that a person is writing: what is chosen, drawn and typed, before it is accepted.

export const REFUSES = (status) => status !== "" && status !== "OK" && status !== "ANSWERED";
const AXES = ["x", "y", "z"];
const near = (one, other) => one.every((value, k) => Math.abs(value - other[k]) < 0.06);
const copied = (value) => JSON.parse(JSON.stringify(value));

export class Draft {
  constructor(shown) {
    this.shown = shown; // the case, as the server gives it
    this.begin();
  }

  // From the truth in the file, else from what the answer proposes; of neither it is empty.
  begin() {
    const from = this.shown.truth || this.shown.proposal || {};
    const box = from.box ? from.box.slice() : null;
    const found = box && this.shown.detections.find((one) => near(one.box, box));
    this.now = {
      status: from.status || "", id: from.id || (found ? found.id : null), also: (from.id_also || []).slice(),
      box, drawn: Boolean(box && !found), label: from.label || "", place: from.place ? copied(from.place) : null,
      value: from.answer && from.answer.value !== undefined ? String(from.answer.value) : "",
      tolerance: from.answer && from.answer.tolerance !== undefined ? String(from.answer.tolerance) : "",
      ids: ((from.answer && from.answer.ids) || []).slice(), kind: (this.shown.kind || []).join(", "),
    };
    this.past = [];
    this.first = JSON.stringify(this.now);
  }

  get changed() { return JSON.stringify(this.now) !== this.first; }
  get asksQuestion() { return this.now.status === "ANSWERED"; }
  get marked() { return this.asksQuestion && this.shown.by_id ? this.now.ids : this.now.also; }

  // Change it, to be undone as one step.
  edit(change) {
    const before = JSON.stringify(this.now);
    change(this.now);
    if (JSON.stringify(this.now) !== before) this.past.push(before);
  }

  undo() {
    if (!this.past.length) return false;
    this.now = JSON.parse(this.past.pop());
    return true;
  }

  detection(id) { return this.shown.detections.find((one) => one.id === id) || null; }

  choose(id) {
    this.edit((now) => {
      now.id = id;
      now.also = now.also.filter((one) => one !== id);
      if (REFUSES(now.status) || !now.status) now.status = "OK";
      now.drawn = false;
      const found = this.detection(id);
      now.box = found && !this.shown.by_id ? found.box.slice() : null;
      now.label = found && !this.shown.by_id ? found.label : "";
    });
  }

  clearObject() {
    this.edit((now) => { Object.assign(now, { id: null, also: [], box: null, drawn: false, label: "" }); });
  }

  mark(id) {
    if (!this.shown.by_id) return false;
    if (!this.asksQuestion && !this.now.id) { this.choose(id); return true; }
    this.edit((now) => {
      const list = this.asksQuestion ? now.ids : now.also;
      const at = list.indexOf(id);
      if (at >= 0) list.splice(at, 1);
      else if (this.asksQuestion || id !== now.id) list.push(id);
    });
    return true;
  }

  setStatus(status) {
    this.edit((now) => {
      now.status = status;
      if (REFUSES(status)) Object.assign(now, { id: null, also: [], box: null, drawn: false, label: "", place: null });
      if (status !== "ANSWERED") Object.assign(now, { value: "", tolerance: "", ids: [] });
    });
  }

  setBox(box) {
    this.edit((now) => {
      now.box = box;
      now.drawn = box !== null;
      if (box === null) { now.label = ""; return; }
      if (!now.status || REFUSES(now.status)) now.status = "OK";
      const found = this.detection(now.id);
      if (!now.label && found) now.label = found.label;
    });
  }

  // A box that was begun and left as the object has it is no correction; one that was drawn elsewhere is of another object.
  settleBox() {
    const found = this.detection(this.now.id);
    if (this.now.drawn && found && this.now.box && shared(found.box, this.now.box) < 0.1)
      this.edit((now) => { Object.assign(now, { id: null, also: [], label: now.label === found.label ? "" : now.label }); });
    else if (!this.now.drawn || !found || !this.now.box || !found.box.every((value, k) => Math.abs(value - this.now.box[k]) < 0.6)) return;
    this.edit((now) => {
      now.drawn = false;
      now.box = this.shown.by_id ? null : found.box.slice();
      now.label = this.shown.by_id ? "" : found.label;
    });
  }

  setPlace(place) {
    this.edit((now) => {
      now.place = place;
      if (place !== null && (!now.status || REFUSES(now.status))) now.status = "OK";
    });
  }

  // What is sent: `expect` of a case, without what is empty.
  expect() {
    if (this.shown.truth && !this.changed) return said(this.shown.truth); // to the last digit
    const now = this.now, expect = { status: now.status };
    if (this.shown.by_id) {
      if (now.id) expect.id = now.id;
      if (now.also.length) expect.id_also = now.also;
    }
    if (now.label.trim()) expect.label = now.label.trim();
    if (now.box) expect.box = now.box;
    else if (now.id && !this.shown.by_id && !this.detection(now.id)) expect.id = now.id; // of a truth in the file
    if (now.place) expect.place = parts(now.place, PLACE);
    const answer = {};
    if (now.value.trim()) answer.value = asNumber(now.value);
    if (now.tolerance.trim()) answer.tolerance = Number(now.tolerance);
    if (now.ids.length) answer.ids = now.ids;
    if (Object.keys(answer).length) expect.answer = answer;
    return expect;
  }

  kinds() { return this.now.kind.split(",").map((one) => one.trim()).filter(Boolean); }

  // In words, for the line beside the button.
  words() {
    const now = this.now;
    if (!now.status) return "Choose the right object, or a status.";
    const number = (id) => `${this.shown.detections.findIndex((one) => one.id === id) + 1} ${(this.detection(id) || { label: id }).label}`;
    const told = [now.status];
    if (now.id) told.push(number(now.id));
    else if (now.box) told.push(now.label || "the box without a name");
    else if (this.shown.truth && (this.shown.truth.mask || this.shown.truth.box_3d)) told.push("the object of its mask or box in space");
    else if (now.status === "OK") told.push("any object");
    if (now.also.length) told.push(`or ${now.also.map(number).join(", ")}`);
    if (now.drawn) told.push("box drawn");
    if (now.value) told.push(now.value);
    if (now.ids.length) told.push(now.ids.map(number).join(", "));
    if (now.place) told.push(`place ${now.place.relation || "without a relation"}`);
    return told.join(" · ");
  }

  // What is missing before it can be accepted; "" where nothing is.
  missing() {
    const now = this.now;
    if (!now.status) return "Choose the right object, or a status.";
    if (now.place && !now.place.relation.trim()) return "The place has no relation.";
    if (now.place && !now.place.anchor_id) return "The place has no anchor.";
    if (now.place && AXES.some((_, k) => !Number.isFinite(now.place.region_center[k]) || !(now.place.region_half[k] >= 0)))
      return "The region of the place is not complete.";
    if (now.box && !(now.box.every(Number.isFinite) && now.box[0] < now.box[2] && now.box[1] < now.box[3]))
      return "The box is not complete: left before right, top above bottom.";
    return "";
  }
}

const area = (box) => Math.max(0, box[2] - box[0]) * Math.max(0, box[3] - box[1]);
const shared = (one, other) => { // of their union
  const both = area([0, 1, 2, 3].map((k) => (k < 2 ? Math.max(one[k], other[k]) : Math.min(one[k], other[k]))));
  return both / (area(one) + area(other) - both);
};
const PLACE = ["relation", "anchor_id", "region_center", "region_half"], ANSWER = ["value", "tolerance", "ids"];
const parts = (value, names) => Object.fromEntries(names.filter((name) => name in value).map((name) => [name, value[name]]));
const said = (truth) => {
  const own = parts(truth, ["status", "id", "id_also", "label", "box", "place", "answer"]);
  if (own.place) own.place = parts(own.place, PLACE);
  if (own.answer) own.answer = parts(own.answer, ANSWER);
  return own;
};
const asNumber = (text) => (text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text.trim());
