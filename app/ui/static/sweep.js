// The sweep: choose a slice, judge a blind random sample of it, and accept the proposal for the rest when the bound allows.

import { get, post } from "./api.js";
import { announce, button, counted, fill, h, notice, number, percent, suggestions } from "./dom.js";
import { labelOf } from "./keys.js";
import { Sample } from "./sample.js";
import { sliceOf } from "./slice.js";
import { ANSWERS } from "./verdicts.js";

const TARGETS = [0.01, 0.02, 0.05, 0.1];
const LOOK_MS = 1500; // while a large slice is applied

export class SweepView {
  constructor(root, { outbox, onStatus, onDecided, me }) {
    Object.assign(this, { root, outbox, onStatus, onDecided, me }); // me(): this person's name
    this.check = null;
    this.sample = null; // while it is judged
  }

  async open(set) {
    this.set = set;
    await this.outbox.settled();
    const [bands, checks] = await Promise.all([post(`/api/data-sets/${set.id}/slices`, { image_ids: sliceOf(set.id) }), get(`/api/data-sets/${set.id}/bulk-checks`)]);
    this.remaining = bands.reduce((sum, band) => sum + band.num_open, 0);
    const begun = checks.find((check) => check.state === "open" && check.num_judged < check.sample_size && check.person === this.me());
    this.check = this.sample = null;
    fill(this.root, begun ? this.goOn(begun) : null, this.chooser(bands), this.history(checks));
    this.onStatus();
  }

  // Step 1: the slice, the error rate, the sample.
  chooser(bands) {
    if (!bands.length) return notice("empty", sliceOf(this.set.id) ? "No suggestion about the images from the map is open." : "There are no open suggestions to sweep. Find suggestions in the anchor board.");
    const open = (name) => bands.filter((band) => band.proposed === name).reduce((sum, band) => sum + band.num_open, 0);
    const proposed = [...new Set(bands.map((band) => band.proposed))].sort((a, b) => open(b) - open(a)); // the most there is to save first
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
    return { proposed: answer.value, min_probability: Number(from.value), max_probability: Number(to.value), target_error: Number(target.value), image_ids: sliceOf(this.set.id) };
  }

  // What the server would draw: a further try on the same slice needs a larger sample.
  async sizes() {
    const asked = (this.asked = JSON.stringify(this.wanted()));
    try {
      const plan = await post(`/api/data-sets/${this.set.id}/bulk-checks/plan`, this.wanted());
      if (asked !== this.asked) return;
      const again = plan.attempt > 1 ? ` Try ${plan.attempt} on this slice, held to ${percent(plan.level)}.` : "";
      this.form.size.textContent = `${counted(plan.num_open, "suggestion")} in the slice; a sample of ${number(plan.sample_size)}, none of which may be wrong.${again}`;
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
      `Your sample is open: ${check.num_judged} of ${check.sample_size} judged.`,
      button(`Judge the other ${left}`, async () => this.judge(await get(`/api/bulk-checks/${check.id}`))),
    );
  }

  // Step 2: the blind sample.
  judge(check) {
    this.check = check;
    this.sample = null;
    if (check.num_judged >= check.sample_size) return this.result();
    this.sample = new Sample(this.root, this, { check, onJudged: (judged) => this.judge(judged), onLeave: () => this.open(this.set) });
    return this.sample;
  }

