// @ts-check
/** Drawing on a canvas: one that keeps up with its width and the reader's scheme, its pen, axes, pointer and table. */

/** @import {Cell, Colours, Pen, PictureTable, Scale, Tick} from "./types.js" */

import { setText, show } from "./dom.js";
import { count, plural, visible } from "./format.js";

const TABLE_MOST = 200;
/** How each canvas is drawn again, as long as it lives. */
/** @type {WeakMap<HTMLCanvasElement, () => void>} */
const redraws = new WeakMap();

/** Draws all pictures of the document again, in the colours that hold now: for a print, or another scheme. */
export function redrawPictures() {
  document.querySelectorAll("canvas").forEach((canvas) => redraws.get(canvas)?.());
}

/**
 * A canvas that is drawn when what it shows or its width changes, and by `redrawPictures`. `draw(pen, width, colours,
 * state, high)` is given a pen whose unit is a CSS pixel; `height(state)` says how high it is to be. The answer,
 * `paint(state, key)`, draws again if one of the values in `key` is another than before.
 * @template Shown, Drawn
 * @param {HTMLCanvasElement} canvas
 * @param {{
 *   height: (shown: Shown, width: number) => number,
 *   draw: (pen: Pen, width: number, colours: Colours, shown: Shown, high: number) => Drawn,
 * }} options
 * @returns {(shown: Shown, key: unknown[]) => void}
 */
export function picture(canvas, { height, draw }) {
  const place = /** @type {HTMLElement} */ (canvas.parentElement);
  const pen = penOf(canvas);
  /** @type {Shown|null} */
  let state = null;
  /** @type {unknown[]} */
  let drawn = [NOTHING_DRAWN];
  const redraw = () => {
    const width = place.clientWidth;
    if (!state || !width || !canvas.isConnected) return;
    const high = height(state, width);
    const scale = window.devicePixelRatio || 1;
    canvas.width = width * scale;
    canvas.height = high * scale;
    canvas.style.height = `${high}px`;
    pen.scale(scale, scale);
    pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    draw(pen, width, coloursNow(), state, high);
  };
  new ResizeObserver(redraw).observe(place);
  redraws.set(canvas, redraw);
  return (next, key) => {
    state = next;
    if (key.length === drawn.length && key.every((value, index) => value === drawn[index])) return;
    drawn = key;
    redraw();
  };
}

const NOTHING_DRAWN = Symbol("nothing");

/** @param {HTMLCanvasElement} canvas @returns {Pen} */
function penOf(canvas) {
  return /** @type {Pen} */ (canvas.getContext("2d"));
}

