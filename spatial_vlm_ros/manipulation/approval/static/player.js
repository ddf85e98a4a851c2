// SPDX-License-Identifier: Apache-2.0
// Plays a planned motion in the camera image, from above and from the side. Its data are those of the record.
"use strict";
(() => {
  const WIDE = 640, EDGE = 28, LEAST = 0.3, NEAR = 0.05;
  const COLOURS = { target: "#009e73", place: "#cc79a7", neighbour: "#56b4e9", keep_out: "#d55e00", support: "#d0d7de", occupied: "#d55e00", unseen: "#6e7681" };
  const ARM = "#0072b2", HAND = "#e69f00", INK = "#1b1f24", GROUND = "#fbfcfd";

  // ---------------------------------------------------------------------------------------------- geometry

  const rotated = ([, , , x, y, z, w], [a, b, c]) => {
    const u = 2 * (y * c - z * b), v = 2 * (z * a - x * c), n = 2 * (x * b - y * a);
    return [a + w * u + y * n - z * v, b + w * v + z * u - x * n, c + w * n + x * v - y * u];
  };
  const placed = (pose, point) => rotated(pose, point).map((value, axis) => value + pose[axis]);
  const into = (pose, point) => {
    const away = point.map((value, axis) => value - pose[axis]);
    return rotated([0, 0, 0, -pose[3], -pose[4], -pose[5], pose[6]], away);
  };
  const posed = (box) => [...box.solid.centre, 0, 0, Math.sin(box.solid.yaw / 2), Math.cos(box.solid.yaw / 2)];
  const corners = (pose, size) => Array.from({ length: 8 }, (_, k) =>
    placed(pose, [k & 1 ? size[0] / 2 : -size[0] / 2, k & 2 ? size[1] / 2 : -size[1] / 2, k & 4 ? size[2] / 2 : -size[2] / 2]));

  const hull = (points) => { // Andrew's monotone chain
    const sorted = points.filter((p) => p !== null).sort((p, q) => p[0] - q[0] || p[1] - q[1]);
    if (sorted.length < 3) return null;
    const half = (list) => {
      const chain = [];
      for (const p of list) {
        while (chain.length > 1) {
          const [a, b] = chain.slice(-2);
          if ((b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]) > 0) break;
          chain.pop();
        }
        chain.push(p);
      }
      return chain.slice(0, -1);
    };
    return [...half(sorted), ...half(sorted.reverse())];
  };

  // ---------------------------------------------------------------------------------------------- eyes

  const cameraEye = (camera) => {
    const scale = Math.max(1, Math.ceil(WIDE / camera.width)), [fx, fy, cx, cy] = camera.intrinsics;
    return {
      width: camera.width * scale, height: camera.height * scale, support: false,
      see: (point) => {
        const [x, y, z] = into(camera.pose, point);
        return z < NEAR ? null : [(fx * x / z + cx + 0.5) * scale, (fy * y / z + cy + 0.5) * scale, z];
      },
    };
  };

  const flat = { above: ([x, y]) => [-y, x], side: ([x, , z]) => [x, z] };
  const away = { above: ([, , z]) => -z, side: ([, y]) => y };

  const planEyes = (motion) => {
    const points = motion.tip_path.slice();
    for (const box of motion.boxes) if (!["support", "occupied", "unseen"].includes(box.role)) points.push(...corners(posed(box), box.solid.size));
    motion.frames.forEach((frame, n) => {
      if (n % 5 === 0) motion.links.forEach((link, k) => link.vertices.forEach((v) => points.push(placed(frame.links[k], v))));
    });
    const spans = {};
    for (const side of ["above", "side"]) {
      const low = [Infinity, Infinity], high = [-Infinity, -Infinity];
      for (const point of points) flat[side](point).forEach((value, axis) => {
        low[axis] = Math.min(low[axis], value);
        high[axis] = Math.max(high[axis], value);
      });
      spans[side] = { low, span: [0, 1].map((axis) => Math.max(high[axis] - low[axis], LEAST)) };
    }
    const scale = Math.min(...Object.values(spans).flatMap(({ span }) => [(WIDE - 2 * EDGE) / span[0], (WIDE - 2 * EDGE) / span[1]]));
    const eye = (side) => {
      const { low, span } = spans[side], height = Math.ceil(span[1] * scale + 2 * EDGE), left = (WIDE - span[0] * scale) / 2;
      return {
        width: WIDE, height, support: true, scale,
        see: (point) => {
          const [a, b] = flat[side](point);
          return [left + (a - low[0]) * scale, height - EDGE - (b - low[1]) * scale, away[side](point)];
        },
      };
    };
    return { above: eye("above"), side: eye("side") };
  };

  // ---------------------------------------------------------------------------------------------- drawing

  const between = (one, other, share) => { // poses of neighbouring frames
    const same = one.slice(3).reduce((sum, value, k) => sum + value * other[k + 3], 0) < 0 ? -1 : 1;
    const mixed = one.map((value, k) => value + share * ((k > 2 ? same : 1) * other[k] - value));
    const norm = Math.hypot(...mixed.slice(3));
    return mixed.map((value, k) => (k > 2 ? value / norm : value));
  };

  const stateAt = (motion, time) => {
    const frames = motion.frames;
    let n = frames.findIndex((frame) => frame.time >= time);
    if (n < 0) n = frames.length - 1;
    const after = frames[n], before = frames[Math.max(0, n - 1)], took = after.time - before.time;
    const share = took > 0 ? Math.min(1, Math.max(0, (time - before.time) / took)) : 1;
    return {
      links: after.links.map((pose, k) => between(before.links[k], pose, share)),
      targets: [after.target, ...after.others].map((pose, k) => between([before.target, ...before.others][k], pose, share)),
    };
  };

  const polygon = (pen, points, colour, share, wide = 1) => {
    if (points === null) return;
    pen.beginPath();
    points.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.closePath();
    pen.globalAlpha = share;
    pen.fillStyle = colour;
    pen.fill();
    pen.globalAlpha = 1;
    pen.strokeStyle = colour;
    pen.lineWidth = wide;
    pen.stroke();
  };

  const named = (pen, points, words) => {
    if (points === null) return;
    pen.font = "600 13px system-ui, sans-serif";
    const x = Math.min(...points.map((p) => p[0])), y = Math.max(...points.map((p) => p[1])) + 15, wide = pen.measureText(words).width;
    pen.globalAlpha = 0.85;
    pen.fillStyle = "#ffffff";
    pen.fillRect(x - 3, y - 12, wide + 6, 16);
    pen.globalAlpha = 1;
    pen.fillStyle = INK;
    pen.fillText(words, x, y);
  };

  const drawn = (pen, eye, motion, state, background) => {
    pen.fillStyle = GROUND;
    pen.fillRect(0, 0, eye.width, eye.height);
    if (background) pen.drawImage(background, 0, 0, eye.width, eye.height);
    const names = [], targets = [...state.targets];
    for (const box of motion.boxes) {
      if (box.role === "support" && !eye.support) continue;
      const pose = box.role === "target" ? targets.shift() : posed(box);
      const outline = hull(corners(pose, box.solid.size).map(eye.see));
      polygon(pen, outline, COLOURS[box.role], box.role === "support" ? 0.5 : 0.25, box.role === "target" || box.role === "place" ? 2 : 1);
      if (box.role === "target") names.push([outline, box.label]);
    }
    pen.beginPath();
    let on = false;
    for (const point of motion.tip_path) {
      const at = eye.see(point);
      if (at === null) { on = false; continue; }
      if (on) pen.lineTo(at[0], at[1]); else pen.moveTo(at[0], at[1]);
      on = true;
    }
    pen.strokeStyle = "#ffffff";
    pen.lineWidth = 4;
    pen.stroke();
    pen.strokeStyle = INK;
    pen.lineWidth = 2;
    pen.stroke();
    const shapes = motion.links.map((link, k) => {
      const points = link.vertices.map((v) => eye.see(placed(state.links[k], v)));
      const seen = points.filter((p) => p !== null);
      const depth = seen.reduce((sum, p) => sum + p[2], 0) / Math.max(1, seen.length);
      return { outline: hull(points), depth, colour: link.of_hand ? HAND : ARM };
    });
    shapes.sort((one, other) => other.depth - one.depth);
    for (const shape of shapes) polygon(pen, shape.outline, shape.colour, 0.45);
    for (const [outline, words] of names) named(pen, outline, words);
    if (eye.scale) { // a bar of 20 cm
      pen.strokeStyle = pen.fillStyle = INK;
      pen.lineWidth = 1;
      pen.strokeRect(10, eye.height - 12, 0.2 * eye.scale, 3);
      pen.font = "12px system-ui, sans-serif";
      pen.fillText("20 cm", 12, eye.height - 17);
    }
  };

  // ---------------------------------------------------------------------------------------------- controls

  const loaded = (address) => new Promise((resolve) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => resolve(null);
    image.src = address;
  });

  const motionOf = async (root) => {
    const inline = document.getElementById("motion-data"); // in a page of the record
    if (inline) return JSON.parse(inline.textContent);
    const answer = await fetch(root.dataset.motion, { cache: "no-store", redirect: "error" });
    if (!answer.ok) throw new Error(String(answer.status));
    return answer.json();
  };

  const start = async () => {
    const root = document.querySelector(".player");
    if (!root || root.dataset.started) return;
    root.dataset.started = "yes";
    const motion = await motionOf(root);
    if (!motion.frames.length) return;
    const scene = root.dataset.scene ? await loaded(root.dataset.scene) : null;
    const plans = planEyes(motion), views = [];
    for (const figure of root.querySelectorAll("figure[data-view]")) {
      const kind = figure.dataset.view;
      if (kind === "camera" && !(motion.camera && scene)) continue;
      const eye = kind === "camera" ? cameraEye(motion.camera) : plans[kind], image = figure.querySelector("img");
      const canvas = document.createElement("canvas");
      canvas.width = eye.width;
      canvas.height = eye.height;
      canvas.hidden = true;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${image.alt}; at the chosen moment`);
      image.after(canvas);
      views.push({ eye, image, canvas, pen: canvas.getContext("2d"), background: kind === "camera" ? scene : null });
    }
    const controls = root.querySelector(".controls"), plays = root.querySelector(".plays"), says = root.querySelector(".says");
    const moment = root.querySelector("#moment"), pace = root.querySelector("#pace"), overview = root.querySelector(".overview");
    const rows = [...document.querySelectorAll(".phases tbody tr")], ends = motion.phases[motion.phases.length - 1];
    const total = ends.begin + ends.duration;
    let time = 0, last = null, playing = false;
    moment.max = String(Math.round(total * 100));

    const show = (all) => {
      for (const view of views) {
        view.image.hidden = !all;
        view.canvas.hidden = all;
      }
    };
    const tell = () => {
      let k = motion.phases.findIndex((phase) => time < phase.begin + phase.duration);
      if (k < 0) k = motion.phases.length - 1;
      const phase = motion.phases[k];
      const near = phase.clearance === null ? "" : `; clearance in this phase ${Math.round(1000 * phase.clearance)} mm`;
      says.textContent = `${phase.name}: ${time.toFixed(1)} of ${total.toFixed(1)} s${near}`;
      moment.value = String(Math.round(time * 100));
      moment.setAttribute("aria-valuetext", `${time.toFixed(1)} seconds, phase ${phase.name}`);
      rows.forEach((row, n) => row.classList.toggle("now", n === k));
    };
    const draw = () => {
      show(false);
      const state = stateAt(motion, time);
      for (const view of views) drawn(view.pen, view.eye, motion, state, view.background);
      tell();
    };
    const step = (now) => {
      if (!playing || !root.isConnected) return;
      if (last !== null) time = Math.min(total, time + Number(pace.value) * (now - last) / 1000);
      last = now;
      draw();
      if (time >= total) return set(false);
      requestAnimationFrame(step);
    };
    const set = (on) => {
      playing = on;
      last = null;
      plays.textContent = on ? "Pause" : "Play";
      if (!on) return;
      if (time >= total) time = 0;
      requestAnimationFrame(step);
    };
    plays.addEventListener("click", () => set(!playing));
    moment.addEventListener("input", () => {
      set(false);
      time = moment.value === moment.max ? total : Number(moment.value) / 100;
      draw();
    });
    overview.addEventListener("click", () => {
      set(false);
      show(true);
      says.textContent = "The whole motion";
      for (const row of rows) row.classList.remove("now");
    });
    controls.hidden = false;
  };

  const begin = () => start().catch(() => {
    const words = document.createElement("p");
    words.textContent = "The animation could not be loaded; the drawings show the whole motion.";
    document.querySelector(".player h2")?.after(words);
  });
  document.addEventListener("renewed", begin);
  begin();
})();
