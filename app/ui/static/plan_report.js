// What will happen, before the click: steps, labels, collisions, memory, time, and what speaks against it.

import { counted, h, notice, number, seconds } from "./dom.js";

// measure: an element beside the memory, to have it measured, or null
export function planReport(report, measure = null) {
  const labels = report.labels;
  const control = { none: "no labels: a control", sham: "sham labels, as many on random candidates: a control" }[report.arm];
  const groups = [
    [
      ["Pairs to train on", number(report.num_pairs)],
      ["Steps", number(report.steps), `warm-up ${number(report.warmup_steps)}, batch ${number(report.batch_size)}`],
      ["Time", report.seconds ? `about ${seconds(report.seconds)}` : "not known yet", timeFrom(report)],
      ["Peak memory", memory(report), memoryFrom(report), measure],
    ],
    [
      ["Extra positives", number(labels.extra_positives + (labels.soft ?? 0)), labels.soft ? `${number(labels.soft)} of them soft` : "verdicts “Yes” that the loss counts as true"],
      ["Masks", number(labels.masks), "candidates that the loss leaves alone"],
      ["Hard negatives", number(labels.hard_negatives), "verdicts “No” that are brought in front of their image"],
      ["Broken pairs left out", number(labels.broken_pairs)],
      report.arm === "given" ? ["Verdicts given", number(report.num_verdicts), heard(report)] : null,
    ].filter(Boolean),
    [["False negatives met per epoch", `${report.collisions_without_labels.toFixed(1)} → ${report.collisions_with_labels.toFixed(1)}`, "expected, without and with your verdicts"]],
  ];
  return [
    ...report.refusals.map((text) => notice("error", text)),
    control ? notice("info", `The loss gets ${control}.`) : null,
    groups.map((facts) => h("dl", { class: "nm-facts" }, facts.map(([name, value, why, more]) => h("div", {}, h("dt", {}, name), h("dd", {}, value, why ? h("small", {}, why) : null, more ?? null))))),
    ...report.warnings.map((text) => notice("info", text)),
    report.waiting ? notice("info", report.waiting) : null,
  ];
}

function timeFrom(report) {
  if (report.measured_in_run) return `measured in run ${report.measured_in_run}`;
  return report.seconds ? "by one measured step; start, evaluation and export come on top" : "the first run of this kind tells";
}

function memory(report) {
  if (report.does_not_fit) return "does not fit";
  if (!report.memory_bytes) return "not known yet";
  const limit = report.memory_limit_bytes ? ` of ${(report.memory_limit_bytes / 1e9).toFixed(1)}` : "";
  return `${(report.memory_bytes / 1e9).toFixed(1)}${limit} GB`;
}

function memoryFrom(report) {
  if (report.memory_limit_bytes) return "measured by two steps on the worker";
  return report.memory_bytes ? `measured in run ${report.measured_in_run}` : null;
}

// Where the verdicts went that became none of the above.
function heard(report) {
  const { extra_positives, soft, masks, hard_negatives, broken_pairs, conflicts } = report.labels;
  const known = report.num_heard - extra_positives - soft - masks - hard_negatives - broken_pairs - conflicts;
  const measure = report.num_verdicts - report.num_heard;
  return [measure ? `${counted(measure, "on held-out items measures", "on held-out items measure")} only` : null, known > 0 ? `${counted(known, "says", "say")} what identical pictures or captions said already` : null].filter(Boolean).join("; ") || "all of them teach";
}
