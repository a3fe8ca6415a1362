// @ts-check
/**
 * What the page says around its views: the title and the icon of the browser's tab, the first commands, what went
 * wrong. In: the view and what has been read for it, or what the server says. Out: text, and a `data:` address. Pure.
 */

/** @import {Job, Regression, View} from "./types.js" */

import { isolated, percent, plural } from "./format.js";
import { jobProgress, jobTitle } from "./model-job.js";
import { done, progressOf, total } from "./model-regression.js";

/** The title of the browser's tab: what one wants to know without opening it. @param {View} view @param {any} state */
export function titleOf(view, state) {
  if (view.kind === "regression" && state.regression) return regressionTitle(state.regression);
  if (view.kind === "job" && state.job) {
    return [jobWord(state.job), isolated(jobTitle(state.job)), isolated(state.job.regression)].join(" · ");
  }
  if (view.kind === "overview" && state.list) return overviewTitle(state.list.items);
  return "simscoped";
}

/** @param {Regression} regression */
function regressionTitle(regression) {
  const isCounted = regression.status === "live" && total(regression) !== null;
  const first = isCounted ? progressOf(regression).percent : regression.status;
  const fails = regression.counts.fail && plural(regression.counts.fail, "fail");
  return [first, fails, isolated(regression.name)].filter(Boolean).join(" · ");
}

/** @param {Job} job */
function jobWord(job) {
  const fraction = job.result === "live" ? jobProgress(job.progress)?.fraction : null;
  return fraction === null || fraction === undefined ? job.result : percent(fraction, 1);
}

/** @param {Regression[]} items */
function overviewTitle(items) {
  const live = items.filter((item) => item.status === "live").length;
  return live ? `${live} live · simscoped` : "simscoped";
}

/** What the small picture of the tab is filled with, and the sign on it. */
/** @type {Object<string, string>} */
const ICON_COLOURS = { pass: "#23834f", fail: "#c22f1f", live: "#2a6bd0", tanked: "#747e8d" };

/** @type {Object<string, string>} */
const ICON_SIGNS = {
  pass: "M4 8l3 3 5-6", fail: "M5 5l6 6M11 5l-6 6", aborted: "M8 4v5M8 11v1", tanked: "M4 8h8",
};

/** @param {Regression} regression */
function iconKind({ status, counts }) {
  if (status === "tanked") return "tanked";
  if (counts.fail) return "fail";
  return status === "live" ? "live" : "pass";
}

/**
 * The favicon of an open run as a `data:` address: filled as far as it has come, red with the first fail, with a sign
 * for its end. Null where no run is open.
 * @param {View} view
 * @param {any} state
 */
export function faviconOf(view, state) {
  const { regression } = state;
  if (view.kind !== "regression" || !regression) return null;
  const whole = total(regression);
  const share = regression.status !== "live" ? 1 : whole ? Math.min(1, done(regression.counts) / whole) : 0.5;
  const kind = iconKind(regression);
  const height = Math.round(16 * share);
  /** @type {Object<string, string>} */
  const signs = { complete: ICON_SIGNS[kind], aborted: ICON_SIGNS.aborted, tanked: ICON_SIGNS.tanked };
  const sign = signs[regression.status];
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">`
    + `<rect width="16" height="16" rx="3.5" fill="#1d2a3f"/><clipPath id="c"><rect width="16" height="16" rx="3.5"/></clipPath>`
    + `<rect clip-path="url(#c)" y="${16 - height}" width="16" height="${height}" fill="${ICON_COLOURS[kind]}"/>`
    + (sign ? `<path d="${sign}" fill="none" stroke="#fff" stroke-width="2"/>` : "") + "</svg>";
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}

/**
 * Two commands that publish a first job: `{curl, spool}`. A server that ignores live jobs is shown a finished one.
 * @param {string} base address of this server, ending in `/`
 * @param {{live_enabled?: boolean, token_required?: boolean}} meta
 */
export function teachCommands(base, meta) {
  const result = meta.live_enabled === false ? "pass" : "live";
  const job = JSON.stringify({ category: "sim", uniqueid: "1", result, name: "hello" });
  const type = result === "live" ? "job-live" : "job-finish";
  const token = meta.token_required ? " \\\n  -H \"Authorization: Bearer $SIMSCOPE_TOKEN\"" : "";
  return {
    curl: `curl -X POST '${base}api/v1/publish/${type}?regression=demo/1'${token} \\\n`
      + `  -H 'Content-Type: application/json' \\\n  -d '${job}'`,
    spool: `mkdir -p var/spool/demo/1\necho '${job}' > var/spool/demo/1/job-1.json`,
  };
}

/**
 * What went wrong with a request, as a sentence for the reader.
 * @param {{status?: number, title?: string, detail?: string, reason?: string}} problem
 */
export function problemSentence(problem) {
  if (!problem.status) return "The server did not answer.";
  const said = problem.detail || problem.title || `The server answered ${problem.status}.`;
  return /[.!?]$/.test(said) ? said : `${said}.`;
}
