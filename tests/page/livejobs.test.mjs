// All live jobs of a regression, in the order the reader wants.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createLiveJobs, isSlow, nextSort } from "../../static/livejobs.js";

const NOW = Date.parse("2025-11-21T13:00:00Z");
const at = (ms) => new Date(NOW + ms).toISOString();
const job = (id, changes = {}) =>
  ({ id, result: "live", name: `job ${id}`, started_at: at(-1000), elapsed_ms: 1000, read_at: NOW, version: 5, ...changes });
const event = (type, id, data = {}, seq = 20) => ({ seq, at: at(0), type, job: id, data });
const ALL = { text: "", sort: "-elapsed", slow: false, byHost: false };

function jobsOf(...jobs) {
  const live = createLiveJobs();
  live.put(jobs);
  return { live, ids: (wanted = {}) => live.rows({ ...ALL, ...wanted }, NOW).rows.map((row) => row.id) };
}

test("the table filters by words and sorts by column", () => {
  const { ids } = jobsOf(
    job(1, { name: "cache", host: "b", elapsed_ms: 10 }),
    job(2, { name: "alu", host: "a", elapsed_ms: 30, progress: { done: 1, total: 2 } }),
    job(3, { name: "Cache 2", host: "a", elapsed_ms: 20 }),
  );
  assert.deepEqual(ids(), [2, 3, 1]);
  assert.deepEqual(ids({ sort: "elapsed" }), [1, 3, 2]);
  assert.deepEqual(ids({ sort: "host" }), [3, 2, 1]);
  assert.deepEqual(ids({ sort: "-progress" }), [2, 3, 1]);
  assert.deepEqual(ids({ text: "CACHE a", sort: "name" }), [1, 3]);
  assert.deepEqual(ids({ text: "cache 2" }), [3]);
  assert.deepEqual(ids({ sort: "nonsense" }), [1, 3, 2]);
});

test("jobs that were read at different times are ordered by when they began", () => {
  const { ids } = jobsOf(job(1, { elapsed_ms: 5000, read_at: NOW - 9000 }), job(2, { elapsed_ms: 10_000 }));
  assert.deepEqual(ids(), [1, 2]);
});

test("pressing a column head turns its order", () => {
  assert.equal(nextSort("-elapsed", "host"), "host");
  assert.equal(nextSort("host", "host"), "-host");
  assert.equal(nextSort("host", "elapsed"), "-elapsed");
  assert.equal(nextSort("-elapsed", "elapsed"), "elapsed");
});

test("an event moves or changes a job at once; one that ended goes when the counts have followed", () => {
  const { live, ids } = jobsOf(job(1, { host: "a" }), job(2, { host: "b" }));
  assert.ok(live.apply(event("job.updated", 1, { result: "live", changed: { host: ["a", "c"] } })));
  assert.deepEqual(ids({ sort: "host" }), [2, 1]);
  assert.ok(live.apply(event("job.failed", 2, { result: "fail" })));
  live.settle(19);
  assert.deepEqual(ids(), [2, 1]);
  live.settle(20);
  assert.deepEqual(ids(), [1]);
  assert.equal(live.apply(event("job.live", 7, { result: "live" })), false);
  assert.ok(live.apply(event("job.pruned", 1)));
  live.settle(20);
  assert.equal(live.size, 0);
});

test("a job that has ended is not brought back by an older answer, but by a newer one", () => {
  const { live } = jobsOf(job(1));
  live.apply(event("job.failed", 1, { result: "fail" }));
  live.settle(20);
  live.put([job(1, { version: 19 })]);
  assert.equal(live.size, 0);
  live.apply(event("job.failed", 1, { result: "fail" }, 20));
  live.put([job(1, { version: 21 })]);
  live.settle(20);
  assert.equal(live.size, 1);
});

test("an older answer does not undo what an event told", () => {
  const { live } = jobsOf(job(1));
  live.apply(event("job.updated", 1, { result: "live", phase: "traffic" }));
  live.put([job(1, { version: 6, phase: "reset" })]);
  assert.equal(live.get(1).phase, "traffic");
});

