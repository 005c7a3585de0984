// What a run's events say so far, gathered for the views; the page feeds it live, the report all at once.

export class RunStory {
  constructor() {
    this.points = []; // [step, loss, lr, logit scale, pairs a second, parts?]
    this.evaluations = []; // { step, when, metrics }
    this.similarities = []; // { step, histograms }
    this.looks = []; // into a batch
    this.log = [];
    this.latest = null;
    this.sweep = null;
    this.coverage = undefined;
    this.heavy = 0; // grows when what is costly to draw has changed
  }

  take(event) {
    const { kind, step, body } = event;
    if (kind === "step") {
      const first = body.points?.[0]?.[0];
      if (this.points.length && first <= this.points.at(-1)[0]) this.points = this.points.filter((p) => p[0] < first); // resumed from a checkpoint
      for (const point of body.points ?? []) this.points.push(point);
      this.latest = body;
      return;
    }
    if (kind === "evaluated") {
      this.evaluations = [...this.evaluations.filter((e) => e.step !== step || e.when !== body.when), { step, when: body.when, metrics: body.metrics }];
      if (body.histograms) this.see(this.similarities, { step, histograms: body.histograms });
    }
    if (kind === "similarities") this.see(this.similarities, { step, histograms: body.histograms });
    if (kind === "batch") this.see(this.looks, body);
    if (kind === "swept") this.sweep = body;
    if (kind === "epoch") this.coverage = body.coverage;
    this.heavy += 1;
    this.log.push(event);
  }

  // One look a step; a resumed run looks again.
  see(list, look) {
    const at = list.findIndex((known) => known.step >= look.step);
    if (at < 0) list.push(look);
    else list.splice(at, list.length - at, look);
  }
}
