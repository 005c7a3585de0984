// The page of one item: the image, its captions, what was suggested, its verdicts, comments, tags and near duplicates.

import { get, picture, post, remove } from "./api.js";
import { verdictTag } from "./cards.js";
import { announce, fill, h, notice, percent } from "./dom.js";
import { showWrite, takeBack } from "./write.js";

export function itemPage(root, id, doors) {
  return new Item(root, id, doors).load();
}

class Item {
  constructor(root, id, doors) {
    Object.assign(this, { root, id, doors });
  }

  async load() {
    const back = h("button", { type: "button", class: "nm-button", onclick: this.doors.onBack }, "← Back");
    this.body = h("div", {}, h("p", { class: "nm-meta nm-loading" }, "Loading …"));
    fill(this.root, h("div", { class: "nm-item" }, h("div", { class: "nm-bar" }, back, h("button", { type: "button", class: "nm-button", onclick: () => this.doors.onLike(this.id) }, "Images like this one")), this.body));
    scrollTo(0, 0);
    back.focus({ preventScroll: true });
    try {
      this.item = await get(`/api/items/${this.id}`);
      this.draw();
    } catch (error) {
      fill(this.body, notice("error", error.message, h("button", { type: "button", class: "nm-button", onclick: () => this.load() }, "Try again")));
    }
  }

  draw() {
    const { item } = this;
    this.comments = h("ul", { class: "nm-notes" });
    fill(
      this.body,
      h(
        "div",
        { class: "nm-item-page" },
        h(
          "div",
          { class: "nm-item-side" },
          h("a", { href: picture(item.id, "original"), target: "_blank", rel: "noopener", title: "Open the original" }, h("img", { class: "nm-large", src: picture(item.id, 512), alt: item.captions[0]?.caption ?? "" })),
          h("p", { class: "nm-meta" }, `${item.key} · ${item.width} × ${item.height} px`),
          item.tags.length ? h("p", { class: "nm-card-tags" }, item.tags.map((name) => h("span", { class: "nm-tag nm-own-tag" }, `# ${name}`))) : null,
          this.alike(),
        ),
        h("div", {}, this.captions(), this.suggestions(), this.elsewhere(), this.history(), this.talk()),
      ),
    );
    this.drawComments(item.comments);
  }

  captions() {
    const rows = this.item.captions.map((c) => h("li", {}, h("span", { class: "nm-item-caption" }, c.caption), h("span", { class: "nm-card-tags" }, c.split === "held_out" ? h("span", { class: "nm-tag" }, "held out") : null, c.is_retired ? h("span", { class: "nm-tag" }, "retired") : null, c.verdict ? verdictTag(c.verdict) : null)));
    return h("section", {}, h("h2", {}, rows.length === 1 ? "Caption" : "Captions"), rows.length ? h("ul", { class: "nm-candidates" }, rows) : h("p", { class: "nm-meta" }, "None."), this.writing());
  }

  // What it does not show, in a person's own words.
  writing() {
    this.written ??= h("p", { class: "nm-last", role: "status" });
    const own = this.item.captions.filter((c) => !c.is_retired).map((c) => c.caption);
    const open = () => showWrite({ dataSetId: this.item.data_set_id, imageId: this.id, own }, (text, uuid) => this.wrote(text, uuid));
    return [h("button", { type: "button", class: "nm-button", onclick: open }, "Write a negative"), this.written];
  }

  async wrote(text, uuid) {
    const told = `Kept as a negative of this image: “${text}”`;
    const back = async () => {
      const said = await takeBack(text, uuid);
      await this.load();
      this.written.textContent = said;
    };
    await this.load();
    fill(this.written, told, " ", h("button", { type: "button", class: "nm-button", onclick: back }, "Take it back"));
    announce(told);
  }

  suggestions() {
    const matches = this.item.suggestions.filter((s) => s.proposed === "match");
    const misses = this.item.suggestions.filter((s) => s.proposed !== "match");
    return [this.list("Suggested matches", matches, "No other caption seems to be true of it."), this.list("Near misses", misses, "No other caption comes close.")];
  }

