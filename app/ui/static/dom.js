// Builds elements. Data only ever becomes text: there is no innerHTML in this folder.

export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function fill(parent, ...children) {
  parent.replaceChildren(...children.flat(Infinity).filter(Boolean));
  return parent;
}

// Tells screen readers what just happened.
export function announce(sentence) {
  let live = document.getElementById("nm-live");
  if (!live) {
    live = h("div", { id: "nm-live", class: "nm-hidden", role: "status", "aria-live": "polite" });
    document.body.append(live);
  }
  live.textContent = sentence;
}

export function notice(kind, sentence, ...actions) {
  return h("div", { class: `nm-notice nm-${kind}`, role: kind === "error" ? "alert" : "status" }, h("p", {}, sentence), ...actions);
}

// `key`: the keyboard's, shown on it.
export function button(label, onclick, key) {
  return h("button", { type: "button", class: "nm-button", onclick }, label, key ? h("kbd", {}, key) : null);
}

export const percent = (value, digits = 1) =>
  value === null || value === undefined || Number.isNaN(value) ? "–" : `${(100 * value).toFixed(digits)} %`;
export const number = (value) => (value ?? 0).toLocaleString("en");
// "1 pair", "2 pairs": a number with its noun, or with whatever else changes with it ("is", "are").
export const counted = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;
const MOST_COUNTED = 10000; // the server counts waiting suggestions no further
export const waiting = (value) => (value > MOST_COUNTED ? `more than ${number(MOST_COUNTED)}` : number(value));
export const suggestions = (value) => (value > MOST_COUNTED ? `${waiting(value)} suggestions` : counted(value, "suggestion"));

export function seconds(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value < 60) return `${Math.ceil(value)} s`;
  if (value < 3600) return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
  return `${Math.floor(value / 3600)} h ${Math.round((value % 3600) / 60)} min`;
}
