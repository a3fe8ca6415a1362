/**
 * What each view reads, and when it reads it again. A watch owns `data`, the view's share of the state; it changes
 * it by answers and by events, and calls `env.changed()` so that somebody paints.
 *
 * `env`: `api`, `changed()`, `answered()` (data is as of now), `now()`, `serverNow()`, `setTimeout`, `clearTimeout`.
 * A watch: `data`, `filter(view)`, `more(name)`, `stream()` (what its events are narrowed to), `apply(event)`,
 * `refresh()` (everything), `pulse()` (what grows old without events: signs of life, estimates), `retry()` (what
 * failed), `pause()`, `resume()`, `stop()`, `problem()`.
 */

import { encodeRef, isLatest } from "./address.js";
import { Problem } from "./api.js";
import { createRefresher } from "./live.js";
import {
  appendPage, applyToJob, applyToOverview, applyToRegression, belongs, mergeHead, readAt, replaceItem, sortRegressions,
} from "./model.js";

const OBJECT_GAP_MS = 500;
const LIST_GAP_MS = 1000;
const PAGE = 50;
const LIVE_PAGE = 500;
/** Live rows drawn before "show more", and at each press: the tables below stay within reach. */
const LIVE_FIRST = 20;
const LIVE_STEP = 100;
/** News re-reads at most this much of a long list; rows below are kept up by their events. */
const HEAD = 500;
/** What changes a row of the overview: all but updates of jobs, which are most of all events. */
const LIST_TYPES = "regression.*,job.live,job.finished,job.corrected,job.revived,job.pruned";
const MORE_TRIES = 3;
/** With more changed rows than this at once, one reading of the list is cheaper than one of each. */
const FEW = 4;

/**
 * The watch for a view. `kept`: data from an earlier visit, shown until news comes.
 * @param {object} view
 * @param {object} env
 * @param {object|null} kept
 */
export function createWatch(view, env, kept) {
  const make = { overview: watchOverview, regression: watchRegression, job: watchJob }[view.kind] ?? watchNothing;
  return make(view, env, kept);
}

function watchNothing() {
  const nothing = () => {};
  return { data: {}, filter: nothing, more: nothing, stream: () => null, apply: nothing, refresh: nothing,
    pulse: nothing, retry: nothing, pause: nothing, resume: nothing, stop: nothing, problem: () => null };
}

// ------------------------------------------------------------------------------------------------ pieces

/** Named readings, each with its own pace, its own last problem, and an end. */
function createPieces(env, readings) {
  const problems = new Map();
  const controllers = new Map();
  const paces = new Map();
  let stopped = false;

  const run = async (name) => {
    const controller = new AbortController();
    controllers.set(name, controller);
    try {
      await readings[name].read(controller.signal);
      problems.delete(name);
      env.answered();
    } catch (problem) {
      if (problem.name === "AbortError") return;
      if (!(problem instanceof Problem)) throw problem;
      problems.set(name, problem);
    }
    if (!stopped) env.changed();
  };
  for (const name of Object.keys(readings)) paces.set(name, createRefresher(() => run(name), readings[name].gap, env));
  const each = (work) => [...paces.values()].forEach(work);

  return {
    want: (names) => names.forEach((name) => paces.get(name).request()),
    hurry(name) {
      controllers.get(name)?.abort();
      paces.get(name).hurry();
    },
    all: () => each((pace) => pace.request()),
    retry: () => [...problems.keys()].forEach((name) => paces.get(name).request()),
    pause: () => each((pace) => pace.pause()),
    resume: () => each((pace) => pace.resume()),
    stop() {
      stopped = true;
      each((pace) => pace.pause());
      controllers.forEach((controller) => controller.abort());
    },
    /** The first problem worth a sentence: silence is told by the banner once there is something to show. */
    problem(isEmpty) {
      return [...problems.values()].find((problem) => problem.status || isEmpty) ?? null;
    },
  };
}

