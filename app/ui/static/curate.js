// The desk, focus view: one image, one caption, one question.

import { get, picture, post } from "./api.js";
import { announce, fill, h, notice, number } from "./dom.js";
import { Outbox } from "./outbox.js";
import { Ring } from "./ring.js";
import { current, loadDataSets, onDataSet } from "./state.js";
import { ANSWERS, keyName } from "./verdicts.js";

export function curate(root) {
  const view = new Curate(root);
  onDataSet((set) => view.open(set));
  addEventListener("keydown", (event) => view.key(event));
}

class Curate {
  constructor(root) {
    this.root = root;
    this.given = []; // {uuid, item, answer} of this page, newest last
    this.times = [];
    this.context = false;
    this.outbox = new Outbox(() => this.status());
    this.place = h("div", { class: "nm-picture" });
    this.caption = h("p", { class: "nm-question-caption" });
    this.side = h("div", { class: "nm-context" });
    this.meta = h("p", { class: "nm-meta" });
    this.sync = h("span", { class: "nm-sync" });
    this.count = h("span", { class: "nm-count" });
    this.last = h("p", { class: "nm-last" });
  }

  async open(set) {
    this.set = set;
    if (!set) return fill(this.root, notice("empty", "There is no data set yet. Import one in the Data tab."));
    this.ring = new Ring(set.id);
    try {
      await this.outbox.settled();
      await this.ring.fill();
    } catch (error) {
      return fill(this.root, notice("error", error.message, this.button("Try again", () => this.open(set))));
    }
    if (!this.ring.item) return this.empty();
    this.layout();
    this.show();
  }

  layout() {
    const buttons = Object.entries(ANSWERS).map(([answer, about]) =>
      h(
        "button",
        { type: "button", class: `nm-answer nm-${answer}`, onclick: () => this.decide(answer), title: about.long },
        h("span", { class: "nm-icon", "aria-hidden": "true" }, about.icon),
        h("span", {}, about.label),
        h("kbd", {}, keyName(about.key)),
      ),
    );
    fill(
      this.root,
      h(
        "section",
        { class: "nm-desk", "aria-label": "Curate" },
        h("div", { class: "nm-stage" }, this.place),
        h(
          "div",
          { class: "nm-ask" },
          h("h2", {}, "Does this caption describe this image?"),
          this.caption,
          this.meta,
          h("div", { class: "nm-answers" }, buttons),
          h(
            "div",
            { class: "nm-tools" },
            this.button("Undo", () => this.undo(), "Z"),
            this.button("Back", () => this.goBack(), "←"),
            this.button("Context", () => this.toggleContext(), "C"),
            this.button("Keys", () => this.help(), "?"),
          ),
          this.last,
          this.side,
          h("p", { class: "nm-foot" }, this.count, " · ", this.sync),
        ),
      ),
    );
  }

  button(label, onclick, key) {
    return h("button", { type: "button", class: "nm-button", onclick }, label, key ? h("kbd", {}, key) : null);
  }

  show() {
    const item = this.ring.item;
    if (!item) return this.ring.exhausted ? this.empty() : this.ring.fill().then(() => this.show(), () => this.offline());
    fill(this.place, this.ring.picture(item));
    fill(this.caption, marked(item.caption, item.own_captions));
    const reasons = item.reasons?.length ? ` · ${item.reasons.join(" · ")}` : "";
    this.meta.textContent = `Suggested: ${ANSWERS[item.proposed].label.toLowerCase()} (${Math.round(100 * item.probability)} % that it matches)${reasons}`;
    this.drawContext(item);
    this.status();
    this.root.dataset.suggestion = item.suggestion_id;
  }

  decide(answer) {
    const item = this.ring?.item;
    if (!item) return;
    const uuid = crypto.randomUUID();
    this.given.push({ uuid, item, answer, at: this.ring.at });
    this.ring.advance();
    this.show();
    const { image_id, caption_id, suggestion_id } = item;
    this.outbox.add({ uuid, image_id, caption_id, suggestion_id, answer });
    this.times.push(performance.now());
    this.last.textContent = `${ANSWERS[answer].icon} ${ANSWERS[answer].label}: “${item.caption}”`;
    announce(`${ANSWERS[answer].label}. Next: ${this.ring.item?.caption ?? "nothing left"}`);
  }

