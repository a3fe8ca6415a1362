// @ts-check
/**
 * The watch of one regression: its figures, its live jobs, and what the chosen view of it shows. In: events and
 * replies. Out: `data`. See watch.js.
 *
 * What is read when: first the regression itself, with the newest of its live jobs in the same breath, so that its
 * counts and their table tell the same; with its first reply, what the chosen view shows. An event patches what it
 * tells, and asks for the rest to be read again; what no event tells is read again by `pulse()`.
 */

/** @import {ApiEvent, Counts, Filter, Query, Regression, RegressionData, Run, View, WatchEnv} from "./types.js" */

import { encodeRef, isFilter, isLatest, searchText } from "./address.js";
import { createLiveJobs } from "./livejobs.js";
import { movedBy, patchRows } from "./model-events.js";
import { NOTHING_BEFORE, storyOf } from "./model-history.js";
import { resultsShown } from "./model-job.js";
import { keepNewer } from "./model-lists.js";
import { readAt } from "./model-times.js";
import { createLiveReading } from "./watch-live.js";
import {
  LIST_GAP_MS, LONG_PAGE, OBJECT_GAP_MS, PAGE, SLOW_GAP_MS, createList, createPieces, readEvents, readWholeHistory,
  watchOf,
} from "./watch-reading.js";

/** Jobs asked for by their ids at once. */
const NAMED_PAGE = 100;
/** Up to this many live jobs, all are read again for their signs of life; of more only those in sight. */
const LIVE_FEW = 500;
/** What belongs into the history of a run of what happened to its jobs: deaths that nobody reported, and their end. */
const DEATHS = "job.timed_out,job.missing,job.tanked,job.corrected,job.revived,job.extended,job.pruned";

/**
 * What each of the views of a regression reads, besides the regression itself and, while it runs, its live jobs.
 * @type {Object<string, string[]>}
 */
const READ_BY_TAB = {
  "": ["signatures", "jobs"],
  pictures: ["charts", "timeline", "hosts"],
  compare: ["diff"],
  history: ["history"],
};
/** What is made from the verdicts of all jobs. */
const SUMMARIES = ["series", "charts", "timeline", "hosts", "diff", "history"];
const JOB_FILTERS = ["result", "signature", "q", "sort"];

