// @ts-check
/** Questions to the reader: each resolves once, when its dialog closes. */

import { bindCopy, byId, pressedIn, setText, show } from "./dom.js";

/** Opens a dialog; resolves to whether it was confirmed. @param {HTMLDialogElement} dialog */
function ask(dialog) {
  const form = /** @type {HTMLFormElement} */ (dialog.querySelector("form"));
  return new Promise((resolve) => {
    let confirmed = false;
    const submit = (/** @type {Event} */ event) => {
      event.preventDefault();
      confirmed = true;
      dialog.close();
    };
    const closed = () => {
      form.removeEventListener("submit", submit);
      resolve(confirmed);
    };
    form.addEventListener("submit", submit);
    dialog.addEventListener("close", closed, { once: true });
    dialog.showModal();
    const fields = /** @type {HTMLElement[]} */ ([...form.querySelectorAll("input, [type=submit]")]);
    fields.find((node) => node.getClientRects().length)?.focus();
  });
}

/** @param {HTMLDialogElement} dialog @param {string} name @returns {any} */
const part = (dialog, name) => dialog.querySelector(`[data-part="${name}"]`);

/**
 * "Are you sure?", with a reason where one is wanted.
 * @param {{title: string, text: string, action: string, reason?: boolean, danger?: boolean}} question
 * @returns {Promise<{reason: string}|null>} null if the reader thought better of it
 */
export async function askConfirm({ title, text, action, reason = false, danger = false }) {
  const dialog = byId("confirm");
  setText(part(dialog, "title"), title);
  setText(part(dialog, "text"), text);
  setText(part(dialog, "action"), action);
  part(dialog, "action").classList.toggle("danger", danger);
  show(part(dialog, "why"), reason);
  const field = part(dialog, "reason");
  field.value = "";
  return (await ask(dialog)) ? { reason: field.value.trim() } : null;
}

/**
 * The server's token, for this tab.
 * @param {boolean} again the last one was not accepted
 * @returns {Promise<string|null>}
 */
export async function askToken(again) {
  const dialog = byId("token");
  show(part(dialog, "again"), again);
  const field = part(dialog, "token");
  field.value = "";
  const given = (await ask(dialog)) && field.value.trim();
  field.value = "";
  return given || null;
}

/** The keys that the page knows. */
export function showHelp() {
  return ask(byId("help"));
}

/** What can be typed to filter jobs. */
export function showFilterHelp() {
  return ask(byId("filter-help"));
}

/**
 * The badge of a series, and the line that shows it elsewhere.
 * @param {{series: string, image: string, markdown: string}} told
 */
export function showBadge({ series, image, markdown }) {
  const dialog = byId("badge");
  setText(part(dialog, "series"), series);
  part(dialog, "image").src = image;
  part(dialog, "copy").value = markdown;
  setText(part(dialog, "markdown"), markdown);
  return ask(dialog);
}

/** Closes by any button marked `data-close`, and by a click beside the dialog. */
export function bindDialogs() {
  const badge = byId("badge");
  bindCopy(part(badge, "copy"), () => part(badge, "copy").value);
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || pressedIn(event, "[data-close]")) dialog.close();
    });
  }
}

/** Is a dialog open? */
export function dialogOpen() {
  return document.querySelector("dialog[open]") !== null;
}
