// The desk, focus view: one image, one caption, one question.

import { picture, post } from "./api.js";
import { announce, button, fill, h, notice, suggestions } from "./dom.js";
import { labelOf } from "./keys.js";
import { showMend } from "./mend.js";
import { asked, layout } from "./question.js";
import { Ring } from "./ring.js";
import { sliceOf } from "./slice.js";
import { alike, ANSWERS, marked } from "./verdicts.js";
import { showWrite, takeBack } from "./write.js";

export class FocusView {
  constructor(root, { outbox, onEmpty, onStatus, onDecided }) {
    Object.assign(this, { root, outbox, onEmpty, onStatus, onDecided });
    this.given = []; // {uuid, item, answer} of this page, newest last
    this.context = false;
    this.side = h("div", { class: "nm-context" });
    this.meta = h("p", { class: "nm-meta" });
    const tools = [
      button("Back", () => this.goBack(), labelOf("back")),
      button("Context", () => this.toggleContext(), labelOf("context")),
      button("Correct caption", () => this.mend(), labelOf("mend")),
      button("Write a negative", () => this.write(), labelOf("write")),
    ];
    const acts = { decide: (answer) => this.decide(answer), undo: () => this.undo() };
    Object.assign(this, layout({ label: "Curate", answers: Object.keys(ANSWERS), ...acts, tools, above: this.meta, below: this.side }));
  }

  async open(set) {
    this.set = set;
    this.ring = new Ring(set.id);
    await this.outbox.settled();
    await this.ring.fill();
    if (!this.ring.item) return this.onEmpty(this.ring.numLeased);
    fill(this.root, this.section);
    this.show();
  }

  show() {
    const item = this.ring.item;
    if (!item) return this.ring.exhausted ? this.onEmpty(this.ring.numLeased) : this.ring.fill().then(() => this.show(), () => this.offline());
    fill(this.place, this.ring.picture(item));
    const isPair = item.proposed === "broken_pair";
    this.question.textContent = asked(isPair);
    fill(this.caption, isPair ? item.caption : marked(item.caption, item.own_captions));
    const reasons = item.reasons?.length ? ` · ${item.reasons.join(" · ")}` : "";
    this.meta.textContent = `Suggested: ${ANSWERS[item.proposed].label.toLowerCase()} (${Math.round(100 * item.probability)} % that it matches)${reasons}${alike(item) ? ` · ${alike(item)}` : ""}`;
    this.drawContext(item);
    this.root.dataset.suggestion = item.suggestion_id;
    this.onStatus();
  }

  decide(given) {
    const item = this.ring?.item;
    if (!item) return;
    const answer = item.proposed === "broken_pair" && given === "no_match" ? "broken_pair" : given; // "no" of a pair
    const uuid = crypto.randomUUID();
    this.given.push({ uuid, item, answer, at: this.ring.at });
    this.ring.advance();
    this.ring.dropAlike(item);
    this.show();
    const { image_id, caption_id, suggestion_id } = item;
    this.outbox.add({ uuid, image_id, caption_id, suggestion_id, answer });
    this.last.textContent = `${ANSWERS[answer].icon} ${ANSWERS[answer].label}: “${item.caption}” ${alike(item)}`;
    announce(`${ANSWERS[answer].label}. Next: ${this.ring.item?.caption ?? "nothing left"}`);
    this.onDecided(1);
  }

  async undo() {
    const latest = this.given.pop();
    try {
      if (latest && this.outbox.remove(latest.uuid)) this.returnTo(latest);
      else {
        await this.outbox.settled();
        const answer = await post("/api/verdicts/undo", { uuid: crypto.randomUUID(), retracts: latest?.uuid ?? null });
        if (latest) this.returnTo(latest);
        else {
          await this.open(this.set);
          announce(`Taken back: ${answer.retracted.caption}`);
        }
        this.last.textContent = `Taken back: “${answer.retracted.caption}”`;
      }
    } catch (error) {
      if (latest) this.given.push(latest);
      this.last.textContent = error.message;
      announce(error.message);
    }
  }

  returnTo(latest) {
    this.ring.at = latest.at;
    this.show();
    this.last.textContent = `Taken back: “${latest.item.caption}”`;
    announce(`Taken back: ${latest.item.caption}`);
  }

  mend() {
    const item = this.ring?.item;
    if (!item) return;
    const asked = item.own_pairs.filter((pair) => pair.caption_id === item.caption_id);
    const isPair = item.proposed === "broken_pair";
    showMend(item.image_id, isPair && asked.length ? asked : item.own_pairs, (pair, view) => {
      const told = `Corrected: “${pair.caption}” became “${view.caption}”`;
      if (isPair) this.decide("broken_pair"); // what was asked about is settled by it
      for (const held of this.ring.items) rename(held, pair, view);
      if (this.ring.item && !isPair) this.show();
      fill(this.last, told, " ", button("Take the correction back", () => this.unmend(pair, view)));
      announce(told);
    });
  }

  async unmend(pair, view) {
    try {
      await post(`/api/mends/${view.id}/undo`);
      for (const held of this.ring.items) rename(held, { id: view.pair_id }, { pair_id: pair.id, caption_id: pair.caption_id, caption: pair.caption });
      this.show();
      this.last.textContent = `The old caption stands again: “${pair.caption}”`;
    } catch (error) {
      this.last.textContent = error.message;
    }
    announce(this.last.textContent);
  }

  write() {
    const item = this.ring?.item;
    if (!item) return;
    showWrite({ dataSetId: this.set.id, imageId: item.image_id, own: item.own_captions ?? [] }, (text, uuid) => {
      const told = `Kept as a negative of this image: “${text}”`;
      const back = async () => (this.last.textContent = await takeBack(text, uuid));
      fill(this.last, told, " ", button("Take it back", back));
      announce(told);
      this.onDecided(1);
    });
  }

  goBack() {
    this.ring?.back();
    this.show();
  }

  toggleContext() {
    this.context = !this.context;
    if (this.ring?.item) this.drawContext(this.ring.item);
  }

  drawContext(item) {
    if (!this.context) return fill(this.side);
    fill(
      this.side,
      h("h3", {}, "The image's own caption"),
      (item.own_captions ?? []).map((text) => h("p", {}, text)),
      h("h3", {}, "The caption's own image"),
      (item.own_images ?? []).slice(0, 3).map((id) => h("img", { src: picture(id), alt: "An image that the data set pairs with this caption" })),
    );
  }

  // What an action does here; null when it is not ours.
  action(name) {
    if (name in ANSWERS) return () => this.decide(name);
    return { undo: () => this.undo(), back: () => this.goBack(), context: () => this.toggleContext(), mend: () => this.mend(), write: () => this.write() }[name] ?? null;
  }

  actions() {
    return [...Object.keys(ANSWERS), "undo", "back", "context", "mend", "write"];
  }

  left() {
    return `${suggestions((sliceOf(this.set.id) ? null : this.outbox.remaining) ?? this.ring?.remaining)} left`;
  }

  offline() {
    fill(this.place, notice("error", "The next items could not be loaded; your verdicts are kept here.", button("Try again", () => this.show())));
  }
}

// An item of the ring after one of its image's own pairs got another caption.
export function rename(item, pair, view) {
  const own = item.own_pairs.find((one) => one.id === pair.id);
  if (!own) return;
  Object.assign(own, { id: view.pair_id, caption_id: view.caption_id, caption: view.caption });
  item.own_captions = item.own_pairs.map((one) => one.caption);
}
