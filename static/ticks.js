// @ts-check
/**
 * Round marks for axes: times, counts, durations, powers of ten. In: the ends of an axis. Out: `[{at, text}]`. Pure.
 */

import { clockTime, count, duration, moment } from "./format.js";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const TIME_STEPS = [
  SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 30 * MINUTE,
  HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY,
];

/** Round durations, from coarse to fine. */
const DURATION_MARKS = [
  [1, 10, 100, SECOND, 10 * SECOND, MINUTE, 10 * MINUTE, HOUR, 10 * HOUR, 100 * HOUR, 1000 * HOUR],
  [1, 2, 5, 10, 20, 50, 100, 200, 500, ...TIME_STEPS],
];

/** A logarithmic axis has at least so many marks, if need be at even steps. */
const MARKS_LEAST = 3;

/**
 * Round times between two moments, at most `most`: `[{at, text}]`, in the reader's zone.
 * @param {number} from
 * @param {number} to
 * @param {number} most
 */
export function timeTicks(from, to, most) {
  const step = TIME_STEPS.find((each) => (to - from) / each <= most) ?? Math.ceil((to - from) / most / DAY) * DAY;
  const zone = new Date(from).getTimezoneOffset() * MINUTE;
  const ticks = [];
  for (let at = Math.ceil((from - zone) / step) * step + zone; at <= to; at += step) {
    ticks.push({ at, text: timeWords(at, step) });
  }
  return ticks;
}

/**
 * As much of a time as steps of this length need: seconds, minutes or the day.
 * @param {number} at
 * @param {number} step
 */
function timeWords(at, step) {
  if (step >= DAY) return moment(at, at + 2 * DAY).replace(/ \d\d:\d\d$/, "");
  return step < MINUTE ? clockTime(at) : clockTime(at).slice(0, 5);
}

/** Round numbers from 0 to `high`, at most `most`: `[{at, text}]`. @param {number} high @param {number} most */
export function countTicks(high, most) {
  const rough = Math.max(1, high / most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough) ?? 1);
  const ticks = [];
  for (let at = 0; at <= high; at += step) ticks.push({ at, text: count(at) });
  return ticks;
}

/** Marks of a logarithmic axis of durations. @param {number} low @param {number} high */
export function durationTicks(low, high) {
  /** @param {number} at */
  const words = (at) => duration(at).replace(/ 00[smh]$/, "");
  return marks(low, high, DURATION_MARKS).map((at) => ({ at, text: words(at) }));
}

/** Powers of ten between two numbers, at most about eight, or finer marks. @param {number} low @param {number} high */
export function powerTicks(low, high) {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const step = Math.max(1, Math.ceil((last - first - 2) / 8));
  const powers = Array.from({ length: last - first + 1 }, (_, n) => 10 ** (first + n));
  const fine = [10 ** (first - 2), 10 ** (first - 1), ...powers].flatMap((power) => [power, 2 * power, 5 * power]);
  const coarse = powers.filter((at) => at >= low).filter((_, n) => n % step === 0);
  return marks(low, high, [coarse, fine]).map((at) => ({ at, text: short(at) }));
}

/**
 * The coarsest round numbers of which enough lie between two; else multiples of the largest of them that has enough.
 * @param {number} low
 * @param {number} high
 * @param {number[][]} lists
 */
function marks(low, high, lists) {
  const within = lists.map((list) => list.filter((at) => at >= low && at <= high));
  const enough = within.find((list) => list.length >= MARKS_LEAST);
  if (enough) return enough;
  const finest = lists[lists.length - 1];
  const steps = finest.map((step) => multiples(step, low, high));
  return steps.findLast((list) => list.length >= MARKS_LEAST) ?? within[within.length - 1];
}

/** @param {number} step @param {number} low @param {number} high */
function multiples(step, low, high) {
  const first = Math.ceil(low / step);
  const number = Math.min(MULTIPLES_MOST, Math.max(0, Math.floor(high / step) - first + 1));
  return Array.from({ length: number }, (_, n) => (first + n) * step);
}

const MULTIPLES_MOST = 20;

/** `1k`, `10M`. @param {number} number */
export function short(number) {
  /** @type {[number, string][]} */
  const units = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
  const [size, unit] = units.find(([each]) => number >= each) ?? [1, ""];
  return `${count(number / size)}${unit}`;
}
