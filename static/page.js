/**
 * The entry: address <-> view, one watch and one stream at a time, keys, and what the reader asks for.
 *
 * Everything that changes ends in `changed()`, which paints a few times a second at most; a clock paints each second,
 * since elapsed times tick by the server's clock.
 */

import { addressOf, apiPath, parseAddress, regressionAddress } from "./address.js";
import { Problem, createApi } from "./api.js";
import { askConfirm, askToken, bindDialogs, dialogOpen, showBadge, showFilterHelp, showHelp } from "./dialogs.js";
import { setAttribute, setText, show } from "./dom.js";
import { redrawPictures } from "./drawing.js";
import { clockTime, parseTime, plural } from "./format.js";
import { mountJob } from "./job.js";
import { createLive } from "./live.js";
import { createLog } from "./log.js";
import { faviconOf, jobTitle, readAt, titleOf } from "./model.js";
import { mountOverview } from "./overview.js";
import { mount } from "./parts.js";
import { mountRegression } from "./regression.js";
import { createWatch } from "./watch.js";

const COALESCE_MS = 250;
/** A page waits this long for its stream before it reads: what it reads afterwards cannot miss an event. */
const STREAM_FIRST_MS = 150;
/** How often a quiet page asks whether the server is still there. */
const CHECK_MS = 30_000;
/** How often signs of life are read again; they are no events. */
const PULSE_MS = 10_000;
/** A clock that stood still this long slept: the stream may be dead without knowing it. */
const SLEPT_MS = 15_000;
const JUST_CHECKED_MS = 2000;
const BACK_AGAIN_MS = 4000;
const PLACES_KEPT = 20;
const PAINT_GAP_MS = 240;

const root = document.documentElement.dataset.root;
const FAVICON = `${root}static/favicon.svg`;
const host = document.getElementById("view");
const timers = {
  now: () => Date.now(),
  setTimeout: (work, ms) => setTimeout(work, ms),
  clearTimeout: (timer) => clearTimeout(timer),
};
const api = createApi(root, { fetch: (url, options) => fetch(url, options), storage: sessionStorage, askToken });

/** What the whole page knows besides the view's data. */
const page = {
  view: null,
  watch: null,
  update: null,
  meta: {},
  clockOffset: 0,
  lastGoodAt: null,
  actionProblem: null,
  placeKey: null,
  wantedPlace: null,
  wasLost: false,
  troubles: [],
  streamed: null,
};
const places = new Map(); // history entry -> {data, y, focus}, so that "back" shows at once what was left

// ------------------------------------------------------------------------------------------------ painting

const serverNow = () => Date.now() + page.clockOffset;

const isLost = () => live.state === "lost";

/** The time as of which things are shown: while cut off it stands still, since nobody knows what runs on unseen. */
const shownNow = () => (isLost() && page.lastGoodAt !== null ? page.lastGoodAt + page.clockOffset : serverNow());

let nextPaint = null;
let lastPaint = -Infinity;

/** News paints after the last painting has been looked at for a moment; any amount of it in between is one. */
function changed() {
  nextPaint ??= setTimeout(paint, Math.max(0, lastPaint + PAINT_GAP_MS - performance.now()));
}

/** Paints at once: the reader has done something. */
function changedByReader() {
  clearTimeout(nextPaint);
  paint();
}

function paint() {
  nextPaint = null;
  lastPaint = performance.now();
  const { view, watch, meta } = page;
  const problem = page.actionProblem ?? watch.problem();
  const filterProblem = watch.filterProblem();
  const base = location.origin + root;
  const said = { problem, filterProblem, isLost: isLost() };
  page.update({ root, base, now: shownNow(), meta, view, data: watch.data, ...said });
  document.title = titleOf(view, watch.data);
  setAttribute(document.getElementById("favicon"), "href", faviconOf(view, watch.data) ?? FAVICON);
  paintCrumbs(crumbs(view, watch.data));
  show(document.getElementById("live-off"), meta.live_enabled === false);
  show(document.getElementById("unwell"), page.troubles.length > 0);
  setText(document.getElementById("unwell"), `The server has trouble, and news may not come: ${page.troubles.join("; ")}`);
  show(document.getElementById("connection"), view.kind !== "unknown");
  paintStale();
  goToPlace();
  if (page.streamed !== streamWanted() && !document.hidden) connect();
}

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

function crumbOfSeries(series) {
  const href = addressOf(root, { kind: "overview", filter: { series } });
  return { text: series, href, title: `All of the series ${series}` };
}

