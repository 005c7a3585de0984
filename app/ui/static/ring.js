// Items ahead of the person: about thirty known, the next ten pictures decoded, so that the next one is there at once.

import { post } from "./api.js";
import { Decoded } from "./decoded.js";
import { sliceOf } from "./slice.js";

const AHEAD = 30;
const DECODED = 10;

export class Ring {
  constructor(dataSetId) {
    this.dataSetId = dataSetId;
    this.items = [];
    this.at = 0;
    this.pictures = new Decoded();
    this.seen = new Set();
    this.exhausted = false;
    this.loading = null;
    this.remaining = null;
  }

  get item() {
    return this.items[this.at] ?? null;
  }

  async fill() {
    if (this.exhausted || this.items.length - this.at >= AHEAD / 2) return this.decodeAhead();
    this.loading ??= this.load().finally(() => (this.loading = null));
    await this.loading;
  }

  async load() {
    const ahead = this.items.slice(Math.max(0, this.at - AHEAD)).map((item) => item.suggestion_id);
    const page = await post(`/api/data-sets/${this.dataSetId}/queue`, { limit: AHEAD, exclude: ahead, image_ids: sliceOf(this.dataSetId) });
    const fresh = page.items.filter((item) => !this.seen.has(item.suggestion_id));
    fresh.forEach((item) => this.seen.add(item.suggestion_id));
    this.items.push(...fresh);
    this.remaining = page.remaining;
    this.numLeased = page.num_leased;
    this.exhausted = fresh.length === 0;
    this.decodeAhead();
  }

  decodeAhead() {
    this.pictures.ahead(this.items.slice(this.at, this.at + DECODED), 6 * DECODED);
  }

  picture(item) {
    return this.pictures.of(item);
  }

  advance() {
    this.at += 1;
    this.fill().catch(() => {});
  }

  // An answer settles the near duplicates too: they need not be asked.
  dropAlike({ suggestion_id, group_key }) {
    if (!group_key) return;
    this.items = this.items.filter((item, at) => at <= this.at || item.group_key !== group_key || item.suggestion_id === suggestion_id);
  }

  back() {
    this.at = Math.max(0, this.at - 1);
  }
}
