// @ts-check
/**
 * What an event changes. In: a job, rows or a list, and an event of the stream. Out: the same as it is now, and the
 * names of what must be read again, since the event does not tell it. Pure.
 */

/** @import {ApiEvent, Job, Regression} from "./types.js" */

import { parseTime } from "./format.js";

/** Types that change what a regression's figures say. */
const VERDICTS = new Set(["job.passed", "job.failed", "job.skipped", "job.timed_out", "job.missing", "job.tanked",
  "job.corrected"]);

/** What an event tells of a job, as fields of the job object. */
const TOLD = ["result", "reason", "phase", "progress", "host", "name", "due_at"];
/** Fields that a change tells whole; longer texts come cut, and are read again. */
const CHANGED = ["host", "name", "phase", "seed", "category", "build", "testgroup", "started_at", "time_limit_ms"];

/**
 * A job after an event: told fields replaced, a sign of life noted. An event older than the job is ignored.
 * @param {Job} job
 * @param {ApiEvent} event
 */
export function patchJob(job, event) {
  if (job.id !== event.job || (job.version ?? 0) >= event.seq) return job;
  /** @type {Object<string, unknown> & {started_at?: string}} */
  const patch = { version: event.seq, last_seen_at: event.at };
  const { changed = {}, ...told } = event.data ?? {};
  const data = /** @type {Object<string, unknown>} */ (told);
  for (const field of CHANGED) if (Array.isArray(changed[field])) patch[field] = changed[field][1];
  for (const field of TOLD) if (data[field] !== undefined) patch[field] = data[field];
  if (patch.started_at) Object.assign(patch, { elapsed_ms: 0, read_at: parseTime(patch.started_at) });
  return { ...job, ...patch };
}

/**
 * The list of regressions after an event: the state with what can be known at once, and what must be read again:
 * the id of a known regression, `"list"` if the row is not there, or nothing.
 * @param {Regression[]} items
 * @param {ApiEvent} event
 * @returns {{items: Regression[], wanted: number|"list"|null}}
 */
export function applyToOverview(items, event) {
  if (!event.regression_id) return { items, wanted: null };
  if (!items.some((item) => item.id === event.regression_id)) {
    return { items, wanted: event.type === "job.updated" ? null : "list" };
  }
  return { items: touch(items, event), wanted: event.type === "job.updated" ? null : event.regression_id };
}

/** @param {Regression[]} items @param {ApiEvent} event */
function touch(items, event) {
  return items.map((item) => (item.id === event.regression_id ? { ...item, last_activity_at: event.at } : item));
}

/**
 * What an event moves on a regression's page: names of what must be read again. The live jobs and the rows that are
 * there have been patched; `isKnown` says whether the job was among the live ones or has ended.
 * @param {ApiEvent} event
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

/** @param {ApiEvent} event */
function regressionNews(event) {
  const isSmall = event.type === "regression.updated" || event.type === "regression.first_failure";
  return isSmall ? ["regression"] : ["regression", "live", "signatures", "jobs"];
}

/**
 * Rows of a table of jobs after an event; the same array if none is touched.
 * @param {Job[]} items
 * @param {ApiEvent} event
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
 * @param {Job} job
 * @param {ApiEvent} event
 * @returns {{job: Job, wanted: string[]}} what must be read again: job, history
 */
export function applyToJob(job, event) {
  if (event.job !== job.id) return { job, wanted: [] };
  return { job: patchJob(job, event), wanted: ["job", "history"] };
}
