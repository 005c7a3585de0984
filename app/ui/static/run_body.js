// The parts of a run that page and report share: charts, figures, previews, X-ray, configuration.

import { counted, h, percent } from "./dom.js";
import { histograms } from "./histogram.js";
import { interval, metricsTable, points, sweepTable, verdictOf } from "./metrics_table.js";
import { runCharts } from "./run_charts.js";
import { xray } from "./xray.js";

export const chartsOf = (story) => runCharts(story.points, story.evaluations);

export function figuresOf(run, story, gain) {
  const apart = histograms(story.similarities);
  return [
    gain ? headline(gain) : null,
    h("div", { class: "nm-two" }, h("div", {}, metricsTable(run)), h("div", {}, apart ? [h("h3", {}, "Similarities"), apart] : null, sweepTable(story.sweep), story.sweep ? h("p", { class: "nm-meta" }, mixWords(run, story.sweep)) : null)),
  ];
}

// What was exported; the mix is chosen on the same held-out split, so that its figure flatters a little.
function mixWords(run, sweep) {
  const rule = "The recommended mix has the best mAP@R among those that lose at most one point of retention.";
  if (!/export_mix: recommended/.test(run.config_yaml)) return `${rule} The tuned weights were exported; evaluation.export_mix: recommended exports this mix.`;
  if (sweep.recommended === 0) return "No mix is better than the base on the held-out split, so the base's weights were exported: this training did not help.";
  return `${rule} It was exported. It is chosen on the split that measures it, which flatters a little.`;
}

function headline(gain) {
  return h("p", { class: "nm-headline" }, h("strong", {}, `${points(gain.gain)} points mAP@R`), " against the base", gain.low === null ? "" : `, 95 % interval${interval(gain)}: ${verdictOf(gain)}`, h("span", { class: "nm-meta" }, ` · ${counted(gain.num_queries, "query", "queries")}, paired; bootstrap over components`));
}

export function xrayOf(story, captions) {
  const picture = xray(story.looks, captions);
  return picture ? [h("h3", {}, "Batch X-ray"), picture] : null;
}

export function labelWords(counts, coverage) {
  const words = [
    [counts?.extra_positives, "extra positive"],
    [counts?.soft, "soft positive"],
    [counts?.masks, "mask"],
    [counts?.hard_negatives, "hard negative"],
    [counts?.broken_pairs, "broken pair left out", "broken pairs left out"],
  ]
    .filter(([num]) => num)
    .map((words) => counted(...words));
  if (counts?.hard_negatives && coverage !== undefined) words.push(`${percent(coverage, 0)} of the hard negatives met per epoch`);
  return words.length ? words.join(", ") : "no labels";
}