/** @param {View} view @param {WatchEnv} env @param {RegressionData|null} kept */
export function watchRegression(view, env, kept) {
  /** @type {RegressionData} */
  const data = kept ?? { regression: null, ...nothingRead() };
  const latest = isLatest(view.ref);
  let { filter } = view;
  /** @type {number[]} ids of the live jobs that the reader sees */
  let inSight = [];
  /** @param {string} rest */
  const path = (rest) => `regressions/${data.regression?.id ?? encodeRef(view.ref)}${rest}`;
  const lists = {
    signatures: createList(env, PAGE, () => [path("/signatures"), {}]),
    jobs: createList(env, LONG_PAGE, () => [path("/jobs"), jobQuery(filter, data.regression?.counts)]),
  };
  if (data.signatures) lists.signatures.keep(data.signatures.items);
  if (data.jobs) lists.jobs.keep(data.jobs.items);

  const ofTab = () => READ_BY_TAB[filter.tab] ?? READ_BY_TAB[""];
  const allOfView = () => ["series", ...(filter.tab ? [] : ["live"]), ...ofTab()];
  /** @param {string[]} names */
  const shown = (names) => names.filter((name) => ["regression", ...allOfView()].includes(name));
  const isMissing = () => data.regression === null && pieces.problem(true)?.status === 404;

  const { readLive, readNewest, readSeen } =
    createLiveReading(env, data, path, { wantAll: () => pieces.want(["live"]), inSight: () => inSight });
  /** @param {AbortSignal} signal */
  const readRegression = async (signal) => {
    const ref = latest ? view.ref : data.regression?.id ?? view.ref;
    const isListed = data.regression?.status === "live" && filter.tab === "";
    const reading = env.api.read(`regressions/${encodeRef(ref)}`, {}, signal);
    const [regression] = await Promise.all([reading, isListed ? readNewest(signal) : null]);
    if (data.regression && data.regression.id !== regression.id) turnToNext();
    const isFirst = data.regression === null;
    data.regression = readAt(regression, env.serverNow());
    data.live.settle(regression.version);
    if (isFirst) pieces.want(allOfView());
  };
  /** The series has a newer regression. */
  const turnToNext = () => {
    Object.assign(data, nothingRead());
    Object.values(lists).forEach((list) => list.restart());
    pieces.want(allOfView());
  };
  /** @param {AbortSignal} signal */
  const readSignatures = async (signal) => {
    data.signatures = await lists.signatures.read(data.signatures, signal);
  };
  /**
   * The jobs by the filter of now; until they have come, those of the filter before are there, marked `isOld`.
   * @param {AbortSignal} signal
   */
  const readJobs = async (signal) => {
    const read = await lists.jobs.read(data.jobs, signal);
    data.jobs = keepNewer(data.jobs, read);
  };
  /** @param {"charts"|"timeline"|"hosts"} name @param {string} rest @param {() => Query} query */
  const readOne = (name, rest, query) => async (/** @type {AbortSignal} */ signal) => {
    data[name] = await env.api.read(path(rest), query(), signal);
  };
  const pieces = createPieces(env, {
    regression: { gap: OBJECT_GAP_MS, read: readRegression },
    live: { gap: LIST_GAP_MS, read: readLive },
    seen: { gap: LIST_GAP_MS, read: readSeen },
    signatures: { gap: LIST_GAP_MS, read: readSignatures },
    jobs: { gap: LIST_GAP_MS, read: readJobs },
    series: { gap: SLOW_GAP_MS, read: (signal) => readSeries(env, path, data, filter, signal) },
    charts: { gap: SLOW_GAP_MS, read: readOne("charts", "/charts", () => ({})) },
    timeline: { gap: SLOW_GAP_MS, read: readOne("timeline", "/timeline", () => ({ from: filter.from, to: filter.to })) },
    hosts: { gap: SLOW_GAP_MS, read: readOne("hosts", "/hosts", () => ({ limit: LONG_PAGE })) },
    diff: { gap: SLOW_GAP_MS, read: (signal) => readDiff(env, path, data, filter, signal) },
    history: { gap: LIST_GAP_MS, read: (signal) => readHistory(env, path, data, signal) },
  });

  return watchOf(data, pieces, {
    refresh() {
      // these are only ever added to, and perhaps of another database
      Object.assign(data, { history: null, deaths: null, named: new Map() });
      pieces.want(data.regression ? ["regression", ...allOfView()] : ["regression"]);
    },
    stream() {
      if (isMissing()) return { types: "regression.started" };
      return latest ? {} : { regression: view.ref };
    },
    pulse() {
      if (data.regression?.status !== "live") return;
      pieces.want(["regression", ...shown(["charts", "timeline"])]);
      if (filter.tab === "") pieces.want([data.live.size <= LIVE_FEW ? "live" : "seen"]);
    },
    problem: () => pieces.problem(data.regression === null),
    filterProblem: () => pieces.filterProblem(filter.tab === "compare" ? "diff" : "jobs"),
    look: (ids) => (inSight = ids),
    more: (/** @type {"signatures"|"jobs"} */ name) => lists[name].more(() => data[name], (next) => (data[name] = next)),
    filter(next) {
      const old = filter;
      ({ filter } = next);
      /** @param {string[]} names */
      const differs = (names) => names.some((name) => old[name] !== filter[name]);
      if (differs(["tab"])) pieces.want(allOfView());
      if (differs(["base", "by"])) data.diff = null;
      if (differs(["base", "by", "slower"])) pieces.hurry("diff");
      if (differs(["by"])) pieces.hurry("series");
      if (differs(["from", "to"])) pieces.hurry("timeline");
      if (!differs(JOB_FILTERS)) return;
      if (data.jobs) data.jobs = { ...data.jobs, isOld: true };
      lists.jobs.restart();
      pieces.hurry("jobs");
    },
    apply(event) {
      if (!data.regression) {
        if (latest || event.regression === view.ref) pieces.want(["regression"]);
      } else if (event.regression_id === data.regression.id) {
        pieces.want(shown(takeEvent(data, event)));
      } else if (latest && event.type === "regression.started" && isOfSeries(event, data.regression)) {
        pieces.want(["regression"]);
      }
    },
  });
}

/** What has not been read yet. @returns {Omit<RegressionData, "regression">} */
function nothingRead() {
  return {
    live: createLiveJobs(), liveRead: false, signatures: null, jobs: null, strip: null, since: null, charts: null,
    timeline: null, hosts: null, runs: null, diff: null, history: null, deaths: null, named: new Map(),
  };
}

