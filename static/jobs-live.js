// @ts-check
/**
 * The table of live jobs. In: the live jobs of a regression (livejobs.js). Out: the rows in sight; what the reader
 * wants goes up through `actions`.
 */

/** @import {Filter, HostHead, Job, LiveRow, Parts, RegressionActions, TablesState} from "./types.js" */

import { jobAddress } from "./address.js";
import { pressedIn, setAttribute, setCell, setField, setText, show, whenTypingPauses } from "./dom.js";
import { ago, count, duration, fullTime, percent, plural } from "./format.js";
import { isSlow, nextSort } from "./livejobs.js";
import { dueWords, elapsedWords, jobElapsed, jobProgress, jobTitle, seedWords, shortHost } from "./model-job.js";
import { TYPING_MS, paintLink, paintPressed, paintShare, paintSort } from "./parts.js";
import { scrollingRows } from "./rows.js";

/** @param {Parts} parts @param {RegressionActions} actions @returns {(state: TablesState) => void} */
export function mountLive(parts, actions) {
  const rows = scrollingRows(parts["live-panel"], {
    template: "live-row",
    key: (item) => item.id,
    paint: paintLiveRow,
    inSight: (items) => actions.look(items.flatMap((item) => (item.job ? [item.job.id] : []))),
  });
  /** @type {Filter} */
  let filter = {};
  let sort = "";
  let height = 0;
  parts["live-q"].addEventListener("input", whenTypingPauses((live) => actions.filter({ live }), TYPING_MS / 2));
  parts["live-head"].addEventListener("click", (/** @type {Event} */ event) => {
    const column = pressedIn(event, "button")?.closest("th").dataset.sort;
    if (column) actions.filter({ livesort: nextSort(sort, column) });
  });
  parts.slow.addEventListener("click", () => actions.filter({ slow: filter.slow ? "" : "1" }));
  parts.group.addEventListener("click", () => actions.filter({ group: filter.group ? "" : "host" }));
  return (state) => {
    ({ filter } = state.view);
    const { live, liveRead, regression } = state.data;
    const [slow, byHost] = [filter.slow === "1", filter.group === "host"];
    const found = live.rows({ text: filter.live, sort: filter.livesort, slow, byHost }, state.now);
    ({ sort } = found);
    show(parts["live-section"], live.size > 0 || filter.live !== "" || (height > 0 && regression.status === "live"));
    rows(found.rows, state);
    height = keepHeight(parts["live-panel"], height);
    setField(parts["live-q"], filter.live);
    paintToldColumns(parts["live-table"], found.told, filter.group);
    paintSort(parts["live-head"], sort);
    paintPressed(parts.group, byHost);
    paintPressed(parts.slow, slow);
    show(parts.slow, found.slow > 0 || slow);
    setText(parts.slow, plural(found.slow, "slow job"));
    setText(parts["live-summary"], liveSummary(found.chosen, live.size, liveRead ? live.size : regression.counts.live));
    show(parts["live-nothing"], found.chosen === 0);
    setText(parts["live-nothing"], live.size ? "No live job matches." : "No job is live at this moment.");
  };
}

/**
 * Lets a panel grow but not shrink, so that what lies below does not go up and down with it.
 * @param {HTMLElement} panel
 * @param {number} before
 */
function keepHeight(panel, before) {
  const height = Math.max(before, panel.getBoundingClientRect().height);
  if (height > before) panel.style.minHeight = `${height}px`;
  return height;
}

/**
 * A column that no live job says anything for only takes room.
 * @param {HTMLElement} table
 * @param {Object<string, boolean>} told
 * @param {string} group
 */
function paintToldColumns(table, told, group) {
  setAttribute(table, "data-without", Object.keys(told).filter((name) => !told[name]).join(" ") || null);
  setAttribute(table, "data-group", group || null);
}

/** @param {number} chosen @param {number} loaded @param {number} all */
function liveSummary(chosen, loaded, all) {
  const whole = plural(Math.max(loaded, all), "job");
  const first = chosen === loaded ? whole : `${count(chosen)} of ${plural(loaded, "job")}`;
  return loaded < all ? `${first}; ${count(loaded)} loaded` : first;
}

/** @param {Parts} parts @param {LiveRow} item @param {TablesState} state */
function paintLiveRow(parts, item, state) {
  const { job } = item;
  setAttribute(parts.row, "data-row", job ? null : "group");
  show(parts.link, Boolean(job));
  show(parts["host-group"], !job);
  if (job) paintLiveJob(parts, job, state);
  else paintHost(parts, item, state);
}

/** @param {Parts} parts @param {HostHead} context @param {TablesState} context */
function paintHost(parts, { host, count: jobs }, { domain }) {
  setCell(parts["host-group"], `${shortHost(host, domain) || "no host"}, ${plural(jobs, "job")}`, host);
  for (const name of ["seed", "host", "phase", "progress", "elapsed", "kind", "seen"]) setCell(parts[name], "");
  show(parts.bar, false);
  show(parts.percent, false);
}

/** @param {Parts} parts @param {Job} job @param {TablesState} state */
function paintLiveJob(parts, job, state) {
  const progress = jobProgress(job.progress);
  const fraction = progress?.fraction ?? null;
  paintLink(parts.link, jobAddress(state.root, job.id), jobTitle(job), job.config || jobTitle(job));
  setCell(parts.seed, seedWords(job));
  setCell(parts.host, shortHost(job.host, state.domain), job.host ?? "");
  setCell(parts.phase, job.phase ?? "");
  show(parts.bar, fraction !== null);
  show(parts.percent, fraction !== null);
  if (fraction !== null) paintShare(parts.bar, "live", fraction);
  setText(parts.percent, fraction === null ? "" : percent(fraction, 1));
  setCell(parts.progress, progress?.words ?? "");
  setCell(parts.elapsed, elapsedWords(job, state.now), dueWords(job, state.now));
  paintKind(parts.kind, job, state.now);
  setCell(parts.seen, ago(job.last_seen_at, state.now), fullTime(job.last_seen_at));
}

/**
 * How the job stands among its kind: `slow, usually 2m 10s`.
 * @param {HTMLElement} node
 * @param {Job} job
 * @param {number} now
 */
function paintKind(node, job, now) {
  const slow = isSlow(job, now);
  setAttribute(node, "data-slow", slow ? "yes" : null);
  if (!job.usual_ms) return setCell(node, "");
  const usual = `usually ${duration(roundly(job.usual_ms))}`;
  const limit = `99 of 100 earlier passes of this test took less than ${duration(job.slow_after_ms)}`;
  return setCell(node, slow ? `slow, ${usual}` : usual, `${limit}; this one ${duration(jobElapsed(job, now))} so far`);
}

/** Seconds are enough for what takes seconds. @param {number} ms */
function roundly(ms) {
  return ms < 10_000 ? ms : Math.round(ms / 1000) * 1000;
}
