// The import: choose files, a folder of the server or a data set of the hub; see how its rows read; map columns; import.

import { get, post } from "./api.js";
import { announce, counted, fill, h, notice } from "./dom.js";
import { loadDataSets, onDataSets, state } from "./state.js";

const ROLES = [["image", "Picture"], ["caption", "Caption"], ["split", "Split (optional)"]];
const OVER = new Set(["finished", "failed", "cancelled"]);
const FORMATS = "CSV, TSV or JSONL · Parquet · WebDataset .tar shards · COCO captions .json · pictures with a .txt beside each · clip-retrieval embeddings · hf:OWNER/NAME";

export function importForm() {
  return new Import().draw();
}

class Import {
  constructor() {
    this.root = h("div", { class: "nm-import" });
    this.name = h("input", { id: "nm-name", placeholder: "My shop", autocomplete: "off" });
    this.source = h("input", { id: "nm-source", placeholder: "/data/shop, /data/pairs.csv or hf:OWNER/NAME", autocomplete: "off", onchange: () => this.look({}) });
    this.files = h("input", { type: "file", multiple: true, class: "nm-hidden", id: "nm-files", "aria-label": "Files to import", onchange: () => this.upload(this.files) });
    this.tree = h("input", { type: "file", webkitdirectory: true, class: "nm-hidden", id: "nm-tree", "aria-label": "A folder to import", onchange: () => this.upload(this.tree) });
    this.inPlace = h("input", { type: "checkbox", id: "nm-in-place" });
    this.chooser = h("div", {});
    this.preview = h("div", {});
    this.answer = h("div", { "aria-live": "polite" });
    this.columns = {};
    this.queued = ""; // the name of the data set whose import was sent from here
    onDataSets(() => this.follow());
  }

  // The list above tells how an import goes; the line here must not say that it waits when it is over.
  follow() {
    const sent = this.queued && state.dataSets.find((set) => set.name === this.queued);
    if (!sent?.import_job || !OVER.has(sent.import_job.state)) return;
    this.queued = "";
    const { state: came, reason } = sent.import_job;
    const said = came === "finished" ? `“${sent.name}” is in: ${counted(sent.num_pairs, "pair")} of ${counted(sent.num_images, "image")}.` : `The import of “${sent.name}” ${came === "failed" ? "failed" : "was cancelled"}${reason ? `: ${reason}` : "."}`;
    fill(this.answer, notice(came === "failed" ? "error" : "info", said));
    announce(said);
  }

  draw() {
    return fill(
      this.root,
      h("p", { class: "nm-meta" }, FORMATS),
      h(
        "div",
        { class: "nm-tools" },
        h("button", { type: "button", class: "nm-button", onclick: () => this.files.click() }, "Upload files …"),
        h("button", { type: "button", class: "nm-button", onclick: () => this.tree.click() }, "Upload a folder …"),
        h("button", { type: "button", class: "nm-button", onclick: () => this.browse("") }, "Choose on the server …"),
        this.files,
        this.tree,
      ),
      this.chooser,
      h(
        "form",
        { class: "nm-form", onsubmit: (event) => this.send(event) },
        h("label", { class: "nm-field", for: "nm-source" }, "Source", this.source),
        this.preview,
        h("label", { class: "nm-field", for: "nm-name" }, "Name of the data set", this.name),
        h("label", { class: "nm-check", for: "nm-in-place" }, this.inPlace, "Leave originals where they are (only thumbnails are made; they must stay there)"),
        h("div", { class: "nm-tools" }, h("button", { type: "submit", class: "nm-primary" }, "Import")),
      ),
      this.answer,
    );
  }

  async browse(path) {
    try {
      const folder = await get("/api/folders", { path });
      const close = h("button", { type: "button", class: "nm-button", onclick: () => fill(this.chooser) }, "Close");
      const here = h("button", { type: "button", class: "nm-button", onclick: () => this.pick(folder.path) }, "Take this folder");
      const up = folder.parent ? h("li", {}, h("button", { type: "button", class: "nm-entry", onclick: () => this.browse(folder.parent) }, "↑ one up")) : null;
      const rows = folder.entries.map((entry) => h("li", {}, h("button", { type: "button", class: "nm-entry", onclick: () => (entry.is_folder ? this.browse(entry.path) : this.pick(entry.path)) }, entry.is_folder ? `${entry.name}/` : entry.name, entry.is_folder ? null : h("small", {}, bytes(entry.num_bytes)))));
      fill(this.chooser, h("div", { class: "nm-chooser" }, h("div", { class: "nm-chooser-head" }, h("code", {}, folder.path), here, close), h("ul", {}, up, rows), folder.shortened ? h("p", { class: "nm-meta" }, "Only the first 1,000 are shown; type the path.") : null));
    } catch (error) {
      fill(this.answer, notice("error", error.message));
    }
  }

  pick(path) {
    this.source.value = path;
    fill(this.chooser);
    if (!this.name.value) this.name.value = path.split("/").filter(Boolean).at(-1)?.replace(/\.[a-z]+$/i, "") ?? "";
    return this.look({});
  }