  list(title, found, empty) {
    const rows = found.map((s) => h("li", { title: s.reasons.join("; ") }, h("span", {}, s.caption), this.judged(s)));
    return h("section", {}, h("h3", {}, title), rows.length ? h("ul", { class: "nm-candidates" }, rows) : h("p", { class: "nm-meta" }, empty));
  }

  elsewhere() {
    const rows = this.item.elsewhere.map((s) => h("li", {}, this.thumbnail(s.image_id, s.caption), h("span", {}, s.caption), this.judged(s)));
    return h("section", {}, h("h3", {}, "Other images for its captions"), rows.length ? h("ul", { class: "nm-candidates" }, rows) : h("p", { class: "nm-meta" }, "None suggested."));
  }

  judged(s) {
    return h("span", { class: "nm-card-tags" }, h("span", { class: "nm-tag" }, `${percent(s.probability, 0)} match`), s.verdict ? verdictTag(s.verdict) : null);
  }

  thumbnail(id, label) {
    return h("button", { type: "button", class: "nm-thumb", "aria-label": `Open the image suggested for “${label}”`, onclick: () => this.doors.onOpen(id) }, h("img", { src: picture(id), alt: "", loading: "lazy" }));
  }

  history() {
    const line = (v) => h("li", { class: v.stands ? "" : "nm-past" }, h("span", {}, v.answer ? verdictTag(v.answer) : "↶ taken back", ` ${v.caption}`), h("span", { class: "nm-meta" }, `${v.person}${v.source === "manual" ? "" : `, ${v.source}`}, ${new Date(v.created_at).toLocaleString()}`));
    const rows = this.item.verdicts.map(line);
    return h("section", {}, h("h3", {}, "Verdicts"), rows.length ? h("ul", { class: "nm-candidates" }, rows) : h("p", { class: "nm-meta" }, "Nobody has judged it yet."));
  }

  talk() {
    const text = h("textarea", { rows: 2, maxLength: 2000, placeholder: "What should others know about it?", "aria-label": "Comment" });
    this.answer = h("div", { "aria-live": "polite" });
    const send = async (event) => {
      event.preventDefault();
      if (!text.value.trim()) return;
      await this.change(() => post(`/api/items/${this.id}/comments`, { text: text.value }), "Comment saved");
      text.value = "";
    };
    return h("section", {}, h("h3", {}, "Comments"), this.comments, h("form", { class: "nm-comment", onsubmit: send }, text, h("button", { type: "submit", class: "nm-button" }, "Comment")), this.answer);
  }

  drawComments(notes) {
    const drop = (note) => this.change(() => remove(`/api/comments/${note.id}`), "Comment deleted");
    fill(this.comments, notes.map((note) => h("li", {}, h("p", { class: "nm-note" }, note.text), h("p", { class: "nm-meta" }, `${note.person}, ${new Date(note.created_at).toLocaleString()} `, h("button", { type: "button", class: "nm-link nm-small", onclick: () => drop(note) }, "Delete")))));
  }

  async change(act, said) {
    try {
      this.drawComments(await act());
      fill(this.answer);
      announce(said);
    } catch (error) {
      fill(this.answer, notice("error", error.message));
    }
  }

  alike() {
    const { duplicates, duplicate_group_id } = this.item;
    if (!duplicates.length) return null;
    return h("section", {}, h("h3", {}, "Near duplicates"), h("div", { class: "nm-thumbs" }, duplicates.map((id) => h("button", { type: "button", class: "nm-thumb", "aria-label": `Open image ${id}`, onclick: () => this.doors.onOpen(id) }, h("img", { src: picture(id), alt: "", loading: "lazy" })))), h("button", { type: "button", class: "nm-button", onclick: () => this.doors.onGroup(duplicate_group_id) }, "Show the group in the grid"));
  }
}
