// @ts-check
/**
 * The few things done to the document, each safe to repeat: setting what is already so touches nothing, and rows
 * are kept by key. Text always goes in as text, never as markup: fail messages contain `<`. And all of it can be seen.
 */

/** @import {Parts} from "./types.js" */

import { cut, visible } from "./format.js";
import { stayInPlace } from "./model-lists.js";

/**
 * @template Item, Context
 * @typedef {object} ListOptions of a list kept by key
 * @property {string} template
 * @property {(item: Item) => string|number} key
 * @property {(parts: Parts, item: Item, context: Context) => void} paint
 * @property {(parts: Parts, item: () => Item) => void} [bind] called once for a new row; `item()` is the row's of then
 */

/**
 * @template Item
 * @typedef {{root: HTMLElement, parts: Parts, item: Item}} Row
 */

/** What was last set on a node, by name: asking a thousand rows for their text each second costs more than this. */
const SET = Symbol("set");

/** Is `value` news for this node? Notes it if so. @param {Element} node @param {string} name @param {unknown} value */
function isNews(node, name, value) {
  const noted = /** @type {Element & {[SET]?: Object<string, unknown>}} */ (node);
  const set = (noted[SET] ??= {});
  if (set[name] === value) return false;
  set[name] = value;
  return true;
}

/** Sets text, only if it differs. @param {Element} node @param {string} text */
export function setText(node, text) {
  if (isNews(node, "", text)) node.textContent = visible(text);
}

/** Attributes that are read by people. */
const READ = new Set(["title", "aria-label"]);

/** Sets an attribute, or removes it for null. @param {Element} node @param {string} name @param {string|null} value */
export function setAttribute(node, name, value) {
  if (!isNews(node, name, value)) return;
  if (value === null) node.removeAttribute(name);
  else node.setAttribute(name, READ.has(name) ? visible(value) : value);
}

/** Sets a part's share of its line. @param {HTMLElement} node @param {number} weight */
export function setWeight(node, weight) {
  if (isNews(node, "weight", weight)) node.style.flexGrow = String(weight);
}

/** Shows or hides. @param {HTMLElement} node @param {boolean} shown */
export function show(node, shown) {
  if (node.hidden === shown) node.hidden = !shown;
}

/** Characters of a cell: more than any line shows, and little enough that a table of them stays smooth. */
const CELL_CHARS = 1000;

/**
 * A cell's text, with a tooltip for what the line cuts off.
 * @param {Element} node
 * @param {string} text
 * @param {string} [title]
 */
export function setCell(node, text, title = text) {
  setText(node, cut(text, CELL_CHARS));
  setAttribute(node, "title", cut(title, CELL_CHARS) || null);
}

/** What the page asks for by its id is in index.html. @param {string} id @returns {any} the element */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * The node around what was pressed that is meant.
 * @param {Event} event
 * @param {string} selector
 * @returns {any} or null
 */
export function pressedIn(event, selector) {
  return /** @type {Element} */ (event.target).closest(selector);
}

/** A fresh copy of a `<template>` and its named parts: `{root, parts: {name: element}}`. @param {string} id */
export function instantiate(id) {
  const root = byId(id).content.firstElementChild.cloneNode(true);
  /** @type {Parts} */
  const parts = {};
  if (root.dataset.part) parts[root.dataset.part] = root;
  for (const node of root.querySelectorAll("[data-part]")) parts[node.dataset.part] = node;
  return { root, parts };
}

/**
 * Keeps the children of `parent` equal to a list: `update(items, context)` creates, paints, moves and removes rows
 * by key; a row that stays keeps its element, and with it focus and selection.
 * @template Item, Context
 * @param {Element} parent
 * @param {ListOptions<Item, Context>} options
 * @returns {(items: Item[], context: Context) => void}
 */
