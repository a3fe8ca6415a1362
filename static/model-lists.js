// @ts-check
/**
 * Lists as they change: a head that is read again, a page below, a row that is another now. In: lists `{items, next}`
 * or rows. Out: new lists; the old ones stay as they were. Pure.
 */

/** @import {Filter, Page, Regression} from "./types.js" */

/** LIVE first, then the newest: the server's own order, kept while single rows change. @param {Regression[]} items */
export function sortRegressions(items) {
  /** @param {Regression} item */
  const live = (item) => (item.status === "live" ? 0 : 1);
  return [...items].sort((a, b) => live(a) - live(b) || b.id - a.id);
}

/**
 * Does a regression that has changed still belong in a list filtered like this? Text search is left to the server.
 * @param {Regression} regression
 * @param {Filter} filter
 */
export function belongs(regression, filter) {
  if (filter.status && regression.status !== filter.status) return false;
  return regression.status !== "tanked" || filter.tanked === "1" || filter.status === "tanked";
}

/**
 * A re-read head of a list joined with the rows below it that had been loaded before, so that "load more" is not
 * undone by news. `{items, next}` in, the same out. If so much is new that the two no longer meet, the rows below go:
 * better a shorter list than one with a hole.
 * @param {Page<any>} old
 * @param {Page<any>} head
 */
export function mergeHead(old, head) {
  if (!head.next) return head;
  const fresh = new Set(head.items.map((item) => item.id));
  const seam = old.items.findIndex((item) => item.id === head.items.at(-1)?.id);
  const tail = seam < 0 ? [] : old.items.slice(seam + 1).filter((item) => !fresh.has(item.id));
  return tail.length ? { items: [...head.items, ...tail], next: old.next } : head;
}

/** A further page added below. @param {Page<any>} old @param {Page<any>} page */
export function appendPage(old, page) {
  const present = new Set(old.items.map((item) => item.id));
  return { items: [...old.items, ...page.items.filter((item) => !present.has(item.id))], next: page.next };
}

/**
 * A list as read, but for rows that an event has meanwhile told more of: the answer was under way then.
 * @param {Page<any>|null} old
 * @param {Page<any>} read
 */
export function keepNewer(old, read) {
  const known = new Map((old?.items ?? []).map((item) => [item.id, item]));
  /** @param {any} item */
  const newer = (item) => (known.get(item.id)?.version > item.version ? known.get(item.id) : item);
  return { ...read, items: read.items.map(newer) };
}

/**
 * A list with one item replaced where it stands.
 * @template {{id: number}} Item
 * @param {Item[]} items
 * @param {Item} item
 */
export function replaceItem(items, item) {
  return items.map((old) => (old.id === item.id ? item : old));
}

/**
 * Which rows of a table can stay where they are when their order becomes `positions` (the old place of each row in
 * the new order, -1 for a new one): the longest run that is already in order, so that the fewest rows move, since
 * a moved row loses focus and selection.
 * @param {number[]} positions
 * @returns {Set<number>} indices into `positions`
 */
export function stayInPlace(positions) {
  /** @type {number[]} */
  const ends = []; // ends[n]: index of the smallest last element of an ordered run of length n + 1
  const before = new Array(positions.length).fill(-1);
  positions.forEach((position, index) => {
    if (position < 0) return;
    let low = 0;
    let high = ends.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (positions[ends[middle]] < position) low = middle + 1;
      else high = middle;
    }
    before[index] = low ? ends[low - 1] : -1;
    ends[low] = index;
  });
  const staying = new Set();
  for (let index = ends.at(-1) ?? -1; index >= 0; index = before[index]) staying.add(index);
  return staying;
}
