// What the desk says where there is nothing to judge: why, what comes next, and what can be done about it.

import { counted, h, notice, number, seconds } from "./dom.js";
import { setSlice } from "./slice.js";

const OVER = ["finished", "failed", "cancelled"];
const WORK = {
  import: "The pairs are being imported; suggestions are looked for after that, and appear here by themselves.",
  mine: "Suggestions are being looked for, and appear here by themselves.",
};

// The import or the search for suggestions that still goes on, null where none does.
export const jobOf = (set) => [set?.import_job, set?.mining_job].find((job) => job && !OVER.includes(job.state)) ?? null;

export function nothingLeft(set, { numLeased, slice, hasJudged, lookAgain, mine }) {
  const say = (sentence, ...rest) => notice("empty", sentence, ...rest);
  const button = (label, onclick) => h("button", { type: "button", class: "nm-button", onclick }, label);
  if (slice && !numLeased) return say(`Nothing is left to judge about the ${counted(slice.length, "image")} from the map.`, button("Go on with all images", () => setSlice(set.id, null)));
  const job = jobOf(set);
  if (job) return say(WORK[job.kind], progress(job));
  if (numLeased) return say(`The last ${counted(numLeased, "is on somebody else's desk", "are on other people's desks")}; what is left there comes back within ten minutes.`, button("Look again", lookAgain));
  if (set.mining_job?.state === "failed") return say(`Looking for suggestions failed: ${set.mining_job.reason}`, button("Try again", mine));
  const sentence = !set.mining_job
    ? "No suggestions have been looked for yet."
    : hasJudged
      ? "That was the last suggestion. Mine again with a newer model to find more."
      : "There are no open suggestions.";
  return say(sentence, button("Find suggestions", mine));
}

// Not a part of the sentence: a screen reader would say it anew every two seconds.
function progress({ state, done, total, unit, eta_s: eta }) {
  if (state === "queued" || !total) return h("progress", { "aria-label": "Waiting for a worker" });
  const left = eta === null ? "" : `, about ${seconds(eta)} left`;
  return h("span", { "aria-hidden": "true" }, h("progress", { value: done, max: total }), ` ${number(done)} of ${number(total)} ${unit}${left}`);
}
