// @ts-check
/** The small parts that all views are made of. Each paints the whole truth onto its node, any number of times. */

/** @import {Job, Problem, Regression, Result, Segment} from "./types.js" */

import { instantiate, setAttribute, setCell, setText, setWeight, show } from "./dom.js";
import { count, fullTime, moment } from "./format.js";
import { outcomeOf } from "./model-job.js";
import { problemSentence } from "./model-page.js";
import { barLabel, barSegments, known, total } from "./model-regression.js";

/** @param {HTMLElement} head @param {string} sort */
export function paintSort(head, sort) {
  const column = sort.replace(/^-/, "");
  for (const cell of /** @type {Iterable<HTMLElement>} */ (head.children)) {
    const chosen = cell.dataset.sort === column;
    setAttribute(cell, "aria-sort", chosen ? (sort.startsWith("-") ? "descending" : "ascending") : null);
  }
}

export const TYPING_MS = 200;
/** What jobs are counted by. @type {Result[]} */
export const KINDS = ["pass", "fail", "skip", "live"];

/** Puts a template into its place; gives its named parts. @param {HTMLElement} host @param {string} id */
export function mount(host, id) {
  const { root, parts } = instantiate(id);
  host.replaceChildren(root);
  return parts;
}

/**
 * A bar of parts whose widths follow their numbers; made once, then only weights change.
 * @param {HTMLElement} node
 * @param {Segment[]} segments
 */
export function paintBar(node, segments) {
  while (node.children.length < segments.length) node.append(document.createElement("i"));
  segments.forEach(({ kind, n }, index) => {
    const part = /** @type {HTMLElement} */ (node.children[index]);
    setAttribute(part, "data-kind", kind);
    setWeight(part, n);
    show(part, n > 0);
  });
}

/** The share of what is known that stands for the rest, where nobody has said how much will come. */
const OPEN_END = 0.25;

/**
 * The bar of a regression, with its figures as label and tooltip.
 * @param {HTMLElement} node
 * @param {Regression} regression
 */
export function paintRegressionBar(node, regression) {
  const segments = barSegments(regression);
  const isOpen = regression.status === "live" && total(regression) === null;
  const label = barLabel(segments) + (isOpen ? ", total unknown" : "");
  paintBar(node, [...segments, { kind: "open", n: isOpen ? OPEN_END * known(regression.counts) || 1 : 0 }]);
  setAttribute(node, "aria-label", label);
  setAttribute(node, "title", label);
}

/** A share as a bar of one colour. @param {HTMLElement} node @param {string} kind @param {number} fraction */
export function paintShare(node, kind, fraction) {
  paintBar(node, [{ kind, n: fraction }, { kind: "pending", n: 1 - fraction }]);
}

/** @param {HTMLElement} node @param {string} word */
export function paintChip(node, word) {
  setAttribute(node, "data-kind", word);
  setText(node, word);
}

/** The chip of a job: a fail that nobody reported says why it is one. @param {HTMLElement} node @param {Job} job */
export function paintOutcome(node, job) {
  const [kind, word] = outcomeOf(job);
  setAttribute(node, "data-kind", kind);
  setText(node, word);
}

/** @param {HTMLElement} node @param {number} number */
export function paintCount(node, number) {
  setText(node, count(number));
  node.classList.toggle("zero", number === 0);
}

/** @param {HTMLElement} node @param {string|number|null|undefined} time @param {number} now */
export function paintTime(node, time, now) {
  setCell(node, moment(time, now), fullTime(time));
}

/**
 * @param {HTMLElement} node
 * @param {string} href
 * @param {string} text
 * @param {string} [title]
 */
export function paintLink(node, href, text, title = text) {
  setAttribute(node, "href", href);
  setCell(node, text, title);
}

/** A button that is on or off. @param {HTMLElement} node @param {boolean} isPressed */
export function paintPressed(node, isPressed) {
  setAttribute(node, "aria-pressed", String(isPressed));
}

/**
 * What stands for something that has not been read yet; the reader is told where it cannot be.
 * @param {HTMLElement} node
 * @param {boolean} isLoading
 * @param {boolean} isLost
 */
export function paintLoading(node, isLoading, isLost) {
  show(node, isLoading);
  setText(node, isLost ? "Not read yet: the connection is lost." : "Loading…");
}

/** @param {HTMLElement} node @param {Problem|null} problem */
export function paintProblem(node, problem) {
  show(node, Boolean(problem));
  setText(node, problem ? problemSentence(problem) : "");
}
