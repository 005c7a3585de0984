// Items asked one after the other, each answered once, the latest taken back: the blind sample and the disagreements.

import { Decoded } from "./decoded.js";
import { announce, fill } from "./dom.js";
import { asked, layout } from "./question.js";
import { ANSWERS } from "./verdicts.js";

const DECODED = 8;
const CHOICES = ["match", "no_match", "unsure"];

export class OneByOne {
  // `parts`: label, tools, above and below as in question.js. A kind of it says `sent(item)`, what goes along with the
  // verdict, `drawn(item)`, what else is shown, and `over()`, what comes when nothing is left.
  constructor(root, { outbox, onStatus, onDecided }, parts) {
    Object.assign(this, { root, outbox, onStatus, onDecided });
    this.items = [];
    this.given = []; // {uuid, item} of this page, newest last
    this.pictures = new Decoded();
    Object.assign(this, layout({ answers: CHOICES, decide: (answer) => this.decide(answer), undo: () => this.undo(), ...parts }));
  }

  // `items`: {suggestion_id, image_id, caption_id, caption, is_pair}.
  start(items) {
    this.items = items;
    fill(this.root, this.section);
    this.show();
  }

  show() {
    const item = this.items[0];
    this.onStatus();
    if (!item) return this.over();
    this.pictures.ahead(this.items.slice(0, DECODED), 6 * DECODED);
    fill(this.place, this.pictures.of(item));
    this.question.textContent = asked(item.is_pair);
    this.caption.textContent = item.caption;
    this.drawn(item);
    this.root.dataset.suggestion = item.suggestion_id;
  }

  decide(given) {
    const item = this.items.shift();
    if (!item) return;
    const answer = item.is_pair && given === "no_match" ? "broken_pair" : given; // "no" of a pair
    const uuid = crypto.randomUUID();
    this.given.push({ uuid, item });
    this.outbox.add({ uuid, image_id: item.image_id, caption_id: item.caption_id, answer, ...this.sent(item) });
    this.last.textContent = `${ANSWERS[answer].icon} ${ANSWERS[answer].label}: “${item.caption}”`;
    announce(`${ANSWERS[answer].label}. ${this.items[0] ? `Next: ${this.items[0].caption}` : "That was the last one here"}`);
    this.onDecided(1);
    this.show();
  }

  async undo() {
    const latest = this.given.pop();
    if (!latest) return announce("Nothing is left to take back here");
    try {
      await this.outbox.retract(latest.uuid);
      this.start([latest.item, ...this.items]);
      this.last.textContent = `Taken back: “${latest.item.caption}”`;
    } catch (error) {
      this.given.push(latest);
      this.last.textContent = error.message;
    }
    return announce(this.last.textContent);
  }

  // What an action does here; null when it is not ours.
  action(name) {
    if (name === "undo") return () => this.undo();
    return CHOICES.includes(name) && this.items.length ? () => this.decide(name) : null;
  }

  actions() {
    return [...CHOICES, "undo"];
  }
}
