// Runs: the list, and one run watched live. The page only reads; closing it stops nothing.

import { get, picture, post } from "./api.js";
import { lineChart } from "./chart.js";
import { fill, h, notice, number, percent, seconds } from "./dom.js";
import { histograms } from "./histogram.js";
import { mineAgain } from "./mining.js";
import { previews } from "./previews.js";
import { onDataSet } from "./state.js";

const OVER = new Set(["finished", "failed", "cancelled"]);
const METRICS = [
  ["map_at_r", "mAP@R, both ways", percent],
  ["i2t_r@1", "image → caption, R@1", percent],
  ["i2t_r@5", "image → caption, R@5", percent],
  ["i2t_r@10", "image → caption, R@10", percent],
  ["t2i_r@1", "caption → image, R@1", percent],
  ["t2i_r@5", "caption → image, R@5", percent],
  ["t2i_r@10", "caption → image, R@10", percent],
  ["i2t_median_rank", "image → caption, median rank", (v) => v?.toFixed(1) ?? "–"],
  ["hard_negative_accuracy", "hard-negative accuracy", percent],
  ["retention_map_at_r", "mAP@R where nobody judged (retention)", percent],
  ["gallery_loss", "loss over the whole gallery, nats", (v) => v?.toFixed(3) ?? "–"],
  ["modality_gap", "modality gap", (v) => v?.toFixed(3) ?? "–"],
];

export function runs(root) {
  const view = new Runs(root);
  onDataSet((set) => view.open(set));
  setInterval(() => view.tick(), 1000);
  return view;
}

class Runs {
  constructor(root) {
    this.root = root;
    this.list = h("ul", { class: "nm-runs", "aria-label": "Runs" });
    this.detail = h("section", { class: "nm-run", "aria-label": "Run" });
    this.quiet = 0;
  }

  async open(set) {
    this.set = set;
    this.watched = null;
    if (!set) return fill(this.root, notice("empty", "There is no data set yet. Import one in the Data tab."));
    fill(this.root, h("div", { class: "nm-runs-page" }, this.list, this.detail));
    const wanted = Number(new URLSearchParams(location.search).get("run"));
    await this.refresh();
    const first = this.all?.find((run) => run.id === wanted) ?? this.all?.[0];
    if (first) this.watch(first.id);
  }

  async refresh() {
    try {
      this.all = (await get("/api/runs", { data_set_id: this.set.id, limit: 50 })).runs;
    } catch (error) {
      return fill(this.list, notice("error", error.message));
    }
    if (!this.all.length) fill(this.detail, notice("empty", "No run yet. Start one in the Fine-tune tab."));
    fill(this.list, this.all.map((run) => this.row(run)));
  }

  row(run) {
    const share = run.total ? run.done / run.total : 0;
    return h(
      "li",
      {},
      h(
        "button",
        { type: "button", class: `nm-run-row${run.id === this.watched ? " nm-chosen" : ""}`, onclick: () => this.watch(run.id) },
        h("strong", {}, run.name),
        h("span", { class: `nm-state nm-state-${run.state}` }, run.state),
        OVER.has(run.state) || !run.total ? null : h("progress", { max: 1, value: share, "aria-label": "Progress" }),
        run.reason ? h("small", {}, run.reason) : null,
      ),
    );
  }

  async watch(id) {
    this.watched = id;
    this.points = [];
    this.after = 0;
    this.shownStep = -1;
    this.seen = {}; // histograms by when, the sweep, the coverage, remarks
    const address = new URL(location.href);
    address.searchParams.set("run", id);
    history.replaceState(null, "", address);
    this.head = h("div", {});
    this.chart = h("div", {});
    this.figures = h("div", {});
    this.previews = h("div", {});
    this.yaml = h("pre", {});
    fill(this.detail, this.head, this.chart, this.figures, this.previews, h("details", {}, h("summary", {}, "Configuration (YAML)"), this.yaml));
    for (const row of this.list.querySelectorAll(".nm-run-row")) row.classList.remove("nm-chosen");
    await this.update(true);
    this.refresh();
  }

  async tick() {
    if (!this.watched || this.busy || document.hidden || !this.root.checkVisibility?.()) return;
    if (this.over && this.quiet++ % 15) return; // nothing runs: look seldom
    this.busy = true;
    await this.update(false).catch(() => {});
    this.busy = false;
  }

  async update(first) {
    const id = this.watched;
    try {
      const page = await get(`/api/runs/${id}/events`, { after: this.after, limit: 1000 });
      if (id !== this.watched) return;
      for (const event of page.events) this.take(event);
      this.after = page.events.at(-1)?.id ?? this.after;
      const ended = OVER.has(page.state);
      if (first || page.events.length || ended !== this.over) {
        this.run = await get(`/api/runs/${id}`);
        this.drawRun(page);
        await this.drawPreviews(id);
      }
      if (ended !== this.over || (!ended && this.quiet++ % 3 === 0)) this.refresh();
      this.over = ended;
      this.connection?.remove();
    } catch (error) {
      this.connection?.remove();
      this.connection = notice("error", `${error.message} The run goes on; this page attaches again by itself.`);
      this.detail.prepend(this.connection);
    }
  }

