// @ts-check
/** The geometry of the pictures: scales, ticks, lanes, sums. Pure: figures in, figures out, no drawing. */

/** @import {Finished, Timeline} from "./types.js" */

import { commonDomain, shortHost } from "./model-job.js";

/**
 * A linear scale from `[low, high]` to `[from, to]`; a domain without extent maps to the middle.
 * @param {number[]} domain
 * @param {number[]} range
 */
export function linear([low, high], [from, to]) {
  const span = high - low;
  return (/** @type {number} */ value) => (span > 0 ? from + ((value - low) / span) * (to - from) : (from + to) / 2);
}

/**
 * The ends of a logarithmic axis for some values, with room on both sides; what is not above zero has no place on it.
 * @param {number[]} values
 * @returns {[number, number]}
 */
export function logSpan(values) {
  const used = values.filter((value) => value > 0);
  return used.length ? [Math.min(...used) / 1.4, Math.max(...used) * 1.4] : [1, 10];
}

/** The same, logarithmic; what is not above zero stands at the low end. @param {number[]} domain @param {number[]} range */
export function logarithmic([low, high], range) {
  const scale = linear([Math.log(low), Math.log(high)], range);
  return (/** @type {number} */ value) => scale(Math.log(Math.max(value, low)));
}

/**
 * Where each job of a timeline stands: hosts one below the other, by name, without their common domain; the jobs of one
 * host side by side in as many rows as it had jobs at once, each in the first that is free. Gives `{hosts: [{host,
 * first, rows}], row: [of each job], rows}`.
 * @param {Pick<Timeline, "hosts"|"host"|"start"|"length">} timeline
 * @param {number} end of those that still live, in ms since `from`
 */
export function lanes({ hosts, host, start, length }, end) {
  /** @type {number[][]} of each host: when each of its rows is free again */
  const free = hosts.map(() => []);
  const local = start.map((begin, index) => {
    const rows = free[host[index]];
    const place = rows.findIndex((until) => until <= begin);
    const row = place < 0 ? rows.length : place;
    rows[row] = begin + (length[index] ?? Math.max(0, end - begin));
    return row;
  });
  const domain = commonDomain(hosts);
  /** @param {number} a @param {number} b */
  const byName = (a, b) => hosts[a].localeCompare(hosts[b], "en", { numeric: true });
  const order = hosts.map((_, index) => index).sort(byName);
  /** @type {number[]} */
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
 * Jobs finished so far at the end of each step, beginning with none: `{at: [], pass: [], fail: [], skip: [], done:
 * []}`.
 * @param {Finished} finished
 */
export function sums({ from, step_ms: step, pass, fail, skip }) {
  const begin = Date.parse(from);
  const summed = { at: [begin], pass: [0], fail: [0], skip: [0], done: [0] };
  pass.forEach((_, index) => {
    summed.at.push(begin + (index + 1) * step);
    summed.pass.push(summed.pass[index] + pass[index]);
    summed.fail.push(summed.fail[index] + fail[index]);
    summed.skip.push(summed.skip[index] + skip[index]);
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

export const RESULTS = ["live", "pass", "fail", "skip"];
