// The images that a lasso of the map has sent to the desk: this tab's queue asks about them alone until they are let go.

import { counted, h } from "./dom.js";

const STORE = "nearmiss.slice"; // of the tab, so that a reload keeps it and another tab has its own
const listeners = new Set();

export const onSlice = (listener) => listeners.add(listener);

// Ids of images; null where all are asked about.
export function sliceOf(dataSetId) {
  try {
    const { data_set_id, image_ids } = JSON.parse(sessionStorage.getItem(STORE) ?? "{}");
    return data_set_id === dataSetId ? image_ids : null;
  } catch {
    return null;
  }
}

export function setSlice(dataSetId, imageIds) {
  if (imageIds) sessionStorage.setItem(STORE, JSON.stringify({ data_set_id: dataSetId, image_ids: imageIds }));
  else sessionStorage.removeItem(STORE);
  for (const listener of listeners) listener();
}

// What says so on the desk, with the way out; null where there is no slice.
export function chip(dataSetId) {
  const ids = sliceOf(dataSetId);
  if (!ids) return null;
  const words = `From the map: ${counted(ids.length, "image")}`;
  return h("button", { type: "button", class: "nm-button nm-chosen nm-slice", title: "Ask about all images again", "aria-label": `${words}. Ask about all images again`, onclick: () => setSlice(dataSetId, null) }, `${words} `, h("span", { "aria-hidden": "true" }, "✕"));
}