function paintCrumbs(wanted) {
  const nav = document.getElementById("crumbs");
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

// ------------------------------------------------------------------------------------------------ the stream

const CONNECTION_WORDS = { connecting: "Connecting", open: "Connected", lost: "Connection lost", paused: "Paused" };

function streamAddress(after) {
  const epoch = after && page.meta.epoch;
  return root + apiPath("events/stream", { coalesce: COALESCE_MS, ...page.watch.stream(), after, epoch });
}

const live = createLive(
  streamAddress,
  { event: received, fresh: () => page.watch.refresh(), open: opened, state: connectionChanged },
  { EventSource, random: Math.random, ...timers },
);

function received(event) {
  answered();
  page.watch.apply(event);
  changed();
}

function opened() {
  answered();
  page.watch.retry();
  if (Date.now() - lastCheck > JUST_CHECKED_MS) checkServer();
}

function answered() {
  page.lastGoodAt = Date.now();
}

function connectionChanged(state) {
  if (state === "lost") page.wasLost = true;
  setText(document.getElementById("connection"), CONNECTION_WORDS[state]);
  document.getElementById("connection").dataset.state = state;
  if (page.watch) changed();
}

function paintStale() {
  const banner = document.getElementById("stale");
  if (isLost()) {
    const since = page.lastGoodAt === null ? "" : `, showing data of ${clockTime(page.lastGoodAt)}`;
    sayStale(banner, "lost", `Connection lost${since}, retrying…`);
  } else if (live.state === "open" && page.wasLost) {
    page.wasLost = false;
    sayStale(banner, "back", "Connected again, this is up to date.");
    setTimeout(() => banner.dataset.kind === "back" && show(banner, false), BACK_AGAIN_MS);
  }
}

function sayStale(banner, kind, text) {
  banner.dataset.kind = kind;
  setText(banner, text);
  show(banner, true);
}

let lastCheck = 0;

/** Asks who the server is and what time it has; another database behind it means reading everything again. */
async function checkServer() {
  const asked = Date.now();
  lastCheck = asked;
  try {
    const meta = await api.read("", {});
    answered();
    page.clockOffset = (parseTime(meta.now) ?? Date.now()) - (asked + Date.now()) / 2;
    if (page.meta.epoch !== undefined && page.meta.epoch !== meta.epoch) startOver();
    page.meta = meta;
    page.troubles = await api.health();
    changed();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.status === 0 && live.state === "open") live.open();
  }
}

function check() {
  page.watch.retry();
  checkServer();
}

function startOver() {
  live.forget();
  page.watch.refresh();
}

// ------------------------------------------------------------------------------------------------ address and view

const createLogHere = (path, changedLog) => createLog(path, changedLog, {
  read: api.read,
  urlFor: (logPath, offset) => root + apiPath(logPath, { offset }),
  EventSource,
});

const mountUnknown = (place) => {
  mount(place, "unknown");
  return () => {};
};

/** Shows a view. `kept`: what this entry of the history had, if it is a return. */
function enter(view, kept) {
  page.watch?.stop();
  page.view = view;
  page.actionProblem = null;
  const env = { api, createLog: createLogHere, changed, answered, serverNow, ...timers };
  page.watch = createWatch(view, env, kept?.data ?? null);
  const mount = { overview: mountOverview, regression: mountRegression, job: mountJob }[view.kind] ?? mountUnknown;
  page.update = mount(host, actions[view.kind] ?? {});
  page.wantedPlace = kept ?? { y: 0, focus: null };
  connect();
  paint();
}

/** What the stream is narrowed to; it changes when a regression that was waited for appears. */
const streamWanted = () => JSON.stringify(page.watch.stream());

/** Opens the stream, then reads. A background tab reads once, for its title, and connects when it is shown. */
function connect() {
  live.close();
  live.forget();
  page.streamed = streamWanted();
  if (page.view.kind === "unknown") return;
  const { watch } = page;
  if (document.hidden) return void watch.refresh();
  live.open();
  setTimeout(() => page.watch === watch && live.state !== "open" && watch.refresh(), STREAM_FIRST_MS);
}

function isEmpty(data) {
  return Object.values(data)[0] === null;
}

function go(address) {
  if (address === location.pathname + location.search) return;
  leavePlace();
  page.placeKey = newKey();
  history.pushState({ key: page.placeKey }, "", address);
  const view = parseAddress(root, location.pathname, location.search);
  if (view.kind === page.view.kind && view.ref === page.view.ref) turn(view);
  else enter(view, null);
}

