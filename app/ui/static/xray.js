// Batch X-ray: the similarity matrix of some pairs of a batch, with what the labels say about its cells drawn in.

import { picture } from "./api.js";
import { fill, h } from "./dom.js";

const KINDS = {
  own: ["own pair", "■"],
  positive: ["extra positive", "+"],
  masked: ["masked", "×"],
  hard: ["hard negative", "−"],
  appended: ["appended negative", "−"],
};

// looks: [{ step, image_ids, caption_ids, cosine, relations }] in order; captions: caption id → text
export function xray(looks, captions) {
  if (!looks.length) return null;
  const place = h("div", { class: "nm-scroll" });
  const said = h("p", { class: "nm-meta nm-xray-said", "aria-live": "polite" }, "Point at a cell, or move through the cells with the arrow keys.");
  const range = [Math.min(...looks.flatMap((l) => l.cosine.flat())), Math.max(...looks.flatMap((l) => l.cosine.flat()))];
  const show = (at) => fill(place, matrix(looks[at], captions, range, said));
  const buttons = looks.length < 2 ? null : h("div", { class: "nm-segments", role: "group", "aria-label": "When" }, looks.map((look, at) => h("button", { type: "button", class: "nm-button", "aria-pressed": String(at === looks.length - 1), onclick: (event) => (press(event.target), show(at)) }, at === 0 ? "before" : `step ${look.step}`)));
  show(looks.length - 1);
  const used = new Set(looks.at(-1).relations.map((r) => r.kind));
  const key = Object.entries(KINDS).filter(([kind]) => used.has(kind)).map(([kind, [name, sign]]) => h("span", {}, h("i", { class: `nm-cell-mark nm-rel-${kind}` }, sign), ` ${name}`));
  return h("div", { class: "nm-xray" }, buttons, place, said, h("p", { class: "nm-meta nm-xray-key" }, key, h("span", {}, "rows: images, columns: captions; darker is more alike")));
}

function matrix(look, captions, [low, high], said) {
  const kind = new Map(look.relations.map((r) => [`${r.row},${r.col}`, r.kind]));
  const pairs = look.image_ids.length;
  const text = (col) => captions[look.caption_ids[col]] ?? "(erased caption)";
  const cells = look.cosine.map((row, r) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, h("img", { src: picture(look.image_ids[r]), alt: text(r) })),
      row.map((cosine, c) => {
        const relation = kind.get(`${r},${c}`);
        const alike = Math.round((100 * (cosine - low)) / (high - low || 1));
        if (c >= pairs && relation !== "appended") return h("td", { class: "nm-not-met" });
        return h("td", { tabIndex: -1, dataset: { r, c }, class: relation ? `nm-rel-${relation}` : "", style: `--alike: ${alike}%`, "aria-label": tell(r, c, cosine, relation) }, relation ? KINDS[relation][1] : "");
      }),
    ),
  );
  function tell(r, c, cosine, relation) {
    return `“${text(r)}” (image) × “${text(c)}”: cosine ${cosine.toFixed(2)}${relation ? `, ${KINDS[relation][0]}` : ""}`;
  }
  const grid = h("table", { class: "nm-matrix", role: "grid", "aria-label": `Similarities at step ${look.step}` }, h("tbody", {}, cells));
  const point = (cell) => {
    if (!cell?.dataset.r) return;
    grid.querySelector(".nm-pointed")?.classList.remove("nm-pointed");
    cell.classList.add("nm-pointed");
    said.textContent = cell.getAttribute("aria-label");
  };
  grid.addEventListener("pointerover", (event) => point(event.target.closest("td")));
  grid.querySelector("td").tabIndex = 0;
  grid.addEventListener("focusin", (event) => point(event.target.closest("td")));
  grid.addEventListener("keydown", (event) => {
    const [dr, dc] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
    const here = event.target.dataset;
    const next = (dr || dc) && grid.querySelector(`td[data-r="${Number(here.r) + dr}"][data-c="${Number(here.c) + dc}"]`);
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
  return grid;
}

function press(button) {
  for (const other of button.parentElement.children) other.setAttribute("aria-pressed", String(other === button));
}
