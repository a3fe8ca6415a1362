/** The geometry of the pictures: scales, ticks, lanes, sums. Pure: figures in, figures out, no drawing. */

import { clockTime, count, duration, moment } from "./format.js";
import { commonDomain, shortHost } from "./model.js";

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
 * A linear scale from `[low, high]` to `[from, to]`; a domain without extent maps to the middle.
 * @param {number[]} domain
 * @param {number[]} range
 */
export function linear([low, high], [from, to]) {
  const span = high - low;
  return (value) => (span > 0 ? from + ((value - low) / span) * (to - from) : (from + to) / 2);
}

/** The same, logarithmic; what is not above zero stands at the low end. */
export function logarithmic([low, high], range) {
  const scale = linear([Math.log(low), Math.log(high)], range);
  return (value) => scale(Math.log(Math.max(value, low)));
}

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

/** As much of a time as steps of this length need: seconds, minutes or the day. */
function timeWords(at, step) {
  if (step >= DAY) return moment(at, at + 2 * DAY).replace(/ \d\d:\d\d$/, "");
  return step < MINUTE ? clockTime(at) : clockTime(at).slice(0, 5);
}

/** Round numbers from 0 to `high`, at most `most`: `[{at, text}]`. @param {number} high @param {number} most */
export function countTicks(high, most) {
  const rough = Math.max(1, high / most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough));
  const ticks = [];
  for (let at = 0; at <= high; at += step) ticks.push({ at, text: count(at) });
  return ticks;
}

/** Marks of a logarithmic axis of durations. @param {number} low @param {number} high */
export function durationTicks(low, high) {
  const words = (at) => duration(at).replace(/ 00?s$| 00m 00s$/, "");
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

/** The coarsest round numbers of which enough lie between two; else multiples of the largest of them that has enough. */
function marks(low, high, lists) {
  const within = lists.map((list) => list.filter((at) => at >= low && at <= high));
  const enough = within.find((list) => list.length >= MARKS_LEAST);
  if (enough) return enough;
  const steps = lists.at(-1).map((step) => multiples(step, low, high));
  return steps.findLast((list) => list.length >= MARKS_LEAST) ?? within.at(-1);
}

function multiples(step, low, high) {
  const first = Math.ceil(low / step);
  const number = Math.min(MULTIPLES_MOST, Math.max(0, Math.floor(high / step) - first + 1));
  return Array.from({ length: number }, (_, n) => (first + n) * step);
}

const MULTIPLES_MOST = 20;

/** `1k`, `10M`. @param {number} number */
export function short(number) {
  const units = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
  const [size, unit] = units.find(([each]) => number >= each) ?? [1, ""];
  return `${count(number / size)}${unit}`;
}

/**
 * Where each job of a timeline stands: hosts one below the other, by name, without their common domain; the jobs of one
 * host side by side in as many rows as it had jobs at once, each in the first that is free. Gives `{hosts: [{host,
 * first, rows}], row: [of each job], rows}`.
 * @param {{hosts: string[], host: number[], start: number[], length: (number|null)[]}} timeline
 * @param {number} end of those that still live, in ms since `from`
 */
export function lanes({ hosts, host, start, length }, end) {
  const free = hosts.map(() => []); // of each host: when each of its rows is free again
  const local = start.map((begin, index) => {
    const rows = free[host[index]];
    const place = rows.findIndex((until) => until <= begin);
    const row = place < 0 ? rows.length : place;
    rows[row] = begin + (length[index] ?? Math.max(0, end - begin));
    return row;
  });
  const domain = commonDomain(hosts);
  const byName = (a, b) => hosts[a].localeCompare(hosts[b], "en", { numeric: true });
  const order = hosts.map((_, index) => index).sort(byName);
  const first = [];
  let rows = 0;
  const lane = order.map((index) => {
    first[index] = rows;
    rows += Math.max(1, free[index].length);
    return { host: shortHost(hosts[index], domain), first: first[index], rows: rows - first[index] };
  });
  return { hosts: lane, row: local.map((row, index) => first[host[index]] + row), rows };
}

/**
 * Jobs finished so far at the end of each step, beginning with none: `{at: [], pass: [], fail: [], skip: [], done: []}`.
 * @param {{from: string, step_ms: number, pass: number[], fail: number[], skip: number[]}} finished
 */
export function sums({ from, step_ms: step, pass, fail, skip }) {
  const begin = Date.parse(from);
  const summed = { at: [begin], pass: [0], fail: [0], skip: [0], done: [0] };
  pass.forEach((_, index) => {
    summed.at.push(begin + (index + 1) * step);
    for (const [name, each] of Object.entries({ pass, fail, skip })) {
      summed[name].push(summed[name][index] + each[index]);
    }
    summed.done.push(summed.done[index] + pass[index] + fail[index] + skip[index]);
  });
  return summed;
}

/**
 * The job of a picture that is nearest to a point, within `reach` pixels; -1 if none is. `places` are `[x, y]`.
 * @param {number[][]} places
 * @param {number} x
 * @param {number} y
 * @param {number} reach
 */
export function nearest(places, x, y, reach) {
  let found = -1;
  let least = reach * reach;
  places.forEach(([px, py], index) => {
    const distance = (px - x) ** 2 + (py - y) ** 2;
    if (distance <= least) [found, least] = [index, distance];
  });
  return found;
}
