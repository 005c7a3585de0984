// Mounts each view where Gradio has put its root, whenever the tab is first drawn.

import { browse } from "./browse.js";
import { curate } from "./curate.js";
import { data } from "./data.js";
import { fill, h, notice } from "./dom.js";
import { people, personMenu } from "./people.js";
import { runs } from "./runs.js";
import { choose, loadDataSets, onDataSet, state } from "./state.js";
import { tune } from "./tune.js";

let runsView = null;

const VIEWS = {
  "nm-browse": browse,
  "nm-curate": curate,
  "nm-tune": (root) => tune(root, { onStarted: showRun }),
  "nm-runs": (root) => (runsView = runs(root)),
  "nm-data": data,
  "nm-people": people,
  "nm-chooser": chooser,
  "nm-person": personMenu,
};

function chooser(root) {
  const select = h("select", { "aria-label": "Data set", onchange: () => choose(Number(select.value)) });
  fill(root, select);
  onDataSet((set) => fill(select, state.dataSets.map((s) => h("option", { value: s.id, selected: s.id === set?.id }, s.name))));
}

function showRun(run) {
  openTab("Runs");
  const address = new URL(location.href);
  address.searchParams.set("run", run.id);
  history.replaceState(null, "", address);
  const wait = () => (runsView ? runsView.refresh().then(() => runsView.watch(run.id)) : setTimeout(wait, 50));
  wait();
}

function openTab(name) {
  [...document.querySelectorAll("button[role=tab]")].find((tab) => tab.textContent.trim() === name)?.click();
}

function mountAll() {
  for (const [id, mount] of Object.entries(VIEWS)) {
    const root = document.getElementById(id);
    if (root && !root.dataset.mounted) {
      root.dataset.mounted = "yes";
      mount(root);
    }
  }
}

async function start() {
  new MutationObserver(mountAll).observe(document.body, { childList: true, subtree: true });
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