  async upload(input) {
    const files = [...input.files];
    input.value = "";
    if (!files.length) return;
    const total = files.reduce((sum, file) => sum + file.size, 0);
    const bar = h("progress", { max: Math.max(total, 1), value: 0, "aria-label": "Upload" });
    const said = h("span", { class: "nm-meta" }, "");
    fill(this.answer, h("div", { class: "nm-job" }, said, bar));
    try {
      const upload = await post("/api/uploads");
      let sent = 0;
      for (const file of files) {
        const name = file.webkitRelativePath || file.name;
        if (name.split("/").some((part) => part.startsWith("."))) continue;
        for (let offset = 0; offset === 0 || offset < file.size; offset += upload.chunk_bytes) {
          await piece(upload.id, name, offset, file.slice(offset, offset + upload.chunk_bytes));
          sent += Math.min(upload.chunk_bytes, file.size - offset);
          bar.value = sent;
          said.textContent = `Uploading ${name}: ${bytes(sent)} of ${bytes(total)}`;
        }
      }
      fill(this.answer, notice("info", `${counted(files.length, "file")} arrived (${bytes(total)}). They are kept for a day, or until they are imported.`));
      if (!this.name.value) this.name.value = files[0].name.replace(/\.[a-z]+$/i, "");
      this.source.value = `upload:${upload.id}`;
      await this.look({});
    } catch (error) {
      fill(this.answer, notice("error", error.message));
    }
  }

  async look(columns) {
    this.columns = columns;
    const source = this.source.value.trim();
    if (!source || source === "demo" || source.startsWith("hf:")) return fill(this.preview);
    fill(this.preview, h("p", { class: "nm-meta" }, "Reading the first rows …"));
    try {
      const found = await post("/api/previews", { source, columns });
      fill(this.preview, this.mapper(found), found.problem ? notice("error", found.problem) : table(found.rows));
      announce(found.problem || `${counted(found.rows.length, "row")} previewed`);
    } catch (error) {
      fill(this.preview, notice("error", error.message));
    }
    return null;
  }

  mapper(found) {
    if (!found.columns.length) return null;
    const choose = (role, label) => {
      const options = [h("option", { value: "" }, "by its name"), ...found.columns.map((name) => h("option", { value: name }, name))];
      const select = h("select", { id: `nm-column-${role}`, onchange: () => this.look({ ...this.columns, [role]: select.value }) }, options);
      select.value = this.columns[role] ?? "";
      return h("label", { class: "nm-field", for: `nm-column-${role}` }, label, select);
    };
    return h("fieldset", { class: "nm-mapper" }, h("legend", {}, "Columns"), ROLES.map(([role, label]) => choose(role, label)));
  }

  async send(event) {
    event.preventDefault();
    try {
      const wish = { name: this.name.value.trim(), source: this.source.value.trim(), columns: this.columns, originals: this.inPlace.checked ? "referenced" : "copied" };
      await post("/api/data-sets", wish);
      fill(this.answer, notice("info", "Queued. It goes on when you leave this page."));
      this.queued = wish.name;
      fill(this.preview);
      this.name.value = this.source.value = "";
      this.columns = {};
      await loadDataSets();
    } catch (error) {
      fill(this.answer, notice("error", error.message));
    }
  }
}

function table(rows) {
  const line = (row) =>
    row.reason
      ? h("tr", { class: "nm-refused" }, h("td", {}, row.where), h("td", { colSpan: 3 }, `✕ would be refused: ${row.reason}`))
      : h("tr", {}, h("td", {}, row.where), h("td", {}, row.image), h("td", {}, row.caption), h("td", {}, row.split));
  const head = h("tr", {}, ["Where", "Picture", "Caption", "Split"].map((name) => h("th", { scope: "col" }, name)));
  return h("div", { class: "nm-preview" }, h("table", {}, h("caption", {}, rows.length === 1 ? "The first row as it would be imported" : `The first ${rows.length} rows as they would be imported`), h("thead", {}, head), h("tbody", {}, rows.map(line))));
}

// A piece is sent again after a lost connection; the server answers the same.
export async function piece(id, name, offset, blob) {
  const path = `/api/uploads/${id}/file?${new URLSearchParams({ name, offset })}`;
  for (let attempt = 1; ; attempt++) {
    try {
      const answer = await fetch(path, { method: "PUT", credentials: "same-origin", headers: { "X-Nearmiss": "1", "Content-Type": "application/octet-stream" }, body: blob });
      if (answer.ok) return;
      const said = await answer.json().catch(() => null);
      throw Object.assign(new Error(said?.error ?? `The server answered ${answer.status}.`), { final: true });
    } catch (error) {
      if (error.final || attempt === 5) throw error;
      await new Promise((done) => setTimeout(done, 500 * 2 ** attempt));
    }
  }
}

function bytes(num) {
  if (num < 1e6) return `${Math.ceil(num / 1e3)} kB`;
  return num < 1e9 ? `${(num / 1e6).toFixed(1)} MB` : `${(num / 1e9).toFixed(2)} GB`;
}
