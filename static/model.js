/**
 * What the page knows and how it changes: pure functions, state in, new state out. No DOM, no clock
 * (`now` is an argument), no network. Objects are the API's own; times stay RFC 3339 text.
 */

import {
  NOTHING, clockTime, count, cut, duration, moment, parseTime, percent, plain, plural, rate, ticking, visible,
} from "./format.js";

// ------------------------------------------------------------------------------------------------ regressions

/** Jobs that have said anything at all. @param {object} counts */
export function known(counts) {
  return counts.pass + counts.fail + counts.skip + counts.live;
}

/** Jobs with a verdict. @param {object} counts */
export function done(counts) {
  return counts.pass + counts.fail + counts.skip;
}

/**
 * The progress bar in drawing order: `[{kind, n, word}]`, empty parts included, so that the bar has always the
 * same parts. `migrated` are the fails nobody reported: they were still live when the regression ended.
 * @param {object} regression
 */
export function barSegments(regression) {
  const { pass, fail, skip, live, migrated } = regression.counts;
  const missing = Math.max(0, (total(regression) ?? 0) - known(regression.counts));
  const seen = Math.min(migrated ?? 0, fail);
  return [
    { kind: "pass", n: pass, word: "pass" },
    { kind: "fail", n: fail - seen, word: "fail" },
    { kind: "migrated", n: seen, word: "cut off" },
    { kind: "skip", n: skip, word: "skip" },
    { kind: "live", n: live, word: "live" },
    { kind: "pending", n: missing, word: regression.status === "live" ? "to come" : "never seen" },
  ];
}

/** How many jobs there will be, null if nobody said. @param {object} regression */
export function total(regression) {
  return regression.progress?.total ?? (regression.submitted || null);
}

/** The bar as a sentence, for those who do not see it. @param {{n: number, word: string}[]} segments */
export function barLabel(segments) {
  const parts = segments.filter((segment) => segment.n > 0).map((segment) => `${count(segment.n)} ${segment.word}`);
  return parts.join(", ") || "no jobs yet";
}

/**
 * Done out of all: `{percent: "62 %", words: "1,240 of 2,000 jobs"}`; `7 done` without a known total.
 * @param {object} regression
 */
export function progressOf(regression) {
  const finished = done(regression.counts);
  const whole = total(regression);
  if (!whole) return { percent: `${count(finished)} done`, words: `${plural(finished, "job")} done` };
  const all = Math.max(whole, known(regression.counts));
  return { percent: percent(finished, all), words: `${count(finished)} of ${plural(all, "job")}` };
}

/**
 * Passed out of passed and failed, as a fraction; null before the first verdict. Counted here, since the server's
 * figure is rounded, and one fail in 30,000 is not 100 %.
 * @param {object} regression
 */
export function passRate({ counts }) {
  return counts.pass + counts.fail ? counts.pass / (counts.pass + counts.fail) : null;
}

/**
 * An object as read at a moment. The server says how long a thing has been running; from then on it is counted here,
 * so that no publisher's clock takes part.
 * @param {object} object
 * @param {number} now
 */
export function readAt(object, now) {
  return { ...object, read_at: now };
}

function elapsedSince(object, now) {
  const { elapsed_ms: elapsed, read_at: read } = object;
  return elapsed === null || elapsed === undefined ? null : elapsed + Math.max(0, now - read);
}

/**
 * Since when a regression has been running: its publisher's word, `since 13:04:12`; where the server, whose clock tells
 * how long, heard of it later, or earlier, that: `first heard of 13:45:00`.
 * @param {object} regression
 * @param {number} now
 */
export function sinceWords(regression, now) {
  const heard = heardApart(regression, now);
  return heard === null ? `since ${moment(regression.started_at, now)}` : `first heard of ${moment(heard, now)}`;
}

/**
 * When the server first heard of a regression, if that is not when its publisher says that it began; else null.
 * @param {object} regression
 * @param {number} now
 */
export function heardApart(regression, now) {
  const heard = (parseTime(regression.finished_at) ?? now) - regressionElapsed(regression, now);
  return Math.abs(heard - parseTime(regression.started_at)) > HEARD_APART_MS ? heard : null;
}

const HEARD_APART_MS = 60_000;

/** How long a regression took, or has been running. @param {object} regression @param {number} now */
export function regressionElapsed(regression, now) {
  return regression.status === "live" ? elapsedSince(regression, now) : regression.elapsed_ms ?? null;
}

