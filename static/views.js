/**
 * The three views: a `mount…(host, actions)` builds the frame from its template and gives `update(state)`, which may
 * be called any number of times and always paints the whole truth. Data comes down by `update`; what the reader
 * wants goes up through `actions`.
 *
 * `state` is `{root, base, now, meta, view, data, problem}`: `view` from the address, `data` what has been read so
 * far (null where nothing was yet).
 */

import { jobAddress, regressionAddress, safeLink } from "./address.js";
import {
  bindCopy, instantiate, keyedList, setAttribute, setCell, setField, setText, setWeight, show, whenTypingPauses,
} from "./dom.js";
import {
  NOTHING, ago, bytes, count, cut, duration, firstLine, fullTime, moment, parseTime, percent, plain, plural, rate,
  ticking,
} from "./format.js";
import {
  barLabel, barSegments, changedWords, done, elapsedWords, etaWords, historyWord, jobFacts, jobProgress, jobTitle,
  liveRows, nextSort, passRate, problemSentence, progressOf, reasonSentence, regressionElapsed, regressionFacts,
  statusSentence, teachCommands, total,
} from "./model.js";

const TYPING_MS = 200;
const LONG_TEXT = 20_000;
const LONGEST_TEXT = 200_000;

// ------------------------------------------------------------------------------------------------ small parts

/** A bar of parts whose widths follow their numbers; made once, then only weights change. */
function paintBar(node, segments) {
  while (node.children.length < segments.length) node.append(document.createElement("i"));
  segments.forEach(({ kind, n }, index) => {
    const part = node.children[index];
    setAttribute(part, "data-kind", kind);
    setWeight(part, n);
    show(part, n > 0);
  });
}

/** The bar of a regression, with its figures as label and tooltip. */
function paintRegressionBar(node, regression) {
  const segments = barSegments(regression);
  paintBar(node, segments);
  setAttribute(node, "aria-label", barLabel(segments));
  setAttribute(node, "title", barLabel(segments));
}

/** A share as a bar of one colour. */
function paintShare(node, kind, fraction) {
  paintBar(node, [{ kind, n: fraction }, { kind: "pending", n: 1 - fraction }]);
}

function paintChip(node, word) {
  setAttribute(node, "data-kind", word);
  setText(node, word);
}

function paintCount(node, number) {
  setText(node, count(number));
  node.classList.toggle("zero", number === 0);
}

function paintTime(node, time, now) {
  setCell(node, moment(time, now), fullTime(time));
}

function paintLink(node, href, text, title = text) {
  setAttribute(node, "href", href);
  setCell(node, text, title);
}

