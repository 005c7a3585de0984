// Map: every image a point, near ones alike, coloured by verdict, score or cluster; a lasso leads to the grid.

import { Again } from "./again.js";
import { get, picture, post } from "./api.js";
import { announce, counted, fill, h, notice, number, percent } from "./dom.js";
import { setSlice } from "./slice.js";
import { ANSWERS } from "./verdicts.js";

const OVER = new Set(["finished", "failed", "cancelled"]);
const LOOK_MS = 1500; // while the map is being made
const MOST = 2000; // images that the grid takes from a lasso
const MOST_JUDGED = 10000; // and that the desk takes
const COLUMNS = [["id", Float64Array], ["x", Float32Array], ["y", Float32Array], ["score", Float32Array], ["cluster", Float32Array]];
const KINDS = { verdict: "verdict", score: "cosine to its own caption", cluster: "cluster" };
const CLUSTERS = ["#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#8a8f98", "#1f77b4", "#bcbd22"];
const SCORES = ["#313695", "#4575b4", "#74add1", "#abd9e9", "#fee090", "#fdae61", "#f46d43", "#d73027"].reverse();

export function map(root, set, doors) {
  return new MapView(root, set, doors).open();
}

class MapView {
  constructor(root, set, doors) {
    Object.assign(this, { root, set, doors });
    this.kind = "cluster";
    this.path = `/api/data-sets/${set.id}/map`;
    this.again = new Again(() => this.open(), () => this.root);
  }

  async open() {
    fill(this.root, h("p", { class: "nm-meta nm-loading" }, "Loading …"));
    try {
      const found = await get(this.path);
      const running = found.job && !OVER.has(found.job.state);
      if (running) this.again.after(LOOK_MS);
      if (running || found.id === null) return this.wait(found.job, running);
      return await this.draw(found);
    } catch (error) {
      return fill(this.root, notice("error", error.message, this.button("Try again", () => this.open())));
    }
  }

  button(label, onclick) {
    return h("button", { type: "button", class: "nm-button", onclick }, label);
  }

  wait(job, running) {
    if (running) return fill(this.root, notice("info", `The map is being made (${job.state}${job.reason ? `: ${job.reason}` : ""}). It goes on when you leave this page.`), h("progress", { "aria-label": "Map" }));
    const failed = job?.state === "failed" ? notice("error", `The last attempt failed: ${job.reason}`) : null;
    return fill(this.root, failed, notice("empty", "There is no map yet. It lays out all images so that those a model finds alike lie together; for 100,000 images it takes some minutes.", this.button("Make the map", () => this.make())));
  }

  async make() {
    try {
      await post(this.path);
      await this.open();
    } catch (error) {
      fill(this.root, notice("error", error.message));
    }
  }

  async draw(found) {
    const [{ plotOn }, answer] = await Promise.all([import("./map_plot.js"), fetch(`${this.path}/points`, { credentials: "same-origin" })]);
    if (!answer.ok) throw new Error((await answer.json()).error);
    this.read(await answer.arrayBuffer());
    const canvas = h("canvas", { class: "nm-map-canvas", "aria-label": `A map of ${counted(found.num_images, "image")}; the same images are in the grid` });
    const kind = h("select", { "aria-label": "Coloured by", onchange: () => this.colour(kind.value) }, Object.entries(KINDS).map(([value, text]) => h("option", { value }, `by ${text}`)));
    kind.value = this.kind;
    this.mode = this.button("Lasso", () => this.lasso());
    this.mode.setAttribute("aria-pressed", "false");
    this.legend = h("div", { class: "nm-legend" });
    this.chosen = h("div", { class: "nm-tools", "aria-live": "polite" });
    this.hover = h("div", { class: "nm-map-hover", hidden: true });
    fill(
      this.root,
      h("div", { class: "nm-bar" }, kind, this.mode, this.button("Whole map", () => this.plot.reset()), this.button("Make again", () => this.make()), h("span", { class: "nm-meta" }, `${counted(found.num_images, "image")} by ${found.model}`)),
      this.chosen,
      h("div", { class: "nm-map" }, canvas, this.hover),
      this.legend,
    );
    const { width, height } = canvas.getBoundingClientRect();
    this.plot = plotOn(canvas, found.num_images, { width, height, pointSize: found.num_images > 20000 ? 3 : 5, backgroundColor: this.token("--nm-card"), lassoColor: this.token("--nm-accent"), pointColorActive: this.token("--nm-ink"), pointColorHover: this.token("--nm-ink"), opacity: 0.8, lassoOnLongPress: true });
    if (!this.plot) return fill(this.root, notice("error", "This browser has no WebGL, which the map needs; use the grid."));
    this.plot.subscribe("select", ({ points }) => this.select(points));
    this.plot.subscribe("deselect", () => this.select([]));
    this.plot.subscribe("pointOver", (n) => this.over(n));
    this.plot.subscribe("pointOut", () => (this.hover.hidden = true));
    new ResizeObserver(() => canvas.isConnected && this.plot.set({ width: canvas.clientWidth, height: canvas.clientHeight })).observe(canvas.parentElement);
    return this.colour(this.kind);
  }

