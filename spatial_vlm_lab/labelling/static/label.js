// SPDX-License-Identifier: Apache-2.0
// The labelling page: one case at a time, by keys first.
import { Draft } from "./label_draft.js";
import { Fields } from "./label_fields.js";
import { ImageView } from "./label_image.js";
import { Talk } from "./label_talk.js";
import { TopView } from "./label_top.js";

const $ = (id) => document.getElementById(id);
const main = $("main"), blind = main.dataset.blind === "yes", talk = new Talk(main.dataset.formToken);
const QUICK = { f: "NOT_FOUND", a: "AMBIGUOUS", v: "RELATION_UNSATISFIED" };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

let cases = [], names = [], number = 0, draft = null, mode = "choose", digits = "", before = null, busy = false, saved = { saved: true };

// ------------------------------------------------------------------------------------------------ saying

const say = (words) => { $("live").textContent = words; };
const hint = (words) => { $("says").textContent = words; };
const complain = (words) => { $("problem").textContent = words; $("problem").hidden = !words; };

const tried = async (work) => {
  if (busy) return undefined;
  busy = true;
  main.setAttribute("aria-busy", "true");
  try {
    complain("");
    return await work();
  } catch (error) {
    if (error.stale) await again().catch(() => {}); // what another tab has made of the case
    complain(error.message);
    return undefined;
  } finally {
    busy = false;
    main.removeAttribute("aria-busy");
  }
};

const showSaved = (state) => {
  saved = state;
  $("saved").textContent = state.saved ? "Everything is saved" : `${state.lacking || 1} not saved`;
  $("unsaved").hidden = state.saved && !state.problem;
  $("unsaved-words").textContent = state.problem;
  $("saved").classList.toggle("bad", !state.saved);
  $("merge").hidden = !state.by_somebody_else;
  $("save").hidden = state.by_somebody_else; // it would be refused again
};

const showProgress = () => {
  const done = cases.filter((one) => one.state !== "to do").length;
  const now = cases.filter((one) => one.state === "decided").length;
  $("progress").textContent = cases.length ? `${done} of ${cases.length} labelled${now ? `, ${now} decided now` : ""} · case ${number + 1}` : "";
};

const HINTS = {
  box: "Box: arrows move the marked corner, x marks the other one, Enter keeps it, Esc does not.",
  place: "Place: arrows move it, + and - change its size, digits choose the anchor, Enter keeps it, Esc does not.",
  mark: "Mark: digits choose objects that are also right; m ends it.",
};

// ------------------------------------------------------------------------------------------------ showing

const fields = new Fields((change) => { draft.edit(change); refresh(); }, (status) => { draft.setStatus(status); refresh(); }, {
  choose: (id) => { draft.choose(id); refresh(); },
  mark: (id) => { draft.mark(id); refresh(); },
  box: (box) => { draft.setBox(box); refresh(); },
});
const dragged = (set) => (value, done) => {
  before = before || JSON.stringify(draft.now);
  set(value);
  if (done && before !== JSON.stringify(draft.now)) draft.past.push(before);
  if (done) before = null;
  refresh();
};
const image = new ImageView($("stage"), {
  pick: (id, marks) => { if (marks || mode === "mark") draft.mark(id); else draft.choose(id); refresh(); },
  changed: dragged((box) => { const now = draft.now; now.box = box; now.drawn = true; if (!now.status) now.status = "OK"; }),
});
const top = new TopView($("top-stage"), { changed: dragged((place) => { draft.now.place = place; }) });

const refresh = () => {
  fields.show(draft);
  image.show(draft, draft.shown.size ? `/image/${draft.shown.frame}` : "");
  top.show(draft);
  const words = draft.words();
  hint(mode === "choose" ? `${draft.changed ? "Changed, not accepted yet: " : ""}${words}` : HINTS[mode]);
  $("undo").disabled = !draft.past.length && !saved.undoable;
};

const setMode = (next) => {
  if (mode === "box" && next !== "box" && draft) draft.settleBox();
  mode = next;
  digits = "";
  image.setActive(mode === "box");
  top.setActive(mode === "place");
  $("box-mode").setAttribute("aria-pressed", String(mode === "box"));
  $("place-mode").setAttribute("aria-pressed", String(mode === "place"));
  if (draft) refresh();
};

