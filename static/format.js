// @ts-check
/**
 * Numbers and times as people read them. Pure: `now` is an argument, nothing here reads a clock.
 * Durations are milliseconds, times are milliseconds since 1970 or RFC 3339 text.
 */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/** Made once: making one per number is what a page of a thousand rows would spend its time on. */
const GROUPED = new Intl.NumberFormat("en-US", { maximumFractionDigits: 2 });
/** What stands where nothing is known. */
export const NOTHING = "–";
/** @param {number} number */
const two = (number) => String(number).padStart(2, "0");

/**
 * Milliseconds of an RFC 3339 time; null for nothing, nonsense and year 1 ("not set").
 * @param {string|number|null|undefined} time
 * @returns {number|null}
 */
export function parseTime(time) {
  if (time === null || time === undefined || time === "") return null;
  if (typeof time === "number") return Number.isFinite(time) ? time : null;
  const ms = Date.parse(time);
  return Number.isNaN(ms) || new Date(ms).getUTCFullYear() <= 1 ? null : ms;
}

/**
 * A duration in at most two steps: `850 ms`, `2.4s`, `45s`, `12m 05s`, `1h 04m`, `2d 03h`.
 * @param {number|null|undefined} ms
 */
export function duration(ms) {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return NOTHING;
  if (ms < 0) return "0s";
  if (ms > 0 && ms < SECOND) return `${Math.round(ms)} ms`;
  if (ms < 10 * SECOND) return `${Math.floor(ms / 100) / 10}s`;
  const seconds = Math.floor(ms / SECOND) % 60;
  const minutes = Math.floor(ms / MINUTE) % 60;
  if (ms < MINUTE) return `${seconds}s`;
  if (ms < HOUR) return `${minutes}m ${two(seconds)}s`;
  if (ms < DAY) return `${Math.floor(ms / HOUR)}h ${two(minutes)}m`;
  return `${count(Math.floor(ms / DAY))}d ${two(Math.floor(ms / HOUR) % 24)}h`;
}

/**
 * A running duration: as `duration`, but in whole seconds, so that it ticks evenly.
 * @param {number|null|undefined} ms
 */
export function ticking(ms) {
  return ms === null || ms === undefined ? NOTHING : duration(Math.max(0, Math.floor(ms / SECOND) * SECOND));
}

/**
 * How long ago something was: `just now`, `12s ago`, `3h 05m ago`.
 * @param {string|number|null|undefined} time
 * @param {number} now
 */
export function ago(time, now) {
  const ms = parseTime(time);
  if (ms === null) return NOTHING;
  const passed = now - ms;
  if (passed < 2 * SECOND) return "just now";
  return `${ticking(passed)} ago`;
}

/**
 * Time of day, with as much of the date as it needs: `13:04:12`, `21 Nov 13:04`, `21 Nov 2024`.
 * @param {string|number|null|undefined} time
 * @param {number} now
 */
export function moment(time, now) {
  const ms = parseTime(time);
  if (ms === null) return NOTHING;
  const then = new Date(ms);
  const today = new Date(now);
  if (then.toDateString() === today.toDateString()) return clockTime(ms);
  const day = `${then.getDate()} ${MONTHS[then.getMonth()]}`;
  if (then.getFullYear() !== today.getFullYear()) return `${day} ${then.getFullYear()}`;
  return `${day} ${two(then.getHours())}:${two(then.getMinutes())}`;
}

/** Time of day with seconds, in the reader's zone. @param {number} ms */
export function clockTime(ms) {
  const time = new Date(ms);
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}

/** Everything about a time, for tooltips: `2025-11-21 13:04:12 +01:00`. @param {string|number|null|undefined} time */
export function fullTime(time) {
  const ms = parseTime(time);
  if (ms === null) return "";
  const t = new Date(ms);
  const offset = -t.getTimezoneOffset();
  const zone = `${offset < 0 ? "-" : "+"}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
  return `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())} ${clockTime(ms)} ${zone}`;
}

/** `12,345`. @param {number|null|undefined} number */
export function count(number) {
  return number === null || number === undefined ? NOTHING : GROUPED.format(number);
}

/** `1 job`, `2 jobs`. @param {number} number @param {string} word */
export function plural(number, word) {
  return `${count(number)} ${word}${number === 1 ? "" : "s"}`;
}

/**
 * A share in percent that never rounds to 100 before the end, nor to 0 after the start.
 * @param {number|null|undefined} part
 * @param {number|null|undefined} whole
 */
export function percent(part, whole) {
  if (!whole || part === null || part === undefined) return NOTHING;
  const share = (100 * part) / whole;
  if (part > 0 && share < 1) return "< 1 %";
  if (share > 99 && share < 100) return `${Math.min(99.9, Math.round(share * 10) / 10)} %`;
  return `${Math.round(share)} %`;
}

/**
 * A pass rate with one decimal, under the same rule: only all is 100 %, and only none 0.
 * @param {number|null|undefined} fraction between 0 and 1
 */
export function rate(fraction) {
  if (fraction === null || fraction === undefined) return NOTHING;
  if (fraction >= 1) return "100 %";
  if (fraction <= 0) return "0.0 %";
  return `${Math.min(99.9, Math.max(0.1, Math.round(fraction * 1000) / 10)).toFixed(1)} %`;
}

/** `812 B`, `14.2 kB`, `3.0 GB`. @param {number|null|undefined} number */
export function bytes(number) {
  if (number === null || number === undefined) return NOTHING;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let step = 0;
  let value = number;
  while (value >= 1000 && step < units.length - 1) {
    value /= 1000;
    step += 1;
  }
  return `${step ? value.toFixed(1) : value} ${units[step]}`;
}

/** The first line of a text, cut at `limit` characters. @param {string|null|undefined} text @param {number} [limit] */
export function firstLine(text, limit = 300) {
  const line = String(text ?? "").trimStart().split(/[\r\n\u2028\u2029]/, 1)[0];
  return cut(line, limit);
}

/** Text cut at `limit` characters, with an ellipsis. @param {string} text @param {number} limit */
export function cut(text, limit) {
  if (text.length <= limit) return text;
  const end = text.charCodeAt(limit - 1) >= 0xd800 && text.charCodeAt(limit - 1) < 0xdc00 ? limit - 1 : limit;
  return `${text.slice(0, end)}…`;
}

/** Any JSON value as one readable text. @param {unknown} value */
export function plain(value) {
  if (value === null || value === undefined) return NOTHING;
  if (typeof value === "string") return value;
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/**
 * Text of others with what would not be seen made visible: control characters (`^[[31m`), and the marks that turn the
 * direction of what follows (`⟨U+202E⟩`), by which `exe.png` can be a program. Tabs and line ends stay.
 * @param {string} text
 */
export function visible(text) {
  /** @param {string} each */
  const caret = (each) => `^${String.fromCharCode(each.charCodeAt(0) ^ 0x40)}`;
  /** @param {string} each */
  const named = (each) => `⟨U+${each.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
  return text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g, caret).replace(DIRECTIONS, named);
}

const DIRECTIONS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** A name that may run right to left, kept from turning round the words beside it. @param {string} name */
export function isolated(name) {
  const shown = visible(name);
  return /[\u0590-\u08ff\ufb1d-\ufefc]/.test(shown) ? `\u2068${shown}\u2069` : shown;
}

/** @param {unknown} value */
export function isTold(value) {
  return value !== null && value !== undefined && value !== "";
}
