// The plan as text: YAML to read, edit and keep, and the same as a program on clipcore alone.

import { announce, fill, h, notice } from "./dom.js";

export class PlanText {
  // on: { edited(yaml): a person typed, form(): back to the form }
  constructor(on) {
    this.on = on;
    this.isEdited = false;
    this.yaml = h("textarea", { class: "nm-code nm-yaml", rows: 22, spellcheck: false, "aria-label": "Configuration in YAML", oninput: () => this.typed() });
    this.code = h("pre", { class: "nm-code", tabIndex: 0 });
    this.note = h("div", { "aria-live": "polite" });
    this.commands = h("pre", { class: "nm-code" });
    const copy = (text, what) => h("button", { type: "button", class: "nm-button", onclick: () => navigator.clipboard?.writeText(text()).then(() => announce(`${what} copied`)) }, "Copy");
    const save = h("button", { type: "button", class: "nm-button", onclick: () => download(this.yaml.value) }, "Download run.yaml");
    this.element = h(
      "div",
      {},
      h("details", { class: "nm-text-view" }, h("summary", {}, "YAML"), this.note, this.yaml, h("div", { class: "nm-tools" }, copy(() => this.yaml.value, "YAML"), save), h("p", { class: "nm-meta" }, "The same run from a shell:"), this.commands),
      h("details", { class: "nm-text-view" }, h("summary", {}, "Show code"), h("p", { class: "nm-meta" }, "A whole program on clipcore alone; it names only what differs from the defaults."), this.code, h("div", { class: "nm-tools" }, copy(() => this.code.textContent, "Code"))),
    );
  }

  get text() {
    return this.isEdited ? this.yaml.value : null;
  }

  // What the server made of the wish; the text that a person edits is left alone.
  show(report, dataSet) {
    if (!this.isEdited) this.yaml.value = report.config_yaml;
    this.code.textContent = report.code;
    this.commands.textContent = [`nearmiss export ${quoted(dataSet.name)} --to data --format tsv`, "nearmiss finetune run.yaml --pairs data/pairs.tsv --verdicts data/verdicts.jsonl --dry-run", "nearmiss finetune run.yaml --pairs data/pairs.tsv --verdicts data/verdicts.jsonl"].join("\n");
  }

  use(yaml) {
    this.yaml.value = yaml;
    this.element.firstChild.open = true;
    this.mark(true);
  }

  reset() {
    this.mark(false);
  }

  typed() {
    this.mark(true);
    this.on.edited();
  }

  mark(isEdited) {
    this.isEdited = isEdited;
    fill(this.note, isEdited ? notice("info", "The YAML counts now, and the form is set aside.", h("button", { type: "button", class: "nm-button", onclick: () => this.on.form() }, "Back to the form")) : null);
  }
}

function download(text) {
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type: "application/yaml" })), download: "run.yaml" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const quoted = (name) => (/^[\w.-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`);
