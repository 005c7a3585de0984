// Disagreements: what two people answered differently, with both answers in view; the answer given here counts.

import { get, picture, post } from "./api.js";
import { announce, fill, h, notice, number } from "./dom.js";
import { labelOf } from "./keys.js";
import { ANSWERS, ago } from "./verdicts.js";

const CHOICES = ["match", "no_match", "unsure"];

export class DisagreementsView {
  constructor(root, { outbox, onStatus, onDecided }) {
    Object.assign(this, { root, outbox, onStatus, onDecided });
    this.given = [];
  }

  async open(set) {
    this.set = set;
    await this.outbox.settled();
    this.items = await get(`/api/data-sets/${set.id}/disagreements`);
    this.show();
  }

  show() {
    const item = this.items[0];
    this.onStatus();
    if (!item) return fill(this.root, notice("empty", this.given.length ? "That was the last disagreement." : "Nobody disagrees about anything just now."));
    this.root.dataset.suggestion = `disagreement-${item.id}`;
    const vote = ({ person, answer, created_at }, stands) =>
      h("li", {}, h("strong", {}, person), h("span", { class: `nm-tag nm-${answer}` }, `${ANSWERS[answer].icon} ${ANSWERS[answer].label}`), h("span", { class: "nm-meta" }, `${ago((Date.now() - new Date(created_at)) / 1000)}${stands ? ", stands until you decide" : ""}`));
    const buttons = CHOICES.map((answer) =>
      h("button", { type: "button", class: `nm-answer nm-${answer}`, onclick: () => this.decide(answer) }, h("span", { class: "nm-icon", "aria-hidden": "true" }, ANSWERS[answer].icon), h("span", {}, ANSWERS[answer].label), h("kbd", {}, labelOf(answer))),
    );
    fill(
      this.root,
      h(
        "section",
        { class: "nm-desk nm-disagreement", "aria-label": "Disagreements" },
        h("div", { class: "nm-stage" }, h("div", { class: "nm-picture" }, h("img", { src: picture(item.image_id, 512), alt: "The image to judge" }))),
        h(
          "div",
          { class: "nm-ask" },
          h("h2", {}, "Two people disagree. Does this caption describe this image?"),
          h("p", { class: "nm-question-caption" }, item.caption),
          h("ul", { class: "nm-votes" }, vote(item.first, true), vote(item.second, false)),
          h("div", { class: "nm-answers" }, buttons),
          h("div", { class: "nm-tools" }, h("button", { type: "button", class: "nm-button", onclick: () => this.undo() }, "Undo", h("kbd", {}, labelOf("undo")))),
          (this.last = h("p", { class: "nm-last" })),
        ),
      ),
    );
  }

  decide(given) {
    const item = this.items.shift();
    if (!item) return;
    const about_pair = [item.first.answer, item.second.answer].includes("broken_pair");
    const answer = about_pair && given === "no_match" ? "broken_pair" : given;
    const uuid = crypto.randomUUID();
    this.given.push({ uuid, item });
    this.outbox.add({ uuid, image_id: item.image_id, caption_id: item.caption_id, suggestion_id: null, answer });
    this.onDecided(1);
    this.show();
    announce(`${ANSWERS[answer].label}. ${this.items[0] ? `Next: ${this.items[0].caption}` : "Nothing left"}`);
  }

  async undo() {
    const latest = this.given.pop();
    if (!latest) return announce("Nothing is left to take back here");
    try {
      if (!this.outbox.remove(latest.uuid)) {
        await this.outbox.settled();
        await post("/api/verdicts/undo", { uuid: crypto.randomUUID(), retracts: latest.uuid });
      }
      this.items.unshift(latest.item);
      this.show();
    } catch (error) {
      this.given.push(latest);
      this.last.textContent = error.message;
    }
  }

  // What an action does here; null when it is not ours.
  action(name) {
    if (name === "undo") return () => this.undo();
    return CHOICES.includes(name) ? () => this.decide(name) : null;
  }

  actions() {
    return [...CHOICES, "undo"];
  }

  left() {
    return `${number(this.items?.length)} disagreements left`;
  }
}
