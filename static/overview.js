// @ts-check
/**
 * The list of regressions. A view's `mount…(host, actions)` builds the frame from its template and gives
 * `update(state)`, which may be called any number of times and always paints the whole truth. Data comes down by
 * `update`; what the reader wants goes up through `actions`.
 *
 * `state` is `{root, base, now, meta, view, data, problem, filterProblem, isLost}`: `view` from the address, `data`
 * what has been read so far (null where nothing was yet), `now` as of when, `isLost` whether the connection is.
 */

/** @import {Filter, OverviewActions, OverviewState, Parts, Regression} from "./types.js" */

import { regressionAddress } from "./address.js";
import {
  bindCopy, keyedList, pressedIn, setAttribute, setCell, setField, setText, show, whenTypingPauses,
} from "./dom.js";
import { count, fullTime, moment, rate, ticking, visible } from "./format.js";
import { teachCommands } from "./model-page.js";
import { passRate, progressOf, shortReason, statusSentence } from "./model-regression.js";
import { etaWords, heardApart, regressionElapsed } from "./model-times.js";
import { runStrip } from "./parts-lists.js";
import {
  KINDS, TYPING_MS, mount, paintChip, paintCount, paintLink, paintPressed, paintProblem, paintRegressionBar, paintTime,
} from "./parts.js";

/** Filters that come by a link; the reader lifts them by a button. */
const BY_LINK = ["series", "branch", "component", "tanked"];

/**
 * `actions`: `filter(patch)`, `more()`.
 * @param {HTMLElement} host
 * @param {OverviewActions} actions
 * @returns {(state: OverviewState) => void}
 */
export function mountOverview(host, actions) {
  const parts = mount(host, "overview");
  const rows = keyedList(parts.rows, {
    template: "regression-row",
    key: (item) => item.id,
    paint: paintRegressionRow,
    bind: (row) => (row.paintStrip = runStrip(row.strip)),
  });
  bindOverview(parts, actions);
  return (state) => {
    paintFilters(parts, state.view.filter);
    paintProblem(parts.problem, state.problem);
    paintList(parts, rows, state);
  };
}

/** @param {Parts} parts @param {OverviewActions} actions */
function bindOverview(parts, actions) {
  parts.filters.addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
  parts.q.addEventListener("input", whenTypingPauses((q) => actions.filter({ q }), TYPING_MS));
  parts.statuses.addEventListener("click", (/** @type {Event} */ event) => {
    const button = pressedIn(event, "button");
    if (button) actions.filter({ status: button.dataset.status });
  });
  const nothing = { q: "", status: "", series: "", branch: "", component: "", tanked: "" };
  parts.clear.addEventListener("click", () => actions.filter(nothing));
  parts.more.addEventListener("click", () => actions.more());
  parts.narrowed.addEventListener("click", (/** @type {Event} */ event) => {
    const name = pressedIn(event, "button")?.dataset.name;
    if (name) actions.filter({ [name]: "" });
  });
  bindCopy(parts["copy-curl"], () => parts.curl.textContent);
  bindCopy(parts["copy-spool"], () => parts.spool.textContent);
}

/** @param {Parts} parts @param {Filter} filter */
function paintFilters(parts, filter) {
  setField(parts.q, filter.q);
  for (const button of parts.statuses.children) paintPressed(button, button.dataset.status === filter.status);
  paintNarrowed(parts.narrowed, filter);
}

/** @param {HTMLElement} node @param {Filter} filter */
function paintNarrowed(node, filter) {
  const names = BY_LINK.filter((name) => filter[name]);
  show(node, names.length > 0);
  const wanted = names.map((name) => (name === "tanked" ? "with tanked ones" : `${name}: ${filter[name]}`));
  const shown = /** @type {HTMLElement[]} */ ([...node.children]);
  if (shown.map((button) => button.dataset.text).join("\n") === wanted.join("\n")) return;
  node.replaceChildren(...names.map((name, index) => pill(name, wanted[index])));
}

