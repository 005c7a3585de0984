// Verdicts as files, for one data set: download in any shape, take over from this or another tool with its columns mapped.

import { post } from "./api.js";
import { announce, counted, fill, h, notice, number } from "./dom.js";
import { piece } from "./import.js";
import { loadDataSets } from "./state.js";
import { ANSWERS } from "./verdicts.js";

const FORMATS = [["jsonl", "JSONL"], ["parquet", "Parquet"], ["csv", "CSV"], ["triplet", "triplet (JSONL)"], ["labeled-pair", "labeled-pair (JSONL)"], ["n-tuple", "n-tuple (JSONL)"]];
const ROLES = [["image", "Picture's name"], ["caption", "Caption"], ["verdict", "Verdict"], ["confidence", "Confidence (optional)"], ["person", "Person (optional)"], ["time", "Time (optional)"]];

export function verdictFiles(set) {
  return new VerdictFiles(set).draw();
}

class VerdictFiles {
  constructor(set) {
    this.set = set;
    this.columns = {};
    this.words = {};
    this.answer = h("div", { "aria-live": "polite" });
    this.preview = h("div", {});
  }

  draw() {
    const format = h("select", { "aria-label": "Format" }, FORMATS.map(([value, text]) => h("option", { value }, text)));
    const path = `/api/data-sets/${this.set.id}/verdict-files`;
    const download = h("button", { type: "button", class: "nm-button", onclick: () => location.assign(`${path}/${format.value}`) }, "Download");
    const file = h("input", { type: "file", accept: ".jsonl,.ndjson,.csv,.tsv,.parquet", class: "nm-hidden", "aria-label": "A file of verdicts", onchange: () => file.files[0] && this.upload(file.files[0]) });
    const open = h("button", { type: "button", class: "nm-button", onclick: () => file.click() }, "Import verdicts …");
    return h("details", { class: "nm-verdict-files" }, h("summary", {}, "Verdicts as files"), h("div", { class: "nm-tools" }, format, download, open, file), this.preview, this.answer);
  }

  async upload(file) {
    try {
      fill(this.answer, h("p", { class: "nm-meta" }, `Uploading ${file.name} …`));
      const upload = await post("/api/uploads");
      for (let offset = 0; offset === 0 || offset < file.size; offset += upload.chunk_bytes) await piece(upload.id, file.name, offset, file.slice(offset, offset + upload.chunk_bytes));
      this.source = `upload:${upload.id}`;
      this.columns = {};
      this.words = {};
      fill(this.answer);
      await this.look();
    } catch (error) {
      fill(this.answer, notice("error", error.message));
    }
  }

  ask(preview) {
    const mapped = (all) => Object.fromEntries(Object.entries(all).filter(([, value]) => value));
    return post(`/api/data-sets/${this.set.id}/verdict-files`, { source: this.source, columns: mapped(this.columns), words: mapped(this.words), preview });
  }

  async look() {
    let found = null;
    try {
      found = await this.ask(true);
      this.found = found.columns;
      fill(this.answer);
    } catch (error) {
      fill(this.answer, notice("error", error.message));
    }
    const lines = found?.lines ?? [];
    fill(this.preview, this.mapper(), this.meanings(lines), lines.length ? this.table(lines) : null, lines.some((line) => !line.reason) ? h("button", { type: "button", class: "nm-button", onclick: () => this.take() }, "Import these verdicts") : null);
  }

  mapper() {
    const columns = this.found ?? [];
    const choose = ([role, label]) => {
      const select = h("select", { onchange: () => { this.columns[role] = select.value; this.look(); } }, h("option", { value: "" }, "by its name"), columns.map((name) => h("option", { value: name }, name)));
      select.value = this.columns[role] ?? "";
      return h("label", { class: "nm-field" }, label, select);
    };
    return columns.length ? h("fieldset", { class: "nm-mapper" }, h("legend", {}, "Columns"), ROLES.map(choose)) : null;
  }

  // Words that nobody knows get a choice of our four answers, which can be changed until the import.
  meanings(lines) {
    const unknown = [...new Set([...Object.keys(this.words), ...lines.map((line) => line.reason.match(/^its verdict is '(.*)'; say/)?.[1]).filter(Boolean)])];
    const choose = (word) => {
      const select = h("select", { onchange: () => { this.words[word] = select.value; this.look(); } }, h("option", { value: "" }, "?"), Object.entries(ANSWERS).map(([value, { label }]) => h("option", { value }, label)));
      select.value = this.words[word] ?? "";
      return h("label", { class: "nm-field" }, `“${word}” means`, select);
    };
    return unknown.length ? h("fieldset", { class: "nm-mapper" }, h("legend", {}, "Words"), unknown.map(choose)) : null;
  }

  table(lines) {
    const row = (line) => h("tr", { class: line.reason ? "nm-refused" : "" }, h("td", {}, line.where), line.reason ? h("td", { colSpan: 3 }, `✕ would be refused: ${line.reason}`) : [line.image, line.caption, ANSWERS[line.verdict].label].map((text) => h("td", {}, text)));
    return h("div", { class: "nm-preview" }, h("table", {}, h("caption", {}, "The first lines as they would be taken over"), h("tbody", {}, lines.map(row))));
  }

  async take() {
    try {
      fill(this.answer, h("p", { class: "nm-meta nm-loading" }, "Importing …"));
      const done = await this.ask(false);
      const said = `${counted(done.num_new, "verdict is", "verdicts are")} new, ${number(done.num_same)} stood already, ${counted(done.num_rejected, "row was", "rows were")} refused.`;
      const undo = h("button", { type: "button", class: "nm-button", onclick: () => this.undo(undo, done.bulk_id) }, "Undo");
      fill(this.answer, notice("info", said, done.num_new ? undo : null), done.rejected.slice(0, 10).map((line) => h("p", { class: "nm-meta" }, line)));
      fill(this.preview);
      announce(said);
    } catch (error) {
      fill(this.answer, notice("error", error.message));
    }
  }

  async undo(button, bulk_id) {
    button.disabled = true;
    try {
      await post(`/api/data-sets/${this.set.id}/explore/undo`, { bulk_id });
      fill(this.answer, notice("info", "Taken back."));
      await loadDataSets();
    } catch (error) {
      fill(this.answer, notice("error", error.message));
    }
  }
}