const BASES = {
  rate: "from the present rate",
  history: "from earlier runs",
  "rate+history": "from the present rate and earlier runs",
};

/**
 * An estimate, said no more precisely than it is known: `{short: "≈ 14 min", long: "13:35 to 13:58, from …"}`. One
 * that has passed is not counted down any further: it says that it was wrong. A run that is stalled has none.
 * @param {object} regression
 * @param {number} now
 */
export function etaWords(regression, now) {
  if (regression.status !== "live") return { short: "", long: "" };
  const { eta, stalled_since: stalled } = regression;
  const at = parseTime(eta?.at ?? regression.eta_at);
  const isStalled = stalled && stalled === regression.last_activity_at;
  if (isStalled) return { short: "stalled", long: `nothing heard since ${dayTime(parseTime(stalled), now)}` };
  if (at === null) return { short: NOTHING, long: "not yet known" };
  const left = at - now;
  const long = [boundsWords(eta, at, now), BASES[eta?.basis]].filter(Boolean).join(", ");
  if (left < -OVERDUE_MS) return { short: "overdue", long: `expected ${dayTime(at, now)}; ${BASES[eta?.basis] ?? ""}` };
  return { short: left < SOON_MS ? "any moment" : `≈ ${roughly(left)}`, long };
}

const SOON_MS = 5000;
const OVERDUE_MS = 15_000;

function boundsWords(eta, at, now) {
  const low = parseTime(eta?.low);
  const high = parseTime(eta?.high);
  if (low === null || high === null) return `about ${dayTime(at, now)}`;
  const [from, to] = [Math.max(low, now), high].map((time) => dayTime(time, now));
  return from === to ? `about ${from}` : `${from} to ${to}`;
}

/** `13:35`, or with the day where it is another one. */
function dayTime(ms, now) {
  const words = moment(ms, now);
  return words === clockTime(ms) ? words.slice(0, 5) : words;
}

function roughly(ms) {
  const minutes = ms / 60_000;
  const round = (step) => Math.max(step, Math.round(minutes / step) * step);
  if (minutes < 0.75) return minutes < 1 / 3 ? "10 s" : "30 s";
  if (minutes < 1.5) return "1 min";
  if (minutes < 20) return `${round(1)} min`;
  if (minutes < 58) return `${round(5)} min`;
  const rounded = minutes < 300 ? round(10) : round(60);
  if (rounded >= 48 * 60) return `${Math.round(rounded / 1440)} days`;
  return rounded % 60 ? `${Math.floor(rounded / 60)} h ${rounded % 60} min` : `${rounded / 60} h`;
}

const REGRESSION_ENDS = {
  finish: "it was finished",
  timeout: "no message came for too long",
  "time-limit": "its time limit was reached",
};

/**
 * Why a regression stands where it stands, as one sentence.
 * @param {object} regression
 */
export function statusSentence(regression) {
  const { status, reason, counts } = regression;
  if (status === "tanked") return reason ? `tanked by hand: ${reason}` : "tanked by hand";
  const end = REGRESSION_ENDS[reason] ?? reason ?? "";
  if (status === "live") return liveSentence(regression);
  if (status === "complete") return end && reason !== "finish" ? `all jobs reported; ${end}` : "all jobs reported";
  return [end, lossWords(regression)].filter(Boolean).join("; ");
}

function liveSentence(regression) {
  const { counts } = regression;
  if (counts.live) return `${plural(counts.live, "job")} live`;
  const isAll = total(regression) !== null && done(counts) >= total(regression);
  return isAll ? "all submitted jobs have reported; waiting for the finish" : "waiting for jobs";
}

/**
 * The same for a narrow column: nothing where all is well.
 * @param {object} regression
 * @param {number} now
 */
export function shortReason(regression, now) {
  const { status, reason } = regression;
  if (status === "tanked") return reason ?? "";
  if (status === "live") return alarmWords(regression, now);
  if (status === "complete") return "";
  const ended = { timeout: "timed out", "time-limit": "time limit" }[reason];
  return [ended, lossWords(regression).replace(/ jobs?/, "")].filter(Boolean).join("; ");
}

/** A live run of which nothing was heard for so long may be stuck. */
const SILENT_MS = 10 * 60_000;

