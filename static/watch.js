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

import { encodeRef, isFilter, isLatest, searchText } from "./address.js";
import { Problem } from "./api.js";
import { createRefresher } from "./live.js";
import { createLiveJobs } from "./livejobs.js";
import {
  NOTHING_BEFORE, appendPage, applyToJob, applyToOverview, belongs, keepNewer, mergeHead, movedBy, patchRows, readAt,
  replaceItem, resultsShown, sortRegressions, storyOf,
} from "./model.js";

const OBJECT_GAP_MS = 500;
const LIST_GAP_MS = 1000;
/** Figures over all jobs cost the server more. */
const SLOW_GAP_MS = 5000;
const NEWEST_PAGE = 100;
const PAGE = 50;
const LONG_PAGE = 500;
const FILES_MOST = 5000;
/** Jobs asked for by their ids at once. */
const NAMED_PAGE = 100;
/** Entries of a history at most. */
const HISTORY_MOST = 5000;
/** What belongs into the history of a run of what happened to its jobs: deaths that nobody reported, and their end. */
const DEATHS = "job.timed_out,job.missing,job.tanked,job.corrected,job.revived,job.extended,job.pruned";
/** Series of which one request tells the last runs. */
const STRIPS_MOST = 100;
/** Live jobs held at most. */
const LIVE_MOST = 40_000;
/** Up to this many live jobs, all are read again for their signs of life; of more only those in sight. */
const LIVE_FEW = 500;
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
  const none = () => null;
  return {
    data: {}, filter: nothing, more: nothing, look: nothing, stream: none, apply: nothing, refresh: nothing,
    pulse: nothing, filterProblem: none, retry: nothing, pause: nothing, resume: nothing, stop: nothing, problem: none,
  };
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
      const told = [...problems].filter(([name, problem]) => !isOfFilter(name, problem));
      return told.map(([, problem]) => problem).find((problem) => problem.status || isEmpty) ?? null;
    },
    /** What is wrong with the filter that a list is read by. */
    filterProblem(name) {
      const problem = problems.get(name);
      return problem && isOfFilter(name, problem) ? problem : null;
    },
  };
}

/** Problems that are about what the reader has typed: they are told beside the field. */
const OF_FILTER = { jobs: ["bad-filter", "too-expensive"], diff: ["no-such-regression"] };

function isOfFilter(name, problem) {
  return Boolean(OF_FILTER[name]?.includes(problem.reason));
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
    filterProblem: () => null,
    ...own,
  };
}

// ------------------------------------------------------------------------------------------------ overview

function watchOverview(view, env, kept) {
  const data = kept ?? { list: null, strips: new Map(), onlyTanked: false };
  const dirty = new Set();
  let { filter } = view;
  const list = createList(env, PAGE, () => ["regressions", filter]);
  if (data.list) list.keep(data.list.items);

  const hasTanked = async (signal) => (await env.api.read("regressions", { tanked: 1, limit: 1 }, signal)).items.length > 0;
  const readList = async (signal) => {
    dirty.clear();
    const found = await list.read(data.list, signal);
    const isBare = found.items.length === 0 && !Object.values(filter).some(Boolean);
    data.onlyTanked = isBare && (await hasTanked(signal));
    data.list = found;
    pieces.want(["strips"]);
  };
  const readStrips = async (signal) => {
    const series = [...new Set(data.list?.items.map((item) => item.series).filter(Boolean))].slice(0, STRIPS_MOST);
    if (!series.length) return;
    const { items } = await env.api.read("series", { series }, signal);
    data.strips = new Map(items.map((item) => [item.series, item.runs]));
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
    strips: { gap: SLOW_GAP_MS, read: readStrips },
  });

  return watchOf(env, data, pieces, {
    stream: () => ({ types: LIST_TYPES }),
    problem: () => pieces.problem(data.list === null),
    refresh: () => pieces.want(["list"]),
    pulse: () => data.list?.items.some((item) => item.status === "live") && pieces.want(["list"]),
    more: () => list.more(() => data.list, (next) => (data.list = next)),
    look() {},
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
      else if (wanted !== null) pieces.want((dirty.add(wanted), ["rows", "strips"]));
    },
  });
}

