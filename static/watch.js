// @ts-check
/**
 * What each view reads, and when it reads it again. A watch owns `data`, the view's share of the state; it changes
 * it by answers and by events, and calls `env.changed()` so that somebody paints.
 *
 * `env`: `api`, `createLog(path, changed)`, `changed()`, `answered()` (data is as of now), `now()`, `serverNow()`,
 * `setTimeout`, `clearTimeout`.
 * A watch: `data`, `filter(view)`, `more(name)`, `look(ids)` (the live jobs in sight), `stream()` (what its events are
 * narrowed to), `filterProblem()` (what is wrong with the reader's filter), `apply(event)`, `refresh()` (everything),
 * `pulse()` (what grows old without events: signs of life, estimates), `retry()` (what failed), `pause()`, `resume()`,
 * `stop()`, `problem()`.
 */

/** @import {View} from "./types.js" */

import { watchJob } from "./watch-job.js";
import { watchOverview } from "./watch-overview.js";
import { watchRegression } from "./watch-regression.js";

/**
 * The watch for a view. `kept`: data from an earlier visit, shown until news comes.
 * @param {View} view
 * @param {any} env
 * @param {any} kept
 */
export function createWatch(view, env, kept) {
  const makes = { overview: watchOverview, regression: watchRegression, job: watchJob, unknown: watchNothing };
  return makes[view.kind](view, env, kept);
}

function watchNothing() {
  const nothing = () => {};
  const none = () => null;
  return {
    data: {}, filter: nothing, more: nothing, look: nothing, stream: none, apply: nothing, refresh: nothing,
    pulse: nothing, filterProblem: none, retry: nothing, pause: nothing, resume: nothing, stop: nothing, problem: none,
  };
}
