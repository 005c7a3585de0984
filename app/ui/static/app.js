// Mounts each view where Gradio has put its root, when its tab is first seen. A link to the desk (?view=…) draws the
// desk at once, while Gradio still starts, and moves it to its place.

import { untilSeen } from "./again.js";
import { fill, h, notice } from "./dom.js";
import { choose, loadDataSets, onDataSets, state } from "./state.js";

const LOOK_MS = 3000; // while there is no data set
let runsView = null;
let tuneView = null;

const VIEWS = {
  "nm-explore": async (root) => (await import("./explore.js")).explore(root, { onCurate: () => openTab("curate") }),
  "nm-curate": arrive,
  "nm-tune": async (root) => (tuneView = (await import("./tune.js")).tune(root, { onStarted: showRun })),
  "nm-runs": async (root) => (runsView = (await import("./runs.js")).runs(root, { onAgain: again })),
  "nm-data": async (root) => (await import("./data.js")).data(root),
  "nm-people": async (root) => (await import("./people.js")).people(root),
  "nm-chooser": chooser,
  "nm-person": async (root) => (await import("./people.js")).personMenu(root),
};

function chooser(root) {
  const select = h("select", { "aria-label": "Data set", onchange: () => choose(Number(select.value)) });
  let shown = "";
  fill(root, select);
  onDataSets((set) => {
    const now = JSON.stringify([set?.id, state.dataSets.map((s) => [s.id, s.name])]);
    if (now === shown) return; // the list is asked for often, and somebody may just be choosing
    shown = now;
    fill(select, state.dataSets.map((s) => h("option", { value: s.id, selected: s.id === set?.id }, s.name)));
  });
}

function showRun(run) {
  openTab("runs");
  const address = new URL(location.href);
  address.searchParams.set("run", run.id);
  history.replaceState(null, "", address);
  const wait = () => (runsView ? runsView.refresh().then(() => runsView.watch(run.id)) : setTimeout(wait, 50));
  wait();
}

function again(run) {
  openTab("tune");
  const wait = () => (tuneView?.presets ? tuneView.again(run) : setTimeout(wait, 50));
  wait();
}

// Whether there was such a tab to open. By id: its word is in the reader's language.
function openTab(id) {
  const tab = document.querySelector(`button[role=tab][data-tab-id="${id}"]`);
  tab?.click();
  return Boolean(tab);
}

let desk = null; // the promise of its element
let front = null; // what holds it while Gradio starts

function early() {
  desk ??= import("./curate.js").then(({ curate }) => {
    const place = h("div");
    curate(place);
    return place;
  });
  return desk;
}

// The desk over the page that is still empty: one can judge before Gradio is there.
async function before() {
  const dark = new URLSearchParams(location.search).get("__theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const place = await early();
  if (place.isConnected) return;
  const brand = h("div", { class: "nm-brand" }, h("div", {}, h("strong", {}, "Nearmiss")));
  front = h("div", { class: `gradio-container nm-front ${dark}` }, h("div", {}, brand, h("div", { class: "nm-root" }, place)));
  document.body.append(front);
}

async function arrive(root) {
  const place = await early();
  Object.assign(root.dataset, (place.parentElement ?? place).dataset);
  fill(root, place);
  front?.remove();
}

let wanted = new URLSearchParams(location.search).has("view"); // the desk, until its tab is open
const seen = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => mountOne(entry.target)));

function mountAll() {
  if (wanted && openTab("curate")) wanted = false;
  if (wanted) return; // the other tab in front need not load what nobody looks at
  for (const id of Object.keys(VIEWS)) {
    const root = document.getElementById(id);
    if (root && !root.dataset.found) {
      root.dataset.found = "yes";
      seen.observe(root);
    }
  }
}

async function mountOne(root) {
  seen.unobserve(root);
  try {
    await VIEWS[root.id](root);
  } catch (error) {
    fill(root, notice("error", `This part of the page did not load (${error.message}). Load the page again.`));
  }
}

async function start() {
  while (!document.body) await new Promise(requestAnimationFrame); // this module may be there before the page's own text
  new MutationObserver(mountAll).observe(document.body, { childList: true, subtree: true });
  if (wanted) before();
  mountAll();
  while (!state.dataSets.length) {
    await untilSeen();
    await loadDataSets().catch((error) => {
      const place = document.getElementById("nm-chooser");
      if (place) fill(place, notice("error", error.message));
    });
    if (!state.dataSets.length) await new Promise((done) => setTimeout(done, LOOK_MS));
  }
}

start();