/** @param {string} name @param {string} text */
function pill(name, text) {
  const button = document.createElement("button");
  const told = { className: "pill user", title: "Show all again", textContent: `${visible(text)} ×` };
  Object.assign(button, { type: "button", ...told });
  Object.assign(button.dataset, { name, text });
  return button;
}

/**
 * @param {Parts} parts
 * @param {(items: Regression[], state: OverviewState) => void} rows
 * @param {OverviewState} state
 */
function paintList(parts, rows, state) {
  const { list } = state.data;
  const items = list?.items ?? [];
  const { tanked, ...rest } = state.view.filter;
  const filtered = Object.values(rest).some(Boolean);
  rows(items, state);
  show(parts.panel, items.length > 0);
  show(parts.more, Boolean(list?.next));
  show(parts.nothing, list !== null && items.length === 0 && filtered);
  const isBare = list !== null && items.length === 0 && !filtered && !state.problem;
  show(parts["only-tanked"], isBare && state.data.onlyTanked);
  show(parts.teach, isBare && !state.data.onlyTanked);
  setText(parts.summary, list === null ? (state.problem ? "" : "Loading…") : summary(items, list.next));
  const { curl, spool } = teachCommands(state.base, state.meta);
  setText(parts.curl, curl);
  setText(parts.spool, spool);
}

/** @param {Regression[]} items @param {string|null|undefined} next */
function summary(items, next) {
  const live = items.filter((item) => item.status === "live").length;
  const all = next ? `the first ${count(items.length)}` : count(items.length);
  return items.length === 0 ? "" : `${live ? `${count(live)} live, ` : ""}${all} shown`;
}

/** @param {Parts} parts @param {Regression} regression @param {OverviewState} state */
function paintRegressionRow(parts, regression, state) {
  const { counts } = regression;
  const eta = etaWords(regression, state.now);
  const progress = progressOf(regression);
  paintLink(parts.link, regressionAddress(state.root, regression), regression.name);
  setCell(parts.under, [regression.component, regression.branch, regression.tag].filter(Boolean).join(" · "));
  paintStatus(parts, regression, state.now);
  paintRegressionBar(parts.bar, regression);
  setCell(parts.percent, progress.percent, progress.words);
  setCell(parts.jobs, runningWords(regression), progress.words);
  for (const kind of KINDS) paintCount(parts[kind], counts[kind]);
  setText(parts.rate, rate(passRate(regression)));
  setText(parts.elapsed, ticking(regressionElapsed(regression, state.now)));
  setCell(parts.eta, eta.short, eta.long);
  paintTime(parts.started, regression.started_at, state.now);
  const heard = heardApart(regression, state.now);
  setCell(parts.heard, heard === null ? "" : `first seen ${moment(heard, state.now)}`, fullTime(heard));
  const runs = state.data.strips?.get(regression.series) ?? [];
  setAttribute(parts.strip, "aria-label", `Last runs of ${regression.series ?? ""}`);
  parts.paintStrip(runs, { root: state.root, series: regression.series, current: regression.id });
}

/** @param {Parts} parts @param {Regression} regression @param {number} now */
function paintStatus(parts, regression, now) {
  const isLive = regression.status === "live";
  const why = shortReason(regression, now);
  paintChip(parts.status, regression.status);
  setCell(parts.why, why, [statusSentence(regression), isLive && why].filter(Boolean).join("; "));
  setAttribute(parts.why, "data-alarm", isLive ? "yes" : null);
}

/** `12 running of 200`, as far as the publisher has told. @param {Regression} regression */
function runningWords({ running, submitted, status }) {
  const now = status === "live" && running ? `${count(running)} running` : "";
  if (!submitted) return now;
  return now ? `${now} of ${count(submitted)}` : `${count(submitted)} submitted`;
}
