// @ts-check
/**
 * The lines of a job's output: read once, then followed. One `EventSource` of its own, which resumes by line number;
 * it is closed while nobody looks, and for good with the log's last line.
 */

/** @import {Log, LogLine, OpenLog, Read, Source} from "./types.js" */

const READ_AT_ONCE = 10_000;
const LINES_KEPT = 10_000; // the newest; as many as the daemon keeps, unless its configuration says otherwise

/**
 * `env`: `read(path, query)` (a request to the API), `urlFor(path, offset)`, `EventSource`. `changed()` is called when
 * there is more to show. `log.lines` are `{offset, at, message}`, and `log.first` is the offset of the first of them.
 * @param {string} path
 * @param {() => void} changed
 * @param {{read: Read, urlFor: (path: string, offset: number) => string, EventSource: Source}} env
 * @returns {OpenLog}
 */
export function createLog(path, changed, env) {
  /** @type {Log} */
  const log = { lines: [], first: 0, next: 0, complete: false };
  /** @type {EventSource|null} */
  let source = null;
  let isOpen = false;
  let isReading = false;

  /** @param {LogLine} line */
  const take = (line) => {
    if (line.offset < log.next) return;
    log.lines.push(line);
    log.next = line.offset + 1;
  };
  /** @param {LogLine[]} lines */
  const takeAll = (lines) => {
    lines.forEach(take);
    log.lines.splice(0, log.lines.length - LINES_KEPT);
    log.first = log.lines[0]?.offset ?? log.first;
  };
  const read = async () => {
    for (;;) {
      const page = await env.read(path, { offset: log.next, limit: READ_AT_ONCE });
      if (!log.lines.length) log.first = page.first_offset;
      takeAll(page.lines);
      log.complete = page.complete;
      if (page.lines.length < READ_AT_ONCE) return;
    }
  };
  const follow = () => {
    source = new env.EventSource(env.urlFor(path, log.next));
    source.onmessage = (event) => {
      const line = parse(event.data);
      if (line) takeAll([line]);
      changed();
    };
    source.onerror = () => {
      if (source?.readyState === 2) close(); // given up for good; the next open() goes on behind the last line
    };
    source.addEventListener("complete", () => {
      log.complete = true;
      close();
      changed();
    });
  };
  const close = () => {
    source?.close();
    source = null;
  };

  return {
    log,
    /** Reads, and follows if there may be more. Raises what `env.read` raises. */
    async open() {
      isOpen = true;
      if (isReading || source || log.complete) return;
      isReading = true;
      try {
        await read();
      } finally {
        isReading = false;
      }
      changed();
      if (isOpen && !log.complete) follow();
    },
    close() {
      isOpen = false;
      close();
    },
  };
}

/** @param {string} text */
function parse(text) {
  try {
    const line = JSON.parse(text);
    return typeof line?.message === "string" ? line : null;
  } catch {
    return null;
  }
}
