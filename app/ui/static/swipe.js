// Swipes on a touch screen: right is yes, left is no, up is can't tell. The picture follows the finger and says what it will be.

import { h } from "./dom.js";

const FAR = 70; // px from which a swipe counts

// `meanings`: {left, right, up} → {label, class, act}.
export function onSwipe(place, meanings) {
  const hint = h("div", { class: "nm-swipe-hint", "aria-hidden": "true" });
  let from = null;
  const aim = (event) => {
    const [x, y] = [event.clientX - from.x, event.clientY - from.y];
    if (Math.abs(x) >= FAR && Math.abs(x) > Math.abs(y)) return meanings[x > 0 ? "right" : "left"];
    return -y >= FAR && -y > Math.abs(x) ? meanings.up : null;
  };
  const end = (event, given) => {
    if (!from) return;
    const meaning = given ? aim(event) : null;
    from = null;
    place.style.transform = "";
    hint.remove();
    meaning?.act();
  };
  place.classList.add("nm-swipe");
  place.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse" || !event.isPrimary) return;
    from = { x: event.clientX, y: event.clientY };
    place.setPointerCapture(event.pointerId);
  });
  place.addEventListener("pointermove", (event) => {
    if (!from) return;
    place.style.transform = `translate(${event.clientX - from.x}px, ${Math.min(0, event.clientY - from.y) / 3}px)`;
    const meaning = aim(event);
    hint.className = `nm-swipe-hint ${meaning?.class ?? ""}`;
    hint.textContent = meaning?.label ?? "";
    if (meaning) place.append(hint);
    else hint.remove();
  });
  place.addEventListener("pointerup", (event) => end(event, true));
  place.addEventListener("pointercancel", (event) => end(event, false));
}
