// @ts-check
/** A run beside an earlier one: what fails newly, what is fixed, what has become slower. See regression.js. */

/** @import {Diff, DiffCount, DiffEntry, DiffKind, Parts, RegressionActions, RegressionState} from "./types.js" */

import { addressOf, jobAddress, refOf, regressionAddress } from "./address.js";
import { instantiate, keyedList, setAttribute, setCell, setField, setText, show, whenTypingPauses } from "./dom.js";
import { count, duration, plural } from "./format.js";
import { KNOWN_AT_END, NOTHING_BEFORE } from "./model-history.js";
import { mount, paintLink, paintLoading, paintProblem } from "./parts.js";

/** Sections in the order of their weight: name in the answer's counts, heading. @type {[DiffCount, string][]} */
const SECTIONS = [
  ["new_signatures", "New signatures"], ["newly_failing", "Newly failing"], ["slower", "Slower"],
  ["still_failing", "Still failing"], ["fixed_signatures", "Fixed signatures"], ["fixed", "Fixed"],
  ["faster", "Faster"], ["missing", "Missing"], ["added", "Added"],
];

const ROWS_FIRST = 20;
const TYPING_MS = 400;
const ANOTHER = "?"; // the option that stands for a run that is not listed

/**
 * `actions`: `filter({base, by, slower})`.
 * @param {HTMLElement} host
 * @param {RegressionActions} actions
 * @returns {(state: RegressionState) => void}
 */
export function mountCompare(host, actions) {
  const parts = mount(host, "tab-compare");
  const sections = SECTIONS.map(([name, heading]) => ({ name, paint: mountSection(parts.sections, name, heading) }));
  const options = keyedList(parts.bases, {
    template: "run-option",
    key: (run) => run.id,
    paint(option, run) {
      setAttribute(option.run, "value", refOf(run));
      setText(option.run, `${run.name}, ${run.status}, ${count(run.counts.pass)} pass, ${count(run.counts.fail)} fail`);
    },
  });
  parts.base.addEventListener("change", () => actions.filter({ base: parts.base.value }));
  parts.other.addEventListener("change", () => actions.filter({ base: parts.other.value.trim() }));
  parts.by.addEventListener("change", () => actions.filter({ by: parts.by.value }));
  /** @param {string} slower */
  const filterBy = (slower) => parts.slower.validity.valid && actions.filter({ slower: slower || "20" });
  parts.slower.addEventListener("input", whenTypingPauses(filterBy, TYPING_MS));
  return (state) => {
    const { diff, regression, runs } = state.data;
    const { base, by, slower } = state.view.filter;
    const others = (runs?.items ?? []).filter((run) => run.id !== regression.id);
    const isListed = base === "" || others.some((run) => refOf(run) === base);
    options(others, state);
    setField(parts.base, isListed ? base : ANOTHER);
    setField(parts.other, isListed ? "" : base);
    setField(parts.by, by || (diff?.counts ? diff.by : "config"));
    setField(parts.slower, slower);
    paintLoading(parts.loading, diff === null && !state.problem && !state.filterProblem, state.isLost);
    paintProblem(parts["base-problem"], state.filterProblem);
    show(parts.none, diff === NOTHING_BEFORE);
    show(parts.against, Boolean(diff?.counts) && !state.filterProblem);
    if (diff?.counts) paintTold(parts, diff, state);
    const left = regression.status === "live" ? KNOWN_AT_END : [];
    sections.forEach(({ name, paint }) => paint(state, left.includes(name)));
  };
}

const MATCHED = { config: "Jobs are matched by config.", test: "Jobs are matched by test, whatever their seeds." };
const MATCHED_UNASKED = "Jobs are matched by test, whatever their seeds: few configs are in both runs.";

/** @param {Parts} parts @param {Diff} context @param {RegressionState} state */
function paintTold(parts, { base, base_id: id, by, counts }, { root, data, view }) {
  const changed = SECTIONS.reduce((sum, [name]) => sum + (name === "still_failing" ? 0 : counts[name] ?? 0), 0);
  const isLive = data.regression.status === "live";
  paintLink(parts["base-run"], regressionAddress(root, { id, name: base }), base);
  const words = isLive ? "What is fixed or missing shows when this run is over." : changed ? "" : "Nothing differs.";
  setText(parts.matched, by === "test" && !view.filter.by ? MATCHED_UNASKED : MATCHED[by]);
  setText(parts.told, words);
}

/**
 * @typedef {object} CompareRow
 * @property {number|null} key
 * @property {string} href
 * @property {string|undefined} text
 * @property {number} jobs
 * @property {string} change
 * @property {string} before
 * @property {string|null} [other]
 */

