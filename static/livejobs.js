// @ts-check
/**
 * All live jobs of a regression, in the order the reader wants. Pure: no DOM, no network, `now` is an argument.
 *
 * Twenty thousand jobs and hundreds of events a second have to cost next to nothing, so this is the one place where
 * state changes in place: an event touches one entry, and an order is mended from the one before, never made anew.
 */

/** @import {ApiEvent, Job, LiveEntry} from "./types.js" */

import { parseTime } from "./format.js";
import { patchJob } from "./model-events.js";
import { jobElapsed, jobProgress, jobTitle } from "./model-job.js";

/** Verdicts remembered, so that a page that was under way meanwhile does not bring a job back to life. */
const GONE_KEPT = 20_000;

/**
 * Stands for how long a job has been running, without growing; less its limit, for how long it has been slow.
 * @param {Job} job
 */
function begun(job) {
  return (job.elapsed_ms ?? -Infinity) - (job.read_at ?? 0);
}

/**
 * Keys by which live jobs are sorted. None may grow by itself: where time runs, all of them would change at once.
 * @type {Object<string, (job: Job) => string|number>}
 */
const KEYS = {
  name: (job) => jobTitle(job).toLowerCase(),
  host: (job) => (job.host ?? "").toLowerCase(),
  phase: (job) => (job.phase ?? "").toLowerCase(),
  progress: (job) => jobProgress(job.progress)?.fraction ?? -1,
  elapsed: begun,
  kind: (job) => (job.slow_after_ms && job.started_at ? begun(job) - job.slow_after_ms : -Infinity),
  seen: (job) => parseTime(job.last_seen_at) ?? 0,
};

/** Columns of which the largest is the most interesting. */
const LARGEST_FIRST = ["progress", "elapsed", "kind", "seen", "runtime", "compute", "cps"];

/**
 * The next sort when a column head is pressed: figures begin with the largest, words with A.
 * @param {string} sort
 * @param {string} column
 */
export function nextSort(sort, column) {
  const first = LARGEST_FIRST.includes(column) ? `-${column}` : column;
  if (sort !== first) return first;
  return first.startsWith("-") ? column : `-${column}`;
}

/**
 * Has a live job been running for longer than 99 of 100 passes of the same test? False if too few are known.
 * @param {Job} job
 * @param {number} now
 */
export function isSlow(job, now) {
  const { slow_after_ms: limit, started_at: started } = job;
  return Boolean(limit && started && (jobElapsed(job, now) ?? 0) > limit);
}

