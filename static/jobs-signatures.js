// @ts-check
/**
 * The table of fail signatures. In: the signatures of a regression. Out: rows that unfold; the one that is chosen goes
 * up through `actions`.
 */

/** @import {Example, Parts, RegressionActions, Signature, TablesState} from "./types.js" */

import { jobAddress } from "./address.js";
import { bindCopy, keyedList, setAttribute, setCell, setText, show } from "./dom.js";
import { count, cut, duration, firstLine, fullTime, percent, plural, visible } from "./format.js";
import { jobTitle, rerunLine, seedWords, shortHost, signatureSince } from "./model-job.js";
import { paintLink, paintPressed, paintShare } from "./parts.js";

const MESSAGE_CHARS = 5000;

/** @typedef {TablesState & {fails: number, several: boolean, back: Set<number>}} SignaturesState */

/** @param {Parts} parts @param {RegressionActions} actions @returns {(state: TablesState) => void} */
export function mountSignatures(parts, actions) {
  const unfolded = new Set();
  const rows = keyedList(parts.signatures, {
    template: "signature-row",
    key: (item) => item.id,
    paint: (row, item, state) => paintSignature(row, item, state, unfolded.has(item.id)),
    bind(row, item) {
      bindSignature(row, item, actions, unfolded);
      row.choose.addEventListener("click", () => {
        actions.chooseSignature(item().id);
        showChosen(parts);
      });
    },
  });
  parts["signatures-more"].addEventListener("click", () => actions.more("signatures"));
  return (state) => {
    const { signatures, regression, since } = state.data;
    const items = signatures?.items ?? [];
    show(parts["signatures-section"], items.length > 0);
    setText(parts["signatures-summary"], signaturesSummary(items, signatures?.next));
    const several = new Set(items.flatMap((item) => item.hosts ?? []).map(({ host }) => host)).size > 1;
    const back = new Set(since?.signatures?.new.map(({ id }) => id));
    setAttribute(parts["signatures-table"], "data-without", several ? null : "hosts");
    rows(items, { ...state, fails: regression.counts.fail, several, back });
    show(parts["signatures-more"], Boolean(signatures?.next));
  };
}

/** @param {Signature[]} items @param {string|null|undefined} next */
function signaturesSummary(items, next) {
  const fresh = items.filter((item) => item.new).length;
  const number = `${count(items.length)}${next ? " or more" : ""}`;
  return `${number}${fresh ? `, ${count(fresh)} never seen before` : ""}`;
}

/** Goes to the jobs of the signature that has been chosen: they may lie below what is in sight. @param {Parts} parts */
function showChosen(parts) {
  if (parts["by-signature"].hidden) return;
  parts["jobs-section"].scrollIntoView({ block: "nearest" });
  parts.unsign.focus({ preventScroll: true });
}

/**
 * @param {Parts} row
 * @param {() => Signature} item
 * @param {RegressionActions} actions
 * @param {Set<number>} unfolded
 */
function bindSignature(row, item, actions, unfolded) {
  row.unfold.addEventListener("click", () => {
    const { id } = item();
    if (!unfolded.delete(id)) unfolded.add(id);
    actions.repaint();
  });
  bindCopy(row.rerun, () => rerunLine(item().example) ?? "");
}

/**
 * @param {Parts} parts
 * @param {Signature} item
 * @param {SignaturesState} state
 * @param {boolean} isUnfolded
 */
function paintSignature(parts, item, state, isUnfolded) {
  const fails = Math.max(state.fails, item.count);
  setText(parts.count, count(item.count));
  setAttribute(parts.count, "title", `${percent(item.count, fails)} of all fails`);
  paintShare(parts.bar, "fail", item.count / fails);
  setCell(parts.choose, item.title);
  paintPressed(parts.choose, state.view.filter.signature === String(item.id));
  setCell(parts.category, item.category ?? "");
  paintOrigin(parts, item, state);
  paintHosts(parts, item, state);
  show(parts.example, Boolean(item.example));
  if (item.example) paintExample(parts, item.example, state.root);
  setAttribute(parts.unfold, "aria-expanded", String(isUnfolded));
  show(parts.unfold, Boolean(item.example?.fail_message));
  show(parts.detail, isUnfolded);
  if (isUnfolded && item.example) paintMessage(parts, item.example);
}

