// What an event changes.

import assert from "node:assert/strict";
import { test } from "node:test";

import { NOW, at, event, job, regression } from "./objects.mjs";
import { applyToJob, applyToOverview, movedBy, patchJob, patchRows } from "../../static/model-events.js";
import { jobElapsed } from "../../static/model-job.js";

test("a row shows what an event tells, and is not touched by another's", () => {
  const rows = [job(2), job(3, { result: "pass" })];
  const failed = patchRows(rows, event("job.failed", 2, { result: "fail", reason: "killed" }));
  assert.equal(failed[0].result, "fail");
  assert.equal(failed[0].reason, "killed");
  assert.equal(failed[0].last_seen_at, at(0));
  assert.equal(failed[1], rows[1]);
  assert.equal(patchRows(rows, event("job.failed", 9, { result: "fail" })), rows);
  assert.deepEqual(patchRows(rows, event("job.pruned", 2)), [rows[1]]);
});

test("what a live message changed is taken from the event", () => {
  const changed = { host: ["a", "b"], started_at: [null, at(-300)] };
  const patched = patchJob(job(1, { elapsed_ms: 90_000 }), event("job.updated", 1, { changed, result: "live" }));
  assert.equal(patched.host, "b");
  assert.equal(jobElapsed(patched, NOW), 300);
});

test("an event that is older than the row changes nothing", () => {
  const newer = job(1, { version: 30, phase: "running" });
  assert.equal(patchJob(newer, event("job.updated", 1, { phase: "queued" })), newer);
});

test("only what an event moves is read again", () => {
  const moved = (type, data, isKnown = true) => movedBy(event(type, 9, data), isKnown);
  assert.deepEqual(moved("job.updated", { result: "live" }), []);
  assert.deepEqual(moved("job.updated", { result: "live" }, false), ["regression"]);
  assert.deepEqual(moved("job.updated", { result: "pass" }), ["jobs"]);
  assert.deepEqual(moved("job.live", { result: "live" }), ["regression", "jobs"]);
  assert.deepEqual(moved("job.failed", { result: "fail" }), ["regression", "signatures", "jobs"]);
  assert.ok(moved("job.revived", { result: "live" }).includes("live"));
  assert.deepEqual(movedBy(event("regression.updated", null), true), ["regression"]);
  assert.deepEqual(movedBy(event("regression.finished", null), true), ["regression", "live", "signatures", "jobs"]);
});

test("applying an event twice changes nothing the second time", () => {
  const news = event("job.failed", 2, { result: "fail" });
  const once = patchRows([job(2)], news);
  assert.equal(patchRows(once, news), once);
});

test("the overview reads a changed row, or the list for a new one", () => {
  const items = [regression()];
  assert.equal(applyToOverview(items, event("job.passed", 5)).wanted, 1);
  assert.equal(applyToOverview(items, event("job.passed", 5, {}, { regression_id: 2 })).wanted, "list");
  assert.equal(applyToOverview(items, event("job.updated", 5)).wanted, null);
});

test("a job's page follows its own job only", () => {
  assert.deepEqual(applyToJob(job(1), event("job.passed", 1, { result: "pass" })).wanted, ["job", "history"]);
  assert.deepEqual(applyToJob(job(1), event("job.passed", 2)).wanted, []);
});
