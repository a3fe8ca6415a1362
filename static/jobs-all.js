// @ts-check
/**
 * The table of all jobs, with its filters. In: jobs as far as they have been read. Out: the rows in sight; what the
 * reader wants goes up through `actions`.
 */

/** @import {Filter, Job, JobPage, Page, Parts, RegressionActions, TablesState} from "./types.js" */

import { jobAddress } from "./address.js";
import { pressedIn, setAttribute, setCell, setField, setText, show, whenTypingPauses } from "./dom.js";
import { count, cut, duration, firstLine, plural } from "./format.js";
import { nextSort } from "./livejobs.js";
import { elapsedWords, jobTitle, reasonSentence, resultsShown, shortHost } from "./model-job.js";
import { done } from "./model-regression.js";
import { TYPING_MS, paintLink, paintOutcome, paintPressed, paintProblem, paintSort } from "./parts.js";
import { scrollingRows } from "./rows.js";

/** @param {Parts} parts @param {RegressionActions} actions @returns {(state: TablesState) => void} */
export function mountTable(parts, actions) {
  /** @type {JobPage|null} */
  let list = null;
  let sort = "";
  let standard = "all"; // what is shown where the address says nothing
  const rows = scrollingRows(parts["jobs-panel"], {
    template: "job-row",
    key: (job) => job.id,
    paint: paintJobRow,
    atEnd: () => list?.next && actions.moreSoon("jobs"),
  });
  parts.results.addEventListener("click", (/** @type {Event} */ event) => {
    const button = pressedIn(event, "button");
    if (button) actions.filter({ result: button.dataset.result === standard ? "" : button.dataset.result });
  });
  parts.q.addEventListener("input", whenTypingPauses((q) => actions.filter({ q }), TYPING_MS));
  parts.sort.addEventListener("change", () => actions.filter({ sort: parts.sort.value }));
  parts["jobs-head"].addEventListener("click", (/** @type {Event} */ event) => {
    const column = pressedIn(event, "button")?.closest("th").dataset.sort;
    if (column) actions.filter({ sort: nextSort(sort, column) });
  });
  parts["filter-help"].addEventListener("click", () => actions.filterHelp());
  parts.unsign.addEventListener("click", () => {
    actions.filter({ signature: "" });
    parts["jobs-panel"].focus({ preventScroll: true });
  });
  parts["jobs-more"].addEventListener("click", () => actions.more("jobs"));
  return (state) => {
    list = state.data.jobs;
    standard = resultsShown("", state.data.regression.counts);
    ({ sort } = state.view.filter);
    paintFilters(parts, state);
    paintSort(parts["jobs-head"], sort === "longest" ? "-runtime" : sort);
    paintProblem(parts["filter-problem"], state.filterProblem);
    if (state.filterProblem) list = null; // what was found before was found by another filter
    const narrowed = isNarrowed(state.view.filter);
    rows(list?.items ?? [], state);
    const found = narrowed && list?.items.length && !list.isOld ? list : null;
    setText(parts["jobs-summary"], found ? matchWords(found) : "");
    show(parts["jobs-nothing"], list !== null && list.items.length === 0);
    const none = standard === "done" ? "No job has finished yet." : "No jobs yet.";
    setText(parts["jobs-nothing"], narrowed ? "No job matches this filter." : none);
    show(parts["jobs-more"], Boolean(list?.next));
  };
}

/** How many jobs a filter has found, as far as they have been read. @param {Page<Job>} given */
function matchWords({ items, next }) {
  return next ? `the first ${count(items.length)} that match` : `${plural(items.length, "job")} found`;
}

/** @param {Filter} filter */
function isNarrowed(filter) {
  const isWhole = ["", "all", "done"].includes(filter.result);
  return !isWhole || Boolean(filter.signature || filter.q);
}

/** @param {Parts} parts @param {TablesState} state */
function paintFilters(parts, state) {
  const { filter } = state.view;
  const { counts } = state.data.regression;
  /** @type {Object<string, number>} */
  const numbers = { ...counts, done: done(counts), all: done(counts) + counts.live };
  const shown = resultsShown(filter.result, counts);
  for (const button of parts.results.children) {
    const { result } = button.dataset;
    paintPressed(button, shown === result);
    setText(button, `${result[0].toUpperCase() + result.slice(1)} ${count(numbers[result])}`);
    if (result === "done") show(button, counts.live > 0 || shown === "done");
  }
  setField(parts.q, filter.q);
  setField(parts.sort, [...parts.sort.options].some(({ value }) => value === filter.sort) ? filter.sort : "");
  show(parts["by-signature"], filter.signature !== "");
  setText(parts["signature-title"], signatureTitle(state));
}

/** @param {TablesState} given */
function signatureTitle({ data, view }) {
  const id = view.filter.signature;
  const listed = data.signatures?.items.find((item) => String(item.id) === id);
  const met = data.jobs?.items.find((job) => String(job.signature?.id) === id);
  return cut(listed?.title ?? met?.signature?.title ?? `signature ${id}`, 200);
}

/** @param {Parts} parts @param {Job} job @param {TablesState} state */
function paintJobRow(parts, job, state) {
  paintOutcome(parts.result, job);
  setAttribute(parts.result, "title", reasonSentence(job.reason) || null);
  paintLink(parts.link, jobAddress(state.root, job.id), jobTitle(job), job.config || jobTitle(job));
  setCell(parts.seed, job.seed ?? "");
  setCell(parts.host, shortHost(job.host, state.domain), job.host ?? "");
  setCell(parts.runtime, elapsedWords(job, state.now));
  setText(parts.compute, job.compute_ms === null || job.compute_ms === undefined ? "" : duration(job.compute_ms));
  setText(parts.speed, job.cycles_per_s ? count(Math.round(job.cycles_per_s)) : "");
  setCell(parts.message, jobLine(job), job.fail_message ?? "");
}

/** @param {Job} job */
function jobLine(job) {
  if (job.fail_message) return firstLine(job.fail_message);
  return job.result === "live" ? job.phase ?? "" : job.signature?.title ?? "";
}
