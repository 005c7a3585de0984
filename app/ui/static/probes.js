// The queries that every run shows before and now: a person's own, or picked.

import { get, picture, post, remove } from "./api.js";
import { fill, h, notice } from "./dom.js";

const PICKS = [
  ["worst", "3 worst", "held-out captions above whose own image the model ranks most"],
  ["disputed", "3 disputed", "where people disagree, or the proposal is least sure"],
  ["random", "3 random", "any held-out captions"],
];

export function probes(dataSetId) {
  const list = h("ul", { class: "nm-probe-list" });
  const answer = h("div", { "aria-live": "polite" });
  const path = `/api/data-sets/${dataSetId}/probes`;
  const show = (found) =>
    fill(
      list,
      found.map((p) => h("li", {}, p.text === null ? h("img", { src: picture(p.image_id), alt: "An image as query" }) : h("q", {}, p.text), h("button", { type: "button", class: "nm-remove", "aria-label": `Stop watching ${p.text ?? "this image"}`, onclick: () => change(() => remove(`${path}/${p.id}`)) }, "✕"))),
      found.length ? null : h("li", { class: "nm-meta" }, "None yet: the first run picks eight by itself."),
    );
  const change = async (ask) => {
    try {
      show(await ask());
      fill(answer);
    } catch (error) {
      fill(answer, notice("error", error.message));
    }
  };
  const text = h("input", { type: "text", maxLength: 500, required: true, placeholder: "a query of your own", "aria-label": "Query" });
  const add = (event) => {
    event.preventDefault();
    change(() => post(path, { text: text.value })).then(() => (text.value = ""));
  };
  change(() => get(path));
  return h(
    "details",
    {},
    h("summary", {}, "Watched queries"),
    h("p", { class: "nm-meta" }, "Their results among the held-out items are shown before and during every run."),
    list,
    h("form", { class: "nm-inline-form", onsubmit: add }, text, h("button", { class: "nm-button" }, "Watch")),
    h("div", { class: "nm-tools" }, h("span", { class: "nm-meta" }, "or pick"), PICKS.map(([pick, name, why]) => h("button", { type: "button", class: "nm-button", title: why, onclick: () => change(() => post(path, { pick, num: 3 })) }, name))),
    answer,
  );
}
