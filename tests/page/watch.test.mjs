// What a view reads, with an API of our own.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Problem } from "../../static/api.js";
import { createWatch } from "../../static/watch.js";

const settled = async () => {
  for (let n = 0; n < 5; n += 1) await new Promise((resolve) => setTimeout(resolve, 1));
};

const counts = { pass: 1, fail: 0, skip: 0, live: 1, migrated: 0 };
const row = (id, changes = {}) => ({ id, name: `n/${id}`, number: id, series: "n/", status: "live", counts, elapsed_ms: 1, ...changes });

const job = (id, version) => ({ id, version, result: "live", elapsed_ms: 1 });

/** `answers(path, query)` gives what the server would. */
function watchWith(view, answers) {
  const asked = [];
  const closed = [];
  const ask = async (path, query, signal) => {
    asked.push(path);
    const answer = await answers(path, query, signal);
    if (answer instanceof Problem) throw answer;
    return answer;
  };
  const watch = createWatch({ filter: { tab: "" }, ...view }, {
    api: { read: ask, list: ask }, createLog: () => ({ log: { lines: [] }, open: async () => {}, close: () => closed.push("log") }), changed() {}, answered() {}, now: () => Date.now(), serverNow: () => 1000,
    setTimeout: (work) => setTimeout(work, 0), clearTimeout,
  }, null);
  return { watch, asked, closed };
}

const page = (...items) => ({ items, next: null });

test("the overview reads its list, then changed rows only", async () => {
  const { watch, asked } = watchWith({ kind: "overview" }, (path) =>
    (path === "regressions" ? page(row(2), row(1)) : path === "series" ? page({ series: "n/", runs: [] }) : row(1, { status: "complete" })));
  watch.refresh();
  await settled();
  watch.apply({ seq: 5, type: "job.passed", regression_id: 1, job: 3, data: {} });
  await settled();
  assert.deepEqual(asked.filter((path) => path !== "series"), ["regressions", "regressions/1"]);
  assert.ok(asked.includes("series"));
  assert.deepEqual(watch.data.list.items.map((item) => item.status), ["live", "complete"]);
});

test("an empty list asks once whether all is tanked, one that is filtered does not", async () => {
  for (const [filter, asks, onlyTanked] of [[{ q: "" }, 2, true], [{ q: "x" }, 1, false]]) {
    const { watch, asked } = watchWith({ kind: "overview", filter }, (path, query) => (query.tanked ? page(row(1)) : page()));
    watch.refresh();
    await settled();
    assert.equal(asked.length, asks);
    assert.equal(watch.data.onlyTanked, onlyTanked);
  }
});

test("many changed rows at once are one reading of the list", async () => {
  const rows = [1, 2, 3, 4, 5, 6].map((id) => row(id));
  const { watch, asked } = watchWith({ kind: "overview" }, () => page(...rows));
  watch.refresh();
  await settled();
  for (const { id } of rows) watch.apply({ seq: 5, type: "job.passed", regression_id: id, job: 1, data: {} });
  await settled();
  assert.deepEqual(asked.filter((path) => path !== "series"), ["regressions", "regressions"]);
});

test("a job's files are read at once when it has some, and not when it has none", async () => {
  for (const [files, read] of [[[{ name: "a" }], ["jobs/3/files"]], [[], []]]) {
    const { watch, asked } = watchWith({ kind: "job", ref: "3" }, (path) => (path === "jobs/3" ? { ...job(3, 1), files } : page({ name: "a" })));
    watch.refresh();
    await settled();
    assert.deepEqual(asked.filter((path) => path.endsWith("files")), read);
    assert.equal(asked.filter((path) => path === "jobs/3").length, 1);
  }
});

test("a job that has no files any more keeps no list of them", async () => {
  let told = { ...job(3, 1), files: [{ name: "a" }] };
  const { watch } = watchWith({ kind: "job", ref: "3" }, (path) => (path === "jobs/3" ? told : page({ name: "a" })));
  watch.refresh();
  await settled();
  assert.equal(watch.data.files.items.length, 1);
  told = { ...job(3, 2), files: [] };
  watch.refresh();
  await settled();
  assert.equal(watch.data.files, null);
});