// ------------------------------------------------------------------------------------------------ regression

/** What each of the views of a regression reads, besides the regression itself and, while it runs, its live jobs. */
const READ_BY_TAB = {
  "": ["signatures", "jobs"],
  pictures: ["charts", "timeline", "hosts"],
  compare: ["diff"],
  history: ["history"],
};

const JOB_FILTERS = ["result", "signature", "q", "sort"];

/** What is typed into the filter of jobs is a filter if it looks like one, else text to search for. */
function jobQuery({ result: chosen, signature, q = "", sort }, counts) {
  const result = resultsShown(chosen, counts);
  const wanted = { all: "", done: "pass,fail,skip" }[result] ?? result;
  return { result: wanted, signature, sort, ...(isFilter(q) ? { filter: q } : { q: searchText(q) }) };
}

function watchRegression(view, env, kept) {
  const data = kept ?? { regression: null, live: createLiveJobs(), liveRead: false, ...nothingRead() };
  const latest = isLatest(view.ref);
  let { filter } = view;
  let inSight = []; // ids of the live jobs that the reader sees
  const path = (rest) => `regressions/${data.regression?.id ?? encodeRef(view.ref)}${rest}`;
  const lists = {
    signatures: createList(env, PAGE, () => [path("/signatures"), {}]),
    jobs: createList(env, LONG_PAGE, () => [path("/jobs"), jobQuery(filter, data.regression?.counts)]),
  };
  for (const name of Object.keys(lists)) if (data[name]) lists[name].keep(data[name].items);

  /** The regression, and in the same breath the newest of its live jobs: its counts and their table tell the same. */
  const readRegression = async (signal) => {
    const ref = latest ? view.ref : data.regression?.id ?? view.ref;
    const isListed = data.regression?.status === "live" && filter.tab === "";
    const reading = env.api.read(`regressions/${encodeRef(ref)}`, {}, signal);
    const [regression] = await Promise.all([reading, isListed ? readNewest(signal) : null]);
    if (data.regression && data.regression.id !== regression.id) turnTo();
    const first = data.regression === null;
    data.regression = readAt(regression, env.serverNow());
    data.live.settle(regression.version);
    if (first) pieces.want(allOfView());
  };
  const turnTo = () => { // the series has a newer regression
    Object.assign(data, { live: createLiveJobs(), liveRead: false, ...nothingRead() });
    Object.values(lists).forEach((list) => list.restart());
    pieces.want(allOfView());
  };
  const readSignatures = async (signal) => {
    data.signatures = await lists.signatures.read(data.signatures, signal);
  };
  /** The jobs by the filter of now; until they have come, those of the filter before are there, marked `isOld`. */
  const readJobs = async (signal) => {
    const read = await lists.jobs.read(data.jobs, signal);
    data.jobs = keepNewer(data.jobs, read);
  };
  const livePage = async (query, signal) => {
    const page = await env.api.read(path("/jobs"), { result: "live", limit: LONG_PAGE, ...query }, signal);
    const now = env.serverNow();
    data.live.put(page.items.map((job) => readAt(job, now)));
    return page;
  };
  /** All live jobs, page by page; those that were there before and are not any more go. */
  const readLive = async (signal) => {
    const { live } = data;
    const before = live.ids();
    const found = new Set();
    let after = null;
    do {
      const page = await livePage({ after }, signal);
      if (live !== data.live) return;
      page.items.forEach((job) => found.add(job.id));
      after = page.next ?? null;
      env.changed();
    } while (after && found.size < LIVE_MOST);
    live.keepOnly(before, found);
    data.liveRead = true;
  };
  /** The newest live jobs, which may be all; if all of a page are new, there may be more behind it. */
  const readNewest = async (signal) => {
    const { live } = data;
    const before = live.ids();
    const page = await livePage({ limit: NEWEST_PAGE }, signal);
    const found = new Set(page.items.map((job) => job.id));
    if (!page.next) live.keepOnly(before, found);
    else if (!before.some((id) => found.has(id))) pieces.want(["live"]);
  };
  const readSeen = async (signal) => {
    const ids = inSight.filter((id) => data.live.has(id)).slice(0, 100);
    if (ids.length) await livePage({ filter: `id=${ids.join("|")}` }, signal);
  };
  const readOne = (name, rest, query) => async (signal) => {
    data[name] = await env.api.read(path(rest), query(), signal);
  };
  const readHistory = async (signal) => {
    data.history = await readWholeHistory(env, path("/history"), data.history, signal);
    data.deaths = await readEvents(env, { regression: data.regression.id, types: DEATHS }, data.deaths, signal);
    await readNamed(signal);
  };
  /** The jobs that the history names, a page of them at a time. */
  const readNamed = async (signal) => {
    const told = storyOf(data.history?.items ?? [], data.deaths?.items ?? []).map((entry) => entry.job);
    const ids = [...new Set(told)].filter((id) => id && !data.named.has(id));
    for (let start = 0; start < ids.length; start += NAMED_PAGE) {
      const some = ids.slice(start, start + NAMED_PAGE);
      const query = { filter: `id=${some.join("|")}`, limit: NAMED_PAGE };
      const { items } = await env.api.list(path("/jobs"), query, signal);
      for (const job of [...some.map((id) => ({ id })), ...items]) data.named.set(job.id, job);
    }
  };
  /** What runs are compared by: the reader's choice, else what finds more. */
  const compareBy = () => filter.by || "auto";
  /** The last runs of the series, and what has changed since the one before. */
  const readSeries = async (signal) => {
    const { id, series } = data.regression;
    const { items } = series ? await env.api.read("series", { series }, signal) : { items: [] };
    const strip = items[0]?.runs ?? [];
    const isFirst = !strip.some((run) => run.id < id);
    const since = isFirst ? null : await env.api.read(path("/diff"), { limit: PAGE, by: compareBy() }, signal);
    Object.assign(data, { strip, since });
  };
  const readDiff = async (signal) => {
    const { series, number } = data.regression;
    const query = { series, limit: PAGE, tanked: 1 };
    const { items } = series ? await env.api.list("regressions", query, signal) : { items: [] };
    data.runs = { items };
    const isAlone = !filter.base && !items.some((run) => run.number < number);
    const { base, slower } = filter;
    const wanted = { base, slower, by: compareBy() };
    data.diff = isAlone ? NOTHING_BEFORE : await env.api.read(path("/diff"), wanted, signal);
  };
  const spanOfTime = () => ({ from: filter.from, to: filter.to });
  const pieces = createPieces(env, {
    regression: { gap: OBJECT_GAP_MS, read: readRegression },
    live: { gap: LIST_GAP_MS, read: readLive },
    seen: { gap: LIST_GAP_MS, read: readSeen },
    signatures: { gap: LIST_GAP_MS, read: readSignatures },
    jobs: { gap: LIST_GAP_MS, read: readJobs },
    series: { gap: SLOW_GAP_MS, read: readSeries },
    charts: { gap: SLOW_GAP_MS, read: readOne("charts", "/charts", () => ({})) },
    timeline: { gap: SLOW_GAP_MS, read: readOne("timeline", "/timeline", spanOfTime) },
    hosts: { gap: SLOW_GAP_MS, read: readOne("hosts", "/hosts", () => ({ limit: LONG_PAGE })) },
    diff: { gap: SLOW_GAP_MS, read: readDiff },
    history: { gap: LIST_GAP_MS, read: readHistory },
  });
  const ofTab = () => READ_BY_TAB[filter.tab] ?? READ_BY_TAB[""];
  const allOfView = () => ["series", ...(filter.tab ? [] : ["live"]), ...ofTab()];
  const shown = (names) => {
    const all = ["regression", ...allOfView()];
    return names.filter((name) => all.includes(name));
  };
  const isMissing = () => data.regression === null && pieces.problem(true)?.status === 404;

  return watchOf(env, data, pieces, {
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
    /** The live jobs that are in sight. */
    look: (ids) => (inSight = ids),
    more: (name) => lists[name].more(() => data[name], (next) => (data[name] = next)),
    filter(next) {
      const old = filter;
      ({ filter } = next);
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
        data.regression = { ...data.regression, last_activity_at: event.at };
        const isKnown = !event.job || data.live.apply(event);
        if (event.job && data.jobs) data.jobs = { ...data.jobs, items: patchRows(data.jobs.items, event) };
        const moved = movedBy(event, isKnown);
        pieces.want(shown(moved.length ? [...moved, ...SUMMARIES] : []));
      } else if (latest && event.type === "regression.started" && event.regression.startsWith(data.regression.series)) {
        pieces.want(["regression"]);
      }
    },
  });
}

