// The output of a job: read once, then followed, no line twice and none lost.

import assert from "node:assert/strict";
import { test } from "node:test";

import { visible } from "../../static/format.js";
import { createLog } from "../../static/log.js";

class Source {
  static all = [];
  constructor(url) {
    this.url = url;
    this.listeners = {};
    Source.all.push(this);
  }
  addEventListener(type, work) {
    this.listeners[type] = work;
  }
  close() {
    this.isClosed = true;
  }
  line(offset, message) {
    this.onmessage({ data: JSON.stringify({ offset, message }) });
  }
}

const lines = (from, to) => Array.from({ length: to - from }, (_, n) => ({ offset: from + n, message: `line ${from + n}` }));

function logOf(...pages) {
  Source.all = [];
  const asked = [];
  const env = {
    read: async (path, query) => (asked.push(query.offset), pages.shift()),
    urlFor: (path, offset) => `${path}?offset=${offset}`,
    EventSource: Source,
  };
  const told = { changes: 0 };
  return { ...createLog("jobs/1/logs", () => (told.changes += 1), env), asked, told };
}

const page = (from, to, complete = false) => ({ first_offset: 0, next_offset: to, complete, lines: lines(from, to) });

test("a log is read, then followed from where it ended; what comes twice is shown once", async () => {
  const { log, open } = logOf(page(0, 3));
  await open();
  assert.equal(Source.all[0].url, "jobs/1/logs?offset=3");
  Source.all[0].line(2, "again");
  Source.all[0].line(3, "line 3");
  assert.deepEqual(log.lines.map((line) => line.message), ["line 0", "line 1", "line 2", "line 3"]);
  Source.all[0].listeners.complete();
  assert.ok(log.complete && Source.all[0].isClosed);
});

test("each piece of news is told, so that somebody paints", async () => {
  const { open, told } = logOf(page(0, 1));
  await open();
  assert.equal(told.changes, 1);
  Source.all[0].line(1, "line 1");
  assert.equal(told.changes, 2);
  Source.all[0].listeners.complete();
  assert.equal(told.changes, 3);
});

test("a log that is complete is not followed", async () => {
  const { open } = logOf(page(0, 2, true));
  await open();
  assert.equal(Source.all.length, 0);
});

test("of a long log the newest lines are kept, and where they begin", async () => {
  const { log, open } = logOf(page(0, 10_000), page(10_000, 10_005));
  await open();
  assert.deepEqual([log.lines.length, log.first, log.lines[0].offset, log.next], [10_000, 5, 5, 10_005]);
  for (let offset = 10_005; offset < 10_008; offset++) Source.all[0].line(offset, "more");
  assert.deepEqual([log.lines.length, log.first, log.lines[0].offset, log.next], [10_000, 8, 8, 10_008]);
});

test("shown again, it goes on behind the last line", async () => {
  const { log, open, close, asked } = logOf(page(0, 2), page(2, 4));
  await open();
  close();
  assert.ok(Source.all[0].isClosed);
  await open();
  assert.deepEqual(asked, [0, 2]);
  assert.equal(log.lines.length, 4);
  assert.equal(Source.all[1].url, "jobs/1/logs?offset=4");
});

test("a stream that has given up is opened again, behind the last line", async () => {
  const { log, open, asked } = logOf(page(0, 2), page(2, 3));
  await open();
  Source.all[0].readyState = 0;
  Source.all[0].onerror(); // the browser comes back by itself
  assert.ok(!Source.all[0].isClosed);
  Source.all[0].readyState = 2;
  Source.all[0].onerror();
  await open();
  assert.deepEqual(asked, [0, 2]);
  assert.equal(log.lines.length, 3);
  assert.equal(Source.all.length, 2);
});

test("what is no line does no harm", async () => {
  const { log, open } = logOf(page(0, 1));
  await open();
  Source.all[0].onmessage({ data: "{" });
  Source.all[0].onmessage({ data: "null" });
  assert.equal(log.lines.length, 1);
});

test("control characters are shown, tabs and line ends stay", () => {
  assert.equal(visible("\x1b[31mred\x1b[0m\tx\n\x00\x7f"), "^[[31mred^[[0m\tx\n^@^?");
});

test("marks that turn the direction are named, what is written from right to left stays", () => {
  assert.equal(visible("a\u202egnp.exe\u061c\u2069"), "a⟨U+202E⟩gnp.exe⟨U+061C⟩⟨U+2069⟩");
  assert.equal(visible("שלום مرحبا"), "שלום مرحبا");
});
