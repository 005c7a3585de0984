// Retrieval previews: each probe's results before and now, with rank moves, what got fixed or broken, and what people said.

import { picture } from "./api.js";
import { fill, h, notice } from "./dom.js";
import { ANSWERS } from "./verdicts.js";

const MARKS = { fixed: ["✓", "fixed"], broken: ["✕", "broken"], unchanged: ["·", "unchanged"] };
const SHOWN = 6;

export function previews(page) {
  if (!page.probes?.length) return notice("empty", "No preview yet; the first appears before the first step.");
  const num = (mark) => page.probes.filter((p) => p.mark === mark).length;
  const list = h("div", { class: "nm-probes" });
  const show = (mark) => fill(list, page.probes.filter((p) => !mark || p.mark === mark).map(probe));
  const choices = [[null, `all ${page.probes.length}`], ...Object.keys(MARKS).map((mark) => [mark, `${MARKS[mark][0]} ${num(mark)} ${mark}`])];
  const buttons = choices.map(([mark, name]) =>
    h("button", { type: "button", class: "nm-button", disabled: mark !== null && num(mark) === 0, "aria-pressed": String(mark === null), onclick: (event) => (press(event.target), show(mark)) }, name),
  );
  show(null);
  return [h("div", { class: "nm-section-head" }, h("h3", {}, `Retrieval previews at step ${page.step}`), h("div", { class: "nm-segments", role: "group", "aria-label": "Which probes" }, buttons)), list];
}

function probe(p) {
  const [icon, word] = MARKS[p.mark] ?? MARKS.unchanged;
  const isText = p.text !== null && p.text !== undefined;
  const query = isText ? h("q", {}, p.text) : h("img", { src: picture(p.image_id), alt: "The query image" });
  const said = new Map((p.verdicts ?? []).map((v) => [isText ? v.image_id : v.caption_id, v.answer]));
  return h(
    "article",
    { class: "nm-probe" },
    h("header", {}, query, h("span", { class: `nm-mark nm-mark-${word}` }, `${icon} ${word}`)),
    h("div", { class: "nm-rows" }, row("before", p.before, said), row("now", p.now, said)),
    said.size ? h("p", { class: "nm-meta" }, said.size === 1 ? "One verdict shares these items; its answer stands on the result." : `${said.size} verdicts share these items; their answers stand on the results.`) : null,
  );
}

function row(name, results, said) {
  return h("div", { class: "nm-row" }, h("span", { class: "nm-row-name" }, name), h("ol", {}, (results ?? []).slice(0, SHOWN).map((r, i) => result(r, i, said.get(r.id)))));
}

function result(r, place, answer) {
  const moved = r.rank_before === undefined ? "" : r.rank_before === null ? "new" : r.rank_before - (place + 1);
  const arrow = typeof moved === "number" ? (moved > 0 ? `↑${moved}` : moved < 0 ? `↓${-moved}` : "") : moved;
  const said = ANSWERS[answer];
  return h(
    "li",
    { class: r.relevant ? "nm-relevant" : "", title: r.relevant ? "a true match" : "" },
    r.image_id ? h("img", { src: picture(r.image_id), alt: `${r.relevant ? "A true match" : "A result"}: ${r.caption}`, title: r.caption, loading: "lazy" }) : h("span", { class: "nm-text-result" }, r.caption),
    h("small", {}, r.relevant ? "✓ " : "", r.score.toFixed(2), arrow ? h("span", { class: "nm-move" }, ` ${arrow}`) : ""),
    said ? h("span", { class: `nm-said nm-said-${answer}`, title: "a person's verdict" }, `${said.icon} ${said.label}`) : null,
  );
}

function press(button) {
  for (const other of button.parentElement.children) other.setAttribute("aria-pressed", String(other === button));
}
