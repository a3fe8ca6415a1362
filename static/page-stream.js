// @ts-check
/**
 * The page and its daemon: the stream that brings events, and who the daemon is. In: events, time that passes, tabs
 * that are hidden and shown. Out: the watch is told, and `changed()` is called.
 *
 * A hidden tab holds no connection. A clock that stood still has slept, and the stream may be dead without knowing it.
 * The daemon is asked now and then who it is: another database behind it means reading everything again.
 */

/** @import {ApiEvent, Connection} from "./types.js" */

import { apiPath } from "./address.js";
import { Problem } from "./api.js";
import { parseTime } from "./format.js";
import { createLive } from "./live.js";
import { paintConnection } from "./page-frame.js";
import { answered, api, page, root, serverNow, timers } from "./page-state.js";

const COALESCE_MS = 250;
/** A page waits this long for its stream before it reads: what it reads afterwards cannot miss an event. */
const STREAM_FIRST_MS = 150;
/** How often a quiet page asks whether the server is still there. */
const CHECK_MS = 30_000;
/** How often signs of life are read again; they are no events. */
const PULSE_MS = 10_000;
/** A clock that stood still this long slept. */
const SLEPT_MS = 15_000;
const JUST_CHECKED_MS = 2000;

/**
 * `connect()` opens the stream for the view of now, then reads; `follow()` does so where another one is wanted by now;
 * `tick()` is called each second; `state()` is the connection's, and `shownNow()` as of when things are shown.
 * @param {() => void} changed
 */
export function createStream(changed) {
  let streamed = ""; // what the stream is narrowed to
  let lastCheck = 0;
  let lastTick = Date.now();
  let lastPulse = Date.now();

  const wanted = () => JSON.stringify(page.watch.stream());
  /** @param {string|null} after */
  const addressAfter = (after) => {
    const epoch = after && page.meta.epoch;
    return root + apiPath("events/stream", { coalesce: COALESCE_MS, ...page.watch.stream(), after, epoch });
  };
  /** @param {ApiEvent} event */
  const received = (event) => {
    answered();
    page.watch.apply(event);
    changed();
  };
  const opened = () => {
    answered();
    page.watch.retry();
    if (Date.now() - lastCheck > JUST_CHECKED_MS) check();
  };
  /** @param {Connection} state */
  const stateChanged = (state) => {
    paintConnection(state);
    changed();
  };
  const live = createLive(
    addressAfter,
    { event: received, fresh: () => page.watch.refresh(), open: opened, state: stateChanged },
    { EventSource, random: Math.random, ...timers },
  );

  const check = async () => {
    const asked = Date.now();
    lastCheck = asked;
    try {
      const meta = await api.read("", {});
      answered();
      page.clockOffset = (parseTime(meta.now) ?? Date.now()) - (asked + Date.now()) / 2;
      if (page.meta.epoch !== undefined && page.meta.epoch !== meta.epoch) startOver();
      page.meta = meta;
      page.troubles = await api.health();
      changed();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.status === 0 && live.state === "open") live.open();
    }
  };
  const startOver = () => {
    live.forget();
    page.watch.refresh();
  };

  /** A background tab reads once, for its title, and connects when it is shown. */
  const connect = () => {
    live.close();
    live.forget();
    streamed = wanted();
    if (page.view.kind === "unknown") return;
    const { watch } = page;
    if (document.hidden) return void watch.refresh();
    live.open();
    setTimeout(() => page.watch === watch && live.state !== "open" && watch.refresh(), STREAM_FIRST_MS);
  };
  /** Signs of life and estimates grow old without an event. */
  const pulse = () => {
    lastPulse = Date.now();
    if (live.state === "open") page.watch.pulse();
  };

  return {
    connect,
    check,
    follow: () => streamed !== wanted() && !document.hidden && connect(),
    state: () => live.state,
    /** While cut off it stands still, since nobody knows what runs on unseen. */
    shownNow: () => (live.state === "lost" && page.lastGoodAt !== null ? page.lastGoodAt + page.clockOffset : serverNow()),
    tick() {
      if (document.hidden) return;
      const slept = Date.now() - lastTick > SLEPT_MS;
      lastTick = Date.now();
      if (slept && page.view.kind !== "unknown") live.open();
      if (Date.now() - lastCheck > CHECK_MS) {
        page.watch.retry();
        check();
      }
      if (Date.now() - lastPulse > PULSE_MS) pulse();
      changed();
    },
    visibilityChanged() {
      if (page.view.kind === "unknown") return;
      if (document.hidden) {
        live.close();
        page.watch.pause();
      } else {
        lastTick = Date.now();
        page.watch.resume();
        live.open();
      }
    },
  };
}