/** The live jobs: `put`, `apply`, `settle` and `keepOnly` change them, `rows` gives them in order. */
export function createLiveJobs() {
  /** @type {Map<number, LiveEntry>} by id */
  const entries = new Map();
  /** @type {Map<number, number>} id -> seq of the event that ended it */
  const gone = new Map();
  /** @type {Map<number, number>} the same of those that are still among the entries */
  const leaving = new Map();
  /** @type {LiveEntry[]} in the order of `sorted`; some may have gone */
  let order = [];
  let sorted = "";
  let isInOrder = true;

  /** @param {Job} job @returns {LiveEntry} */
  const entryOf = (job) => {
    const entry = entries.get(job.id) ?? { id: job.id, job, key: undefined, text: null, isThere: true };
    if (!entries.has(job.id)) {
      entries.set(job.id, entry);
      order.push(entry);
    }
    entry.job = job;
    entry.key = undefined;
    entry.text = null;
    leaving.delete(job.id);
    isInOrder = false;
    return entry;
  };
  /** @param {number} id */
  const remove = (id) => {
    const entry = entries.get(id);
    if (!entry) return false;
    entry.isThere = false;
    entries.delete(id);
    leaving.delete(id);
    isInOrder = false;
    return true;
  };
  /** @param {number} id @param {number} seq */
  const noteGone = (id, seq) => {
    gone.set(id, seq);
    if (entries.has(id)) leaving.set(id, seq);
    const [oldest] = gone.keys();
    if (gone.size > GONE_KEPT) gone.delete(oldest);
  };

  /** @param {string} sort */
  const mend = (sort) => {
    if (isInOrder && sort === sorted) return;
    const down = sort.startsWith("-") ? -1 : 1;
    const keyOf = KEYS[sort.replace(/^-/, "")] ?? KEYS.elapsed;
    order = order.filter((entry) => entry.isThere);
    for (const entry of order) if (entry.key === undefined || sort !== sorted) entry.key = keyOf(entry.job);
    order.sort(byKey(down));
    sorted = sort;
    isInOrder = true;
  };

  return {
    get size() {
      return entries.size;
    },
    has: (/** @type {number} */ id) => entries.has(id),
    get: (/** @type {number} */ id) => entries.get(id)?.job ?? null,
    ids: () => [...entries.keys()],
    hosts: () => new Set([...entries.values()].map(({ job }) => job.host)),
    /**
     * Takes jobs as read from the server; one that has ended since, or is known better, stays as it is.
     * @param {Job[]} jobs
     */
    put(jobs) {
      for (const job of jobs) {
        const known = entries.get(job.id)?.job;
        if ((gone.get(job.id) ?? -1) >= job.version) continue;
        if (!known || known.version <= job.version) entryOf(job);
      }
    },
    /**
     * Drops all that were there before and are not among those that the server has: `before` minus `found`.
     * @param {number[]} before
     * @param {Set<number>} found
     */
    keepOnly(before, found) {
      for (const id of before) if (!found.has(id)) remove(id);
    },
    /** Drops those that had ended by an event: the counts on top are then of that event, too. @param {number} seq */
    settle(seq) {
      for (const [id, ended] of leaving) if (ended <= seq) remove(id);
    },
    /**
     * Takes an event; a job that has ended stays until `settle`.
     * @param {ApiEvent} event
     * @returns {boolean} false if the job it is about is not among these and seems to live
     */
    apply(event) {
      const isLive = event.type !== "job.pruned" && (event.data?.result ?? "live") === "live";
      if (!isLive) {
        noteGone(Number(event.job), event.seq);
        return true;
      }
      const entry = entries.get(Number(event.job));
      if (!entry) return false;
      const job = patchJob(entry.job, event);
      if (job !== entry.job) entryOf(job);
      return true;
    },
    /**
     * The rows to show: `{rows: [{id, job}…], sort, chosen, slow, told}`; grouped, each host begins with `{id, host,
     * count}`. `slow` is how many of all are slow for their kind, `told` which columns anybody says something for.
     * Where no `sort` is wanted, slow jobs come first, or without any those that run longest.
     * @param {{text: string, sort: string, slow: boolean, byHost: boolean}} wanted
     * @param {number} now
     */
    rows({ text, sort: wanted, slow, byHost }, now) {
      const found = summary(entries.values(), now);
      const sort = wanted || (found.slow ? "-kind" : "-elapsed");
      mend(sort);
      const words = text.toLowerCase().split(/\s+/).filter(Boolean);
      /** @param {LiveEntry} entry */
      const hasAll = (entry) => words.every((word) => textOf(entry).includes(word));
      /** @param {LiveEntry} entry */
      const isChosen = (entry) => (!slow || isSlow(entry.job, now)) && hasAll(entry);
      const chosen = words.length || slow ? order.filter(isChosen) : order;
      return { rows: byHost ? grouped(chosen) : chosen, sort, chosen: chosen.length, ...found };
    },
  };
}

/** @param {number} down 1 or -1 */
function byKey(down) {
  return (/** @type {any} */ a, /** @type {any} */ b) => (a.key < b.key ? -down : a.key > b.key ? down : b.id - a.id);
}

/** @param {Iterable<LiveEntry>} entries @param {number} now */
function summary(entries, now) {
  const told = { phase: false, progress: false, kind: false };
  let slow = 0;
  for (const { job } of entries) {
    if (isSlow(job, now)) slow += 1;
    if (job.phase) told.phase = true;
    if (job.progress) told.progress = true;
    if (job.usual_ms) told.kind = true;
  }
  return { slow, told };
}

/** @param {LiveEntry} entry */
function textOf(entry) {
  const { job } = entry;
  entry.text ??= [job.name, job.config, job.host, job.phase, job.seed, job.uniqueid, job.testgroup, job.build]
    .filter(Boolean).join(" ").toLowerCase();
  return entry.text;
}

/** Hosts with the most jobs first, each before its own jobs, whose order stays. @param {Iterable<LiveEntry>} entries */
function grouped(entries) {
  const hosts = new Map();
  for (const entry of entries) {
    const host = entry.job.host ?? "";
    if (!hosts.has(host)) hosts.set(host, []);
    hosts.get(host).push(entry);
  }
  const groups = [...hosts].sort(([a, x], [b, y]) => y.length - x.length || (a < b ? -1 : 1));
  return groups.flatMap(([host, own]) => [{ id: `host ${host}`, host, count: own.length }, ...own]);
}
