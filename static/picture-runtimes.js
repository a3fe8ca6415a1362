// @ts-check
/**
 * How long jobs took, passes above fails; and runtime against cycles, a point per job. In: the charts of a regression.
 * Out: two pictures, and a table behind each.
 */

/** @import {Charts, Colours, Parts, Pen, Points, RegressionActions, RegressionState} from "./types.js" */

import { jobAddress } from "./address.js";
import { RESULTS, linear, logarithmic, logSpan, nearest } from "./charts.js";
import { setAttribute, setText, show } from "./dom.js";
import {
  AXIS, CHART_PX, axisBelow, axisLeft, bindPointer, hatch, line, notShown, picture, tableBehind, text,
} from "./drawing.js";
import { count, duration, plural } from "./format.js";
import { countTicks, durationTicks, powerTicks, short } from "./ticks.js";

/** @param {number[]} list */
const sum = (list) => list.reduce((all, n) => all + n, 0);

/** @param {Parts} parts @returns {(state: RegressionState) => void} */
export function mountRuntimes(parts) {
  /** @type {any} the state of the last painting */
  let state = null;
  const paint = picture(parts.runtimes, { height: () => CHART_PX, draw: drawRuntimes });
  tableBehind(parts["runtimes-table"], () => runtimesTable(state));
  return (next) => {
    state = next;
    const { charts } = state.data;
    const told = charts?.runtime?.edges_ms;
    show(parts["runtimes-section"], Boolean(told));
    if (!told) return;
    const { pass, fail } = charts.runtime;
    const verdicts = sum(charts.finished.pass) + sum(charts.finished.fail) + charts.left_out;
    const rest = notShown(verdicts - sum(pass) - sum(fail), "without a runtime");
    const words = `${count(sum(pass))} passed, above the line; ${count(sum(fail))} failed, below${rest}`;
    setText(parts["runtimes-told"], words);
    setAttribute(parts.runtimes, "aria-label", `How long jobs took: ${words}`);
    paint({ edges: told, pass, fail }, [charts]);
  };
}

/**
 * @param {Pen} pen
 * @param {number} width
 * @param {Colours} colours
 * @param {{edges: number[], pass: number[], fail: number[]}} context
 * @param {number} high
 */
function drawRuntimes(pen, width, colours, { edges, pass, fail }, high) {
  const [left, right, top, bottom] = [56, width - 18, 10, high - AXIS];
  const [most, least] = [Math.max(1, ...pass), Math.max(1, ...fail)];
  const middle = top + (bottom - top) * Math.max(0.3, Math.min(0.8, most / (most + least)));
  const x = logarithmic([edges[0], edges[edges.length - 1]], [left, right]);
  const up = linear([0, most], [middle, top]);
  const down = linear([0, Math.max(least, most * (bottom - middle) / (middle - top))], [middle, bottom]);
  axisLeft(pen, countTicks(most, 3), up, left, right, colours);
  axisBelow(pen, durationTicks(edges[0], edges[edges.length - 1]), x, top, bottom, colours);
  pass.forEach((n, index) => bar(pen, x(edges[index]), x(edges[index + 1]), middle, up(n), colours.pass));
  const stripes = hatch(pen, colours);
  fail.forEach((n, index) => {
    if (n) bar(pen, x(edges[index]), x(edges[index + 1]), middle, Math.max(down(n), middle + 2), stripes);
  });
  line(pen, left, middle, right, middle, colours.edge);
  text(pen, "pass", left + 6, top + 10, { colour: colours.muted });
  text(pen, "fail", left + 6, bottom - 6, { colour: colours.muted });
}

/**
 * @param {Pen} pen
 * @param {number} from
 * @param {number} to
 * @param {number} low
 * @param {number} high
 * @param {string|CanvasPattern} colour
 */
function bar(pen, from, to, low, high, colour) {
  pen.fillStyle = colour;
  pen.fillRect(from + 0.5, Math.min(low, high), Math.max(1, to - from - 1), Math.abs(high - low));
}

/** @param {RegressionState} state */
function runtimesTable({ data }) {
  const { edges_ms: edges, pass, fail } = /** @type {Charts & {runtime: {edges_ms: number[]}}} */ (data.charts).runtime;
  const body = pass.map((n, index) => [`${duration(edges[index])} to ${duration(edges[index + 1])}`, n, fail[index]]);
  return { head: ["Runtime", "Pass", "Fail"], body: body.filter(([, a, b]) => a || b), note: "" };
}