/** @returns {Colours} */
function coloursNow() {
  const style = getComputedStyle(document.documentElement);
  const names = ["ink", "muted", "line", "surface", "pass", "fail", "skip", "live", "track", "edge", "raised"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/**
 * @param {Pen} pen
 * @param {string} words
 * @param {number} x
 * @param {number} y
 * @param {{colour: string, align?: CanvasTextAlign, width?: number}} style
 */
export function text(pen, words, x, y, { align = "left", colour, width }) {
  pen.textAlign = align;
  pen.fillStyle = colour;
  pen.fillText(visible(words), x, y, width);
}

/**
 * A text cut in its middle to fit: names of a kind differ at their ends.
 * @param {Pen} pen
 * @param {string} name
 * @param {number} width
 */
export function fitting(pen, name, width) {
  const words = visible(name);
  let cut = words;
  for (let kept = Math.min(words.length - 1, 60); kept > 1 && pen.measureText(cut).width > width; kept -= 1) {
    cut = `${words.slice(0, Math.floor(kept / 2))}…${words.slice(-Math.ceil(kept / 2))}`;
  }
  return cut;
}

/**
 * @param {Pen} pen
 * @param {number} x1
 * @param {number} y1
 * @param {number} x2
 * @param {number} y2
 * @param {string} colour
 * @param {number[]} [dash]
 */
export function line(pen, x1, y1, x2, y2, colour, dash = []) {
  pen.strokeStyle = colour;
  pen.setLineDash(dash);
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
  pen.setLineDash([]);
}

/**
 * Upright lines with words below, for ticks along the bottom.
 * @param {Pen} pen
 * @param {Tick[]} ticks
 * @param {Scale} x
 * @param {number} top
 * @param {number} bottom
 * @param {Colours} colours
 */
export function axisBelow(pen, ticks, x, top, bottom, colours) {
  for (const { at, text: words } of ticks) {
    line(pen, x(at), top, x(at), bottom, colours.line);
    const half = pen.measureText(words).width / 2;
    const middle = Math.min(x(at), pen.canvas.clientWidth - half); // the last word must not run over the edge
    text(pen, words, middle, bottom + 16, { align: "center", colour: colours.muted });
  }
}

/**
 * @param {Pen} pen
 * @param {Tick[]} ticks
 * @param {Scale} y
 * @param {number} left
 * @param {number} right
 * @param {Colours} colours
 */
export function axisLeft(pen, ticks, y, left, right, colours) {
  for (const { at, text: words } of ticks) {
    line(pen, left, y(at), right, y(at), colours.line);
    text(pen, words, left - 8, y(at) + 4, { align: "right", colour: colours.muted });
  }
}

/**
 * Where the pointer is within a canvas.
 * @param {MouseEvent} event
 * @param {HTMLCanvasElement} canvas
 * @returns {[number, number]}
 */
export function placeOf(event, canvas) {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

/**
 * Tells what is below the pointer, and opens it. `find(x, y)` gives `{words, id}` or null.
 * @param {HTMLCanvasElement} canvas
 * @param {HTMLElement} tip
 * @param {(x: number, y: number) => {words: string, id: number}|null} find
 * @param {(id: number) => void} open
 */
export function bindPointer(canvas, tip, find, open) {
  canvas.addEventListener("pointermove", (event) => {
    const found = find(...placeOf(event, canvas));
    show(tip, Boolean(found));
    canvas.style.cursor = found ? "pointer" : "";
    if (!found) return;
    setText(tip, found.words);
    const [x, y] = placeOf(event, canvas);
    const isRight = x > canvas.clientWidth / 2;
    tip.style.left = isRight ? "" : `${x + 14}px`;
    tip.style.right = isRight ? `${canvas.clientWidth - x + 14}px` : "";
    tip.style.top = `${y + 10}px`;
  });
  canvas.addEventListener("pointerleave", () => show(tip, false));
  canvas.addEventListener("click", (event) => {
    const found = find(...placeOf(event, canvas));
    if (found) open(found.id);
  });
}

/**
 * The table behind a picture, filled when it is opened. `rows()` gives `{head, body, note}`; a cell is a text, a number
 * or `{text, href}`. Gives a function that fills it again.
 * @param {any} details
 * @param {() => PictureTable} rows
 */
export function tableBehind(details, rows) {
  const fill = () => {
    if (!details.open) return;
    const { head, body, note } = rows();
    const table = document.createElement("table");
    table.className = "plain";
    table.createTHead().append(rowOf(head, "th"));
    table.createTBody().append(...body.slice(0, TABLE_MOST).map((cells) => rowOf(cells, "td")));
    const more = body.length > TABLE_MOST ? `the first ${TABLE_MOST} of ${count(body.length)} rows` : "";
    const words = document.createElement("p");
    words.className = "note";
    words.textContent = [more, note].filter(Boolean).join("; ");
    details.replaceChildren(details.firstElementChild, table, words);
  };
  details.addEventListener("toggle", fill);
  return fill;
}

/** @param {Cell[]} cells @param {"th"|"td"} tag */
function rowOf(cells, tag) {
  const row = document.createElement("tr");
  row.append(...cells.map((cell) => {
    const node = document.createElement(tag);
    if (tag === "th") node.scope = "col";
    const { text: words, href } = cell && typeof cell === "object" ? cell : { text: cell };
    if (typeof words === "number") node.className = "num";
    const shown = typeof words === "number" ? count(words) : visible(words ?? "");
    if (!href) node.textContent = shown;
    else node.append(Object.assign(document.createElement("a"), { href, textContent: shown }));
    return node;
  }));
  return row;
}

/** Stripes, so that fails are told from passes without colour. @param {Pen} pen @param {Colours} colours */
export function hatch(pen, colours) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const brush = penOf(tile);
  brush.fillStyle = colours.fail;
  brush.fillRect(0, 0, 6, 6);
  brush.strokeStyle = colours.surface;
  brush.lineWidth = 1.4;
  brush.beginPath();
  for (const shift of [-6, 0, 6]) {
    brush.moveTo(shift, 6);
    brush.lineTo(shift + 6, 0);
  }
  brush.stroke();
  return /** @type {CanvasPattern} */ (pen.createPattern(tile, "repeat"));
}

export const AXIS = 24;
export const CHART_PX = 230;

/** `; 4 jobs without a runtime are not shown`, if there are any. @param {number} jobs @param {string} why */
export function notShown(jobs, why) {
  return jobs > 0 ? `; ${plural(jobs, "job")} ${why} ${jobs === 1 ? "is" : "are"} not shown` : "";
}
