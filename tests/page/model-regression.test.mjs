// A regression in figures and words.

import assert from "node:assert/strict";
import { test } from "node:test";

import { NOW, at, counts, job, regression } from "./objects.mjs";
import {
  barLabel, barSegments, passRate, progressOf, shortReason, statusSentence,
} from "../../static/model-regression.js";

const numbers = (item) => Object.fromEntries(barSegments(item).map(({ kind, n }) => [kind, n]));

test("the bar splits fails into reported and cut off", () => {
  const segments = numbers(regression({ counts: counts({ pass: 50, fail: 5, migrated: 2, skip: 1, live: 20 }) }));
  assert.deepEqual(segments, { pass: 50, fail: 3, migrated: 2, skip: 1, live: 20, pending: 24 });
});

test("the bar has nothing to come when more was heard of than submitted, or nobody said", () => {
  assert.equal(numbers(regression({ submitted: 10, progress: { done: 53, total: 10, percent: 100 } })).pending, 0);
  assert.equal(numbers(regression({ submitted: null, progress: { done: 53, total: null, percent: null } })).pending, 0);
});

test("what never came has another word after the end", () => {
  const word = (status) => barSegments(regression({ status })).at(-1).word;
  assert.equal(word("live"), "to come");
  assert.equal(word("aborted"), "never seen");
  assert.equal(barLabel(barSegments(regression())), "50 pass, 3 fail, 20 live, 27 to come");
  assert.equal(barLabel([]), "no jobs yet");
});

test("progress is told without a total, and never exceeds it", () => {
  assert.deepEqual(progressOf(regression()), { percent: "53 %", words: "53 of 100 jobs" });
  assert.deepEqual(progressOf(regression({ submitted: 0, progress: { done: 53, total: null, percent: null } })),
    { percent: "53 done", words: "53 jobs done" });
  assert.equal(progressOf(regression({ progress: { done: 53, total: 10, percent: 100 } })).percent, "73 %");
});

test("the pass rate leaves skips and live jobs out", () => {
  assert.equal(passRate(regression({ counts: counts({ pass: 3, fail: 1, skip: 9, live: 5 }) })), 0.75);
  assert.equal(passRate(regression({ counts: counts({ live: 5 }) })), null);
});

test("the list tells what to look at in a live run", () => {
  const told = (minutes, fresh, changes = {}) =>
    shortReason(regression({ last_activity_at: at(-minutes * 60_000), new_signatures: fresh, ...changes }), NOW);
  assert.equal(told(9, 0), "");
  assert.equal(told(24, 0), "silent 24m");
  assert.equal(told(24, 1), "silent 24m\n1 new signature");
  assert.equal(told(0, 25), "25 new signatures");
  assert.equal(told(24, 2, { slow: 1 }), "silent 24m\n1 slow job\n2 new signatures");
  assert.deepEqual([119, 3000].map((minutes) => told(minutes, 0)), ["silent 1h", "silent 2d"]);
  assert.equal(told(24, 2, { status: "complete" }), "");
  assert.equal(shortReason(regression(), NOW), "");
});

test("a status comes with its reason", () => {
  const sentence = (changes) => statusSentence(regression(changes));
  assert.equal(sentence({}), "20 jobs live");
  assert.equal(sentence({ counts: counts() }), "waiting for jobs");
  assert.equal(sentence({ counts: counts({ pass: 100 }) }), "all submitted jobs have reported; waiting for the finish");
  assert.equal(sentence({ status: "complete", reason: "finish" }), "all jobs reported");
  assert.equal(sentence({ status: "aborted", reason: "timeout", counts: counts({ pass: 50, fail: 5, migrated: 5 }) }),
    "no message came for too long; 5 jobs cut off, 45 never seen");
  assert.equal(sentence({ status: "aborted", reason: "finish", counts: counts({ pass: 99 }) }), "it was finished; 1 never seen");
  assert.equal(sentence({ status: "tanked", reason: "licence server" }), "tanked by hand: licence server");
});
