// The desk, anchor board: one image with up to nine captions, or one caption with up to nine images. The anchor is read
// once; exceptions are marked, Enter confirms what is proposed for the rest.

import { get, picture, post } from "./api.js";
import { announce, fill, h, number } from "./dom.js";
import { ANSWERS, choices, keyName, marked } from "./verdicts.js";

const AHEAD = 3;

export class BoardView {
  constructor(root, { outbox, onEmpty, onStatus, onDecided }) {
    Object.assign(this, { root, outbox, onEmpty, onStatus, onDecided });
    this.boards = [];
    this.given = []; // {board, sent: [uuid, …]} of this page, newest last
  }

  async open(set) {
    this.set = set;
    this.boards = [];
    this.seen = new Set();
    await this.outbox.settled();
    await this.fetch();
    this.show();
  }

  async fetch() {
    const held = this.boards.flatMap((board) => board.items.map((item) => item.suggestion_id));
    const page = await get(`/api/data-sets/${this.set.id}/boards`, { limit: AHEAD, exclude: held.join(",") });
    this.remaining = page.remaining;
    for (const board of page.boards) {
      board.items = board.items.filter((item) => !this.seen.has(item.suggestion_id));
      if (!board.items.length) continue;
      board.items.forEach((item) => this.seen.add(item.suggestion_id));
      board.answers = board.items.map((item) => item.proposed);
      board.broken = new Set();
      board.pictures = this.decode(board);
      this.boards.push(board);
    }
  }

  // <img> elements whose decoding has begun: one for the anchor, or one a candidate.
  decode(board) {
    const shown = board.anchor === "image" ? board.items.slice(0, 1) : board.items;
    return shown.map((item) => {
      const image = h("img", { src: picture(item.image_id, board.anchor === "image" ? 512 : 256), alt: "The image to judge" });
      image.decode().catch(() => {});
      return image;
    });
  }

  show() {
    const board = this.boards[0];
    if (!board) return this.onEmpty();
    this.root.dataset.suggestion = board.items[0].suggestion_id;
    this.cells = board.items.map((item, at) => this.cell(board, item, at));
    fill(
      this.root,
      h(
        "section",
        { class: "nm-board", "aria-label": "Curate, anchor board" },
        h("div", { class: "nm-anchor" }, board.anchor === "image" ? this.imageAnchor(board) : this.captionAnchor(board)),
        h(
          "div",
          {},
          h("h2", {}, board.anchor === "image" ? "Which captions describe this image?" : "Which images does this caption describe?"),
          h("ol", { class: `nm-cells nm-cells-${board.anchor === "image" ? "captions" : "images"}` }, this.cells),
          h(
            "div",
            { class: "nm-tools" },
            h("button", { type: "button", class: "nm-button nm-primary", onclick: () => this.confirm() }, "Confirm all", h("kbd", {}, "Enter")),
            h("button", { type: "button", class: "nm-button", onclick: () => this.undo() }, "Undo", h("kbd", {}, "Z")),
          ),
          (this.last = h("p", { class: "nm-last" })),
        ),
      ),
    );
    this.onStatus();
  }

  imageAnchor(board) {
    return [
      h("div", { class: "nm-picture" }, board.pictures[0]),
      h("h3", {}, "Its own caption"),
      board.items[0].own_pairs.map((pair) =>
        h(
          "button",
          { type: "button", class: `nm-own${board.broken.has(pair.caption_id) ? " nm-own-broken" : ""}`, "aria-pressed": board.broken.has(pair.caption_id), title: "Mark this pair of the data set as broken", onclick: () => this.toggleBroken(pair) },
          board.broken.has(pair.caption_id) ? `⚠ Broken pair: ${pair.caption}` : pair.caption,
          h("kbd", {}, keyName(ANSWERS.broken_pair.key)),
        ),
      ),
    ];
  }

  captionAnchor(board) {
    return [
      h("p", { class: "nm-question-caption" }, board.items[0].caption),
      h("h3", {}, "Its own image"),
      board.items[0].own_images.slice(0, 2).map((id) => h("img", { class: "nm-own-image", src: picture(id), alt: "An image that the data set pairs with this caption" })),
    ];
  }