/** A list of `[label, value]` pairs; labels may repeat, so the place is part of the key. */
function factList(parent) {
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

function paintProblem(node, problem) {
  show(node, Boolean(problem));
  setText(node, problem ? problemSentence(problem) : "");
}

function mount(host, id) {
  const { root, parts } = instantiate(id);
  host.replaceChildren(root);
  return parts;
}

// ------------------------------------------------------------------------------------------------ overview

/**
 * The list of regressions. `actions`: `filter(patch)`, `more()`.
 * @param {Element} host
 * @param {object} actions
 * @returns {(state: object) => void}
 */
export function mountOverview(host, actions) {
  const parts = mount(host, "overview");
  const rows = keyedList(parts.rows, { template: "regression-row", key: (item) => item.id, paint: paintRegressionRow });
  bindOverview(parts, actions);
  return (state) => {
    paintFilters(parts, state.view.filter);
    paintProblem(parts.problem, state.problem);
    paintOverviewList(parts, rows, state);
  };
}

function bindOverview(parts, actions) {
  parts.filters.addEventListener("submit", (event) => event.preventDefault());
  parts.q.addEventListener("input", whenTypingPauses((q) => actions.filter({ q }), TYPING_MS));
  parts.status.addEventListener("change", () => actions.filter({ status: parts.status.value }));
  parts.tanked.addEventListener("change", () => actions.filter({ tanked: parts.tanked.checked ? "1" : "" }));
  const nothing = { q: "", status: "", series: "", branch: "", component: "" };
  parts.clear.addEventListener("click", () => actions.filter(nothing));
  parts.more.addEventListener("click", () => actions.more());
  parts.narrowed.addEventListener("click", (event) => {
    const name = event.target.closest("button")?.dataset.name;
    if (name) actions.filter({ [name]: "" });
  });
  bindCopy(parts["copy-curl"], () => parts.curl.textContent);
  bindCopy(parts["copy-spool"], () => parts.spool.textContent);
}

function paintFilters(parts, filter) {
  setField(parts.q, filter.q);
  setField(parts.status, filter.status);
  parts.tanked.checked = filter.tanked === "1";
  paintNarrowed(parts.narrowed, filter);
}

/** Filters that come by a link (series, branch, component), each with a button that lifts it. */
function paintNarrowed(node, filter) {
  const names = ["series", "branch", "component"].filter((name) => filter[name]);
  show(node, names.length > 0);
  const wanted = names.map((name) => `${name}: ${filter[name]}`);
  if ([...node.children].map((button) => button.dataset.text).join("\n") === wanted.join("\n")) return;
  node.replaceChildren(...names.map((name, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "pill user";
    button.dataset.name = name;
    button.dataset.text = wanted[index];
    button.title = "Show all again";
    button.textContent = `${wanted[index]} ×`;
    return button;
  }));
}

function paintOverviewList(parts, rows, state) {
  const list = state.data.list;
  const items = list?.items ?? [];
  const { tanked, ...rest } = state.view.filter;
  const filtered = Object.values(rest).some(Boolean);
  rows(items, state);
  show(parts.panel, items.length > 0);
  show(parts.more, Boolean(list?.next));
  show(parts.nothing, list !== null && items.length === 0 && filtered);
  show(parts.teach, list !== null && items.length === 0 && !filtered && !state.problem);
  setText(parts.summary, list === null ? (state.problem ? "" : "Loading…") : overviewSummary(items, list.next));
  const { curl, spool } = teachCommands(state.base, state.meta);
  setText(parts.curl, curl);
  setText(parts.spool, spool);
}

function overviewSummary(items, next) {
  const live = items.filter((item) => item.status === "live").length;
  const all = next ? `the first ${count(items.length)}` : count(items.length);
  return items.length === 0 ? "" : `${live ? `${count(live)} live, ` : ""}${all} shown`;
}

function paintRegressionRow(parts, regression, state) {
  const { counts } = regression;
  const eta = etaWords(regression, state.now);
  const progress = progressOf(regression);
  paintLink(parts.link, regressionAddress(state.root, regression), regression.name);
  setCell(parts.under, [regression.component, regression.branch, regression.tag].filter(Boolean).join(" · "));
  paintChip(parts.status, regression.status);
  setAttribute(parts.status, "title", statusSentence(regression) || null);
  paintRegressionBar(parts.bar, regression);
  setCell(parts.percent, progress.percent, progress.words);
  for (const kind of ["pass", "fail", "skip", "live"]) paintCount(parts[kind], counts[kind]);
  setText(parts.rate, rate(passRate(regression)));
  setText(parts.elapsed, ticking(regressionElapsed(regression, state.now)));
  setCell(parts.eta, eta.short, eta.long);
  paintTime(parts.started, regression.started_at, state.now);
}

// ------------------------------------------------------------------------------------------------ regression

/**
 * One regression. `actions`: `filter(patch)`, `chooseSignature(id)`, `more("live"|"signatures"|"jobs")`, `tank()`,
 * `untank()`, `finish()`.
 * @param {Element} host
 * @param {object} actions
 * @returns {(state: object) => void}
 */
export function mountRegression(host, actions) {
  const parts = mount(host, "regression");
  const facts = factList(parts.facts);
  const metadata = factList(parts.metadata);
  const paintLive = mountLive(parts, actions);
  const paintSignatures = mountSignatures(parts, actions);
  const paintJobs = mountJobs(parts, actions);
  for (const name of ["tank", "untank", "finish"]) parts[name].addEventListener("click", () => actions[name]());
  return (state) => {
    const { regression } = state.data;
    const missing = regression === null && state.problem?.status === 404;
    paintProblem(parts.problem, missing ? null : state.problem);
    show(parts.missing, missing);
    setText(parts["missing-name"], state.view.ref);
    show(parts.loading, regression === null && !state.problem);
    show(parts.body, regression !== null);
    if (regression === null) return;
    paintRegressionHead(parts, regression, state);
    paintFigures(parts, regression, state.now);
    facts(regressionFacts(regression, state.now));
    metadata(regression.custom_metadata ?? []);
    show(parts["metadata-section"], (regression.custom_metadata ?? []).length > 0);
    paintLive(state);
    paintSignatures(state);
    paintJobs(state);
  };
}

function paintRegressionHead(parts, regression) {
  const live = regression.status === "live";
  setCell(parts.name, regression.name);
  paintChip(parts.status, regression.status);
  setText(parts.sentence, statusSentence(regression));
  show(parts.finish, live);
  show(parts.tank, regression.status !== "tanked");
  show(parts.untank, regression.status === "tanked");
  paintRegressionBar(parts.bar, regression);
}

function paintFigures(parts, regression, now) {
  paintCounts(parts, regression);
  const eta = etaWords(regression, now);
  setText(parts.elapsed, ticking(regressionElapsed(regression, now)));
  setCell(parts.started, `since ${moment(regression.started_at, now)}`, fullTime(regression.started_at));
  show(parts["eta-figure"], regression.status === "live");
  setText(parts.eta, eta.short);
  setText(parts["eta-note"], eta.long);
  setCell(parts.activity, ago(regression.last_activity_at, now), fullTime(regression.last_activity_at));
  const due = regression.status === "live" ? parseTime(regression.due_at) : null;
  setCell(parts.due, due === null ? "" : `times out ${moment(due, now)}`, fullTime(due));
}

function paintCounts(parts, regression) {
  const { counts } = regression;
  const pending = barSegments(regression).find((segment) => segment.kind === "pending");
  const progress = progressOf(regression);
  const isTotal = total(regression) !== null;
  setText(parts.percent, isTotal ? progress.percent : count(done(counts)));
  setText(parts["jobs-done"], isTotal ? progress.words : "jobs done");
  for (const kind of ["pass", "fail", "skip", "live"]) paintCount(parts[kind], counts[kind]);
  setText(parts.rate, passRate(regression) === null ? "" : `pass rate ${rate(passRate(regression))}`);
  setText(parts["fail-note"], counts.migrated ? `${count(counts.migrated)} of them cut off` : "");
  setText(parts.running, regression.running ? `${count(regression.running)} running (publisher)` : "");
  const live = regression.status === "live";
  show(parts["live-figure"], live || counts.live > 0);
  show(parts["pending-figure"], live || pending.n > 0);
  setText(parts["pending-word"], pending.word.replace(/^./, (letter) => letter.toUpperCase()));
  paintCount(parts.pending, pending.n);
  const { submitted } = regression;
  setText(parts.submitted, submitted ? `${count(submitted)} submitted` : "number submitted not told");
}

/** The table of running jobs: filtered and sorted here, since all of them are at hand. */
function mountLive(parts, actions) {
  const rows = keyedList(parts["live-rows"], { template: "live-row", key: (job) => job.id, paint: paintLiveRow });
  let sort = "";
  parts["live-q"].addEventListener("input", whenTypingPauses((live) => actions.filter({ live }), TYPING_MS / 2));
  parts["live-head"].addEventListener("click", (event) => {
    const column = event.target.closest("th")?.dataset.sort;
    if (column) actions.filter({ livesort: nextSort(sort, column) });
  });
  parts["live-more"].addEventListener("click", () => actions.more("live"));
  return (state) => {
    const { live, liveShown, regression } = state.data;
    sort = state.view.filter.livesort;
    const items = live?.items ?? [];
    const chosen = liveRows(items, state.view.filter.live, sort, state.now);
    show(parts["live-section"], items.length > 0 || state.view.filter.live !== "");
    setField(parts["live-q"], state.view.filter.live);
    rows(chosen.slice(0, liveShown), state);
    paintToldColumns(parts["live-table"], items);
    paintSort(parts["live-head"], sort);
    const all = live?.next ? Math.max(regression.counts.live, items.length) : items.length;
    setText(parts["live-summary"], liveSummary(chosen.length, items.length, all));
    show(parts["live-nothing"], chosen.length === 0);
    paintMore(parts["live-more"], chosen.length - liveShown, Boolean(live?.next));
  };
}

/** A column that no live job says anything for only takes room. */
function paintToldColumns(table, items) {
  setAttribute(table, "data-phases", items.some((job) => job.phase) ? null : "none");
  setAttribute(table, "data-progress", items.some((job) => job.progress) ? null : "none");
}

function liveSummary(chosen, loaded, all) {
  const first = chosen === loaded ? plural(all, "job") : `${count(chosen)} of ${plural(all, "job")}`;
  return loaded < all ? `${first}; ${count(loaded)} loaded` : first;
}

function paintMore(button, hidden, further) {
  show(button, hidden > 0 || further);
  setText(button, hidden > 0 ? `Show ${count(Math.min(hidden, 100))} more` : "Load more");
}

function paintSort(head, sort) {
  const column = sort.replace(/^-/, "");
  for (const cell of head.children) {
    const chosen = cell.dataset.sort === column;
    setAttribute(cell, "aria-sort", chosen ? (sort.startsWith("-") ? "descending" : "ascending") : null);
  }
}

function paintLiveRow(parts, job, state) {
  const progress = jobProgress(job.progress);
  paintLink(parts.link, jobAddress(state.root, job.id), jobTitle(job), job.config || jobTitle(job));
  setCell(parts.host, job.host ?? "");
  setCell(parts.phase, job.phase ?? "");
  show(parts.bar, progress?.fraction !== null && progress !== null);
  if (progress?.fraction !== null && progress) paintShare(parts.bar, "live", progress.fraction);
  setText(parts.percent, progress?.fraction === null || !progress ? "" : percent(progress.fraction, 1));
  setCell(parts.progress, progress?.words ?? "");
  setCell(parts.elapsed, elapsedWords(job, state.now), dueWords(job, state.now));
  setCell(parts.seen, ago(job.last_seen_at, state.now), fullTime(job.last_seen_at));
}

/** What becomes of a live job if nothing comes: its own time limit, or being forgotten. */
function dueWords(job, now) {
  const due = parseTime(job.due_at);
  if (due === null || job.result !== "live") return "";
  return job.time_limit_ms ? `time limit ${moment(due, now)}` : `kept without news until ${moment(due, now)}`;
}

function mountSignatures(parts, actions) {
  const rows = keyedList(parts.signatures, {
    template: "signature-row",
    key: (item) => item.id,
    paint: paintSignatureRow,
    bind: (row, item) => row.choose.addEventListener("click", () => actions.chooseSignature(item().id)),
  });
  parts["signatures-more"].addEventListener("click", () => actions.more("signatures"));
  return (state) => {
    const { signatures, regression } = state.data;
    const items = signatures?.items ?? [];
    show(parts["signatures-section"], items.length > 0);
    const number = `${count(items.length)}${signatures?.next ? " or more" : ""}`;
    setText(parts["signatures-summary"], `${number}, the most frequent first; press one to see its jobs`);
    rows(items, { ...state, fails: regression.counts.fail });
    show(parts["signatures-more"], Boolean(signatures?.next));
  };
}

function paintSignatureRow(parts, item, state) {
  const chosen = state.view.filter.signature === String(item.id);
  const fails = Math.max(state.fails, item.count);
  setText(parts.count, count(item.count));
  paintShare(parts.bar, "fail", item.count / fails);
  setText(parts.percent, percent(item.count, fails));
  setCell(parts.choose, item.title);
  setAttribute(parts.choose, "aria-pressed", String(chosen));
  show(parts.new, Boolean(item.new));
  setCell(parts.category, item.category ?? "");
  show(parts.example, Boolean(item.example));
  if (item.example) paintExample(parts.example, item.example, state.root);
  setText(parts.runtime, item.example?.runtime_ms ? duration(item.example.runtime_ms) : "");
}

function paintExample(node, example, root) {
  const text = [jobTitle(example), example.seed && `seed ${example.seed}`].filter(Boolean).join(", ");
  paintLink(node, jobAddress(root, example.id), text, firstLine(example.fail_message) || text);
}

function mountJobs(parts, actions) {
  const rows = keyedList(parts.jobs, { template: "job-row", key: (job) => job.id, paint: paintJobRow });
  parts.results.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) actions.filter({ result: button.dataset.result });
  });
  parts.q.addEventListener("input", whenTypingPauses((q) => actions.filter({ q }), TYPING_MS));
  parts.sort.addEventListener("change", () => actions.filter({ sort: parts.sort.value }));
  parts.unsign.addEventListener("click", () => actions.filter({ signature: "" }));
  parts["jobs-more"].addEventListener("click", () => actions.more("jobs"));
  return (state) => {
    const { jobs } = state.data;
    paintJobFilters(parts, state);
    rows(jobs?.items ?? [], state);
    show(parts["jobs-nothing"], jobs !== null && jobs.items.length === 0);
    setText(parts["jobs-nothing"], isNarrowed(state.view.filter) ? "No job matches this filter." : "No jobs yet.");
    show(parts["jobs-more"], Boolean(jobs?.next));
  };
}

