// @ts-check
/** TODO parts-lists.js */

/** @import {HistoryEntry, NamedJob, Parts, Run} from "./types.js" */

import { jobAddress, regressionAddress } from "./address.js";
import { instantiate, keyedList, setAttribute, setCell, setText, show } from "./dom.js";
import { fullTime, moment, plain, plural } from "./format.js";
import { changedWords, historyWord, localTimes, makerOf, runWords } from "./model-history.js";
import { jobProgress, jobTitle, seedWords } from "./model-job.js";
import { paintBar, paintLink } from "./parts.js";

/** A list of `[label, value]` pairs; labels may repeat, so the place is part of the key. @param {HTMLElement} parent */
export function factList(parent) {
  const update = keyedList(parent, {
    template: "fact",
    key: (fact) => `${fact.index} ${fact.label}`,
    paint(parts, { label, value }) {
      setText(parts.label, label);
      setText(parts.value, value);
    },
  });
  /** @param {unknown[]} pair @param {number} index */
  const fact = ([label, value], index) => ({ index, label: String(label), value: plain(value) });
  return (/** @type {unknown[][]} */ pairs) => update(pairs.map(fact), null);
}

/**
 * The last runs of a series, oldest first: one link each, a column of all verdicts with the fails on top.
 * `update(runs, context)` takes `{root, series, current}`, the id of the run whose page this is.
 * @param {HTMLElement} parent
 * @returns {(runs: Run[], context: {root: string, series: string|null, current: number}) => void}
 */
export function runStrip(parent) {
  return keyedList(parent, {
    template: "strip-run",
    key: (run) => run.id,
    paint(parts, run, { root, series, current }) {
      const name = run.name ?? [series, run.number].filter(Boolean).join(" ");
      const words = `${name}: ${runWords(run)}`;
      setAttribute(parts.run, "href", regressionAddress(root, { id: run.id, name: run.name ?? String(run.id) }));
      setAttribute(parts.run, "title", words);
      setAttribute(parts.run, "aria-label", words);
      setAttribute(parts.run, "aria-current", run.id === current ? "page" : null);
      setAttribute(parts.run, "data-kind", run.status === "live" ? "live" : run.pass_rate === 1 ? "pass" : "mixed");
      const failed = run.pass_rate === null ? 0 : 1 - run.pass_rate;
      paintBar(parts.bar, [
        { kind: "none", n: run.pass_rate === null ? 1 : 0 },
        { kind: "fail", n: failed },
        { kind: "pass", n: run.pass_rate === null ? 0 : 1 - failed },
      ]);
    },
  });
}

/**
 * @typedef {{
 *   root: string, now: number, named?: Map<number, NamedJob>, regression?: {id: number, name: string},
 * }} StoryContext
 */

/**
 * A history as a timeline. `update(entries, {root, now, named, regression})`: `named` are jobs by id, and `regression`
 * is where they are listed; both for the history of a run.
 * @param {HTMLElement} parent
 * @returns {(entries: HistoryEntry[], context: StoryContext) => void}
 */
export function historyList(parent) {
  return keyedList(parent, { template: "history-entry", key: (entry) => entry.seq, paint: paintEntry });
}

/** @param {NamedJob} job */
function nameOf(job) {
  return [jobTitle(job), seedWords(job)].filter(Boolean).join(", ");
}

/** @param {Parts} parts @param {HistoryEntry} entry @param {StoryContext} context */
function paintEntry(parts, entry, { now, root, named, regression }) {
  const progress = jobProgress(entry.progress);
  const changes = changedWords(entry.changed, now);
  const word = historyWord(entry);
  const reason = entry.reason && word.includes(entry.reason.replace("-", " ")) ? null : entry.reason;
  setAttribute(parts.entry, "data-kind", entry.result ?? "");
  setCell(parts.time, moment(entry.created, now), fullTime(entry.created));
  setText(parts.word, word);
  show(parts.job, Boolean(entry.job));
  if (entry.job) paintLink(parts.job, jobAddress(root, entry.job), nameOf(named?.get(entry.job) ?? { id: entry.job }));
  show(parts.more, Boolean(entry.more));
  setText(parts.more, entry.more ? `… and the same for ${plural(entry.more, "more job")}` : "");
  const alike = entry.more && entry.reason ? { q: `reason=${entry.reason}` } : null;
  setAttribute(parts.more, "href", alike && regression ? regressionAddress(root, regression, alike) : null);
  setText(parts.phase, [entry.phase, reason, progress?.words].filter(Boolean).join(" · "));
  setText(parts.description, localTimes(entry.description ?? "", now));
  show(parts.description, Boolean(entry.description));
  show(parts.changes, changes.length > 0);
  if (parts.changes.children.length !== changes.length) {
    parts.changes.replaceChildren(...changes.map(() => instantiate("change").root));
  }
  changes.forEach((text, index) => setText(parts.changes.children[index], text));
  setCell(parts.by, makerOf(entry.created_by), entry.created_by ?? "");
}
