// @ts-check
/**
 * Who worked when: a lane per host, a bar per job. In: the timeline of a regression. Out: a picture to point at, to
 * drag over and to press, and a table behind it.
 */

/** @import {Colours, Lane, Lanes, Parts, Pen, RegressionActions, RegressionState, Timeline} from "./types.js" */

import { jobAddress } from "./address.js";
import { RESULTS, lanes, linear } from "./charts.js";
import { setAttribute, setText, show } from "./dom.js";
import { AXIS, axisBelow, bindPointer, fitting, line, picture, placeOf, tableBehind, text } from "./drawing.js";
import { clockTime, count, duration, moment, parseTime, plural } from "./format.js";
import { timeTicks } from "./ticks.js";

const ROW_PX = 9;
const ROW_LEAST_PX = 2;
const GAP_PX = 5;
/** Browsers draw nothing on a canvas that is too high. */
const HEIGHT_MOST_PX = 14_000;
const LEFT = 112;
const RIGHT = 18;
const DRAG_LEAST = 8;

/** @typedef {{timeline: Timeline, from: string, to: string, now: number}} TimelinePicture */
/** @typedef {ReturnType<typeof drawTimeline>} Drawn where everything lies */

/** @param {Parts} parts @param {RegressionActions} actions @returns {(state: RegressionState) => void} */
export function mountTimeline(parts, actions) {
  const canvas = parts.timeline;
  /** @type {any} where everything lies (Drawn) */
  let now = null;
  /** @type {any} the state of the last painting */
  let state = null;
  const paint = picture(canvas, {
    height: timelineHeight,
    draw: (pen, width, colours, /** @type {TimelinePicture} */ shown) => (now = drawTimeline(pen, width, colours, shown)),
  });
  /** @param {number} index */
  const wordsOf = (index) => {
    const { timeline } = state.data;
    const { hosts, host, length, result, id } = timeline;
    const took = length[index] ?? now.end - timeline.start[index];
    const begin = clockTime(now.from + timeline.start[index]);
    const place = hosts[host[index]] || "no host";
    return `job ${id[index]}, ${RESULTS[result[index]]}, ${place}, from ${begin}, ${duration(took)}`;
  };
  /** @param {number} x @param {number} y */
  const find = (x, y) => {
    if (!now) return null;
    const index = jobAt(now, state.data.timeline, x, y);
    return index < 0 ? null : { words: wordsOf(index), id: state.data.timeline.id[index] };
  };
  bindPointer(canvas, parts["timeline-tip"], find, (id) => actions.go(jobAddress(state.root, id)));
  bindZoom(canvas, parts["timeline-zoom"], () => now, (from, to) => actions.filter({ from: iso(from), to: iso(to) }));
  parts["zoom-out"].addEventListener("click", () => actions.filter({ from: "", to: "" }));
  const fill = tableBehind(parts["timeline-table"], () => timelineTable(state));
  return (next) => {
    state = next;
    const { timeline } = state.data;
    show(parts["timeline-section"], Boolean(timeline?.jobs));
    if (!timeline?.jobs) return;
    const { from, to } = state.view.filter;
    show(parts["zoom-out"], Boolean(from || to));
    setText(parts["timeline-told"], timelineWords(timeline));
    setAttribute(canvas, "aria-label", `One lane per host, one bar per job: ${timelineWords(timeline)}`);
    paint({ timeline, from, to, now: state.now }, [timeline, from, to]);
    if (parts["timeline-table"].dataset.at !== timeline.now) fill();
    parts["timeline-table"].dataset.at = timeline.now;
  };
}

/** @param {number} ms */
const iso = (ms) => new Date(ms).toISOString();

/** @param {Timeline} timeline */
function timelineWords({ jobs, shown, hosts }) {
  const all = `${plural(jobs, "job")} on ${plural(hosts.length, "host")}`;
  if (shown === jobs) return all;
  return `${all}, the ${count(shown)} longest of them and all fails; drag over a span of time to see the rest`;
}

/** @param {TimelinePicture} given */
function timelineHeight({ timeline }) {
  const end = Date.parse(timeline.to) - Date.parse(timeline.from);
  const place = lanes(timeline, end);
  return place.rows * rowPx(place) + place.hosts.length * GAP_PX + AXIS + 6;
}

/** @param {Lanes} given */
function rowPx({ rows, hosts }) {
  return Math.max(ROW_LEAST_PX, Math.min(ROW_PX, Math.floor((HEIGHT_MOST_PX - hosts.length * GAP_PX) / rows)));
}

/**
 * @param {Pen} pen
 * @param {number} width
 * @param {Colours} colours
 * @param {TimelinePicture} context
 */
