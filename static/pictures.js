/**
 * The pictures of a run: who worked when, how many finished, how long jobs took, runtime against cycles; and hosts as a
 * table. Nothing is told by colour alone: fails are taller, hatched or crossed. Behind each picture is a table.
 */

import { jobAddress } from "./address.js";
import {
  countTicks, durationTicks, lanes, linear, logarithmic, nearest, powerTicks, short, sums, timeTicks,
} from "./charts.js";
import { keyedList, setAttribute, setCell, setText, show } from "./dom.js";
import {
  axisBelow, axisLeft, bindPointer, fitting, hatch, line, picture, placeOf, tableBehind, text,
} from "./drawing.js";
import { clockTime, count, duration, moment, parseTime, percent, plural } from "./format.js";
import { total } from "./model.js";
import { mount, paintLoading } from "./parts.js";

const RESULTS = ["live", "pass", "fail", "skip"];
const ROW_PX = 9;
const ROW_LEAST_PX = 2;
const GAP_PX = 5;
/** Browsers draw nothing on a canvas that is too high. */
const HEIGHT_MOST_PX = 14_000;
const LEFT = 112;
const RIGHT = 18;
const AXIS = 24;
const CHART_PX = 230;
const DRAG_LEAST = 8;

/** `actions`: `filter({from, to})`, `go(address)`. */
export function mountPictures(host, actions) {
  const parts = mount(host, "tab-pictures");
  const mounts = [mountTimeline, mountFinished, mountRuntimes, mountCycles, mountHosts];
  const paints = mounts.map((mountPart) => mountPart(parts, actions));
  return (state) => {
    const { charts, timeline } = state.data;
    paintLoading(parts.loading, charts === null || timeline === null, state.isLost);
    show(parts.nothing, charts !== null && charts.jobs === 0 && timeline?.jobs === 0);
    paints.forEach((paint) => paint(state));
  };
}

// ------------------------------------------------------------------------------------------------ who worked when