/** What is made from the verdicts of all jobs. */
const SUMMARIES = ["series", "charts", "timeline", "hosts", "diff", "history"];

/** What has not been read yet. */
function nothingRead() {
  const names = ["signatures", "jobs", "strip", "since", "charts", "timeline", "hosts", "runs", "diff"];
  names.push("history", "deaths");
  return { ...Object.fromEntries(names.map((name) => [name, null])), named: new Map() };
}

/** All events of some kind, joined to those that are known; from the start where the server has forgotten the place. */
async function readEvents(env, query, known, signal) {
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

/** A history with what has been added behind what is known of it. */
async function readWholeHistory(env, path, known, signal) {
  const items = [...(known?.items ?? [])];
  for (;;) {
    const page = await env.api.read(path, { after: items.at(-1)?.seq, limit: LONG_PAGE }, signal);
    items.push(...page.items);
    if (!page.next || items.length >= HISTORY_MOST) return { items, next: page.next };
  }
}

// ------------------------------------------------------------------------------------------------ job

function watchJob(view, env, kept) {
  const data = kept ?? { job: null, history: null, earlier: null, log: null, files: null };
  const path = `jobs/${view.ref}`;
  const log = env.createLog(`${path}/logs`, env.changed);
  data.log = log.log;
  const pieces = createPieces(env, {
    job: {
      gap: OBJECT_GAP_MS,
      read: async (signal) => {
        data.job = readAt(await env.api.read(path, {}, signal), env.serverNow());
        pieces.want(["files"]);
      },
    },
    /** The files that the job declares, once more: only their own list tells which can be downloaded. */
    files: {
      gap: SLOW_GAP_MS,
      read: async (signal) => {
        const has = data.job?.files?.length > 0;
        data.files = has ? await env.api.list(`${path}/files`, { limit: FILES_MOST }, signal) : null;
      },
    },
    history: {
      gap: LIST_GAP_MS,
      read: async (signal) => (data.history = await readWholeHistory(env, `${path}/history`, data.history, signal)),
    },
    earlier: {
      gap: SLOW_GAP_MS,
      read: async (signal) => (data.earlier = await env.api.read(`${path}/earlier`, { limit: 20 }, signal)),
    },
    log: { gap: LIST_GAP_MS, read: log.open },
  });
  return watchOf(env, data, pieces, {
    stream: () => ({ job: view.ref }),
    refresh: () => pieces.want(["job", "history", "earlier", "log"]), // the job asks for its files
    pulse: () => data.job?.result === "live" && pieces.want(["job", "log"]),
    problem: () => pieces.problem(data.job === null),
    more() {},
    look() {},
    filter() {},
    pause() {
      log.close();
      pieces.pause();
    },
    resume() {
      pieces.resume();
      pieces.want(["log"]);
    },
    stop() {
      log.close();
      pieces.stop();
    },
    apply(event) {
      if (!data.job) return;
      const { job, wanted } = applyToJob(data.job, event);
      data.job = job;
      pieces.want(wanted);
    },
  });
}
