// @ts-check
/**
 * A job in words: its title, its host, how long it ran, what is due, its progress, its outcome. In: a job as the API
 * gives it, and `now` in milliseconds since 1970. Out: words. Pure.
 */

/** @import {Counts, Job, NamedJob, Progress, Signature} from "./types.js" */

import { count, cut, duration, isTold, moment, parseTime, ticking } from "./format.js";
import { elapsedSince } from "./model-times.js";

/**
 * The domain that several hosts have in common: of `n1.lab.example` and `n2.lab.example` it is `.lab.example`; else "".
 * @param {Iterable<string|null>} hosts
 */
export function commonDomain(hosts) {
  const named = /** @type {string[]} */ ([...new Set(hosts)].filter(Boolean));
  const domains = new Set(named.map((host) => host.replace(/^[^.]*/, "")));
  const [domain] = domains;
  return named.length > 1 && domains.size === 1 && /[a-z]/i.test(domain) ? domain : "";
}

/** A host without that domain. @param {string|null|undefined} host @param {string} domain */
export function shortHost(host, domain) {
  return domain && host?.endsWith(domain) ? host.slice(0, -domain.length) : host ?? "";
}

/** @typedef {Pick<Partial<Job>, "config"|"metadata"|"extra">} Rerun what a job says of how to run it again */

const TITLE_CHARS = 300;

/** What a job is called on the page; a name of blanks is none. @param {NamedJob} job */
export function jobTitle(job) {
  const names = [job.name, job.config, job.uniqueid].map((name) => name?.trim());
  return cut(names.find(Boolean) ?? `job ${job.id}`, TITLE_CHARS);
}

/** `seed 7`, unless the job's name says it already. @param {NamedJob} job */
export function seedWords(job) {
  return job.seed && !jobTitle(job).includes(job.seed) ? `seed ${job.seed}` : "";
}

/** How long a job has been running by the server's clock, or took. @param {NamedJob} job @param {number} now */
export function jobElapsed(job, now) {
  return job.result === "live" ? elapsedSince(job, now) : job.runtime_ms ?? job.elapsed_ms ?? null;
}

/**
 * The same as text; a job that waits says so, and of one that nobody reported the least it took.
 * @param {NamedJob} job
 * @param {number} now
 */
export function elapsedWords(job, now) {
  const least = leastElapsed(job);
  if (least !== null) return `> ${duration(least)}`;
  if (job.result !== "live") return duration(jobElapsed(job, now));
  return job.started_at ? ticking(jobElapsed(job, now)) : `waiting ${ticking(jobElapsed(job, now))}`;
}

/** From start to end by the server's clock, of a job that ended without a report; else null. @param {NamedJob} given */
function leastElapsed({ result, reason, runtime_ms: runtime, started_at: started, finished_at: finished }) {
  if (result === "live" || !reason || isTold(runtime) || parseTime(started) === null) return null;
  return Math.max(0, (parseTime(finished) ?? 0) - (parseTime(started) ?? 0));
}

/** What is due by the daemon's clock may lie so far from what times of day say. */
const CLOCK_SLACK_MS = 2000;

/**
 * What becomes of a live job if nothing comes: it reaches its time limit, which counts from its start, or, where that
 * is sooner, is given up for want of news.
 * @param {NamedJob} job
 * @param {number} now
 */
export function dueWords(job, now) {
  const due = parseTime(job.due_at);
  if (due === null || job.result !== "live") return "";
  const started = parseTime(job.started_at);
  const limit = job.time_limit_ms && started !== null ? started + job.time_limit_ms : Infinity;
  if (due >= limit - CLOCK_SLACK_MS) return `time limit ${moment(due, now)}`;
  return `given up at ${moment(due, now)} without a message`;
}

/**
 * A job's own progress: `{fraction: 0.45|null, words: "450 of 1,000 tests, 12/s"}`, null if it tells none.
 * @param {Progress|null|undefined} progress
 */
export function jobProgress(progress) {
  if (!progress) return null;
  const { done: made, total: whole, unit, rate, note } = progress;
  const fraction = whole && made !== undefined && whole > 0 && isTold(made) ? Math.min(1, Math.max(0, made / whole)) : null;
  const figure = isTold(made) ? (whole ? `${number(made)} of ${number(whole)}` : number(made)) : "";
  const speed = isTold(rate) ? `${number(rate)}/s` : "";
  return { fraction, words: [[figure, unit].filter(Boolean).join(" "), speed, note].filter(Boolean).join(", ") };
}

/** @param {unknown} value */
function number(value) {
  return typeof value === "number" ? count(value) : String(value);
}

/** @type {Object<string, string>} */
const JOB_REASONS = {
  missing: "It was still running when the regression ended, and never reported. A late result still replaces this.",
  timeout: "The regression timed out while it ran. A late result still replaces this.",
  "time-limit": "It reached its time limit.",
  tanked: "Tanked by hand.",
  killed: "Killed on request.",
  stopped: "Stopped on purpose.",
};

/**
 * What to type to run a job again, as its publisher has said it; null if he has not.
 * @param {Rerun|null|undefined} job
 */
export function rerunLine(job) {
  const said = job?.extra?.rerun ?? Object.fromEntries(job?.metadata ?? []).rerun;
  return typeof said === "string" && said ? said : job?.config || null;
}

/** @type {[string, string]} */
const CUT_OFF = ["migrated", "cut off"];
/** @type {Object<string, [string, string]>} */
const UNREPORTED = { missing: CUT_OFF, timeout: CUT_OFF, "time-limit": ["limit", "time limit"] };

/**
 * How a job stands, as `[kind, word]` of its chip: its result, or why it counts as fail without a report.
 * @param {NamedJob} job
 */
export function outcomeOf({ result, reason }) {
  return (result === "fail" && UNREPORTED[reason ?? ""]) || [result ?? "", result ?? ""];
}

/** `since 3 Nov, nightly/38`. @param {Signature} signature @param {number} now */
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
 * @param {Counts|undefined} counts
 */
export function resultsShown(chosen, counts) {
  return chosen || (counts?.live ? "done" : "all");
}
