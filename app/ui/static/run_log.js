// The end of what a run said, and its states, newest last.

import { h } from "./dom.js";

const MOST_LINES = 200;

export function runLog(events) {
  const lines = events.flatMap(line).slice(-MOST_LINES);
  if (!lines.length) return null;
  const log = h("ol", { class: "nm-log", tabIndex: 0, role: "log", "aria-label": "Log" }, lines.map(([at, text]) => h("li", {}, h("time", { dateTime: at }, clock(at)), h("span", {}, text))));
  requestAnimationFrame(() => (log.scrollTop = log.scrollHeight));
  return log;
}

function line(event) {
  const { kind, body, step, created_at: at } = event;
  if (kind === "log") return [[at, body.text]];
  if (kind === "state") return [[at, body.reason ? `${body.to}: ${body.reason}` : body.to]];
  if (kind === "saved") return [[at, `checkpoint of step ${step} saved`]];
  if (kind === "evaluated") return [[at, `evaluated ${body.when === "during" ? `at step ${step}` : body.when}: mAP@R ${share(body.metrics.map_at_r)}`]];
  if (kind === "swept") return [[at, `mixes measured; recommended: ${Math.round(100 * body.recommended)} % tuned`]];
  return [];
}

const share = (value) => (Number.isFinite(value) ? `${(100 * value).toFixed(1)} %` : "–");
const clock = (at) => new Date(at).toLocaleTimeString("en-GB");
