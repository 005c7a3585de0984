// The filters of Explore: a form, and the same in the address, so that a reload or a link shows the same.

import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { ANSWERS } from "./verdicts.js";

const NAMES = ["show", "q", "split", "tag", "group", "answer", "person", "min_score", "max_score", "min_chars", "max_chars", "since", "until"];
const FOR = { person: ["verdicts"], min_score: ["suggestions", "verdicts"], max_score: ["suggestions", "verdicts"] };

export class Filters {
  constructor(onChange) {
    this.onChange = onChange;
    this.values = {};
    this.read();
  }

  // From the address.
  read() {
    const address = new URLSearchParams(location.search);
    this.values = Object.fromEntries(NAMES.map((name) => [name, address.get(name) ?? ""]));
    this.values.show ||= "pairs";
  }

  // Into the address: what is empty is left out.
  write() {
    const address = new URL(location.href);
    for (const name of NAMES) {
      const value = name === "show" && this.values.show === "pairs" ? "" : this.values[name];
      value ? address.searchParams.set(name, value) : address.searchParams.delete(name);
    }
    history.replaceState(history.state, "", address);
  }

  // What the server is asked with; a filter that the chosen rows cannot have is left out.
  query() {
    return Object.fromEntries(NAMES.filter((name) => this.values[name] && (FOR[name] ?? [this.values.show]).includes(this.values.show)).map((name) => [name, this.values[name]]));
  }

  isEmpty() {
    return Object.keys(this.query()).every((name) => name === "show");
  }

  get num() {
    return Object.keys(this.query()).filter((name) => name !== "show" && name !== "q").length;
  }

  set(changes) {
    Object.assign(this.values, changes);
    this.write();
    this.onChange();
  }

  clear() {
    this.set(Object.fromEntries(NAMES.filter((name) => name !== "show").map((name) => [name, ""])));
    this.draw();
  }

  async open(set) {
    this.choices = { tags: [], people: [] };
    this.draw();
    this.choices = await get(`/api/data-sets/${set.id}/explore/choices`).catch(() => this.choices);
    this.draw();
  }

  draw() {
    if (!this.root) {
      this.root = h("details", { class: "nm-filters" });
      this.root.open = this.num > 0;
    }
    const { show } = this.values;
    const answers = show === "suggestions" ? [] : [["none", "no verdict"], ["any", "any verdict"]];
    const proposed = [...answers.filter(() => show === "pairs"), ...Object.entries(ANSWERS).map(([name, { label }]) => [name, label])];
    fill(
      this.root,
      h("summary", {}, "Filters", this.num ? h("span", { class: "nm-tag" }, `${this.num} set`) : null),
      h(
        "div",
        { class: "nm-filter-fields" },
        this.choice("split", "Split", [["train", "training"], ["held_out", "held out"]]),
        this.choice("answer", show === "suggestions" ? "Proposed" : "Verdict", proposed),
        this.choice("tag", "Tag", this.choices.tags.map((name) => [name, name])),
        FOR.person.includes(show) ? this.choice("person", "Person", this.choices.people.map((name) => [name, name])) : null,
        show === "pairs" ? null : this.range("Score (cosine)", "score", { type: "number", min: -1, max: 1, step: 0.01 }),
        this.range("Caption length", "chars", { type: "number", min: 0, step: 1 }),
        this.dates(show === "pairs" ? "Imported" : show === "verdicts" ? "Decided" : "Suggested"),
        this.values.group ? h("div", { class: "nm-field" }, "Near duplicates", h("button", { type: "button", class: "nm-button", onclick: () => this.change({ group: "" }) }, `group ${this.values.group} ✕`)) : null,
        h("button", { type: "button", class: "nm-button", onclick: () => this.clear() }, "Clear filters"),
      ),
    );
    return this.root;
  }

  change(changes) {
    this.set(changes);
    this.draw();
  }

  choice(name, label, options) {
    const known = options.some(([value]) => value === this.values[name]) || !this.values[name];
    const all = known ? options : [...options, [this.values[name], this.values[name]]];
    const select = h("select", { onchange: () => this.set({ [name]: select.value }) }, h("option", { value: "" }, "all"), all.map(([value, text]) => h("option", { value }, text)));
    select.value = this.values[name];
    return h("label", { class: "nm-field" }, label, select);
  }

  range(label, name, properties) {
    return this.between(label, [`min_${name}`, `max_${name}`], properties);
  }

  dates(label) {
    return this.between(label, ["since", "until"], { type: "date" });
  }

  between(label, names, properties) {
    const inputs = names.map((name, end) => h("input", { ...properties, value: this.values[name], "aria-label": `${label}, ${end ? "at most" : "at least"}`, onchange: (event) => this.set({ [name]: event.target.value }) }));
    return h("div", { class: "nm-field" }, label, h("span", { class: "nm-between" }, inputs[0], "–", inputs[1]));
  }
}