/** The same thing, looked at in another way: what is known of it stays. */
function turn(view) {
  page.view = view;
  page.watch.filter(view);
  changedByReader();
}

function cameBack(event) {
  leavePlace();
  page.placeKey = event.state?.key ?? newKey();
  enter(parseAddress(root, location.pathname, location.search), places.get(page.placeKey));
}

const newKey = () => `${Date.now()}.${Math.random()}`;

function leavePlace() {
  const focused = host.contains(document.activeElement) ? document.activeElement : null;
  const focus = focused && { href: focused.getAttribute("href"), part: focused.dataset.part };
  places.set(page.placeKey, { data: page.watch.data, y: window.scrollY, focus });
  if (places.size > PLACES_KEPT) places.delete(places.keys().next().value);
}

/** Scroll and focus as they were, once there is something to scroll. */
function goToPlace() {
  const place = page.wantedPlace;
  if (!place || isEmpty(page.watch.data)) return;
  page.wantedPlace = null;
  window.scrollTo(0, place.y);
  const { href, part } = place.focus ?? {};
  const links = [...host.querySelectorAll("a[href]")];
  const link = links.find((node) => node.getAttribute("href") === href && node.dataset.part === part);
  (link ?? host).focus({ preventScroll: true });
}

/** A changed filter: the same view, another address, the same entry of the history. */
function filter(patch) {
  const view = { ...page.view, filter: { ...page.view.filter, ...patch } };
  history.replaceState(history.state, "", addressOf(root, view));
  turn(view);
}

// ------------------------------------------------------------------------------------------------ what is asked for

async function attempt(work) {
  page.actionProblem = null;
  try {
    await work();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    page.actionProblem = problem;
  }
  changedByReader();
}

const more = (name) => attempt(() => page.watch.more(name));

let isLoading = false;

/** The same without being asked: the end of a list came into sight. One at a time; a failure waits for the button. */
async function moreSoon(name) {
  if (isLoading) return;
  isLoading = true;
  try {
    await page.watch.more(name);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
  }
  isLoading = false;
  changed();
}

/** Asks, then does; the answer is the object as it is now. */
const act = (question, path, key) => attempt(async () => {
  const { watch } = page;
  const said = question ? await askConfirm(question) : {};
  if (said === null) return;
  watch.data[key] = readAt(await api.write(path, said.reason ? { reason: said.reason } : {}), serverNow());
  if (page.watch === watch) watch.refresh();
});

function tankRegression() {
  const { id, name, counts } = page.watch.data.regression;
  const fate = counts.live ? `Its ${plural(counts.live, "live job")} will count as fail (“Tanked”). ` : "";
  const text = `${name} disappears from the list. ${fate}Untank takes this back.`;
  const question = { title: "Tank this regression?", action: "Tank", reason: true, danger: true, text };
  return act(question, `regressions/${id}/tank`, "regression");
}

function finishRegression() {
  const { id, name, counts } = page.watch.data.regression;
  const fate = counts.live
    ? `has ${plural(counts.live, "live job")}, which may be given up as missing; a late result replaces that.`
    : "has no live job.";
  const text = `${name} ${fate}`;
  return act({ title: "Finish this regression?", action: "Finish", text }, `regressions/${id}/finish`, "regression");
}

function tankJob() {
  const { job } = page.watch.data;
  const text = `${jobTitle(job)} will count as fail (“Tanked”). A late result replaces this.`;
  const question = { title: "Tank this job?", action: "Tank", reason: true, danger: true, text };
  return act(question, `jobs/${job.id}/tank`, "job");
}

function badge() {
  const { regression } = page.watch.data;
  const base = location.origin + root;
  const image = `${base}badge/${regression.series.split("/").map(encodeURIComponent).join("/")}.svg`;
  const latest = `${base}r/${encodeURIComponent(`${regression.series}${page.meta.series_separator ?? "/"}$`)}`;
  return showBadge({ series: regression.series, image, markdown: `[![${regression.series}](${image})](${latest})` });
}

function chooseSignature(id) {
  const signature = page.view.filter.signature === String(id) ? "" : String(id);
  filter({ signature, result: "" });
}

