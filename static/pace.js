// @ts-check
/**
 * The pace at which news makes the page read again. In: work, how long it must rest between, a clock. Out: `request()`
 * and `hurry()`.
 */

/** @import {Clock, Timer} from "./types.js" */

const SLOWEST_PACE_MS = 10_000;

/**
 * Runs `work` when asked, at once if it has been quiet, else when `gapMs` has passed since the last start; never two
 * at a time, and hardly more than a tenth of the time, so that slow answers slow the page down and not the daemon. Any
 * number of requests in between become one. `env`: `now`, `setTimeout`, `clearTimeout`.
 * @param {() => Promise<void>} work
 * @param {number} gapMs
 * @param {Clock} env
 */
export function createRefresher(work, gapMs, env) {
  let notBefore = -Infinity;
  /** @type {Timer|null} */
  let timer = null;
  let running = false;
  let wanted = false;
  let hurried = false;
  let paused = false;

  const run = async () => {
    timer = null;
    wanted = hurried = false;
    running = true;
    const start = env.now();
    notBefore = start + gapMs;
    try {
      await work();
    } finally {
      running = false;
      const took = env.now() - start;
      notBefore = hurried ? -Infinity : Math.max(notBefore, env.now() + Math.min(9 * took, SLOWEST_PACE_MS));
      plan();
    }
  };
  const plan = () => {
    if (!wanted || running || paused || timer !== null) return;
    timer = env.setTimeout(run, Math.max(0, notBefore - env.now()));
  };
  const pause = () => {
    paused = true;
    env.clearTimeout(timer);
    timer = null;
  };

  return {
    /** Asks for a run. */
    request() {
      wanted = true;
      plan();
    },
    /** Asks for a run now: the reader has asked for something else. */
    hurry() {
      env.clearTimeout(timer);
      timer = null;
      notBefore = -Infinity;
      wanted = hurried = true;
      plan();
    },
    pause,
    /** Goes on, with what was asked for meanwhile. */
    resume() {
      paused = false;
      plan();
    },
  };
}
