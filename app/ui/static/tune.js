// Fine-tune: a preset, what the verdicts become, one button. The form, the YAML and the code say the same.

import { Again, untilSeen } from "./again.js";
import { get, post } from "./api.js";
import { ConfigFields } from "./config_fields.js";
import { fill, h, notice } from "./dom.js";
import { ModelPicker } from "./model_picker.js";
import { planReport } from "./plan_report.js";
import { OVER } from "./run_actions.js";
import { PlanText } from "./plan_text.js";
import { probes } from "./probes.js";
import { onDataSet } from "./state.js";

const WAIT_MS = 300; // after the last key
const NO_MODEL_MS = 3000; // between two looks whether there is a model by now, as the demo's import brings one

export function tune(root, { onStarted }) {
  const view = new Tune(root, onStarted);
  onDataSet((set) => view.open(set));
  new IntersectionObserver((seen) => seen.some((entry) => entry.isIntersecting) && view.set && view.preview()).observe(root);
  return view;
}

class Tune {
  constructor(root, onStarted) {
    this.root = root;
    this.onStarted = onStarted;
    this.report = h("div", { class: "nm-report", "aria-live": "polite" });
    this.start = h("button", { type: "button", class: "nm-primary", disabled: true, onclick: () => this.launch() }, "Fine-tune");
    this.controls = h("button", { type: "button", class: "nm-button", disabled: true, title: "Three runs: without labels, with sham labels, with your verdicts", onclick: () => this.launchControls() }, "Start with controls (3 runs)");
    this.name = h("input", { type: "text", maxLength: 150, placeholder: "named by preset and number" });
    this.picker = new ModelPicker(() => this.preview());
    this.text = new PlanText({ edited: () => this.later(), form: () => this.backToForm() });
    this.again = new Again(() => this.preview(), () => this.report);
    this.newKey();
  }

  async open(set) {
    this.set = set;
    if (!set) return fill(this.root, notice("empty", "There is no data set yet. Import one in the Data tab."));
    try {
      const [models, presets] = await Promise.all([get("/api/models"), get("/api/presets")]);
      this.presets = presets;
      this.picker.show(models, this.picker.value);
    } catch (error) {
      return fill(this.root, notice("error", error.message, h("button", { class: "nm-button", onclick: () => this.open(set) }, "Try again")));
    }
    this.cards = h("div", { class: "nm-presets", role: "radiogroup", "aria-label": "Preset" });
    this.settings = h("div", {});
    this.form = h("div", {}, h("h2", {}, "How"), this.cards, this.picker.element, this.settings);
    fill(
      this.root,
      h(
        "div",
        { class: "nm-tune" },
        h("section", {}, this.form, probes(set.id), this.text.element),
        h("section", { class: "nm-before" }, h("h2", {}, "What will happen"), this.report, h("label", { class: "nm-field" }, "Name", this.name), h("div", { class: "nm-launch" }, this.start, this.controls), h("p", { class: "nm-meta" }, "The controls tell what your verdicts add, against no labels and against as many random ones.")),
      ),
    );
    this.choosePreset(this.presets[0]?.name);
  }

  drawPresets() {
    fill(
      this.cards,
      this.presets.map((p) =>
        h("button", { type: "button", role: "radio", "aria-checked": String(p.name === this.preset), tabIndex: p.name === this.preset ? 0 : -1, class: `nm-preset${p.name === this.preset ? " nm-chosen" : ""}`, onclick: () => this.choosePreset(p.name), onkeydown: (event) => this.moveInPresets(event) }, h("strong", {}, p.title), h("span", {}, p.what)),
      ),
    );
  }