  take(event) {
    if (event.kind === "step") this.points.push(...(event.body.points ?? []));
    if (event.kind === "step") this.latest = event.body;
    if (event.kind === "evaluated" && event.body.histograms) this.seen[event.body.when === "before" ? "before" : "now"] = event.body.histograms;
    if (event.kind === "swept") this.seen.sweep = event.body;
    if (event.kind === "epoch") this.seen.coverage = event.body.coverage;
  }

  drawRun(page) {
    const run = this.run;
    const facts = [
      page.total ? `step ${number(page.done)} of ${number(page.total)}` : null,
      page.rate && !OVER.has(page.state) ? `${page.rate.toFixed(1)} steps/s` : null,
      page.eta_s && !OVER.has(page.state) ? `${seconds(page.eta_s)} left` : null,
      run.counts ? `${number(run.counts.extra_positives ?? 0)} extra positives, ${number(run.counts.masks ?? 0)} masks, ${number(run.counts.hard_negatives ?? 0)} hard negatives` : null,
      run.counts?.hard_negatives && this.seen.coverage !== undefined ? `${percent(this.seen.coverage, 0)} of them met per epoch` : null,
    ].filter(Boolean);
    const act = (verb, label) => h("button", { type: "button", class: "nm-button", onclick: () => this.act(verb) }, label);
    fill(
      this.head,
      h("h2", {}, run.name, " ", h("span", { class: `nm-state nm-state-${run.state}` }, run.state)),
      h("p", { class: "nm-meta" }, facts.join(" · ")),
      run.reason ? notice(run.state === "failed" ? "error" : "info", run.reason) : null,
      OVER.has(run.state) ? null : h("progress", { class: "nm-wide", max: page.total || 1, value: page.done, "aria-label": "Progress" }),
      h(
        "div",
        { class: "nm-tools" },
        OVER.has(run.state) ? null : act("cancel", "Cancel"),
        ["paused", "failed", "cancelled"].includes(run.state) ? act("resume", "Resume") : null,
        ["running", "claimed", "queued"].includes(run.state) ? act("pause", "Pause") : null,
        run.has_checkpoint ? h("a", { class: "nm-button", href: `/api/runs/${run.id}/checkpoint`, download: "" }, "Download checkpoint") : null,
        mineAgain(run),
      ),
    );
    fill(this.chart, this.points.length > 1 ? [h("h3", {}, "Loss"), lineChart(this.points, { label: "Loss by step" })] : null);
    const apart = histograms(this.seen.before, this.seen.now);
    fill(this.figures, metricsTable(run), sweepTable(this.seen.sweep), apart ? [h("h3", {}, "Similarities"), apart] : null);
    this.yaml.textContent = run.config_yaml ?? "";
  }

  async drawPreviews(id) {
    const page = await get(`/api/runs/${id}/previews`);
    if (id !== this.watched || page.step === this.shownStep) return;
    this.shownStep = page.step;
    fill(this.previews, previews(page));
  }

  async act(verb) {
    try {
      await post(`/api/runs/${this.watched}/${verb}`);
      await this.update(true);
    } catch (error) {
      this.head.append(notice("error", error.message));
    }
  }
}

function metricsTable(run) {
  const before = run.metrics_before;
  if (!before) return null;
  const after = run.metrics_after;
  const rows = METRICS.filter(([key]) => before[key] !== undefined && before[key] !== null).map(([key, name, show]) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, name),
      h("td", {}, show(before[key])),
      h("td", {}, after ? show(after[key]) : "…"),
      h("td", {}, after ? difference(before[key], after[key], show) : ""),
    ),
  );
  return h(
    "table",
    { class: "nm-table" },
    h("caption", {}, "On the held-out split"),
    h("thead", {}, h("tr", {}, ["", "before", "after", ""].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, rows),
  );
}

// Mixes of base and tuned weights: how much of the gain costs how much of what was known.
function sweepTable(sweep) {
  if (!sweep) return null;
  return h(
    "table",
    { class: "nm-table" },
    h("caption", {}, "Mixes of base and tuned weights"),
    h("thead", {}, h("tr", {}, ["share of tuned", "mAP@R", "retention", ""].map((text) => h("th", { scope: "col" }, text)))),
    h(
      "tbody",
      {},
      sweep.mixes.map((mix) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, percent(mix.share, 0)),
          h("td", {}, percent(mix.metrics.map_at_r)),
          h("td", {}, percent(mix.metrics.retention_map_at_r)),
          h("td", {}, mix.share === sweep.recommended ? "recommended" : ""),
        ),
      ),
    ),
  );
}

function difference(before, after, show) {
  const change = after - before;
  return `${change >= 0 ? "+" : "−"}${show(Math.abs(change)).replace(" %", " points")}`;
}
