// Line charts in plain SVG: as wide as their place, with a crosshair that tells the values, by mouse, touch and arrow keys.

import { fill, h, svg } from "./dom.js";

const PAD = { left: 52, right: 14, top: 10, bottom: 24 };
const MOST_POINTS = 600; // more would not be seen

// series: [{ name, points: [[x, y], …], faint: draw the raw points behind a running mean, dots }]
export function lineChart({ title, series, format = plain, x = "step", height = 190 }) {
  const shown = series.map((s) => ({ ...s, points: s.points.filter((p) => Number.isFinite(p[1])) })).filter((s) => s.points.length);
  const place = h("div", { class: "nm-chart-place" });
  const said = h("span", { class: "nm-chart-said" });
  const figure = h("figure", { class: "nm-chart-box", tabIndex: 0, "aria-label": title }, h("figcaption", {}, h("strong", {}, title), legend(shown), said), place);
  let drawn = 0;
  new ResizeObserver(() => {
    const width = Math.round(place.clientWidth);
    if (width > 0 && width !== drawn) draw(place, said, figure, shown, (drawn = width), height, format, x);
  }).observe(place);
  return figure;
}

function draw(place, said, figure, series, width, height, format, xName) {
  const all = series.flatMap((s) => s.points);
  if (!all.length) return;
  const [x0, x1] = extent(all.map((p) => p[0]));
  const ticks = niceTicks(...extent(all.map((p) => p[1])));
  const [y0, y1] = [ticks[0], ticks.at(-1)];
  const x = (v) => PAD.left + ((v - x0) / (x1 - x0 || 1)) * (width - PAD.left - PAD.right);
  const y = (v) => height - PAD.bottom - ((v - y0) / (y1 - y0 || 1)) * (height - PAD.top - PAD.bottom);
  const chart = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, class: "nm-chart", "aria-hidden": "true" });
  for (const tick of ticks) {
    chart.append(svg("line", { x1: PAD.left, x2: width - PAD.right, y1: y(tick), y2: y(tick), class: "nm-rule" }), svg("text", { x: PAD.left - 8, y: y(tick) + 4, "text-anchor": "end" }, format(tick)));
  }
  chart.append(svg("text", { x: PAD.left, y: height - 6 }, `${xName} ${plain(x0)}`));
  if (x1 > x0) chart.append(svg("text", { x: width - PAD.right, y: height - 6, "text-anchor": "end" }, `${xName} ${plain(x1)}`));
  series.forEach((s, at) => {
    const path = (points, extra = "") => svg("polyline", { points: points.map((p) => `${x(p[0]).toFixed(1)},${y(p[1]).toFixed(1)}`).join(" "), class: `nm-line nm-series-${at % 6}${extra}` });
    const points = thin(s.points);
    if (s.faint && points.length > 8) chart.append(path(points, " nm-faint"), path(smooth(points)));
    else chart.append(path(points));
    if (s.dots || points.length === 1) for (const p of points) chart.append(svg("circle", { cx: x(p[0]), cy: y(p[1]), r: 3.5, class: `nm-dot nm-series-${at % 6}` }));
  });
  const cross = svg("line", { y1: PAD.top, y2: height - PAD.bottom, class: "nm-cross", visibility: "hidden" });
  chart.append(cross);
  fill(place, chart);
  const tell = (value) => {
    const found = series.map((s) => nearest(s.points, value));
    const step = found.reduce((best, p) => (Math.abs(p[0] - value) < Math.abs(best[0] - value) ? p : best))[0];
    cross.setAttribute("x1", x(step));
    cross.setAttribute("x2", x(step));
    cross.setAttribute("visibility", "visible");
    said.textContent = `${xName} ${plain(step)}: ${series.map((s, i) => `${series.length > 1 ? `${s.name} ` : ""}${format(found[i][1])}`).join(", ")}`;
    return step;
  };
  const hide = () => {
    cross.setAttribute("visibility", "hidden");
    said.textContent = "";
  };
  let at = null;
  chart.addEventListener("pointermove", (event) => (at = tell(x0 + ((event.offsetX - PAD.left) / Math.max(1, width - PAD.left - PAD.right)) * (x1 - x0))));
  chart.addEventListener("pointerleave", hide);
  figure.onblur = hide;
  figure.onkeydown = (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    at = tell((at ?? x1) + (move * (x1 - x0)) / 40);
  };
}

function legend(series) {
  if (series.length < 2) return null;
  return h("span", { class: "nm-legend" }, series.map((s, at) => h("span", { class: `nm-key nm-series-${at % 6}` }, s.name)));
}

export const plain = (value) => {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(1).replace("e+", "e");
  return value.toLocaleString("en", { maximumSignificantDigits: size >= 1000 ? 6 : 4 });
};

// Round numbers that span the values, three to six of them.
export function niceTicks(low, high) {
  if (low === high) [low, high] = [low - Math.max(Math.abs(low) * 0.05, 1e-6), high + Math.max(Math.abs(high) * 0.05, 1e-6)];
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

const extent = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);

function nearest(points, value) {
  return points.reduce((best, p) => (Math.abs(p[0] - value) < Math.abs(best[0] - value) ? p : best));
}

// Means of neighbours where there are more points than pixels worth drawing.
export function thin(points) {
  const size = Math.ceil(points.length / MOST_POINTS);
  if (size < 2) return points;
  const parts = Array.from({ length: Math.ceil(points.length / size) }, (_, i) => points.slice(i * size, (i + 1) * size));
  return parts.map((part) => [part.at(-1)[0], part.reduce((sum, p) => sum + p[1], 0) / part.length]);
}

function smooth(points) {
  const keep = Math.min(0.95, 1 - 4 / points.length);
  let mean = points[0][1];
  return points.map(([step, value]) => [step, (mean = keep * mean + (1 - keep) * value)]);
}
