// The same probes under several runs: the first results of each, side by side.

import { picture } from "./api.js";
import { h } from "./dom.js";

const SHOWN = 4;

export function probeByProbe(runs, pages) {
  const ids = [...new Set(pages.flatMap((page) => page.probes.map((p) => p.id)))];
  if (!ids.length) return null;
  return h("section", {}, h("h3", {}, "Probe by probe"), ids.map((id) => probe(runs, pages.map((page) => page.probes.find((p) => p.id === id)))));
}

function probe(runs, seen) {
  const first = seen.find(Boolean);
  const query = first.text !== null ? h("q", {}, first.text) : h("img", { src: picture(first.image_id), alt: "The query image" });
  const rows = [["base", first.before], ...runs.map((run, at) => [run.name, seen[at]?.now ?? []])];
  return h(
    "article",
    { class: "nm-probe" },
    h("header", {}, query),
    h(
      "div",
      { class: "nm-rows nm-rows-named" },
      rows.map(([name, results]) => h("div", { class: "nm-row" }, h("span", { class: "nm-row-name" }, name), h("ol", {}, results.slice(0, SHOWN).map(result)))),
    ),
  );
}

function result(r) {
  return h(
    "li",
    { class: r.relevant ? "nm-relevant" : "", title: r.relevant ? "a true match" : "" },
    r.image_id ? h("img", { src: picture(r.image_id), alt: `${r.relevant ? "A true match" : "A result"}: ${r.caption}`, title: r.caption, loading: "lazy" }) : h("span", { class: "nm-text-result" }, r.caption),
    h("small", {}, r.relevant ? "✓ " : "", r.score.toFixed(2)),
  );
}
