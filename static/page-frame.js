// @ts-check
/**
 * What stands around a view: the way to it, the title and the icon of the tab, what the banners say. In: the view, what
 * has been read for it, and how the connection is. Out: the frame of index.html as it should be.
 */

/** @import {Connection, View} from "./types.js" */

import { addressOf, regressionAddress } from "./address.js";
import { byId, setAttribute, setText, show } from "./dom.js";
import { clockTime } from "./format.js";
import { faviconOf, titleOf } from "./model-page.js";
import { page, root } from "./page-state.js";

const FAVICON = `${root}static/favicon.svg`;
const CONNECTION_WORDS = { connecting: "Connecting", open: "Connected", lost: "Connection lost", paused: "Paused" };
const BACK_AGAIN_MS = 4000;

/** @typedef {{text: string, href: string, title?: string}} Crumb */

export function paintFrame() {
  const { view, watch, meta, troubles } = page;
  document.title = titleOf(view, watch.data);
  setAttribute(byId("favicon"), "href", faviconOf(view, watch.data) ?? FAVICON);
  paintCrumbs(crumbs(view, watch.data));
  show(byId("live-off"), meta.live_enabled === false);
  show(byId("unwell"), troubles.length > 0);
  setText(byId("unwell"), `The server is in trouble, and updates may be missing: ${troubles.join("; ")}`);
  show(byId("connection"), view.kind !== "unknown");
}

/** @param {Connection} state */
export function paintConnection(state) {
  setText(byId("connection"), CONNECTION_WORDS[state]);
  byId("connection").dataset.state = state;
}

// ------------------------------------------------------------------------------------------------ the way here

/** @param {View} view @param {any} data @returns {Crumb[]} */
function crumbs(view, data) {
  const all = { text: "Regressions", href: root };
  if (view.kind === "regression") {
    const { series } = data.regression ?? {};
    return series && series !== data.regression.name ? [all, crumbOfSeries(series)] : [all];
  }
  if (view.kind !== "job" || !data.job) return view.kind === "overview" ? [] : [all];
  const regression = { id: data.job.regression_id, name: data.job.regression };
  return [all, { text: regression.name, href: regressionAddress(root, regression) }];
}

/** @param {string} series @returns {Crumb} */
function crumbOfSeries(series) {
  const href = addressOf(root, { kind: "overview", filter: { series } });
  return { text: series, href, title: `All of the series ${series}` };
}

/** @param {Crumb[]} wanted */
function paintCrumbs(wanted) {
  const nav = byId("crumbs");
  while (nav.children.length > wanted.length) nav.lastElementChild.remove();
  while (nav.children.length < wanted.length) nav.append(document.createElement("a"));
  wanted.forEach(({ text, href, title }, index) => {
    const link = nav.children[index];
    link.className = "user";
    link.dir = "auto";
    setText(link, text);
    setAttribute(link, "href", href);
    setAttribute(link, "title", title ?? text);
  });
}

// ------------------------------------------------------------------------------------------------ the connection

/** Says that the connection is lost, as of when the data is, and for a moment that it is back. */
export function createStaleBanner() {
  let wasLost = false;
  return (/** @type {Connection} */ state) => {
    const banner = byId("stale");
    if (state === "lost") {
      wasLost = true;
      const since = page.lastGoodAt === null ? "" : `, showing data of ${clockTime(page.lastGoodAt)}`;
      sayStale(banner, "lost", `Connection lost${since}, retrying…`);
    } else if (state === "open" && wasLost) {
      wasLost = false;
      sayStale(banner, "back", "Connected again: the page is up to date.");
      setTimeout(() => banner.dataset.kind === "back" && show(banner, false), BACK_AGAIN_MS);
    }
  };
}

/** @param {HTMLElement} banner @param {string} kind @param {string} text */
function sayStale(banner, kind, text) {
  banner.dataset.kind = kind;
  setText(banner, text);
  show(banner, true);
}
