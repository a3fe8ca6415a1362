// @ts-check
/**
 * What happened, in words: runs beside those before them, entries of histories, what a message changed. In: runs,
 * replies of comparisons, entries, and `now` in milliseconds since 1970. Out: entries in order, words. Pure.
 */

/** @import {ApiEvent, Diff, DiffCount, HistoryEntry, Run} from "./types.js" */

import { NOTHING, count, duration, isTold, isolated, moment, parseTime, plain, plural, rate } from "./format.js";

/** A run of a strip in words: `complete, 196 of 200 passed (98.0 %)`. @param {Run} run */
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
 * @param {Diff|null} since answer of a diff: `{base, counts}`
 * @param {boolean} isLive whether the newer run is
 */
export function sinceParts(since, isLive) {
  const { base, counts } = since ?? {};
  if (!counts) return [];
  /** @param {DiffCount} what @param {string} word */
  const text = (what, word) => plural(counts[what], word) + (what === "new_signatures" ? ` not in ${isolated(base ?? "")}` : "");
  /** @type {[DiffCount, string][]} */
  const told = [
    ["new_signatures", "signature"], ["fixed_signatures", "fixed signature"],
    ["newly_failing", "newly failing test"], ["fixed", "fixed test"], ["slower", "slower test"],
    ["faster", "faster test"], ["missing", "missing test"], ["added", "added test"],
  ];
  return told.filter(([what]) => counts[what] > 0 && !(isLive && KNOWN_AT_END.includes(what)))
    .map(([what, word]) => ({ text: text(what, word), what }));
}

/** @type {Object<string, string>} */
const HISTORY_WORDS = {
  "regression.started": "started", "regression.updated": "fields updated", "regression.finished": "finished",
  "regression.timed_out": "timed out", "regression.reopened": "reopened", "regression.tanked": "tanked",
  "regression.untanked": "untanked", "regression.first_failure": "first failure",
  "job.live": "started", "job.updated": "update", "job.passed": "passed", "job.failed": "failed",
  "job.skipped": "skipped", "job.timed_out": "time limit reached", "job.missing": "given up as missing",
  "job.tanked": "tanked", "job.corrected": "corrected by a late result", "job.revived": "back to live",
  "job.extended": "time limit extended", "job.pruned": "pruned",
};

/** An entry of a history in words. @param {HistoryEntry} entry */
export function historyWord({ type, progress }) {
  if (type === "regression.updated" && progress) return `${plural(progress.running ?? 0, "job")} running (publisher)`;
  return HISTORY_WORDS[type] ?? type;
}

/** Who has made an entry: of a file of the spool it is enough that it was one. @param {string|null|undefined} by */
export function makerOf(by) {
  return by ? `by ${by.replace(/^spool:.*/s, "spool")}` : "";
}

/** Of the same thing happening to many jobs at once, so many are shown. */
const ALIKE_SHOWN = 3;

/**
 * The history of a run: its own entries and what happened to its jobs, oldest first. Where the same happened to many
 * jobs one after the other, the first few stand for all: the last of these says in `more` how many are not shown.
 * @param {HistoryEntry[]} own entries of its history
 * @param {ApiEvent[]} events of its jobs
 */
export function storyOf(own, events) {
  /** @type {HistoryEntry[]} */
  const told = events.map(({ seq, at, type, job, data }) => ({ seq, created: at, type, job, ...data }));
  /** @type {HistoryEntry[]} */
  const story = [];
  let alike = 0;
  for (const entry of [...own, ...told].sort((a, b) => a.seq - b.seq)) {
    const before = story.at(-1);
    alike = entry.job && before?.type === entry.type ? alike + 1 : 0;
    if (alike < ALIKE_SHOWN) story.push(entry);
    else story[story.length - 1] = { ...story[story.length - 1], more: alike - ALIKE_SHOWN + 1 };
  }
  return story;
}

/**
 * The changed values of a history entry, one text each; progress has its own words.
 * @param {Object<string, unknown>|undefined} changed
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

/**
 * Times and durations as everywhere else, files by their names, anything else as JSON has it.
 * @param {string} field
 * @param {unknown} value
 * @param {number} now
 */
function changedValue(field, value, now) {
  if (!isTold(value)) return NOTHING;
  if (typeof value === "string" && /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(value)) return moment(value, now);
  if (field.endsWith("_ms") && typeof value === "number") return duration(value);
  if (Array.isArray(value) && value.some((file) => file?.name)) return value.map((file) => file?.name).join(", ");
  return plain(value);
}
