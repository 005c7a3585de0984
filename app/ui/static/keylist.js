// The list under "?": what each key does in this view; a click on a key waits for another one.

import { announce, fill, h } from "./dom.js";
import { ACTIONS, keyLabel, keyOf, labelOf, remap, resetKeys } from "./keys.js";

// `lines`: keys that are not ours to change, [key, what]; `onChanged` after the list is closed, where one was changed.
export function showKeys(actions, lines, onChanged) {
  let changed = false;
  let waiting = null;
  const list = h("dl", {});
  const told = h("p", { class: "nm-meta", role: "status" }, "Click a key to change it in this browser.");

  const draw = () =>
    fill(
      list,
      lines.flatMap(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)]),
      actions.flatMap((action) => [
        h("dt", {}, h("button", { type: "button", class: `nm-key${waiting === action ? " nm-chosen" : ""}`, "aria-label": `${labelOf(action)}: ${ACTIONS[action].what}. Change`, onclick: () => wait(action) }, h("kbd", {}, waiting === action ? "press …" : keyLabel(keyOf(action))))),
        h("dd", {}, ACTIONS[action].what),
      ]),
    );
  const wait = (action) => {
    waiting = action;
    told.textContent = `Press the key for: ${ACTIONS[action].what}. Escape keeps the old one.`;
    draw();
    list.querySelector(".nm-chosen").focus(); // the list was drawn anew, and the key must arrive here
  };
  const press = (event) => {
    if (!waiting) return;
    event.preventDefault();
    event.stopPropagation();
    const key = event.key.toLowerCase();
    const trouble = key === "escape" ? "" : remap(waiting, key);
    if (trouble) return (told.textContent = trouble);
    changed ||= trouble === null;
    told.textContent = trouble === null ? `${keyLabel(key)}: ${ACTIONS[waiting].what}.` : "Unchanged.";
    waiting = null;
    draw();
    list.querySelector("button")?.focus();
  };
  const reset = () => {
    resetKeys();
    changed = true;
    told.textContent = "All keys are as they came.";
    draw();
  };

  const dialog = h(
    "dialog",
    { class: "nm-dialog", "aria-label": "Keys", onkeydown: press, oncancel: (event) => waiting && event.preventDefault(), onclose: () => (dialog.remove(), changed && onChanged()) },
    h("h2", {}, "Keys"),
    list,
    told,
    h("div", { class: "nm-bar" }, h("button", { type: "button", class: "nm-button", onclick: () => dialog.close() }, "Close"), h("button", { type: "button", class: "nm-button", onclick: reset }, "Reset all")),
  );
  draw();
  document.body.append(dialog);
  dialog.showModal();
  announce("The keys of this view");
}