const actions = {
  overview: { filter, more },
  regression: {
    filter,
    more,
    moreSoon,
    go,
    badge,
    look: (ids) => page.watch.look(ids),
    repaint: changedByReader,
    filterHelp: showFilterHelp,
    chooseSignature,
    tank: tankRegression,
    untank: () => act(null, `regressions/${page.watch.data.regression.id}/untank`, "regression"),
    finish: finishRegression,
  },
  job: { tank: tankJob, raw: () => api.read(`jobs/${page.view.ref}`, {}) },
};

// ------------------------------------------------------------------------------------------------ keys and links

function followLink(event) {
  const link = event.target.closest("a[href]");
  if (!link || event.defaultPrevented || event.button !== 0) return;
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || link.target) return;
  const url = new URL(link.href, location.href);
  if (url.origin !== location.origin || url.hash) return;
  if (parseAddress(root, url.pathname, url.search).kind === "unknown") return;
  event.preventDefault();
  go(url.pathname + url.search);
}

const KEYS = {
  "/": toFilter,
  j: () => moveRow(1),
  k: () => moveRow(-1),
  g: () => go(root),
  "?": () => void showHelp(),
  1: () => toTab(0),
  2: () => toTab(1),
  3: () => toTab(2),
  4: () => toTab(3),
};

const toTab = (place) => host.querySelectorAll(".tabs a")[place]?.click();

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || dialogOpen()) return;
  if (event.target.matches("input, select, textarea")) return void leaveFilter(event);
  const work = KEYS[event.key];
  if (!work) return;
  event.preventDefault();
  work();
}

function leaveFilter(event) {
  if (event.key !== "Escape" || !event.target.matches("[data-filter]")) return;
  event.target.value = "";
  event.target.dispatchEvent(new Event("input"));
  event.target.blur();
}

/** To the first filter on the page; from row to row it is the one of the table that one is in. */
function toFilter() {
  const section = document.activeElement.closest?.("section section");
  const fields = [...host.querySelectorAll("[data-filter]")].filter(isVisible);
  const field = fields.find((node) => section?.contains(node)) ?? fields[0];
  field?.focus();
  field?.select();
}

function moveRow(step) {
  const rows = [...host.querySelectorAll(".row-link")].filter(isVisible);
  const row = document.activeElement.closest?.("tr");
  const at = rows.findIndex((link) => row?.contains(link));
  const next = at < 0 ? rows.find((link) => link.getBoundingClientRect().top >= 0) : rows[at + step];
  next?.focus();
  next?.closest("tr").scrollIntoView({ block: "nearest" });
}

const isVisible = (node) => node.getClientRects().length > 0;

// ------------------------------------------------------------------------------------------------ running

let lastTick = Date.now();
let lastPulse = Date.now();

function tick() {
  if (document.hidden) return;
  const slept = Date.now() - lastTick > SLEPT_MS;
  lastTick = Date.now();
  if (slept && page.view.kind !== "unknown") live.open();
  if (Date.now() - lastCheck > CHECK_MS) check();
  if (Date.now() - lastPulse > PULSE_MS) pulse();
  changed();
}

/** Signs of life and estimates grow old without an event. */
function pulse() {
  lastPulse = Date.now();
  if (live.state === "open") page.watch.pulse();
}

function visibilityChanged() {
  if (page.view.kind === "unknown") return;
  if (document.hidden) {
    live.close();
    page.watch.pause();
  } else {
    lastTick = Date.now();
    page.watch.resume();
    live.open();
  }
}

/** On paper all is light; pictures must be drawn anew for that. */
function putOnPaper(value) {
  setAttribute(document.documentElement, "data-paper", value);
  redrawPictures();
}

function start() {
  history.scrollRestoration = "manual";
  page.placeKey = history.state?.key ?? newKey();
  const y = history.state?.y ?? 0;
  history.replaceState({ key: page.placeKey }, "");
  bindDialogs();
  document.getElementById("help-button").addEventListener("click", () => showHelp());
  document.addEventListener("click", followLink);
  document.addEventListener("keydown", pressed);
  document.addEventListener("visibilitychange", visibilityChanged);
  window.addEventListener("popstate", cameBack);
  window.addEventListener("beforeprint", () => putOnPaper(""));
  window.addEventListener("afterprint", () => putOnPaper(null));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawPictures);
  window.addEventListener("pagehide", () => history.replaceState({ key: page.placeKey, y: window.scrollY }, ""));
  enter(parseAddress(root, location.pathname, location.search), null);
  page.wantedPlace = { y, focus: null };
  checkServer();
  setInterval(tick, 1000);
}

start();
