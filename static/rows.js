// @ts-check
/**
 * A table of any length in a panel that scrolls: only the rows in sight are in the document. All rows are equally
 * high (page.css sees to it). The row that is first in sight stays where it is while rows come and go above it.
 *
 * The panel holds `<div class="space">`, the table, `<div class="space">`; the spaces stand for the rows out of sight.
 */

import { keyedList, setAttribute } from "./dom.js";

const BEYOND = 12; // rows kept above and below the sight, so that keys and small scrolls find them there
const GUESS_PX = 30;
const PRINTED = 500; // rows that a printed page shows at most
const paper = matchMedia("print");
/** What each table does when a print begins or is over, as long as it lives. */
/** @type {WeakMap<HTMLTableElement, () => void>} */
const prints = new WeakMap();

paper.addEventListener("change", () => document.querySelectorAll("table").forEach((table) => prints.get(table)?.()));

/**
 * `options` are those of `keyedList`, and `inSight(items)`, told what is in the document, and `atEnd()`, called when
 * the last row is.
 * @template Item, Context
 * @param {any} panel
 * @param {import("./dom.js").ListOptions<Item, Context> & {inSight?: (items: Item[]) => void, atEnd?: () => void}} options
 * @returns {(items: Item[], context: Context) => void}
 */
export function scrollingRows(panel, options) {
  const table = panel.querySelector("table");
  const body = table.tBodies[0];
  const [above, below] = panel.querySelectorAll(".space");
  /** @type {(items: Item[], context: {state: Context, placeOf: Map<Item, number>}) => void} */
  const paintRows = keyedList(body, {
    ...options,
    paint(parts, item, context) {
      setAttribute(parts.row, "aria-rowindex", String((context.placeOf.get(item) ?? 0) + 2));
      options.paint(parts, item, context.state);
    },
  });
  /** @type {Item[]} */
  let items = [];
  /** @type {any} the context of the last painting */
  let state = null;
  let height = GUESS_PX;
  /** @type {number|null} */
  let frame = null;
  /** @type {{key: string|number, place: number, rest: number}|null} */
  let anchor = null;

  const placesShown = () => {
    if (paper.matches) return [0, Math.min(items.length, PRINTED)];
    const first = Math.max(0, Math.floor(panel.scrollTop / height) - BEYOND);
    const inSight = Math.ceil((panel.clientHeight || GUESS_PX * 20) / height);
    return [Math.min(first, Math.max(0, items.length - inSight)), Math.min(items.length, first + inSight + 2 * BEYOND)];
  };
  const render = () => {
    frame = null;
    const [first, last] = placesShown();
    const shown = items.slice(first, last);
    const placeOf = new Map(shown.map((item, index) => [item, first + index]));
    paintRows(shown, { state, placeOf });
    measure();
    setHeight(above, first * height);
    setHeight(below, (items.length - last) * height);
    setAttribute(table, "aria-rowcount", String(items.length + 1));
    noteAnchor();
    options.inSight?.(shown);
    if (last === items.length && items.length) options.atEnd?.();
  };
  const measure = () => {
    const found = body.firstElementChild?.getBoundingClientRect().height;
    if (found) height = found;
  };
  const noteAnchor = () => {
    const place = Math.floor(panel.scrollTop / height);
    anchor = panel.scrollTop > 0 && items[place]
      ? { key: options.key(items[place]), place, rest: panel.scrollTop - place * height }
      : null;
  };
  /** Scrolls to where the row that was first in sight is now; it is looked for near where it was, then everywhere. */
  const keepInSight = () => {
    if (!anchor) return;
    const { key, place: before, rest } = anchor;
    /** @param {Item|undefined} item */
    const isIt = (item) => item !== undefined && options.key(item) === key;
    const place = isIt(items[before]) ? before : items.findIndex(isIt);
    if (place >= 0 && place !== before) {
      setHeight(above, place * height); // room enough to scroll there
      panel.scrollTop = place * height + rest;
    }
  };
  const soon = () => (frame ??= requestAnimationFrame(render));

  panel.addEventListener("scroll", soon, { passive: true });
  new ResizeObserver(() => state && soon()).observe(panel);
  prints.set(table, () => state && render());
  return (next, context) => {
    items = next;
    state = context;
    if (!panel.getClientRects().length) return;
    keepInSight();
    render();
  };
}

/** @param {HTMLElement} node @param {number} px */
function setHeight(node, px) {
  const height = `${Math.round(px)}px`;
  if (node.style.height !== height) node.style.height = height;
}