/** @param {Parts} parts @param {RegressionActions} actions @returns {(state: RegressionState) => void} */
export function mountCycles(parts, actions) {
  /** @type {any} the state of the last painting */
  let state = null;
  /** @type {number[][]} */
  let places = [];
  const paint = picture(parts.cycles, {
    height: () => CHART_PX + 40,
    draw: (pen, width, colours, points, high) => (places = drawCycles(pen, width, colours, points, high)),
  });
  /** @param {number} x @param {number} y */
  const find = (x, y) => {
    const index = nearest(places, x, y, 9);
    if (index < 0) return null;
    const { id, runtime_ms: runtime, cycles, result } = state.data.charts.cycles;
    const took = `${duration(runtime[index])}, ${count(cycles[index])} cycles`;
    return { words: `job ${id[index]}, ${RESULTS[result[index]]}, ${took}`, id: id[index] };
  };
  bindPointer(parts.cycles, parts["cycles-tip"], find, (id) => actions.go(jobAddress(state.root, id)));
  tableBehind(parts["cycles-table"], () => cyclesTable(state));
  return (next) => {
    state = next;
    const points = state.data.charts?.cycles;
    show(parts["cycles-section"], Boolean(points?.shown));
    if (!points?.shown) return;
    const isPart = points.shown < points.of;
    const words = isPart ? `${count(points.shown)} of ${count(points.of)} jobs, evenly sampled` : plural(points.of, "job");
    setText(parts["cycles-told"], `${words}; a cross is a fail, a ring a pass`);
    setAttribute(parts.cycles, "aria-label", `Runtime against cycles of ${words}`);
    paint(points, [state.data.charts]);
  };
}

/**
 * @param {Pen} pen
 * @param {number} width
 * @param {Colours} colours
 * @param {Points} context
 * @param {number} high
 */
function drawCycles(pen, width, colours, { id, runtime_ms: runtime, cycles, result }, high) {
  const [left, right, top, bottom] = [64, width - 24, 12, high - AXIS - 4];
  const [times, numbers] = [logSpan(runtime), logSpan(cycles)];
  const x = logarithmic(numbers, [left, right]);
  const y = logarithmic(times, [bottom, top]);
  axisBelow(pen, powerTicks(...numbers), x, top, bottom, colours);
  axisLeft(pen, durationTicks(...times), y, left, right, colours);
  text(pen, "cycles", right, bottom - 6, { align: "right", colour: colours.muted });
  text(pen, "runtime", left + 6, top + 10, { colour: colours.muted });
  const places = id.map((_, index) => [x(cycles[index]), y(runtime[index])]);
  /** @param {number} index */
  const isFail = (index) => RESULTS[result[index]] === "fail";
  places.forEach(([px, py], index) => isFail(index) || drawRing(pen, px, py, colours[RESULTS[result[index]]]));
  places.forEach(([px, py], index) => isFail(index) && drawCross(pen, px, py, colours.fail));
  return places;
}

/**
 * @param {Pen} pen
 * @param {number} x
 * @param {number} y
 * @param {string} colour
 */
function drawRing(pen, x, y, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = 1.4;
  pen.beginPath();
  pen.arc(x, y, 3, 0, 2 * Math.PI);
  pen.stroke();
}

/**
 * @param {Pen} pen
 * @param {number} x
 * @param {number} y
 * @param {string} colour
 */
function drawCross(pen, x, y, colour) {
  pen.lineWidth = 2;
  line(pen, x - 3.5, y - 3.5, x + 3.5, y + 3.5, colour);
  line(pen, x - 3.5, y + 3.5, x + 3.5, y - 3.5, colour);
  pen.lineWidth = 1;
}

/** @param {RegressionState} state */
function cyclesTable({ data, root }) {
  const { id, runtime_ms: runtime, cycles, result } = /** @type {Charts} */ (data.charts).cycles;
  const body = id.map((job, index) => [
    { text: `job ${job}`, href: jobAddress(root, job) }, RESULTS[result[index]], duration(runtime[index]), cycles[index],
    runtime[index] ? short(Math.round((1000 * cycles[index]) / runtime[index])) : "",
  ]);
  return { head: ["Job", "Result", "Runtime", "Cycles", "Cycles/s"], body, note: "" };
}