/** What to look at in a live run, in lines: `silent 24 min`, `3 slow jobs`, `2 new signatures`. */
function alarmWords({ last_activity_at: heard, new_signatures: fresh, slow }, now) {
  const silence = now - (parseTime(heard) ?? now);
  const silent = silence >= SILENT_MS ? `silent ${inOneUnit(silence)}` : "";
  return [silent, slow ? plural(slow, "slow job") : "", fresh ? plural(fresh, "new signature") : ""].filter(Boolean).join("\n");
}

function inOneUnit(ms) {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes} min`;
  return minutes < 48 * 60 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 1440)} days`;
}

function lossWords(regression) {
  const parts = barSegments(regression);
  const of = (kind) => parts.find((part) => part.kind === kind).n;
  return [
    of("migrated") && `${plural(of("migrated"), "job")} cut off`,
    of("live") && `${count(of("live"))} still live`,
    of("pending") && `${count(of("pending"))} never seen`,
  ].filter(Boolean).join(", ");
}

/**
 * LIVE first, then the newest: the server's own order, kept while single rows change.
 * @param {object[]} items
 */
export function sortRegressions(items) {
  const live = (item) => (item.status === "live" ? 0 : 1);
  return [...items].sort((a, b) => live(a) - live(b) || b.id - a.id);
}

/**
 * Does a regression that has changed still belong in a list filtered like this? Text search is left to the server.
 * @param {object} regression
 * @param {object} filter
 */
export function belongs(regression, filter) {
  if (filter.status && regression.status !== filter.status) return false;
  return regression.status !== "tanked" || filter.tanked === "1" || filter.status === "tanked";
}

/**
 * A run of a strip in words: `complete, 196 of 200 passed (98.0 %)`.
 * @param {object} run
 */
export function runWords(run) {
  const judged = run.pass + run.fail;
  const figures = judged ? `${count(run.pass)} of ${count(judged)} passed (${rate(run.pass / judged)})` : "no verdict";
  return `${run.status}, ${figures}`;
}

/** The comparison of a run that has no run before it. */
export const NOTHING_BEFORE = Object.freeze({ counts: null });

/** Of a comparison's kinds those that nothing can be said of before a run is over: what has not come may come yet. */
export const KNOWN_AT_END = Object.freeze(["fixed_signatures", "fixed", "missing"]);

/**
 * What has changed since the run before, in parts that a reader can follow up: `[{text, what}]`, the worst first.
 * A signature that the run before did not have may be an old one.
 * @param {object|null} since answer of a diff: `{base, counts}`
 * @param {boolean} isLive whether the newer run is
 */
export function sinceParts(since, isLive) {
  const { base, counts } = since ?? {};
  if (!counts) return [];
  const text = (what, word) => plural(counts[what], word) + (what === "new_signatures" ? ` not in ${isolated(base)}` : "");
  const told = [
    ["new_signatures", "signature"], ["fixed_signatures", "fixed signature"],
    ["newly_failing", "newly failing test"], ["fixed", "fixed test"], ["slower", "slower test"],
    ["faster", "faster test"], ["missing", "missing test"], ["added", "added test"],
  ];
  return told.filter(([what]) => counts[what] > 0 && !(isLive && KNOWN_AT_END.includes(what)))
    .map(([what, word]) => ({ text: text(what, word), what }));
}

// ------------------------------------------------------------------------------------------------ hosts

/**
 * The domain that several hosts have in common: of `n1.lab.example` and `n2.lab.example` it is `.lab.example`; else "".
 * @param {Iterable<string|null>} hosts
 */
export function commonDomain(hosts) {
  const named = [...new Set(hosts)].filter(Boolean);
  const domains = new Set(named.map((host) => host.replace(/^[^.]*/, "")));
  const [domain] = domains;
  return named.length > 1 && domains.size === 1 && /[a-z]/i.test(domain) ? domain : "";
}

/** A host without that domain. @param {string|null|undefined} host @param {string} domain */
export function shortHost(host, domain) {
  return domain && host?.endsWith(domain) ? host.slice(0, -domain.length) : host ?? "";
}

// ------------------------------------------------------------------------------------------------ jobs

const TITLE_CHARS = 300;

/** What a job is called on the page; a name of blanks is none. @param {object} job */
export function jobTitle(job) {
  const names = [job.name, job.config, job.uniqueid].map((name) => name?.trim());
  return cut(names.find(Boolean) ?? `job ${job.id}`, TITLE_CHARS);
}

/** `seed 7`, unless the job's name says it already. @param {object} job */
export function seedWords(job) {
  return job.seed && !jobTitle(job).includes(job.seed) ? `seed ${job.seed}` : "";
}

