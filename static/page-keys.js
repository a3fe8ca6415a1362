/**
 * Keys and links. In: what the reader presses. Out: `go(address)` for links of ours, focus and clicks for keys; the help
 * (index.html) says which there are.
 */

import { parseAddress } from "./address.js";
import { dialogOpen, showHelp } from "./dialogs.js";
import { host, root } from "./page-state.js";

/** @param {(address: string) => void} go */
export function bindKeys(go) {
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
  document.getElementById("help-button").addEventListener("click", () => showHelp());
}

function followLink(event, go) {
  const link = event.target.closest("a[href]");
  if (!link || event.defaultPrevented || event.button !== 0) return;
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || link.target) return;
  const url = new URL(link.href, location.href);
  if (url.origin !== location.origin || url.hash) return;
  if (parseAddress(root, url.pathname, url.search).kind === "unknown") return;
  event.preventDefault();
  go(url.pathname + url.search);
}

function pressed(event, keys) {
  if (event.ctrlKey || event.metaKey || event.altKey || dialogOpen()) return;
  if (event.target.matches("input, select, textarea")) return void leaveFilter(event);
  const work = keys[event.key];
  if (!work) return;
  event.preventDefault();
  work();
}

function leaveFilter(event) {
  if (event.key !== "Escape" || !event.target.matches("[data-filter]")) return;
  event.target.value = "";
  event.target.dispatchEvent(new Event("input"));
  event.target.blur();
}

/** To the first filter on the page; from row to row it is the one of the table that one is in. */
function toFilter() {
  const section = document.activeElement.closest?.("section section");
  const fields = [...host.querySelectorAll("[data-filter]")].filter(isVisible);
  const field = fields.find((node) => section?.contains(node)) ?? fields[0];
  field?.focus();
  field?.select();
}

function moveRow(step) {
  const rows = [...host.querySelectorAll(".row-link")].filter(isVisible);
  const row = document.activeElement.closest?.("tr");
  const at = rows.findIndex((link) => row?.contains(link));
  const next = at < 0 ? rows.find((link) => link.getBoundingClientRect().top >= 0) : rows[at + step];
  next?.focus();
  next?.closest("tr").scrollIntoView({ block: "nearest" });
}

const toTab = (place) => host.querySelectorAll(".tabs a")[place]?.click();

const isVisible = (node) => node.getClientRects().length > 0;
