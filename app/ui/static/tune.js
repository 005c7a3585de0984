// Fine-tune: a preset, what the verdicts become, one button.

import { get, post } from "./api.js";
import { fill, h, notice, number, seconds } from "./dom.js";
import { onDataSet } from "./state.js";

export function tune(root, { onStarted }) {
  const view = new Tune(root, onStarted);
  onDataSet((set) => view.open(set));
  new IntersectionObserver((seen) => seen.some((entry) => entry.isIntersecting) && view.set && view.preview()).observe(root);
}

class Tune {
  constructor(root, onStarted) {
    this.root = root;
    this.onStarted = onStarted;
    this.overrides = {};
    this.report = h("div", { class: "nm-report", "aria-live": "polite" });
    this.start = h("button", { type: "button", class: "nm-primary", onclick: () => this.launch() }, "Fine-tune");
    this.requestKey = crypto.randomUUID();
  }

  async open(set) {
    this.set = set;
    if (!set) return fill(this.root, notice("empty", "There is no data set yet. Import one in the Data tab."));
    try {
      [this.models, this.presets] = await Promise.all([get("/api/models"), get("/api/presets")]);
    } catch (error) {
      return fill(this.root, notice("error", error.message, h("button", { class: "nm-button", onclick: () => this.open(set) }, "Try again")));
    }
    this.preset = this.presets[0]?.name;
    this.model = h("select", { id: "nm-model", onchange: () => this.preview() }, this.models.map((m) => h("option", { value: m.id }, m.name)));
    this.cards = h("div", { class: "nm-presets", role: "radiogroup", "aria-label": "Preset" });
    this.advanced = h("div", { class: "nm-fields" });
    this.drawPresets();
    fill(
      this.root,
      h(
        "div",
        { class: "nm-tune" },
        h(
          "section",
          {},
          h("h2", {}, "How"),
          this.cards,
          h("label", { class: "nm-field", for: "nm-model" }, "Start from", this.model),
          h("details", {}, h("summary", {}, "Advanced"), this.advanced),
        ),
        h("section", { class: "nm-before" }, h("h2", {}, "What will happen"), this.report, this.start),
      ),
    );
    this.preview();
  }

  drawPresets() {
    fill(
      this.cards,
      this.presets.map((p) =>
        h(
          "button",
          {
            type: "button",
            role: "radio",
            "aria-checked": String(p.name === this.preset),
            class: `nm-preset${p.name === this.preset ? " nm-chosen" : ""}`,
            onclick: () => this.choosePreset(p.name),
          },
          h("strong", {}, p.title),
          h("span", {}, p.what),
        ),
      ),
    );
    const chosen = this.presets.find((p) => p.name === this.preset);
    fill(this.advanced, (chosen?.fields ?? []).map((field) => this.field(field)));
  }

  field(field) {
    const set = (value) => {
      this.put(field.path, value);
      this.later();
    };
    const control = field.choices
      ? h("select", { onchange: (e) => set(e.target.value) }, field.choices.map((c) => h("option", { value: c, selected: c === field.value }, c)))
      : h("input", { type: "number", step: "any", value: field.value, oninput: (e) => e.target.value !== "" && set(Number(e.target.value)) });
    return h("label", { class: "nm-field" }, field.label, control);
  }

  put(path, value) {
    const names = path.split(".");
    let place = this.overrides;
    for (const name of names.slice(0, -1)) place = place[name] ??= {};
    place[names.at(-1)] = value;
  }

  choosePreset(name) {
    this.preset = name;
    this.overrides = {};
    this.drawPresets();
    this.preview();
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.preview(), 300);
  }

  request() {
    return { data_set_id: this.set.id, model_id: Number(this.model.value), preset: this.preset, overrides: this.overrides };
  }

  async preview() {
    if (!this.model) return; // still loading; open() comes back here
    this.start.disabled = !this.model.value;
    if (!this.model.value) {
      return fill(this.report, notice("error", "There is no model to start from: add one with `nearmiss add-model`, or import the demo."));
    }
    try {
      const report = await post("/api/runs/preview", this.request());
      this.start.disabled = report.refusals.length > 0;
      fill(this.report, ...summary(report));
    } catch (error) {
      this.start.disabled = true;
      fill(this.report, notice("error", error.message));
    }
  }

  async launch() {
    this.start.disabled = true;
    try {
      const { run } = await post("/api/runs", { ...this.request(), request_key: this.requestKey });
      this.requestKey = crypto.randomUUID();
      this.onStarted(run);
    } catch (error) {
      fill(this.report, notice("error", error.message));
    }
    this.start.disabled = false;
  }
}

function summary(report) {
  const labels = report.labels;
  const facts = [
    ["Pairs to train on", number(report.num_pairs)],
    ["Steps", `${number(report.steps)} (warm-up ${number(report.warmup_steps)}, batch ${number(report.batch_size)})`],
    ["Extra positives", number(labels.extra_positives), "verdicts “Yes” that the loss now counts as true"],
    ["Masks", number(labels.masks), "candidates that the loss leaves alone"],
    ["Hard negatives", number(labels.hard_negatives), "verdicts “No” that are brought in front of their image"],
    ["Broken pairs left out", number(labels.broken_pairs)],
    [
      "False negatives met per epoch",
      `${report.collisions_without_labels.toFixed(1)} → ${report.collisions_with_labels.toFixed(1)}`,
      "expected, without and with your verdicts",
    ],
    report.seconds ? ["Expected time", seconds(report.seconds)] : null,
  ].filter(Boolean);
  return [
    h("dl", { class: "nm-facts" }, facts.map(([name, value, why]) => h("div", {}, h("dt", {}, name), h("dd", {}, value, why ? h("small", {}, why) : null)))),
    ...report.refusals.map((text) => notice("error", text)),
    ...report.warnings.map((text) => notice("info", text)),
    report.waiting ? notice("info", report.waiting) : null,
  ];
}
