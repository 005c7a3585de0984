// What a person can do with a run, by its state.

import { untilSeen } from "./again.js";
import { get, post } from "./api.js";
import { announce, fill, h, notice } from "./dom.js";

export const OVER = new Set(["finished", "failed", "cancelled"]);
const WAITS = new Set(["queued", "paused"]);

// on: { changed(), again(run), mined() }
export function runActions(run, { canPush, kept, on }) {
  const place = h("div", { class: "nm-run-actions" });
  const answer = h("div", { "aria-live": "polite" });
  const act = (verb, label) => h("button", { type: "button", class: "nm-button", onclick: () => steer(verb, label) }, label);
  async function steer(verb, label) {
    try {
      await post(`/api/runs/${run.id}/${verb}`);
      announce(`${label}: done`);
      on.changed();
    } catch (error) {
      fill(answer, notice("error", error.message));
    }
  }
  fill(
    place,
    h(
      "div",
      { class: "nm-tools" },
      ["running", "claimed", "queued"].includes(run.state) ? act("pause", "Pause") : null,
      run.state === "paused" || run.state === "cancelled" ? act("resume", "Resume") : null,
      run.state === "failed" ? act("retry", "Try again") : null,
      WAITS.has(run.state) ? [act("first", "To the front"), act("last", "To the end")] : null,
      OVER.has(run.state) ? null : act("cancel", "Cancel"),
      h("button", { type: "button", class: "nm-button", onclick: () => on.again(run) }, "Same again with…"),
      run.has_checkpoint ? h("a", { class: "nm-button", href: `/api/runs/${run.id}/checkpoint`, download: "" }, "Download checkpoint") : null,
      run.metrics_before ? h("a", { class: "nm-button", href: `/api/runs/${run.id}/report`, download: "" }, "Download report") : null,
      run.result_model_id ? h("button", { type: "button", class: "nm-button", onclick: mine }, "Mine again with this model") : null,
      run.has_checkpoint ? h("button", { type: "button", class: "nm-button", title: "nearmiss gc leaves the weights of a kept run alone", "aria-pressed": String(Boolean(kept)), onclick: keep }, kept ? "Kept" : "Keep") : null,
      run.has_checkpoint ? h("button", { type: "button", class: "nm-button", onclick: () => fill(answer, canPush ? pushForm() : notice("info", "No hub token is set. Start Nearmiss with NEARMISS_HUB_TOKEN to push checkpoints.")) }, "Push to a hub…") : null,
    ),
    answer,
  );
  async function mine() {
    try {
      await post(`/api/data-sets/${run.data_set_id}/mine`, { model_id: run.result_model_id });
      fill(answer, notice("info", "Mining has begun. Every verdict stays; only those that this model disputes come back. Watch it in the Data tab."));
    } catch (error) {
      fill(answer, notice("error", error.message));
    }
  }
  async function keep() {
    try {
      await post(`/api/runs/${run.id}/keep`, { kept: !kept });
      announce(kept ? "No longer kept" : "Kept");
      on.changed();
    } catch (error) {
      fill(answer, notice("error", error.message));
    }
  }
  function pushForm() {
    const name = h("input", { type: "text", placeholder: "ORGANISATION/NAME", required: true, pattern: "[\\w.\\-]+/[\\w.\\-]+", "aria-label": "Repository" });
    const open = h("input", { type: "checkbox" });
    const send = async (event) => {
      event.preventDefault();
      try {
        const { job } = await post(`/api/runs/${run.id}/push`, { repository: name.value.trim(), private: !open.checked });
        follow(job, answer);
      } catch (error) {
        fill(answer, notice("error", error.message));
      }
    };
    return h("form", { class: "nm-inline-form", onsubmit: send }, name, h("label", {}, open, " public"), h("button", { class: "nm-button" }, "Push"));
  }
  return place;
}

async function follow(job, place) {
  while (place.isConnected && !OVER.has(job.state)) {
    fill(place, notice("info", `Pushing: ${job.reason || job.state}`));
    await new Promise((done) => setTimeout(done, 2000));
    await untilSeen();
    job = await get(`/api/jobs/${job.id}`).catch(() => job); // a server that restarts answers again
  }
  fill(place, notice(job.state === "finished" ? "info" : "error", job.reason || `The push ${job.state}.`));
}