/**
 * How long a job has been running by the server's clock, or took.
 * @param {object} job
 * @param {number} now
 */
export function jobElapsed(job, now) {
  return job.result === "live" ? elapsedSince(job, now) : job.runtime_ms ?? job.elapsed_ms ?? null;
}

/**
 * The same as text; a job that waits says so, and of one that nobody reported the least it took.
 * @param {object} job
 * @param {number} now
 */
export function elapsedWords(job, now) {
  const least = leastElapsed(job);
  if (least !== null) return `> ${duration(least)}`;
  if (job.result !== "live") return duration(jobElapsed(job, now));
  return job.started_at ? ticking(jobElapsed(job, now)) : `waiting ${ticking(jobElapsed(job, now))}`;
}

/** From start to end by the server's clock, of a job that ended without a report; else null. */
function leastElapsed({ result, reason, runtime_ms: runtime, started_at: started, finished_at: finished }) {
  if (result === "live" || !reason || isTold(runtime) || parseTime(started) === null) return null;
  return Math.max(0, parseTime(finished) - parseTime(started));
}

/** What is due by the daemon's clock may lie so far from what times of day say. */
const CLOCK_SLACK_MS = 2000;

/**
 * What becomes of a live job if nothing comes: it reaches its time limit, which counts from its start, or, where that
 * is sooner, is given up for want of news.
 * @param {object} job
 * @param {number} now
 */
export function dueWords(job, now) {
  const due = parseTime(job.due_at);
  if (due === null || job.result !== "live") return "";
  const started = parseTime(job.started_at);
  const limit = job.time_limit_ms && started !== null ? started + job.time_limit_ms : Infinity;
  return due >= limit - CLOCK_SLACK_MS ? `time limit ${moment(due, now)}` : `given up ${moment(due, now)} without news`;
}

/**
 * A job's own progress: `{fraction: 0.45|null, words: "450 of 1,000 tests, 12/s"}`, null if it tells none.
 * @param {object|null|undefined} progress
 */
export function jobProgress(progress) {
  if (!progress) return null;
  const { done: made, total: whole, unit, rate, note } = progress;
  const fraction = whole > 0 && isTold(made) ? Math.min(1, Math.max(0, made / whole)) : null;
  const figure = isTold(made) ? (whole ? `${number(made)} of ${number(whole)}` : number(made)) : "";
  const speed = isTold(rate) ? `${number(rate)}/s` : "";
  return { fraction, words: [[figure, unit].filter(Boolean).join(" "), speed, note].filter(Boolean).join(", ") };
}

function number(value) {
  return typeof value === "number" ? count(value) : String(value);
}

const JOB_REASONS = {
  missing: "It was still running when the regression ended, and never reported. A late result still replaces this.",
  timeout: "The regression timed out while it ran. A late result still replaces this.",
  "time-limit": "It ran into its own time limit.",
  tanked: "Tanked by hand.",
  killed: "Killed on request.",
  stopped: "Stopped on purpose.",
};

/**
 * What to type to run a job again, as its publisher has said it; null if he has not.
 * @param {object|null|undefined} job
 */
export function rerunLine(job) {
  const said = job?.extra?.rerun ?? Object.fromEntries(job?.metadata ?? []).rerun;
  return typeof said === "string" && said ? said : job?.config || null;
}

const CUT_OFF = ["migrated", "cut off"];
const UNREPORTED = { missing: CUT_OFF, timeout: CUT_OFF, "time-limit": ["limit", "time limit"] };

/**
 * How a job stands, as `[kind, word]` of its chip: its result, or why it counts as fail without a report.
 * @param {object} job
 */
export function outcomeOf({ result, reason }) {
  return (result === "fail" && UNREPORTED[reason]) || [result, result];
}

/** `since 3 Nov, nightly/38`. @param {object} signature @param {number} now */
export function signatureSince(signature, now) {
  const first = signature.first_regression?.name;
  return [`since ${moment(signature.first_seen_at, now)}`, first].filter(Boolean).join(", ");
}

/** Why a job ended as it did; unknown words are shown as they came. @param {string|null} reason */
export function reasonSentence(reason) {
  return reason ? JOB_REASONS[reason] ?? reason : "";
}

/**
 * Which results a table of jobs shows: the reader's choice, else `done` while there are live jobs, which have a table
 * of their own, and then `all`.
 * @param {string} chosen
 * @param {object|undefined} counts
 */
