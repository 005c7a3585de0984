// The four answers: key, icon and word, the same everywhere.

import { h } from "./dom.js";

export const ANSWERS = {
  match: { key: "y", label: "Yes", icon: "✓", long: "Yes, it describes the image", becomes: "false negative" },
  no_match: { key: "n", label: "No", icon: "✕", long: "No, it does not", becomes: "hard negative" },
  unsure: { key: " ", label: "Can't tell", icon: "?", long: "Partly, or can't tell", becomes: "masked" },
  broken_pair: { key: "x", label: "Broken pair", icon: "⚠", long: "The data set's own pair is broken", becomes: "left out" },
};

export const keyName = (key) => (key === " " ? "Space" : key.toUpperCase());

// What a candidate's answer can be changed to on a board, in turn, the proposed one first.
export const choices = (item) => CHOICES[item.proposed];
const CHOICES = {
  match: ["match", "no_match", "unsure"],
  no_match: ["no_match", "match", "unsure"],
  unsure: ["unsure", "match", "no_match"],
  broken_pair: ["broken_pair", "match", "unsure"],
};

// The caption with the words marked that the image's own captions do not have; nothing where they share no word.
export function marked(caption, own = []) {
  const known = new Set(own.flatMap((text) => text.toLowerCase().split(/[\s:,]+/)));
  const parts = caption.split(/(\s+)/);
  const isNew = (word) => /\S/.test(word) && !known.has(word.toLowerCase().replace(/[:,]/g, ""));
  if (!parts.some((word) => /\S/.test(word) && !isNew(word))) return [document.createTextNode(caption)];
  return parts.map((word) => (isNew(word) ? h("mark", {}, word) : document.createTextNode(word)));
}