function mountTimeline(parts, actions) {
  const canvas = parts.timeline;
  let now = null; // what drawTimeline has given: where everything lies
  let state = null;
  const draw = (pen, width, colours, shown) => (now = drawTimeline(pen, width, colours, shown));
  const paint = picture(canvas, { height: timelineHeight, draw });
  const wordsOf = (index) => {
    const { timeline } = state.data;
    const { hosts, host, length, result, id } = timeline;
    const took = length[index] ?? now.end - timeline.start[index];
    const begin = clockTime(now.from + timeline.start[index]);
    const place = hosts[host[index]] || "no host told";
    return `job ${id[index]}, ${RESULTS[result[index]]}, ${place}, from ${begin}, ${duration(took)}`;
  };
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

const iso = (ms) => new Date(ms).toISOString();

function timelineWords({ jobs, shown, hosts }) {
  const all = `${plural(jobs, "job")} on ${plural(hosts.length, "host")}`;
  if (shown === jobs) return all;
  return `${all}, the ${count(shown)} longest of them and all fails; drag over a span of time to see the rest`;
}

function timelineHeight({ timeline }) {
  const end = parseTime(timeline.to) - parseTime(timeline.from);
  const place = lanes(timeline, end);
  return place.rows * rowPx(place) + place.hosts.length * GAP_PX + AXIS + 6;
}

function rowPx({ rows, hosts }) {
  return Math.max(ROW_LEAST_PX, Math.min(ROW_PX, Math.floor((HEIGHT_MOST_PX - hosts.length * GAP_PX) / rows)));
}

function drawTimeline(pen, width, colours, { timeline, from, to }) {
  const begin = parseTime(timeline.from);
  const end = parseTime(timeline.to) - begin;
  const place = lanes(timeline, end);
  const [low, high] = [parseTime(from) ?? begin, parseTime(to) ?? begin + end];
  const x = linear([low - begin, high - begin], [LEFT, width - RIGHT]);
  const row = rowPx(place);
  const topsOf = (lane, index) =>
    Array.from({ length: lane.rows }, (_, n) => (lane.first + n) * row + GAP_PX * index + 4);
  const tops = place.hosts.flatMap(topsOf);
  const bottom = tops.at(-1) + row + 2;
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

function drawHost(pen, { host, first }, tops, width, colours) {
  const name = fitting(pen, host || "no host told", LEFT - 14);
  text(pen, name, LEFT - 8, tops[first] + 9, { align: "right", colour: colours.muted });
  line(pen, LEFT, tops[first] - 2.5, width - RIGHT, tops[first] - 2.5, colours.line);
}

/** Passed: a low bar. Failed: a high one. Left out: hollow. Live: open to the right. */
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

/** Dragging along the picture chooses a span of time; a drag is no click. */
function bindZoom(canvas, box, drawn, choose) {
  let begin = null;
  const mark = (from, to) => {
    show(box, Math.abs(to - from) > DRAG_LEAST);
    box.style.left = `${Math.min(from, to)}px`;
    box.style.width = `${Math.abs(to - from)}px`;
  };
  const ended = (event) => {
    const [end] = placeOf(event, canvas);
    const view = drawn();
    const isDrag = Math.abs(end - begin) > DRAG_LEAST && canvas.isConnected;
    show(box, false);
    if (isDrag && view) {
      const { low, high, left, right } = view;
      const at = (px) => low + ((Math.min(Math.max(px, left), right) - left) / (right - left)) * (high - low);
      const notAClick = (click) => click.stopImmediatePropagation();
      canvas.addEventListener("click", notAClick, { capture: true });
      setTimeout(() => canvas.removeEventListener("click", notAClick, { capture: true }));
      choose(at(Math.min(begin, end)), at(Math.max(begin, end)));
    }
    begin = null;
  };
  canvas.addEventListener("pointerdown", (event) => {
    [begin] = placeOf(event, canvas);
    window.addEventListener("pointerup", ended, { once: true });
  });
  canvas.addEventListener("pointermove", (event) => {
    if (begin !== null && event.buttons) mark(begin, placeOf(event, canvas)[0]);
  });
}

function timelineTable({ data, root, now }) {
  const { id, host, hosts, start, length, result, from } = data.timeline;
  const begin = parseTime(from);
  const body = id.map((job, index) => [
    { text: `job ${job}`, href: jobAddress(root, job) }, hosts[host[index]], RESULTS[result[index]],
    moment(begin + start[index], now), length[index] === null ? "still live" : duration(length[index]),
  ]);
  return { head: ["Job", "Host", "Result", "Start", "Length"], body, note: "by start" };
}

// ------------------------------------------------------------------------------------------------ finished over time

function mountFinished(parts) {
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
    const rest = notShown(charts.left_out, "that nobody gave a verdict (time limit, lost, tanked)");
    setText(parts["finished-told"], words + end + rest);
    setAttribute(parts.finished, "aria-label", `Jobs finished over time: ${words}${end}${rest}`);
    const shown = { finished: charts.finished, known, eta: regression.status === "live" ? eta : null };
    paint(shown, [charts, known, shown.eta?.at]);
    if (parts["finished-table"].dataset.at !== String(charts.jobs)) fill();
    parts["finished-table"].dataset.at = String(charts.jobs);
  };
}

/** `; 4 jobs without a runtime are not shown`, if there are any. */
function notShown(jobs, why) {
  return jobs > 0 ? `; ${plural(jobs, "job")} ${why} ${jobs === 1 ? "is" : "are"} not shown` : "";
}

const sum = (list) => list.reduce((all, n) => all + n, 0);

function drawFinished(pen, width, colours, { finished, known, eta }, high) {
  const summed = sums(finished);
  const [left, right, top, bottom] = [56, width - 92, 10, high - AXIS];
  const end = Math.max(summed.at.at(-1), parseTime(eta?.high) ?? 0, parseTime(eta?.at) ?? 0);
  const most = Math.max(known ?? 0, summed.done.at(-1), 1);
  const x = linear([summed.at[0], end], [left, right]);
  const y = linear([0, most], [bottom, top]);
  axisLeft(pen, countTicks(most, 4), y, left, right, colours);
  axisBelow(pen, timeTicks(summed.at[0], end, Math.max(2, width / 150)), x, bottom, bottom + 4, colours);
  if (known) line(pen, left, y(known), right, y(known), colours.edge, [2, 3]);
  const below = summed.at.map(() => 0);
  for (const kind of ["fail", "skip", "pass"]) drawLayer(pen, summed, kind, below, x, y, colours);
  if (eta?.at && known) drawProjection(pen, summed, known, eta, x, y, colours);
  drawEnds(pen, summed, x, y, right, colours, known);
}

/** One layer of the heap: what is below it is added to. */
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

function drawProjection(pen, summed, known, eta, x, y, colours) {
  const [at, low, high] = [eta.at, eta.low, eta.high].map(parseTime);
  const [fromX, fromY] = [x(summed.at.at(-1)), y(summed.done.at(-1))];
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

/** What each layer has come to, in words at its end; words that would lie on one another move apart. */
function drawEnds(pen, summed, x, y, right, colours, known) {
  let height = 0;
  let last = Infinity;
  for (const kind of ["fail", "skip", "pass"]) {
    const n = summed[kind].at(-1);
    if (!n) continue;
    const place = Math.min(y(height + n / 2) + 4, last - 15);
    text(pen, `${kind} ${count(n)}`, right + 8, place, { colour: colours.ink });
    height += n;
    last = place;
  }
  if (known) text(pen, `all ${count(known)}`, right + 8, Math.min(y(known) + 4, last - 15), { colour: colours.muted });
}

function finishedTable({ data, now }) {
  const summed = sums(data.charts.finished);
  const { at, pass, fail, skip } = summed;
  const body = at.map((until, index) => [moment(until, now), pass[index], fail[index], skip[index]]);
  return { head: ["Until", "Pass", "Fail", "Skip"], body, note: "" };
}

// ------------------------------------------------------------------------------------------------ runtimes

function mountRuntimes(parts) {
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
    paint(charts.runtime, [charts]);
  };
}

function drawRuntimes(pen, width, colours, { edges_ms: edges, pass, fail }, high) {
  const [left, right, top, bottom] = [56, width - 18, 10, high - AXIS];
  const [most, least] = [Math.max(1, ...pass), Math.max(1, ...fail)];
  const middle = top + (bottom - top) * Math.max(0.3, Math.min(0.8, most / (most + least)));
  const x = logarithmic([edges[0], edges.at(-1)], [left, right]);
  const up = linear([0, most], [middle, top]);
  const down = linear([0, Math.max(least, most * (bottom - middle) / (middle - top))], [middle, bottom]);
  axisLeft(pen, countTicks(most, 3), up, left, right, colours);
  axisBelow(pen, durationTicks(edges[0], edges.at(-1)), x, top, bottom, colours);
  pass.forEach((n, index) => bar(pen, x(edges[index]), x(edges[index + 1]), middle, up(n), colours.pass));
  const stripes = hatch(pen, colours);
  fail.forEach((n, index) => {
    if (n) bar(pen, x(edges[index]), x(edges[index + 1]), middle, Math.max(down(n), middle + 2), stripes);
  });
  line(pen, left, middle, right, middle, colours.edge);
  text(pen, "pass", left + 6, top + 10, { colour: colours.muted });
  text(pen, "fail", left + 6, bottom - 6, { colour: colours.muted });
}

function bar(pen, from, to, low, high, colour) {
  pen.fillStyle = colour;
  pen.fillRect(from + 0.5, Math.min(low, high), Math.max(1, to - from - 1), Math.abs(high - low));
}

function runtimesTable({ data }) {
  const { edges_ms: edges, pass, fail } = data.charts.runtime;
  const body = pass.map((n, index) => [`${duration(edges[index])} to ${duration(edges[index + 1])}`, n, fail[index]]);
  return { head: ["Runtime", "Pass", "Fail"], body: body.filter(([, a, b]) => a || b), note: "" };
}

// ------------------------------------------------------------------------------------------------ runtime and cycles

function mountCycles(parts, actions) {
  let state = null;
  let places = [];
  const paint = picture(parts.cycles, {
    height: () => CHART_PX + 40,
    draw: (pen, width, colours, points, high) => (places = drawCycles(pen, width, colours, points, high)),
  });
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
    const words = isPart ? `${count(points.shown)} of ${count(points.of)} jobs, evenly taken` : plural(points.of, "job");
    setText(parts["cycles-told"], `${words}; a cross is a fail, a ring a pass`);
    setAttribute(parts.cycles, "aria-label", `Runtime against cycles of ${words}`);
    paint(points, [state.data.charts]);
  };
}