test("a regression is read first, its lists when it is there", async () => {
  const { watch, asked } = watchWith({ kind: "regression", ref: "n/1" }, (path) => (path === "regressions/n%2F1" ? row(1) : page()));
  watch.refresh();
  await settled();
  assert.equal(asked[0], "regressions/n%2F1");
  assert.deepEqual(asked.slice(1).sort(), ["regressions/1/jobs", "regressions/1/jobs", "regressions/1/signatures", "series"]);
  assert.equal(watch.data.regression.read_at, 1000);
});

test("the counts on top and the table of live jobs change together", async () => {
  let now = { counts, version: 4, jobs: page(job(1, 4)) };
  const { watch } = watchWith({ kind: "regression", ref: "n/1" }, (path) =>
    (path.endsWith("/jobs") ? now.jobs : path === "regressions/n%2F1" || path === "regressions/1" ? row(1, now) : page()));
  watch.refresh();
  await settled();
  assert.deepEqual(watch.data.live.ids(), [1]);
  now = { counts: { ...counts, pass: 2 }, version: 6, jobs: page(job(2, 6)) };
  watch.apply({ seq: 5, type: "job.passed", regression_id: 1, job: 1, data: { result: "pass" } });
  assert.deepEqual([watch.data.regression.counts.pass, watch.data.live.ids()], [1, [1]]);
  await settled();
  assert.deepEqual([watch.data.regression.counts.pass, watch.data.live.ids()], [2, [2]]);
});

test("what has changed since is asked only where there is a run before", async () => {
  const runs = [{ id: 1 }, { id: 2 }];
  const asked = async (id) => {
    const told = watchWith({ kind: "regression", ref: `n/${id}`, filter: { tab: "" } }, (path) =>
      (path === "series" ? page({ series: "n/", runs }) : path.startsWith("regressions/n") ? row(id) : page()));
    told.watch.refresh();
    await settled();
    return told.asked.includes(`regressions/${id}/diff`);
  };
  assert.equal(await asked(1), false);
  assert.equal(await asked(2), true);
});

test("the head and the comparison of a run ask for the same choice of what jobs are matched by", async () => {
  const choices = [];
  const answers = (path, query) => {
    if (path.endsWith("/diff")) choices.push(["slower" in query ? "tab" : "head", query.by]);
    return path === "series" ? page({ series: "n/", runs: [{ id: 1 }, { id: 2 }] }) : path === "regressions/n%2F2" ? row(2) : page(row(1));
  };
  const filter = { tab: "compare", base: "", by: "", slower: "20" };
  const { watch } = watchWith({ kind: "regression", ref: "n/2", filter }, answers);
  watch.refresh();
  await settled();
  watch.filter({ filter: { ...filter, by: "config" } });
  await settled();
  assert.deepEqual(choices.slice(0, 2).sort(), [["head", "auto"], ["tab", "auto"]]);
  assert.deepEqual(choices.slice(2).sort(), [["head", "config"], ["tab", "config"]]);
});

test("each view of a regression reads what it shows, and no more", async () => {
  const paths = async (tab) => {
    const told = watchWith({ kind: "regression", ref: "n/1", filter: { tab } }, (path) => (path === "regressions/n%2F1" ? row(1) : page()));
    told.watch.refresh();
    await settled();
    return told.asked.slice(1).filter((path) => path !== "series").map((path) => path.replace("regressions/1/", "")).sort();
  };
  assert.deepEqual(await paths("pictures"), ["charts", "hosts", "timeline"]);
  assert.deepEqual(await paths("history"), ["events", "history"]);
  assert.ok(!(await paths("compare")).includes("jobs"));
});

