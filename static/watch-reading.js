// @ts-check
/**
 * How a watch reads: named readings, each with a pace, its last problem and an end; lists that grow by pages;
 * histories. In: functions that read. Out: `want(names)` and the like; what is read goes where those functions put it.
 */

/** @import {Known, Page, Query, Watch, WatchEnv} from "./types.js" */

import { Problem, isAbort } from "./api.js";
import { appendPage, mergeHead } from "./model-lists.js";
import { readAt } from "./model-times.js";
import { createRefresher } from "./pace.js";

export const OBJECT_GAP_MS = 500;
export const LIST_GAP_MS = 1000;
/** Figures over all jobs cost the server more. */
export const SLOW_GAP_MS = 5000;
export const PAGE = 50;
export const LONG_PAGE = 500;
/** Entries of a history at most. */
const HISTORY_MOST = 5000;
/** News re-reads at most this much of a long list; rows below are kept up by their events. */
const HEAD = 500;
const MORE_TRIES = 3;

/**
 * Named readings, each with its own pace, its own last problem, and an end.
 * @param {WatchEnv} env
 * @param {Object<string, {gap: number, read: (signal: AbortSignal) => Promise<unknown>}>} readings
 */
export function createPieces(env, readings) {
  /** @type {Map<string, Problem>} */
  const problems = new Map();
  /** @type {Map<string, AbortController>} */
  const controllers = new Map();
  /** @type {Map<string, ReturnType<typeof createRefresher>>} */
  const paces = new Map();
  let stopped = false;

  /** @param {string} name */
  const run = async (name) => {
    const controller = new AbortController();
    controllers.set(name, controller);
    try {
      await readings[name].read(controller.signal);
      problems.delete(name);
      env.answered();
    } catch (problem) {
      if (isAbort(problem)) return;
      if (!(problem instanceof Problem)) throw problem;
      problems.set(name, problem);
    }
    if (!stopped) env.changed();
  };
  for (const name of Object.keys(readings)) paces.set(name, createRefresher(() => run(name), readings[name].gap, env));
  /** @param {(pace: ReturnType<typeof createRefresher>) => void} work */
  const each = (work) => [...paces.values()].forEach(work);

  return {
    want: (/** @type {string[]} */ names) => names.forEach((name) => paces.get(name)?.request()),
    hurry(/** @type {string} */ name) {
      controllers.get(name)?.abort();
      paces.get(name)?.hurry();
    },
    all: () => each((pace) => pace.request()),
    retry: () => [...problems.keys()].forEach((name) => paces.get(name)?.request()),
    pause: () => each((pace) => pace.pause()),
    resume: () => each((pace) => pace.resume()),
    stop() {
      stopped = true;
      each((pace) => pace.pause());
      controllers.forEach((controller) => controller.abort());
    },
    /** The first problem worth a sentence: silence is told by the banner once there is something to show. */
    problem(/** @type {boolean} */ isEmpty) {
      const told = [...problems].filter(([name, problem]) => !isOfFilter(name, problem));
      return told.map(([, problem]) => problem).find((problem) => problem.status || isEmpty) ?? null;
    },
    /** What is wrong with the filter that a list is read by. */
    filterProblem(/** @type {string} */ name) {
      const problem = problems.get(name);
      return problem && isOfFilter(name, problem) ? problem : null;
    },
  };
}

/**
 * Problems that are about what the reader has typed: they are told beside the field.
 * @type {Object<string, string[]>}
 */
const OF_FILTER = { jobs: ["bad-filter", "too-expensive"], diff: ["no-such-regression"] };

/** @param {string} name @param {Problem} problem */
function isOfFilter(name, problem) {
  return Boolean(OF_FILTER[name]?.includes(problem.reason));
}

/**
 * A list that grows by "load more" and is re-read from its head. `describe()` gives `[path, query]`.
 * @param {WatchEnv} given
 * @param {number} page
 * @param {() => [string, Query]} describe
 */
export function createList({ api, serverNow }, page, describe) {
  /** @param {string} path @param {Query & {limit: number}} query @param {AbortSignal} [signal] */
  const readPage = async (path, query, signal) => {
    const { items, next } = await api.list(path, query, signal);
    const now = serverNow();
    return { items: items.map((item) => readAt(item, now)), next };
  };
  let fresh = true; // the next reading replaces everything: another filter
  let wanted = page; // rows that the reader has asked for
  let busy = false;
  return {
    /** @param {Page<any>|null} old @param {AbortSignal} signal */
    async read(old, signal) {
      const [path, query] = describe();
      const wasFresh = fresh;
      const whole = wasFresh || !old || wanted <= HEAD || old.items.length > wanted + page;
      const head = await readPage(path, { ...query, limit: whole ? wanted : HEAD }, signal);
      if (wasFresh) fresh = false;
      return whole ? head : mergeHead(old, head);
    },
    /** @param {() => any} current @param {(next: any) => void} put */
    async more(current, put) {
      if (busy || !current()?.next) return;
      busy = true;
      try {
        for (let tries = 0; tries < MORE_TRIES; tries += 1) {
          const [path, query] = describe();
          const after = current().next;
          const next = await readPage(path, { ...query, limit: page, after });
          if (fresh) return;
          if (current().next === after) {
            wanted += page;
            return void put(appendPage(current(), next));
          }
        } // the list was re-read meanwhile and ends elsewhere: a page from there, or there would be a hole
      } finally {
        busy = false;
      }
    },
    restart() {
      fresh = true;
      wanted = page;
    },
    /** Goes on with a list from an earlier visit. */
    keep(/** @type {unknown[]} */ items) {
      fresh = false;
      wanted = Math.max(page, Math.ceil(items.length / page) * page);
    },
  };
}

/**
 * What all watches do alike.
 * @param {any} data
 * @param {ReturnType<typeof createPieces>} pieces
 * @param {Partial<Watch>} own
 * @returns {Watch}
 */
export function watchOf(data, pieces, own) {
  return {
    data,
    refresh: pieces.all,
    retry: pieces.retry,
    pause: pieces.pause,
    resume: pieces.resume,
    stop: pieces.stop,
    filterProblem: () => null,
    problem: () => null,
    stream: () => null,
    apply() {},
    filter() {},
    more() {},
    look() {},
    pulse() {},
    ...own,
  };
}

/**
 * All events of some kind, joined to those that are known; from the start where the server has forgotten the place.
 * @param {WatchEnv} env
 * @param {Query} query
 * @param {Known<any>|null} known
 * @param {AbortSignal} signal
 */
export async function readEvents(env, query, known, signal) {
  const items = [...(known?.items ?? [])];
  let after = known?.next ?? 0;
  for (;;) {
    const page = await env.api.read("events", { ...query, after, limit: LONG_PAGE }, signal).catch((problem) => {
      if (problem.status !== 410 || !known) throw problem;
    });
    if (!page) return readEvents(env, query, null, signal);
    items.push(...page.items);
    after = page.next;
    if (page.items.length < LONG_PAGE || items.length >= HISTORY_MOST) return { items, next: after };
  }
}

/**
 * A history with what has been added behind what is known of it.
 * @param {WatchEnv} env
 * @param {string} path
 * @param {Known<any>|null} known
 * @param {AbortSignal} signal
 */
export async function readWholeHistory(env, path, known, signal) {
  const items = [...(known?.items ?? [])];
  for (;;) {
    const page = await env.api.read(path, { after: items.at(-1)?.seq, limit: LONG_PAGE }, signal);
    items.push(...page.items);
    if (!page.next || items.length >= HISTORY_MOST) return { items, next: page.next };
  }
}
