// A job in words.

import assert from "node:assert/strict";
import { test } from "node:test";

import { NOW, at, counts, job } from "./objects.mjs";
import {
  commonDomain, dueWords, elapsedWords, jobProgress, jobTitle, outcomeOf, reasonSentence, rerunLine, resultsShown, shortHost,
} from "../../static/model-job.js";

test("a job's elapsed time ticks while it is live", () => {
  assert.equal(elapsedWords(job(1), NOW + 4000), "5s");
  assert.equal(elapsedWords(job(1, { started_at: null }), NOW + 4000), "waiting 5s");
  assert.equal(elapsedWords(job(1, { result: "pass", runtime_ms: 61_000 }), NOW), "1m 01s");
  assert.equal(elapsedWords(job(1, { result: "fail", runtime_ms: null, elapsed_ms: null }), NOW), "–");
});

test("a job that ended without a report says so, and took at least as long as the server saw it run", () => {
  const ended = (reason, changes = {}) => job(1, { result: "fail", reason, runtime_ms: null, elapsed_ms: null, started_at: at(-12_000), finished_at: at(0), ...changes });
  assert.equal(elapsedWords(ended("time-limit"), NOW), "> 12s");
  assert.equal(elapsedWords(ended("missing", { started_at: null }), NOW), "–");
  assert.equal(elapsedWords(ended("killed", { runtime_ms: 3000 }), NOW), "3s");
  assert.deepEqual(["time-limit", "missing", "timeout", "tanked", null].map((reason) => outcomeOf(ended(reason))[1]),
    ["time limit", "cut off", "cut off", "fail", "fail"]);
  assert.deepEqual(outcomeOf({ result: "pass", reason: "missing" }), ["pass", "pass"]);
});

test("a table of jobs leaves live ones to their own table, unless the reader wants all", () => {
  assert.equal(resultsShown("", counts({ live: 3 })), "done");
  assert.equal(resultsShown("", counts()), "all");
  assert.equal(resultsShown("all", counts({ live: 3 })), "all");
  assert.equal(resultsShown("", undefined), "all");
});

test("a job's progress is told as far as it is known", () => {
  assert.equal(jobProgress(null), null);
  assert.deepEqual(jobProgress({ done: 450, total: 1000, unit: "tests", rate: 12, note: "main" }),
    { fraction: 0.45, words: "450 of 1,000 tests, 12/s, main" });
  assert.deepEqual(jobProgress({ note: "elaborating" }), { fraction: null, words: "elaborating" });
  assert.equal(jobProgress({ done: 7, total: 5 }).fraction, 1);
  assert.equal(jobProgress({ done: 7, total: 0 }).fraction, null);
});

test("of hosts the domain that all have in common is left out", () => {
  const short = (hosts) => hosts.map((host) => shortHost(host, commonDomain(hosts)));
  assert.deepEqual(short(["n1.lab.example", null, "n2.lab.example"]), ["n1", "", "n2"]);
  assert.deepEqual(short(["n1.lab.example", "n1.farm.example"]), ["n1.lab.example", "n1.farm.example"]);
  assert.deepEqual(short(["n1.lab.example", "n1.lab.example"]), ["n1.lab.example", "n1.lab.example"]);
  assert.deepEqual(short(["10.0.0.1", "11.0.0.1"]), ["10.0.0.1", "11.0.0.1"]);
  assert.deepEqual(short(["n1", "n2"]), ["n1", "n2"]);
});

test("a job goes by the best name it has", () => {
  assert.equal(jobTitle({ id: 4, config: "make", name: null }), "make");
  assert.equal(jobTitle({ id: 4 }), "job 4");
  assert.equal(jobTitle({ id: 4, name: " \t ", config: " make x" }), "make x");
  assert.match(reasonSentence("missing"), /never reported/);
  assert.equal(reasonSentence("their own word"), "their own word");
});

test("what is due of a live job is called what it is", () => {
  const due = (changes) => dueWords({ result: "live", time_limit_ms: 60_000, due_at: at(50_000), ...changes }, NOW);
  assert.equal(due({ started_at: at(-10_000) }), "time limit 13:00:50");
  assert.equal(due({ started_at: null }), "given up at 13:00:50 without a message");
  assert.equal(due({ started_at: at(-10_000), time_limit_ms: 900_000 }), "given up at 13:00:50 without a message");
  assert.equal(due({ started_at: at(-10_000), time_limit_ms: null }), "given up at 13:00:50 without a message");
  assert.equal(due({ due_at: null }), "");
});

test("the line that runs a job again is the publisher's own", () => {
  assert.equal(rerunLine({ config: "make run" }), "make run");
  assert.equal(rerunLine({ config: "x", metadata: [["rerun", "make again"]] }), "make again");
  assert.equal(rerunLine({ config: "x", extra: { rerun: "sim -s 7" } }), "sim -s 7");
  assert.equal(rerunLine({}), null);
});