/**
 * The rows of a section: `{key, href, text, jobs, change, before, other}`; `other` is the address of the job before,
 * `change` is empty where the heading says it all.
 * @param {string} name
 * @param {Diff} diff
 * @param {string} root
 */
function rowsOf(name, diff, root) {
  if (name.endsWith("_signatures")) {
    const isNew = name === "new_signatures";
    const ref = String(isNew ? diff.regression_id : diff.base_id);
    const listed = diff.signatures?.[isNew ? "new" : "fixed"] ?? [];
    return listed.map((item) => ({
      key: item.id, text: item.title, jobs: 1, before: "",
      change: plural(item.count, "fail") + (isNew ? "" : " before"),
      href: addressOf(root, { kind: "regression", ref, filter: { signature: String(item.id) } }),
    }));
  }
  return (diff[/** @type {DiffKind} */ (name)] ?? []).map((row) => ({
    key: row.base_job ?? row.job, text: row[diff.by], jobs: row.jobs || row.base_jobs,
    href: jobAddress(root, row.job ?? row.base_job ?? 0),
    other: row.job && row.base_job ? jobAddress(root, row.base_job) : null,
    before: row.base_job ? `job ${row.base_job}` : "",
    change: row.percent === undefined ? resultWords(name, row) : changeWords(row),
  }));
}

/** Of several jobs how many have failed; of one the heading tells. @param {string} name @param {DiffEntry} context */
function resultWords(name, { jobs, fails, base_jobs: jobsBefore, base_fails: failsBefore }) {
  const isOne = jobs < 2 && jobsBefore < 2;
  if (isOne || name === "missing" || name === "added") return "";
  return `${count(failsBefore)}/${count(jobsBefore)} → ${count(fails)}/${count(jobs)} fail`;
}

/** @param {DiffEntry} given */
function changeWords({ percent: by = 0, runtime_ms: now, base_runtime_ms: before }) {
  return `${by > 0 ? "+" : ""}${Math.round(by)} %, ${duration(before)} → ${duration(now)}`;
}

/**
 * @param {HTMLElement} parent
 * @param {DiffCount} name
 * @param {string} heading
 * @returns {(state: RegressionState, isLeftOut: boolean) => void}
 */
function mountSection(parent, name, heading) {
  const { root, parts } = instantiate("compare-section");
  parent.append(root);
  let shown = ROWS_FIRST;
  const rows = keyedList(parts.rows, { template: "compare-row", key: (row) => row.key ?? 0, paint: paintRow });
  setText(parts.heading, heading);
  setText(parts.what, name.endsWith("_signatures") ? "Signature" : "Test");
  setText(parts.changed, name === "slower" || name === "faster" ? "Mean runtime of its passes" : "Result");
  setAttribute(parts.table, "aria-label", heading);
  setAttribute(root, "data-section", name);
  let again = () => {};
  parts.more.addEventListener("click", () => {
    shown += 500;
    again();
  });
  /** @param {RegressionState} state @param {boolean} isLeftOut */
  const paint = (state, isLeftOut) => {
    again = () => paint(state, isLeftOut);
    const { diff } = state.data;
    const all = diff?.counts && !isLeftOut ? rowsOf(name, diff, state.root) : [];
    const number = isLeftOut ? 0 : diff?.counts?.[name] ?? all.length;
    show(root, number > 0);
    setText(parts.number, count(number));
    setAttribute(parts.table, "data-without", untold(all) || null);
    rows(all.slice(0, shown), state);
    show(parts.more, all.length > shown);
    setText(parts.more, `Show ${count(all.length - shown)} more`);
    show(parts.rest, number > all.length && all.length > 0);
    setText(parts.rest, `${count(number - all.length)} more are not listed here; the API gives all.`);
  };
  return paint;
}

/** Columns that say nothing: one job everywhere, no result of its own, no job before. @param {CompareRow[]} rows */
function untold(rows) {
  /** @type {Object<string, (row: CompareRow) => unknown>} */
  const has = { jobs: (row) => row.jobs > 1, change: (row) => row.change !== "", before: (row) => row.other };
  return Object.keys(has).filter((name) => !rows.some(has[name])).join(" ");
}

/** @param {Parts} parts @param {CompareRow} row */
function paintRow(parts, row) {
  paintLink(parts.link, row.href, row.text ?? "");
  setText(parts.jobs, count(row.jobs));
  setCell(parts.change, row.change);
  show(parts.other, Boolean(row.other));
  setAttribute(parts.other, "href", row.other ?? null);
  setText(parts.other, row.before);
}
