// @ts-check
/**
 * What is known of a job or a regression beyond the figures on top. In: a job or a regression. Out: `[label, text]`
 * pairs. Pure.
 */

/** @import {Job, Regression, Stats} from "./types.js" */

import { count, duration, isTold, moment, parseTime } from "./format.js";
import { rerunLine } from "./model-job.js";
import { heardApart } from "./model-times.js";

/** What is known of a job beyond the figures on top, as `[label, text]` pairs, unknown fields last. @param {Job} job */
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

/** @type {Object<string, string>} */
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
 * @param {Regression} regression
 * @param {number} now
 */
export function regressionFacts(regression, now) {
  const fields = regression.fields ?? {};
  const first = [["Component", regression.component], ["Project", regression.project], ["Branch", regression.branch],
    ["Version", fields.model_version], ["Host", fields.host], ["Tag", regression.tag], ["User", fields.username],
    ["Compute", computeWords(regression.stats)]];
  const rest = Object.entries(fields)
    .filter(([key, value]) => !SHOWN_ELSEWHERE.has(key) && !(TIMES.has(key) && parseTime(/** @type {string} */ (value)) === null))
    .filter(([key]) => key !== "starttime" || heardApart(regression, now) !== null)
    .sort(([a], [b]) => Number(!(a in FIELD_WORDS)) - Number(!(b in FIELD_WORDS)))
    .map(([key, value]) => [FIELD_WORDS[key] ?? key, fieldWords(key, value, now)]);
  return [...first, ...rest].filter(([, value]) => isTold(value))
    .map(([label, value]) => [label, typeof value === "object" ? JSON.stringify(value) : String(value)]);
}

const HOUR_MS = 3_600_000;

/** @param {string} key @param {unknown} value @param {number} now */
function fieldWords(key, value, now) {
  if (TIMES.has(key)) return moment(/** @type {string} */ (value), now);
  return key === "time_limit_hours" ? duration(Number(value) * HOUR_MS) : value;
}

/** Compute time and speed of all jobs together, null before any is known. @param {Stats|undefined} stats */
function computeWords(stats) {
  const { compute_ms: compute, cycles_per_s: speed } = stats ?? {};
  if (!compute) return null;
  return duration(compute) + (speed ? `, ${count(Math.round(speed))} cycles/s` : "");
}
