// What is selected in Explore (some cards, or all that match), and what is done with it in one step that can be undone.

import { post } from "./api.js";
import { announce, counted, fill, h, notice, number } from "./dom.js";
import { ANSWERS } from "./verdicts.js";

const STEP = 500; // what the server takes by name at once
const key = (item) => `${item.image_id} ${item.caption_id}`;

export class Selection {
  constructor({ onChange, onDone, count, address, choices }) {
    Object.assign(this, { onChange, onDone, count, address, choices });
    this.items = new Map();
    this.all = false;
    this.root = h("div", { class: "nm-selection", role: "region", "aria-label": "Selection" });
    this.said = h("div", { "aria-live": "polite" });
    this.draw();
  }

  has(item) {
    return this.all || this.items.has(key(item));
  }

  get size() {
    return this.items.size;
  }

  set(items, on) {
    if (this.all) this.all = false;
    for (const item of items) on ? this.items.set(key(item), [item.image_id, item.caption_id]) : this.items.delete(key(item));
    this.changed();
  }

  clear() {
    this.items.clear();
    this.all = false;
    this.changed();
  }

  async takeAll() {
    this.items.clear();
    this.all = true;
    this.total = null;
    this.changed();
    this.total = await this.count().catch(() => null);
    this.draw();
    announce(this.words());
  }

  changed() {
    this.draw();
    this.onChange();
  }

  words() {
    if (!this.all) return `${number(this.items.size)} selected`;
    if (!this.total) return "All that match are selected";
    return this.total.is_all ? `All ${number(this.total.num)} that match are selected` : `All that match are selected, at least ${number(this.total.num)}`;
  }

  draw() {
    const some = this.all || this.items.size > 0;
    const button = (label, onclick, disabled = !some) => h("button", { type: "button", class: "nm-button", onclick, disabled }, label);
    fill(
      this.root,
      h("span", { class: "nm-selected" }, this.words()),
      button("Select all matching", () => this.takeAll(), this.all),
      button("Tag …", () => this.askTag()),
      button("Verdict …", () => this.askVerdict()),
      button("Clear", () => this.clear()),
      this.said,
    );
    this.root.classList.toggle("nm-active", some);
  }

  askTag() {
    const name = h("input", { placeholder: "to check", "aria-label": "Tag", maxLength: 100, autocomplete: "off", onkeydown: (event) => event.key === "Enter" && (event.preventDefault(), send(false)) });
    name.setAttribute("list", "nm-known-tags");
    const known = h("datalist", { id: "nm-known-tags" }, this.choices().tags.map((tag) => h("option", { value: tag })));
    const send = (remove) => name.value.trim() && this.run("tag", { tag: name.value.trim(), remove }, remove ? "untagged" : "tagged", dialog);
    const dialog = this.dialog(`Tag: ${this.words()}`, h("div", { class: "nm-tools" }, name, known), [["Put on", () => send(false)], ["Take off", () => send(true)]]);
    name.focus();
  }

  askVerdict() {
    const warning = h("p", { class: "nm-meta" }, "Each of them gets this verdict, looked at or not; it can be taken back in one step. To accept a whole score band with a known error rate, use Curate → Sweep, which checks a blind sample first. On a pair of the data set, No means that the pair is broken.");
    const answers = Object.entries(ANSWERS).map(([answer, { icon, label }]) => [`${icon} ${label}`, () => this.run("verdicts", { answer }, `answered ${label}`, dialog)]);
    const dialog = this.dialog(`Verdict: ${this.words()}`, warning, answers);
  }

  dialog(title, body, actions) {
    const close = () => dialog.close();
    const buttons = actions.map(([label, act]) => h("button", { type: "button", class: "nm-button", onclick: act }, label));
    const dialog = h("dialog", { class: "nm-dialog", "aria-label": title, onclose: () => dialog.remove() }, h("h2", {}, title), body, h("div", { class: "nm-tools" }, buttons, h("button", { type: "button", class: "nm-button", onclick: close }, "Cancel")));
    document.body.append(dialog);
    dialog.showModal();
    return dialog;
  }

  // Part after part until the server says that nothing is next.
  async run(what, body, done, dialog) {
    dialog.close();
    const { path, query } = this.address();
    const url = `${path}/${what}?${new URLSearchParams(query)}`;
    const named = [...this.items.values()];
    let num = 0;
    let bulk_id = null;
    let after = null;
    try {
      for (let start = 0; this.all ? start === 0 || after : start < named.length; start += STEP) {
        const items = this.all ? null : named.slice(start, start + STEP);
        const part = await post(url, { ...body, items, bulk_id, after });
        ({ bulk_id, next: after } = part);
        num += part.num;
        fill(this.said, h("span", {}, `${number(num)} ${done} …`));
      }
      this.finish(num, done, bulk_id, path);
    } catch (error) {
      fill(this.said, notice("error", num ? `${error.message} ${counted(num, "is", "are")} done.` : error.message, num ? this.undoButton(bulk_id, path) : null));
    }
  }

  finish(num, done, bulk_id, path) {
    this.clear();
    fill(this.said, notice("info", `${number(num)} ${done}.`, num ? this.undoButton(bulk_id, path) : null));
    announce(`${number(num)} ${done}`);
    this.onDone();
  }

  undoButton(bulk_id, path) {
    const button = h("button", { type: "button", class: "nm-button", onclick: () => this.undo(button, bulk_id, path) }, "Undo");
    return button;
  }

  async undo(button, bulk_id, path) {
    button.disabled = true;
    try {
      await post(`${path}/undo`, { bulk_id });
      fill(this.said, notice("info", "Taken back."));
      announce("Taken back");
      this.onDone();
    } catch (error) {
      fill(this.said, notice("error", error.message));
    }
  }
}
