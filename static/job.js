// @ts-check
/** One job: what it is, why it failed, how to run it again, its output, its past. See overview.js for mounts. */

/** @import {AnyState, HistoryEntry, Job, JobActions, JobState, Parts} from "./types.js" */

import { setAttribute, setCell, setText, show } from "./dom.js";
import { NOTHING, ago, cut, duration, firstLine, fullTime, moment, parseTime, percent, plural } from "./format.js";
import { mountFail, mountLog, mountRerun } from "./job-output.js";
import { LONGEST_TEXT, mountEarlier, mountFiles, mountRaw } from "./job-past.js";
import { isSlow } from "./livejobs.js";
import { jobFacts } from "./model-facts.js";
import { localTimes } from "./model-history.js";
import { dueWords, elapsedWords, jobProgress, jobTitle, reasonSentence } from "./model-job.js";
import { factList, historyList } from "./parts-lists.js";
import { mount, paintOutcome, paintProblem, paintShare, paintTime } from "./parts.js";

const SEED_CHARS = 24;

/**
 * `actions`: `tank()`, `raw()`, which gives the job as the API does.
 * @param {HTMLElement} host
 * @param {JobActions} actions
 * @returns {(state: AnyState) => void}
 */
export function mountJob(host, actions) {
  const parts = mount(host, "job");
  const lists = Object.fromEntries(["facts", "extra", "metadata", "env"].map((name) => [name, factList(parts[name])]));
  const mounts = [mountFail, mountRerun, mountLog, mountEarlier, mountFiles, mountRaw];
  const paints = mounts.map((mountPart) => mountPart(parts, actions));
  const paintHistory = historyList(parts.history);
  parts.tank.addEventListener("click", () => actions.tank());
  return (state) => {
    const { job, history } = state.data;
    const missing = job === null && state.problem?.status === 404;
    paintProblem(parts.problem, missing ? null : state.problem);
    show(parts.missing, missing);
    setText(parts["missing-id"], state.view.ref);
    show(parts.loading, job === null && !state.problem);
    show(parts.body, job !== null);
    if (job === null) return;
    paintHead(parts, job, state);
    paintFigures(parts, job, state.now);
    paintDetails(parts, lists, job);
    paints.forEach((paint) => paint(job, state));
    paintHistory(withMessage(history?.items ?? [], job), state);
  };
}

/**
 * A history whose last fail tells what the job says of it, where the entry says nothing.
 * @param {HistoryEntry[]} items
 * @param {Job} job
 */
function withMessage(items, job) {
  const last = items.findLast(({ type }) => type === "job.failed");
  if (!job.fail_message || !last || last.description) return items;
  return items.map((entry) => (entry === last ? { ...entry, description: firstLine(job.fail_message) } : entry));
}

/** @param {Parts} parts @param {Job} job @param {JobState} state */
function paintHead(parts, job, state) {
  const last = state.data.history?.items.findLast((entry) => entry.description && entry.result !== "live");
  setCell(parts.name, jobTitle(job));
  paintOutcome(parts.result, job);
  const told = job.reason && !job.fail_message && last?.description && localTimes(last.description, state.now);
  setText(parts.sentence, [reasonSentence(job.reason), told].filter(Boolean).join(" "));
  show(parts.tank, job.result === "live");
}

/** @param {Parts} parts @param {Job} job @param {number} now */
function paintFigures(parts, job, now) {
  const live = job.result === "live";
  const progress = live ? jobProgress(job.progress) : null;
  const fraction = progress?.fraction ?? null;
  show(parts["progress-box"], fraction !== null);
  show(parts["progress-figure"], progress !== null);
  if (fraction !== null) paintShare(parts.bar, "live", fraction);
  setText(parts.percent, fraction === null ? NOTHING : percent(fraction, 1));
  setText(parts.progress, progress?.words ?? "");
  show(parts["phase-figure"], live && Boolean(job.phase));
  setText(parts.phase, job.phase ?? "");
  setText(parts["elapsed-word"], live ? "Elapsed" : "Runtime");
  setText(parts.elapsed, elapsedWords(job, now));
  setText(parts.limit, dueWords(job, now));
  setCell(parts.host, job.host || NOTHING);
  setCell(parts.seed, cut(job.seed || NOTHING, SEED_CHARS), job.seed ?? "");
  paintUsual(parts, job, now);
  paintTimes(parts, job, live, now);
}

/**
 * What this test usually takes, while it runs and there is something to wait for.
 * @param {Parts} parts
 * @param {Job} job
 * @param {number} now
 */
function paintUsual(parts, job, now) {
  const isTold = job.result === "live" && Boolean(job.usual_ms);
  show(parts["usual-figure"], isTold);
  if (!isTold) return;
  setText(parts.usual, duration(job.usual_ms));
  const slow = isSlow(job, now);
  setAttribute(parts["usual-note"], "data-slow", slow ? "yes" : null);
  const most = duration(job.slow_after_ms);
  setText(parts["usual-note"], slow ? `slow: 99 of 100 took under ${most}` : `slow after ${most}`);
}

/**
 * @param {Parts} parts
 * @param {Job} job
 * @param {boolean} live
 * @param {number} now
 */
function paintTimes(parts, job, live, now) {
  const waits = live && !job.started_at;
  const submitted = parseTime(job.submitted_at);
  setText(parts["started-word"], waits ? "Waiting since" : "Started");
  paintTime(parts.started, waits ? submitted : job.start_time ?? job.started_at, now);
  setText(parts.submitted, live && !waits && submitted !== null ? `first seen ${moment(submitted, now)}` : "");
  show(parts["finished-figure"], !live);
  paintTime(parts.finished, job.finish_time ?? job.finished_at, now);
  show(parts["seen-figure"], live || job.reason !== null);
  setCell(parts.seen, ago(job.last_seen_at, now), fullTime(job.last_seen_at));
}

/** @param {Parts} parts @param {Object<string, (pairs: unknown[][]) => void>} lists @param {Job} job */
function paintDetails(parts, lists, job) {
  const env = Object.entries(job.env ?? {});
  const extra = Object.entries(job.extra ?? {}).filter(([field]) => field !== "username");
  lists.facts(jobFacts(job));
  lists.extra(extra);
  show(parts["extra-section"], extra.length > 0);
  lists.metadata(job.metadata ?? []);
  show(parts["metadata-section"], (job.metadata ?? []).length > 0);
  lists.env(env);
  show(parts["env-section"], env.length > 0);
  setText(parts["env-count"], plural(env.length, "variable"));
  show(parts["results-section"], Boolean(job.results));
  setText(parts.results, cut(job.results ?? "", LONGEST_TEXT));
}
