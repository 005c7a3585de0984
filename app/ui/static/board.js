// The desk, anchor board: one image with up to nine captions, or one caption with up to nine images. The anchor is read
// once; exceptions are marked, Enter confirms what is proposed for the rest.

import { picture, post } from "./api.js";
import { announce, counted, fill, h, notice, suggestions } from "./dom.js";
import { rename } from "./focus.js";
import { labelOf } from "./keys.js";
import { showMend } from "./mend.js";
import { sliceOf } from "./slice.js";
import { alike, ANSWERS, choices, marked } from "./verdicts.js";
import { showWrite, takeBack } from "./write.js";

const AHEAD = 3;

export class BoardView {
  constructor(root, { outbox, onEmpty, onStatus, onDecided }) {
    Object.assign(this, { root, outbox, onEmpty, onStatus, onDecided });
    this.boards = [];
    this.given = []; // {board, sent: [uuid, …]} of this page, newest last
    this.why = false; // whether each cell says why it was suggested
  }

  async open(set) {
    this.set = set;
    this.boards = [];
    this.seen = new Set();
    this.loading = null;
    await this.outbox.settled();
    await this.fetch();
    this.show();
  }

  offline() {
    const again = h("button", { type: "button", class: "nm-button", onclick: () => (this.fetch().catch(() => {}), this.show()) }, "Try again");
    fill(this.root, notice("error", "The next board could not be loaded; your verdicts are kept here.", again));
  }

  // One request at a time; all who ask meanwhile wait for the same one.
  fetch() {
    this.loading ??= this.load().finally(() => (this.loading = null));
    return this.loading;
  }

  async load() {
    // what was answered a moment ago may not have reached the server yet
    const held = [...this.given.slice(-5).map((each) => each.board), ...this.boards].flatMap((board) => board.items.map((item) => item.suggestion_id));
    const page = await post(`/api/data-sets/${this.set.id}/boards`, { limit: AHEAD, exclude: held, image_ids: sliceOf(this.set.id) });
    this.remaining = page.remaining;
    this.numLeased = page.num_leased;
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
    if (!board) return this.loading ? this.loading.then(() => this.show(), () => this.offline()) : this.onEmpty(this.numLeased);
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
            h("button", { type: "button", class: "nm-button nm-primary", onclick: () => this.confirm() }, "Confirm all", h("kbd", {}, labelOf("confirm"))),
            h("button", { type: "button", class: "nm-button", onclick: () => this.undo() }, "Undo", h("kbd", {}, labelOf("undo"))),
            h("button", { type: "button", class: "nm-button", "aria-pressed": this.why, onclick: () => this.toggleWhy() }, "Why", h("kbd", {}, labelOf("context"))),
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
          h("kbd", {}, labelOf("broken_pair")),
        ),
      ),
      board.items[0].own_pairs.length ? h("button", { type: "button", class: "nm-button", onclick: () => this.mend() }, "Correct it", h("kbd", {}, labelOf("mend"))) : null,
      h("button", { type: "button", class: "nm-button", onclick: () => this.write() }, "Write a negative", h("kbd", {}, labelOf("write"))),
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
          "aria-label": `${at + 1}: ${item.caption}. ${about.label}${changed ? ", changed" : ", proposed"}${alike(item) ? `, ${alike(item)}` : ""}`,
        },
        h("kbd", {}, String(at + 1)),
        what,
        this.why ? h("span", { class: "nm-why" }, `${Math.round(100 * item.probability)} % that it matches · ${item.reasons.join(" · ")}`) : null,
        h("span", {}, h("span", { class: `nm-tag nm-${answer}` }, `${about.icon} ${about.label}`), alike(item) ? h("span", { class: "nm-alike" }, alike(item)) : null),
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
    this.dropAlike(board);
    if (this.boards.length < AHEAD) this.fetch().catch(() => {});
    this.show();
    const yes = board.answers.filter((answer) => answer === "match").length;
    const others = board.items.reduce((sum, item) => sum + (item.num_alike ?? 0), 0);
    const told = `Saved ${verdicts.length}: ${yes} yes, ${board.answers.filter((answer) => answer === "no_match").length} no${others ? `; and ${others} alike` : ""}`;
    if (this.last) this.last.textContent = told;
    announce(told);
    this.onDecided(verdicts.length);
  }

  // The near duplicates of what was answered are settled too: they need not be asked.
  dropAlike(board) {
    const settled = new Set(board.items.map((item) => item.group_key).filter(Boolean));
    for (const next of this.boards) {
      const kept = next.items.map((item, at) => at).filter((at) => !settled.has(next.items[at].group_key));
      if (kept.length === next.items.length) continue;
      if (next.anchor === "caption") next.pictures = kept.map((at) => next.pictures[at]);
      next.answers = kept.map((at) => next.answers[at]);
      next.items = kept.map((at) => next.items[at]);
    }
    this.boards = this.boards.filter((next) => next.items.length);
  }

  toggleWhy() {
    this.why = !this.why;
    this.show();
  }

  mend() {
    const board = this.boards[0];
    if (!board || board.anchor !== "image") return announce("A caption is corrected where its image is the anchor");
    showMend(board.items[0].image_id, board.items[0].own_pairs, (pair, view) => {
      const told = `Corrected: “${pair.caption}” became “${view.caption}”`;
      for (const each of this.boards.flatMap((one) => one.items)) rename(each, pair, view);
      this.show();
      const back = () => post(`/api/mends/${view.id}/undo`).then(() => this.open(this.set), (error) => (this.last.textContent = error.message));
      fill(this.last, told, " ", h("button", { type: "button", class: "nm-button", onclick: back }, "Take the correction back"));
      announce(told);
    });
  }

  write() {
    const item = this.boards[0]?.anchor === "image" ? this.boards[0].items[0] : null;
    if (!item) return announce("A negative is written where its image is the anchor");
    showWrite({ dataSetId: this.set.id, imageId: item.image_id, own: item.own_captions ?? [] }, (text, uuid) => {
      const told = `Kept as a negative of this image: “${text}”`;
      const back = async () => (this.last.textContent = await takeBack(text, uuid));
      fill(this.last, told, " ", h("button", { type: "button", class: "nm-button", onclick: back }, "Take it back"));
      announce(told);
      this.onDecided(1);
    });
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
    this.last.textContent = `Taken back: ${counted(latest.sent.length, "verdict")}`;
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

  // What an action does here, or a digit; null when it is not ours.
  action(name) {
    if (/^[1-9]$/.test(name)) return () => this.cycle(Number(name) - 1);
    return { confirm: () => this.confirm(), undo: () => this.undo(), broken_pair: () => this.toggleBroken(), context: () => this.toggleWhy(), mend: () => this.mend(), write: () => this.write() }[name] ?? null;
  }

  helpLines() {
    return [["1 … 9", "Change one answer: proposed, the opposite, can't tell"]];
  }

  actions() {
    return ["confirm", "broken_pair", "undo", "context", "mend", "write"];
  }

  left() {
    return `${suggestions((sliceOf(this.set.id) ? null : this.outbox.remaining) ?? this.remaining)} left`;
  }
}

function verdict({ image_id, caption_id }, answer, suggestion_id) {
  return { uuid: crypto.randomUUID(), image_id, caption_id, suggestion_id, answer };
}