test("what the server no longer has goes; what came while it was read stays", () => {
  const { live } = jobsOf(job(1), job(2));
  const before = live.ids();
  live.put([job(3)]);
  live.keepOnly(before, new Set([2]));
  assert.deepEqual(live.ids().sort(), [2, 3]);
});

test("a job is slow beyond 99 of 100 of its kind, as time goes on without any message", () => {
  const slow = job(1, { usual_ms: 400, slow_after_ms: 1500 });
  assert.equal(isSlow(slow, NOW), false);
  assert.equal(isSlow(slow, NOW + 501), true);
  assert.equal(isSlow(job(2, { elapsed_ms: 1e9, slow_after_ms: null }), NOW), false);
  assert.equal(isSlow({ ...slow, started_at: null }, NOW + 9999), false);
  const { live } = jobsOf(slow, job(2));
  assert.equal(live.rows(ALL, NOW + 501).slow, 1);
  assert.deepEqual(live.rows({ ...ALL, slow: true }, NOW + 501).rows.map((row) => row.id), [1]);
});

test("slow jobs come first as long as there are any, and their order does not change by itself", () => {
  const { live, ids } = jobsOf(
    job(1, { elapsed_ms: 90_000 }),
    job(2, { elapsed_ms: 3000, usual_ms: 400, slow_after_ms: 1500 }),
    job(3, { elapsed_ms: 8000, usual_ms: 5000, slow_after_ms: 9000 }),
    job(4, { elapsed_ms: 9000, usual_ms: 400, slow_after_ms: 1500, started_at: null }),
  );
  const found = (now) => live.rows({ ...ALL, sort: "" }, now);
  assert.equal(found(NOW).sort, "-kind");
  assert.deepEqual(found(NOW).rows.map((row) => row.id), [2, 3, 4, 1]);
  assert.deepEqual(found(NOW + 60_000).rows.map((row) => row.id), [2, 3, 4, 1]);
  assert.deepEqual(ids({ sort: "kind" }).slice(-2), [3, 2]);
  live.apply(event("job.passed", 2, { result: "pass" }));
  live.settle(20);
  assert.equal(found(NOW).sort, "-elapsed");
  assert.deepEqual(found(NOW).rows.map((row) => row.id), [1, 4, 3]);
});

test("grouped, each host stands before its jobs, the busiest first", () => {
  const { live, ids } = jobsOf(job(1, { host: "a" }), job(2, { host: "b" }), job(3, { host: "b", elapsed_ms: 9 }), job(4));
  assert.deepEqual(ids({ byHost: true }), ["host b", 2, 3, "host ", 4, "host a", 1]);
  const [first] = live.rows({ ...ALL, byHost: true }, NOW).rows;
  assert.deepEqual([first.host, first.count], ["b", 2]);
});

test("columns that nobody says anything for are known", () => {
  const { live } = jobsOf(job(1, { phase: "reset" }));
  assert.deepEqual(live.rows(ALL, NOW).told, { phase: true, progress: false, kind: false });
});

test("twenty thousand jobs and two hundred events cost a few milliseconds of computing", () => {
  const live = createLiveJobs();
  live.put(Array.from({ length: 20_000 }, (_, n) => job(n, { elapsed_ms: (n * 7919) % 100_003, host: `n${n % 97}` })));
  for (const sort of ["-elapsed", "name", "-progress"]) live.rows({ ...ALL, sort }, NOW);
  const begin = process.cpuUsage(); // of this process alone, so that a busy machine does not count
  for (let n = 0; n < 200; n += 1) live.apply(event("job.updated", n * 90, { result: "live", progress: { done: n, total: 200 } }, 100 + n));
  live.rows({ ...ALL, sort: "-progress" }, NOW);
  const { user, system } = process.cpuUsage(begin);
  const took = (user + system) / 1000;
  assert.ok(took < 100, `${took} ms`);
});
