// The sweep: choose a slice, judge a blind random sample of it, and accept the proposal for the rest when the bound allows.

import { get, post } from "./api.js";
import { Decoded } from "./decoded.js";
import { announce, fill, h, notice, number, waiting, percent } from "./dom.js";
import { labelOf } from "./keys.js";
import { onSwipe } from "./swipe.js";
import { ANSWERS } from "./verdicts.js";

const TARGETS = [0.01, 0.02, 0.05, 0.1];
const DECODED = 8;
const KEYS = ["match", "no_match", "unsure"];

export class SweepView {
  constructor(root, { outbox, onStatus, onDecided, me }) {
    Object.assign(this, { root, outbox, onStatus, onDecided, me }); // me(): this person's name
    this.check = null;
    this.items = []; // of the sample, not yet judged
    this.given = []; // {uuid, item} of this sample and page, newest last
    this.pictures = new Decoded();
  }

  async open(set) {
    this.set = set;
    await this.outbox.settled();
    const [bands, checks] = await Promise.all([get(`/api/data-sets/${set.id}/slices`), get(`/api/data-sets/${set.id}/bulk-checks`)]);
    this.remaining = bands.reduce((sum, band) => sum + band.num_open, 0);
    const begun = checks.find((check) => check.state === "open" && check.num_judged < check.sample_size && check.person === this.me());
    this.check = null;
    fill(this.root, begun ? this.goOn(begun) : null, this.chooser(bands), this.history(checks));
    this.onStatus();
  }

  // Step 1: the slice, the error rate, the sample.
  chooser(bands) {
    if (!bands.length) return notice("empty", "There are no open suggestions to sweep. Find suggestions in the anchor board.");
    const proposed = [...new Set(bands.map((band) => band.proposed))];
    const answer = h("select", { onchange: () => this.drawBands(bands) }, proposed.map((name) => h("option", { value: name }, ANSWERS[name].label)));
    const target = h("select", {}, TARGETS.map((rate) => h("option", { value: rate, selected: rate === 0.05 }, `at most ${percent(rate, 0)} wrong`)));
    this.form = { answer, target, from: h("select", {}), to: h("select", {}), size: h("output", { class: "nm-meta" }) };
    for (const select of [this.form.from, this.form.to, target]) select.addEventListener("change", () => this.sizes());
    this.drawBands(bands);
    return h(
      "form",
      { class: "nm-sweep-form", onsubmit: (event) => (event.preventDefault(), this.begin()) },
      h("h2", {}, "Accept many at once, with a guarantee"),
      h(
        "p",
        { class: "nm-meta" },
        "Choose a slice of the queue. You judge a random sample of it without seeing the proposal; when the sample shows that few enough are wrong, the rest is accepted in one step, which one undo takes back.",
      ),
      h(
        "div",
        { class: "nm-sweep-fields" },
        h("label", {}, "Proposed answer", answer),
        h("label", {}, "Probability of a match from", this.form.from),
        h("label", {}, "to", this.form.to),
        h("label", {}, "Guarantee", target),
      ),
      this.form.size,
      h("button", { type: "submit", class: "nm-button nm-primary" }, "Draw the sample"),
      (this.trouble = h("p", { class: "nm-error-line", role: "alert" })),
    );
  }

  drawBands(bands) {
    const { answer, from, to } = this.form;
    const mine = bands.filter((band) => band.proposed === answer.value);
    const lowest = Math.min(...mine.map((band) => band.min_probability));
    const highest = Math.max(...mine.map((band) => band.max_probability));
    const tenths = [...Array(11).keys()].map((i) => i / 10);
    fill(from, tenths.slice(0, -1).map((p) => h("option", { value: p, selected: p === lowest }, percent(p, 0))));
    fill(to, tenths.slice(1).map((p) => h("option", { value: p, selected: p === highest }, percent(p, 0))));
    this.sizes();
  }

  wanted() {
    const { answer, from, to, target } = this.form;
    return { proposed: answer.value, min_probability: Number(from.value), max_probability: Number(to.value), target_error: Number(target.value) };
  }

  // What the server would draw: a further try on the same slice needs a larger sample.
  async sizes() {
    const asked = (this.asked = JSON.stringify(this.wanted()));
    try {
      const plan = await get(`/api/data-sets/${this.set.id}/bulk-checks/plan`, this.wanted());
      if (asked !== this.asked) return;
      const again = plan.attempt > 1 ? ` Try ${plan.attempt} on this slice, held to ${percent(plan.level)}.` : "";
      this.form.size.textContent = `${number(plan.num_open)} suggestions in the slice; a sample of ${number(plan.sample_size)}, none of which may be wrong.${again}`;
    } catch (error) {
      if (asked === this.asked) this.form.size.textContent = error.message;
    }
  }

