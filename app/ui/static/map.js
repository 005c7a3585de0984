import { fill, notice } from "./dom.js";
export function map(root) { fill(root, notice("empty", "Not there yet.")); }