  async undo() {
    const latest = this.given.pop();
    try {
      if (latest && this.outbox.remove(latest.uuid)) this.returnTo(latest);
      else {
        await this.outbox.settled();
        const answer = await post("/api/verdicts/undo", { uuid: crypto.randomUUID(), retracts: latest?.uuid ?? null });
        if (latest) this.returnTo(latest);
        else {
          await this.open(this.set);
          announce(`Taken back: ${answer.retracted.caption}`);
        }
        this.last.textContent = `Taken back: “${answer.retracted.caption}”`;
      }
    } catch (error) {
      if (latest) this.given.push(latest);
      this.last.textContent = error.message;
      announce(error.message);
    }
  }

  returnTo(latest) {
    this.ring.at = latest.at;
    this.show();
    this.last.textContent = `Taken back: “${latest.item.caption}”`;
    announce(`Taken back: ${latest.item.caption}`);
  }

  goBack() {
    this.ring?.back();
    this.show();
  }

  toggleContext() {
    this.context = !this.context;
    if (this.ring?.item) this.drawContext(this.ring.item);
  }

  drawContext(item) {
    if (!this.context) return fill(this.side);
    fill(
      this.side,
      h("h3", {}, "The image's own caption"),
      (item.own_captions ?? []).map((text) => h("p", {}, text)),
      h("h3", {}, "The caption's own image"),
      (item.own_images ?? []).slice(0, 3).map((id) => h("img", { src: picture(id), alt: "An image that the data set pairs with this caption" })),
    );
  }

  help() {
    const lines = [
      ...Object.values(ANSWERS).map((about) => [keyName(about.key), about.long]),
      ["Z", "Undo the last verdict, also after a reload"],
      ["←", "Back to the one before"],
      ["C", "Show the original partners"],
      ["?", "This list"],
    ];
    const dialog = h(
      "dialog",
      { class: "nm-dialog", onclose: () => dialog.remove() },
      h("h2", {}, "Keys"),
      h("dl", {}, lines.map(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)]).flat()),
      h("button", { class: "nm-button", onclick: () => dialog.close() }, "Close"),
    );
    document.body.append(dialog);
    dialog.showModal();
  }

  key(event) {
    if (!this.root.checkVisibility?.() || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, [contenteditable], dialog")) return;
    const key = event.key.toLowerCase();
    if (event.ctrlKey && key !== "z") return;
    const answer = Object.keys(ANSWERS).find((name) => ANSWERS[name].key === key);
    const action = answer
      ? () => this.decide(answer)
      : { z: () => this.undo(), arrowleft: () => this.goBack(), c: () => this.toggleContext(), "?": () => this.help() }[key];
    if (!action || !this.ring) return;
    event.preventDefault();
    action();
  }

  status() {
    const waiting = this.outbox.waiting.length;
    this.sync.textContent = this.outbox.failures ? `offline: ${waiting} kept here` : waiting ? `saving ${waiting}` : "all saved";
    this.sync.classList.toggle("nm-offline", this.outbox.failures > 0);
    const left = this.outbox.remaining ?? this.ring?.remaining;
    const recent = this.times.slice(-30);
    const gaps = recent.slice(1).map((time, i) => time - recent[i]).sort((a, b) => a - b);
    const rate = gaps.length ? `${Math.round(60000 / gaps[Math.floor(gaps.length / 2)])} a minute · ` : "";
    this.count.textContent = left === null || left === undefined ? "" : `${rate}${number(left)} suggestions left`;
  }

  offline() {
    fill(this.place, notice("error", "The next items could not be loaded; your verdicts are kept here.", this.button("Try again", () => this.show())));
  }

  empty() {
    const set = current();
    const busy = set?.mining_job && !["finished", "failed", "cancelled"].includes(set.mining_job.state);
    fill(
      this.root,
      busy
        ? notice("empty", "Suggestions are being looked for. This takes a few seconds on a small data set.", this.button("Look again", () => loadDataSets()))
        : notice(
            "empty",
            this.given.length ? "That was the last suggestion. Mine again with a newer model to find more." : "There are no open suggestions.",
            this.button("Find suggestions", () => this.mine()),
          ),
    );
    if (busy) setTimeout(() => loadDataSets().catch(() => {}), 2000);
  }

  async mine() {
    try {
      const models = await get("/api/models");
      await post(`/api/data-sets/${this.set.id}/mine`, { model_id: models.at(-1).id });
      await loadDataSets();
    } catch (error) {
      fill(this.root, notice("error", error.message));
    }
  }
}

// The words that the image's own caption does not have.
function marked(caption, own = []) {
  const known = new Set(own.flatMap((text) => text.toLowerCase().split(/[\s:,]+/)));
  return caption.split(/(\s+)/).map((word) =>
    /\S/.test(word) && !known.has(word.toLowerCase().replace(/[:,]/g, "")) ? h("mark", {}, word) : document.createTextNode(word),
  );
}
