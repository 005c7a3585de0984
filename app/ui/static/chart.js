// A small line chart: the loss and its running mean.

import { svg } from "./dom.js";

const WIDTH = 640;
const HEIGHT = 200;
const PAD = { left: 44, right: 10, top: 10, bottom: 24 };

export function lineChart(points, { label }) {
  const chart = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "nm-chart", role: "img", "aria-label": label });
  if (points.length < 2) return chart;
  const xs = points.map((p) => p[0]);
  const ys = points.map((p) => p[1]);
  const [x0, x1] = [xs[0], xs.at(-1)];
  const [y0, y1] = [Math.min(...ys), Math.max(...ys)];
  const x = (v) => PAD.left + ((v - x0) / (x1 - x0 || 1)) * (WIDTH - PAD.left - PAD.right);
  const y = (v) => HEIGHT - PAD.bottom - ((v - y0) / (y1 - y0 || 1)) * (HEIGHT - PAD.top - PAD.bottom);
  for (const share of [0, 0.5, 1]) {
    const value = y0 + share * (y1 - y0);
    chart.append(
      svg("line", { x1: PAD.left, x2: WIDTH - PAD.right, y1: y(value), y2: y(value), class: "nm-rule" }),
      svg("text", { x: PAD.left - 6, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(2)),
    );
  }
  chart.append(
    svg("text", { x: PAD.left, y: HEIGHT - 6 }, `step ${x0}`),
    svg("text", { x: WIDTH - PAD.right, y: HEIGHT - 6, "text-anchor": "end" }, `step ${x1}`),
    svg("polyline", { points: points.map((p) => `${x(p[0])},${y(p[1])}`).join(" "), class: "nm-line nm-faint" }),
    svg("polyline", { points: smooth(points).map((p) => `${x(p[0])},${y(p[1])}`).join(" "), class: "nm-line" }),
  );
  return chart;
}

function smooth(points) {
  const keep = Math.min(0.95, 1 - 4 / points.length);
  let mean = points[0][1];
  return points.map(([step, value]) => [step, (mean = keep * mean + (1 - keep) * value)]);
}
