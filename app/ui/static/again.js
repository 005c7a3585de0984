// Asks the server again after a while. A page that nobody sees asks nothing: it does as soon as it is seen again.

const LOOK_MS = 1000; // until a view behind another tab looks whether it is seen again; that asks nobody

// For what asks step by step until something is over: at once where the page is seen, else as soon as it is.
export async function untilSeen() {
  while (document.hidden) await new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));
}

export class Again {
  // `ask()` asks; `place()`: the element that must be on the screen for it.
  constructor(ask, place) {
    Object.assign(this, { ask, place, timer: null });
    document.addEventListener("visibilitychange", () => !document.hidden && this.isLate && this.now());
  }

  // One time, `ms` milliseconds from now, in the place of an earlier one.
  after(ms) {
    this.stop();
    this.timer = setTimeout(() => this.now(), ms);
  }

  stop() {
    clearTimeout(this.timer);
    this.isLate = false;
  }

  now() {
    this.stop();
    const place = this.place();
    if (!place.isConnected) return; // the view is gone
    if (document.hidden) this.isLate = true;
    else if (place.checkVisibility?.() === false) this.after(LOOK_MS);
    else this.ask();
  }
}
