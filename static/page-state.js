/**
 * What the whole page knows besides the data of its view, and what it is made of: the place of the view, the clock, the
 * API. In: nothing. Out: one object that the modules of the page read and change, and the pace of painting.
 */

import { createApi } from "./api.js";
import { askToken } from "./dialogs.js";

/** News paints after the last painting has been looked at for so long. */
const PAINT_GAP_MS = 240;

export const root = document.documentElement.dataset.root;
export const host = document.getElementById("view");

export const timers = {
  now: () => Date.now(),
  setTimeout: (work, ms) => setTimeout(work, ms),
  clearTimeout: (timer) => clearTimeout(timer),
};

export const api = createApi(root, { fetch: (url, options) => fetch(url, options), storage: sessionStorage, askToken });

export const page = {
  view: null,
  watch: null,
  meta: {},
  troubles: [],
  clockOffset: 0,
  lastGoodAt: null,
  actionProblem: null,
};

export const serverNow = () => Date.now() + page.clockOffset;

/** Data is as of now. */
export function answered() {
  page.lastGoodAt = Date.now();
}

/**
 * The pace of painting: any amount of news becomes one painting; what the reader does is painted at once.
 * @param {() => void} paint
 */
export function createPainter(paint) {
  let next = null;
  let last = -Infinity;
  const paintNow = () => {
    clearTimeout(next);
    next = null;
    last = performance.now();
    paint();
  };
  const changed = () => {
    next ??= setTimeout(paintNow, Math.max(0, last + PAINT_GAP_MS - performance.now()));
  };
  return { changed, paintNow };
}
