// Duplicates: groups of near-identical images or captions, each settled in one decision.

import { get, picture, post } from "./api.js";
import { announce, counted, fill, h, notice, number } from "./dom.js";

const WAYS = {
  same: { label: "All the same", long: "Every caption describes every image: false negatives", done: "false negatives" },
  different: { label: "All different", long: "Each caption describes its own image only: hard negatives", done: "hard negatives" },
  one: { label: "Keep the first", long: "The other pairs are retired", done: "pairs retired" },
};

export function duplicates(root, set, doors) {
  return new Duplicates(root, set, doors).open();
}

class Duplicates {
  constructor(root, set, doors) {
    Object.assign(this, { root, set, doors });
    this.kind = "image";
    this.settled = false;
    this.list = h("ul", { class: "nm-groups" });
    this.more = h("div", {});
  }

  open() {
    const kind = h("select", { "aria-label": "Of what", onchange: () => this.change({ kind: kind.value }) }, h("option", { value: "image" }, "Images that look alike"), h("option", { value: "caption" }, "Captions that say the same"));
    const settled = h("input", { type: "checkbox", id: "nm-settled", onchange: () => this.change({ settled: settled.checked }) });
    fill(this.root, h("div", { class: "nm-bar" }, kind, h("label", { class: "nm-check", for: "nm-settled" }, settled, "settled ones")), this.list, this.more);
    return this.change({});
  }

  change(values) {
    Object.assign(this, values);
    this.turn = (this.turn ?? 0) + 1;
    fill(this.list);
    return this.load(0);
  }

  async load(after) {
    const turn = this.turn;
    fill(this.more, h("p", { class: "nm-meta nm-loading" }, "Loading …"));
    try {
      const page = await get(`/api/data-sets/${this.set.id}/duplicates`, { kind: this.kind, settled: this.settled, after, limit: 20 });
      if (turn !== this.turn) return;
      this.list.append(...page.groups.map((group) => this.row(group)));
      fill(this.more, page.next ? h("button", { type: "button", class: "nm-button", onclick: () => this.load(page.next) }, "More groups") : this.list.children.length ? null : notice("empty", this.empty()));
    } catch (error) {
      if (turn === this.turn) fill(this.more, notice("error", error.message, h("button", { type: "button", class: "nm-button", onclick: () => this.load(after) }, "Try again")));
    }
  }

  empty() {
    if (this.settled) return "No group is settled yet.";
    return this.set.mining_job?.state === "finished" ? "No near duplicates are open." : "Near duplicates are looked for together with suggestions: choose Find suggestions in the Data tab.";
  }

  row(group, said = null) {
    const row = h("li", { class: "nm-group" });
    const cells = group.pairs.map((pair) => h("li", { class: pair.is_retired ? "nm-past" : "" }, h("button", { type: "button", class: "nm-card", onclick: () => this.doors.onOpen(pair.image_id) }, h("img", { src: picture(pair.image_id), alt: "", loading: "lazy", width: 256, height: 256 }), h("span", { class: "nm-card-caption" }, pair.caption), pair.is_retired ? h("span", { class: "nm-tag" }, "retired") : null)));
    const ways = group.settled
      ? [h("span", { class: "nm-meta" }, said ?? `${WAYS[group.settled].label}, by ${group.person}`), this.button("Undo", "Take it back", () => this.send(row, group, "reopen", {}))]
      : Object.entries(WAYS).map(([how, { label, long }]) => this.button(label, long, () => this.send(row, group, "settle", { how })));
    fill(row, h("ul", { class: "nm-group-pairs" }, cells), group.size > group.pairs.length ? h("p", { class: "nm-meta" }, `${counted(group.pairs.length, "pair")} of ${counted(group.size, "member")}`) : null, h("div", { class: "nm-tools" }, ways, this.button("In the grid", "Show the group in the grid", () => this.doors.onGroup(group.id))));
    return row;
  }

  button(label, title, onclick) {
    return h("button", { type: "button", class: "nm-button", title, onclick }, label);
  }

  async send(row, group, what, body) {
    try {
      const answer = await post(`/api/duplicates/${group.id}/${what}`, body);
      const said = what === "settle" ? `${WAYS[body.how].label}: ${number(answer.num)} ${WAYS[body.how].done}.` : null;
      const fresh = this.row(answer.group, said);
      row.replaceWith(fresh);
      (fresh.nextElementSibling ?? fresh).querySelector(".nm-tools button")?.focus();
      announce(said ?? "Taken back");
    } catch (error) {
      row.append(notice("error", error.message));
    }
  }
}