  read(buffer) {
    const num = Number(new DataView(buffer).getBigUint64(0, true));
    let at = 8;
    this.columns = {};
    for (const [name, Kind] of COLUMNS) {
      this.columns[name] = new Kind(buffer, at, num);
      at += num * Kind.BYTES_PER_ELEMENT;
    }
    this.columns.said = new Uint8Array(buffer, at, num);
  }

  token(name) {
    const probe = h("span", { style: `color: var(${name})` });
    this.root.append(probe);
    const [r, g, b] = getComputedStyle(probe).color.match(/[\d.]+/g).map(Number);
    probe.remove();
    return `#${[r, g, b].map((part) => Math.round(part).toString(16).padStart(2, "0")).join("")}`;
  }

  async colour(kind) {
    this.kind = kind;
    const { x, y, score, cluster, said } = this.columns;
    const names = Object.keys(ANSWERS);
    let colours = CLUSTERS;
    let z = cluster.map((c) => c % CLUSTERS.length);
    let legend = [];
    if (kind === "verdict") {
      colours = [this.token("--nm-line"), ...names.map((name) => this.token(`--nm-${name}`))];
      z = Float32Array.from(said, (bits) => (bits ? 1 + Math.log2(bits & -bits) : 0));
      legend = [["no verdict", colours[0]], ...names.map((name, n) => [`${ANSWERS[name].icon} ${ANSWERS[name].label}`, colours[n + 1]])];
    }
    if (kind === "score") {
      const known = [...score].sort((a, b) => a - b);
      const low = known[Math.floor(known.length * 0.02)];
      const high = known[Math.floor(known.length * 0.98)];
      colours = SCORES;
      z = score.map((s) => Math.max(0, Math.min(SCORES.length - 1, Math.floor(((s - low) / (high - low || 1)) * SCORES.length))));
      legend = [[low.toFixed(2), SCORES[0]], [high.toFixed(2), SCORES.at(-1)]];
    }
    fill(this.legend, legend.map(([text, colour]) => h("span", { class: "nm-legend-entry" }, h("span", { class: "nm-dot", style: `background: ${colour}` }), text)));
    this.plot.set({ colorBy: "valueA", pointColor: colours });
    await this.plot.draw({ x, y, z: Float32Array.from(z) }, { zDataType: "categorical" });
    this.root.querySelector("canvas").dataset.drawn = kind;
  }

  lasso() {
    const on = this.plot.get("mouseMode") !== "lasso";
    this.plot.set({ mouseMode: on ? "lasso" : "panZoom" });
    this.mode.classList.toggle("nm-chosen", on);
    this.mode.setAttribute("aria-pressed", String(on));
  }

  over(n) {
    const id = this.columns.id[n];
    fill(this.hover, h("img", { src: picture(id), alt: "" }), h("span", { class: "nm-meta" }, `cosine ${this.columns.score[n].toFixed(2)}`));
    this.hover.hidden = false;
  }

  select(points) {
    if (!points.length) return fill(this.chosen);
    const ids = points.map((n) => this.columns.id[n]);
    announce(`${counted(ids.length, "image is", "images are")} chosen`);
    return fill(
      this.chosen,
      h("span", { class: "nm-selected" }, `${counted(ids.length, "image")}, ${percent(ids.length / this.columns.id.length, 0)} of all`),
      this.button(ids.length > MOST ? `Show the first ${number(MOST)} in the grid` : "Show in the grid", () => this.show(ids.slice(0, MOST))),
      this.button(ids.length > MOST_JUDGED ? `Curate the first ${number(MOST_JUDGED)}` : "Curate these", () => this.curate(ids.slice(0, MOST_JUDGED))),
      ids.length === 1 ? this.button("Open", () => this.doors.onItem(ids[0])) : null,
    );
  }

  curate(ids) {
    setSlice(this.set.id, ids);
    this.doors.onCurate();
  }

  async show(ids) {
    try {
      this.doors.onSelect(await post(`${this.path}/cards`, { image_ids: ids }));
    } catch (error) {
      fill(this.chosen, notice("error", error.message));
    }
  }
}
