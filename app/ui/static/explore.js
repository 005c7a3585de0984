// Explore: a grid, a map, the near duplicates, and the page of one item; where one is stands in the address.

import { Again, untilSeen } from "./again.js";
import { ApiError, get } from "./api.js";
import { BLOCK, Cards } from "./cards.js";
import { announce, counted, fill, h, notice, number } from "./dom.js";
import { duplicates } from "./duplicates.js";
import { Filters } from "./filters.js";
import { itemPage } from "./item.js";
import { map } from "./map.js";
import { jobOf } from "./nothing_left.js";
import { reduced } from "./reduced.js";
import { Selection } from "./selection.js";
import { loadDataSets, onDataSets } from "./state.js";

const VIEWS = { grid: "Grid", map: "Map", duplicates: "Duplicates" };
const AGAIN_MS = 1500; // until a search that was not ready is asked again
const GROWING_MS = 3000; // between two looks at the numbers while an import or the search for suggestions goes on
const WORK = { import: "importing", mine: "looking for suggestions" };
const SHOWS = { pairs: "Pairs", suggestions: "Open suggestions", verdicts: "Verdicts" };

// `onCurate` opens the desk.
export function explore(root, { onCurate }) {
  const view = new Explore(root, onCurate);
  onDataSets((set) => view.open(set));
  addEventListener("popstate", () => view.set && view.arrive());
}

