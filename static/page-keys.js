// @ts-check
/**
 * Keys and links. In: what the reader presses. Out: `go(address)` for links of ours, focus and clicks for keys; the
 * help (index.html) says which there are.
 */

import { parseAddress } from "./address.js";
import { dialogOpen, showHelp } from "./dialogs.js";
import { byId, pressedIn } from "./dom.js";
import { host, root } from "./page-state.js";

/** @param {(address: string) => void} go */
export function bindKeys(go) {
  /** @type {Object<string, () => void>} */
  const keys = {
    "/": toFilter,
    j: () => moveRow(1),
    k: () => moveRow(-1),
    g: () => go(root),
    "?": () => void showHelp(),
    1: () => toTab(0),
    2: () => toTab(1),
    3: () => toTab(2),
    4: () => toTab(3),
  };
  document.addEventListener("keydown", (event) => pressed(event, keys));
  document.addEventListener("click", (event) => followLink(event, go));
  byId("help-button").addEventListener("click", () => showHelp());
}

/** @param {MouseEvent} event @param {(address: string) => void} go */
function followLink(event, go) {
  const link = pressedIn(event, "a[href]");
  if (!link || event.defaultPrevented || event.button !== 0) return;
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || link.target) return;
  const url = new URL(link.href, location.href);
  if (url.origin !== location.origin || url.hash) return;
  if (parseAddress(root, url.pathname, url.search).kind === "unknown") return;
  event.preventDefault();
  go(url.pathname + url.search);
}

/** @param {KeyboardEvent} event @param {Object<string, () => void>} keys */
function pressed(event, keys) {
  if (event.ctrlKey || event.metaKey || event.altKey || dialogOpen()) return;
  const field = pressedIn(event, "input, select, textarea");
  if (field) return void leaveFilter(event, field);
  const work = keys[event.key];
  if (!work) return;
  event.preventDefault();
  work();
}

/** @param {KeyboardEvent} event @param {HTMLInputElement} field */
function leaveFilter(event, field) {
  if (event.key !== "Escape" || !field.matches("[data-filter]")) return;
  field.value = "";
  field.dispatchEvent(new Event("input"));
  field.blur();
}

/** To the first filter on the page; from row to row it is the one of the table that one is in. */
function toFilter() {
  const section = document.activeElement?.closest("section section");
  const fields = /** @type {HTMLInputElement[]} */ ([...host.querySelectorAll("[data-filter]")].filter(isVisible));
  const field = fields.find((node) => section?.contains(node)) ?? fields[0];
  field?.focus();
  field?.select();
}

/** @param {number} step */
function moveRow(step) {
  const rows = /** @type {HTMLElement[]} */ ([...host.querySelectorAll(".row-link")].filter(isVisible));
  const row = document.activeElement?.closest("tr");
  const at = rows.findIndex((link) => row?.contains(link));
  const next = at < 0 ? rows.find((link) => link.getBoundingClientRect().top >= 0) : rows[at + step];
  next?.focus();
  next?.closest("tr")?.scrollIntoView({ block: "nearest" });
}

/** @param {number} place */
function toTab(place) {
  const tabs = /** @type {NodeListOf<HTMLElement>} */ (host.querySelectorAll(".tabs a"));
  tabs[place]?.click();
}

/** @param {Element} node */
const isVisible = (node) => node.getClientRects().length > 0;
