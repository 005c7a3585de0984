// The map's drawing: straight into the canvas that is seen; while it moves where that is slow, a part of the points.

import createScatterplot, { createRegl, createRenderer } from "./vendor/scatterplot.js";

const LARGE = 20000; // points
const EVERY = 4; // of a large map, which points stand for all while it moves
const SLOW_MS = 50; // a frame; at 60 a second it takes 17
const REST_MS = 400; // without a move, and all points come back

// The plot, or null where the browser has no WebGL.
export function plotOn(canvas, num, options) {
  // all that is drawn are points, which are smooth by their own shader
  if (!canvas.getContext("webgl", { antialias: false })) return null;
  const regl = createRegl(canvas);
  const renderer = createRenderer({ regl, canvas });
  // its own way leads through a float buffer, a second canvas as large as the window and a copy
  renderer.render = (draw) => {
    regl.clear({ color: [0, 0, 0, 0], depth: 1 });
    draw();
  };
  const plot = createScatterplot({ canvas, renderer, ...options });
  if (num > LARGE) thin(plot, num);
  return plot;
}

function thin(plot, num) {
  let isSlow = false;
  let isThin = false;
  let numMoves = 0;
  // what the last frame of all points takes: its own time and that of the two that wait for it
  const look = async () => {
    const began = await frame();
    await frame();
    isSlow = (await frame()) - began > 2 * SLOW_MS;
  };
  const some = () => {
    const chosen = new Set(plot.get("selectedPoints"));
    return Array.from({ length: num }, (_, n) => n).filter((n) => n % EVERY === 0 || chosen.has(n));
  };
  // counted from when the frame is there: a slow one is not yet a rest
  const rested = async () => {
    const move = ++numMoves;
    for (let n = 0; n < 3; n++) await frame();
    setTimeout(() => {
      if (move !== numMoves) return;
      isThin = false;
      plot.unfilter({ preventEvent: true });
    }, REST_MS);
  };
  plot.subscribe("draw", () => isThin || look());
  plot.subscribe("view", () => {
    if (!isSlow && !isThin) return;
    rested();
    if (isThin) return;
    isThin = true;
    plot.hover(-1);
    plot.filter(some(), { preventEvent: true });
  });
}

const frame = () => new Promise(requestAnimationFrame);