const showAnswer = (shown) => {
  const { answer, size } = shown;
  $("reveal").hidden = answer !== null || !size;
  if (!size) $("answer").textContent = `The frame cannot be read: ${shown.problem}`;
  else if (answer === null) $("answer").textContent = "Hidden until you have decided. If you show it first, the case counts as accepted or corrected.";
  else {
    const n = shown.detections.findIndex((one) => one.id === answer.id) + 1;
    $("answer").textContent = `${answer.status}${n ? `, ${n} ${shown.detections[n - 1].label}` : ""}: ${answer.message}`;
  }
};

const ORIGIN = { accepted: "accepted from an answer", corrected: "corrected by a person", written: "written by a person before the answer was seen" };
const showOrigin = (shown) => {
  const words = shown.truth
    ? `In the file${shown.by ? `, ${ORIGIN[shown.by] || shown.by}` : ", nothing says how it was made"}${shown.differs ? ". The answer is another one" : ""}.`
    : shown.proposal ? "Proposed from the answer; nothing is in the file yet." : "Nothing is in the file yet.";
  $("origin").textContent = words;
};

const open = async (next, focus = true) => {
  const shown = await talk.get(`/case/${next}`);
  number = next;
  draft = new Draft(shown);
  $("sentence").textContent = shown.words;
  $("where").textContent = `${shown.name} · ${shown.state}`;
  $("jump").value = String(number);
  fields.begin(draft);
  showAnswer(shown);
  showOrigin(shown);
  showProgress();
  setMode("choose");
  if (focus) $("sentence").focus();
};

const listed = (one, n) => `${n + 1} · ${names[one.frame]} · ${one.words} (${one.state})`;

const load = async () => {
  const overview = await talk.get("/cases");
  cases = overview.cases;
  names = overview.frames;
  $("jump").replaceChildren(...cases.map((one, n) => new Option(listed(one, n), n)));
  showSaved(overview);
  showProgress();
};

// ------------------------------------------------------------------------------------------------ going on

const wanted = (from, step) => {
  const goes = $("goes").value;
  for (let n = from + step; n >= 0 && n < cases.length; n += step)
    if (goes !== "to do" || step < 0 || cases[n].state === "to do") return n;
  return null;
};

const go = async (step) => {
  let next = wanted(number, step);
  while (next !== null && $("goes").value === "differs") { // those that agree are passed over
    const shown = await talk.get(`/case/${next}`);
    if (!shown.truth || shown.differs || shown.answer === null) break;
    next = wanted(next, step);
  }
  if (next === null && step > 0 && $("goes").value === "to do") next = cases.findIndex((one) => one.state === "to do");
  if (next === null || next < 0) {
    await open(number, false);
    const left = cases.filter((one) => one.state === "to do").length;
    const words = left ? "There is no case beyond this one." : "Every case is labelled. Choose “all cases” to go through them again, or close the page.";
    hint(words);
    say(words);
    return;
  }
  await open(next);
};

const accept = () => tried(async () => {
  const missing = draft.missing();
  if (missing) { hint(missing); say(missing); return; }
  const words = draft.words(), hidden = draft.shown.answer === null && blind;
  const done = await talk.post(`/case/${number}`, { expect: draft.expect(), kind: draft.kinds(), words: draft.shown.words, seen: draft.shown.seen });
  showSaved(done);
  cases[number] = done.case;
  $("jump").options[number].textContent = listed(done.case, number);
  const by = done.unchanged ? "as it was" : done.by, agrees = hidden ? (done.agrees ? " The answer is the same." : " The answer is another one.") : "";
  await go(1);
  say(`${done.saved ? "Saved" : "Not saved"}: ${words}, ${by}.${agrees} Next: ${draft.shown.words}`);
  if (agrees) $("where").textContent += ` · the case before: ${agrees.trim().toLowerCase()}`;
});

const undo = () => tried(async () => {
  if (draft.undo()) { refresh(); say(`Undone. ${draft.words()}`); return; }
  const done = await talk.post("/undo", {});
  await load();
  showSaved(done);
  if (done.case === null) { hint("There is nothing to undo."); return; }
  await open(done.case);
  say("The last decision is taken back.");
});

// The list and the case anew; cases may have other numbers by now, and the case may be gone.
const again = async () => {
  const { frame, words } = draft.shown, at = number;
  await load();
  const same = cases.map((one, n) => n).filter((n) => cases[n].frame === frame && cases[n].words === words);
  const nearest = same.sort((one, other) => Math.abs(one - at) - Math.abs(other - at))[0];
  if (cases.length) await open(nearest ?? Math.min(at, cases.length - 1));
};

