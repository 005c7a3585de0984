// Disagreements: what two people answered differently, with both answers in view; the answer given here counts.

import { post } from "./api.js";
import { counted, fill, h, notice } from "./dom.js";
import { OneByOne } from "./one_by_one.js";
import { sliceOf } from "./slice.js";
import { ANSWERS, ago } from "./verdicts.js";

export class DisagreementsView extends OneByOne {
  constructor(root, doors) {
    const votes = h("ul", { class: "nm-votes" });
    super(root, doors, { label: "Disagreements", kind: "nm-disagreement", above: votes });
    this.votes = votes;
  }

  async open(set) {
    this.set = set;
    await this.outbox.settled();
    const found = await post(`/api/data-sets/${set.id}/disagreements`, { image_ids: sliceOf(set.id) });
    const isPair = ({ first, second }) => [first.answer, second.answer].includes("broken_pair");
    const items = found.map((row) => ({ ...row, suggestion_id: `disagreement-${row.id}`, is_pair: isPair(row) }));
    if (items.length) return this.start(items);
    const here = sliceOf(set.id) ? " about the images from the map" : "";
    this.onStatus();
    return fill(this.root, notice("empty", this.given.length ? `That was the last disagreement${here}.` : `Nobody disagrees about anything${here} just now.`));
  }

  sent() {
    return { suggestion_id: null };
  }

  drawn(item) {
    const vote = ({ person, answer, created_at }, stands) =>
      h("li", {}, h("strong", {}, person), h("span", { class: `nm-tag nm-${answer}` }, `${ANSWERS[answer].icon} ${ANSWERS[answer].label}`), h("span", { class: "nm-meta", title: stands ? "It stands until you decide" : "" }, `${stands ? "stands · " : ""}${ago((Date.now() - new Date(created_at)) / 1000)}`));
    this.question.textContent = `Two people disagree. ${this.question.textContent}`;
    fill(this.votes, vote(item.first, true), vote(item.second, false));
  }

  // The server tells the oldest of them: there may be more.
  over() {
    this.open(this.set).catch((error) => fill(this.root, notice("error", error.message)));
  }

  left() {
    return `${counted(this.items.length, "disagreement")} left`;
  }
}