function drawTimeline(pen, width, colours, { timeline, from, to }) {
  const begin = Date.parse(timeline.from);
  const end = Date.parse(timeline.to) - begin;
  const place = lanes(timeline, end);
  const [low, high] = [parseTime(from) ?? begin, parseTime(to) ?? begin + end];
  const x = linear([low - begin, high - begin], [LEFT, width - RIGHT]);
  const row = rowPx(place);
  /** @param {Lane} lane @param {number} index */
  const topsOf = (lane, index) =>
    Array.from({ length: lane.rows }, (_, n) => (lane.first + n) * row + GAP_PX * index + 4);
  const tops = place.hosts.flatMap(topsOf);
  const bottom = tops[tops.length - 1] + row + 2;
  axisBelow(pen, timeTicks(low, high, Math.max(2, width / 130)), (at) => x(at - begin), 0, bottom, colours);
  for (const lane of place.hosts) drawHost(pen, lane, tops, width, colours);
  pen.save();
  pen.beginPath();
  pen.rect(LEFT, 0, width - LEFT - RIGHT, bottom);
  pen.clip();
  timeline.start.forEach((start, index) => {
    const length = timeline.length[index] ?? end - start;
    const wide = Math.max(1.5, x(start + length) - x(start) - 0.5);
    drawJob(pen, x(start), tops[place.row[index]], wide, row, RESULTS[timeline.result[index]], colours);
  });
  pen.restore();
  return { place, tops, row, x, from: begin, end, low, high, left: LEFT, right: width - RIGHT };
}

/**
 * @param {Pen} pen
 * @param {Lane} context
 * @param {number[]} tops
 * @param {number} width
 * @param {Colours} colours
 */
function drawHost(pen, { host, first }, tops, width, colours) {
  const name = fitting(pen, host || "no host", LEFT - 14);
  text(pen, name, LEFT - 8, tops[first] + 9, { align: "right", colour: colours.muted });
  line(pen, LEFT, tops[first] - 2.5, width - RIGHT, tops[first] - 2.5, colours.line);
}

/**
 * Passed: a low bar. Failed: a high one. Left out: hollow. Live: open to the right.
 * @param {Pen} pen
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} row
 * @param {string} result
 * @param {Colours} colours
 */
function drawJob(pen, x, y, width, row, result, colours) {
  const inset = row >= 7 ? 2 : 0;
  const high = Math.max(1, row - 1 - 2 * inset);
  pen.fillStyle = colours[result];
  pen.strokeStyle = colours[result];
  pen.lineWidth = 1;
  if (result === "fail") pen.fillRect(x, y, width, Math.max(1, row - 1));
  else if (result === "pass") pen.fillRect(x, y + inset, width, high);
  else if (result === "skip") pen.strokeRect(x + 0.5, y + inset + 0.5, Math.max(1, width - 1), Math.max(1, high - 1));
  else {
    pen.fillRect(x, y + inset / 2, 2, high + inset);
    for (let at = x + 4; at < x + width; at += 4) pen.fillRect(at, y + inset * 1.5, 2, Math.max(1, high - inset));
  }
}

/**
 * @param {Drawn} given
 * @param {Timeline} timeline
 * @param {number} px
 * @param {number} py
 */
function jobAt({ place, tops, row: high, x, end }, { start, length }, px, py) {
  const row = tops.findLastIndex((top) => top <= py);
  if (row < 0 || py > tops[row] + high) return -1;
  let found = -1;
  start.forEach((begin, index) => {
    if (place.row[index] !== row) return;
    const until = x(begin + (length[index] ?? end - begin));
    if (x(begin) - 2 <= px && px <= Math.max(until, x(begin) + 3) + 2) found = index;
  });
  return found;
}

/**
 * Dragging along the picture chooses a span of time; a drag is no click.
 * @param {HTMLCanvasElement} canvas
 * @param {HTMLElement} box
 * @param {() => Drawn|null} drawn
 * @param {(from: number, to: number) => void} choose
 */
function bindZoom(canvas, box, drawn, choose) {
  let begin = NaN; // where the drag began, in pixels
  /** @param {number} from @param {number} to */
  const mark = (from, to) => {
    show(box, Math.abs(to - from) > DRAG_LEAST);
    box.style.left = `${Math.min(from, to)}px`;
    box.style.width = `${Math.abs(to - from)}px`;
  };
  /** @param {PointerEvent} event */
  const ended = (event) => {
    const [end] = placeOf(event, canvas);
    const view = drawn();
    const isDrag = Math.abs(end - begin) > DRAG_LEAST && canvas.isConnected;
    show(box, false);
    if (isDrag && view) {
      const { low, high, left, right } = view;
      /** @param {number} px */
      const at = (px) => low + ((Math.min(Math.max(px, left), right) - left) / (right - left)) * (high - low);
      /** @param {MouseEvent} click */
      const notAClick = (click) => click.stopImmediatePropagation();
      canvas.addEventListener("click", notAClick, { capture: true });
      setTimeout(() => canvas.removeEventListener("click", notAClick, { capture: true }));
      choose(at(Math.min(begin, end)), at(Math.max(begin, end)));
    }
    begin = NaN;
  };
  canvas.addEventListener("pointerdown", (event) => {
    [begin] = placeOf(event, canvas);
    window.addEventListener("pointerup", ended, { once: true });
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!Number.isNaN(begin) && event.buttons) mark(begin, placeOf(event, canvas)[0]);
  });
}

/** @param {RegressionState} state */
function timelineTable({ data, root, now }) {
  const { id, host, hosts, start, length, result, from } = /** @type {Timeline} */ (data.timeline);
  const begin = Date.parse(from);
  const body = id.map((job, index) => [
    { text: `job ${job}`, href: jobAddress(root, job) }, hosts[host[index]], RESULTS[result[index]],
    moment(begin + start[index], now), length[index] === null ? "still live" : duration(length[index]),
  ]);
  return { head: ["Job", "Host", "Result", "Start", "Length"], body, note: "by start" };
}