const save = (merge) => tried(async () => {
  showSaved(await talk.post("/save", { merge }));
  if (merge) await again();
  if (saved.saved) say("Everything is saved.");
});

// ------------------------------------------------------------------------------------------------ modes

const boxMode = () => {
  if (mode === "box") return setMode("choose");
  if (!draft.shown.size) return undefined;
  setMode("box");
  before = null;
  image.kept = JSON.stringify(draft.now);
  draft.setBox(image.start());
  return refresh();
};

const placeMode = () => {
  if (mode === "place") return setMode("choose");
  if (!fields.canPlace(draft)) { hint($("no-place").textContent); return undefined; }
  setMode("place");
  top.kept = JSON.stringify(draft.now);
  draft.setPlace(top.start());
  return refresh();
};

const leave = (view) => { // as it was before the mode began
  if (JSON.stringify(draft.now) !== view.kept) draft.edit((now) => Object.assign(now, JSON.parse(view.kept)));
  setMode("choose");
};

const setPlace = (place) => { draft.setPlace(place); refresh(); };

const boxKey = (event) => {
  const arrow = ARROWS[event.key], far = event.shiftKey ? 10 : 1;
  if (arrow) { draft.setBox(image.moved(arrow[0] * far, arrow[1] * far)); refresh(); say(`Box ${draft.now.box.join(", ")}`); }
  else if (event.key === "x") { image.corner = 1 - image.corner; image.draw(); say(image.corner ? "Bottom right corner" : "Top left corner"); }
  else if (event.key === "Enter") setMode("choose");
  else if (event.key === "Escape") leave(image);
  else if (event.key === "Delete" || event.key === "Backspace") { draft.setBox(null); setMode("choose"); }
  else return event.key === "b" ? (setMode("choose"), true) : false;
  return true;
};

const placeKey = (event) => {
  const arrow = ARROWS[event.key], far = event.shiftKey ? 0.05 : 0.01, place = draft.now.place;
  if (arrow && place) setPlace(top.moved(place, arrow[0] * far, -arrow[1] * far));
  else if ("+=-".includes(event.key) && place) setPlace(top.grown(place, event.key === "-" ? -0.01 : 0.01));
  else if (event.key === "Enter") setMode("choose");
  else if (event.key === "Escape") leave(top);
  else if (event.key === "Delete" || event.key === "Backspace") { draft.setPlace(null); setMode("choose"); }
  else if (/^\d$/.test(event.key)) { const id = counted(event.key); if (id) { draft.edit((now) => { now.place.anchor_id = id; }); refresh(); } }
  else return event.key === "p" ? (setMode("choose"), true) : false;
  return true;
};

// ------------------------------------------------------------------------------------------------ keys

// The object that digits name: one after the other they make one number, as long as there is an object of it.
const counted = (digit) => {
  const found = draft.shown.detections, longer = digits + digit;
  digits = Number(longer) >= 1 && Number(longer) <= found.length ? longer : digit;
  return (found[Number(digits) - 1] || {}).id;
};

const found = (digits) => (draft.shown.detections[Number(digits) - 1] || {}).id;

const digitKey = (digit) => {
  if (digit === "0" && !digits) {
    if (mode === "mark") draft.edit((now) => { now.also = []; now.ids = []; }); else draft.clearObject();
    return refresh();
  }
  const earlier = digits, id = counted(digit);
  if (!id) return hint(`There is no object ${digit}.`);
  if (mode === "mark") {
    if (earlier && digits === earlier + digit) draft.mark(found(earlier)); // 1 and 2 were meant as 12
    if (!draft.mark(id)) hint("The detector's ids mean nothing beyond this answer, so the truth is one box: only one object can be right.");
  } else draft.choose(id);
  refresh();
  return say(draft.words());
};

const step = (by) => {
  const found = draft.shown.detections;
  if (!found.length) return;
  const at = found.findIndex((one) => one.id === draft.now.id);
  draft.choose(found[at < 0 ? (by > 0 ? 0 : found.length - 1) : (at + by + found.length) % found.length].id);
  refresh();
  say(draft.words());
};

