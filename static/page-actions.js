// @ts-check
/**
 * What the reader can ask for, by kind of view. In: ways to change the address and to paint. Out: the `actions` that
 * views are mounted with; a request that failed is told by the view as `page.actionProblem`.
 */

/** @import {Filter, Job, JobActions, OverviewActions, Regression, RegressionActions} from "./types.js" */

import { Problem } from "./api.js";
import { askConfirm, showBadge, showFilterHelp } from "./dialogs.js";
import { plural } from "./format.js";
import { jobTitle } from "./model-job.js";
import { readAt } from "./model-times.js";
import { api, page, root, serverNow } from "./page-state.js";

/** @typedef {{title: string, text: string, action: string, reason?: boolean, danger?: boolean}} Question */
/**
 * @typedef {[question: Question|null, path: string, key: "regression"|"job"]} Wish what to ask, where to, and whose data
 */

/**
 * @param {{
 *   filter: (patch: Filter) => void, go: (address: string) => void, changed: () => void, paintNow: () => void,
 * }} env
 * @returns {{overview: OverviewActions, regression: RegressionActions, job: JobActions}}
 */
export function createActions({ filter, go, changed, paintNow }) {
  /** @param {() => Promise<void>} work */
  const attempt = async (work) => {
    page.actionProblem = null;
    try {
      await work();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      page.actionProblem = problem;
    }
    paintNow();
  };
  /** @param {string} [name] */
  const more = (name) => attempt(() => page.watch.more(name));
  /** @param {Wish} wish */
  const act = (wish) => attempt(() => askAndDo(wish));
  /** @param {number} id */
  const chooseSignature = (id) => {
    const signature = page.view.filter.signature === String(id) ? "" : String(id);
    filter({ signature, result: "" });
  };

  return {
    overview: { filter, more },
    regression: {
      filter,
      more,
      moreSoon: moreUnasked(changed),
      go,
      badge: () => showBadge(badgeOf(page.watch.data.regression.series)),
      look: (ids) => page.watch.look(ids),
      repaint: paintNow,
      filterHelp: showFilterHelp,
      chooseSignature,
      tank: () => act(tankRegression(page.watch.data.regression)),
      untank: () => act([null, `regressions/${page.watch.data.regression.id}/untank`, "regression"]),
      finish: () => act(finishRegression(page.watch.data.regression)),
    },
    job: {
      tank: () => act(tankJob(page.watch.data.job)),
      raw: () => api.read(`jobs/${page.view.ref}`, {}),
    },
  };
}

/**
 * More of a list without being asked: its end came into sight. One at a time; a failure waits for the button.
 * @param {() => void} changed
 */
function moreUnasked(changed) {
  let isLoading = false;
  return async (/** @type {string} */ name) => {
    if (isLoading) return;
    isLoading = true;
    try {
      await page.watch.more(name);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
    }
    isLoading = false;
    changed();
  };
}

/** Asks, then does; the reply is the object as it is now. @param {Wish} wish */
async function askAndDo([question, path, key]) {
  const { watch } = page;
  const said = question ? await askConfirm(question) : { reason: "" };
  if (said === null) return;
  watch.data[key] = readAt(await api.write(path, said.reason ? { reason: said.reason } : {}), serverNow());
  if (page.watch === watch) watch.refresh();
}

// ------------------------------------------------------------------------------------------------ questions

/** @param {Regression} regression @returns {Wish} */
function tankRegression({ id, name, counts }) {
  const fate = counts.live ? `Its ${plural(counts.live, "live job")} will count as fail (“Tanked”). ` : "";
  const text = `${name} disappears from the list. ${fate}Untank undoes this.`;
  const question = { title: "Tank this regression?", action: "Tank", reason: true, danger: true, text };
  return [question, `regressions/${id}/tank`, "regression"];
}

/** @param {Regression} regression @returns {Wish} */
function finishRegression({ id, name, counts }) {
  const fate = counts.live
    ? `has ${plural(counts.live, "live job")}, which may be given up as missing; a late result replaces that.`
    : "has no live job.";
  const question = { title: "Finish this regression?", action: "Finish", text: `${name} ${fate}` };
  return [question, `regressions/${id}/finish`, "regression"];
}

/** @param {Job} job @returns {Wish} */
function tankJob(job) {
  const text = `${jobTitle(job)} will count as fail (“Tanked”). A late result replaces this.`;
  const question = { title: "Tank this job?", action: "Tank", reason: true, danger: true, text };
  return [question, `jobs/${job.id}/tank`, "job"];
}

/** @param {string} series */
function badgeOf(series) {
  const base = location.origin + root;
  const image = `${base}badge/${series.split("/").map(encodeURIComponent).join("/")}.svg`;
  const latest = `${base}r/${encodeURIComponent(`${series}${page.meta.series_separator ?? "/"}$`)}`;
  return { series, image, markdown: `[![${series}](${image})](${latest})` };
}
