// Retrieval previews: each probe's results before and now, with rank moves and what got fixed or broken.

import { picture } from "./api.js";
import { h, notice } from "./dom.js";

const MARKS = { fixed: ["✓", "fixed"], broken: ["✕", "broken"], unchanged: ["·", "unchanged"] };

export function previews(page) {
  if (!page.probes?.length) return notice("empty", "No preview yet; the first appears before the first step.");
  return [h("h3", {}, `Retrieval previews at step ${page.step}`), ...page.probes.map(probe)];
}

function probe(p) {
  const [icon, word] = MARKS[p.mark] ?? MARKS.unchanged;
  const query = p.text !== null && p.text !== undefined ? h("q", {}, p.text) : h("img", { src: picture(p.image_id), alt: "The query image" });
  return h(
    "article",
    { class: "nm-probe" },
    h("header", {}, query, h("span", { class: `nm-mark nm-mark-${word}` }, `${icon} ${word}`)),
    h("div", { class: "nm-rows" }, row("before", p.before), row("now", p.now)),
    p.verdicts?.length ? h("p", { class: "nm-meta" }, `${p.verdicts.length} of your verdicts share these items`) : null,
  );
}

function row(name, results) {
  return h("div", { class: "nm-row" }, h("span", { class: "nm-row-name" }, name), h("ol", {}, (results ?? []).slice(0, 6).map((r, i) => result(r, i))));
}

function result(r, place) {
  const moved = r.rank_before === undefined ? "" : r.rank_before === null ? "new" : r.rank_before - (place + 1);
  const arrow = typeof moved === "number" ? (moved > 0 ? `↑${moved}` : moved < 0 ? `↓${-moved}` : "") : moved;
  return h(
    "li",
    { class: r.relevant ? "nm-relevant" : "", title: r.relevant ? "a true match" : "" },
    r.image_id ? h("img", { src: picture(r.image_id), alt: r.relevant ? "A true match" : "A result", loading: "lazy" }) : h("span", { class: "nm-text-result" }, r.caption),
    h("small", {}, r.relevant ? "✓ " : "", r.score.toFixed(2), arrow ? ` ${arrow}` : ""),
  );
}
