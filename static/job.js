/** One job: what it is, why it failed, how to run it again, its output, its past. See overview.js for mounts. */

import { jobAddress, regressionAddress, safeLink } from "./address.js";
import { bindCopy, keyedList, setAttribute, setCell, setText, show } from "./dom.js";
import {
  NOTHING, ago, bytes, count, cut, duration, firstLine, fullTime, moment, parseTime, percent, plural, rate,
} from "./format.js";
import { isSlow } from "./livejobs.js";
import {
  dueWords, elapsedWords, jobFacts, jobProgress, jobTitle, localTimes, reasonSentence, rerunLine,
} from "./model.js";
import {
  factList, historyList, mount, paintBar, paintChip, paintLink, paintOutcome, paintProblem, paintShare, paintTime,
} from "./parts.js";

const LONG_TEXT = 20_000;
const LONGEST_TEXT = 200_000;
const LINE_CHARS = 2000;
const LINES_SHOWN = 400;
const SEED_CHARS = 24;

/**
 * `actions`: `tank()`, `raw()`, which gives the job as the API does.
 * @param {Element} host
 * @param {object} actions
 * @returns {(state: object) => void}
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

/** A history whose last fail tells what the job says of it, where the entry says nothing. */
function withMessage(items, job) {
  const last = items.findLast(({ type }) => type === "job.failed");
  if (!job.fail_message || !last || last.description) return items;
  return items.map((entry) => (entry === last ? { ...entry, description: firstLine(job.fail_message) } : entry));
}

function paintHead(parts, job, state) {
  const last = state.data.history?.items.findLast((entry) => entry.description && entry.result !== "live");
  setCell(parts.name, jobTitle(job));
  paintOutcome(parts.result, job);
  const told = job.reason && !job.fail_message && last && localTimes(last.description, state.now);
  setText(parts.sentence, [reasonSentence(job.reason), told].filter(Boolean).join(" "));
  show(parts.tank, job.result === "live");
}

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

/** What this test usually takes, while it runs and there is something to wait for. */
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

function paintTimes(parts, job, live, now) {
  const waits = live && !job.started_at;
  const submitted = parseTime(job.submitted_at);
  setText(parts["started-word"], waits ? "Waits since" : "Started");
  paintTime(parts.started, waits ? submitted : job.start_time ?? job.started_at, now);
  setText(parts.submitted, live && !waits && submitted !== null ? `first heard of ${moment(submitted, now)}` : "");
  show(parts["finished-figure"], !live);
  paintTime(parts.finished, job.finish_time ?? job.finished_at, now);
  show(parts["seen-figure"], live || job.reason !== null);
  setCell(parts.seen, ago(job.last_seen_at, now), fullTime(job.last_seen_at));
}

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

// ------------------------------------------------------------------------------------------------ why, and again

