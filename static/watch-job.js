// @ts-check
/**
 * The watch of one job: itself, its files, its history, earlier runs of its test, its output. In: events and replies.
 * Out: `data`. See watch.js.
 */

/** @import {JobData, View, WatchEnv} from "./types.js" */

import { applyToJob } from "./model-events.js";
import { readAt } from "./model-times.js";
import { LIST_GAP_MS, OBJECT_GAP_MS, SLOW_GAP_MS, createPieces, readWholeHistory, watchOf } from "./watch-reading.js";

const FILES_MOST = 5000;

/** @param {View} view @param {WatchEnv} env @param {JobData|null} kept */
export function watchJob(view, env, kept) {
  /** @type {JobData} */
  const data = kept ?? { job: null, history: null, earlier: null, log: null, files: null };
  const path = `jobs/${view.ref}`;
  const log = env.createLog(`${path}/logs`, env.changed);
  data.log = log.log;
  const pieces = createPieces(env, {
    job: {
      gap: OBJECT_GAP_MS,
      read: async (signal) => {
        data.job = readAt(await env.api.read(path, {}, signal), env.serverNow());
        pieces.want(["files"]);
      },
    },
    /** The files that the job declares, once more: only their own list tells which can be downloaded. */
    files: {
      gap: SLOW_GAP_MS,
      read: async (signal) => {
        const has = Boolean(data.job?.files?.length);
        data.files = has ? await env.api.list(`${path}/files`, { limit: FILES_MOST }, signal) : null;
      },
    },
    history: {
      gap: LIST_GAP_MS,
      read: async (signal) => (data.history = await readWholeHistory(env, `${path}/history`, data.history, signal)),
    },
    earlier: {
      gap: SLOW_GAP_MS,
      read: async (signal) => (data.earlier = await env.api.read(`${path}/earlier`, { limit: 20 }, signal)),
    },
    log: { gap: LIST_GAP_MS, read: log.open },
  });
  return watchOf(data, pieces, {
    stream: () => ({ job: view.ref }),
    refresh: () => pieces.want(["job", "history", "earlier", "log"]), // the job asks for its files
    pulse: () => data.job?.result === "live" && pieces.want(["job", "log"]),
    problem: () => pieces.problem(data.job === null),
    pause() {
      log.close();
      pieces.pause();
    },
    resume() {
      pieces.resume();
      pieces.want(["log"]);
    },
    stop() {
      log.close();
      pieces.stop();
    },
    apply(event) {
      if (!data.job) return;
      const { job, wanted } = applyToJob(data.job, event);
      data.job = job;
      pieces.want(wanted);
    },
  });
}
