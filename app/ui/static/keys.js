// The keys of the desk: what each does, and this browser's own choice of them.

const STORE = "nearmiss.keys";
export const ACTIONS = {
  match: { key: "y", what: "Yes, the caption describes the image" },
  no_match: { key: "n", what: "No, it does not" },
  unsure: { key: " ", what: "Partly, or can't tell" },
  broken_pair: { key: "x", what: "The data set's own pair is broken" },
  confirm: { key: "enter", what: "Confirm all answers of the board" },
  undo: { key: "z", what: "Take the last answer back, also after a reload (Ctrl+Z too)" },
  back: { key: "arrowleft", what: "Back to the one before" },
  context: { key: "c", what: "Why it was suggested, and the original partners" },
  mend: { key: "e", what: "Correct the caption of the image's own pair" },
  write: { key: "w", what: "Write a caption of your own that is not true of the image" },
  progress: { key: "p", what: "Progress, people and agreement" },
  guidelines: { key: "g", what: "The data set's guidelines" },
  search: { key: "/", what: "Search the data set" },
  help: { key: "?", what: "This list" },
};
const FIXED = /^([1-9]|tab|escape|backspace|shift|control|alt|meta|f\d+)$/; // digits mark cells; Backspace is never a verdict
const NAMES = { " ": "Space", arrowleft: "←", arrowright: "→", arrowup: "↑", arrowdown: "↓", enter: "Enter" };

let own = read();

export const keyOf = (action) => own[action] ?? ACTIONS[action].key;
export const keyLabel = (key) => NAMES[key] ?? (key.length === 1 ? key.toUpperCase() : key);
export const labelOf = (action) => keyLabel(keyOf(action));
export const actionOf = (key) => Object.keys(ACTIONS).find((action) => keyOf(action) === key) ?? null;

// Gives an action another key; a sentence where that cannot be.
export function remap(action, key) {
  if (FIXED.test(key)) return `${keyLabel(key)} has its own meaning; press another key.`;
  const other = actionOf(key);
  if (other && other !== action) return `${keyLabel(key)} is taken: ${ACTIONS[other].what}.`;
  own = { ...own, [action]: key };
  localStorage.setItem(STORE, JSON.stringify(own));
  return null;
}

export function resetKeys() {
  own = {};
  localStorage.removeItem(STORE);
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(STORE) ?? "{}");
  } catch {
    return {};
  }
}