function isNarrowed(filter) {
  return Boolean(filter.result || filter.signature || filter.q);
}

function paintJobFilters(parts, state) {
  const { filter } = state.view;
  const { counts } = state.data.regression;
  for (const button of parts.results.children) {
    const { result } = button.dataset;
    const number = result ? counts[result] : done(counts) + counts.live;
    setAttribute(button, "aria-pressed", String(filter.result === result));
    setText(button, `${result ? result[0].toUpperCase() + result.slice(1) : "All"} ${count(number)}`);
  }
  setField(parts.q, filter.q);
  setField(parts.sort, filter.sort);
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
  paintChip(parts.result, job.result);
  setAttribute(parts.result, "title", reasonSentence(job.reason) || null);
  paintLink(parts.link, jobAddress(state.root, job.id), jobTitle(job), job.config || jobTitle(job));
  setCell(parts.seed, job.seed ?? "");
  setCell(parts.host, job.host ?? "");
  setText(parts.runtime, elapsedWords(job, state.now));
  setCell(parts.message, jobLine(job), job.fail_message ?? "");
}

function jobLine(job) {
  if (job.fail_message) return firstLine(job.fail_message);
  return job.result === "live" ? job.phase ?? "" : job.signature?.title ?? "";
}

// ------------------------------------------------------------------------------------------------ job

