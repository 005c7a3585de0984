// The data set's guidelines, one key away: read, edit, older versions.

import { get, post } from "./api.js";
import { fill, h } from "./dom.js";

export async function showGuidelines(set) {
  const body = h("div", { class: "nm-guidelines" }, h("p", { class: "nm-meta" }, "Loading …"));
  const dialog = h("dialog", { class: "nm-dialog", "aria-label": "Guidelines", onclose: () => dialog.remove() }, body);
  document.body.append(dialog);
  dialog.showModal();
  const path = `/api/data-sets/${set.id}/guidelines`;
  const close = h("button", { type: "button", class: "nm-button", onclick: () => dialog.close() }, "Close");

  const read = (versions, at = 0) => {
    const shown = versions[at];
    const older = h("select", { "aria-label": "Version", onchange: () => read(versions, Number(older.value)) }, versions.map((v, i) => h("option", { value: i, selected: i === at }, `${new Date(v.created_at).toLocaleString()} · ${v.person}`)));
    fill(
      body,
      h("h2", {}, `Guidelines: ${set.name}`),
      shown ? h("p", { class: "nm-guidelines-text" }, shown.text) : h("p", { class: "nm-meta" }, "Nobody has written down yet what counts as a match here. A few sentences keep the verdicts of several people alike."),
      versions.length > 1 ? older : null,
      h("div", { class: "nm-bar" }, h("button", { type: "button", class: "nm-button", onclick: () => edit(versions) }, shown ? "Edit" : "Write them"), close),
    );
  };

  const edit = (versions) => {
    const text = h("textarea", { rows: 14, "aria-label": "Guidelines", maxLength: 20000 });
    text.value = versions[0]?.text ?? "";
    const trouble = h("p", { class: "nm-error-line", role: "alert" });
    const save = async () => {
      try {
        read(await post(path, { text: text.value, after: versions[0]?.id ?? 0 }));
      } catch (error) {
        trouble.textContent = error.message;
      }
    };
    fill(body, h("h2", {}, `Guidelines: ${set.name}`), text, trouble, h("div", { class: "nm-bar" }, h("button", { type: "button", class: "nm-button nm-primary", onclick: save }, "Save a new version"), h("button", { type: "button", class: "nm-button", onclick: () => read(versions) }, "Cancel")));
    text.focus();
  };

  try {
    read(await get(path));
  } catch (error) {
    fill(body, h("p", { class: "nm-error-line", role: "alert" }, error.message), close);
  }
}
