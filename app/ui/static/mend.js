// Mending: the caption of a broken pair is corrected on the spot. The old one stays in the history.

import { picture, post } from "./api.js";
import { announce, h } from "./dom.js";

// `pairs`: the image's own pairs, {id, caption_id, caption}; `onMended(pair, view)` once the server has it.
export function showMend(imageId, pairs, onMended) {
  if (!pairs.length) return announce("This image has no caption of its own here");
  let pair = pairs[0];
  const text = h("textarea", { rows: 3, "aria-label": "Corrected caption", maxLength: 10000 });
  const which = h("select", { "aria-label": "Which caption", onchange: () => pick(pairs[Number(which.value)]) }, pairs.map((one, at) => h("option", { value: at }, one.caption)));
  const trouble = h("p", { class: "nm-error-line", role: "alert" });
  const pick = (one) => {
    pair = one;
    text.value = one.caption;
    text.select();
  };
  const save = async () => {
    trouble.textContent = "";
    try {
      const view = await post(`/api/pairs/${pair.id}/mend`, { caption: text.value });
      dialog.close();
      onMended({ ...pair }, view);
    } catch (error) {
      trouble.textContent = error.message;
    }
  };
  const button = (label, onclick, more = "") => h("button", { type: "button", class: `nm-button ${more}`, onclick }, label);
  const keys = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.target !== text) return;
    event.preventDefault();
    save();
  };
  const dialog = h(
    "dialog",
    { class: "nm-dialog nm-mend", "aria-label": "Correct the caption", onkeydown: keys, onclose: () => dialog.remove() },
    h("h2", {}, "Correct the caption"),
    h("img", { class: "nm-mend-image", src: picture(imageId), alt: "The image of the pair" }),
    pairs.length > 1 ? which : null,
    text,
    h("p", { class: "nm-meta" }, "The pair with the old caption is retired and kept in the history; snapshots take the new one."),
    trouble,
    h("div", { class: "nm-bar" }, button("Save", save, "nm-primary"), button("Cancel", () => dialog.close())),
  );
  document.body.append(dialog);
  dialog.showModal();
  pick(pair);
  text.focus();
}
