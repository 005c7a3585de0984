// Items ahead of the person: about thirty known, the next ten pictures decoded, so that the next one is there at once.

import { get, picture } from "./api.js";

const AHEAD = 30;
const DECODED = 10;

export class Ring {
  constructor(dataSetId) {
    this.dataSetId = dataSetId;
    this.items = [];
    this.at = 0;
    this.pictures = new Map();
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
    const page = await get(`/api/data-sets/${this.dataSetId}/queue`, { limit: AHEAD, exclude: ahead.join(",") });
    const fresh = page.items.filter((item) => !this.seen.has(item.suggestion_id));
    fresh.forEach((item) => this.seen.add(item.suggestion_id));
    this.items.push(...fresh);
    this.remaining = page.remaining;
    this.exhausted = fresh.length === 0;
    this.decodeAhead();
  }

  decodeAhead() {
    for (const item of this.items.slice(this.at, this.at + DECODED)) this.picture(item);
    for (const id of [...this.pictures.keys()].slice(0, -6 * DECODED)) this.pictures.delete(id);
  }

  // An <img> whose decoding has begun; one element per item, so that showing it is only an insertion.
  picture(item) {
    let image = this.pictures.get(item.suggestion_id);
    if (!image) {
      image = new Image();
      image.src = picture(item.image_id, 512);
      image.alt = "The image to judge";
      image.decode().catch(() => {});
      this.pictures.set(item.suggestion_id, image);
    }
    return image;
  }

  advance() {
    this.at += 1;
    this.fill().catch(() => {});
  }

  back() {
    this.at = Math.max(0, this.at - 1);
  }
}
