// Similarities of pairs, curated hard negatives and random others: how far apart the model holds them, over time.

import { fill, h, svg } from "./dom.js";

const HEIGHT = 150;
const WIDTH = 600;
const LEAST = 0.002; // bins with less at the ends are not worth their width
const KINDS = [
  ["positive", "pairs"],
  ["hard_negative", "hard negatives"],
  ["random", "random others"],
];

// seen: [{ step, histograms }] in order; histograms: counts over equal bins of the cosine from −1 to 1, by kind
export function histograms(seen) {
  const kept = seen.filter((s) => s.histograms && Object.values(s.histograms).some((counts) => counts.some((c) => c > 0)));
  if (!kept.length) return null;
  const place = h("div", {});
  const range = spread(kept);
  const show = (at) => fill(place, picture(kept[0], kept[at], at > 0, range));
  show(kept.length - 1);
  const when = h("output", {}, `step ${kept.at(-1).step}`);
  const slider =
    kept.length < 2
      ? null
      : h("label", { class: "nm-time" }, "At", h("input", { type: "range", min: 0, max: kept.length - 1, step: 1, value: kept.length - 1, oninput: (event) => (show(Number(event.target.value)), (when.textContent = `step ${kept[event.target.value].step}`)) }), when);
  return h("figure", { class: "nm-histograms" }, place, slider);
}

function spread(seen) {
  const all = seen.flatMap((s) => KINDS.map(([kind]) => [kind, shares(s.histograms[kind]) ?? []]));
  const used = all.flatMap(([, bins]) => bins.flatMap((share, at) => (share > LEAST ? [at] : [])));
  const top = Object.fromEntries(KINDS.map(([kind]) => [kind, Math.max(0, ...all.filter(([k]) => k === kind).flatMap(([, bins]) => bins))]));
  return { first: Math.max(0, Math.min(...used) - 1), last: Math.max(...used) + 1, top };
}

// Each kind has its own height: pairs sit in a few bins, others in many.
function picture(before, now, compared, { first, last, top }) {
  const kinds = KINDS.filter(([kind]) => shares(now.histograms[kind]));
  const bins = now.histograms.positive.length;
  const x = (at) => (WIDTH * (at - first)) / Math.max(1, last - first);
  const points = (kind, counts) => shares(counts).slice(first, last).map((share, i) => `${x(first + i + 0.5).toFixed(1)},${(HEIGHT - ((HEIGHT - 6) * share) / top[kind]).toFixed(1)}`);
  const shapes = kinds.flatMap(([kind]) => {
    const line = points(kind, now.histograms[kind]);
    const was = compared && shares(before.histograms[kind]) ? points(kind, before.histograms[kind]) : null;
    return [
      svg("polygon", { points: [`${x(first)},${HEIGHT}`, ...line, `${x(last)},${HEIGHT}`].join(" "), class: `nm-hist-area nm-hist-${kind}` }),
      svg("polyline", { points: line.join(" "), class: `nm-hist nm-hist-${kind}` }),
      was ? svg("polyline", { points: was.join(" "), class: `nm-hist nm-hist-${kind} nm-hist-before` }) : null,
    ];
  });
  const cosine = (at) => ((2 * at) / bins - 1).toFixed(2);
  return [
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "nm-chart nm-hist-chart", role: "img", "aria-label": `Similarities at step ${now.step}` }, ...shapes.filter(Boolean)),
    h("div", { class: "nm-hist-axis nm-meta" }, h("span", {}, `cosine ${cosine(first)}`), h("span", {}, cosine(last))),
    h("div", { class: "nm-hist-key nm-meta" }, kinds.map(([kind, name]) => h("span", { class: `nm-hist-name nm-hist-${kind}` }, name)), h("span", {}, `each to its own height${compared ? "; dashed: before" : ""}`)),
  ];
}

function shares(counts) {
  const total = counts?.reduce((sum, count) => sum + count, 0);
  return total ? counts.map((count) => count / total) : null;
}
