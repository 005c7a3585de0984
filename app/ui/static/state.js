// What all views share: the chosen data set, kept in the address so that a reload comes back to it.

import { get } from "./api.js";

const listeners = { chosen: new Set(), list: new Set() };
let told; // the id that `chosen` was last told; undefined until the first list has come
export const state = { dataSets: [], dataSetId: null };

// Called with the chosen data set (null where there is none): now, and when another one is chosen.
export function onDataSet(listener) {
  listeners.chosen.add(listener);
  if (told !== undefined) listener(current());
}

// The same, and again whenever the list was asked for anew, as while a job runs: what stands there must bear that.
export function onDataSets(listener) {
  listeners.list.add(listener);
  if (told !== undefined) listener(current());
}

function tell() {
  const isNew = told !== state.dataSetId;
  told = state.dataSetId;
  for (const listener of [...(isNew ? listeners.chosen : []), ...listeners.list]) listener(current());
}

export const current = () => state.dataSets.find((set) => set.id === state.dataSetId) ?? null;

export async function loadDataSets() {
  state.dataSets = await get("/api/data-sets");
  const wanted = Number(new URLSearchParams(location.search).get("data_set"));
  const known = state.dataSets.some((set) => set.id === state.dataSetId);
  if (!known) state.dataSetId = (state.dataSets.find((set) => set.id === wanted) ?? state.dataSets[0])?.id ?? null;
  tell();
}

export function choose(id) {
  state.dataSetId = id;
  const address = new URL(location.href);
  address.searchParams.set("data_set", id);
  history.replaceState(null, "", address);
  tell();
}
