// What all views share: the chosen data set, kept in the address so that a reload comes back to it.

import { get } from "./api.js";

const listeners = new Set();
export const state = { dataSets: [], dataSetId: null };

export function onDataSet(listener) {
  listeners.add(listener);
  if (state.dataSetId !== null) listener(current());
}

export const current = () => state.dataSets.find((set) => set.id === state.dataSetId) ?? null;

export async function loadDataSets() {
  state.dataSets = await get("/api/data-sets");
  const wanted = Number(new URLSearchParams(location.search).get("data_set"));
  const known = state.dataSets.some((set) => set.id === state.dataSetId);
  if (!known) state.dataSetId = (state.dataSets.find((set) => set.id === wanted) ?? state.dataSets[0])?.id ?? null;
  for (const listener of listeners) listener(current());
}

export function choose(id) {
  state.dataSetId = id;
  const address = new URL(location.href);
  address.searchParams.set("data_set", id);
  history.replaceState(null, "", address);
  for (const listener of listeners) listener(current());
}
