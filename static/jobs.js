/** The jobs of a regression: those that live, what failed and how often, and all of them. */

import { jobAddress } from "./address.js";
import { bindCopy, keyedList, setAttribute, setCell, setField, setText, show, whenTypingPauses } from "./dom.js";
import { ago, count, cut, duration, firstLine, fullTime, percent, plural, visible } from "./format.js";
import { isSlow, nextSort } from "./livejobs.js";
import {
  commonDomain, done, dueWords, elapsedWords, jobElapsed, jobProgress, jobTitle, reasonSentence, rerunLine, resultsShown,
  seedWords, shortHost, signatureSince,
} from "./model.js";
import { TYPING_MS, mount, paintLink, paintOutcome, paintPressed, paintProblem, paintShare } from "./parts.js";
import { scrollingRows } from "./rows.js";

const MESSAGE_CHARS = 5000;

/** See regression.js for the actions. */
export function mountJobs(host, actions) {
  const parts = mount(host, "tab-jobs");
  const paints = [mountLive(parts, actions), mountSignatures(parts, actions), mountTable(parts, actions)];
  return (state) => {
    const domain = commonDomain(hostsOf(state.data));
    paints.forEach((paint) => paint({ ...state, domain }));
  };
}

/** All hosts that the tables may name. */
function hostsOf({ live, signatures, jobs }) {
  const failing = (signatures?.items ?? []).flatMap((item) => item.hosts ?? []);
  return [...live.hosts(), ...failing.map(({ host }) => host), ...(jobs?.items ?? []).map(({ host }) => host)];
}

// ------------------------------------------------------------------------------------------------ live jobs