/**
 * One job. `actions`: `tank()`, `more("history")`.
 * @param {Element} host
 * @param {object} actions
 * @returns {(state: object) => void}
 */
export function mountJob(host, actions) {
  const parts = mount(host, "job");
  const lists = Object.fromEntries(["facts", "extra", "metadata", "env"].map((name) => [name, factList(parts[name])]));
  const files = keyedList(parts.files, { template: "file-row", key: (file) => file.index, paint: paintFile });
  const paintHistory = mountHistory(parts, actions);
  const paintFail = mountFail(parts);
  let job = null;
  parts.tank.addEventListener("click", () => actions.tank());
  bindCopy(parts["copy-config"], () => job.config);
  bindCopy(parts["copy-jobdir"], () => job.jobdir);
  bindCopy(parts["copy-fail"], () => job.fail_message);
  return (state) => {
    ({ job } = state.data);
    paintProblem(parts.problem, state.problem);
    show(parts.loading, job === null && !state.problem);
    show(parts.body, job !== null);
    if (job === null) return;
    paintJobHead(parts, job, state);
    paintJobFigures(parts, job, state.now);
    paintFail(job, state.root);
    paintRerun(parts, job);
    paintDetails(parts, lists, files, job);
    paintHistory(state);
  };
}

function paintJobHead(parts, job, state) {
  const last = state.data.history?.items.findLast((entry) => entry.description && entry.result !== "live");
  setCell(parts.name, jobTitle(job));
  paintChip(parts.result, job.result);
  const told = job.reason && !job.fail_message && last?.description;
  setText(parts.sentence, [reasonSentence(job.reason), told].filter(Boolean).join(" "));
  show(parts.tank, job.result === "live");
}

