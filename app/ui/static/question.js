// One image, one caption and the answers' buttons: the layout of Focus, of the blind sample and of disagreements.

import { button, h } from "./dom.js";
import { labelOf } from "./keys.js";
import { onSwipe } from "./swipe.js";
import { ANSWERS } from "./verdicts.js";

// `kind`: a class; `answers`: names, `decide(answer)`; `above` and `below`: what stands before and after the buttons. Answers the
// `section` and the parts that change with each question: `place` of the picture, `question`, `caption`, `last` line.
export function layout({ label, kind = "", answers, decide, undo, tools = [], above = [], below = [] }) {
  const place = h("div", { class: "nm-picture" });
  const [question, caption, last] = [h("h2"), h("p", { class: "nm-question-caption" }), h("p", { class: "nm-last" })];
  const swiped = (answer) => ({ label: `${ANSWERS[answer].icon} ${ANSWERS[answer].label}`, class: `nm-${answer}`, act: () => decide(answer) });
  onSwipe(place, { left: swiped("no_match"), right: swiped("match"), up: swiped("unsure") });
  const buttons = answers.map((answer) =>
    h(
      "button",
      { type: "button", class: `nm-answer nm-${answer}`, onclick: () => decide(answer), title: ANSWERS[answer].long },
      h("span", { class: "nm-icon", "aria-hidden": "true" }, ANSWERS[answer].icon),
      h("span", {}, ANSWERS[answer].label),
      h("kbd", {}, labelOf(answer)),
    ),
  );
  const section = h(
    "section",
    { class: `nm-desk ${kind}`, "aria-label": label },
    h("div", { class: "nm-stage" }, place),
    h("div", { class: "nm-ask" }, question, caption, above, h("div", { class: "nm-answers" }, buttons), h("div", { class: "nm-tools" }, button("Undo", undo, labelOf("undo")), tools), last, below),
  );
  return { section, place, question, caption, last };
}

export const asked = (isPair) => (isPair ? "The data set pairs these two. Does the caption describe the image?" : "Does this caption describe this image?");