function mountLive(parts, actions) {
  const rows = scrollingRows(parts["live-panel"], {
    template: "live-row",
    key: (item) => item.id,
    paint: paintLiveRow,
    inSight: (items) => actions.look(items.filter((item) => item.job).map((item) => item.id)),
  });
  let filter = {};
  let sort = "";
  let height = 0;
  parts["live-q"].addEventListener("input", whenTypingPauses((live) => actions.filter({ live }), TYPING_MS / 2));
  parts["live-head"].addEventListener("click", (event) => {
    const column = event.target.closest("button")?.closest("th").dataset.sort;
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
    setText(parts.slow, `${count(found.slow)} slow for ${found.slow === 1 ? "its" : "their"} kind`);
    setText(parts["live-summary"], liveSummary(found.chosen, live.size, liveRead ? live.size : regression.counts.live));
    show(parts["live-nothing"], found.chosen === 0);
    setText(parts["live-nothing"], live.size ? "No live job matches." : "No job is live at this moment.");
  };
}

/** Lets a panel grow but not shrink, so that what lies below does not go up and down with it. */
function keepHeight(panel, before) {
  const height = Math.max(before, panel.getBoundingClientRect().height);
  if (height > before) panel.style.minHeight = `${height}px`;
  return height;
}

/** A column that no live job says anything for only takes room. */
function paintToldColumns(table, told, group) {
  setAttribute(table, "data-without", Object.keys(told).filter((name) => !told[name]).join(" ") || null);
  setAttribute(table, "data-group", group || null);
}

function liveSummary(chosen, loaded, all) {
  const whole = plural(Math.max(loaded, all), "job");
  const first = chosen === loaded ? whole : `${count(chosen)} of ${plural(loaded, "job")}`;
  return loaded < all ? `${first}; ${count(loaded)} loaded` : first;
}

function paintSort(head, sort) {
  const column = sort.replace(/^-/, "");
  for (const cell of head.children) {
    const chosen = cell.dataset.sort === column;
    setAttribute(cell, "aria-sort", chosen ? (sort.startsWith("-") ? "descending" : "ascending") : null);
  }
}

function paintLiveRow(parts, item, state) {
  const { job } = item;
  setAttribute(parts.row, "data-row", job ? null : "group");
  show(parts.link, Boolean(job));
  show(parts["host-group"], !job);
  if (job) paintLiveJob(parts, job, state);
  else paintHost(parts, item, state);
}

function paintHost(parts, { host, count: jobs }, { domain }) {
  setCell(parts["host-group"], `${shortHost(host, domain) || "no host told"}, ${plural(jobs, "job")}`, host);
  for (const name of ["seed", "host", "phase", "progress", "elapsed", "kind", "seen"]) setCell(parts[name], "");
  show(parts.bar, false);
  show(parts.percent, false);
}

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

/** How the job stands among its kind: `slow, usually 2m 10s`. */
function paintKind(node, job, now) {
  const slow = isSlow(job, now);
  setAttribute(node, "data-slow", slow ? "yes" : null);
  if (!job.usual_ms) return setCell(node, "");
  const usual = `usually ${duration(roundly(job.usual_ms))}`;
  const limit = `99 of 100 earlier passes of this test took less than ${duration(job.slow_after_ms)}`;
  return setCell(node, slow ? `slow, ${usual}` : usual, `${limit}; this one ${duration(jobElapsed(job, now))} so far`);
}

/** Seconds are enough for what takes seconds. */
function roundly(ms) {
  return ms < 10_000 ? ms : Math.round(ms / 1000) * 1000;
}

// ------------------------------------------------------------------------------------------------ signatures

function mountSignatures(parts, actions) {
  const unfolded = new Set();
  const rows = keyedList(parts.signatures, {
    template: "signature-row",
    key: (item) => item.id,
    paint: (row, item, state) => paintSignature(row, item, state, unfolded.has(item.id)),
    bind(row, item) {
      bindSignature(row, item, actions, unfolded);
      row.choose.addEventListener("click", () => {
        actions.chooseSignature(item().id);
        showChosen(parts);
      });
    },
  });
  parts["signatures-more"].addEventListener("click", () => actions.more("signatures"));
  return (state) => {
    const { signatures, regression, since } = state.data;
    const items = signatures?.items ?? [];
    show(parts["signatures-section"], items.length > 0);
    setText(parts["signatures-summary"], signaturesSummary(items, signatures?.next));
    const several = new Set(items.flatMap((item) => item.hosts ?? []).map(({ host }) => host)).size > 1;
    const back = new Set(since?.signatures?.new.map(({ id }) => id));
    setAttribute(parts["signatures-table"], "data-without", several ? null : "hosts");
    rows(items, { ...state, fails: regression.counts.fail, several, back });
    show(parts["signatures-more"], Boolean(signatures?.next));
  };
}

function signaturesSummary(items, next) {
  const fresh = items.filter((item) => item.new).length;
  const number = `${count(items.length)}${next ? " or more" : ""}`;
  return `${number}${fresh ? `, ${count(fresh)} never seen before` : ""}`;
}

/** Goes to the jobs of the signature that has been chosen: they may lie below what is in sight. */
function showChosen(parts) {
  if (parts["by-signature"].hidden) return;
  parts["jobs-section"].scrollIntoView({ block: "nearest" });
  parts.unsign.focus({ preventScroll: true });
}

function bindSignature(row, item, actions, unfolded) {
  row.unfold.addEventListener("click", () => {
    const { id } = item();
    if (!unfolded.delete(id)) unfolded.add(id);
    actions.repaint();
  });
  bindCopy(row.rerun, () => rerunLine(item().example));
}

function paintSignature(parts, item, state, isUnfolded) {
  const fails = Math.max(state.fails, item.count);
  setText(parts.count, count(item.count));
  setAttribute(parts.count, "title", `${percent(item.count, fails)} of all fails`);
  paintShare(parts.bar, "fail", item.count / fails);
  setCell(parts.choose, item.title);
  paintPressed(parts.choose, state.view.filter.signature === String(item.id));
  setCell(parts.category, item.category ?? "");
  paintOrigin(parts, item, state);
  paintHosts(parts, item, state);
  show(parts.example, Boolean(item.example));
  if (item.example) paintExample(parts, item.example, state.root);
  setAttribute(parts.unfold, "aria-expanded", String(isUnfolded));
  show(parts.unfold, Boolean(item.example?.fail_message));
  show(parts.detail, isUnfolded);
  if (isUnfolded) paintMessage(parts, item.example);
}

function paintOrigin(parts, item, state) {
  const { series = [], count: others = 0 } = item.elsewhere ?? {};
  paintNew(parts.new, item, state);
  setCell(parts.origin, item.new ? "" : signatureSince(item, state.now), fullTime(item.first_seen_at));
  const more = others > series.length ? ` and ${count(others - series.length)} more` : "";
  setCell(parts.elsewhere, others ? `also in ${series.join(", ")}${more}` : "");
}

/** `new` is what nobody has seen before, `back` what the run before did not have. */
function paintNew(node, item, { back, data }) {
  const isBack = !item.new && back.has(item.id);
  show(node, Boolean(item.new) || isBack);
  setCell(node, isBack ? "back" : "new", isBack ? `seen before, but not in ${data.since.base}` : "never seen before");
}

/** Fails that gather on one host are worth a look at the host; where the whole run has no other, no host is. */
function paintHosts(parts, item, { several, domain }) {
  const [most] = several ? item.hosts ?? [] : [];
  const all = plural(item.hosts_count ?? 0, "host");
  const isOne = most?.count === item.count;
  const gathers = item.count > 3 && most && most.count * 2 > item.count;
  const names = (item.hosts ?? []).map(({ host, count: fails }) => `${host}: ${count(fails)}`).join(", ");
  const words = isOne || gathers ? placeWords(item.count, most, domain) : all;
  setCell(parts.hosts, most ? words : "", names);
  setAttribute(parts.hosts, "data-gathers", gathers ? "yes" : null);
  setCell(parts["hosts-rest"], gathers && !isOne ? all : "");
}

/** `22 of 23 on n1`, `all on n1`, or `n1` alone for a single fail. */
function placeWords(fails, { host, count: there }, domain) {
  const name = shortHost(host, domain);
  if (fails === 1) return name;
  return `${there === fails ? "all" : `${count(there)} of ${count(fails)}`} on ${name}`;
}

function paintExample(parts, example, root) {
  const text = [jobTitle(example), seedWords(example)].filter(Boolean).join(", ");
  paintLink(parts.example, jobAddress(root, example.id), text, firstLine(example.fail_message) || text);
  setText(parts.runtime, example.runtime_ms ? duration(example.runtime_ms) : "");
  show(parts.rerun, Boolean(rerunLine(example)));
}

/** The message as it came; what the bucketing left out of its first line is struck out. */
function paintMessage(parts, { fail_message: message, pieces }) {
  show(parts.erased, Boolean(pieces?.some(([, isErased]) => isErased)));
  if (parts.message.dataset.shown === message) return;
  parts.message.dataset.shown = message;
  if (!pieces) return parts.message.replaceChildren(visible(cut(message, MESSAGE_CHARS)));
  const first = pieces.reduce((length, [text]) => length + text.length, 0);
  const rest = message.trimStart().slice(first);
  return parts.message.replaceChildren(
    ...pieces.map(([text, isErased]) => (isErased ? struck(text) : visible(text))),
    visible(cut(rest, MESSAGE_CHARS)),
  );
}

function struck(text) {
  const node = document.createElement("del");
  node.textContent = visible(text);
  return node;
}

// ------------------------------------------------------------------------------------------------ all jobs

function mountTable(parts, actions) {
  let list = null;
  let sort = "";
  let standard = "all"; // what is shown where the address says nothing
  const rows = scrollingRows(parts["jobs-panel"], {
    template: "job-row",
    key: (job) => job.id,
    paint: paintJobRow,
    atEnd: () => list?.next && actions.moreSoon("jobs"),
  });
  parts.results.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) actions.filter({ result: button.dataset.result === standard ? "" : button.dataset.result });
  });
  parts.q.addEventListener("input", whenTypingPauses((q) => actions.filter({ q }), TYPING_MS));
  parts.sort.addEventListener("change", () => actions.filter({ sort: parts.sort.value }));
  parts["jobs-head"].addEventListener("click", (event) => {
    const column = event.target.closest("button")?.closest("th").dataset.sort;
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
    const isFound = narrowed && list?.items.length > 0 && !list.isOld;
    setText(parts["jobs-summary"], isFound ? matchWords(list) : "");
    show(parts["jobs-nothing"], list !== null && list.items.length === 0);
    const none = standard === "done" ? "No job has finished yet." : "No jobs yet.";
    setText(parts["jobs-nothing"], narrowed ? "No job matches this filter." : none);
    show(parts["jobs-more"], Boolean(list?.next));
  };
}

/** How many jobs a filter has found, as far as they have been read. */
function matchWords({ items, next }) {
  return next ? `the first ${count(items.length)} that match` : `${plural(items.length, "job")} found`;
}

function isNarrowed(filter) {
  const isWhole = ["", "all", "done"].includes(filter.result);
  return !isWhole || Boolean(filter.signature || filter.q);
}

function paintFilters(parts, state) {
  const { filter } = state.view;
  const { counts } = state.data.regression;
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

function signatureTitle({ data, view }) {
  const id = view.filter.signature;
  const listed = data.signatures?.items.find((item) => String(item.id) === id);
  const met = data.jobs?.items.find((job) => String(job.signature?.id) === id);
  return cut(listed?.title ?? met?.signature.title ?? `signature ${id}`, 200);
}

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

function jobLine(job) {
  if (job.fail_message) return firstLine(job.fail_message);
  return job.result === "live" ? job.phase ?? "" : job.signature?.title ?? "";
}