/** @param {ApiEvent} event @param {Regression} regression */
function isOfSeries(event, { series }) {
  return series !== null && event.regression.startsWith(series);
}

/**
 * Patches what an event tells.
 * @param {RegressionData} data
 * @param {ApiEvent} event
 * @returns {string[]} what must be read again
 */
function takeEvent(data, event) {
  data.regression = { .../** @type {Regression} */ (data.regression), last_activity_at: event.at };
  const isKnown = !event.job || data.live.apply(event);
  if (event.job && data.jobs) data.jobs = { ...data.jobs, items: patchRows(data.jobs.items, event) };
  const moved = movedBy(event, isKnown);
  return moved.length ? [...moved, ...SUMMARIES] : [];
}

/**
 * What is typed into the filter of jobs is a filter if it looks like one, else text to search for.
 * @param {Filter} given
 * @param {Counts|undefined} counts
 */
function jobQuery({ result: chosen, signature, q = "", sort }, counts) {
  const result = resultsShown(chosen, counts);
  const wanted = { all: "", done: "pass,fail,skip" }[result] ?? result;
  return { result: wanted, signature, sort, ...(isFilter(q) ? { filter: q } : { q: searchText(q) }) };
}

// ------------------------------------------------------------------------------------------------ beside other runs

/** What runs are compared by: the reader's choice, else what finds more. @param {Filter} filter */
const compareBy = (filter) => filter.by || "auto";

/**
 * The last runs of the series, and what has changed since the one before.
 * @param {WatchEnv} env
 * @param {(rest: string) => string} path
 * @param {RegressionData} data
 * @param {Filter} filter
 * @param {AbortSignal} signal
 */
async function readSeries(env, path, data, filter, signal) {
  const { id, series } = /** @type {Regression} */ (data.regression);
  const { items } = series ? await env.api.read("series", { series }, signal) : { items: [] };
  const strip = items[0]?.runs ?? [];
  const isFirst = !strip.some((/** @type {Run} */ run) => run.id < id);
  const since = isFirst ? null : await env.api.read(path("/diff"), { limit: PAGE, by: compareBy(filter) }, signal);
  Object.assign(data, { strip, since });
}

/**
 * The runs that it can be compared with, and the comparison.
 * @param {WatchEnv} env
 * @param {(rest: string) => string} path
 * @param {RegressionData} data
 * @param {Filter} filter
 * @param {AbortSignal} signal
 */
async function readDiff(env, path, data, filter, signal) {
  const { series, number } = /** @type {Regression} */ (data.regression);
  const query = { series, limit: PAGE, tanked: 1 };
  const { items } = series ? await env.api.list("regressions", query, signal) : { items: [] };
  data.runs = { items };
  const isAlone = !filter.base && !items.some((/** @type {any} */ run) => run.number < (number ?? 0));
  const { base, slower } = filter;
  const wanted = { base, slower, by: compareBy(filter) };
  data.diff = isAlone ? NOTHING_BEFORE : await env.api.read(path("/diff"), wanted, signal);
}

// ------------------------------------------------------------------------------------------------ what happened

/**
 * @param {WatchEnv} env
 * @param {(rest: string) => string} path
 * @param {RegressionData} data
 * @param {AbortSignal} signal
 */
async function readHistory(env, path, data, signal) {
  data.history = await readWholeHistory(env, path("/history"), data.history, signal);
  data.deaths = await readEvents(env, { regression: data.regression?.id, types: DEATHS }, data.deaths, signal);
  await readNamed(env, path, data, signal);
}

/**
 * The jobs that the history names, a page of them at a time.
 * @param {WatchEnv} env
 * @param {(rest: string) => string} path
 * @param {RegressionData} data
 * @param {AbortSignal} signal
 */
async function readNamed(env, path, data, signal) {
  const told = storyOf(data.history?.items ?? [], data.deaths?.items ?? []).map((entry) => entry.job);
  const ids = [...new Set(told)].filter((id) => id && !data.named.has(id));
  for (let start = 0; start < ids.length; start += NAMED_PAGE) {
    const some = ids.slice(start, start + NAMED_PAGE);
    const query = { filter: `id=${some.join("|")}`, limit: NAMED_PAGE };
    const { items } = await env.api.list(path("/jobs"), query, signal);
    for (const job of [...some.map((id) => ({ id })), ...items]) data.named.set(job.id, job);
  }
}