/** @param {Parts} parts @param {Signature} item @param {SignaturesState} state */
function paintOrigin(parts, item, state) {
  const { series = [], count: others = 0 } = item.elsewhere ?? {};
  paintNew(parts.new, item, state);
  setCell(parts.origin, item.new ? "" : signatureSince(item, state.now), fullTime(item.first_seen_at));
  const more = others > series.length ? ` and ${count(others - series.length)} more` : "";
  setCell(parts.elsewhere, others ? `also in ${series.join(", ")}${more}` : "");
}

/**
 * `new` is what nobody has seen before, `back` what the run before did not have.
 * @param {HTMLElement} node
 * @param {Signature} item
 * @param {SignaturesState} context
 */
function paintNew(node, item, { back, data }) {
  const isBack = !item.new && back.has(item.id);
  show(node, Boolean(item.new) || isBack);
  setCell(node, isBack ? "back" : "new", isBack ? `seen before, but not in ${data.since?.base}` : "never seen before");
}

/**
 * Fails that gather on one host are worth a look at the host; where the whole run has no other, no host is.
 * @param {Parts} parts
 * @param {Signature} item
 * @param {SignaturesState} context
 */
function paintHosts(parts, item, { several, domain }) {
  const [most] = several ? item.hosts ?? [] : [];
  const all = plural(item.hosts_count ?? 0, "host");
  const isOne = most?.count === item.count;
  const gathers = item.count > 3 && most && most.count * 2 > item.count;
  const names = (item.hosts ?? []).map(({ host, count: fails }) => `${host}: ${count(fails)}`).join(", ");
  const words = isOne || gathers ? placeWords(item.count, most, domain) : all;
  setCell(parts.hosts, most ? words : "", names);
  setAttribute(parts.hosts, "data-gathers", gathers ? "yes" : null);
  setCell(parts["hosts-rest"], gathers && !isOne ? all : "");
}

/**
 * `22 of 23 on n1`, `all on n1`, or `n1` alone for a single fail.
 * @param {number} fails
 * @param {Signature["hosts"][number]} context
 * @param {string} domain
 */
function placeWords(fails, { host, count: there }, domain) {
  const name = shortHost(host, domain);
  if (fails === 1) return name;
  return `${there === fails ? "all" : `${count(there)} of ${count(fails)}`} on ${name}`;
}

/** @param {Parts} parts @param {Example} example @param {string} root */
function paintExample(parts, example, root) {
  const text = [jobTitle(example), seedWords(example)].filter(Boolean).join(", ");
  paintLink(parts.example, jobAddress(root, example.id), text, firstLine(example.fail_message) || text);
  setText(parts.runtime, example.runtime_ms ? duration(example.runtime_ms) : "");
  show(parts.rerun, Boolean(rerunLine(example)));
}

/**
 * The message as it came; what the bucketing left out of its first line is struck out.
 * @param {Parts} parts
 * @param {Example} context
 */
function paintMessage(parts, { fail_message: told, pieces }) {
  const message = told ?? "";
  show(parts.erased, Boolean(pieces?.some(([, isErased]) => isErased)));
  if (parts.message.dataset.shown === message) return;
  parts.message.dataset.shown = message;
  if (!pieces) return parts.message.replaceChildren(visible(cut(message, MESSAGE_CHARS)));
  const first = pieces.reduce((length, [text]) => length + text.length, 0);
  const rest = message.trimStart().slice(first);
  return parts.message.replaceChildren(
    ...pieces.map(([text, isErased]) => (isErased ? struck(text) : visible(text))),
    visible(cut(rest, MESSAGE_CHARS)),
  );
}

/** @param {string} text */
function struck(text) {
  const node = document.createElement("del");
  node.textContent = visible(text);
  return node;
}