export function resultsShown(chosen, counts) {
  return chosen || (counts?.live ? "done" : "all");
}

// ------------------------------------------------------------------------------------------------ lists

/**
 * A re-read head of a list joined with the rows below it that had been loaded before, so that "load more" is not
 * undone by news. `{items, next}` in, the same out. If so much is new that the two no longer meet, the rows below go:
 * better a shorter list than one with a hole.
 * @param {{items: object[], next: string|null}} old
 * @param {{items: object[], next: string|null}} head
 */
export function mergeHead(old, head) {
  if (!head.next) return head;
  const fresh = new Set(head.items.map((item) => item.id));
  const seam = old.items.findIndex((item) => item.id === head.items.at(-1)?.id);
  const tail = seam < 0 ? [] : old.items.slice(seam + 1).filter((item) => !fresh.has(item.id));
  return tail.length ? { items: [...head.items, ...tail], next: old.next } : head;
}

/** A further page added below. @param {{items: object[]}} old @param {{items: object[], next: string|null}} page */
export function appendPage(old, page) {
  const present = new Set(old.items.map((item) => item.id));
  return { items: [...old.items, ...page.items.filter((item) => !present.has(item.id))], next: page.next };
}

/**
 * A list as read, but for rows that an event has meanwhile told more of: the answer was under way then.
 * @param {{items: object[]}|null} old
 * @param {{items: object[], next: string|null}} read
 */
export function keepNewer(old, read) {
  const known = new Map((old?.items ?? []).map((item) => [item.id, item]));
  const newer = (item) => (known.get(item.id)?.version > item.version ? known.get(item.id) : item);
  return { ...read, items: read.items.map(newer) };
}

/** A list with one item replaced where it stands. @param {object[]} items @param {object} item */
export function replaceItem(items, item) {
  return items.map((old) => (old.id === item.id ? item : old));
}

/**
 * Which rows of a table can stay where they are when their order becomes `positions` (the old place of each row in
 * the new order, -1 for a new one): the longest run that is already in order, so that the fewest rows move, since
 * a moved row loses focus and selection.
 * @param {number[]} positions
 * @returns {Set<number>} indices into `positions`
 */
export function stayInPlace(positions) {
  const ends = []; // ends[n]: index of the smallest last element of an ordered run of length n + 1
  const before = new Array(positions.length).fill(-1);
  positions.forEach((position, index) => {
    if (position < 0) return;
    let low = 0;
    let high = ends.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (positions[ends[middle]] < position) low = middle + 1;
      else high = middle;
    }
    before[index] = low ? ends[low - 1] : -1;
    ends[low] = index;
  });
  const staying = new Set();
  for (let index = ends.at(-1) ?? -1; index >= 0; index = before[index]) staying.add(index);
  return staying;
}

// ------------------------------------------------------------------------------------------------ events

/** Types that change what a regression's figures say. */
const VERDICTS = new Set(["job.passed", "job.failed", "job.skipped", "job.timed_out", "job.missing", "job.tanked",
  "job.corrected"]);

/** What an event tells of a job, as fields of the job object. */
const TOLD = ["result", "reason", "phase", "progress", "host", "name", "due_at"];

/** Fields that a change tells whole; longer texts come cut, and are read again. */
const CHANGED = ["host", "name", "phase", "seed", "category", "build", "testgroup", "started_at", "time_limit_ms"];

/**
 * A job after an event: told fields replaced, a sign of life noted. An event older than the job is ignored.
 * @param {object} job
 * @param {object} event
 */
export function patchJob(job, event) {
  if (job.id !== event.job || (job.version ?? 0) >= event.seq) return job;
  const patch = { version: event.seq, last_seen_at: event.at };
  const { changed = {}, ...data } = event.data ?? {};
  for (const field of CHANGED) if (Array.isArray(changed[field])) patch[field] = changed[field][1];
  for (const field of TOLD) if (data[field] !== undefined) patch[field] = data[field];
  if (patch.started_at) Object.assign(patch, { elapsed_ms: 0, read_at: parseTime(patch.started_at) });
  return { ...job, ...patch };
}

/**
 * The list of regressions after an event: the state with what can be known at once, and what must be read again:
 * the id of a known regression, `"list"` if the row is not there, or nothing.
 * @param {object[]} items
 * @param {object} event
 * @returns {{items: object[], wanted: number|"list"|null}}
 */
