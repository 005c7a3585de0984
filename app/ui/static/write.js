// A person's own wording of what an image does not show: kept as a hard negative of that image only.

import { post } from "./api.js";
import { captionDialog } from "./caption_dialog.js";
import { announce } from "./dom.js";

// `own`: the image's own captions, of which the first is there to be changed; `onWritten(text, uuid)` once the server has it.
export function showWrite({ dataSetId, imageId, own }, onWritten) {
  let tried = null; // {text, uuid}: the same wording again is the same verdict
  const text = captionDialog({
    title: "Write a negative",
    imageId,
    alt: own[0] ?? "The image",
    label: "A caption that is not true of the image",
    saveLabel: "Save as a negative",
    about: "A caption that comes close but is not true: change one thing, a colour, a number, who does what. Training shows it to this image only.",
    most: 1000,
    save: async (typed) => {
      const said = typed.trim();
      if (tried?.text !== said) tried = { text: said, uuid: crypto.randomUUID() };
      await post(`/api/data-sets/${dataSetId}/written`, { uuid: tried.uuid, image_id: imageId, text: said });
      onWritten(said, tried.uuid);
    },
  });
  text.value = own[0] ?? "";
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
