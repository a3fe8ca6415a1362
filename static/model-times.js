// @ts-check
/**
 * Since when a regression has been running, how long, and when it will be over. In: a regression, and `now` in
 * milliseconds since 1970. Out: milliseconds, words. Pure.
 */

/** @import {Estimate, Regression} from "./types.js" */

import { NOTHING, clockTime, moment, parseTime } from "./format.js";

/**
 * An object as read at a moment. The server says how long a thing has been running; from then on it is counted here,
 * so that no publisher's clock takes part.
 * @template T
 * @param {T} object
 * @param {number} now
 * @returns {T & {read_at: number}}
 */
export function readAt(object, now) {
  return { ...object, read_at: now };
}

/** @param {{elapsed_ms?: number|null, read_at?: number}} object @param {number} now */
export function elapsedSince(object, now) {
  const { elapsed_ms: elapsed, read_at: read } = object;
  return elapsed === null || elapsed === undefined ? null : elapsed + Math.max(0, now - (read ?? now));
}

/**
 * Since when a regression has been running: its publisher's word, `since 13:04:12`; where the server, whose clock tells
 * how long, heard of it later, or earlier, that: `first seen 13:45:00`.
 * @param {Regression} regression
 * @param {number} now
 */
export function sinceWords(regression, now) {
  const heard = heardApart(regression, now);
  return heard === null ? `since ${moment(regression.started_at, now)}` : `first seen ${moment(heard, now)}`;
}

/**
 * When the server first heard of a regression, if that is not when its publisher says that it began; else null.
 * @param {Regression} regression
 * @param {number} now
 */
export function heardApart(regression, now) {
  const heard = (parseTime(regression.finished_at) ?? now) - (regressionElapsed(regression, now) ?? 0);
  return Math.abs(heard - (parseTime(regression.started_at) ?? heard)) > HEARD_APART_MS ? heard : null;
}

const HEARD_APART_MS = 60_000;

/** How long a regression took, or has been running. @param {Regression} regression @param {number} now */
export function regressionElapsed(regression, now) {
  return regression.status === "live" ? elapsedSince(regression, now) : regression.elapsed_ms ?? null;
}

/** @type {Object<string, string>} */
const BASES = {
  rate: "from the current rate",
  history: "from earlier runs",
  "rate+history": "from the current rate and earlier runs",
};

/**
 * An estimate, said no more precisely than it is known: `{short: "≈ 14m", long: "13:35 to 13:58, from …"}`. One
 * that has passed is not counted down any further: it says that it was wrong. A run that is stalled has none.
 * @param {Regression} regression
 * @param {number} now
 */
export function etaWords(regression, now) {
  if (regression.status !== "live") return { short: "", long: "" };
  const { eta, stalled_since: stalled } = regression;
  const at = parseTime(eta?.at ?? regression.eta_at);
  const isStalled = stalled && stalled === regression.last_activity_at;
  if (isStalled) return { short: "stalled", long: `no message since ${dayTime(parseTime(stalled) ?? now, now)}` };
  if (at === null) return { short: NOTHING, long: "not yet known" };
  const left = at - now;
  const long = [boundsWords(eta, at, now), BASES[eta?.basis ?? ""]].filter(Boolean).join(", ");
  if (left < -OVERDUE_MS) return { short: "overdue", long: `expected ${dayTime(at, now)}; ${BASES[eta?.basis ?? ""] ?? ""}` };
  return { short: left < SOON_MS ? "any moment" : `≈ ${roughly(left)}`, long };
}

const SOON_MS = 5000;
const OVERDUE_MS = 15_000;

/** @param {Estimate|null|undefined} eta @param {number} at @param {number} now */
function boundsWords(eta, at, now) {
  const low = parseTime(eta?.low);
  const high = parseTime(eta?.high);
  if (low === null || high === null) return `about ${dayTime(at, now)}`;
  const [from, to] = [Math.max(low, now), high].map((time) => dayTime(time, now));
  return from === to ? `about ${from}` : `${from} to ${to}`;
}

/** `13:35`, or with the day where it is another one. @param {number} ms @param {number} now */
function dayTime(ms, now) {
  const words = moment(ms, now);
  return words === clockTime(ms) ? words.slice(0, 5) : words;
}

/** @param {number} ms */
function roughly(ms) {
  const minutes = ms / 60_000;
  /** @param {number} step */
  const round = (step) => Math.max(step, Math.round(minutes / step) * step);
  if (minutes < 0.75) return minutes < 1 / 3 ? "10s" : "30s";
  if (minutes < 1.5) return "1m";
  if (minutes < 20) return `${round(1)}m`;
  if (minutes < 58) return `${round(5)}m`;
  const rounded = minutes < 300 ? round(10) : round(60);
  if (rounded >= 48 * 60) return `${Math.round(rounded / 1440)}d`;
  return rounded % 60 ? `${Math.floor(rounded / 60)}h ${rounded % 60}m` : `${rounded / 60}h`;
}
