// Browse: pictures with captions, filtered by words or by meaning, paged by key as one scrolls; a drawer with detail.

import { get, picture } from "./api.js";
import { fill, h, notice, number, percent } from "./dom.js";
import { onDataSet } from "./state.js";
import { ANSWERS } from "./verdicts.js";

export function browse(root) {
  const view = new Browse(root);
  onDataSet((set) => view.open(set));
}

class Browse {
  constructor(root) {
    this.root = root;
    this.grid = h("ul", { class: "nm-grid", "aria-label": "Pairs" });
    this.more = h("div", { class: "nm-more" });
    this.drawer = h("aside", { class: "nm-drawer", hidden: true, "aria-label": "Detail" });
    this.words = h("input", { type: "search", placeholder: "Words in captions", "aria-label": "Words in captions", oninput: () => this.later() });
    this.meaning = h("input", { type: "checkbox", id: "nm-meaning", onchange: () => this.later(0) });
    this.split = h(
      "select",
      { "aria-label": "Split", onchange: () => this.restart() },
      h("option", { value: "" }, "All splits"),
      h("option", { value: "train" }, "Training"),
      h("option", { value: "held_out" }, "Held out"),
    );
    this.attribution = h("p", { class: "nm-attribution" });
    this.watcher = new IntersectionObserver((seen) => seen.some((entry) => entry.isIntersecting) && this.load(), { rootMargin: "600px" });
    addEventListener("keydown", (event) => event.key === "Escape" && this.close());
  }

  open(set) {
    this.set = set;
    if (!set) return fill(this.root, notice("empty", "There is no data set yet. Import one in the Data tab."));
    this.attribution.textContent = [set.attribution, set.licence && `Licence: ${set.licence}.`].filter((text) => text && !set.attribution?.includes(text)).join(" ");
    fill(
      this.root,
      h(
        "div",
        { class: "nm-bar" },
        this.words,
        h("label", { class: "nm-check", for: "nm-meaning" }, this.meaning, "by meaning"),
        this.split,
        h("span", { class: "nm-meta" }, `${number(set.num_pairs)} pairs · ${number(set.num_verdicts)} verdicts`),
      ),
      h("div", { class: "nm-browse" }, h("div", {}, this.grid, this.more, this.attribution), this.drawer),
    );
    this.restart();
  }

  later(delay = 200) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.restart(), delay);
  }

  restart() {
    this.turn = (this.turn ?? 0) + 1;
    this.after = undefined;
    this.loading = false;
    fill(this.grid);
    this.watcher.disconnect();
    this.load().then(() => this.watcher.observe(this.more));
  }

  async load() {
    if (this.loading || this.after === null) return;
    this.loading = true;
    const turn = this.turn;
    fill(this.more, h("p", { class: "nm-meta" }, "Loading …"));
    try {
      const query = this.words.value.trim();
      const page =
        this.meaning.checked && query
          ? await get(`/api/data-sets/${this.set.id}/search`, { q: query })
          : await get(`/api/data-sets/${this.set.id}/pairs`, { q: query, split: this.split.value, after: this.after, limit: 60 });
      if (turn !== this.turn) return;
      this.after = page.next ?? null;
      this.grid.append(...page.items.map((item) => this.card(item)));
      fill(this.more, page.note ? notice("info", page.note) : null, this.grid.children.length ? null : notice("empty", query ? `Nothing has “${query}” in it.` : "Nothing here yet; the import may still be running."));
    } catch (error) {
      if (turn === this.turn) fill(this.more, notice("error", error.message, h("button", { class: "nm-button", onclick: () => this.restart() }, "Try again")));
    }
    this.loading = false;
  }

  card(item) {
    return h(
      "li",
      {},
      h(
        "button",
        { type: "button", class: "nm-card", onclick: () => this.detail(item.id) },
        h("img", { src: picture(item.image_id), alt: "", loading: "lazy", width: 256, height: 256 }),
        h("span", { class: "nm-card-caption" }, item.caption),
        item.split === "held_out" ? h("span", { class: "nm-tag" }, "held out") : null,
        item.score === undefined ? null : h("span", { class: "nm-tag" }, item.score.toFixed(2)),
        item.verdict ? h("span", { class: `nm-tag nm-${item.verdict}` }, `${ANSWERS[item.verdict].icon} ${ANSWERS[item.verdict].label}`) : null,
      ),
    );
  }

  async detail(pairId) {
    this.drawer.hidden = false;
    fill(this.drawer, h("p", { class: "nm-meta" }, "Loading …"));
    try {
      const pair = await get(`/api/pairs/${pairId}`);
      fill(
        this.drawer,
        h("button", { type: "button", class: "nm-button nm-close", onclick: () => this.close(), "aria-label": "Close" }, "✕"),
        h("img", { class: "nm-large", src: picture(pair.image_id, 512), alt: pair.caption }),
        h("h2", {}, pair.caption),
        h("p", { class: "nm-meta" }, `${pair.image.width} × ${pair.image.height} px · ${pair.split === "held_out" ? "held out" : "training"}`),
        this.candidates("Other captions for this image", pair.candidates.filter((c) => c.image_id === pair.image_id), false),
        this.candidates("Other images for this caption", pair.candidates.filter((c) => c.image_id !== pair.image_id), true),
        this.history(pair.verdicts ?? []),
      );
      this.drawer.querySelector("button").focus();
    } catch (error) {
      fill(this.drawer, notice("error", error.message));
    }
  }

  candidates(title, list, withPicture) {
    const rows = list.map((c) =>
      h(
        "li",
        {},
        withPicture ? h("img", { src: picture(c.image_id), alt: "", loading: "lazy" }) : null,
        h("span", {}, withPicture ? `cosine ${c.score.toFixed(2)}` : c.caption),
        h("span", { class: `nm-tag nm-${c.verdict ?? c.proposed}` }, c.verdict ? `${ANSWERS[c.verdict].icon} ${ANSWERS[c.verdict].label}` : `${percent(c.probability, 0)} match`),
      ),
    );
    return h("section", {}, h("h3", {}, title), rows.length ? h("ul", { class: "nm-candidates" }, rows) : h("p", { class: "nm-meta" }, "None suggested."));
  }

  history(verdicts) {
    if (!verdicts.length) return null;
    const rows = verdicts.map((v) => h("li", {}, v.answer ? `${ANSWERS[v.answer].icon} ${ANSWERS[v.answer].label}` : "taken back", ` by ${v.person}, ${new Date(v.created_at).toLocaleString()}`));
    return h("section", {}, h("h3", {}, "Verdicts"), h("ul", { class: "nm-candidates" }, rows));
  }

  close() {
    this.drawer.hidden = true;
  }
}
