// @ts-check
/**
 * What a job has left behind: the same test in earlier runs, its files, its raw form. In: a job, and the lists of both.
 * Out: tables, and text to copy.
 */

/** @import {DeclaredFile, EarlierRun, Job, JobActions, JobState, Parts} from "./types.js" */

import { jobAddress, regressionAddress } from "./address.js";
import { bindCopy, keyedList, setAttribute, setCell, setText, show } from "./dom.js";
import { NOTHING, bytes, count, cut, duration, plural, rate } from "./format.js";
import { paintBar, paintChip, paintLink, paintTime } from "./parts.js";

export const LONGEST_TEXT = 200_000;
/** @type {("pass"|"fail"|"skip")[]} */
const RESULTS = ["pass", "fail", "skip"];

/**
 * The same test in earlier runs: of each one job, the same seed's if it is there; the newest last.
 * @param {Parts} parts
 * @returns {(job: Job, state: JobState) => void}
 */
export function mountEarlier(parts) {
  /** @param {EarlierRun} item */
  const key = (item) => item.regression_id;
  const rows = keyedList(parts.earlier, { template: "earlier-row", key, paint: paintEarlier });
  return (_, { data, root, now }) => {
    const { earlier } = data;
    const items = earlier?.items ?? [];
    const longest = Math.max(1, ...items.map((item) => item.runtime_ms ?? 0));
    show(parts["earlier-section"], items.length > 0);
    const usual = earlier?.usual_ms ? `; it usually takes ${duration(earlier.usual_ms)}` : "";
    setText(parts["earlier-told"], earlierWords(items) + usual);
    rows(items, { root, now, longest });
  };
}

/**
 * Where a run has many jobs of a test, one fail among them says little of it: fails are counted by jobs, then.
 * @param {EarlierRun[]} items
 */
function earlierWords(items) {
  /** @param {"jobs"|"fail"} name */
  const sum = (name) => items.reduce((total, item) => total + item[name], 0);
  const clean = items.filter((item) => item.pass && !item.fail).length;
  const runs = `${count(clean)} of ${plural(items.length, "run")}`;
  if (sum("jobs") > items.length) return `${count(sum("fail"))} of ${plural(sum("jobs"), "job")} failed; clean in ${runs}`;
  return `passed in ${runs} (${rate(clean / (items.length || 1))})`;
}

/** @param {Parts} parts @param {EarlierRun} item @param {{root: string, now: number, longest: number}} context */
function paintEarlier(parts, item, { root, now, longest }) {
  paintChip(parts.outcome, item.result);
  paintLink(parts.run, regressionAddress(root, { id: item.regression_id, name: item.regression }), item.regression);
  const name = item.seed ? `seed ${item.seed}` : `job ${item.job}`;
  paintLink(parts.job, jobAddress(root, item.job), item.same_seed ? "same seed" : name);
  setText(parts.jobs, item.jobs > 1 ? testWords(item) : "");
  const share = (item.runtime_ms ?? 0) / longest;
  const results = RESULTS.map((kind) => ({ kind, n: (share * item[kind]) / item.jobs }));
  paintBar(parts.bar, [...results, { kind: "none", n: 1 - share }]);
  setText(parts.runtime, item.runtime_ms === null ? NOTHING : duration(item.runtime_ms));
  paintTime(parts.finished, item.finished_at, now);
}

/**
 * What became of all jobs of a test in a run: `2 of 6 jobs failed; mean of the passes 41s`.
 * @param {EarlierRun} given
 */
function testWords({ fail, jobs, result, mean_runtime_ms: mean }) {
  const took = mean === null ? "" : `; mean of the ${result === "fail" ? "fails" : "passes"} ${duration(mean)}`;
  return `${count(fail)} of ${plural(jobs, "job")} failed${took}`;
}

/** @param {Parts} parts @returns {(job: Job, state: JobState) => void} */
export function mountFiles(parts) {
  const rows = keyedList(parts.files, {
    template: "file-row",
    key: (file) => file.index,
    paint: paintFile,
    bind: (row, file) => bindCopy(row["copy-path"], () => file().path ?? ""),
  });
  return (job, { data, root }) => {
    const listed = (data.files?.items ?? job.files ?? []).map((file, index) => ({ ...file, index }));
    show(parts["files-section"], listed.length > 0);
    rows(listed, { root, job });
  };
}

/**
 * A file that the server does not hand out is found by its path.
 * @param {Parts} parts
 * @param {DeclaredFile & {index: number}} file
 * @param {{root: string, job: Job}} context
 */
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

/**
 * The job as the API gives it, read when it is asked for.
 * @param {Parts} parts
 * @param {JobActions} actions
 * @returns {(job: Job, state: JobState) => void}
 */
export function mountRaw(parts, actions) {
  let shown = -1; // the version of the job whose raw form is there
  let text = "";
  /** @param {Job} job */
  const read = async (job) => {
    if (!parts["raw-details"].open || shown === job.version) return;
    shown = job.version;
    text = JSON.stringify(await actions.raw(), null, 2);
    setText(parts.raw, cut(text, LONGEST_TEXT));
  };
  /** @type {Job|null} */
  let job = null;
  parts["raw-details"].addEventListener("toggle", () => job && read(job));
  bindCopy(parts["copy-raw"], () => text);
  return (next, { root }) => {
    job = next;
    setAttribute(parts["raw-link"], "href", `${root}api/v1/jobs/${next.id}`);
    read(next);
  };
}