test("the jobs that the history of a run speaks of are read by their ids, once", async () => {
  const wanted = [];
  const death = (seq) => ({ seq, at: "2025-11-21T13:00:00Z", type: "job.missing", job: seq, data: {} });
  const { watch } = watchWith({ kind: "regression", ref: "n/1", filter: { tab: "history" } }, (path, query) => {
    if (path === "regressions/n%2F1" || path === "regressions/1") return row(1);
    if (path === "regressions/1/jobs") return void wanted.push(query.filter) ?? page({ id: 7, name: "smoke" });
    return path === "events" && !query.after ? { items: [death(7), death(8)], next: 8 } : { items: [], next: null };
  });
  watch.refresh();
  await settled();
  watch.apply({ seq: 9, type: "regression.updated", regression_id: 1, data: {} });
  watch.apply({ seq: 10, type: "job.passed", regression_id: 1, job: 9, data: {} });
  await settled();
  assert.deepEqual(wanted, ["id=7|8"]);
  assert.equal(watch.data.named.get(7).name, "smoke");
});

test("while jobs are live the table of jobs asks for those that are done", async () => {
  const results = async (changes, result) => {
    const asked = [];
    const { watch } = watchWith({ kind: "regression", ref: "n/1", filter: { tab: "", result } }, (path, query) => {
      if (path.startsWith("regressions/") && path.endsWith("/jobs") && query.result !== "live") asked.push(query.result);
      return path === "regressions/n%2F1" ? row(1, changes) : page();
    });
    watch.refresh();
    await settled();
    return asked;
  };
  assert.deepEqual(await results({}, ""), ["pass,fail,skip"]);
  assert.deepEqual(await results({}, "all"), [""]);
  assert.deepEqual(await results({ counts: { ...counts, live: 0 } }, ""), [""]);
});

test("a history whose place the server has forgotten is read from the start", async () => {
  let isForgotten = false;
  const death = { seq: 7, at: "2025-11-21T13:00:00Z", type: "job.missing", job: 3, data: {} };
  const { watch } = watchWith({ kind: "regression", ref: "n/1", filter: { tab: "history" } }, (path, query) => {
    if (path === "regressions/n%2F1" || path === "regressions/1") return row(1);
    if (path !== "events") return page();
    if (isForgotten && query.after) return new Problem(410, { detail: "the cursor 7 is not among the events kept" });
    return { items: [death], next: 7 };
  });
  watch.refresh();
  await settled();
  isForgotten = true;
  watch.apply({ seq: 9, type: "job.missing", regression_id: 1, job: 4, data: {} });
  await settled();
  assert.equal(watch.problem(), null);
  assert.deepEqual(watch.data.deaths.items.map((item) => item.seq), [7]);
});

test("all live jobs are read, page by page, and what has ended meanwhile does not come back", async () => {
  const live = (id) => ({ id, result: "live", version: 1, elapsed_ms: 1 });
  let turn = 0;
  const { watch } = watchWith({ kind: "regression", ref: "n/1", filter: { tab: "" } }, (path, query) => {
    if (/^regressions.(n%2F1|1)$/.test(path)) return row(1);
    if (query?.result !== "live") return page();
    turn += 1;
    if (turn === 1) return { items: [live(9), live(8)], next: "more" };
    if (turn > 2) return page(live(9), live(8), live(6));
    watch.apply({ seq: 7, type: "job.passed", regression_id: 1, job: 7, data: { result: "pass" } });
    return page(live(7), live(6));
  });
  watch.refresh();
  await settled();
  assert.deepEqual(watch.data.live.ids(), [9, 8, 6]);
  assert.equal(watch.data.liveRead, true);
});

test("a regression nobody has heard of is waited for", async () => {
  let isThere = false;
  const { watch } = watchWith({ kind: "regression", ref: "n/1" }, (path) =>
    (isThere ? (path === "regressions/n%2F1" ? row(1) : page()) : new Problem(404, { title: "Not found" })));
  watch.refresh();
  await settled();
  assert.equal(watch.problem().status, 404);
  assert.deepEqual(watch.stream(), { types: "regression.started" });
  isThere = true;
  watch.apply({ seq: 1, type: "regression.started", regression: "n/1", regression_id: 1, job: null, data: {} });
  await settled();
  assert.equal(watch.data.regression.id, 1);
  assert.deepEqual(watch.stream(), { regression: "n/1" });
  assert.equal(watch.problem(), null);
});

