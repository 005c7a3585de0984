// Data: the data sets, imports (import.js), models, and the search for suggestions.

import { Again } from "./again.js";
import { get, post } from "./api.js";
import { importForm } from "./import.js";
import { expected, lookWith } from "./mining.js";
import { counted, fill, h, notice, number, seconds, suggestions } from "./dom.js";
import { choose, loadDataSets, onDataSets, state } from "./state.js";
import { verdictFiles } from "./verdict_files.js";

const OVER = new Set(["finished", "failed", "cancelled"]);
const FORMATS = [["parquet", "Parquet (Hugging Face)"], ["tsv", "TSV (open_clip)"], ["webdataset", "WebDataset shards"], ["sentence-transformers", "sentence-transformers"]];
const SOON_MS = 1500; // while a job runs; a long one is asked about more and more rarely
const RARELY_MS = 6000;
const isRunning = (job) => Boolean(job && !OVER.has(job.state));
const archive = (job) => h("a", { href: `/api/jobs/${job.id}/export` }, "Download the archive (zip)");

export function data(root) {
  const view = new Data(root);
  view.draw();
  onDataSets(() => view.drawList());
}

class Data {
  constructor(root) {
    this.root = root;
    this.list = h("ul", { class: "nm-sets" });
    this.form = importForm();
    this.files = new Map();
    this.answer = h("div", { "aria-live": "polite" });
    this.formats = new Map(); // chosen format by data set, kept while the list is drawn again
    this.location = h("input", { id: "nm-location", placeholder: "ViT-B-32, hf-hub:OWNER/NAME or local-dir:/FOLDER", autocomplete: "off" });
    this.pretrained = h("input", { id: "nm-pretrained", placeholder: "laion2b_s34b_b79k", autocomplete: "off" });
    this.models = h("ul", { class: "nm-models" });
    this.modelAnswer = h("div", {});
    this.allModels = [];
    this.again = new Again(() => loadDataSets().catch(() => this.again.after(RARELY_MS)), () => root);
    this.wait = SOON_MS;
  }

  draw() {
    fill(
      this.root,
      h("h2", {}, "Data sets"),
      this.list,
      h("h2", {}, "Import"),
      this.form,
      this.answer,
      h("h2", {}, "Models"),
      this.models,
      h(
        "form",
        { class: "nm-form", onsubmit: (event) => this.addModel(event) },
        h("label", { class: "nm-field", for: "nm-location" }, "Model, in open_clip's spelling", this.location),
        h("label", { class: "nm-field", for: "nm-pretrained" }, "Weights, for an architecture's name", this.pretrained),
        h("button", { type: "submit", class: "nm-primary" }, "Add model"),
      ),
      this.modelAnswer,
    );
    this.drawList();
    get("/api/models").then((all) => this.drawModels(all), () => {});
  }

  drawModels(all) {
    this.allModels = all;
    this.drawList();
    fill(this.models, all.map((model) => h("li", { class: "nm-meta" }, model.name)));
  }

  async addModel(event) {
    event.preventDefault();
    try {
      const wish = { location: this.location.value.trim(), pretrained: this.pretrained.value.trim() };
      this.drawModels(await post("/api/models", wish));
      fill(this.modelAnswer, notice("info", "Added. Its weights are loaded when it is first used."));
    } catch (error) {
      fill(this.modelAnswer, notice("error", error.message));
    }
  }

  drawList() {
    const rows = state.dataSets.map((set) => this.row(set));
    fill(this.list, rows.length ? rows : h("li", {}, notice("empty", "No data set yet. The demo imports itself at the first start; your own comes in below.")));
    const jobs = state.dataSets.flatMap((set) => [set.import_job, set.mining_job, set.export_job]).filter(isRunning);
    this.wait = jobs.length === this.numJobs ? Math.min(1.1 * this.wait, RARELY_MS) : SOON_MS;
    this.numJobs = jobs.length;
    if (jobs.length) this.again.after(this.wait);
    else this.again.stop();
  }

