// The parts of a run that page and report share: charts, figures, previews, X-ray, configuration.

import { h, number, percent } from "./dom.js";
import { histograms } from "./histogram.js";
import { interval, metricsTable, points, sweepTable, verdictOf } from "./metrics_table.js";
import { runCharts } from "./run_charts.js";
import { xray } from "./xray.js";

export const chartsOf = (story) => runCharts(story.points, story.evaluations);

export function figuresOf(run, story, gain) {
  const apart = histograms(story.similarities);
  return [
    gain ? headline(gain) : null,
    h("div", { class: "nm-two" }, h("div", {}, metricsTable(run, gain)), h("div", {}, apart ? [h("h3", {}, "Similarities"), apart] : null, sweepTable(story.sweep), story.sweep ? h("p", { class: "nm-meta" }, "The recommended mix has the best mAP@R among those that lose at most one point of retention. Export it with evaluation.export_mix: recommended.") : null)),
  ];
}

function headline(gain) {
  return h("p", { class: "nm-headline" }, h("strong", {}, `${points(gain.gain)} points mAP@R`), " against the base", gain.low === null ? "" : `, 95 % interval${interval(gain)}: ${verdictOf(gain)}`, h("span", { class: "nm-meta" }, ` · ${number(gain.num_queries)} queries, paired; bootstrap over components`));
}

export function xrayOf(story, captions) {
  const picture = xray(story.looks, captions);
  return picture ? [h("h3", {}, "Batch X-ray"), picture] : null;
}

export function labelWords(counts, coverage) {
  const words = [
    [counts?.extra_positives, "extra positives"],
    [counts?.soft, "soft positives"],
    [counts?.masks, "masks"],
    [counts?.hard_negatives, "hard negatives"],
    [counts?.broken_pairs, "broken pairs left out"],
  ]
    .filter(([num]) => num)
    .map(([num, name]) => `${number(num)} ${name}`);
  if (counts?.hard_negatives && coverage !== undefined) words.push(`${percent(coverage, 0)} of the hard negatives met per epoch`);
  return words.length ? words.join(", ") : "no labels";
}
