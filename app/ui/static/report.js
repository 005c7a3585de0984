// The report file: the same parts as the page, from data that lies in the file itself.

import { comparisonBody } from "./comparison.js";
import { counted, fill, h, number } from "./dom.js";
import { previews } from "./previews.js";
import { chartsOf, figuresOf, labelWords, xrayOf } from "./run_body.js";
import { runLog } from "./run_log.js";
import { RunStory } from "./run_story.js";

const data = JSON.parse(document.getElementById("nm-data").textContent);
const root = document.getElementById("nm-report");
const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => document.documentElement.classList.toggle("dark", dark.matches);
dark.addEventListener("change", paint);
paint();

const story = new RunStory();
for (const event of data.events) story.take(event);
const run = data.run;
const section = (...parts) => (parts.flat(Infinity).some(Boolean) ? h("section", {}, ...parts) : null);
fill(
  root,
  h("header", {}, h("p", { class: "nm-meta" }, `Nearmiss ${data.version} · written ${data.written_at}`), h("h1", {}, run.name), h("p", {}, `${run.state}${run.reason ? `: ${run.reason}` : ""}`)),
  h("dl", { class: "nm-facts nm-report-facts" }, facts(run).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
  data.comparison ? section(h("h2", {}, "Against the controls"), comparisonBody(data.comparison)) : null,
  section(h("h2", {}, "Result"), figuresOf(run, story, data.gains[0])),
  section(h("h2", {}, "Course"), chartsOf(story)),
  section(h("h2", {}, "Retrieval"), previews(data.previews)),
  section(h("h2", {}, "Inside a batch"), xrayOf(story, data.captions)),
  section(h("h2", {}, "Log"), runLog(story.log)),
  section(h("h2", {}, "Configuration"), h("p", { class: "nm-meta" }, "Runs again with: nearmiss finetune run.yaml --pairs pairs.tsv --verdicts verdicts.jsonl"), h("pre", {}, run.config_yaml)),
);

function facts(run) {
  const snapshot = run.snapshot.counts;
  return [
    ["Started from", run.model],
    ["Preset", run.preset || "custom"],
    ["Labels", run.arm === "none" ? "none (control)" : run.arm === "sham" ? `sham (control): ${labelWords(run.counts)}` : labelWords(run.counts, story.coverage)],
    ["Data", `${counted(snapshot.pairs, "pair")}, ${number(snapshot.held_out)} held out`],
    ["Snapshot", run.snapshot.hash.slice(0, 16)],
    ["Steps", `${number(run.done)} of ${number(run.total)}`],
    ["By", run.created_by || "–"],
    ["Begun", run.started_at ?? "–"],
    ["Ended", run.finished_at ?? "–"],
  ];
}