export function applyToOverview(items, event) {
  if (!event.regression_id) return { items, wanted: null };
  if (!items.some((item) => item.id === event.regression_id)) {
    return { items, wanted: event.type === "job.updated" ? null : "list" };
  }
  return { items: touch(items, event), wanted: event.type === "job.updated" ? null : event.regression_id };
}

function touch(items, event) {
  return items.map((item) => (item.id === event.regression_id ? { ...item, last_activity_at: event.at } : item));
}

/**
 * What an event moves on a regression's page: names of what must be read again. The live jobs and the rows that are
 * there have been patched; `isKnown` says whether the job was among the live ones or has ended.
 * @param {object} event
 * @param {boolean} isKnown
 */
export function movedBy(event, isKnown) {
  if (!event.job) return regressionNews(event);
  if (event.type === "job.revived") return ["regression", "live", "signatures", "jobs"];
  if (VERDICTS.has(event.type)) return ["regression", "signatures", "jobs"];
  if (event.type === "job.live") return ["regression", "jobs"];
  if (event.type === "job.pruned") return ["regression", "jobs"];
  if ((event.data?.result ?? "live") !== "live") return ["jobs"];
  return isKnown ? [] : ["regression"];
}

function regressionNews(event) {
  const isSmall = event.type === "regression.updated" || event.type === "regression.first_failure";
  return isSmall ? ["regression"] : ["regression", "live", "signatures", "jobs"];
}

/**
 * Rows of a table of jobs after an event; the same array if none is touched.
 * @param {object[]} items
 * @param {object} event
 */
export function patchRows(items, event) {
  const place = items.findIndex((job) => job.id === event.job);
  if (place < 0) return items;
  const job = patchJob(items[place], event);
  if (job === items[place]) return items;
  const patched = [...items];
  if (event.type === "job.pruned") patched.splice(place, 1);
  else patched[place] = job;
  return patched;
}

/**
 * A job's page after an event.
 * @param {object} job
 * @param {object} event
 * @returns {{job: object, wanted: string[]}} what must be read again: job, history
 */
export function applyToJob(job, event) {
  if (event.job !== job.id) return { job, wanted: [] };
  return { job: patchJob(job, event), wanted: ["job", "history"] };
}

// ------------------------------------------------------------------------------------------------ words

/**
 * The title of the browser's tab: what one wants to know without opening it.
 * @param {object} view
 * @param {object} state
 */
export function titleOf(view, state) {
  if (view.kind === "regression" && state.regression) return regressionTitle(state.regression);
  if (view.kind === "job" && state.job) {
    return [jobWord(state.job), isolated(jobTitle(state.job)), isolated(state.job.regression)].join(" · ");
  }
  if (view.kind === "overview" && state.list) return overviewTitle(state.list.items);
  return "simscoped";
}

function regressionTitle(regression) {
  const isCounted = regression.status === "live" && total(regression) !== null;
  const first = isCounted ? progressOf(regression).percent : regression.status;
  const fails = regression.counts.fail && plural(regression.counts.fail, "fail");
  return [first, fails, isolated(regression.name)].filter(Boolean).join(" · ");
}

/** A name that may run right to left, kept from turning round the words beside it. */
function isolated(name) {
  const shown = visible(name);
  return /[\u0590-\u08ff\ufb1d-\ufefc]/.test(shown) ? `\u2068${shown}\u2069` : shown;
}

function jobWord(job) {
  const fraction = job.result === "live" ? jobProgress(job.progress)?.fraction : null;
  return fraction === null || fraction === undefined ? job.result : percent(fraction, 1);
}

function overviewTitle(items) {
  const live = items.filter((item) => item.status === "live").length;
  return live ? `${live} live · simscoped` : "simscoped";
}

/** What the small picture of the tab is filled with, and the sign on it. */
const ICON_COLOURS = { pass: "#23834f", fail: "#c22f1f", live: "#2a6bd0", tanked: "#747e8d" };

const ICON_SIGNS = {
  pass: "M4 8l3 3 5-6", fail: "M5 5l6 6M11 5l-6 6", aborted: "M8 4v5M8 11v1", tanked: "M4 8h8",
};

function iconKind({ status, counts }) {
  if (status === "tanked") return "tanked";
  if (counts.fail) return "fail";
  return status === "live" ? "live" : "pass";
}

/**
 * The favicon of an open run as a `data:` address: filled as far as it has come, red with the first fail, with a sign
 * for its end. Null where no run is open.
 * @param {object} view
 * @param {object} state
 */
