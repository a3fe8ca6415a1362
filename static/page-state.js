// @ts-check
/**
 * What the whole page knows besides the data of its view, and what it is made of: the place of the view, the clock, the
 * API. In: nothing. Out: one object that the modules of the page read and change, and the pace of painting.
 */

/** @import {About, Clock, Problem, Timer, View} from "./types.js" */

import { createApi } from "./api.js";
import { askToken } from "./dialogs.js";
import { byId } from "./dom.js";
import { createWatch } from "./watch.js";

/** News paints after the last painting has been looked at for so long. */
const PAINT_GAP_MS = 240;

export const root = document.documentElement.dataset.root ?? "/";
/** @type {HTMLElement} the place of the view */
export const host = byId("view");

/** @type {Clock} */
export const timers = {
  now: () => Date.now(),
  setTimeout: (work, ms) => setTimeout(work, ms),
  clearTimeout: (timer) => clearTimeout(timer ?? undefined),
};

export const api = createApi(root, { fetch: (url, options) => fetch(url, options), storage: sessionStorage, askToken });

/** @type {View} what there is before the first address has been read */
const NO_VIEW = { kind: "unknown", ref: "", filter: {} };

export const page = {
  view: NO_VIEW,
  watch: createWatch(NO_VIEW, null, null),
  /** @type {About} */
  meta: {},
  /** @type {string[]} */
  troubles: [],
  clockOffset: 0,
  /** @type {number|null} */
  lastGoodAt: null,
  /** @type {Problem|null} */
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
  /** @type {Timer|undefined} */
  let next;
  let last = -Infinity;
  const paintNow = () => {
    clearTimeout(next);
    next = undefined;
    last = performance.now();
    paint();
  };
  const changed = () => {
    next ??= setTimeout(paintNow, Math.max(0, last + PAINT_GAP_MS - performance.now()));
  };
  return { changed, paintNow };
}