function drawCycles(pen, width, colours, { id, runtime_ms: runtime, cycles, result }, high) {
  const [left, right, top, bottom] = [64, width - 24, 12, high - AXIS - 4];
  const span = (list) => {
    const used = list.filter((value) => value > 0);
    const [low, most] = [Math.min(...used), Math.max(...used)];
    return used.length ? [low / 1.4, most * 1.4] : [1, 10];
  };
  const [times, numbers] = [span(runtime), span(cycles)];
  const x = logarithmic(numbers, [left, right]);
  const y = logarithmic(times, [bottom, top]);
  axisBelow(pen, powerTicks(...numbers), x, top, bottom, colours);
  axisLeft(pen, durationTicks(...times), y, left, right, colours);
  text(pen, "cycles", right, bottom - 6, { align: "right", colour: colours.muted });
  text(pen, "runtime", left + 6, top + 10, { colour: colours.muted });
  const places = id.map((_, index) => [x(cycles[index]), y(runtime[index])]);
  const isFail = (index) => RESULTS[result[index]] === "fail";
  places.forEach(([px, py], index) => isFail(index) || drawRing(pen, px, py, colours[RESULTS[result[index]]]));
  places.forEach(([px, py], index) => isFail(index) && drawCross(pen, px, py, colours.fail));
  return places;
}