export function faviconOf(view, state) {
  const { regression } = state;
  if (view.kind !== "regression" || !regression) return null;
  const whole = total(regression);
  const share = regression.status !== "live" ? 1 : whole ? Math.min(1, done(regression.counts) / whole) : 0.5;
  const kind = iconKind(regression);
  const height = Math.round(16 * share);
  const sign = { complete: ICON_SIGNS[kind], aborted: ICON_SIGNS.aborted, tanked: ICON_SIGNS.tanked }[regression.status];
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">`
    + `<rect width="16" height="16" rx="3.5" fill="#1d2a3f"/><clipPath id="c"><rect width="16" height="16" rx="3.5"/></clipPath>`
    + `<rect clip-path="url(#c)" y="${16 - height}" width="16" height="${height}" fill="${ICON_COLOURS[kind]}"/>`
    + (sign ? `<path d="${sign}" fill="none" stroke="#fff" stroke-width="2"/>` : "") + "</svg>";
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}

/**
 * What is known of a job beyond the figures on top, as `[label, text]` pairs, unknown fields last.
 * @param {object} job
 */
export function jobFacts(job) {
  const pairs = [
    ["Category", job.category], ["Unique id", job.uniqueid], ["Build", job.build], ["Test group", job.testgroup],
    ["Config", rerunLine(job) === job.config ? null : job.config], // else it is the command
    ["User", job.extra?.username],
    ["Exit code", job.exit_code], ["Cycles", isTold(job.cycles) ? count(job.cycles) : null],
    ["Compute time", isTold(job.compute_ms) ? duration(job.compute_ms) : null],
    ["Cycles per second", job.cycles_per_s ? count(Math.round(job.cycles_per_s)) : null],
    ["Time limit", job.time_limit_ms ? duration(job.time_limit_ms) : null],
  ];
  return pairs.filter(([, value]) => isTold(value)).map(([label, value]) => [label, String(value)]);
}

function isTold(value) {
  return value !== null && value !== undefined && value !== "";
}

const FIELD_WORDS = {
  model_timestamp: "Version time", queue: "Queue", group: "Group", dir: "Directory", integrate: "Integrate",
  changelist_path: "Changelist", command: "Command", starttime: "Start (publisher)", time_limit_hours: "Time limit",
  pending: "Pending",
};

/** Fields that the page shows elsewhere. */
const SHOWN_ELSEWHERE = new Set(["name", "component", "project", "model_branch", "tag", "submitted", "running",
  "custom_metadata", "model_version", "host", "username"]);

/** Fields that are times. */
const TIMES = new Set(["model_timestamp", "starttime"]);

/**
 * What is known of a regression beyond the figures on top, as `[label, text]` pairs, unknown fields last.
 * @param {object} regression
 * @param {number} now
 */
export function regressionFacts(regression, now) {
  const fields = regression.fields ?? {};
  const first = [["Component", regression.component], ["Project", regression.project], ["Branch", regression.branch],
    ["Version", fields.model_version], ["Host", fields.host], ["Tag", regression.tag], ["User", fields.username],
    ["Compute", computeWords(regression.stats)]];
  const rest = Object.entries(fields)
    .filter(([key, value]) => !SHOWN_ELSEWHERE.has(key) && !(TIMES.has(key) && parseTime(value) === null))
    .filter(([key]) => key !== "starttime" || heardApart(regression, now) !== null)
    .sort(([a], [b]) => Number(!(a in FIELD_WORDS)) - Number(!(b in FIELD_WORDS)))
    .map(([key, value]) => [FIELD_WORDS[key] ?? key, fieldWords(key, value, now)]);
  return [...first, ...rest].filter(([, value]) => isTold(value))
    .map(([label, value]) => [label, typeof value === "object" ? JSON.stringify(value) : String(value)]);
}

function fieldWords(key, value, now) {
  if (TIMES.has(key)) return moment(value, now);
  return key === "time_limit_hours" ? `${value} h` : value;
}

/** Compute time and speed of all jobs together, null before any is known. */
function computeWords(stats) {
  const { compute_ms: compute, cycles_per_s: speed } = stats ?? {};
  if (!compute) return null;
  return duration(compute) + (speed ? `, ${count(Math.round(speed))} cycles/s` : "");
}

