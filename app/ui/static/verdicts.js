// The four answers: icon and word, the same everywhere; their keys are in keys.js.

import { h } from "./dom.js";

export const ANSWERS = {
  match: { label: "Yes", icon: "✓", long: "Yes, it describes the image", becomes: "false negative" },
  no_match: { label: "No", icon: "✕", long: "No, it does not", becomes: "hard negative" },
  unsure: { label: "Can't tell", icon: "?", long: "Partly, or can't tell", becomes: "masked" },
  broken_pair: { label: "Broken pair", icon: "⚠", long: "The data set's own pair is broken", becomes: "left out" },
};

export const alike = (item) => (item.num_alike > 0 ? `and ${item.num_alike} alike` : "");

export function ago(seconds) {
  if (seconds < 5) return "just now";
  const [num, unit] = seconds < 60 ? [seconds, "second"] : seconds < 3600 ? [seconds / 60, "minute"] : seconds < 86400 ? [seconds / 3600, "hour"] : [seconds / 86400, "day"];
  const whole = Math.round(num);
  return `${whole} ${unit}${whole === 1 ? "" : "s"} ago`;
}

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
