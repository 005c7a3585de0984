// The desk: the views of one queue, their switch, the keys, the outbox and the line at the foot.

import { get, post } from "./api.js";
import { BoardView } from "./board.js";
import { fill, h, notice } from "./dom.js";
import { FocusView } from "./focus.js";
import { showGuidelines } from "./guidelines.js";
import { Outbox } from "./outbox.js";
import { current, loadDataSets, onDataSet } from "./state.js";
import { SweepView } from "./sweep.js";

const VIEWS = { board: { title: "Anchor board", View: BoardView }, focus: { title: "Focus", View: FocusView }, sweep: { title: "Sweep", View: SweepView } };
const KEY = "nearmiss.view";
const RECENT = 60; // verdicts that the rate looks back on

export function curate(root) {
  const desk = new Desk(root);
  onDataSet((set) => desk.open(set));
  addEventListener("keydown", (event) => desk.key(event));
}

class Desk {
  constructor(root) {
    this.root = root;
    this.times = []; // {at, count}
    this.outbox = new Outbox(() => this.status());
    this.sync = h("span", { class: "nm-sync" });
    this.count = h("span", { class: "nm-count" });
    const wanted = new URLSearchParams(location.search).get("view") ?? localStorage.getItem(KEY);
    this.name = wanted in VIEWS ? wanted : "board";
  }

  async open(set) {
    this.set = set;
    if (!set) return fill(this.root, notice("empty", "There is no data set yet. Import one in the Data tab."));
    this.stage = h("div", { class: "nm-stage-root" });
    this.view = new VIEWS[this.name].View(this.stage, {
      outbox: this.outbox,
      onEmpty: () => this.empty(),
      onStatus: () => this.status(),
      onDecided: (count) => this.decided(count),
    });
    fill(this.root, this.bar(), this.stage, h("p", { class: "nm-foot" }, this.count, " · ", this.sync));
    try {
      await this.view.open(set);
    } catch (error) {
      fill(this.stage, notice("error", error.message, this.button("Try again", () => this.open(set))));
    }
  }

  bar() {
    const views = Object.entries(VIEWS).map(([name, { title }]) =>
      h("button", { type: "button", class: `nm-button${name === this.name ? " nm-chosen" : ""}`, "aria-pressed": name === this.name, onclick: () => this.choose(name) }, title),
    );
    return h("div", { class: "nm-bar nm-views", role: "group", "aria-label": "View of the queue" }, views, this.button("Guidelines", () => showGuidelines(this.set), "G"), this.button("Keys", () => this.help(), "?"));
  }

  button(label, onclick, key) {
    return h("button", { type: "button", class: "nm-button", onclick }, label, key ? h("kbd", {}, key) : null);
  }

  choose(name) {
    this.name = name;
    localStorage.setItem(KEY, name);
    this.open(this.set);
  }

  decided(count) {
    this.times.push({ at: performance.now(), count });
    this.status();
  }

  // Verdicts a minute over the last of them: pauses of more than a minute are not work.
  rate() {
    let span = 0;
    let done = 0;
    for (let i = this.times.length - 1; i > 0 && done < RECENT; i -= 1) {
      const gap = this.times[i].at - this.times[i - 1].at;
      if (gap > 60000) break;
      span += gap;
      done += this.times[i].count;
    }
    return span ? `${Math.round((60000 * done) / span)} a minute · ` : "";
  }

  status() {
    const waiting = this.outbox.waiting.length;
    this.sync.textContent = this.outbox.failures ? `offline: ${waiting} kept here` : waiting ? `saving ${waiting}` : "all saved";
    this.sync.classList.toggle("nm-offline", this.outbox.failures > 0);
    this.count.textContent = this.view ? this.rate() + this.view.left() : "";
    if (this.stage?.dataset.suggestion) this.root.dataset.suggestion = this.stage.dataset.suggestion;
  }

  help() {
    const lines = [...this.view.helpLines(), ["G", "The data set's guidelines"], ["?", "This list"]];
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
    if (!this.view || !this.root.checkVisibility?.() || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, [contenteditable], dialog")) return;
    const key = event.key.toLowerCase();
    if (event.ctrlKey && key !== "z") return;
    if (["enter", " "].includes(key) && event.target.closest("button.nm-button")) return; // the button's own
    const action = { "?": () => this.help(), g: () => showGuidelines(this.set) }[key] ?? this.view.action(key);
    if (!action) return;
    event.preventDefault();
    action();
  }

  empty() {
    const set = current();
    const busy = set?.mining_job && !["finished", "failed", "cancelled"].includes(set.mining_job.state);
    fill(
      this.stage,
      busy
        ? notice("empty", "Suggestions are being looked for. This takes a few seconds on a small data set.", this.button("Look again", () => loadDataSets()))
        : notice(
            "empty",
            this.times.length ? "That was the last suggestion. Mine again with a newer model to find more." : "There are no open suggestions.",
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
      fill(this.stage, notice("error", error.message));
    }
  }
}
