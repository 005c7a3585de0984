// Runs side by side: what differed, what came out, with paired intervals.

import { lineChart } from "./chart.js";
import { h, number } from "./dom.js";
import { METRICS, interval, points, table, verdictOf } from "./metrics_table.js";

const ARMS = { none: "no labels", sham: "sham labels", given: "verdicts" };

export function comparisonBody(comparison) {
  const { runs, config, gains, notes, conclusion } = comparison;
  const curves = runs.filter((run) => run.curve.length).map((run) => ({ name: run.name, points: run.curve }));
  return [
    notes.map((text) => h("p", { class: "nm-notice nm-info", role: "note" }, text)),
    conclusion ? h("p", { class: "nm-conclusion" }, h("strong", {}, conclusion)) : null,
    gainList(runs, gains),
    metrics(runs),
    curves.length ? lineChart({ title: "Loss", series: curves, height: 220 }) : null,
    curves.length && new Set(runs.map((run) => run.arm)).size > 1 ? h("p", { class: "nm-meta" }, "Losses with different labels are different losses; compare the metrics.") : null,
    config.length ? table("Configuration where it differs", ["", ...runs.map((run) => run.name)], config.map((row) => h("tr", {}, h("th", { scope: "row" }, row.path), row.values.map((v) => h("td", {}, show(v)))))) : h("p", { class: "nm-meta" }, "The configurations are the same."),
    verdicts(runs),
  ];
}

function gainList(runs, gains) {
  const name = (id) => runs.find((run) => run.id === id)?.name;
  const between = gains.filter((gain) => gain.against !== null);
  if (!between.length) return h("p", { class: "nm-meta" }, "Intervals appear when two of the runs are measured.");
  const line = (gain) =>
    h("li", { class: "nm-gain" }, h("span", {}, h("b", {}, name(gain.run_id)), " less ", h("b", {}, name(gain.against))), bar(gain, between), h("span", { class: "nm-gain-words" }, `${points(gain.gain)}${interval(gain)}: ${verdictOf(gain)}`));
  return h("div", {}, h("h3", {}, "mAP@R in points, paired query by query, 95 % intervals"), h("ul", { class: "nm-gains" }, between.map(line)));
}

// The interval as a bar around zero, on one scale for all.
function bar(gain, all) {
  const most = Math.max(...all.flatMap((g) => [g.low, g.high, g.gain].map((v) => Math.abs(v ?? 0))), 0.001);
  const at = (value) => `${50 + (45 * value) / most}%`;
  const low = gain.low ?? gain.gain;
  const high = gain.high ?? gain.gain;
  return h("span", { class: "nm-gain-bar", "aria-hidden": "true" }, h("i", { class: "nm-zero" }), h("i", { class: "nm-range", style: `left: ${at(low)}; right: calc(100% - ${at(high)})` }), h("i", { class: "nm-point", style: `left: ${at(gain.gain)}` }));
}

function metrics(runs) {
  const known = METRICS.filter(([key]) => runs.some((run) => Number.isFinite(run.metrics_after?.[key])));
  const base = runs.find((run) => run.metrics_before)?.metrics_before;
  if (!known.length) return null;
  const row = ([key, name, as]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, base ? as(base[key]) : "–"), runs.map((run) => h("td", {}, run.metrics_after ? as(run.metrics_after[key]) : "…")));
  return table("On the held-out split", ["", `base of ${runs[0].name}`, ...runs.map((run) => run.name)], known.map(row));
}

function verdicts(runs) {
  const rows = [
    ["labels the loss got", (run) => ARMS[run.arm] ?? run.arm],
    ["extra positives", (run) => number(run.counts.extra_positives)],
    ["masks", (run) => number(run.counts.masks)],
    ["hard negatives", (run) => number(run.counts.hard_negatives)],
    ["verdicts added since the first", (run) => number(run.verdicts.added)],
    ["verdicts changed", (run) => number(run.verdicts.changed)],
    ["verdicts taken back", (run) => number(run.verdicts.removed)],
  ];
  return table("Labels and verdicts", ["", ...runs.map((run) => run.name)], rows.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), runs.map((run) => h("td", {}, value(run))))));
}

function show(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number") return String(value);
  if (typeof value === "object") return JSON.stringify(value);
  return value === "" ? "–" : String(value);
}
