// @ts-check
/**
 * Finished jobs over time, with the projected end. In: the charts of a regression. Out: a picture, and a table behind
 * it.
 */

/** @import {Charts, Colours, Estimate, Finished, Parts, Pen, RegressionState, Scale, Summed} from "./types.js" */

import { linear, sums } from "./charts.js";
import { setAttribute, setText, show } from "./dom.js";
import { AXIS, CHART_PX, axisBelow, axisLeft, hatch, line, notShown, picture, tableBehind, text } from "./drawing.js";
import { count, moment, parseTime } from "./format.js";
import { total } from "./model-regression.js";
import { countTicks, timeTicks } from "./ticks.js";

/** Layers of the heap, from the bottom. @type {("fail"|"skip"|"pass")[]} */
const LAYERS = ["fail", "skip", "pass"];

/** @typedef {{finished: Finished, known: number|null, eta: Estimate|null}} FinishedPicture */

/** @param {Parts} parts @returns {(state: RegressionState) => void} */
export function mountFinished(parts) {
  /** @type {any} the state of the last painting */
  let state = null;
  const paint = picture(parts.finished, { height: () => CHART_PX, draw: drawFinished });
  const fill = tableBehind(parts["finished-table"], () => finishedTable(state));
  return (next) => {
    state = next;
    const { charts, regression } = state.data;
    show(parts["finished-section"], Boolean(charts?.jobs));
    if (!charts?.jobs) return;
    const known = total(regression);
    const words = `${count(charts.jobs)} finished${known ? ` of ${count(known)}` : ""}`;
    const { eta } = regression;
    const end = eta?.at ? `, projected to end at ${moment(eta.at, state.now)}` : "";
    const rest = notShown(charts.left_out, "without a reported verdict (time limit, lost, tanked)");
    setText(parts["finished-told"], words + end + rest);
    setAttribute(parts.finished, "aria-label", `Jobs finished over time: ${words}${end}${rest}`);
    const shown = { finished: charts.finished, known, eta: regression.status === "live" ? eta : null };
    paint(shown, [charts, known, shown.eta?.at]);
    if (parts["finished-table"].dataset.at !== String(charts.jobs)) fill();
    parts["finished-table"].dataset.at = String(charts.jobs);
  };
}

/**
 * @param {Pen} pen
 * @param {number} width
 * @param {Colours} colours
 * @param {FinishedPicture} context
 * @param {number} high
 */
function drawFinished(pen, width, colours, { finished, known, eta }, high) {
  const summed = sums(finished);
  const [left, right, top, bottom] = [56, width - 92, 10, high - AXIS];
  const last = summed.at.length - 1;
  const end = Math.max(summed.at[last], parseTime(eta?.high) ?? 0, parseTime(eta?.at) ?? 0);
  const most = Math.max(known ?? 0, summed.done[last], 1);
  const x = linear([summed.at[0], end], [left, right]);
  const y = linear([0, most], [bottom, top]);
  axisLeft(pen, countTicks(most, 4), y, left, right, colours);
  axisBelow(pen, timeTicks(summed.at[0], end, Math.max(2, width / 150)), x, bottom, bottom + 4, colours);
  if (known) line(pen, left, y(known), right, y(known), colours.edge, [2, 3]);
  const below = summed.at.map(() => 0);
  for (const kind of LAYERS) drawLayer(pen, summed, kind, below, x, y, colours);
  if (eta?.at && known) drawProjection(pen, summed, known, eta, x, y, colours);
  drawEnds(pen, summed, y, right, colours, known);
}

/**
 * One layer of the heap: what is below it is added to.
 * @param {Pen} pen
 * @param {Summed} summed
 * @param {"pass"|"fail"|"skip"} kind
 * @param {number[]} below
 * @param {Scale} x
 * @param {Scale} y
 * @param {Colours} colours
 */
function drawLayer(pen, summed, kind, below, x, y, colours) {
  const lower = [...below];
  summed[kind].forEach((n, index) => (below[index] += n));
  pen.beginPath();
  summed.at.forEach((at, index) => pen.lineTo(x(at), y(below[index])));
  for (let index = lower.length - 1; index >= 0; index -= 1) pen.lineTo(x(summed.at[index]), y(lower[index]));
  pen.fillStyle = kind === "fail" ? hatch(pen, colours) : colours[kind];
  pen.globalAlpha = kind === "pass" ? 0.75 : 1;
  pen.fill();
  pen.globalAlpha = 1;
}

/**
 * @param {Pen} pen
 * @param {Summed} summed
 * @param {number} known
 * @param {Estimate} eta
 * @param {Scale} x
 * @param {Scale} y
 * @param {Colours} colours
 */
function drawProjection(pen, summed, known, eta, x, y, colours) {
  const [at, low, high] = [parseTime(eta.at) ?? 0, parseTime(eta.low), parseTime(eta.high)];
  const last = summed.at.length - 1;
  const [fromX, fromY] = [x(summed.at[last]), y(summed.done[last])];
  if (low !== null && high !== null) {
    pen.beginPath();
    pen.moveTo(fromX, fromY);
    pen.lineTo(Math.max(fromX, x(low)), y(known));
    pen.lineTo(Math.max(fromX, x(high)), y(known));
    pen.closePath();
    pen.fillStyle = colours.track;
    pen.fill();
  }
  line(pen, fromX, fromY, Math.max(fromX, x(at)), y(known), colours.ink, [5, 4]);
}

/**
 * What each layer has come to, in words at its end; words that would lie on one another move apart.
 * @param {Pen} pen
 * @param {Summed} summed
 * @param {Scale} y
 * @param {number} right
 * @param {Colours} colours
 * @param {number|null} known
 */
function drawEnds(pen, summed, y, right, colours, known) {
  let height = 0;
  let last = Infinity;
  for (const kind of LAYERS) {
    const n = summed[kind][summed.at.length - 1];
    if (!n) continue;
    const place = Math.min(y(height + n / 2) + 4, last - 15);
    text(pen, `${kind} ${count(n)}`, right + 8, place, { colour: colours.ink });
    height += n;
    last = place;
  }
  if (known) text(pen, `all ${count(known)}`, right + 8, Math.min(y(known) + 4, last - 15), { colour: colours.muted });
}

/** @param {RegressionState} state */
function finishedTable({ data, now }) {
  const summed = sums(/** @type {Charts} */ (data.charts).finished);
  const { at, pass, fail, skip } = summed;
  const body = at.map((until, index) => [moment(until, now), pass[index], fail[index], skip[index]]);
  return { head: ["Until", "Pass", "Fail", "Skip"], body, note: "" };
}
