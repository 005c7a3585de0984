// A grid that can be scrolled through a million cards: pages become blocks, and a block that is far off keeps only its height.

import { picture } from "./api.js";
import { fill, h } from "./dom.js";
import { ANSWERS } from "./verdicts.js";

export const BLOCK = 48;
const COLUMNS = [2, 3, 4, 6, 8, 12]; // they divide a block, so that no row is left half empty
const NARROWEST_PX = 126;

export class Cards {
  constructor({ onOpen, selection }) {
    this.onOpen = onOpen;
    this.selection = selection;
    this.root = h("div", { class: "nm-blocks", role: "list", "aria-label": "Pairs" });
    this.near = new IntersectionObserver((seen) => seen.forEach(({ target, isIntersecting }) => (isIntersecting ? this.show(target) : this.hide(target))), { rootMargin: "1500px" });
    new ResizeObserver(() => this.columns()).observe(this.root);
    this.items = new Map();
    this.order = [];
    this.last = null;
  }

  clear() {
    this.near.disconnect();
    this.items.clear();
    this.order = [];
    this.last = null;
    fill(this.root);
  }

  add(items) {
    const block = h("ul", { class: "nm-grid nm-block" });
    this.items.set(block, items);
    this.order.push(...items);
    this.root.append(block);
    this.draw(block);
    this.near.observe(block);
  }

  get count() {
    return this.order.length;
  }

  show(block) {
    if (!block.firstChild) this.draw(block);
    block.style.height = "";
  }

  hide(block) {
    if (!block.firstChild || !block.offsetHeight || block.contains(document.activeElement)) return;
    block.style.height = `${block.offsetHeight}px`;
    fill(block);
  }

  draw(block) {
    fill(block, this.items.get(block).map((item) => this.card(item)));
  }

  redraw() {
    for (const block of this.items.keys()) if (block.firstChild) this.draw(block);
  }

  columns() {
    const fit = Math.max(2, Math.floor(this.root.clientWidth / NARROWEST_PX));
    this.root.style.setProperty("--nm-columns", COLUMNS.filter((n) => n <= fit).at(-1));
  }

  card(item) {
    const chosen = this.selection.has(item);
    const mark = h("input", { type: "checkbox", class: "nm-pick", checked: chosen, "aria-label": `Select “${item.caption}”`, onclick: (event) => this.pick(item, event) });
    return h(
      "li",
      { class: chosen ? "nm-picked" : "", role: "listitem" },
      mark,
      h(
        "button",
        { type: "button", class: "nm-card", onclick: () => this.onOpen(item) },
        h("img", { src: picture(item.image_id), alt: "", loading: "lazy", width: 256, height: 256 }),
        h("span", { class: "nm-card-caption", title: item.caption }, item.caption),
        h("span", { class: "nm-card-tags" }, tags(item)),
      ),
    );
  }

  // With Shift, everything between the last picked card and this one.
  pick(item, event) {
    const on = event.target.checked;
    const from = event.shiftKey && this.last ? this.order.indexOf(this.last) : -1;
    const to = this.order.indexOf(item);
    const some = from < 0 ? [item] : this.order.slice(Math.min(from, to), Math.max(from, to) + 1);
    this.last = item;
    this.selection.set(some, on);
  }
}

export function verdictTag(answer) {
  return h("span", { class: `nm-tag nm-${answer}` }, `${ANSWERS[answer].icon} ${ANSWERS[answer].label}`);
}

function tags(item) {
  return [
    item.split === "held_out" ? h("span", { class: "nm-tag" }, "held out") : null,
    item.verdict ? verdictTag(item.verdict) : item.proposed ? h("span", { class: "nm-tag" }, `${Math.round(100 * item.probability)} % match`) : null,
    item.score === null || item.score === undefined ? null : h("span", { class: "nm-tag", title: "cosine" }, item.score.toFixed(2)),
    item.person ? h("span", { class: "nm-tag" }, item.person) : null,
    item.tags.map((name) => h("span", { class: "nm-tag nm-own-tag" }, `# ${name}`)),
  ];
}
