// The four answers: key, icon and word, the same everywhere.

export const ANSWERS = {
  match: { key: "y", label: "Yes", icon: "✓", long: "Yes, it describes the image", becomes: "false negative" },
  no_match: { key: "n", label: "No", icon: "✕", long: "No, it does not", becomes: "hard negative" },
  unsure: { key: " ", label: "Can't tell", icon: "?", long: "Partly, or can't tell", becomes: "masked" },
  broken_pair: { key: "x", label: "Broken pair", icon: "⚠", long: "The data set's own pair is broken", becomes: "left out" },
};

export const keyName = (key) => (key === " " ? "Space" : key.toUpperCase());