const HISTORY_WORDS = {
  "regression.started": "started", "regression.updated": "fields updated", "regression.finished": "finished",
  "regression.timed_out": "timed out", "regression.reopened": "reopened", "regression.tanked": "tanked",
  "regression.untanked": "taken back", "regression.first_failure": "first failure",
  "job.live": "started", "job.updated": "update", "job.passed": "passed", "job.failed": "failed",
  "job.skipped": "skipped", "job.timed_out": "time limit reached", "job.missing": "given up as missing",
  "job.tanked": "tanked", "job.corrected": "corrected by a late result", "job.revived": "back to live",
  "job.extended": "time limit moved", "job.pruned": "pruned",
};

/** An entry of a history in words. @param {object} entry */
export function historyWord({ type, progress }) {
  if (type === "regression.updated" && progress) return `${plural(progress.running, "job")} running (publisher)`;
  return HISTORY_WORDS[type] ?? type;
}

/** Who has made an entry: of a file of the spool it is enough that it was one. @param {string|null} by */
export function makerOf(by) {
  return by ? `by ${by.replace(/^spool:.*/s, "spool")}` : "";
}

/** Of the same thing happening to many jobs at once, so many are shown. */
const ALIKE_SHOWN = 3;

/**
 * The history of a run: its own entries and what happened to its jobs, oldest first. Where the same happened to many
 * jobs one after the other, the first few stand for all: the last of these says in `more` how many are not shown.
 * @param {object[]} own entries of its history
 * @param {object[]} events of its jobs
 */
export function storyOf(own, events) {
  const told = events.map(({ seq, at, type, job, data }) => ({ seq, created: at, type, job, ...data }));
  const story = [];
  let alike = 0;
  for (const entry of [...own, ...told].sort((a, b) => a.seq - b.seq)) {
    const before = story.at(-1);
    alike = entry.job && before?.type === entry.type ? alike + 1 : 0;
    if (alike < ALIKE_SHOWN) story.push(entry);
    else story[story.length - 1] = { ...before, more: alike - ALIKE_SHOWN + 1 };
  }
  return story;
}

/**
 * The changed values of a history entry, one text each; progress has its own words.
 * @param {object|undefined} changed
 * @param {number} now
 */
export function changedWords(changed, now) {
  return Object.entries(changed ?? {}).filter(([field]) => field !== "progress").map(([field, value]) => {
    const isPair = Array.isArray(value) && value.length === 2;
    const told = isPair ? value.slice(isTold(value[0]) ? 0 : 1) : [value];
    const words = told.map((each) => changedValue(field, each, now));
    return `${field}: ${words.join(" → ")}`;
  });
}

/** Text of the server with its times as they are shown everywhere else. @param {string} text @param {number} now */
export function localTimes(text, now) {
  return text.replace(/\b\d{4}-\d\d-\d\dT[\d:.]+Z/g, (time) => (parseTime(time) === null ? time : moment(time, now)));
}

/** Times and durations as everywhere else, files by their names, anything else as JSON has it. */
function changedValue(field, value, now) {
  if (!isTold(value)) return NOTHING;
  if (/^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(value)) return moment(value, now);
  if (field.endsWith("_ms") && typeof value === "number") return duration(value);
  if (Array.isArray(value) && value.some((file) => file?.name)) return value.map((file) => file?.name).join(", ");
  return plain(value);
}

/**
 * Two commands that publish a first job: `{curl, spool}`. A server that ignores live jobs is shown a finished one.
 * @param {string} base address of this server, ending in `/`
 * @param {{live_enabled?: boolean, token_required?: boolean}} meta
 */
export function teachCommands(base, meta) {
  const result = meta.live_enabled === false ? "pass" : "live";
  const job = JSON.stringify({ category: "sim", uniqueid: "1", result, name: "hello" });
  const type = result === "live" ? "job-live" : "job-finish";
  const token = meta.token_required ? " \\\n  -H \"Authorization: Bearer $SIMSCOPE_TOKEN\"" : "";
  return {
    curl: `curl -X POST '${base}api/v1/publish/${type}?regression=demo/1'${token} \\\n`
      + `  -H 'Content-Type: application/json' \\\n  -d '${job}'`,
    spool: `mkdir -p var/spool/demo/1\necho '${job}' > var/spool/demo/1/job-1.json`,
  };
}

/**
 * What went wrong with a request, as a sentence for the reader.
 * @param {{status?: number, title?: string, detail?: string, reason?: string}} problem
 */
export function problemSentence(problem) {
  if (!problem.status) return "The server did not answer.";
  const said = problem.detail || problem.title || `The server answered ${problem.status}.`;
  return /[.!?]$/.test(said) ? said : `${said}.`;
}
