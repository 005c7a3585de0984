// Where training starts: models that are here already, or one more by open_clip's name, from the hub, or from a folder.

import { get, post } from "./api.js";
import { fill, h, notice } from "./dom.js";

const KINDS = {
  open_clip: ["open_clip", "architecture, such as ViT-B-32"],
  hub: ["Hugging Face hub", "OWNER/NAME of an open_clip model"],
  folder: ["a folder on the server", "/models/mine (open_clip_config.json and weights)"],
};

export class ModelPicker {
  constructor(onChange) {
    this.onChange = onChange;
    this.select = h("select", { id: "nm-model", onchange: () => this.changed() });
    this.about = h("small", { class: "nm-meta" });
    this.more = h("details", { class: "nm-add-model" }, h("summary", {}, "Add a model"));
    this.more.addEventListener("toggle", () => this.more.open && this.more.childElementCount === 1 && this.openForm());
    this.element = h("div", {}, h("label", { class: "nm-field", for: "nm-model" }, "Start from", this.select, this.about), this.more);
  }

  show(models, chosen) {
    this.models = models.filter((m) => !m.location.startsWith("vectors:"));
    const own = this.models.filter((m) => m.run_id);
    const bases = this.models.filter((m) => !m.run_id);
    const option = (m) => h("option", { value: m.id, selected: m.id === chosen }, m.name);
    fill(this.select, bases.map(option), own.length ? h("optgroup", { label: "Results of runs" }, own.map(option).reverse()) : null);
    this.tell();
  }

  get value() {
    return this.select.value ? Number(this.select.value) : null;
  }

  choose(id) {
    if (this.models?.some((m) => m.id === id)) this.select.value = id;
    this.tell();
  }

  changed() {
    this.tell();
    this.onChange();
  }

  tell() {
    const model = this.models?.find((m) => m.id === this.value);
    this.about.textContent = model ? [model.location.startsWith("media:") ? `result of run ${model.run_id}` : `${model.location} ${model.pretrained}`.trim(), model.licence].filter(Boolean).join(" · ") : "";
  }

  async openForm() {
    const answer = h("div", { "aria-live": "polite" });
    const kind = h("select", { "aria-label": "From" }, Object.entries(KINDS).map(([value, [name]]) => h("option", { value }, name)));
    const name = h("input", { type: "text", required: true, maxLength: 1000, "aria-label": "Model", list: "nm-architectures", placeholder: KINDS.open_clip[1] });
    name.setAttribute("list", "nm-architectures");
    const tag = h("select", { "aria-label": "Weights" });
    const names = h("datalist", { id: "nm-architectures" });
    const known = await get("/api/open-clip-models").catch(() => ({}));
    const retell = () => {
      const isOpenClip = kind.value === "open_clip";
      name.placeholder = KINDS[kind.value][1];
      tag.hidden = !isOpenClip;
      fill(names, isOpenClip ? Object.keys(known).map((n) => h("option", { value: n })) : []);
      fill(tag, (known[name.value.trim()] ?? []).map((t) => h("option", { value: t }, t)));
    };
    kind.onchange = name.oninput = retell;
    retell();
    const send = async (event) => {
      event.preventDefault();
      const text = name.value.trim();
      const prefix = { open_clip: "", hub: "hf-hub:", folder: "local-dir:" }[kind.value];
      const location = text.startsWith(prefix) ? text : prefix + text;
      if (kind.value === "open_clip" && !known[text]) return fill(answer, notice("error", `open_clip has no weights named ${text}; choose an architecture of the list.`));
      try {
        const before = new Set(this.models.map((m) => m.id));
        const models = await post("/api/models", { location, pretrained: kind.value === "open_clip" ? tag.value : "" });
        this.show(models, models.find((m) => !before.has(m.id))?.id ?? models.find((m) => m.location === location)?.id);
        fill(answer, notice("info", "Added. The weights are fetched when the first run needs them."));
        this.onChange();
      } catch (error) {
        fill(answer, notice("error", error.message));
      }
    };
    this.more.append(h("form", { class: "nm-inline-form", onsubmit: send }, kind, name, tag, names, h("button", { class: "nm-button" }, "Add")), answer);
  }
}
