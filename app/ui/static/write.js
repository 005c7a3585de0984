// A person's own wording of what an image does not show: kept as a hard negative of that image only.

import { picture, post } from "./api.js";
import { announce, h } from "./dom.js";

// `own`: the image's own captions, of which the first is there to be changed; `onWritten(text, uuid)` once the server has it.
export function showWrite({ dataSetId, imageId, own }, onWritten) {
  const start = own[0] ?? "";
  const text = h("textarea", { rows: 3, "aria-label": "A caption that is not true of the image", maxLength: 1000 });
  const trouble = h("p", { class: "nm-error-line", role: "alert" });
  let tried = null; // {text, uuid}: the same wording again is the same verdict
  const save = async () => {
    trouble.textContent = "";
    const said = text.value.trim();
    if (tried?.text !== said) tried = { text: said, uuid: crypto.randomUUID() };
    saving.disabled = true;
    try {
      await post(`/api/data-sets/${dataSetId}/written`, { uuid: tried.uuid, image_id: imageId, text: said });
      dialog.close();
      onWritten(said, tried.uuid);
    } catch (error) {
      trouble.textContent = error.message;
      text.focus();
    }
    saving.disabled = false;
  };
  const button = (label, onclick, more = "") => h("button", { type: "button", class: `nm-button ${more}`, onclick }, label);
  const saving = button("Save as a negative", save, "nm-primary");
  const keys = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.target !== text) return;
    event.preventDefault();
    save();
  };
  const dialog = h(
    "dialog",
    { class: "nm-dialog nm-mend", "aria-label": "Write a negative", onkeydown: keys, onclose: () => dialog.remove() },
    h("h2", {}, "Write a negative"),
    h("img", { class: "nm-mend-image", src: picture(imageId), alt: own[0] ?? "The image" }),
    h("p", { class: "nm-meta" }, "A caption that comes close but is not true: change one thing, a colour, a number, who does what. Training shows it to this image only."),
    text,
    trouble,
    h("div", { class: "nm-bar" }, saving, button("Cancel", () => dialog.close())),
  );
  document.body.append(dialog);
  dialog.showModal();
  text.value = start;
  text.focus();
  text.select();
}

// Takes a written negative back; the sentence to show, also where that failed.
export async function takeBack(text, uuid) {
  let told = `Taken back: “${text}”`;
  try {
    await post("/api/verdicts/undo", { uuid: crypto.randomUUID(), retracts: uuid });
  } catch (error) {
    told = error.message;
  }
  announce(told);
  return told;
}
