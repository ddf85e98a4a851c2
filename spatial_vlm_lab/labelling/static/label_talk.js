// SPDX-License-Identifier: Apache-2.0
// What the page asks its server. An error says what happened and what to do.

const PATIENCE = 120000; // ms: a detector may have to be loaded, or look at a frame

export class Talk {
  constructor(formToken) { this.token = formToken; }

  async get(path) { return this.answer(await this.send(path, {})); }

  async post(path, value) {
    const headers = { "Content-Type": "application/json", "X-Form-Token": this.token };
    return this.answer(await this.send(path, { method: "POST", headers, body: JSON.stringify(value) }));
  }

  async send(path, options) {
    try {
      return await fetch(path, { cache: "no-store", redirect: "error", signal: AbortSignal.timeout(PATIENCE), ...options });
    } catch {
      throw new Error("The program does not answer. Is spatial-vlm label still running? What you decided before is in the file.");
    }
  }

  async answer(reply) {
    const value = await reply.json().catch(() => ({}));
    if (!reply.ok) throw Object.assign(new Error(value.error || `The program answered ${reply.status}.`), { stale: reply.status === 409 });
    return value;
  }
}