function mountFail(parts) {
  let whole = false;
  let message = "";
  const paint = () => setText(parts.fail, whole ? message : message.slice(0, LONG_TEXT));
  bindCopy(parts["copy-fail"], () => message);
  parts["fail-all"].addEventListener("click", () => {
    whole = true;
    show(parts["fail-all"], false);
    paint();
  });
  return (job, { root }) => {
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

function mountRerun(parts) {
  let job = null;
  bindCopy(parts["copy-config"], () => rerunLine(job));
  bindCopy(parts["copy-jobdir"], () => job.jobdir);
  return (next) => {
    job = next;
    const line = rerunLine(job);
    const link = safeLink(job.jobdir);
    show(parts["config-line"], Boolean(line));
    setText(parts.config, line ?? "");
    show(parts["jobdir-line"], Boolean(job.jobdir));
    show(parts["jobdir-link"], link !== null);
    show(parts.jobdir, link === null);
    setAttribute(parts["jobdir-link"], "href", link);
    setText(parts["jobdir-link"], link === null ? "" : job.jobdir);
    setText(parts.jobdir, link === null ? job.jobdir ?? "" : "");
    show(parts["no-rerun"], !line && !job.jobdir);
  };
}

// ------------------------------------------------------------------------------------------------ output

/** The end of the output; it follows while the reader is at its end, and waits while he reads further up. */
function mountLog(parts) {
  const unfolded = new Set();
  let most = LINES_SHOWN;
  let context = null;
  const rows = keyedList(parts.log, {
    template: "log-line",
    key: (line) => line.offset,
    paint(row, line, now) {
      const isCut = line.message.length > LINE_CHARS && !unfolded.has(line.offset);
      setText(row.number, String(line.offset + 1));
      setText(row.text, isCut ? line.message.slice(0, LINE_CHARS) : line.message);
      setAttribute(row.number, "title", line.at ? `came ${moment(line.at, now)}` : null);
      show(row.all, isCut);
      setText(row.all, `show all (${bytes(line.message.length)})`);
    },
    bind: (row, line) => row.all.addEventListener("click", () => {
      unfolded.add(line().offset);
      paint(...context);
    }),
  });
  parts["log-earlier"].addEventListener("click", () => {
    most += 10 * LINES_SHOWN;
    paint(...context);
  });
  parts["log-end"].addEventListener("click", () => (parts.log.scrollTop = parts.log.scrollHeight));
  const paint = (job, state) => {
    context = [job, state];
    const log = state.data.log ?? { lines: [], first: 0, complete: true };
    const box = parts.log;
    const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 30;
    show(parts["log-section"], log.lines.length > 0);
    rows(log.lines.slice(-most), state.now);
    setText(parts["log-told"], logWords(log, job));
    show(parts["log-earlier"], log.lines.length > most);
    show(parts["log-end"], !isAtEnd);
    if (isAtEnd && log.lines.length) box.scrollTop = box.scrollHeight;
  };
  return paint;
}

function logWords({ lines, first, complete }, job) {
  const lost = first > 0 ? `, without the first ${count(first)}` : "";
  const live = complete ? "" : job.result === "live" ? ", following" : "";
  return `${plural(lines.length, "line")}${lost}${live}`;
}

// ------------------------------------------------------------------------------------------------ past, files, raw

/** The same test in earlier runs: of each one job, the same seed's if it is there; the newest last. */
function mountEarlier(parts) {
  const key = (item) => item.regression_id;
  const rows = keyedList(parts.earlier, { template: "earlier-row", key, paint: paintEarlier });
  return (job, { data, root, now }) => {
    const { earlier } = data;
    const items = earlier?.items ?? [];
    const longest = Math.max(1, ...items.map((item) => item.runtime_ms ?? 0));
    show(parts["earlier-section"], items.length > 0);
    const usual = earlier?.usual_ms ? `; it usually takes ${duration(earlier.usual_ms)}` : "";
    setText(parts["earlier-told"], earlierWords(items) + usual);
    rows(items, { root, now, longest });
  };
}

/** Where a run has many jobs of a test, one fail among them says little of it: fails are counted by jobs, then. */
function earlierWords(items) {
  const sum = (name) => items.reduce((total, item) => total + item[name], 0);
  const clean = items.filter((item) => item.pass && !item.fail).length;
  const runs = `${count(clean)} of ${plural(items.length, "run")}`;
  if (sum("jobs") > items.length) return `${count(sum("fail"))} of ${plural(sum("jobs"), "job")} failed; clean in ${runs}`;
  return `passed in ${runs} (${rate(clean / (items.length || 1))})`;
}

function paintEarlier(parts, item, { root, now, longest }) {
  paintChip(parts.outcome, item.result);
  paintLink(parts.run, regressionAddress(root, { id: item.regression_id, name: item.regression }), item.regression);
  const name = item.seed ? `seed ${item.seed}` : `job ${item.job}`;
  paintLink(parts.job, jobAddress(root, item.job), item.same_seed ? "same seed" : name);
  setText(parts.jobs, item.jobs > 1 ? testWords(item) : "");
  const share = (item.runtime_ms ?? 0) / longest;
  const results = ["pass", "fail", "skip"].map((kind) => ({ kind, n: (share * item[kind]) / item.jobs }));
  paintBar(parts.bar, [...results, { kind: "none", n: 1 - share }]);
  setText(parts.runtime, item.runtime_ms === null ? NOTHING : duration(item.runtime_ms));
  paintTime(parts.finished, item.finished_at, now);
}

/** What became of all jobs of a test in a run: `2 of 6 jobs failed; mean of the passes 41s`. */
function testWords({ fail, jobs, result, mean_runtime_ms: mean }) {
  const took = mean === null ? "" : `; mean of the ${result === "fail" ? "fails" : "passes"} ${duration(mean)}`;
  return `${count(fail)} of ${plural(jobs, "job")} failed${took}`;
}

function mountFiles(parts) {
  const rows = keyedList(parts.files, {
    template: "file-row",
    key: (file) => file.index,
    paint: paintFile,
    bind: (row, file) => bindCopy(row["copy-path"], () => file().path),
  });
  return (job, { data, root }) => {
    const listed = (data.files?.items ?? job.files ?? []).map((file, index) => ({ ...file, index }));
    show(parts["files-section"], listed.length > 0);
    rows(listed, { root, job });
  };
}

/** A file that the server does not hand out is found by its path. */
function paintFile(parts, file, { root, job }) {
  const place = [file.kind, file.name].map((part) => encodeURIComponent(part ?? "")).join("/");
  const can = Boolean(file._links?.content);
  const path = file._links && !can ? file.path ?? "" : "";
  setCell(parts.kind, file.kind ?? "");
  setCell(parts.name, file.name ?? "", file.path ?? file.name ?? "");
  setCell(parts.path, path);
  setText(parts.size, file.size === undefined ? "" : bytes(file.size));
  show(parts.get, can);
  setAttribute(parts.get, "href", can ? `${root}api/v1/jobs/${job.id}/files/${place}` : null);
  setAttribute(parts.get, "aria-label", can ? `Download ${file.name}` : null);
  show(parts["copy-path"], path !== "");
}

/** The job as the API gives it, read when it is asked for. */
function mountRaw(parts, actions) {
  let shown = null;
  let text = "";
  const read = async (job) => {
    if (!parts["raw-details"].open || shown === job.version) return;
    shown = job.version;
    text = JSON.stringify(await actions.raw(), null, 2);
    setText(parts.raw, cut(text, LONGEST_TEXT));
  };
  let job = null;
  parts["raw-details"].addEventListener("toggle", () => job && read(job));
  bindCopy(parts["copy-raw"], () => text);
  return (next, { root }) => {
    job = next;
    setAttribute(parts["raw-link"], "href", `${root}api/v1/jobs/${job.id}`);
    read(job);
  };
}
