// Runs: the list with its queue, one run watched live, and any of them compared.

import { get } from "./api.js";
import { comparisonBody } from "./comparison.js";
import { fill, h, notice, percent } from "./dom.js";
import { probeByProbe } from "./probe_by_probe.js";
import { OVER } from "./run_actions.js";
import { RunView } from "./run_view.js";
import { onDataSet } from "./state.js";

const MOST_COMPARED = 6;
const LIST_MS = 3000; // while something runs or waits

export function runs(root, { onAgain }) {
  const view = new Runs(root, onAgain);
  onDataSet((set) => view.open(set));
  setInterval(() => view.tick(), LIST_MS);
  return view;
}

class Runs {
  constructor(root, onAgain) {
    this.root = root;
    this.list = h("ul", { class: "nm-runs", "aria-label": "Runs" });
    this.detail = h("section", { class: "nm-run", "aria-label": "Run" });
    this.compareButton = h("button", { type: "button", class: "nm-button", disabled: true, onclick: () => this.compare([...this.chosen]) }, "Compare");
    this.older = h("button", { type: "button", class: "nm-button", hidden: true, onclick: () => this.refresh(this.all.length + 50) }, "Older runs");
    this.view = new RunView(this.detail, { changed: () => this.refresh(), again: onAgain, compare: (ids) => this.compare(ids) });
    this.chosen = new Set();
    this.num = 50;
  }

  async open(set) {
    this.set = set;
    this.watched = null;
    this.view.stop();
    this.chosen.clear();
    if (!set) return fill(this.root, notice("empty", "There is no data set yet. Import one in the Data tab."));
    fill(this.root, h("div", { class: "nm-runs-page" }, h("aside", {}, h("div", { class: "nm-tools nm-runs-tools" }, this.compareButton, h("span", { class: "nm-meta" }, "choose two or more")), this.list, this.older), this.detail));
    const asked = new URLSearchParams(location.search);
    await this.refresh();
    const compared = (asked.get("compare") ?? "").split(",").map(Number).filter(Boolean);
    if (compared.length > 1) return this.compare(compared);
    const wanted = Number(asked.get("run"));
    const first = this.all?.find((run) => run.id === wanted) ?? this.all?.[0];
    if (first) this.watch(first.id);
  }

  tick() {
    const going = this.all?.some((run) => !OVER.has(run.state));
    if (going && !document.hidden && this.root.checkVisibility?.()) this.refresh();
  }

  async refresh(num = this.num) {
    this.num = num;
    try {
      this.all = (await get("/api/runs", { data_set_id: this.set.id, limit: Math.min(num, 200) })).runs;
    } catch (error) {
      return this.list.firstChild ? null : fill(this.list, notice("error", error.message));
    }
    this.older.hidden = this.all.length < num || num >= 200;
    if (!this.all.length) fill(this.detail, notice("empty", "No run yet. Start one in the Fine-tune tab."));
    const focused = document.activeElement?.dataset?.focus;
    fill(this.list, this.all.map((run) => this.row(run)));
    if (focused) this.list.querySelector(`[data-focus="${focused}"]`)?.focus();
  }

  row(run) {
    const tick = h("input", { type: "checkbox", checked: this.chosen.has(run.id), dataset: { focus: `tick-${run.id}` }, "aria-label": `Compare ${run.name}`, onchange: (event) => this.choose(run.id, event.target.checked) });
    return h(
      "li",
      { class: "nm-run-line" },
      tick,
      h(
        "button",
        { type: "button", dataset: { focus: `run-${run.id}` }, class: `nm-run-row${run.id === this.watched ? " nm-chosen" : ""}`, "aria-current": String(run.id === this.watched), onclick: () => this.watch(run.id) },
        h("strong", {}, run.name),
        h("span", { class: `nm-state nm-state-${run.state}` }, run.state),
        OVER.has(run.state) || !run.total ? null : h("progress", { max: 1, value: run.done / run.total, "aria-label": "Progress" }),
        run.reason && run.state !== "finished" ? h("small", {}, run.reason) : null,
        run.metrics_after ? h("small", {}, `mAP@R ${percent(run.metrics_before?.map_at_r)} → ${percent(run.metrics_after.map_at_r)}`) : null,
      ),
    );
  }

  choose(id, wanted) {
    if (wanted) this.chosen.add(id);
    else this.chosen.delete(id);
    this.compareButton.disabled = this.chosen.size < 2 || this.chosen.size > MOST_COMPARED;
    this.compareButton.textContent = this.chosen.size > 1 ? `Compare ${this.chosen.size}` : "Compare";
  }

  watch(id) {
    this.watched = id;
    address({ run: id, compare: null });
    this.mark();
    return this.view.watch(id);
  }

  async compare(ids) {
    this.watched = null;
    this.view.stop();
    this.mark();
    address({ compare: ids.join(","), run: null });
    fill(this.detail, h("p", { class: "nm-meta" }, "Comparing …"));
    try {
      const found = await get(`/api/run-comparisons?${ids.map((id) => `ids=${id}`).join("&")}`);
      if (this.watched) return;
      fill(this.detail, h("div", { class: "nm-section-head" }, h("h2", {}, "Comparison"), h("span", { class: "nm-meta" }, `held against ${found.runs[0].name}`)), h("div", { class: "nm-tools" }, found.runs.map((run) => h("button", { type: "button", class: "nm-button", onclick: () => this.watch(run.id) }, run.name))), comparisonBody(found), await this.probes(found.runs));
    } catch (error) {
      fill(this.detail, notice("error", error.message));
    }
  }

  // Probe by probe: where the runs end, side by side.
  async probes(compared) {
    const pages = await Promise.all(compared.map((run) => get(`/api/runs/${run.id}/previews`)));
    return probeByProbe(compared, pages);
  }

  mark() {
    for (const row of this.list.querySelectorAll(".nm-run-row")) row.classList.toggle("nm-chosen", row.dataset.focus === `run-${this.watched}`);
  }
}

function address(values) {
  const here = new URL(location.href);
  for (const [name, value] of Object.entries(values)) {
    if (value === null) here.searchParams.delete(name);
    else here.searchParams.set(name, value);
  }
  history.replaceState(null, "", here);
}
