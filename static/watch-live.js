// @ts-check
/**
 * How the live jobs of a regression are read: all of them, the newest, or those in sight. In: the path of the
 * regression, and `data`, whose `live` (livejobs.js) they go into. Out: `readLive`, `readNewest`, `readSeen`.
 */

/** @import {Job, Page, Query, RegressionData, WatchEnv} from "./types.js" */

import { readAt } from "./model-times.js";
import { LONG_PAGE } from "./watch-reading.js";

const NEWEST_PAGE = 100;
const SEEN_PAGE = 100;
/** Live jobs held at most. */
const LIVE_MOST = 40_000;

/**
 * `wantAll()` asks for all of them to be read; `inSight()` gives the ids of those that the reader sees.
 * @param {WatchEnv} env
 * @param {RegressionData} data
 * @param {(rest: string) => string} path
 * @param {{wantAll: () => void, inSight: () => number[]}} context
 */
export function createLiveReading(env, data, path, { wantAll, inSight }) {
  /** @param {Query} query @param {AbortSignal} signal @returns {Promise<Page<Job>>} */
  const readPage = async (query, signal) => {
    const page = await env.api.read(path("/jobs"), { result: "live", limit: LONG_PAGE, ...query }, signal);
    const now = env.serverNow();
    data.live.put(page.items.map((/** @type {Job} */ job) => readAt(job, now)));
    return page;
  };

  return {
    /** All live jobs, page by page; those that were there before and are not any more go. */
    async readLive(/** @type {AbortSignal} */ signal) {
      const { live } = data;
      const before = live.ids();
      const found = new Set();
      let after = null;
      do {
        const page = await readPage({ after }, signal);
        if (live !== data.live) return;
        page.items.forEach((job) => found.add(job.id));
        after = page.next ?? null;
        env.changed();
      } while (after && found.size < LIVE_MOST);
      live.keepOnly(before, found);
      data.liveRead = true;
    },
    /** The newest live jobs, which may be all; if all of a page are new, there may be more behind it. */
    async readNewest(/** @type {AbortSignal} */ signal) {
      const { live } = data;
      const before = live.ids();
      const page = await readPage({ limit: NEWEST_PAGE }, signal);
      const found = new Set(page.items.map((job) => job.id));
      if (!page.next) live.keepOnly(before, found);
      else if (!before.some((id) => found.has(id))) wantAll();
    },
    /** Those in sight, for their signs of life. */
    async readSeen(/** @type {AbortSignal} */ signal) {
      const ids = inSight().filter((id) => data.live.has(id)).slice(0, SEEN_PAGE);
      if (ids.length) await readPage({ filter: `id=${ids.join("|")}` }, signal);
    },
  };
}
