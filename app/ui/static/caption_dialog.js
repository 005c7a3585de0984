// A dialog over the desk with an image and one wording to type: a corrected caption, or a negative of one's own.

import { picture } from "./api.js";
import { h } from "./dom.js";

// `save(text)` keeps it and throws the sentence to show; the dialog closes once it has. `label` names the field, `about`
// says what will become of it, `more` stands above the field. Answers the field, to be filled by the caller.
export function captionDialog({ title, imageId, alt, label, saveLabel, about, most, more = null, save }) {
  const text = h("textarea", { rows: 3, "aria-label": label, maxLength: most });
  const trouble = h("p", { class: "nm-error-line", role: "alert" });
  const button = (name, onclick, kind = "") => h("button", { type: "button", class: `nm-button ${kind}`, onclick }, name);
  const keep = async () => {
    trouble.textContent = "";
    saving.disabled = true;
    try {
      await save(text.value);
      dialog.close();
    } catch (error) {
      trouble.textContent = error.message;
      text.focus();
    }
    saving.disabled = false;
  };
  const saving = button(saveLabel, keep, "nm-primary");
  const keys = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.target !== text || saving.disabled) return;
    event.preventDefault();
    keep();
  };
  const dialog = h(
    "dialog",
    { class: "nm-dialog nm-mend", "aria-label": title, onkeydown: keys, onclose: () => dialog.remove() },
    h("h2", {}, title),
    h("img", { class: "nm-mend-image", src: picture(imageId), alt }),
    more,
    h("p", { class: "nm-meta" }, about),
    text,
    trouble,
    h("div", { class: "nm-bar" }, saving, button("Cancel", () => dialog.close())),
  );
  document.body.append(dialog);
  dialog.showModal();
  text.focus();
  return text;
}
