// Mining as a person sees it: with which model to look, what the last look expects, and how far its proposal can be trusted.

import { post } from "./api.js";
import { counted, h, percent, svg } from "./dom.js";

const SIDE = 150;
const open = new Set(); // data sets whose figures are unfolded
const chosen = new Map(); // data set → model; the list is drawn again while a job runs
const spoken = new Map(); // data set → language in which negatives are written
const LANGUAGES = [["auto", "the captions’ language"], ["en", "English"], ["de", "German"], ["fr", "French"], ["es", "Spanish"]];
export const FEW = 20; // verdicts of a kind below which the figures say little

// Chooses a model and looks for suggestions with it. `done()` after the job is queued, `failed(sentence)` otherwise.
export function lookWith(set, models, { done, failed }) {
  const newest = models.at(-1)?.id;
  const select = h(
    "select",
    { "aria-label": `Model that looks for suggestions in ${set.name}`, onchange: () => chosen.set(set.id, Number(select.value)) },
    [...models].reverse().map((model) => h("option", { value: model.id, selected: model.id === (chosen.get(set.id) ?? newest) }, model.name)),
  );
  const language = h(
    "select",
    { "aria-label": `Language in which negatives are written for ${set.name}`, title: "Language in which negatives are written", onchange: () => spoken.set(set.id, language.value) },
    LANGUAGES.map(([value, label]) => h("option", { value, selected: value === (spoken.get(set.id) ?? "auto") }, label)),
  );
  const button = h("button", { type: "button", class: "nm-button", onclick: () => look() }, set.mined ? "Look again" : "Find suggestions");
  async function look() {
    button.disabled = true;
    try {
      // verdicts stay; suggestions of other models leave the queue; verdicts that this model disputes come back
      await post(`/api/data-sets/${set.id}/mine`, { model_id: Number(select.value) || newest, language: language.value });
      await done();
    } catch (error) {
      failed(error.message);
    }
    button.disabled = false;
  }
  return models.length ? [select, language, button] : [button];
}

// Numbers before work, and the proposal's quality on verdicts that it had not seen.
export function expected(set) {
  const mined = set.mined;
  const found = mined?.false_negatives;
  if (!found) return null;
  const share = (value) => percent(value, 2);
  const text = [
    `About ${counted(Math.round(found.count), "caption is expected to be true of an image that it is", "captions are expected to be true of images that they are")} not paired with (${share(found.rate)} of all candidates, between ${share(found.low)} and ${share(found.high)}).`,
    `An epoch would meet them as negatives ${counted(Math.round(mined.collisions_per_epoch["256"]), "time")} at batch 256, ${counted(Math.round(mined.collisions_per_epoch["4096"]), "time")} at 4,096.`,
  ].join(" ");
  return [h("p", { class: "nm-meta nm-expected" }, text), trust(mined.quality, set.id)];
}

function trust(quality, id) {
  if (!quality?.num_verdicts || !quality.curve?.length) return null;
  const figure = (name, value, hint) => h("div", { title: hint }, h("dt", {}, name), h("dd", {}, value));
  return h(
    "details",
    { class: "nm-trust", open: open.has(id), ontoggle: (event) => (event.target.open ? open.add(id) : open.delete(id)) },
    h("summary", {}, `How far the probabilities can be trusted: ${counted(quality.num_verdicts, "verdict")}, ${counted(quality.num_match, "of them a match", "of them matches")}`),
    h(
      "div",
      { class: "nm-trust-body" },
      reliability(quality.curve),
      h(
        "dl",
        { class: "nm-trust-figures" },
        figure("average precision", percent(quality.average_precision), "Of the ranking by probability; the share of matches is what chance gives"),
        figure("share of matches", percent(quality.num_match / quality.num_verdicts), "Among the verdicts"),
        figure("calibration error", percent(quality.calibration_error), "Mean distance of said and true, over bins of equally many verdicts"),
        figure("Brier skill", quality.brier_skill === null ? "–" : quality.brier_skill.toFixed(2), "1 is perfect, 0 is no better than always saying the share of matches"),
      ),
      fewOf(quality),
      h("p", { class: "nm-meta" }, "Measured on verdicts that the proposal had not seen: verdicts that share an image or a caption stay together. They were asked in the queue's order, so this is the queue's quality, not that of all candidates."),
    ),
  );
}

// What the figures rest on, where that is too little to believe them.
export function fewOf(quality) {
  const misses = quality.num_verdicts - quality.num_match;
  const [least, kind] = quality.num_match <= misses ? [quality.num_match, "match"] : [misses, "no match"];
  if (least >= FEW) return null;
  return h("p", { class: "nm-meta nm-few" }, `These figures rest on ${counted(least, "verdict")} that said “${kind}”: too few to believe them closely. From ${FEW} of each kind on they begin to mean something.`);
}

// Said against true; a dot's area is its number of verdicts.
function reliability(curve) {
  const at = (share) => 8 + share * (SIDE - 16);
  const most = Math.max(...curve.map((bin) => bin.num));
  const chart = svg("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, class: "nm-chart nm-reliability", role: "img", "aria-label": "Calibration: probability said, from left to right, against the share that was true, upwards" });
  chart.append(
    svg("line", { x1: at(0), y1: SIDE - at(0), x2: at(1), y2: SIDE - at(1), class: "nm-rule" }),
    svg("polyline", { points: curve.map((bin) => `${at(bin.said)},${SIDE - at(bin.true)}`).join(" "), class: "nm-line nm-faint" }),
  );
  for (const bin of curve) {
    const dot = svg("circle", { cx: at(bin.said), cy: SIDE - at(bin.true), r: 2 + 3 * Math.sqrt(bin.num / most), class: "nm-dot" });
    const words = svg("title", {});
    words.textContent = `said ${percent(bin.said, 0)}, true ${percent(bin.true, 0)}, ${counted(bin.num, "verdict")}`;
    dot.append(words);
    chart.append(dot);
  }
  return h("figure", {}, chart, h("figcaption", { class: "nm-meta" }, "said → · true ↑"));
}
