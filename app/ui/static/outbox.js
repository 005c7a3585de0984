// Verdicts wait here until the server has them: shown at once, sent in small batches, kept in the browser's own
// storage over a lost connection and a closed tab. Each has a UUID, so sending twice changes nothing.

import { post } from "./api.js";

const STORE = "nearmiss.outbox"; // and a name of its own for each page, so that two tabs never overwrite each other
const DELAY_MS = 120;
const RETRY_MS = [1000, 2000, 5000, 10000];

export class Outbox {
  // `onAnswer` gets what the server says of saved verdicts.
  constructor(onChange, onAnswer = () => {}) {
    Object.assign(this, { onChange, onAnswer, name: `${STORE}.${crypto.randomUUID()}` });
    this.waiting = takeOver(this.name);
    this.failures = 0;
    this.sending = null;
    this.timer = null;
    addEventListener("online", () => this.soon(0));
    addEventListener("pagehide", () => this.keep());
    if (this.waiting.length) this.soon(0);
  }

  add(verdict) {
    this.waiting.push(verdict);
    this.keep();
    this.soon(DELAY_MS);
  }

  // Takes back a verdict that has not left yet; false when it has.
  remove(uuid) {
    if (this.sending?.has(uuid)) return false;
    const before = this.waiting.length;
    this.waiting = this.waiting.filter((verdict) => verdict.uuid !== uuid);
    this.keep();
    return this.waiting.length < before;
  }

  // Takes back a verdict, wherever it is by now.
  async retract(uuid) {
    if (this.remove(uuid)) return;
    await this.settled();
    await post("/api/verdicts/undo", { uuid: crypto.randomUUID(), retracts: uuid });
  }

  keep() {
    if (this.waiting.length) localStorage.setItem(this.name, JSON.stringify(this.waiting));
    else localStorage.removeItem(this.name);
    this.onChange(this);
  }

  soon(delay) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.send(), delay);
  }

  async settled() {
    while (this.waiting.length && !this.failures) await new Promise((wake) => setTimeout(wake, 30));
  }

  async send() {
    if (this.sending || !this.waiting.length) return;
    const batch = this.waiting.slice(0, 50);
    this.sending = new Set(batch.map((verdict) => verdict.uuid));
    try {
      const answer = await post("/api/verdicts", { verdicts: batch });
      this.drop(this.sending);
      this.failures = 0;
      this.remaining = answer?.remaining;
      this.onAnswer(answer);
    } catch (error) {
      if (error.status >= 400 && error.status < 500) {
        this.refused = error.message; // a sentence; keeping it would block all that follow
        if (batch.length === 1) this.drop(this.sending);
        else await this.oneByOne(batch);
      } else this.failures += 1;
    }
    this.sending = null;
    this.keep();
    if (this.waiting.length) this.soon(this.failures ? RETRY_MS[Math.min(this.failures, RETRY_MS.length) - 1] : 0);
  }

  async oneByOne(batch) {
    for (const verdict of batch) {
      try {
        await post("/api/verdicts", { verdicts: [verdict] });
        this.drop(new Set([verdict.uuid]));
      } catch (error) {
        if (error.status >= 400 && error.status < 500) this.drop(new Set([verdict.uuid]));
      }
    }
  }

  drop(uuids) {
    this.waiting = this.waiting.filter((verdict) => !uuids.has(verdict.uuid));
  }
}

// What other pages of this browser left behind, taken over under the name `mine`. One of them may be alive and send its
// own too: the UUIDs are the same, and it writes its list again with its next verdict.
function takeOver(mine) {
  const found = new Map();
  const keys = Object.keys(localStorage).filter((key) => key === STORE || key.startsWith(`${STORE}.`));
  for (const key of keys) {
    try {
      for (const verdict of JSON.parse(localStorage.getItem(key))) found.set(verdict.uuid, verdict);
    } catch {
      // not ours
    }
  }
  const waiting = [...found.values()];
  if (waiting.length) localStorage.setItem(mine, JSON.stringify(waiting));
  keys.forEach((key) => localStorage.removeItem(key));
  return waiting;
}
