// The desk: the views of one queue, their switch, the keys, the outbox, the numbers and the line at the foot.

import { Again } from "./again.js";
import { post } from "./api.js";
import { BoardView } from "./board.js";
import { DisagreementsView } from "./disagreements.js";
import { fill, h, notice, number, percent } from "./dom.js";
import { FocusView } from "./focus.js";
import { showGuidelines } from "./guidelines.js";
import { showKeys } from "./keylist.js";
import { actionOf, labelOf } from "./keys.js";
import { Meanwhile } from "./meanwhile.js";
import { jobOf, nothingLeft } from "./nothing_left.js";
import { Outbox } from "./outbox.js";
import { Panel } from "./panel.js";
import { chip, onSlice, sliceOf } from "./slice.js";
import { loadDataSets, onDataSets } from "./state.js";
import { SweepView } from "./sweep.js";

const VIEWS = {
  board: { title: "Anchor board", View: BoardView },
  focus: { title: "Focus", View: FocusView },
  sweep: { title: "Sweep", View: SweepView },
  disagreements: { title: "Disagreements", View: DisagreementsView },
};
const KEY = "nearmiss.view";
const RECENT = 60; // verdicts that the rate looks back on
const OWN_KEYS = "button.nm-button, button.nm-answer"; // reached by Tab, Enter and Space press them
const PATIENCE = 300; // milliseconds that a view may take before the page says what it waits for
const PATIENT_SEARCH = 5000; // milliseconds that Explore may take to show its field
const SOON = 2000; // milliseconds until an empty desk looks again while a job runs
const LATER = 20000; // and while none does
const ASK_AGAIN = 50; // verdicts until the numbers are asked for again

export function curate(root) {
  const desk = new Desk(root);
  onDataSets((set) => desk.follow(set));
  onSlice(() => desk.open(desk.set));
  addEventListener("keydown", (event) => desk.key(event));
  // after a click by mouse or finger the keys mean answers again
  root.addEventListener("click", (event) => event.detail && event.target.closest(OWN_KEYS)?.blur());
}

class Desk {
  constructor(root) {
    this.root = root;
    this.times = []; // {at, count}
    this.outbox = new Outbox(() => this.status(), (answer) => this.meanwhile.add(answer?.others));
    this.meanwhile = new Meanwhile(this.outbox);
    this.panel = new Panel({ onPanel: (numbers) => this.told(numbers) });
    this.sync = h("span", { class: "nm-sync", role: "status" });
    this.count = h("span", { class: "nm-count" });
    this.pause = h("div", { "aria-live": "polite" });
    this.pausedAt = 0; // the streak that the person has been asked about
    this.since = 0;
    this.again = new Again(() => loadDataSets().catch(() => this.lookLater()), () => this.root);
    const wanted = new URLSearchParams(location.search).get("view") ?? localStorage.getItem(KEY);
    this.name = wanted in VIEWS ? wanted : "board";
  }

  // Told whenever the data sets are asked for again, as while a job runs: who is at work is not disturbed.
  follow(set) {
    const isSame = Boolean(set && this.view && set.id === this.set?.id);
    if (isSame) this.set = set;
    if (isSame && !this.isEmpty) return;
    if (!isSame || (set.num_open_suggestions && !sliceOf(set.id))) return void this.open(set);
    fill(this.stage, this.nothing());
    this.lookLater();
  }

  async open(set) {
    this.set = set;
    this.isEmpty = false;
    this.again.stop();
    if (!set) {
      this.lookLater();
      return fill(this.root, notice("empty", "There is no data set yet. Import one in the Data tab."));
    }
    this.stage = h("div", { class: "nm-stage-root" });
    const view = new VIEWS[this.name].View(this.stage, {
      outbox: this.outbox,
      onEmpty: (numLeased) => this.empty(numLeased),
      onStatus: () => this.status(),
      onDecided: (count) => this.decided(count),
      me: () => this.panel.shown?.person,
    });
    this.view = view;
    this.foot = h("p", { class: "nm-foot", hidden: true }, this.count, " · ", this.sync);
    fill(this.root, (this.views = h("div", {}, this.bar())), this.meanwhile.root, this.pause, this.stage, this.foot, this.panel.root);
    const { stage } = this;
    setTimeout(() => stage.hasChildNodes() || fill(stage, notice("empty", "Fetching the next questions …")), PATIENCE);
    try {
      if (this.name === "sweep") await this.panel.open(set); // it asks whose sample is whose
      await view.open(set);
    } catch (error) {
      if (this.view === view) fill(this.stage, notice("error", error.message, this.button("Try again", () => this.open(set))));
    }
    if (this.view === view && this.name !== "sweep") this.panel.open(set); // the first question comes before the numbers
  }

