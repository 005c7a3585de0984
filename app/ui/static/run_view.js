// One run, live. The page only reads: it asks for what is new while it is looked at, and closing it stops nothing.

import { get } from "./api.js";
import { counted, fill, h, notice, number, seconds } from "./dom.js";
import { previews } from "./previews.js";
import { OVER, runActions } from "./run_actions.js";
import { chartsOf, figuresOf, labelWords, xrayOf } from "./run_body.js";
import { runLog } from "./run_log.js";
import { RunStory } from "./run_story.js";

const LOST_MS = 2000; // until the next try while the server does not answer
const PAGE = 1000;

export class RunView {
  // on: { changed(): the list should be read again, again(run), compare(ids) }
  constructor(root, on) {
    this.root = root;
    this.on = on;
    setInterval(() => this.tick(), 250);
  }

  async watch(id) {
    Object.assign(this, { id, after: 0, story: new RunStory(), run: null, page: null, drawn: -1, captions: {}, looked: 0, more: null, due: 0, previewStep: null });
    this.connection = h("div", {});
    this.head = h("div", {});
    this.charts = h("div", {});
    this.figures = h("div", {});
    this.previews = h("div", {});
    this.xray = h("div", {});
    this.log = h("div", {});
    this.yaml = h("pre", { class: "nm-code" });
    const folded = h("details", {}, h("summary", {}, "Configuration (YAML)"), h("p", { class: "nm-meta" }, "The same file runs by `nearmiss finetune run.yaml`."), this.yaml);
    fill(this.root, this.connection, this.head, this.figures, this.charts, this.previews, this.xray, this.log, folded);
    await this.update();
  }

  stop() {
    this.id = null;
  }

  tick() {
    if (!this.id || this.busy || document.hidden || Date.now() < this.due || !this.root.checkVisibility?.()) return;
    this.update();
  }

  async update() {
    if (this.busy) return (this.due = 0); // asked while asking: at once again
    this.busy = true;
    const { id } = this;
    try {
      const page = await get(`/api/runs/${id}/events`, { after: this.after, limit: PAGE });
      if (id !== this.id) return;
      const moved = !this.page || page.state !== this.page.state || page.reason !== this.page.reason;
      const heavy = this.story.heavy;
      for (const event of page.events) this.story.take(event);
      this.after = page.events.at(-1)?.id ?? this.after;
      this.page = page;
      this.due = Date.now() + page.next_poll_ms;
      if (moved || heavy !== this.story.heavy) await this.read(id);
      if (id !== this.id) return;
      if (moved) this.on.changed();
      this.draw(page.events.length > 0);
      fill(this.connection);
    } catch (error) {
      this.due = Date.now() + LOST_MS;
      if (id === this.id) fill(this.connection, notice("error", error.status ? error.message : `${error.message} The run goes on; this page attaches again by itself.`));
    } finally {
      this.busy = false;
      if (id !== this.id) this.due = 0;
    }
  }

  // The run's row, the intervals, the previews, and the captions of new looks into a batch.
  async read(id) {
    const [run, more, seen, texts, disk] = await Promise.all([
      get(`/api/runs/${id}`),
      get(`/api/runs/${id}/gains`),
      get(`/api/runs/${id}/previews`),
      this.story.looks.length > this.looked ? get(`/api/runs/${id}/captions`) : null,
      get(`/api/runs/${id}/disk`).catch(() => null), // a nicety, so it holds nothing up
    ]);
    if (id !== this.id) return;
    Object.assign(this, { run, more, seen, disk, captions: texts ?? this.captions, looked: this.story.looks.length });
  }

  draw(news) {
    if (!this.run) return;
    this.drawHead();
    if (news && !(this.charts.matches(":hover, :focus-within") && !OVER.has(this.page.state) && this.charts.firstChild)) fill(this.charts, chartsOf(this.story));
    if (this.drawn === this.story.heavy) return;
    this.drawn = this.story.heavy;
    fill(this.figures, figuresOf(this.run, this.story, this.more.gains[0]));
    if (this.seen.step !== this.previewStep) {
      this.previewStep = this.seen.step;
      fill(this.previews, previews(this.seen));
    }
    fill(this.xray, xrayOf(this.story, this.captions));
    fill(this.log, h("h3", {}, "Log"), runLog(this.story.log));
    this.yaml.textContent = this.run.config_yaml ?? "";
  }

  drawHead() {
    const { page, story } = this;
    const run = { ...this.run, state: page.state, reason: page.reason };
    const live = !OVER.has(run.state);
    const facts = [
      page.total ? `${run.unit === "step" || run.unit === "" ? "step " : `${run.unit} `}${number(page.done)} of ${number(page.total)}` : null,
      live && story.latest && run.state === "running" ? `${counted(Math.round(story.latest.examples_per_s), "pair/s", "pairs/s")}` : null,
      story.latest?.memory_bytes ? `peak memory ${(story.latest.memory_bytes / 1e9).toFixed(1)} GB` : null,
      live && page.eta_s && run.state === "running" ? `${seconds(page.eta_s)} left` : null,
      this.disk ? `${megabytes(this.disk)} on disk${this.disk.policy ? ` (${this.disk.policy})` : ""}` : null,
      run.attempt > 1 ? `attempt ${run.attempt}` : null,
    ].filter(Boolean);
    const key = JSON.stringify([run.state, run.reason, run.has_checkpoint, run.result_model_id, this.more?.arms, run.priority, this.disk?.kept]);
    if (key !== this.actionsKey || !this.actions?.isConnected) {
      this.actionsKey = key;
      this.actions = runActions(run, { canPush: this.more?.can_push, kept: this.disk?.kept, on: { changed: () => this.changed(), again: this.on.again } });
      this.facts = h("p", { class: "nm-meta" });
      this.progress = h("progress", { class: "nm-wide", "aria-label": "Progress" });
      fill(
        this.head,
        h("h2", {}, run.name, " ", h("span", { class: `nm-state nm-state-${run.state}` }, run.state)),
        h("p", { class: "nm-meta" }, `from ${run.model} · snapshot ${run.snapshot.hash.slice(0, 8)} · ${run.arm === "none" ? "no labels (control)" : `${run.arm === "sham" ? "sham labels (control): " : ""}${labelWords(run.counts, story.coverage)}`}`),
        this.facts,
        run.reason && run.state !== "finished" ? notice(run.state === "failed" ? "error" : "info", run.reason) : null,
        live ? this.progress : null,
        this.actions,
        this.more?.arms.length > 1 ? h("button", { type: "button", class: "nm-button nm-arms", onclick: () => this.on.compare(this.more.arms) }, "Compare the arms of this experiment") : null,
      );
    }
    this.facts.textContent = facts.join(" · ");
    this.progress.max = page.total || 1;
    this.progress.value = page.done;
  }

  changed() {
    this.page = null;
    this.update();
  }
}

function megabytes(disk) {
  const bytes = disk.training_bytes + disk.result_bytes + disk.folder_bytes;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}
