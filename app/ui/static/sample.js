// The blind sample of a sweep. Neither proposal, score nor the count of errors is shown: that would spoil it.

import { get } from "./api.js";
import { button, fill, h, notice } from "./dom.js";
import { OneByOne } from "./one_by_one.js";

export class Sample extends OneByOne {
  // `onJudged(check)` once the whole sample is, `onLeave` when the person goes.
  constructor(root, doors, { check, onJudged, onLeave }) {
    const bar = h("progress", { max: check.sample_size, value: check.num_judged, "aria-label": "Sample judged" });
    const told = h("p", { class: "nm-meta" });
    super(root, doors, { label: "Blind sample", kind: "nm-sweep", tools: button("Leave the sample", onLeave), below: [bar, told] });
    Object.assign(this, { check, onJudged, bar, told });
    this.before = check.num_judged;
    this.start(check.items);
  }

  sent(item) {
    return { suggestion_id: item.suggestion_id, blind: true };
  }

  drawn() {
    const done = this.before + this.given.length;
    this.bar.value = done;
    this.told.textContent = `Blind sample: ${done} of ${this.check.sample_size}. The proposal is hidden; judge only what you see.`;
  }

  async over() {
    this.told.textContent = "Saving …";
    await this.outbox.settled();
    try {
      this.onJudged(await get(`/api/bulk-checks/${this.check.id}`));
    } catch (error) {
      fill(this.place, notice("error", `${error.message} Your answers are kept here.`, button("Try again", () => this.over())));
    }
  }
}