function drawRing(pen, x, y, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = 1.4;
  pen.beginPath();
  pen.arc(x, y, 3, 0, 2 * Math.PI);
  pen.stroke();
}

function drawCross(pen, x, y, colour) {
  pen.lineWidth = 2;
  line(pen, x - 3.5, y - 3.5, x + 3.5, y + 3.5, colour);
  line(pen, x - 3.5, y + 3.5, x + 3.5, y - 3.5, colour);
  pen.lineWidth = 1;
}

function cyclesTable({ data, root }) {
  const { id, runtime_ms: runtime, cycles, result } = data.charts.cycles;
  const body = id.map((job, index) => [
    { text: `job ${job}`, href: jobAddress(root, job) }, RESULTS[result[index]], duration(runtime[index]), cycles[index],
    runtime[index] ? short(Math.round((1000 * cycles[index]) / runtime[index])) : "",
  ]);
  return { head: ["Job", "Result", "Runtime", "Cycles", "Cycles/s"], body, note: "" };
}

// ------------------------------------------------------------------------------------------------ hosts

function mountHosts(parts) {
  const rows = keyedList(parts.hosts, { template: "host-row", key: (item) => item.host ?? "", paint: paintHostRow });
  return ({ data, root, view }) => {
    const { hosts } = data;
    show(parts["hosts-section"], Boolean(hosts?.items.length));
    rows(hosts?.items ?? [], { root, view });
    const isPart = Boolean(hosts?.next);
    setText(parts["hosts-told"], isPart ? `the ${count(hosts.items.length)} with the most fails` : "most fails first");
  };
}

function paintHostRow(parts, item) {
  setCell(parts.host, item.host || "no host told");
  for (const kind of ["pass", "fail", "skip", "live"]) setText(parts[kind], count(item[kind]));
  setText(parts.rate, item.fail_rate === null ? "" : percent(item.fail_rate, 1));
  setText(parts.runtime, duration(item.runtime_ms));
}