test("the latest of a series turns to the next one when it starts", async () => {
  let newest = row(1);
  const { watch, asked } = watchWith({ kind: "regression", ref: "n/$" }, (path) => (path === "regressions/n%2F%24" ? newest : page()));
  watch.refresh();
  await settled();
  newest = row(2);
  watch.apply({ seq: 1, type: "regression.started", regression: "n/2", regression_id: 2, job: null, data: {} });
  await settled();
  assert.equal(watch.data.regression.id, 2);
  assert.ok(asked.includes("regressions/2/jobs"));
});

test("a regression that cannot be read says so as long as there is nothing to show", async () => {
  let isDown = true;
  const { watch } = watchWith({ kind: "regression", ref: "n/1" }, (path) =>
    (isDown ? new Problem(0) : path.startsWith("regressions/n") ? row(1) : page()));
  watch.refresh();
  await settled();
  assert.equal(watch.problem().status, 0);
  isDown = false;
  watch.retry();
  await settled();
  isDown = true;
  watch.refresh();
  await settled();
  assert.equal(watch.problem(), null);
});

test("what nobody waits for any more is given up", async () => {
  const signals = [];
  const { watch } = watchWith({ kind: "overview", filter: { q: "a" } }, (path, query, signal) => {
    signals.push(signal);
    return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  });
  watch.refresh();
  await settled();
  watch.filter({ filter: { q: "b" } });
  await settled();
  assert.deepEqual(signals.map((signal) => signal.aborted), [true, false]);
  watch.stop();
  await settled();
  assert.deepEqual(signals.map((signal) => signal.aborted), [true, true]);
  assert.equal(watch.problem(), null);
});

test("a job's output is not followed while nobody looks", async () => {
  const { watch, closed } = watchWith({ kind: "job", ref: "3" }, (path) => (path === "jobs/3" ? job(3, 1) : page()));
  watch.refresh();
  await settled();
  watch.pause();
  assert.deepEqual(closed, ["log"]);
});

test("silence is told by the banner once there is something to show", async () => {
  let isDown = true;
  const { watch } = watchWith({ kind: "job", ref: "7" }, (path) =>
    (isDown ? new Problem(0) : path === "jobs/7" ? { id: 7, result: "live" } : page()));
  watch.refresh();
  await settled();
  assert.equal(watch.problem().status, 0);
  isDown = false;
  watch.retry();
  await settled();
  assert.equal(watch.data.job.id, 7);
  assert.equal(watch.problem(), null);
  isDown = true;
  watch.refresh();
  await settled();
  assert.equal(watch.problem(), null);
});

test("a further page of a list that was re-read meanwhile leaves no hole", async () => {
  const listed = (from, to, next) => ({ items: Array.from({ length: to - from + 1 }, (_, n) => row(to - n)), next });
  let shift = 0;
  const { watch } = watchWith({ kind: "overview" }, (path, query) => {
    if (!query.after) return listed(51 + shift, 100 + shift, `below ${51 + shift}`);
    const top = Number(query.after.slice(6)) - 1;
    if (shift === 0) { // news comes while the page is on its way
      shift = 3;
      watch.refresh();
      return new Promise((resolve) => setTimeout(() => resolve(listed(top - 49, top, `below ${top - 49}`)), 20));
    }
    return listed(top - 49, top, `below ${top - 49}`);
  });
  watch.refresh();
  await settled();
  await watch.more();
  const ids = watch.data.list.items.map((item) => item.id);
  assert.equal(ids[0], 103);
  assert.deepEqual(ids, ids.map((_, n) => 103 - n));
});
