// @ts-check
/**
 * The pictures of a run: who worked when, how many finished, how long jobs took, runtime against cycles; and hosts as a
 * table. Nothing is told by colour alone: fails are taller, hatched or crossed. Behind each picture is a table.
 */

/** @import {Host, Parts, RegressionActions, RegressionState} from "./types.js" */

import { keyedList, setCell, setText, show } from "./dom.js";
import { count, duration, percent } from "./format.js";
import { KINDS, mount, paintLoading } from "./parts.js";
import { mountFinished } from "./picture-finished.js";
import { mountCycles, mountRuntimes } from "./picture-runtimes.js";
import { mountTimeline } from "./picture-timeline.js";

/**
 * `actions`: `filter({from, to})`, `go(address)`.
 * @param {HTMLElement} host
 * @param {RegressionActions} actions
 * @returns {(state: RegressionState) => void}
 */
export function mountPictures(host, actions) {
  const parts = mount(host, "tab-pictures");
  const mounts = [mountTimeline, mountFinished, mountRuntimes, mountCycles, mountHosts];
  const paints = mounts.map((mountPart) => mountPart(parts, actions));
  return (state) => {
    const { charts, timeline } = state.data;
    paintLoading(parts.loading, charts === null || timeline === null, state.isLost);
    show(parts.nothing, charts !== null && charts.jobs === 0 && timeline?.jobs === 0);
    paints.forEach((paint) => paint(state));
  };
}

/** @param {Parts} parts @returns {(state: RegressionState) => void} */
function mountHosts(parts) {
  const rows = keyedList(parts.hosts, { template: "host-row", key: (item) => item.host ?? "", paint: paintHostRow });
  return (state) => {
    const { hosts } = state.data;
    show(parts["hosts-section"], Boolean(hosts?.items.length));
    rows(hosts?.items ?? [], state);
    const isPart = Boolean(hosts?.next);
    setText(parts["hosts-told"], isPart ? `the ${count(hosts?.items.length)} with the most fails` : "most fails first");
  };
}

/** @param {Parts} parts @param {Host} item */
function paintHostRow(parts, item) {
  setCell(parts.host, item.host || "no host");
  for (const kind of KINDS) setText(parts[kind], count(item[kind]));
  setText(parts.rate, item.fail_rate === null ? "" : percent(item.fail_rate, 1));
  setText(parts.runtime, duration(item.runtime_ms));
}
