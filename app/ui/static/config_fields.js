// The settings of a preset in folded sections; what a person changes becomes overrides, nested as in the YAML.

import { h } from "./dom.js";

export class ConfigFields {
  constructor(fields, onChange) {
    this.overrides = {};
    this.onChange = onChange;
    const sections = [...new Set(fields.map((f) => f.section))];
    this.element = h("div", { class: "nm-sections" }, sections.map((name) => this.section(name, fields.filter((f) => f.section === name))));
  }

  section(name, fields) {
    const changed = h("span", { class: "nm-changed" });
    const tell = () => {
      const num = fields.filter((f) => f.changed).length;
      changed.textContent = num ? `${num} changed` : "";
    };
    return h("details", {}, h("summary", {}, name, " ", changed), h("div", { class: "nm-fields" }, fields.map((f) => this.field(f, tell))));
  }

  field(field, tell) {
    const set = (value) => {
      field.changed = value !== field.value;
      if (field.changed) this.put(field.path, field.path === "loss.heads" ? { [value]: 1.0 } : value);
      else this.drop(field.path);
      tell();
      this.onChange();
    };
    const read = (event) => {
      const text = event.target.value;
      if (text === "" || !event.target.checkValidity()) return;
      set(Number(text));
    };
    const control = field.choices
      ? h("select", { onchange: (event) => set(event.target.value) }, field.choices.map((c) => h("option", { value: c, selected: c === field.value }, c)))
      : h("input", { type: "number", step: field.whole ? 1 : "any", value: field.value, oninput: read });
    return h("label", { class: "nm-field" }, field.label, control, field.hint ? h("small", {}, field.hint) : null);
  }

  put(path, value) {
    const names = path.split(".");
    let place = this.overrides;
    for (const name of names.slice(0, -1)) place = place[name] ??= {};
    place[names.at(-1)] = value;
  }

  drop(path) {
    const [first, second] = path.split(".");
    if (second === undefined) return delete this.overrides[first];
    delete this.overrides[first]?.[second];
    if (this.overrides[first] && !Object.keys(this.overrides[first]).length) delete this.overrides[first];
  }
}
