// Mending: the caption of a broken pair is corrected on the spot. The old one stays in the history.

import { post } from "./api.js";
import { captionDialog } from "./caption_dialog.js";
import { announce, h } from "./dom.js";

// `pairs`: the image's own pairs, {id, caption_id, caption}; `onMended(pair, view)` once the server has it.
export function showMend(imageId, pairs, onMended) {
  if (!pairs.length) return announce("This image has no caption of its own here");
  let pair = pairs[0];
  const which = h("select", { "aria-label": "Which caption", onchange: () => pick(pairs[Number(which.value)]) }, pairs.map((one, at) => h("option", { value: at }, one.caption)));
  const text = captionDialog({
    title: "Correct the caption",
    imageId,
    alt: "The image of the pair",
    label: "Corrected caption",
    saveLabel: "Save",
    about: "The pair with the old caption is retired and kept in the history; snapshots take the new one.",
    most: 10000,
    more: pairs.length > 1 ? which : null,
    save: async (caption) => onMended({ ...pair }, await post(`/api/pairs/${pair.id}/mend`, { caption })),
  });
  const pick = (one) => {
    pair = one;
    text.value = one.caption;
    text.select();
  };
  pick(pair);
}