class Explore {
  constructor(root, onCurate) {
    Object.assign(this, { root, onCurate });
    this.filters = new Filters(() => this.restart());
    this.selection = new Selection({
      onChange: () => this.cards?.redraw(),
      onDone: () => this.reload(),
      count: () => get(`${this.path()}/count`, this.filters.query()),
      address: () => ({ path: this.path(), query: this.filters.query() }),
      choices: () => this.filters.choices,
    });
    this.cards = new Cards({ onOpen: (item) => this.go({ item: item.image_id }), selection: this.selection });
    this.more = h("div", { class: "nm-more" });
    this.words = h("input", { type: "search", placeholder: "Words in captions; drop or paste a picture", "aria-label": "Words in captions", oninput: () => this.later() });
    this.meaning = h("input", { type: "checkbox", id: "nm-meaning", onchange: () => this.restart() });
    this.asked = h("div", { class: "nm-asked" });
    this.attribution = h("p", { class: "nm-attribution" });
    this.growing = new Again(() => loadDataSets().catch(() => this.growing.after(GROWING_MS)), () => this.root);
    this.watcher = new IntersectionObserver((seen) => seen.some((entry) => entry.isIntersecting) && this.load(), { rootMargin: "800px" });
    root.addEventListener("dragover", (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());
    root.addEventListener("drop", (event) => this.drop(event));
    addEventListener("paste", (event) => root.offsetParent && this.take([...(event.clipboardData?.files ?? [])], event));
    addEventListener("keydown", (event) => event.key === "Escape" && root.offsetParent && this.place().item && !document.querySelector("dialog[open]") && this.go({ item: null }));
  }

  path() {
    return `/api/data-sets/${this.set.id}/explore`;
  }

  open(set) {
    const same = set && this.set?.id === set.id;
    this.set = set;
    if (!set) return fill(this.root, notice("empty", "There is no data set yet. Import one in the Data tab."));
    if (same && this.root.querySelector(".nm-explore, .nm-item")) return this.total(); // a refresh of the list only
    this.attribution.textContent = [set.attribution, set.licence && `Licence: ${set.licence}.`].filter((text) => text && !set.attribution?.includes(text)).join(" ");
    this.selection.clear();
    this.filters.open(set);
    this.arrive();
  }

  place() {
    const address = new URLSearchParams(location.search);
    const view = address.get("explore");
    return { view: view in VIEWS ? view : "grid", item: Number(address.get("item")) || null };
  }

  // A new place, which the browser's back button leaves.
  go(changes) {
    const address = new URL(location.href);
    for (const [name, value] of Object.entries(changes)) value ? address.searchParams.set(name, value) : address.searchParams.delete(name);
    history.pushState(null, "", address);
    this.arrive();
  }

  arrive() {
    const { view, item } = this.place();
    this.filters.read();
    this.filters.draw();
    if (item) {
      if (this.shown === "grid") this.scrolled = scrollY;
      this.shown = "item";
      return itemPage(this.root, item, { onBack: () => this.go({ item: null }), onOpen: (id) => this.go({ item: id }), onLike: (id) => this.like({ id }), onGroup: (group) => this.only({ group, show: "pairs" }) });
    }
    const back = this.shown === "item" && view === "grid" && this.cards.count > 0;
    this.shown = view;
    if (view === "grid") return this.grid(back);
    const body = h("div", {});
    fill(this.root, h("div", { class: "nm-explore" }, this.bar(view), body));
    if (view === "map") return map(body, this.set, { onItem: (id) => this.go({ item: id }), onSelect: (items) => this.selectItems(items), onCurate: this.onCurate });
    return duplicates(body, this.set, { onOpen: (id) => this.go({ item: id }), onGroup: (group) => this.only({ group, show: "pairs" }) });
  }

  bar(view) {
    const views = Object.entries(VIEWS).map(([name, title]) => h("button", { type: "button", class: `nm-button${name === view ? " nm-chosen" : ""}`, "aria-pressed": name === view, onclick: () => this.go({ explore: name === "grid" ? null : name }) }, title));
    return h("div", { class: "nm-bar nm-views", role: "group", "aria-label": "View" }, views);
  }

  grid(back) {
    this.words.value = this.filters.values.q;
    this.show = h("select", { "aria-label": "What is shown", onchange: () => this.filters.change({ show: this.show.value, answer: "" }) }, Object.entries(SHOWS).map(([value, text]) => h("option", { value }, text)));
    this.show.value = this.filters.values.show;
    this.head = h("span", { class: "nm-meta" });
    const file = h("input", { type: "file", accept: "image/*", class: "nm-hidden", "aria-label": "A picture to search with", onchange: () => this.take([...file.files]) });
    fill(
      this.root,
      h(
        "div",
        { class: "nm-explore" },
        this.bar("grid"),
        h("div", { class: "nm-bar" }, this.words, h("label", { class: "nm-check", for: "nm-meaning" }, this.meaning, "by meaning"), h("button", { type: "button", class: "nm-button", onclick: () => file.click() }, "By picture …"), file, this.show, this.head),
        this.filters.draw(),
        this.asked,
        this.selection.root,
        this.cards.root,
        this.more,
        this.attribution,
      ),
    );
    this.total();
    if (!back) return this.restart();
    this.watcher.observe(this.more);
    requestAnimationFrame(() => scrollTo(0, this.scrolled ?? 0));
    return null;
  }

  // The numbers, and what still goes on in the data set; pairs that came after the last page wait for a click.
  total() {
    const job = jobOf(this.set);
    if (job) this.growing.after(GROWING_MS);
    else this.growing.stop();
    const doing = job && ` · ${WORK[job.kind]}${job.total ? `: ${number(job.done)} of ${number(job.total)}` : " …"}`;
    if (this.head) this.head.textContent = `${counted(this.set.num_pairs, "pair")} · ${counted(this.set.num_verdicts, "verdict")}${doing ?? ""}`;
    if (this.after === null && !this.query && this.set.num_pairs > this.numAtEnd) fill(this.more, notice("info", "More pairs have come since.", h("button", { type: "button", class: "nm-button", onclick: () => this.restart() }, "Show them")));
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.query = null;
      this.filters.set({ q: this.words.value.trim() });
    }, 200);
  }

  only(values) {
    history.pushState(null, "", new URL(location.href));
    const address = new URL(location.href);
    for (const name of ["item", "explore", "q", "answer", "tag"]) address.searchParams.delete(name);
    for (const [name, value] of Object.entries(values)) address.searchParams.set(name, value);
    history.replaceState(null, "", address);
    this.query = null;
    this.shown = null;
    this.arrive();
  }

  selectItems(items) {
    this.selection.clear();
    this.query = { items };
    this.shown = null;
    this.go({ explore: null });
  }

  reload() {
    this.filters.open(this.set);
    this.restart();
  }

  restart() {
    if (this.shown !== "grid") return;
    this.turn = (this.turn ?? 0) + 1;
    this.after = undefined;
    this.loading = false;
    this.held = [];
    this.cards.clear();
    this.selection.clear();
    this.drawAsked();
    this.watcher.disconnect();
    this.load().then(() => this.watcher.observe(this.more));
  }

  // Pages until a block is full: a filter that keeps little gives short ones.
  async load() {
    if (this.loading || this.after === null) return;
    this.loading = true;
    const turn = this.turn;
    fill(this.more, h("p", { class: "nm-meta nm-loading" }, "Loading …"));
    let note = null;
    let askAgain = false;
    try {
      do {
        const page = await this.page();
        if (turn !== this.turn) return;
        this.after = page.next ?? null;
        if (this.after === null) this.numAtEnd = this.set.num_pairs;
        this.held.push(...page.items);
        ({ note, ask_again: askAgain } = page);
        while (this.held.length >= BLOCK) this.cards.add(this.held.splice(0, BLOCK));
      } while (this.after !== null && this.held.length > 0 && this.cards.count === 0 && this.held.length < BLOCK);
      if (this.after === null && this.held.length) this.cards.add(this.held.splice(0));
      fill(this.more, note ? notice("info", note) : null, this.end());
      announce(this.cards.count ? `${number(this.cards.count)} shown` : "Nothing found");
    } catch (error) {
      if (turn === this.turn) fill(this.more, notice("error", error.message, h("button", { type: "button", class: "nm-button", onclick: () => this.restart() }, "Try again")));
    }
    this.loading = false;
    if (askAgain) setTimeout(() => untilSeen().then(() => turn === this.turn && !this.selection.all && !this.selection.size && this.restart()), AGAIN_MS);
    // behind another tab nothing has a place, and page after page of the whole data set would seem to be wanted
    const isNear = this.more.checkVisibility() && this.more.getBoundingClientRect().top < innerHeight + 800;
    if (turn === this.turn && this.after && isNear) setTimeout(() => this.load());
  }

  end() {
    if (this.after !== null) return h("p", { class: "nm-meta" }, "Looking further …");
    if (this.cards.count) return this.cards.count > BLOCK ? h("p", { class: "nm-meta" }, `That is all: ${number(this.cards.count)}.`) : null;
    if (this.filters.isEmpty() && !this.query) return notice("empty", this.set.num_pairs ? "There is nothing of this kind yet. Find suggestions in the Data tab, and decide in Curate." : "Nothing here yet; the import may still be running.");
    return notice("empty", "Nothing matches these filters.", h("button", { type: "button", class: "nm-button", onclick: () => this.forget() }, "Clear filters"));
  }

  forget() {
    this.query = null;
    this.words.value = "";
    this.filters.clear();
  }

  async page() {
    const query = this.filters.query();
    if (this.query?.items) return { items: this.query.items, next: null };
    if (this.query?.blob) return this.byPicture(query);
    const path = `/api/data-sets/${this.set.id}/search`;
    if (this.query?.id) return get(path, { ...query, image_id: this.query.id, limit: 300 });
    if (this.meaning.checked && query.q) return get(path, { ...query, limit: 300 });
    return get(this.path(), { ...query, after: this.after, limit: BLOCK });
  }

  async byPicture(query) {
    const url = `/api/data-sets/${this.set.id}/search?${new URLSearchParams({ ...query, limit: 300 })}`;
    const answer = await fetch(url, { method: "POST", credentials: "same-origin", headers: { "X-Nearmiss": "1", "Content-Type": this.query.blob.type }, body: this.query.blob }).catch(() => null);
    const body = await answer?.json().catch(() => null);
    if (!answer?.ok) throw new ApiError(body?.error ?? "Nearmiss does not answer; it may be restarting.", answer?.status ?? 0);
    return body;
  }

  like(query) {
    this.query = query;
    this.shown = null;
    this.go({ item: null, explore: null });
  }

  drop(event) {
    if (this.take([...(event.dataTransfer?.files ?? [])], event)) return;
  }

  // A picture that somebody brings is made small here; it never lies on the server.
  take(files, event) {
    const file = files.find((one) => one.type.startsWith("image/"));
    if (!file) return false;
    event?.preventDefault();
    reduced(file).then(
      (blob) => this.like({ blob, name: file.name }),
      () => fill(this.asked, notice("error", `“${file.name}” cannot be read as a picture; bring a PNG, JPEG or WebP.`)),
    );
    return true;
  }

  drawAsked() {
    if (!this.query) return fill(this.asked);
    const what = this.query.items ? `${number(this.query.items.length)} from the map` : this.query.id ? "Images like this one" : `Images like “${this.query.name}”`;
    const source = this.query.id ? `/api/images/${this.query.id}/256` : this.query.blob ? URL.createObjectURL(this.query.blob) : null;
    const close = h("button", { type: "button", class: "nm-button", onclick: () => { this.query = null; this.restart(); } }, "✕ Back to all");
    return fill(this.asked, h("div", { class: "nm-query" }, source ? h("img", { src: source, alt: "" }) : null, h("span", {}, what), close));
  }
}
