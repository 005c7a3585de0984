// "Ana decided this two minutes ago. Keep or replace?": answers that came after somebody else's, one at a time.

import { picture } from "./api.js";
import { announce, fill, h } from "./dom.js";
import { ANSWERS, ago } from "./verdicts.js";

export class Meanwhile {
  constructor(outbox) {
    this.outbox = outbox;
    this.waiting = []; // as the server told them
    this.root = h("div", { class: "nm-meanwhile", "aria-live": "polite" });
  }

  add(others) {
    if (!others?.length) return;
    this.waiting.push(...others);
    this.show();
  }

  show() {
    const other = this.waiting[0];
    if (!other) return fill(this.root);
    const word = (answer) => ANSWERS[answer]?.label ?? answer;
    const button = (label, answer) => h("button", { type: "button", class: "nm-button", onclick: () => this.settle(answer) }, label);
    const sentence = `${other.person} decided this ${ago(other.seconds_ago)}: ${word(other.answer)}. You said: ${word(other.yours)}.`;
    fill(
      this.root,
      h(
        "div",
        { class: "nm-notice" },
        h("img", { src: picture(other.image_id), alt: "The image in question" }),
        h("div", {}, h("p", { class: "nm-cell-text" }, other.caption), h("p", {}, `${sentence} Keep or replace?`)),
        button(`Keep ${other.person}'s “${word(other.answer)}”`, other.answer),
        button(`Replace by “${word(other.yours)}”`, other.yours),
        h("button", { type: "button", class: "nm-button", title: "It stays in the list of disagreements", onclick: () => this.next() }, "Later"),
      ),
    );
    announce(sentence);
  }

  // Both answers are in view, so this one counts.
  settle(answer) {
    const { image_id, caption_id } = this.waiting[0];
    this.outbox.add({ uuid: crypto.randomUUID(), image_id, caption_id, suggestion_id: null, answer });
    this.next();
  }

  next() {
    this.waiting.shift();
    this.show();
  }
}
