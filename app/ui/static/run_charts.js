// The curves of one run: loss and its parts, learning rate, logit scale, metrics on the held-out split, throughput.

import { lineChart, plain } from "./chart.js";
import { h, percent } from "./dom.js";

const WATCHED = [
  ["map_at_r", "mAP@R"],
  ["i2t_r@1", "image → caption R@1"],
  ["t2i_r@1", "caption → image R@1"],
  ["hard_negative_accuracy", "hard-negative accuracy"],
  ["retention_map_at_r", "retention"],
];

// points: [step, loss, lr, logit scale, pairs a second, parts?]; evaluations: [{ step, metrics }]
export function runCharts(points, evaluations) {
  if (points.length < 2) return null;
  const column = (at) => points.filter((p) => p[at] !== undefined).map((p) => [p[0], p[at]]);
  const metrics = WATCHED.map(([key, name]) => ({ name, dots: true, points: evaluations.filter((e) => Number.isFinite(e.metrics[key])).map((e) => [e.step, e.metrics[key]]) })).filter((s) => s.points.length);
  return h(
    "div",
    { class: "nm-charts" },
    lineChart({ title: "Loss", series: lossSeries(points), height: 210 }),
    metrics.length ? lineChart({ title: "On the held-out split", series: metrics, format: (v) => percent(v, 0), height: 210 }) : null,
    lineChart({ title: "Learning rate", series: [{ name: "learning rate", points: column(2) }], height: 140 }),
    column(3).length ? lineChart({ title: "Logit scale", series: [{ name: "logit scale", points: column(3) }], height: 140 }) : null,
    column(4).length ? lineChart({ title: "Pairs a second", series: [{ name: "pairs a second", points: column(4) }], format: plain, height: 140 }) : null,
  );
}

function lossSeries(points) {
  const names = Object.keys(points.at(-1)[5] ?? {});
  const whole = { name: "loss", points: points.map((p) => [p[0], p[1]]), faint: true };
  return [whole, ...names.map((name) => ({ name, points: points.filter((p) => p[5]?.[name] !== undefined).map((p) => [p[0], p[5][name]]) }))];
}