  moveInPresets(event) {
    const move = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!move) return;
    event.preventDefault();
    const at = this.presets.findIndex((p) => p.name === this.preset);
    this.choosePreset(this.presets[(at + move + this.presets.length) % this.presets.length].name);
    this.cards.querySelector("[aria-checked=true]").focus();
  }

  choosePreset(name) {
    this.preset = name;
    this.drawPresets();
    const chosen = this.presets.find((p) => p.name === name);
    this.fields = new ConfigFields(chosen?.fields ?? [], () => this.changed());
    fill(this.settings, this.fields.element);
    this.changed();
  }

  changed() {
    this.text.reset();
    this.later();
  }

  backToForm() {
    this.text.reset();
    this.preview();
  }

  // Same again with…: the frozen configuration of a run, to be changed.
  async again(run) {
    if (!this.presets) return;
    this.picker.show(await get("/api/models").catch(() => this.picker.models), run.model_id);
    this.name.value = `${run.name} again`.slice(0, 150);
    this.text.use(run.config_yaml);
    this.preview();
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.preview(), WAIT_MS);
  }

  wish() {
    const yaml = this.text.text;
    const how = yaml === null ? { preset: this.preset, overrides: this.fields.overrides } : { config_yaml: yaml };
    return { data_set_id: this.set.id, model_id: this.picker.value, ...how };
  }

  async preview() {
    if (!this.fields) return; // still loading; open() comes back here
    this.allow(false);
    if (!this.picker.value) this.picker.show(await get("/api/models").catch(() => []));
    if (!this.picker.value) {
      if (!this.report.hasChildNodes()) fill(this.report, notice("info", "There is no model to start from yet. The demo brings one when its import ends; your own you add beside."));
      return this.again.after(NO_MODEL_MS);
    }
    const asked = (this.asked = Symbol("asked"));
    try {
      const report = await post("/api/runs/preview", this.wish());
      if (asked !== this.asked) return;
      this.allow(report.refusals.length === 0);
      this.text.show(report, this.set);
      fill(this.report, planReport(report, this.measureButton(report)));
    } catch (error) {
      if (asked === this.asked) fill(this.report, notice("error", error.message));
    }
  }

  // Two real steps on a worker; not for an adapter, which passes no tower, and not without a worker.
  measureButton(report) {
    if (report.waiting || /^\s+train: adapter$/m.test(report.config_yaml)) return null;
    const button = h("button", { type: "button", class: "nm-button nm-small", onclick: () => this.measure(button) }, report.memory_limit_bytes ? "Measure again" : "Measure on the worker");
    return button;
  }

  async measure(button) {
    const place = h("small", { role: "status" }, "Waiting for the worker …");
    button.replaceWith(place);
    try {
      let { job } = await post("/api/runs/measure", this.wish());
      while (place.isConnected && !OVER.has(job.state)) {
        fill(place, job.state === "queued" ? job.reason || "Waiting for the worker …" : `Measuring: ${job.unit === "step" ? `step ${job.done}` : "loading the model"} …`);
        await new Promise((done) => setTimeout(done, 1000));
        await untilSeen();
        job = await get(`/api/jobs/${job.id}`).catch(() => job); // a server that restarts answers again
      }
      if (!place.isConnected) return; // the form has changed meanwhile and asks anew
      if (job.state !== "finished") return fill(place, `Measuring ${job.state}: ${job.reason}`);
      this.preview();
    } catch (error) {
      fill(place, error.message);
    }
  }

  allow(is) {
    this.start.disabled = this.controls.disabled = !is;
  }

  launch() {
    return this.send("/api/runs", (answer) => answer.run);
  }

  launchControls() {
    return this.send("/api/run-comparisons", (answer) => answer.runs.at(-1));
  }

  async send(path, shown) {
    this.allow(false);
    try {
      const answer = await post(path, { ...this.wish(), name: this.name.value.trim(), request_key: this.requestKey });
      this.newKey();
      this.name.value = "";
      this.onStarted(shown(answer));
    } catch (error) {
      fill(this.report, notice("error", error.message));
    }
    this.allow(true);
  }

  newKey() {
    this.requestKey = crypto.randomUUID(); // a second click with the same key starts nothing
  }
}
