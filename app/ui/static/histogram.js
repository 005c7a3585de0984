// Similarities of pairs, curated hard negatives and random others: how far apart the model holds them, before and now.

import { h, svg } from "./dom.js";

const WIDTH = 600;
const HEIGHT = 150;
const KINDS = [
  ["positive", "pairs"],
  ["hard_negative", "hard negatives"],
  ["random", "random others"],
];

// `before`, `now`: counts over equal bins of the cosine from −1 to 1, by kind.
export function histograms(before, now) {
  const shown = KINDS.filter(([kind]) => (now?.[kind] ?? before?.[kind] ?? []).some((count) => count > 0));
  if (!shown.length) return null;
  const all = shown.flatMap(([kind]) => [shares(before?.[kind]), shares(now?.[kind])]).filter(Boolean);
  const top = Math.max(...all.flat());
  const used = all.flatMap((bins) => bins.flatMap((share, at) => (share > 0 ? [at, at + 1] : [])));
  const [first, last] = [Math.min(...used), Math.max(...used)];
  const bins = all[0].length;
  const line = (values, kind, when) => {
    const x = (at) => (WIDTH * (at - first)) / Math.max(1, last - first);
    const points = values.slice(first, last + 1).map((share, i) => `${x(first + i + 0.5)},${HEIGHT - (HEIGHT * share) / top}`);
    return svg("polyline", { points: points.join(" "), class: `nm-hist nm-hist-${kind}${when === "before" ? " nm-hist-before" : ""}` });
  };
  const lines = shown.flatMap(([kind]) => [
    before?.[kind] ? line(shares(before[kind]), kind, "before") : null,
    now?.[kind] ? line(shares(now[kind]), kind, "now") : null,
  ]);
  const cosine = (at) => ((2 * at) / bins - 1).toFixed(2);
  return h(
    "figure",
    { class: "nm-histograms" },
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "nm-chart", role: "img", "aria-label": "Similarity histograms" }, ...lines.filter(Boolean)),
    h("figcaption", { class: "nm-meta" }, `cosine ${cosine(first)} to ${cosine(last)} · `, shown.map(([kind, name]) => [h("span", { class: `nm-hist-name nm-hist-${kind}` }, name), " "]), now && before ? "· dashed: before" : ""),
  );
}

const shares = (counts) => {
  const total = counts?.reduce((sum, count) => sum + count, 0);
  return total ? counts.map((count) => count / total) : null;
};
