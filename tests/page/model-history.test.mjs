// What happened, in words.

import assert from "node:assert/strict";
import { test } from "node:test";

import { NOW, at, event, job, regression } from "./objects.mjs";
import {
  changedWords, historyWord, localTimes, makerOf, runWords, sinceParts, storyOf,
} from "../../static/model-history.js";

test("a run of a strip and what has changed since the last one are words", () => {
  assert.equal(runWords({ status: "complete", pass: 196, fail: 4 }), "complete, 196 of 200 passed (98.0 %)");
  assert.equal(runWords({ status: "live", pass: 0, fail: 0 }), "live, no verdict");
  const since = { base: "n/1", counts: { new_signatures: 3, fixed_signatures: 0, newly_failing: 1, fixed: 2, slower: 41, faster: 0, missing: 5, added: 1 } };
  const words = (isLive) => sinceParts(since, isLive).map((part) => part.text);
  assert.deepEqual(words(false),
    ["3 signatures not in n/1", "1 newly failing test", "2 fixed tests", "41 slower tests", "5 missing tests", "1 added test"]);
  assert.deepEqual(words(true), ["3 signatures not in n/1", "1 newly failing test", "41 slower tests", "1 added test"]);
  assert.deepEqual(sinceParts(null, false), []);
});

test("the history of a run tells of its jobs, and of many alike only a few", () => {
  const own = [{ seq: 1, type: "regression.started", created: at(0) }, { seq: 99, type: "regression.finished", created: at(9) }];
  const missing = [10, 11, 12, 13, 14].map((seq) => event("job.missing", seq, { result: "fail", description: "why" }, { seq }));
  const story = storyOf(own, missing);
  assert.deepEqual(story.map((entry) => entry.seq), [1, 10, 11, 12, 99]);
  assert.equal(story[3].more, 2);
  assert.equal(story[1].job, 10);
  assert.equal(story[1].description, "why");
});

test("history says what changed", () => {
  assert.equal(historyWord({ type: "job.missing" }), "given up as missing");
  assert.equal(historyWord({ type: "job.new_kind" }), "job.new_kind");
  assert.equal(historyWord({ type: "regression.updated", progress: { running: 8 } }), "8 jobs running (publisher)");
  assert.deepEqual(["spool:20251121T130000-vm-1.json", "http:127.0.0.1", null].map(makerOf), ["by spool", "by http:127.0.0.1", ""]);
  const changed = (fields) => changedWords(fields, NOW);
  assert.deepEqual(changed({ phase: ["queued", "running"], host: [null, "a"], progress: [null, {}], n: 3 }),
    ["phase: queued → running", "host: a", "n: 3"]);
  assert.deepEqual(changed({ finish_time: [null, at(-5000)], "metadata.corner": ["slow", { v: 1 }], time_limit_ms: [null, 65_000] }),
    ["finish_time: 12:59:55", 'metadata.corner: slow → {"v":1}', "time_limit_ms: 1m 05s"]);
  assert.deepEqual(changed({ files: [null, [{ kind: "log", name: "sim.log" }, { name: "wave.fst" }]] }),
    ["files: sim.log, wave.fst"]);
  assert.deepEqual(changed({ host: ["a", null] }), ["host: a → –"]);
  assert.deepEqual(changed(undefined), []);
});

test("times in the server's words are those of the reader's clock", () => {
  assert.equal(localTimes("last sign of life 2025-11-21T12:59:55.110Z; 2025-99-99T00Z", NOW),
    "last sign of life 12:59:55; 2025-99-99T00Z");
});
