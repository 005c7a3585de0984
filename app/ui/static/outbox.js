// Verdicts wait here until the server has them: shown at once, sent in small batches, kept in the browser's own
// storage over a lost connection and a closed tab. Each has a UUID, so sending twice changes nothing.

import { post } from "./api.js";

const KEY = "nearmiss.outbox";
const DELAY_MS = 120;
const RETRY_MS = [1000, 2000, 5000, 10000];

export class Outbox {
  constructor(onChange) {
    this.onChange = onChange;
    this.waiting = JSON.parse(localStorage.getItem(KEY) ?? "[]");
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

  keep() {
    localStorage.setItem(KEY, JSON.stringify(this.waiting));
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