  bar() {
    const shown = this.panel.shown;
    const views = Object.entries(VIEWS)
      .filter(([name]) => name !== "disagreements" || name === this.name || shown?.num_disputed || shown?.agreement.length)
      .map(([name, { title }]) => {
        const count = name === "disagreements" && shown?.num_disputed ? ` (${number(shown.num_disputed)})` : "";
        return h("button", { type: "button", class: `nm-button${name === this.name ? " nm-chosen" : ""}`, "aria-pressed": name === this.name, onclick: () => this.choose(name) }, `${title}${count}`);
      });
    return h("div", { class: "nm-bar nm-views", role: "group", "aria-label": "View of the queue" }, views, this.button("Progress", () => this.panel.toggle(), labelOf("progress")), this.button("Guidelines", () => showGuidelines(this.set), labelOf("guidelines")), chip(this.set.id), this.button("Keys", () => this.help(), labelOf("help")));
  }

  button(label, onclick, key) {
    return h("button", { type: "button", class: "nm-button", onclick }, label, key ? h("kbd", {}, key) : null);
  }

  choose(name) {
    this.name = name;
    localStorage.setItem(KEY, name);
    const address = new URL(location.href);
    address.searchParams.set("view", name); // the address leads back to the desk
    history.replaceState(null, "", address);
    this.open(this.set);
  }

  decided(count) {
    this.times.push({ at: performance.now(), count });
    this.since += count;
    if (this.since >= ASK_AGAIN) {
      this.since = 0;
      this.panel.load();
    }
    this.status();
  }

  // New numbers: the switch may have a count to show, and a long streak is worth a question.
  told(numbers) {
    if (this.views && !this.views.contains(document.activeElement)) fill(this.views, this.bar());
    if (numbers.stop_bound === null) this.pausedAt = 0;
    if (numbers.stop_bound === null || numbers.streak < 2 * this.pausedAt) return;
    this.pausedAt = numbers.streak;
    const done = () => fill(this.pause);
    fill(
      this.pause,
      notice(
        "stop",
        `${numbers.streak} in a row without a false negative: stop here? Of suggestions like these at most ${percent(numbers.stop_bound)} would be any (95 % confidence).`,
        this.button("Sweep the rest", () => (done(), this.choose("sweep"))),
        this.button("Go on", done),
      ),
    );
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
    if (this.foot) this.foot.hidden = false;
    const waiting = this.outbox.waiting.length;
    this.sync.textContent = this.outbox.failures ? `offline: ${waiting} kept here` : waiting ? `saving ${waiting}` : "all saved";
    this.sync.classList.toggle("nm-offline", this.outbox.failures > 0);
    this.count.textContent = this.view ? this.rate() + this.view.left() : "";
    if (this.stage?.dataset.suggestion) (this.root.parentElement ?? this.root).dataset.suggestion = this.stage.dataset.suggestion;
  }

  help() {
    const actions = [...this.view.actions(), "progress", "guidelines", "search", "help"];
    showKeys(actions, this.view.helpLines?.() ?? [], () => this.open(this.set));
  }

  search() {
    document.querySelector('button[role=tab][data-tab-id="explore"]')?.click();
    const until = performance.now() + PATIENT_SEARCH;
    const wait = () => {
      const input = [...document.querySelectorAll("input[type=search]")].find((one) => one.checkVisibility?.());
      if (input) input.focus();
      else if (performance.now() < until) requestAnimationFrame(wait); // Explore loads when it is first seen
    };
    wait();
  }

  key(event) {
    if (!this.view || !this.root.checkVisibility?.() || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]")) return; // what is typed there is no answer
    // a dialog that has just closed may hold the focus until the next frame, but its keys are meant for the desk
    const place = event.target.closest("dialog") ? this.root : event.target;
    if (place.closest("input, textarea, select, [contenteditable]")) return;
    const key = event.key.toLowerCase();
    if (event.ctrlKey && key !== "z") return;
    if (["enter", " "].includes(key) && place.closest(OWN_KEYS)) return; // the button's own
    const name = event.ctrlKey ? "undo" : /^[1-9]$/.test(key) ? key : actionOf(key);
    if (!name) return;
    const own = { help: () => this.help(), guidelines: () => showGuidelines(this.set), progress: () => this.panel.toggle(), search: () => this.search() };
    const action = own[name] ?? this.view.action(name);
    if (!action) return;
    event.preventDefault();
    action();
  }

  // Nothing to judge: says why, and looks again by itself, soon while a job runs and now and then without one.
  empty(numLeased = 0) {
    this.isEmpty = true;
    this.numLeased = numLeased;
    fill(this.stage, this.nothing());
    this.lookLater();
  }

  nothing() {
    return nothingLeft(this.set, {
      numLeased: this.numLeased,
      slice: sliceOf(this.set.id),
      hasJudged: this.times.length > 0,
      lookAgain: () => this.open(this.set),
      mine: () => this.mine(),
    });
  }

  lookLater() {
    this.again.after(!this.set || jobOf(this.set) ? SOON : LATER);
  }

  async mine() {
    try {
      await post(`/api/data-sets/${this.set.id}/mine`, {});
      await loadDataSets();
    } catch (error) {
      fill(this.stage, notice("error", error.message));
    }
  }
}
