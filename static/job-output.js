// @ts-check
/**
 * What a job said, and how to run it again. In: a job, and its output as far as it is read (log.js). Out: its fail
 * message, lines to copy, and the end of its output, which follows while the reader is there.
 */

/** @import {Job, JobState, Log, Parts} from "./types.js" */

import { regressionAddress, safeLink } from "./address.js";
import { bindCopy, keyedList, setAttribute, setText, show } from "./dom.js";
import { bytes, count, cut, moment, plural } from "./format.js";
import { rerunLine } from "./model-job.js";
import { paintLink } from "./parts.js";

const LONG_TEXT = 20_000;
const LINE_CHARS = 2000;
const LINES_SHOWN = 400;
/** @type {Log} */
const NO_LOG = { lines: [], first: 0, next: 0, complete: true };

/** @param {Parts} parts @returns {(job: Job, state: JobState) => void} */
export function mountFail(parts) {
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

/** @param {HTMLElement} node @param {Job} job @param {string} root */
function paintSignatureLink(node, job, root) {
  const regression = { id: job.regression_id, name: job.regression };
  const { id, title } = /** @type {NonNullable<Job["signature"]>} */ (job.signature);
  const filter = { signature: String(id) };
  paintLink(node, regressionAddress(root, regression, filter), cut(title, 200), title);
}

/** @param {Parts} parts @returns {(job: Job, state: JobState) => void} */
export function mountRerun(parts) {
  /** @type {any} the job of the last painting */
  let job = null;
  bindCopy(parts["copy-config"], () => rerunLine(job) ?? "");
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

/**
 * The end of the output; it follows while the reader is at its end, and waits while he reads further up.
 * @param {Parts} parts
 * @returns {(job: Job, state: JobState) => void}
 */
export function mountLog(parts) {
  const unfolded = new Set();
  let most = LINES_SHOWN;
  let again = () => {};
  const rows = keyedList(parts.log, {
    template: "log-line",
    key: (line) => line.offset,
    paint(row, line, now) {
      const isCut = line.message.length > LINE_CHARS && !unfolded.has(line.offset);
      setText(row.number, String(line.offset + 1));
      setText(row.text, isCut ? line.message.slice(0, LINE_CHARS) : line.message);
      setAttribute(row.number, "title", line.at ? `arrived ${moment(line.at, now)}` : null);
      show(row.all, isCut);
      setText(row.all, `show all (${bytes(line.message.length)})`);
    },
    bind: (row, line) => row.all.addEventListener("click", () => {
      unfolded.add(line().offset);
      again();
    }),
  });
  parts["log-earlier"].addEventListener("click", () => {
    most += 10 * LINES_SHOWN;
    again();
  });
  parts["log-end"].addEventListener("click", () => (parts.log.scrollTop = parts.log.scrollHeight));
  /** @param {Job} job @param {JobState} state */
  const paint = (job, state) => {
    again = () => paint(job, state);
    const log = state.data.log ?? NO_LOG;
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

/** @param {Log} given @param {Job} job */
function logWords({ lines, first, complete }, job) {
  const lost = first > 0 ? `, without the first ${count(first)}` : "";
  const live = complete ? "" : job.result === "live" ? ", following" : "";
  return `${plural(lines.length, "line")}${lost}${live}`;
}
