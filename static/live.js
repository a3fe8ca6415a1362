// @ts-check
/**
 * News from the daemon: one EventSource that resumes by id, and the pace at which news makes the page read again.
 */

/** @import {ApiEvent, Clock, Connection, Source, Timer} from "./types.js" */

/** A connection that comes back this soon is not worth a word. */
const GRACE_MS = 1500;
const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 30_000;

/**
 * One stream of events, opened and closed at will; it resumes after the last event it has seen.
 *
 * A browser reconnects by itself after a cut, with `Last-Event-ID`. It gives up for good (readyState CLOSED) when the
 * answer is not a stream, as from a proxy while the daemon restarts: then we try again, slower each time.
 *
 * `env`: `EventSource`, `setTimeout`, `clearTimeout`, `random`. `on`: `event(object)`; `fresh()` when everything must
 * be read again (first opening, or a cursor the server no longer knows); `open(resumed)`;
 * `state("connecting"|"open"|"lost"|"paused")`.
 * @param {(after: string|null) => string} urlFor
 * @param {{
 *   event: (told: ApiEvent) => void, fresh: () => void, open: (resumed: boolean) => void, state: (state: Connection) =>
 * void,
 * }} on
 * @param {Clock & {EventSource: Source, random: () => number}} env
 */
export function createLive(urlFor, on, env) {
  /** @type {EventSource|null} */
  let source = null;
  /** @type {string|null} */
  let lastId = null;
  /** @type {Timer|null} */
  let retry = null;
  /** @type {Timer|null} */
  let grace = null;
  let failures = 0;
  /** @type {Connection} */
  let state = "paused";

  /** @param {Connection} next */
  const tell = (next) => {
    if (next === state) return;
    state = next;
    on.state(next);
  };
  const stopTimers = () => {
    env.clearTimeout(retry);
    env.clearTimeout(grace);
    retry = grace = null;
  };
  const drop = () => {
    source?.close();
    source = null;
  };

  const opened = () => {
    stopTimers();
    failures = 0;
    const resumed = lastId !== null;
    tell("open");
    on.open(resumed);
    if (!resumed) on.fresh();
  };
  /** @param {MessageEvent} event */
  const message = (event) => {
    if (event.lastEventId) lastId = event.lastEventId;
    const told = parse(event.data);
    if (told) on.event(told);
  };
  /** @param {MessageEvent} event */
  const reset = (event) => {
    const moved = event.lastEventId && event.lastEventId !== lastId;
    lastId = moved ? event.lastEventId : null;
    on.fresh();
    if (!moved) again(); // else the browser would come back with the cursor that was refused
  };
  const failed = () => {
    if (state !== "lost") grace ??= env.setTimeout(() => tell("lost"), GRACE_MS);
    if (source?.readyState === 2) again();
  };
  const again = () => {
    drop();
    const wait = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** failures);
    failures += 1;
    env.clearTimeout(retry);
    retry = env.setTimeout(connect, wait * (0.8 + 0.4 * env.random()));
  };
  const connect = () => {
    drop();
    source = new env.EventSource(urlFor(lastId));
    source.onopen = opened;
    source.onmessage = message;
    source.onerror = failed;
    source.addEventListener("reset", reset);
  };

  return {
    /** Starts, or starts again at once after a pause. */
    open() {
      stopTimers();
      failures = 0;
      if (state !== "lost") tell("connecting");
      connect();
    },
    /** Lets go of the connection, and remembers the place. */
    close() {
      stopTimers();
      drop();
      tell("paused");
    },
    /** Forgets the place: the database behind is another one. */
    forget() {
      lastId = null;
    },
    get state() {
      return state;
    },
    get lastId() {
      return lastId;
    },
  };
}

/** @param {string} text */
function parse(text) {
  try {
    const told = JSON.parse(text);
    return told && typeof told === "object" && typeof told.type === "string" ? told : null;
  } catch {
    return null;
  }
}
