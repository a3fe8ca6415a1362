// @ts-check
/**
 * Where the reader has been: what each entry of the browser's history showed, so that "back" shows at once what was
 * left, scrolled and focused as it was. In: the view when it is left. Out: the same when it is entered again.
 */

import { host, page } from "./page-state.js";

const PLACES_KEPT = 20;

/** @typedef {{href: string|null, part: string|undefined}} Focus the link that had it */
/** @typedef {{data: any, y: number, focus: Focus|null}} Place */

/** The place of a view that is entered for the first time. */
/** @type {Place} */
export const TOP = Object.freeze({ data: null, y: 0, focus: null });

const newKey = () => `${Date.now()}.${Math.random()}`;

/**
 * `begin()` and `back(event)` give the place of an entry, `aim(place)` says where the view is to be, and `goThere()`,
 * after each painting, goes there; `leave()` keeps what is left, and `push(address)` begins a new entry.
 */
export function createPlaces() {
  /** @type {Map<string, Place>} by the key of an entry of the history */
  const places = new Map();
  let key = "";
  /** @type {Place|null} */
  let wanted = null;

  return {
    begin() {
      const y = history.state?.y ?? 0;
      key = history.state?.key ?? newKey();
      history.scrollRestoration = "manual";
      history.replaceState({ key }, "");
      window.addEventListener("pagehide", () => history.replaceState({ key, y: window.scrollY }, ""));
      return { data: null, y, focus: null };
    },
    /** @param {PopStateEvent} event */
    back(event) {
      key = event.state?.key ?? newKey();
      return places.get(key) ?? TOP;
    },
    /** @param {Place} place */
    aim(place) {
      wanted = place;
    },
    leave() {
      const active = /** @type {HTMLElement|null} */ (document.activeElement);
      const focused = host.contains(active) ? active : null;
      const focus = focused && { href: focused.getAttribute("href"), part: focused.dataset.part };
      places.set(key, { data: page.watch.data, y: window.scrollY, focus });
      const [oldest] = places.keys();
      if (places.size > PLACES_KEPT) places.delete(oldest);
    },
    /** @param {string} address */
    push(address) {
      key = newKey();
      history.pushState({ key }, "", address);
    },
    /** Scroll and focus as they were, once there is something to scroll. */
    goThere() {
      if (!wanted || isEmpty(page.watch.data)) return;
      const { y, focus } = wanted;
      wanted = null;
      window.scrollTo(0, y);
      (linkOf(focus) ?? host).focus({ preventScroll: true });
    },
  };
}

/** @param {Focus|null} focus */
function linkOf(focus) {
  const links = /** @type {HTMLElement[]} */ ([...host.querySelectorAll("a[href]")]);
  return links.find((node) => node.getAttribute("href") === focus?.href && node.dataset.part === focus?.part);
}

/** @param {object} data */
function isEmpty(data) {
  return Object.values(data)[0] === null;
}