function paintJobFigures(parts, job, now) {
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
  setText(parts.limit, job.time_limit_ms ? dueWords(job, now) : "");
  setCell(parts.host, job.host || NOTHING);
  setCell(parts.seed, job.seed || NOTHING);
  paintJobTimes(parts, job, live, now);
}

function paintJobTimes(parts, job, live, now) {
  const started = job.start_time ?? job.started_at;
  paintTime(parts.started, started, now);
  const submitted = parseTime(job.submitted_at);
  setText(parts.submitted, live && submitted !== null ? `first heard of ${moment(submitted, now)}` : "");
  show(parts["finished-figure"], !live);
  paintTime(parts.finished, job.finish_time ?? job.finished_at, now);
  show(parts["seen-figure"], live || job.reason !== null);
  setCell(parts.seen, ago(job.last_seen_at, now), fullTime(job.last_seen_at));
}

function mountFail(parts) {
  let whole = false;
  let message = "";
  const paint = () => setText(parts.fail, whole ? message : message.slice(0, LONG_TEXT));
  parts["fail-all"].addEventListener("click", () => {
    whole = true;
    show(parts["fail-all"], false);
    paint();
  });
  return (job, root) => {
    if (message !== (job.fail_message ?? "")) whole = false;
    message = job.fail_message ?? "";
    show(parts["fail-section"], message !== "" || Boolean(job.signature));
    setText(parts["fail-head"], message ? "Fail message" : "No fail message");
    show(parts.fail, message !== "");
    show(parts["copy-fail"], message !== "");
    show(parts["fail-all"], !whole && message.length > LONG_TEXT);
    setText(parts["fail-all"], `Show all (${bytes(message.length)})`);
    paint();
    show(parts.signed, Boolean(job.signature));
    show(parts.signature, Boolean(job.signature));
    if (job.signature) paintSignatureLink(parts.signature, job, root);
  };
}