const COMMANDS = {
  Enter: accept, ".": () => tried(() => go(1)), ",": () => tried(() => go(-1)), Backspace: () => tried(() => go(-1)), u: undo,
  b: boxMode, p: placeMode, m: () => setMode(mode === "mark" ? "choose" : "mark"), Escape: () => setMode("choose"),
  s: () => $("status").focus(), k: () => $("kind").focus(), r: () => { draft.edit((now) => Object.assign(now, JSON.parse(draft.first))); refresh(); },
  n: () => { $("more").open = true; $("new-words").focus(); }, "?": () => { $("more").open = !$("more").open; if ($("more").open) $("more").scrollIntoView(); },
};

const TYPES = "input, select, textarea, [contenteditable]";

document.addEventListener("keydown", (event) => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if ((event.ctrlKey || event.metaKey) && key === "s") { event.preventDefault(); save(false); return; }
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !draft || busy) return;
  if (event.target.matches(TYPES)) {
    if (event.key === "Escape" || (event.key === "Enter" && !event.target.closest("form") && event.target.id !== "jump")) {
      event.preventDefault();
      event.target.dispatchEvent(new Event("change", { bubbles: true }));
      $("sentence").focus();
    }
    return;
  }
  if (event.target.matches("button, summary, a") && (event.key === "Enter" || event.key === " ")) return;
  if (key.length === 1 && !$("keys-on").checked) return;
  if (event.repeat && key === "Enter") { event.preventDefault(); return; } // a key that is held accepts one case, not all
  const own = mode === "box" ? boxKey : mode === "place" ? placeKey : null;
  const isDigit = /^\d$/.test(event.key);
  if (!isDigit) digits = "";
  let handled = true;
  if (own && own(event)) handled = true;
  else if (own && COMMANDS[key] !== undo && key !== "s") handled = false;
  else if (isDigit) digitKey(event.key);
  else if (key === "ArrowLeft" || key === "ArrowRight") step(key === "ArrowLeft" ? -1 : 1);
  else if (QUICK[key]) { draft.setStatus(QUICK[key]); refresh(); say(draft.words()); }
  else if (COMMANDS[key]) COMMANDS[key]();
  else handled = false;
  if (handled) event.preventDefault();
});

// ------------------------------------------------------------------------------------------------ buttons

for (const [id, work] of Object.entries({
  accept, undo, skip: COMMANDS["."], back: COMMANDS[","], save: () => save(false), merge: () => save(true),
  "box-mode": () => { boxMode(); $("stage").focus(); }, "place-mode": () => { placeMode(); $("top-stage").focus(); },
  "box-clear": () => { draft.setBox(null); setMode("choose"); },
  "place-clear": () => { draft.setPlace(null); setMode("choose"); },
  reveal: () => tried(async () => {
    const made = draft.now, shown = await talk.get(`/case/${number}?reveal`);
    draft.shown = shown;
    if (draft.changed) draft.now = made; else draft.begin();
    fields.begin(draft);
    showAnswer(shown);
    showOrigin(shown);
    refresh();
  }),
})) $(id).addEventListener("click", () => { if (draft) work(); });

$("jump").addEventListener("change", (event) => {
  const next = Number(event.target.value);
  if (draft && next !== number) tried(() => open(next));
});
$("add").addEventListener("submit", (event) => {
  event.preventDefault();
  tried(async () => {
    const done = await talk.post("/add", { frame: draft.shown.frame, words: $("new-words").value });
    $("new-words").value = "";
    showSaved(done);
    await load();
    await open(done.case);
  });
});
$("keys-on").checked = sessionStorage.getItem("keys") !== "off";
$("keys-on").addEventListener("change", (event) => sessionStorage.setItem("keys", event.target.checked ? "on" : "off"));
window.addEventListener("beforeunload", (event) => { if (!saved.saved || (draft && draft.changed)) event.preventDefault(); });

tried(async () => {
  await load();
  if (!cases.length) {
    $("sentence").textContent = "There is no sentence yet.";
    $("more").open = true;
    draft = new Draft({ frame: 0, detections: [], size: null, truth: null, proposal: null, ground: null, by_id: true, kind: [] });
    $("new-words").focus();
    return;
  }
  if (cases.every((one) => one.state !== "to do")) $("goes").value = "all";
  const first = cases.findIndex((one) => one.state === "to do");
  await open(first < 0 ? 0 : first);
});
