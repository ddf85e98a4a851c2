// SPDX-License-Identifier: Apache-2.0
// The table of objects and the fields: the same truth as in the drawings, for whoever reads or types it.

const $ = (id) => document.getElementById(id);
const AXES = ["x", "y", "z"], CORNERS = ["box-x1", "box-y1", "box-x2", "box-y2"];
const set = (field, value) => { if (document.activeElement !== field || field.type !== "number") field.value = value; };

export class Fields {
  // edit(change) changes the draft as one step; status(name) sets its status; the others act on objects.
  constructor(edit, status, { choose, mark, box }) {
    Object.assign(this, { choose, mark });
    $("status").addEventListener("change", (event) => status(event.target.value));
    for (const [n, id] of CORNERS.entries())
      $(id).addEventListener("change", (event) => {
        if (event.target.value === "") return;
        const next = CORNERS.map((one) => Number($(one).value || 0));
        next[n] = Number(event.target.value);
        box(next);
      });
    const on = (id, change) => $(id).addEventListener("change", (event) => edit((now) => change(now, event.target.value)));
    on("box-label", (now, value) => { now.label = value; });
    on("kind", (now, value) => { now.kind = value; });
    on("answer-value", (now, value) => { now.value = value; });
    on("answer-tolerance", (now, value) => { now.tolerance = value; });
    on("place-relation", (now, value) => { if (now.place) now.place.relation = value.trim(); });
    on("place-anchor", (now, value) => { if (now.place) now.place.anchor_id = value; });
    for (const [k, axis] of AXES.entries())
      for (const [part, name] of [["center", "region_center"], ["half", "region_half"]])
        on(`place-${part}-${axis}`, (now, value) => { if (now.place && value !== "") now.place[name][k] = Number(value); });
  }

  canPlace(draft) { const { ground } = draft.shown; return Boolean(ground && ground.frame_id !== null) || Boolean(draft.now.place); }

  // A new case: the rows of its objects, and what a place can be told by.
  begin(draft) {
    const { detections, ground, by_id: byId, size } = draft.shown;
    $("objects").tBodies[0].replaceChildren(...detections.map((one, n) => this.row(one, n, byId)));
    $("objects").hidden = !detections.length;
    $("no-objects").hidden = detections.length > 0 || !size;
    $("place-anchor").replaceChildren(new Option("choose", ""), ...detections.map((one, n) => new Option(`${n + 1} ${one.label}`, one.id)), new Option("the surface", "support"));
    $("place-frame").textContent = (ground && ground.frame_id) || "base";
    $("no-place").hidden = this.canPlace(draft);
    $("no-place").textContent = ground ? "A place needs the camera's pose in base: base_T_camera.json or truth.json of the frame, or transforms of the bag."
      : "Nothing is measured in this frame, so no place can be set.";
  }

  row(one, n, byId) {
    const row = document.createElement("tr"), name = `${n + 1} ${one.label}`;
    row.dataset.id = one.id;
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = n + 1;
    const label = document.createElement("td");
    const id = document.createElement("span");
    id.className = "id";
    id.textContent = ` ${one.id}${one.score < 1 ? `, ${Math.round(100 * one.score)} %` : ""}`;
    label.append(one.label, id);
    row.append(head, label, this.cell("radio", `Right: ${name}`, () => this.choose(one.id)));
    const also = this.cell("checkbox", `Also right: ${name}`, () => this.mark(one.id));
    if (!byId) also.firstChild.disabled = true;
    row.append(also);
    return row;
  }

  cell(type, words, work) {
    const cell = document.createElement("td"), input = document.createElement("input");
    Object.assign(input, { type, name: type === "radio" ? "right" : "also" });
    input.setAttribute("aria-label", words);
    input.addEventListener("change", work);
    cell.append(input);
    return cell;
  }

  show(draft) {
    const { now } = draft, marked = draft.marked;
    for (const row of $("objects").tBodies[0].rows) {
      const [right, also] = row.querySelectorAll("input");
      right.checked = row.dataset.id === now.id;
      also.checked = marked.includes(row.dataset.id);
      also.disabled = !draft.shown.by_id || (!draft.asksQuestion && row.dataset.id === now.id);
      row.classList.toggle("chosen", right.checked);
    }
    $("also-head").textContent = draft.asksQuestion ? "In the answer" : "Also right";
    $("status").value = now.status;
    $("answer-fields").hidden = !draft.asksQuestion;
    set($("answer-value"), now.value);
    set($("answer-tolerance"), now.tolerance);
    $("box-fields").hidden = !now.box;
    for (const [n, id] of CORNERS.entries()) set($(id), now.box ? now.box[n] : "");
    set($("box-label"), now.label);
    set($("kind"), now.kind);
    $("place-fields").hidden = !now.place;
    if (now.place) {
      set($("place-relation"), now.place.relation);
      if (now.place.anchor_id && ![...$("place-anchor").options].some((one) => one.value === now.place.anchor_id))
        $("place-anchor").append(new Option(now.place.anchor_id, now.place.anchor_id));
      $("place-anchor").value = now.place.anchor_id || "";
      for (const [k, axis] of AXES.entries()) {
        set($(`place-center-${axis}`), now.place.region_center[k]);
        set($(`place-half-${axis}`), now.place.region_half[k]);
      }
    }
  }
}