function paintSignatureLink(node, job, root) {
  const regression = { id: job.regression_id, name: job.regression };
  const filter = { signature: String(job.signature.id) };
  paintLink(node, regressionAddress(root, regression, filter), cut(job.signature.title, 200), job.signature.title);
}

function paintRerun(parts, job) {
  const link = safeLink(job.jobdir);
  show(parts["config-line"], Boolean(job.config));
  setText(parts.config, job.config ?? "");
  show(parts["jobdir-line"], Boolean(job.jobdir));
  show(parts["jobdir-link"], link !== null);
  show(parts.jobdir, link === null);
  setAttribute(parts["jobdir-link"], "href", link);
  setText(parts["jobdir-link"], link === null ? "" : job.jobdir);
  setText(parts.jobdir, link === null ? job.jobdir ?? "" : "");
  show(parts["no-rerun"], !job.config && !job.jobdir);
}

function paintDetails(parts, lists, files, job) {
  const env = Object.entries(job.env ?? {});
  const extra = Object.entries(job.extra ?? {}).filter(([field]) => field !== "username");
  const listed = (job.files ?? []).map((file, index) => ({ ...file, index }));
  lists.facts(jobFacts(job));
  lists.extra(extra);
  show(parts["extra-section"], extra.length > 0);
  lists.metadata(job.metadata ?? []);
  show(parts["metadata-section"], (job.metadata ?? []).length > 0);
  lists.env(env);
  show(parts["env-section"], env.length > 0);
  setText(parts["env-count"], plural(env.length, "variable"));
  files(listed);
  show(parts["files-section"], listed.length > 0);
  show(parts["results-section"], Boolean(job.results));
  setText(parts.results, cut(job.results ?? "", LONGEST_TEXT));
}

function paintFile(parts, file) {
  setCell(parts.kind, file.kind ?? "");
  setCell(parts.name, file.name ?? "", file.path ?? file.name ?? "");
  setText(parts.size, bytes(file.size));
}

function mountHistory(parts, actions) {
  const entries = keyedList(parts.history, { template: "history-entry", key: (entry) => entry.seq, paint: paintEntry });
  parts["history-more"].addEventListener("click", () => actions.more("history"));
  return (state) => {
    const { history } = state.data;
    entries(history?.items ?? [], state.now);
    show(parts["history-more"], Boolean(history?.next));
  };
}

function paintEntry(parts, entry, now) {
  const progress = jobProgress(entry.progress);
  const changes = changedWords(entry.changed);
  setAttribute(parts.entry, "data-kind", entry.result ?? "");
  setCell(parts.time, moment(entry.created, now), fullTime(entry.created));
  setText(parts.word, historyWord(entry));
  setText(parts.phase, [entry.phase, entry.reason, progress?.words].filter(Boolean).join(" · "));
  setText(parts.description, entry.description ?? "");
  show(parts.description, Boolean(entry.description));
  show(parts.changes, changes.length > 0);
  if (parts.changes.children.length !== changes.length) {
    parts.changes.replaceChildren(...changes.map(() => instantiate("change").root));
  }
  changes.forEach((text, index) => setText(parts.changes.children[index], text));
  setCell(parts.by, entry.created_by ? `by ${entry.created_by}` : "");
}

/** An address that means nothing here. @param {Element} host @returns {() => void} */
export function mountUnknown(host) {
  mount(host, "unknown");
  return () => {};
}
