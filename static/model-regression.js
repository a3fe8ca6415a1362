// @ts-check
/**
 * A regression in figures and words: its counts, its bar, its progress, its pass rate, and why it stands where it
 * stands. In: a regression as the API gives it, and `now` in milliseconds since 1970. Out: numbers, words. Pure.
 */

/** @import {Counts, Regression} from "./types.js" */

import { count, parseTime, percent, plural } from "./format.js";

/** Jobs that have said anything at all. @param {Counts} counts */
export function known(counts) {
  return counts.pass + counts.fail + counts.skip + counts.live;
}

/** Jobs with a verdict. @param {Counts} counts */
export function done(counts) {
  return counts.pass + counts.fail + counts.skip;
}

/**
 * The progress bar in drawing order: `[{kind, n, word}]`, empty parts included, so that the bar has always the
 * same parts. `migrated` are the fails nobody reported: they were still live when the regression ended.
 * @param {Regression} regression
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

/** How many jobs there will be, null if nobody said. @param {Regression} regression */
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
 * @param {Regression} regression
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
 * @param {Regression} regression
 */
export function passRate({ counts }) {
  return counts.pass + counts.fail ? counts.pass / (counts.pass + counts.fail) : null;
}

/** @type {Object<string, string>} */
const REGRESSION_ENDS = {
  finish: "it was finished",
  timeout: "no message came for too long",
  "time-limit": "its time limit was reached",
};

/** Why a regression stands where it stands, as one sentence. @param {Regression} regression */
export function statusSentence(regression) {
  const { status, reason } = regression;
  if (status === "tanked") return reason ? `tanked by hand: ${reason}` : "tanked by hand";
  const end = REGRESSION_ENDS[reason ?? ""] ?? reason ?? "";
  if (status === "live") return liveSentence(regression);
  if (status === "complete") return end && reason !== "finish" ? `all jobs reported; ${end}` : "all jobs reported";
  return [end, lossWords(regression)].filter(Boolean).join("; ");
}

/** @param {Regression} regression */
function liveSentence(regression) {
  const { counts } = regression;
  if (counts.live) return `${plural(counts.live, "job")} live`;
  const isAll = done(counts) >= (total(regression) ?? Infinity);
  return isAll ? "all submitted jobs have reported; waiting for the finish" : "waiting for jobs";
}

/** The same for a narrow column: nothing where all is well. @param {Regression} regression @param {number} now */
export function shortReason(regression, now) {
  const { status, reason } = regression;
  if (status === "tanked") return reason ?? "";
  if (status === "live") return alarmWords(regression, now);
  if (status === "complete") return "";
  const ended = ENDED[reason ?? ""];
  return [ended, lossWords(regression).replace(/ jobs?/, "")].filter(Boolean).join("; ");
}

/** @type {Object<string, string>} */
const ENDED = { timeout: "timed out", "time-limit": "time limit" };

/** A live run of which nothing was heard for so long may be stuck. */
const SILENT_MS = 10 * 60_000;

/**
 * What to look at in a live run, in lines: `silent 24m`, `3 slow jobs`, `2 new signatures`.
 * @param {Regression} regression
 * @param {number} now
 */
function alarmWords({ last_activity_at: heard, new_signatures: fresh, slow }, now) {
  const silence = now - (parseTime(heard) ?? now);
  const silent = silence >= SILENT_MS ? `silent ${inOneUnit(silence)}` : "";
  return [silent, slow ? plural(slow, "slow job") : "", fresh ? plural(fresh, "new signature") : ""].filter(Boolean).join("\n");
}

/** @param {number} ms */
function inOneUnit(ms) {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes}m`;
  return minutes < 48 * 60 ? `${Math.floor(minutes / 60)}h` : `${Math.floor(minutes / 1440)}d`;
}

/** @param {Regression} regression */
function lossWords(regression) {
  const parts = barSegments(regression);
  /** @param {string} kind */
  const of = (kind) => parts.find((part) => part.kind === kind)?.n ?? 0;
  return [
    of("migrated") && `${plural(of("migrated"), "job")} cut off`,
    of("live") && `${count(of("live"))} still live`,
    of("pending") && `${count(of("pending"))} never seen`,
  ].filter(Boolean).join(", ");
}
