// @ts-check
/** One regression: its head, and below it one of four views. See overview.js for what a mount is given and gives. */

/** @import {AnyState, Diff, Parts, Regression, RegressionActions, RegressionState} from "./types.js" */

import { addressOf, refOf, regressionAddress } from "./address.js";
import { mountCompare } from "./compare.js";
import { setAttribute, setCell, setText, show } from "./dom.js";
import { ago, count, fullTime, moment, parseTime, rate, ticking, visible } from "./format.js";
import { mountJobs } from "./jobs.js";
import { regressionFacts } from "./model-facts.js";
import { sinceParts, storyOf } from "./model-history.js";
import { barSegments, done, passRate, progressOf, statusSentence, total } from "./model-regression.js";
import { etaWords, regressionElapsed, sinceWords } from "./model-times.js";
import { factList, historyList, runStrip } from "./parts-lists.js";
import {
  KINDS, mount, paintChip, paintCount, paintLoading, paintProblem, paintRegressionBar, paintTime,
} from "./parts.js";
import { mountPictures } from "./pictures.js";

/** @type {Object<string, (host: HTMLElement, actions: RegressionActions) => (state: RegressionState) => void>} */
const TABS = { "": mountJobs, pictures: mountPictures, compare: mountCompare, history: mountStory };

/**
 * `actions`: `filter(patch)`, `chooseSignature(id)`, `more("signatures"|"jobs")` and `moreSoon(…)` (unasked, as the end
 * comes into sight), `look(ids)` (the live jobs in sight), `repaint()`, `go(address)`, `tank()`, `untank()`,
 * `finish()`, `badge()`, `filterHelp()`.
 * @param {HTMLElement} host
 * @param {RegressionActions} actions
 * @returns {(state: AnyState) => void}
 */
export function mountRegression(host, actions) {
  const parts = mount(host, "regression");
  const facts = factList(parts.facts);
  const metadata = factList(parts.metadata);
  const paintStrip = runStrip(parts.strip);
  const paintTab = mountTab(parts, actions);
  parts.tank.addEventListener("click", () => actions.tank());
  parts.untank.addEventListener("click", () => actions.untank());
  parts.finish.addEventListener("click", () => actions.finish());
  parts.badge.addEventListener("click", () => actions.badge());
  return (state) => {
    const { regression } = state.data;
    const missing = regression === null && state.problem?.status === 404;
    paintProblem(parts.problem, missing ? null : state.problem);
    show(parts.missing, missing);
    setText(parts["missing-name"], state.view.ref);
    show(parts.loading, regression === null && !state.problem);
    show(parts.body, regression !== null);
    if (regression === null) return;
    paintHead(parts, regression);
    paintFigures(parts, regression, state.now);
    paintSince(parts, paintStrip, state);
    const [told, named] = [regressionFacts(regression, state.now), regression.custom_metadata ?? []];
    facts(told);
    metadata(named);
    show(parts["metadata-section"], named.length > 0);
    show(parts["facts-panel"], told.length + named.length > 0);
    paintTab(state);
  };
}

/**
 * The view below the head is made anew when another one is chosen.
 * @param {Parts} parts
 * @param {RegressionActions} actions
 * @returns {(state: RegressionState) => void}
 */
function mountTab(parts, actions) {
  /** @type {string|null} */
  let shown = null;
  /** @type {(state: RegressionState) => void} */
  let update = () => {};
  return (state) => {
    const tab = state.view.filter.tab in TABS ? state.view.filter.tab : "";
    if (tab !== shown) update = TABS[tab](parts.tab, actions);
    shown = tab;
    for (const link of parts.tabs.children) {
      const kept = link.dataset.tab === tab ? state.view.filter : {};
      setAttribute(link, "href", addressOf(state.root, { ...state.view, filter: { ...kept, tab: link.dataset.tab } }));
      setAttribute(link, "aria-current", link.dataset.tab === tab ? "page" : null);
    }
    update(state);
  };
}

/** @param {Parts} parts @param {Regression} regression */
function paintHead(parts, regression) {
  const live = regression.status === "live";
  setCell(parts.name, regression.name);
  paintChip(parts.status, regression.status);
  setText(parts.sentence, statusSentence(regression));
  show(parts.finish, live);
  show(parts.tank, regression.status !== "tanked");
  show(parts.untank, regression.status === "tanked");
  show(parts.badge, Boolean(regression.series));
  paintRegressionBar(parts.bar, regression);
}