  cell(board, item, at) {
    const answer = board.answers[at];
    const about = ANSWERS[answer];
    const changed = answer !== item.proposed;
    const what = board.anchor === "image" ? h("span", { class: "nm-cell-text" }, marked(item.caption, item.own_captions)) : board.pictures[at];
    return h(
      "li",
      {},
      h(
        "button",
        {
          type: "button",
          class: `nm-cell nm-cell-${answer}${changed ? " nm-cell-changed" : ""}`,
          onclick: () => this.cycle(at),
          title: `${item.reasons.join(" · ") || "Suggested by the model"} (${Math.round(100 * item.probability)} % that it matches)`,
          "aria-label": `${at + 1}: ${item.caption}. ${about.label}${changed ? ", changed" : ", proposed"}`,
        },
        h("kbd", {}, String(at + 1)),
        what,
        h("span", { class: `nm-tag nm-${answer}` }, `${about.icon} ${about.label}`),
      ),
    );
  }

  cycle(at) {
    const board = this.boards[0];
    if (!board || at >= board.items.length) return;
    const order = choices(board.items[at]);
    board.answers[at] = order[(order.indexOf(board.answers[at]) + 1) % order.length];
    const fresh = this.cell(board, board.items[at], at);
    const focused = this.cells[at].contains(document.activeElement);
    this.cells[at].replaceWith(fresh);
    this.cells[at] = fresh;
    if (focused) fresh.firstChild.focus();
    announce(`${at + 1}: ${ANSWERS[board.answers[at]].label}`);
  }

  toggleBroken(pair) {
    const board = this.boards[0];
    const wanted = pair ?? board?.items[0].own_pairs[0];
    if (!wanted || board.anchor !== "image") return;
    if (!board.broken.delete(wanted.caption_id)) board.broken.add(wanted.caption_id);
    this.show();
    announce(board.broken.has(wanted.caption_id) ? "The image's own pair is marked broken" : "The image's own pair is kept");
  }

  confirm() {
    const board = this.boards.shift();
    if (!board) return;
    const verdicts = board.items.map((item, at) => verdict(item, board.answers[at], item.suggestion_id));
    for (const caption_id of board.broken) verdicts.push(verdict({ image_id: board.items[0].image_id, caption_id }, "broken_pair", null));
    verdicts.forEach((each) => this.outbox.add(each));
    this.given.push({ board, sent: verdicts.map((each) => each.uuid) });
    if (this.boards.length < AHEAD) this.fetch().then(() => this.boards.length === 1 && this.show(), () => {});
    this.show();
    const yes = board.answers.filter((answer) => answer === "match").length;
    const told = `Saved ${verdicts.length}: ${yes} yes, ${board.answers.filter((answer) => answer === "no_match").length} no`;
    if (this.last) this.last.textContent = told;
    announce(told);
    this.onDecided(verdicts.length);
  }

  // The whole board in one step; also one that has been sent.
  async undo() {
    const latest = this.given.pop();
    if (!latest) return this.undoEarlier();
    const left = latest.sent.filter((uuid) => !this.outbox.remove(uuid));
    try {
      if (left.length) await this.outbox.settled();
      for (const uuid of left) await post("/api/verdicts/undo", { uuid: crypto.randomUUID(), retracts: uuid });
    } catch (error) {
      announce(error.message);
    }
    this.boards.unshift(latest.board);
    this.show();
    this.last.textContent = `Taken back: ${latest.sent.length} verdicts`;
    announce(this.last.textContent);
  }

  async undoEarlier() {
    try {
      const answer = await post("/api/verdicts/undo", { uuid: crypto.randomUUID(), retracts: null });
      await this.open(this.set);
      if (this.last) this.last.textContent = `Taken back: “${answer.retracted.caption}”`;
      announce(`Taken back: ${answer.retracted.caption}`);
    } catch (error) {
      if (this.last) this.last.textContent = error.message;
      announce(error.message);
    }
  }

  // What a key does here; null when it is not ours.
  action(key) {
    if (/^[1-9]$/.test(key)) return () => this.cycle(Number(key) - 1);
    return { enter: () => this.confirm(), z: () => this.undo(), x: () => this.toggleBroken() }[key] ?? null;
  }

  helpLines() {
    return [
      ["1 … 9", "Change one answer: proposed, the opposite, can't tell"],
      ["Enter", "Confirm all answers of the board"],
      ["X", "The data set's own pair is broken"],
      ["Z", "Take the last board back, also after a reload"],
    ];
  }

  left() {
    return `${number(this.outbox.remaining ?? this.remaining)} suggestions left`;
  }
}

function verdict({ image_id, caption_id }, answer, suggestion_id) {
  return { uuid: crypto.randomUUID(), image_id, caption_id, suggestion_id, answer };
}

