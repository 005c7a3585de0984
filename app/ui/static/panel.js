// Beside the desk: pace, what is left, false negatives with their interval, people, agreement, and how sure the ranking is.

import { get, post } from "./api.js";
import { counted, fill, h, number, percent, waiting } from "./dom.js";
import { FEW } from "./mining.js";

const EVERY_MS = 60000; // the numbers move slowly, and fifty people may be looking

export class Panel {
  // `onPanel` whenever there are new numbers.
  constructor({ onPanel }) {
    this.onPanel = onPanel;
    this.root = h("section", { class: "nm-panel", "aria-label": "Progress, people and agreement", hidden: true });
    this.shown = null;
    setInterval(() => document.visibilityState === "visible" && this.root.checkVisibility?.() !== false && this.root.isConnected && this.load(), EVERY_MS);
  }

  open(set) {
    this.set = set;
    return this.load();
  }

  toggle() {
    this.root.hidden = !this.root.hidden;
    if (this.root.hidden) return;
    this.root.scrollIntoView({ block: "nearest" }); // under a full board it would stand below the window
    this.load();
  }

  async load() {
    if (!this.set) return;
    try {
      this.shown = await get(`/api/data-sets/${this.set.id}/desk`);
      this.draw();
      this.onPanel(this.shown);
    } catch {
      // the desk itself says when the server is away
    }
  }

  draw() {
    const p = this.shown;
    const wrong = p.false_negatives;
    const interval = (share) => (share.rate === null ? "–" : `${percent(share.rate)} (${percent(share.low)} to ${percent(share.high)})`);
    const decided = Object.values(p.decided).reduce((sum, num) => sum + num, 0);
    const facts = [
      ["Your pace", p.per_minute === null ? "–" : `${number(Math.round(p.per_minute))} a minute`, p.per_minute === null ? "known after three minutes at work" : "median of your minutes at work"],
      ["Decided, left", `${number(decided)}, ${waiting(p.remaining)}`, p.num_waiting && p.people.length > 1 ? `${counted(p.num_waiting, "waits", "wait")} for a second person` : ""],
      ["False negatives", interval(wrong), wrong.out_of ? `${wrong.num} of ${number(wrong.out_of)} drawn at random, bulk accepts left out; exact 95 % interval` : "known after the first ones drawn at random"],
      ["Ranking", ranked(p.ranking), sure(p.ranking)],
    ];
    fill(
      this.root,
      h("dl", { class: "nm-facts" }, facts.map(([name, value, note]) => h("div", {}, h("dt", {}, name), h("dd", {}, value, note ? h("small", {}, note) : null)))),
      p.people.length ? table("Care", ["Person", "Verdicts", "Controls right"], p.people.map((one) => [one.person, number(one.num_verdicts), one.controls.out_of ? `${one.controls.num} of ${one.controls.out_of}, ${interval(one.controls)}` : "–"])) : null,
      p.agreement.length ? table("Agreement", ["People", "In common", "Alike", "Cohen's κ"], p.agreement.map((one) => [one.people.join(" and "), number(one.num), percent(one.observed, 0), one.kappa === null ? "–" : one.kappa.toFixed(2)])) : null,
      this.shares(p),
    );
  }

  shares(p) {
    const told = h("span", { role: "status" });
    const choose = (label, name, values) =>
      h("label", { class: "nm-check" }, label, h("select", { "aria-label": label, onchange: (event) => this.set_({ [name]: Number(event.target.value) }, told) }, [...new Set([...values, p[name]])].sort((a, b) => a - b).map((share) => h("option", { value: share, selected: share === p[name] }, percent(share, 0)))));
    return h("div", { class: "nm-bar nm-meta" }, choose("Judged by two people", "overlap", [0, 0.05, 0.1, 0.2, 0.5, 1]), choose("Controls", "control_share", [0, 0.03, 0.04, 0.05, 0.1]), told);
  }

  async set_(body, told) {
    try {
      this.shown = await post(`/api/data-sets/${this.set.id}/desk`, body);
      told.textContent = "Set for all who judge here.";
    } catch (error) {
      this.draw();
      told.textContent = error.message;
      this.root.querySelector(".nm-bar").append(told);
    }
  }
}

function ranked(ranking) {
  if (!ranking) return "as mined";
  return ranking.learned ? `learned from ${counted(ranking.verdicts, "verdict")}` : `${counted(ranking.verdicts, "verdict")} seen`;
}

function sure(ranking) {
  if (!ranking) return "learns after every hundred verdicts";
  if (!ranking.learned) return "needs five of each answer before it learns";
  const { average_precision: ap, calibration_error: off, brier_skill: skill } = ranking.quality;
  const parts = [off === null ? null : `probabilities off by ${percent(off)} on average`, ap === null ? null : `average precision ${ap.toFixed(2)}`, skill === null ? null : `Brier skill ${skill.toFixed(2)}`];
  const { num_match: yes, num_verdicts: all } = ranking.quality;
  const few = Math.min(yes, all - yes) < FEW ? `; rests on ${number(yes)} yes and ${number(all - yes)} no, so take it roughly` : "";
  return parts.filter(Boolean).join(", ") + few;
}

function table(caption, heads, rows) {
  return h("table", { class: "nm-table" }, h("caption", {}, caption), h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))), h("tbody", {}, rows.map(([first, ...rest]) => h("tr", {}, h("th", { scope: "row" }, first), rest.map((value) => h("td", {}, value))))));
}