/** A list that grows by "load more" and is re-read from its head. `describe()` gives `[path, query]`. */
function createList({ api, serverNow }, page, describe) {
  const readPage = async (path, query, signal) => {
    const { items, next } = await api.list(path, query, signal);
    const now = serverNow();
    return { items: items.map((item) => readAt(item, now)), next };
  };
  let fresh = true; // the next reading replaces everything: another filter
  let wanted = page; // rows that the reader has asked for
  let busy = false;
  return {
    async read(old, signal) {
      const [path, query] = describe();
      const wasFresh = fresh;
      const whole = wasFresh || !old || wanted <= HEAD || old.items.length > wanted + page;
      const head = await readPage(path, { ...query, limit: whole ? wanted : HEAD }, signal);
      if (wasFresh) fresh = false;
      return whole ? head : mergeHead(old, head);
    },
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
    keep(items) {
      fresh = false;
      wanted = Math.max(page, Math.ceil(items.length / page) * page);
    },
  };
}

/** What all watches do alike. */
function watchOf(env, data, pieces, own) {
  return {
    data,
    refresh: pieces.all,
    retry: pieces.retry,
    pause: pieces.pause,
    resume: pieces.resume,
    stop: pieces.stop,
    ...own,
  };
}

// ------------------------------------------------------------------------------------------------ overview

function watchOverview(view, env, kept) {
  const data = kept ?? { list: null };
  const dirty = new Set();
  let { filter } = view;
  const list = createList(env, PAGE, () => ["regressions", filter]);
  if (data.list) list.keep(data.list.items);

  const readList = async (signal) => {
    dirty.clear();
    data.list = await list.read(data.list, signal);
  };
  const readRows = async (signal) => {
    const ids = [...dirty];
    dirty.clear();
    if (ids.length > FEW) pieces.want(["list"]);
    else await Promise.all(ids.map((id) => readRow(id, signal)));
  };
  const readRow = async (id, signal) => {
    const row = readAt(await env.api.read(`regressions/${id}`, {}, signal), env.serverNow());
    const items = replaceItem(data.list.items, row).filter((item) => item.id !== id || belongs(item, filter));
    data.list = { ...data.list, items: sortRegressions(items) };
  };
  const pieces = createPieces(env, {
    list: { gap: LIST_GAP_MS, read: readList },
    rows: { gap: OBJECT_GAP_MS, read: readRows },
  });

  return watchOf(env, data, pieces, {
    stream: () => ({ types: LIST_TYPES }),
    problem: () => pieces.problem(data.list === null),
    refresh: () => pieces.want(["list"]),
    pulse: () => data.list?.items.some((item) => item.status === "live") && pieces.want(["list"]),
    more: () => list.more(() => data.list, (next) => (data.list = next)),
    filter(next) {
      ({ filter } = next);
      list.restart();
      pieces.hurry("list");
    },
    apply(event) {
      if (data.list === null) return;
      const { items, wanted } = applyToOverview(data.list.items, event);
      data.list = { ...data.list, items };
      if (wanted === "list") pieces.want(["list"]);
      else if (wanted !== null) pieces.want((dirty.add(wanted), ["rows"]));
    },
  });
}

// ------------------------------------------------------------------------------------------------ regression