/** @param {Parts} parts @param {Regression} regression @param {number} now */
function paintFigures(parts, regression, now) {
  paintCounts(parts, regression);
  const eta = etaWords(regression, now);
  setText(parts.elapsed, ticking(regressionElapsed(regression, now)));
  setCell(parts.started, sinceWords(regression, now), `started ${fullTime(regression.started_at)}`);
  show(parts["eta-figure"], regression.status === "live");
  setText(parts.eta, eta.short);
  setText(parts["eta-note"], eta.long);
  paintActivity(parts, regression, now);
  const due = regression.status === "live" ? parseTime(regression.due_at) : null;
  setCell(parts.due, due === null ? "" : `times out ${moment(due, now)}`, fullTime(due));
}

/**
 * When it was last heard of, or, if it is over, when it ended.
 * @param {Parts} parts
 * @param {Regression} regression
 * @param {number} now
 */
function paintActivity(parts, { finished_at: finished, last_activity_at: heard }, now) {
  setText(parts["activity-word"], finished ? "Finished" : "Last activity");
  if (finished) paintTime(parts.activity, finished, now);
  else setCell(parts.activity, ago(heard, now), fullTime(heard));
}

/** @param {Parts} parts @param {Regression} regression */
function paintCounts(parts, regression) {
  const { counts, submitted } = regression;
  const [pending] = barSegments(regression).slice(-1);
  const progress = progressOf(regression);
  const isTotal = total(regression) !== null;
  const live = regression.status === "live";
  setText(parts.percent, isTotal ? progress.percent : count(done(counts)));
  setText(parts["jobs-done"], isTotal ? progress.words : done(counts) === 1 ? "job done" : "jobs done");
  for (const kind of KINDS) paintCount(parts[kind], counts[kind]);
  setText(parts.rate, passRate(regression) === null ? "" : `pass rate ${rate(passRate(regression))}`);
  setText(parts["fail-note"], counts.migrated ? `${count(counts.migrated)} of them cut off` : "");
  const isTold = live && regression.running && regression.running !== counts.live;
  setText(parts.running, isTold ? `publisher says ${count(regression.running)} running` : "");
  show(parts["live-figure"], live || counts.live > 0);
  show(parts["pending-figure"], live || pending.n > 0);
  setText(parts["pending-word"], pending.word.replace(/^./, (letter) => letter.toUpperCase()));
  paintCount(parts.pending, pending.n);
  setText(parts.submitted, submitted ? `${count(submitted)} submitted` : "total unknown");
}

/**
 * What has changed since the run before, each part a link into the comparison; and the last runs as a strip.
 * @param {Parts} parts
 * @param {ReturnType<typeof import("./parts-lists.js").runStrip>} paint
 * @param {RegressionState} state
 */
function paintSince(parts, paint, state) {
  const { regression, since, strip } = state.data;
  const runs = strip ?? [];
  const told = sinceParts(since, regression.status === "live");
  show(parts["since-line"], runs.length > 1 || since !== null);
  setAttribute(parts.strip, "aria-label", `Last runs of ${regression.series}`);
  paint(runs, { root: state.root, series: regression.series, current: regression.id });
  const { by } = state.view.filter;
  const compare = addressOf(state.root, { kind: "regression", ref: refOf(regression), filter: { tab: "compare", by } });
  paintSinceWords(parts.since, { since, told, compare, root: state.root, regression });
}

/**
 * @param {HTMLElement} node
 * @param {{
 *   since: Diff|null, told: ReturnType<typeof sinceParts>, compare: string, root: string, regression: Regression,
 * }} context
 */
function paintSinceWords(node, { since, told, compare, root, regression }) {
  const text = JSON.stringify([since?.base, told, compare, regression.status]);
  if (node.dataset.text === text) return;
  node.dataset.text = text;
  node.replaceChildren();
  if (!since) return;
  const before = link(regressionAddress(root, { id: since.base_id, name: since.base }), since.base);
  node.append("Since ", before, ": ");
  if (!told.length) node.append(regression.status === "live" ? "nothing has changed so far." : "nothing has changed.");
  told.forEach(({ text: words }, index) => node.append(index ? ", " : "", link(compare, words)));
}

/** @param {string} href @param {string} text */
function link(href, text) {
  const node = document.createElement("a");
  node.href = href;
  node.textContent = visible(text);
  return node;
}

/**
 * What happened to the run, and every death with its rule.
 * @param {HTMLElement} host
 * @returns {(state: RegressionState) => void}
 */
function mountStory(host) {
  const parts = mount(host, "tab-history");
  const paint = historyList(parts.history);
  return (state) => {
    const { history, deaths, named, regression } = state.data;
    const story = storyOf(history?.items ?? [], deaths?.items ?? []);
    paint(story, { ...state, named, regression });
    paintLoading(parts.loading, history === null, state.isLost);
    show(parts.nothing, history !== null && story.length === 0);
  };
}