  async begin() {
    this.trouble.textContent = "";
    try {
      this.judge(await post(`/api/data-sets/${this.set.id}/bulk-checks`, this.wanted()));
    } catch (error) {
      this.trouble.textContent = error.message;
    }
  }

  goOn(check) {
    const left = check.sample_size - check.num_judged;
    return notice(
      "empty",
      `A sample of ${check.person} is open: ${check.num_judged} of ${check.sample_size} judged.`,
      this.button(`Judge the other ${left}`, async () => this.judge(await get(`/api/bulk-checks/${check.id}`))),
    );
  }

  // Step 2: the blind sample. Neither proposal, score nor the count of errors is shown: that would spoil it.
  judge(check) {
    this.check = check;
    this.items = check.items;
    this.given = [];
    if (check.num_judged >= check.sample_size) return this.result();
    this.place = h("div", { class: "nm-picture" });
    const swiped = (answer) => ({ label: `${ANSWERS[answer].icon} ${ANSWERS[answer].label}`, class: `nm-${answer}`, act: () => this.decide(answer) });
    onSwipe(this.place, { left: swiped("no_match"), right: swiped("match"), up: swiped("unsure") });
    this.question = h("h2");
    this.caption = h("p", { class: "nm-question-caption" });
    this.bar = h("progress", { max: check.sample_size, value: check.num_judged, "aria-label": "Sample judged" });
    this.told = h("p", { class: "nm-meta" });
    this.line = h("p", { class: "nm-last" });
    const buttons = KEYS.map((answer) =>
      h(
        "button",
        { type: "button", class: `nm-answer nm-${answer}`, onclick: () => this.decide(answer), title: ANSWERS[answer].long },
        h("span", { class: "nm-icon", "aria-hidden": "true" }, ANSWERS[answer].icon),
        h("span", {}, ANSWERS[answer].label),
        h("kbd", {}, labelOf(answer)),
      ),
    );
    fill(
      this.root,
      h(
        "section",
        { class: "nm-desk nm-sweep", "aria-label": "Blind sample" },
        h("div", { class: "nm-stage" }, this.place),
        h(
          "div",
          { class: "nm-ask" },
          this.question,
          this.caption,
          h("div", { class: "nm-answers" }, buttons),
          h("div", { class: "nm-tools" }, this.button("Undo", () => this.undo(), labelOf("undo")), this.button("Leave the sample", () => this.open(this.set))),
          this.bar,
          this.told,
          this.line,
        ),
      ),
    );
    this.show();
  }

  show() {
    const item = this.items[0];
    if (!item) return this.more();
    this.pictures.ahead(this.items.slice(0, DECODED), 6 * DECODED);
    fill(this.place, this.pictures.of(item));
    this.question.textContent = item.is_pair ? "The data set pairs these two. Does the caption describe the image?" : "Does this caption describe this image?";
    this.caption.textContent = item.caption;
    const done = this.check.num_judged + this.given.length;
    this.bar.value = done;
    this.told.textContent = `Blind sample: ${done} of ${this.check.sample_size}. The proposal is hidden; judge only what you see.`;
    this.root.dataset.suggestion = item.suggestion_id;
    this.onStatus();
  }

  decide(given) {
    const item = this.items.shift();
    if (!item) return;
    const answer = item.is_pair && given === "no_match" ? "broken_pair" : given;
    const uuid = crypto.randomUUID();
    const { image_id, caption_id, suggestion_id } = item;
    this.given.push({ uuid, item });
    this.outbox.add({ uuid, image_id, caption_id, suggestion_id, answer, blind: true });
    this.line.textContent = `${ANSWERS[answer].icon} ${ANSWERS[answer].label}: “${item.caption}”`;
    announce(`${ANSWERS[answer].label}. Next: ${this.items[0]?.caption ?? "the result"}`);
    this.onDecided(1);
    this.show();
  }

  async more() {
    this.told.textContent = "Saving …";
    await this.outbox.settled();
    try {
      this.judge(await get(`/api/bulk-checks/${this.check.id}`));
    } catch (error) {
      fill(this.place, notice("error", `${error.message} Your answers are kept here.`, this.button("Try again", () => this.more())));
    }
  }

  async undo() {
    const latest = this.given.pop();
    if (!latest) return announce("Nothing of this sample is left to take back here");
    try {
      if (!this.outbox.remove(latest.uuid)) {
        await this.outbox.settled();
        await post("/api/verdicts/undo", { uuid: crypto.randomUUID(), retracts: latest.uuid });
      }
      this.items.unshift(latest.item);
      this.show();
      this.line.textContent = `Taken back: “${latest.item.caption}”`;
    } catch (error) {
      this.given.push(latest);
      this.line.textContent = error.message;
    }
    announce(this.line.textContent);
  }