  row(set) {
    const look = lookWith(set, this.allModels, { done: loadDataSets, failed: (sentence) => fill(this.answer, notice("error", sentence)) });
    return h(
      "li",
      { class: set.id === state.dataSetId ? "nm-set nm-chosen" : "nm-set" },
      h("button", { type: "button", class: "nm-link", onclick: () => choose(set.id) }, set.name),
      h("span", { class: "nm-meta" }, `${counted(set.num_pairs, "pair")} · ${counted(set.num_images, "image")} · ${counted(set.num_verdicts, "verdict")} · ${suggestions(set.num_open_suggestions)}`),
      expected(set),
      job("Import", set.import_job),
      job("Suggestions", set.mining_job),
      job("Export", set.export_job, archive),
      h("div", { class: "nm-tools" }, look, this.exporter(set), set.source && set.source !== "demo" && !set.source.startsWith("upload:") ? h("button", { type: "button", class: "nm-button", onclick: () => this.readAgain(set) }, "Import again") : null),
      this.filesOf(set),
      set.attribution ? h("p", { class: "nm-attribution" }, set.attribution) : null,
    );
  }

  // One element a data set, so that a refresh of the list does not close what somebody is at.
  filesOf(set) {
    if (!this.files.has(set.id)) this.files.set(set.id, verdictFiles(set));
    return this.files.get(set.id);
  }

  async readAgain(set) {
    try {
      await post(`/api/data-sets/${set.id}/import`, {});
      fill(this.answer, notice("info", `“${set.name}” is read again: new pairs are added, vanished ones retired, verdicts stay.`));
      await loadDataSets();
    } catch (error) {
      fill(this.answer, notice("error", error.message));
    }
  }

  exporter(set) {
    const format = h("select", { "aria-label": `Format for ${set.name}` }, FORMATS.map(([value, label]) => h("option", { value }, label)));
    format.value = this.formats.get(set.id) ?? "parquet";
    format.addEventListener("change", () => this.formats.set(set.id, format.value));
    const button = h("button", { type: "button", class: "nm-button", disabled: isRunning(set.export_job), onclick: () => this.export(set, format.value) }, "Export");
    return h("span", { class: "nm-export" }, format, button);
  }

  async export(set, format) {
    try {
      await post(`/api/data-sets/${set.id}/export`, { format });
      fill(this.answer);
      await loadDataSets();
    } catch (error) {
      fill(this.answer, notice("error", error.message));
    }
  }
}

// `result` makes what a finished job is kept on show for.
function job(what, j, result = null) {
  if (!j || (j.state === "finished" && !j.reason && !j.num_rejected && !result)) return null;
  const running = isRunning(j);
  const rate = j.rate ? `, ${number(Math.round(j.rate))} a second` : "";
  const left = j.eta_s && running ? `, ${seconds(j.eta_s)} left` : "";
  return h(
    "div",
    { class: "nm-job" },
    h("span", {}, `${what}: ${j.state}`, running && j.total ? ` ${number(j.done)} of ${number(j.total)} ${j.unit}${rate}${left}` : running && j.done ? ` ${number(j.done)} ${j.unit}${rate}` : "", j.reason ? ` (${j.reason})` : ""),
    running && j.total ? h("progress", { max: j.total, value: j.done, "aria-label": what }) : running && j.done ? h("progress", { "aria-label": what }) : null,
    j.num_rejected ? h("a", { href: `/api/jobs/${j.id}/rejected` }, `${number(j.num_rejected)} ${j.num_rejected === 1 ? "row was" : "rows were"} refused: download the list with reasons (CSV)`) : null,
    result && j.state === "finished" ? result(j) : null,
    running ? h("button", { type: "button", class: "nm-button", onclick: () => post(`/api/jobs/${j.id}/cancel`).then(() => loadDataSets()) }, "Cancel") : null,
  );
}
