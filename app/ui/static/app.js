// Mounts each view where Gradio has put its root, when its tab is first seen. A link to the desk (?view=…) draws the
// desk at once, while Gradio still starts, and moves it to its place.

import { curate } from "./curate.js";
import { data } from "./data.js";
import { fill, h, notice } from "./dom.js";
import { people, personMenu } from "./people.js";
import { explore } from "./explore.js";
import { runs } from "./runs.js";
import { choose, loadDataSets, onDataSets, state } from "./state.js";
import { tune } from "./tune.js";

let runsView = null;
let tuneView = null;

const VIEWS = {
  "nm-explore": (root) => explore(root, { onCurate: () => openTab("Curate") }),
  "nm-curate": (root) => Object.assign(fill(root, early()).dataset, desk.dataset),
  "nm-tune": (root) => (tuneView = tune(root, { onStarted: showRun })),
  "nm-runs": (root) => (runsView = runs(root, { onAgain: again })),
  "nm-data": data,
  "nm-people": people,
  "nm-chooser": chooser,
  "nm-person": personMenu,
};

function chooser(root) {
  const select = h("select", { "aria-label": "Data set", onchange: () => choose(Number(select.value)) });
  fill(root, select);
  onDataSets((set) => fill(select, state.dataSets.map((s) => h("option", { value: s.id, selected: s.id === set?.id }, s.name))));
}

function showRun(run) {
  openTab("Runs");
  const address = new URL(location.href);
  address.searchParams.set("run", run.id);
  history.replaceState(null, "", address);
  const wait = () => (runsView ? runsView.refresh().then(() => runsView.watch(run.id)) : setTimeout(wait, 50));
  wait();
}

function again(run) {
  openTab("Fine-tune");
  const wait = () => (tuneView?.presets ? tuneView.again(run) : setTimeout(wait, 50));
  wait();
}

// Whether there was such a tab to open.
function openTab(name) {
  const tab = [...document.querySelectorAll("button[role=tab]")].find((one) => one.textContent.trim() === name);
  tab?.click();
  return Boolean(tab);
}

let desk = null;

function early() {
  if (desk === null) curate((desk = h("div")));
  return desk;
}

let wanted = new URLSearchParams(location.search).has("view"); // the desk, until its tab is open
const seen = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => mountOne(entry.target)));

function mountAll() {
  if (wanted && openTab("Curate")) wanted = false;
  if (wanted) return; // the other tab in front need not load what nobody looks at
  for (const id of Object.keys(VIEWS)) {
    const root = document.getElementById(id);
    if (root && !root.dataset.found) {
      root.dataset.found = "yes";
      seen.observe(root);
    }
  }
}

function mountOne(root) {
  seen.unobserve(root);
  VIEWS[root.id](root);
}

async function start() {
  new MutationObserver(mountAll).observe(document.body, { childList: true, subtree: true });
  if (wanted) early();
  mountAll();
  try {
    await loadDataSets();
    if (state.dataSets.length === 0) setTimeout(() => start(), 3000);
  } catch (error) {
    const place = document.getElementById("nm-chooser");
    if (place) fill(place, notice("error", error.message));
    setTimeout(() => start(), 3000);
  }
}

start();