  // Step 3: what the sample shows.
  result() {
    const check = this.check;
    const word = ANSWERS[check.proposed].label;
    const against = `${check.num_errors} of ${check.num_judged} were against the proposal.`;
    const sure = `With ${percent(check.level)} confidence at most ${percent(check.bound, 2)} of the slice would be wrong (exact bound of Clopper and Pearson); the target is ${percent(check.target_error, 0)}.`;
    const trouble = h("p", { class: "nm-error-line", role: "alert" });
    const button = this.button(`Apply “${word}” to the remaining ${number(check.num_remaining)}`, () => this.apply(button, trouble));
    button.classList.add("nm-primary");
    button.disabled = !check.may_apply || check.num_remaining === 0 || check.person !== this.me();
    fill(
      this.root,
      h(
        "section",
        { class: "nm-sweep-result", "aria-label": "Result of the sample" },
        h("h2", {}, check.may_apply ? "The slice may be accepted" : "The slice may not be accepted in one step"),
        h("p", {}, against),
        h("p", { class: "nm-bound" }, sure),
        check.may_apply ? null : h("p", {}, "Narrow the band, or judge these one by one. A further try on this slice is held to a stricter level."),
        check.person === this.me() ? null : h("p", {}, `${check.person} judged this sample, so only they may apply it.`),
        button,
        this.button("Choose another slice", () => this.open(this.set)),
        trouble,
      ),
    );
    announce(`${against} ${sure}`);
    button.disabled || button.focus();
  }

  async apply(button, trouble) {
    button.disabled = true;
    const before = this.check.num_remaining;
    trouble.textContent = "";
    button.textContent = "Applying …";
    try {
      this.check = await post(`/api/bulk-checks/${this.check.id}/apply`);
      fill(
        this.root,
        notice(
          "empty",
          `Accepted ${number(before)} as “${ANSWERS[this.check.proposed].label}”.`,
          this.button("Take all of them back", () => this.takeBack(), labelOf("undo")),
          this.button("Next slice", () => this.open(this.set)),
        ),
      );
      announce(`Accepted ${before}`);
    } catch (error) {
      trouble.textContent = error.message;
      button.textContent = "Try again";
      button.disabled = false;
    }
  }

  async takeBack() {
    try {
      await post("/api/verdicts/undo", { uuid: crypto.randomUUID(), retracts: null, data_set_id: this.set.id });
      announce("The bulk accept is taken back");
      await this.open(this.set);
    } catch (error) {
      fill(this.root, notice("error", error.message, this.button("Back", () => this.open(this.set))));
    }
  }

  history(checks) {
    if (!checks.length) return null;
    const row = (check) =>
      h(
        "tr",
        {},
        h("td", {}, `${ANSWERS[check.proposed].label}, ${percent(check.min_probability, 0)} to ${percent(check.max_probability, 0)}`),
        h("td", {}, check.person),
        h("td", {}, `${check.num_judged} of ${check.sample_size}`),
        h("td", {}, check.bound === null ? "–" : `${check.num_errors} wrong, ≤ ${percent(check.bound, 2)} (${percent(check.level)})`),
        h("td", {}, { open: check.may_apply ? "may be applied" : check.bound === null ? "sample open" : "refused", applied: "applied", undone: "taken back" }[check.state]),
        h("td", {}, check.state === "open" && check.bound !== null ? this.button("Show", async () => this.judge(await get(`/api/bulk-checks/${check.id}`))) : null),
      );
    const heads = ["Slice", "Sample by", "Judged", "Shown", "State", ""];
    return h("section", { class: "nm-sweep-history" }, h("h3", {}, "Checks so far"), h("table", { class: "nm-table" }, h("thead", {}, h("tr", {}, heads.map((head) => h("th", {}, head)))), h("tbody", {}, checks.map(row))));
  }

  button(label, onclick, key) {
    return h("button", { type: "button", class: "nm-button", onclick }, label, key ? h("kbd", {}, key) : null);
  }

  // What an action does here; null when it is not ours.
  action(name) {
    if (!this.check) return null;
    if (this.check.state === "applied") return name === "undo" ? () => this.takeBack() : null;
    if (KEYS.includes(name) && this.items.length) return () => this.decide(name);
    return name === "undo" ? () => this.undo() : null;
  }

  actions() {
    return [...KEYS, "undo"];
  }

  left() {
    return `${waiting(this.outbox.remaining ?? this.remaining)} suggestions left`;
  }
}
