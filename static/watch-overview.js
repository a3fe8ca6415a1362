// @ts-check
/**
 * The watch of the list of regressions: the list, those of its rows that change, the last runs of its series. In:
 * events and replies. Out: `data`. See watch.js.
 */

/** @import {OverviewData, Regression, Series, View, WatchEnv} from "./types.js" */

import { applyToOverview } from "./model-events.js";
import { belongs, replaceItem, sortRegressions } from "./model-lists.js";
import { readAt } from "./model-times.js";
import { LIST_GAP_MS, OBJECT_GAP_MS, PAGE, SLOW_GAP_MS, createList, createPieces, watchOf } from "./watch-reading.js";

/** Series of which one request tells the last runs. */
const STRIPS_MOST = 100;
/** What changes a row of the overview: all but updates of jobs, which are most of all events. */
const LIST_TYPES = "regression.*,job.live,job.finished,job.corrected,job.revived,job.pruned";
/** With more changed rows than this at once, one reading of the list is cheaper than one of each. */
const FEW = 4;

/** @param {View} view @param {WatchEnv} env @param {OverviewData|null} kept */
export function watchOverview(view, env, kept) {
  /** @type {OverviewData} */
  const data = kept ?? { list: null, strips: new Map(), onlyTanked: false };
  /** @type {Set<number>} ids of rows that have changed */
  const dirty = new Set();
  let { filter } = view;
  const list = createList(env, PAGE, () => ["regressions", filter]);
  if (data.list) list.keep(data.list.items);

  /** @param {AbortSignal} signal */
  const hasTanked = async (signal) => {
    const { items } = await env.api.read("regressions", { tanked: 1, limit: 1 }, signal);
    return items.length > 0;
  };
  /** @param {AbortSignal} signal */
  const readList = async (signal) => {
    dirty.clear();
    const found = await list.read(data.list, signal);
    const isBare = found.items.length === 0 && !Object.values(filter).some(Boolean);
    data.onlyTanked = isBare && (await hasTanked(signal));
    data.list = found;
    pieces.want(["strips"]);
  };
  /** @param {AbortSignal} signal */
  const readStrips = async (signal) => {
    const named = data.list?.items.map((item) => item.series ?? "").filter(Boolean);
    const series = [...new Set(named)].slice(0, STRIPS_MOST);
    if (!series.length) return;
    const { items } = await env.api.read("series", { series }, signal);
    data.strips = new Map(items.map((/** @type {Series} */ item) => [item.series, item.runs]));
  };
  /** @param {AbortSignal} signal */
  const readRows = async (signal) => {
    const ids = [...dirty];
    dirty.clear();
    if (ids.length > FEW) pieces.want(["list"]);
    else await Promise.all(ids.map((id) => readRow(id, signal)));
  };
  /** @param {number} id @param {AbortSignal} signal */
  const readRow = async (id, signal) => {
    /** @type {Regression} */
    const row = readAt(await env.api.read(`regressions/${id}`, {}, signal), env.serverNow());
    if (!data.list) return;
    const items = replaceItem(data.list.items, row).filter((item) => item.id !== id || belongs(item, filter));
    data.list = { ...data.list, items: sortRegressions(items) };
  };
  const pieces = createPieces(env, {
    list: { gap: LIST_GAP_MS, read: readList },
    rows: { gap: OBJECT_GAP_MS, read: readRows },
    strips: { gap: SLOW_GAP_MS, read: readStrips },
  });

  return watchOf(data, pieces, {
    stream: () => ({ types: LIST_TYPES }),
    problem: () => pieces.problem(data.list === null),
    refresh: () => pieces.want(["list"]),
    pulse: () => data.list?.items.some((item) => item.status === "live") && pieces.want(["list"]),
    more: () => list.more(() => data.list, (next) => (data.list = next)),
    filter(next) {
      ({ filter } = next);
      list.restart();
      pieces.hurry("list");
    },
    apply(event) {
      if (data.list === null) return;
      const { items, wanted } = applyToOverview(data.list.items, event);
      data.list = { ...data.list, items };
      if (wanted === "list") pieces.want(["list"]);
      else if (wanted !== null) pieces.want((dirty.add(wanted), ["rows", "strips"]));
    },
  });
}