function watchRegression(view, env, kept) {
  const data = kept ?? { regression: null, live: null, signatures: null, jobs: null, liveShown: LIVE_FIRST };
  const latest = isLatest(view.ref);
  let { filter } = view;
  const path = (rest) => `regressions/${data.regression?.id ?? encodeRef(view.ref)}${rest}`;
  const lists = {
    live: createList(env, LIVE_PAGE, () => [path("/jobs"), { result: "live" }]),
    signatures: createList(env, PAGE, () => [path("/signatures"), {}]),
    jobs: createList(env, PAGE, () => [path("/jobs"),
      { result: filter.result, signature: filter.signature, q: filter.q, sort: filter.sort }]),
  };
  for (const name of Object.keys(lists)) if (data[name]) lists[name].keep(data[name].items);

  const readRegression = async (signal) => {
    const ref = latest ? view.ref : data.regression?.id ?? view.ref;
    const regression = await env.api.read(`regressions/${encodeRef(ref)}`, {}, signal);
    if (data.regression && data.regression.id !== regression.id) turnTo();
    const first = data.regression === null;
    data.regression = readAt(regression, env.serverNow());
    if (first) pieces.want(["live", "signatures", "jobs"]);
  };
  const turnTo = () => { // the series has a newer regression
    Object.assign(data, { live: null, signatures: null, jobs: null });
    Object.values(lists).forEach((list) => list.restart());
    pieces.want(["live", "signatures", "jobs"]);
  };
  const readList = (name) => async (signal) => {
    data[name] = await lists[name].read(data[name], signal);
  };
  const pieces = createPieces(env, {
    regression: { gap: OBJECT_GAP_MS, read: readRegression },
    live: { gap: LIST_GAP_MS, read: readList("live") },
    signatures: { gap: LIST_GAP_MS, read: readList("signatures") },
    jobs: { gap: LIST_GAP_MS, read: readList("jobs") },
  });
  const empty = { items: [], next: null };
  const isMissing = () => data.regression === null && pieces.problem(true)?.status === 404;

  return watchOf(env, data, pieces, {
    refresh: () => (data.regression ? pieces.all() : pieces.want(["regression"])),
    stream() {
      if (isMissing()) return { types: "regression.started" };
      return latest ? {} : { regression: view.ref };
    },
    pulse: () => data.regression?.status === "live" && pieces.want(["regression", "live"]),
    problem: () => pieces.problem(data.regression === null),
    async more(name) {
      if (name === "live" && data.liveShown < (data.live?.items.length ?? 0)) data.liveShown += LIVE_STEP;
      else await lists[name].more(() => data[name], (next) => (data[name] = next));
    },
    filter(next) {
      const old = filter;
      ({ filter } = next);
      if (["result", "signature", "q", "sort"].every((name) => old[name] === filter[name])) return;
      lists.jobs.restart();
      pieces.hurry("jobs");
    },
    apply(event) {
      if (!data.regression) {
        if (latest || event.regression === view.ref) pieces.want(["regression"]);
      } else if (event.regression_id === data.regression.id) {
        const shown = { regression: data.regression, live: data.live ?? empty, jobs: data.jobs ?? empty };
        const { view: patched, wanted } = applyToRegression(shown, event);
        data.regression = patched.regression;
        if (data.live) data.live = patched.live;
        if (data.jobs) data.jobs = patched.jobs;
        pieces.want(wanted);
      } else if (latest && event.type === "regression.started" && event.regression.startsWith(data.regression.series)) {
        pieces.want(["regression"]);
      }
    },
  });
}

// ------------------------------------------------------------------------------------------------ job

function watchJob(view, env, kept) {
  const data = kept ?? { job: null, history: null };
  const path = `jobs/${view.ref}`;
  const history = createList(env, LIVE_PAGE, () => [`${path}/history`, {}]);
  if (data.history) history.keep(data.history.items);
  const pieces = createPieces(env, {
    job: {
      gap: OBJECT_GAP_MS,
      read: async (signal) => (data.job = readAt(await env.api.read(path, {}, signal), env.serverNow())),
    },
    history: {
      gap: LIST_GAP_MS,
      read: async (signal) => (data.history = await history.read(data.history, signal)),
    },
  });
  return watchOf(env, data, pieces, {
    stream: () => ({ job: view.ref }),
    pulse: () => data.job?.result === "live" && pieces.want(["job"]),
    problem: () => pieces.problem(data.job === null),
    more: () => history.more(() => data.history, (next) => (data.history = next)),
    filter() {},
    apply(event) {
      if (!data.job) return;
      const { job, wanted } = applyToJob(data.job, event);
      data.job = job;
      pieces.want(wanted);
    },
  });
}
