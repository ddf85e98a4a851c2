// SPDX-License-Identifier: Apache-2.0
// Keeps the page as the broker is. Without it the page works, too: its forms are plain, and it is loaded anew by itself.
"use strict";
(() => {
  const PERIOD = 1000; // ms between looks
  const PATIENCE = 5000; // ms for an answer
  const SETTLED = 1000; // ms before what has just appeared can be decided: a click may have been meant for what was there
  const live = document.getElementById("live");
  const lost = document.getElementById("lost");
  const main = () => document.getElementById("main");
  let ends = null; // ms of performance.now()
  let settling = 0;

  const allow = () => {
    const off = !lost.hidden || settling > 0;
    for (const button of document.querySelectorAll("button.decides")) button.disabled = off;
  };

  const settle = () => {
    settling += 1;
    allow();
    setTimeout(() => { settling -= 1; allow(); }, SETTLED);
  };

  const say = (words) => { live.textContent = words; };

  const connected = (is) => {
    if (lost.hidden === is) return;
    lost.hidden = is;
    allow();
  };

  const count = () => {
    const shown = document.getElementById("countdown");
    if (!shown || ends === null) return;
    const seconds = Math.max(0, Math.ceil((ends - performance.now()) / 1000));
    const text = `${seconds} s`;
    if (shown.textContent === text) return;
    shown.textContent = text;
    if (seconds === 30 || seconds === 10) say(`Expires in ${seconds} seconds`);
  };

  const get = (path) =>
    fetch(path, { cache: "no-store", redirect: "error", signal: AbortSignal.timeout(PATIENCE) });

  const renew = async () => {
    const answer = await get("/");
    if (!answer.ok) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const old = main();
    const fresh = document.adoptNode(page.getElementById("main"));
    const hadFocus = old.contains(document.activeElement);
    old.replaceWith(fresh);
    document.title = page.title;
    document.dispatchEvent(new Event("renewed"));
    settle();
    if (hadFocus) fresh.querySelector("h1").focus();
    say(fresh.querySelector(".state").textContent.replace(/\s+/g, " ").trim());
  };

  const look = async () => {
    try {
      const answer = await get("/state");
      if (answer.status === 401) return location.assign("/");
      if (!answer.ok) throw new Error(String(answer.status));
      const state = await answer.json();
      if (state.mark !== main().dataset.mark) await renew();
      ends = state.remaining === null ? null : performance.now() + 1000 * state.remaining;
      connected(true);
    } catch {
      connected(false);
    }
    setTimeout(look, PERIOD);
  };

  const first = document.getElementById("countdown");
  if (first) ends = performance.now() + 1000 * Number(first.dataset.remaining);
  setInterval(count, 250);
  look();
})();
