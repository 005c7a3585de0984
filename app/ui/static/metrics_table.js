// Metrics before and after with the interval of the gain, and the mixes of base and tuned weights.

import { h, percent } from "./dom.js";

const figure = (digits) => (value) => (Number.isFinite(value) ? value.toFixed(digits) : "–");
export const METRICS = [
  ["map_at_r", "mAP@R, both ways", percent],
  ["i2t_r@1", "image → caption, R@1", percent],
  ["i2t_r@5", "image → caption, R@5", percent],
  ["i2t_r@10", "image → caption, R@10", percent],
  ["t2i_r@1", "caption → image, R@1", percent],
  ["t2i_r@5", "caption → image, R@5", percent],
  ["t2i_r@10", "caption → image, R@10", percent],
  ["i2t_median_rank", "image → caption, median rank", figure(1)],
  ["hard_negative_accuracy", "hard-negative accuracy", percent],
  ["retention_map_at_r", "retention: mAP@R where nobody judged", percent],
  ["gallery_loss", "loss over the whole gallery, nats", figure(3)],
  ["modality_gap", "modality gap", figure(3)],
];

export function metricsTable(run) {
  const before = run.metrics_before;
  if (!before) return null;
  const after = run.metrics_after;
  const known = METRICS.filter(([key]) => before[key] !== undefined && before[key] !== null);
  const row = ([key, name, show]) =>
    h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, show(before[key])), h("td", {}, after ? show(after[key]) : "…"), h("td", {}, after ? difference(before[key], after[key], show) : ""));
  return table("On the held-out split", ["", "before", "after", "change"], known.map(row));
}

// "(+1.9 … +4.1)" in points
export function interval(gain) {
  if (gain.low === null || gain.low === undefined) return "";
  return ` (${points(gain.low)} … ${points(gain.high)})`;
}

export const points = (value) => `${value >= 0 ? "+" : "−"}${Math.abs(100 * value).toFixed(1)}`;

// Whether zero lies outside of the interval, as a word.
export function verdictOf(gain) {
  if (gain.low === null || gain.low === undefined) return "too few queries for an interval";
  if (gain.low > 0) return "better";
  if (gain.high < 0) return "worse";
  return "cannot be told from chance";
}

// Mixes of base and tuned weights: how much of the gain costs how much of what was known.
export function sweepTable(sweep) {
  if (!sweep) return null;
  const row = (mix) =>
    h(
      "tr",
      { class: mix.share === sweep.recommended ? "nm-recommended" : "" },
      h("th", { scope: "row" }, percent(mix.share, 0)),
      h("td", {}, percent(mix.metrics.map_at_r)),
      h("td", {}, percent(mix.metrics.retention_map_at_r)),
      h("td", {}, mix.share === sweep.recommended ? "recommended" : ""),
    );
  return table("Mixes of base and tuned weights", ["share of tuned", "mAP@R", "retention", ""], sweep.mixes.map(row));
}

export function table(caption, head, rows) {
  return h("div", { class: "nm-scroll" }, h("table", { class: "nm-table" }, h("caption", {}, caption), h("thead", {}, h("tr", {}, head.map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, rows)));
}

export function difference(before, after, show) {
  if (!Number.isFinite(before) || !Number.isFinite(after)) return "";
  const change = after - before;
  return `${change >= 0 ? "+" : "−"}${show(Math.abs(change)).replace(" %", " points")}`;
}