  // Step 3: what the sample shows.
  result() {
    const check = this.check;
    const word = ANSWERS[check.proposed].label;
    const against = `${check.num_errors} of ${check.num_judged} ${check.num_errors === 1 ? "was" : "were"} against the proposal.`;
    const sure = `With ${percent(check.level)} confidence at most ${percent(check.bound, 2)} of the slice would be wrong (exact bound of Clopper and Pearson); the target is ${percent(check.target_error, 0)}.`;
    const trouble = h("p", { class: "nm-error-line", role: "alert" });
    const apply = button(`Apply “${word}” to the remaining ${number(check.num_remaining)}`, () => this.apply(apply, trouble));
    apply.classList.add("nm-primary");
    apply.disabled = !check.may_apply || check.num_remaining === 0 || check.person !== this.me();
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
        apply,
        button("Choose another slice", () => this.open(this.set)),
        trouble,
      ),
    );
    announce(`${against} ${sure}`);
    apply.disabled || apply.focus();
  }

  async apply(pressed, trouble) {
    pressed.disabled = true;
    const before = this.check.num_remaining;
    trouble.textContent = "";
    pressed.textContent = "Applying …";
    const look = async () => {
      const { num_remaining } = await get(`/api/bulk-checks/${this.check.id}`);
      if (this.applying) pressed.textContent = `Applying … ${number(before - num_remaining)} of ${number(before)}`;
    };
    this.applying = setInterval(() => document.hidden || look().catch(() => {}), LOOK_MS);
    try {
      this.check = await post(`/api/bulk-checks/${this.check.id}/apply`);
      fill(
        this.root,
        notice(
          "empty",
          `Accepted ${number(before)} as “${ANSWERS[this.check.proposed].label}”.`,
          button("Take all of them back", () => this.takeBack(), labelOf("undo")),
          button("Next slice", () => this.open(this.set)),
        ),
      );
      announce(`Accepted ${before}`);
    } catch (error) {
      trouble.textContent = error.message;
      pressed.textContent = "Try again";
      pressed.disabled = false;
    } finally {
      this.applying = clearInterval(this.applying);
    }
  }

  async takeBack() {
    if (this.isTakingBack) return;
    this.isTakingBack = true;
    fill(this.root, notice("empty", "Taking all of them back …"));
    try {
      await post("/api/verdicts/undo", { uuid: crypto.randomUUID(), retracts: null, data_set_id: this.set.id });
      announce("The bulk accept is taken back");
      await this.open(this.set);
    } catch (error) {
      fill(this.root, notice("error", error.message, button("Back", () => this.open(this.set))));
    } finally {
      this.isTakingBack = false;
    }
  }

  history(checks) {
    if (!checks.length) return null;
    const row = (check) =>
      h(
        "tr",
        {},
        h("td", {}, `${ANSWERS[check.proposed].label}, ${percent(check.min_probability, 0)} to ${percent(check.max_probability, 0)}${check.num_images === null ? "" : `, ${counted(check.num_images, "image")} from the map`}`),
        h("td", {}, check.person),
        h("td", {}, `${check.num_judged} of ${check.sample_size}`),
        h("td", {}, check.bound === null ? "–" : `${check.num_errors} wrong, ≤ ${percent(check.bound, 2)} (${percent(check.level)})`),
        h("td", {}, { open: check.may_apply ? "may be applied" : check.bound === null ? "sample open" : "refused", applied: "applied", undone: "taken back" }[check.state]),
        h("td", {}, check.state === "open" && check.bound !== null ? button("Show", async () => this.judge(await get(`/api/bulk-checks/${check.id}`))) : null),
      );
    const heads = ["Slice", "Sample by", "Judged", "Shown", "State", ""];
    return h("section", { class: "nm-sweep-history" }, h("h3", {}, "Checks so far"), h("table", { class: "nm-table" }, h("thead", {}, h("tr", {}, heads.map((head) => h("th", {}, head)))), h("tbody", {}, checks.map(row))));
  }

  // What an action does here; null when it is not ours.
  action(name) {
    if (this.check?.state === "applied") return name === "undo" ? () => this.takeBack() : null;
    return this.sample?.action(name) ?? null;
  }

  actions() {
    return this.sample?.actions() ?? ["undo"];
  }

  left() {
    return `${suggestions((sliceOf(this.set.id) ? null : this.outbox.remaining) ?? this.remaining)} left`;
  }
}
