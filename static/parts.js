/** The small parts that all views are made of. Each paints the whole truth onto its node, any number of times. */

import { jobAddress, regressionAddress } from "./address.js";
import { instantiate, keyedList, setAttribute, setCell, setText, setWeight, show } from "./dom.js";
import { count, fullTime, moment, plain, plural } from "./format.js";
import {
  barLabel, barSegments, changedWords, historyWord, jobProgress, jobTitle, known, localTimes, makerOf, outcomeOf,
  problemSentence, runWords, seedWords, total,
} from "./model.js";

export const TYPING_MS = 200;

/** Puts a template into its place; gives its named parts. @param {Element} host @param {string} id */
export function mount(host, id) {
  const { root, parts } = instantiate(id);
  host.replaceChildren(root);
  return parts;
}

/** A bar of parts whose widths follow their numbers; made once, then only weights change. */
export function paintBar(node, segments) {
  while (node.children.length < segments.length) node.append(document.createElement("i"));
  segments.forEach(({ kind, n }, index) => {
    const part = node.children[index];
    setAttribute(part, "data-kind", kind);
    setWeight(part, n);
    show(part, n > 0);
  });
}

/** The share of what is known that stands for the rest, where nobody has said how much will come. */
const OPEN_END = 0.25;

/** The bar of a regression, with its figures as label and tooltip. */
export function paintRegressionBar(node, regression) {
  const segments = barSegments(regression);
  const isOpen = regression.status === "live" && total(regression) === null;
  const label = barLabel(segments) + (isOpen ? ", how many will come is not told" : "");
  paintBar(node, [...segments, { kind: "open", n: isOpen ? OPEN_END * known(regression.counts) || 1 : 0 }]);
  setAttribute(node, "aria-label", label);
  setAttribute(node, "title", label);
}

/** A share as a bar of one colour. */
export function paintShare(node, kind, fraction) {
  paintBar(node, [{ kind, n: fraction }, { kind: "pending", n: 1 - fraction }]);
}

export function paintChip(node, word) {
  setAttribute(node, "data-kind", word);
  setText(node, word);
}

/** The chip of a job: a fail that nobody reported says why it is one. @param {Element} node @param {object} job */
export function paintOutcome(node, job) {
  const [kind, word] = outcomeOf(job);
  setAttribute(node, "data-kind", kind);
  setText(node, word);
}

export function paintCount(node, number) {
  setText(node, count(number));
  node.classList.toggle("zero", number === 0);
}

export function paintTime(node, time, now) {
  setCell(node, moment(time, now), fullTime(time));
}

export function paintLink(node, href, text, title = text) {
  setAttribute(node, "href", href);
  setCell(node, text, title);
}

/** A button that is on or off. */
export function paintPressed(node, isPressed) {
  setAttribute(node, "aria-pressed", String(isPressed));
}

/** What stands for something that has not been read yet; the reader is told where it cannot be. */
export function paintLoading(node, isLoading, isLost) {
  show(node, isLoading);
  setText(node, isLost ? "Not read yet: the connection is lost." : "Loading…");
}

export function paintProblem(node, problem) {
  show(node, Boolean(problem));
  setText(node, problem ? problemSentence(problem) : "");
}

/** A list of `[label, value]` pairs; labels may repeat, so the place is part of the key. */
export function factList(parent) {
  const update = keyedList(parent, {
    template: "fact",
    key: (fact) => `${fact.index} ${fact.label}`,
    paint(parts, { label, value }) {
      setText(parts.label, label);
      setText(parts.value, value);
    },
  });
  const fact = ([label, value], index) => ({ index, label: String(label), value: plain(value) });
  return (pairs) => update(pairs.map(fact));
}

/**
 * The last runs of a series, oldest first: one link each, a column of all verdicts with the fails on top.
 * `update(runs, context)` takes `{root, series, current}`, the id of the run whose page this is.
 * @param {Element} parent
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
 * A history as a timeline. `update(entries, {root, now, named, regression})`: `named` are jobs by id, and `regression` is
 * where they are listed; both for the history of a run.
 * @param {Element} parent
 */
export function historyList(parent) {
  return keyedList(parent, { template: "history-entry", key: (entry) => entry.seq, paint: paintEntry });
}

function nameOf(job) {
  return [jobTitle(job), seedWords(job)].filter(Boolean).join(", ");
}

function paintEntry(parts, entry, { now, root, named, regression }) {
  const progress = jobProgress(entry.progress);
  const changes = changedWords(entry.changed, now);
  const word = historyWord(entry);
  const reason = word.includes(entry.reason?.replace("-", " ")) ? null : entry.reason;
  setAttribute(parts.entry, "data-kind", entry.result ?? "");
  setCell(parts.time, moment(entry.created, now), fullTime(entry.created));
  setText(parts.word, word);
  show(parts.job, Boolean(entry.job));
  if (entry.job) paintLink(parts.job, jobAddress(root, entry.job), nameOf(named?.get(entry.job) ?? { id: entry.job }));
  show(parts.more, Boolean(entry.more));
  setText(parts.more, entry.more ? `… and the same for ${plural(entry.more, "more job")}` : "");
  const alike = entry.more && entry.reason ? { q: `reason=${entry.reason}` } : null;
  setAttribute(parts.more, "href", alike && regressionAddress(root, regression, alike));
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