export function keyedList(parent, { template, key, paint, bind }) {
  /** @type {Map<string|number, Row<Item>>} */
  let rows = new Map();
  return (items, context) => {
    /** @type {typeof rows} */
    const next = new Map();
    for (const item of items) {
      const row = rows.get(key(item)) ?? newRow(template, bind, item);
      row.item = item;
      next.set(key(item), row);
      paint(row.parts, item, context);
    }
    const gone = [...rows].filter(([id]) => !next.has(id)).map(([, row]) => row.root);
    rows = next;
    arrange(parent, [...next.values()].map((row) => row.root), gone);
  };
}

/**
 * @template Item
 * @param {string} template
 * @param {((parts: Parts, item: () => Item) => void)|undefined} bind
 * @param {Item} item
 * @returns {Row<Item>}
 */
function newRow(template, bind, item) {
  const row = { ...instantiate(template), item };
  bind?.(row.parts, () => row.item);
  return row;
}

/**
 * Removes, adds and moves as few children as possible; the focus stays, or goes to the neighbour of a lost row.
 * @param {Element} parent
 * @param {Element[]} wanted
 * @param {Element[]} gone
 */
function arrange(parent, wanted, gone) {
  const active = /** @type {HTMLElement|null} */ (document.activeElement);
  const focused = parent.contains(active) ? active : null;
  const heir = focused && gone.some((node) => node.contains(focused)) ? neighbour(focused, parent, gone) : focused;
  for (const node of gone) node.remove();
  const place = new Map([...parent.children].map((node, index) => [node, index]));
  const staying = stayInPlace(wanted.map((node) => place.get(node) ?? -1));
  /** @type {Element|null} */
  let after = null;
  for (let index = wanted.length - 1; index >= 0; index -= 1) {
    if (!staying.has(index)) parent.insertBefore(wanted[index], after);
    after = wanted[index];
  }
  if (heir && document.activeElement !== heir) heir.focus({ preventScroll: true });
}

/** @param {Element} focused @param {Element} parent @param {Element[]} gone @returns {HTMLElement|null} */
function neighbour(focused, parent, gone) {
  const children = [...parent.children];
  const index = children.findIndex((node) => node.contains(focused));
  const left = children.slice(index).concat(children.slice(0, index).reverse()).find((node) => !gone.includes(node));
  return left?.querySelector("a, button") ?? null;
}

/**
 * Calls `work(value)`, without blanks around it, when typing has paused, or at once when the field is emptied; not any
 * more once its view is gone.
 * @param {(value: string) => void} work
 * @param {number} ms
 */
export function whenTypingPauses(work, ms) {
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;
  return (/** @type {{target: any}} */ { target }) => {
    const value = target.value.trim();
    clearTimeout(timer);
    if (value === "") work(value);
    else timer = setTimeout(() => target.isConnected && work(value), ms);
  };
}

/**
 * Puts the value into a field, unless the reader is writing in it.
 * @param {HTMLInputElement} field
 * @param {string} value
 */
export function setField(field, value) {
  if (field.value !== value && document.activeElement !== field) field.value = value;
}

/**
 * Copies text, also where the page is served over plain HTTP and has no clipboard of its own.
 * @param {string} text
 * @returns {Promise<boolean>}
 */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

/** @param {string} text */
function copyBySelection(text) {
  const focused = /** @type {HTMLElement|null} */ (document.activeElement);
  const box = document.createElement("textarea");
  box.className = "offscreen";
  box.value = text;
  document.body.append(box);
  box.select();
  const copied = document.execCommand("copy");
  box.remove();
  focused?.focus({ preventScroll: true });
  return copied;
}

/**
 * A button that copies what `text()` gives, and says so for a moment.
 * @param {HTMLButtonElement} button
 * @param {() => string} text
 */
export function bindCopy(button, text) {
  const label = button.textContent;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;
  button.addEventListener("click", async () => {
    setText(button, (await copyText(text())) ? "Copied" : "Not copied");
    clearTimeout(timer);
    timer = setTimeout(() => setText(button, label), 1500);
  });
}
