// @ts-check
/**
 * The entry: address <-> view, one watch and one stream at a time. In: the address bar, links, keys. Out: a view that
 * is painted when something has changed.
 *
 * Everything that changes ends in `changed()`, which paints a few times a second at most; a clock paints each second,
 * since elapsed times tick by the server's clock.
 */

/** @import {Filter, State, View} from "./types.js" */

import { addressOf, apiPath, parseAddress } from "./address.js";
import { bindDialogs } from "./dialogs.js";
import { setAttribute } from "./dom.js";
import { redrawPictures } from "./drawing.js";
import { mountJob } from "./job.js";
import { createLog } from "./log.js";
import { mountOverview } from "./overview.js";
import { createActions } from "./page-actions.js";
import { createStaleBanner, paintFrame } from "./page-frame.js";
import { bindKeys } from "./page-keys.js";
import { TOP, createPlaces } from "./page-places.js";
import { answered, api, createPainter, host, page, root, serverNow, timers } from "./page-state.js";
import { createStream } from "./page-stream.js";
import { mount } from "./parts.js";
import { mountRegression } from "./regression.js";
import { createWatch } from "./watch.js";

const { changed, paintNow } = createPainter(paint);
const stream = createStream(changed);
const places = createPlaces();
const paintStale = createStaleBanner();
const actions = createActions({ filter, go, changed, paintNow });
/** @type {(state: State<any>) => void} paints the view of now */
let update = () => {};

function paint() {
  const { view, watch, meta } = page;
  const isLost = stream.state() === "lost";
  const problem = page.actionProblem ?? watch.problem();
  const said = { problem, filterProblem: watch.filterProblem(), isLost };
  update({ root, base: location.origin + root, now: stream.shownNow(), meta, view, data: watch.data, ...said });
  paintFrame();
  paintStale(stream.state());
  places.goThere();
  stream.follow();
}

// ------------------------------------------------------------------------------------------------ from view to view

/** Shows a view, at its place. @param {View} view @param {import("./page-places.js").Place} place */
function enter(view, place) {
  page.watch.stop();
  page.view = view;
  page.actionProblem = null;
  const env = { api, createLog: createLogHere, changed, answered, serverNow, ...timers };
  page.watch = createWatch(view, env, place.data);
  update = MOUNTS[view.kind]();
  places.aim(place);
  stream.connect();
  paintNow();
}

/** @param {string} path @param {() => void} changedLog */
function createLogHere(path, changedLog) {
  /** @param {string} logPath @param {number} offset */
  const urlFor = (logPath, offset) => root + apiPath(logPath, { offset });
  return createLog(path, changedLog, { read: api.read, urlFor, EventSource });
}

const MOUNTS = {
  overview: () => mountOverview(host, actions.overview),
  regression: () => mountRegression(host, actions.regression),
  job: () => mountJob(host, actions.job),
  unknown: () => {
    mount(host, "unknown");
    return () => {};
  },
};

const viewOf = () => parseAddress(root, location.pathname, location.search);

/** @param {string} address */
function go(address) {
  if (address === location.pathname + location.search) return;
  places.leave();
  places.push(address);
  const view = viewOf();
  if (view.kind === page.view.kind && view.ref === page.view.ref) turn(view);
  else enter(view, TOP);
}

/** The same thing, looked at in another way: what is known of it stays. @param {View} view */
function turn(view) {
  page.view = view;
  page.watch.filter(view);
  paintNow();
}

/** @param {PopStateEvent} event */
function cameBack(event) {
  places.leave();
  const place = places.back(event);
  enter(viewOf(), place);
}

/** A changed filter: the same view, another address, the same entry of the history. @param {Filter} patch */
function filter(patch) {
  const view = { ...page.view, filter: { ...page.view.filter, ...patch } };
  history.replaceState(history.state, "", addressOf(root, view));
  turn(view);
}

// ------------------------------------------------------------------------------------------------ running

/** On paper all is light; pictures must be drawn anew for that. @param {string|null} value */
function putOnPaper(value) {
  setAttribute(document.documentElement, "data-paper", value);
  redrawPictures();
}

function start() {
  const place = places.begin();
  bindDialogs();
  bindKeys(go);
  document.addEventListener("visibilitychange", stream.visibilityChanged);
  window.addEventListener("popstate", cameBack);
  window.addEventListener("beforeprint", () => putOnPaper(""));
  window.addEventListener("afterprint", () => putOnPaper(null));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawPictures);
  enter(viewOf(), place);
  stream.check();
  setInterval(stream.tick, 1000);
}

start();
