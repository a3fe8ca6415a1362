// What the page knows and how it changes.

import assert from "node:assert/strict";
import { test } from "node:test";

process.env.TZ = "UTC";
const model = await import("../../static/model.js");

const NOW = Date.parse("2025-11-21T13:00:00Z");
const at = (ms) => new Date(NOW + ms).toISOString();

const counts = (changes = {}) => ({ pass: 0, fail: 0, skip: 0, live: 0, migrated: 0, ...changes });

function regression(changes = {}) {
  return {
    id: 1, name: "myrun/123", status: "live", reason: null, submitted: 100, counts: counts({ pass: 50, fail: 3, live: 20 }),
    progress: { done: 53, total: 100, percent: 53 }, eta_at: null, elapsed_ms: 60_000, read_at: NOW, version: 10, ...changes,
  };
}

function job(id, changes = {}) {
  return { id, result: "live", name: `job ${id}`, started_at: at(-1000), elapsed_ms: 1000, read_at: NOW, version: 5, ...changes };
}

const event = (type, job, data = {}, changes = {}) =>
  ({ seq: 20, at: at(0), type, regression: "myrun/123", regression_id: 1, job, data, ...changes });

const numbers = (item) => Object.fromEntries(model.barSegments(item).map(({ kind, n }) => [kind, n]));

// ---------------------------------------------------------------------------------------------------- bar and figures

test("the bar splits fails into reported and cut off", () => {
  const segments = numbers(regression({ counts: counts({ pass: 50, fail: 5, migrated: 2, skip: 1, live: 20 }) }));
  assert.deepEqual(segments, { pass: 50, fail: 3, migrated: 2, skip: 1, live: 20, pending: 24 });
});

test("the bar has nothing to come when more was heard of than submitted, or nobody said", () => {
  assert.equal(numbers(regression({ submitted: 10, progress: { done: 53, total: 10, percent: 100 } })).pending, 0);
  assert.equal(numbers(regression({ submitted: null, progress: { done: 53, total: null, percent: null } })).pending, 0);
});

test("what never came has another word after the end", () => {
  const word = (status) => model.barSegments(regression({ status })).at(-1).word;
  assert.equal(word("live"), "to come");
  assert.equal(word("aborted"), "never seen");
  assert.equal(model.barLabel(model.barSegments(regression())), "50 pass, 3 fail, 20 live, 27 to come");
  assert.equal(model.barLabel([]), "no jobs yet");
});

test("progress is told without a total, and never exceeds it", () => {
  assert.deepEqual(model.progressOf(regression()), { percent: "53 %", words: "53 of 100 jobs" });
  assert.deepEqual(model.progressOf(regression({ submitted: 0, progress: { done: 53, total: null, percent: null } })),
    { percent: "53 done", words: "53 jobs done" });
  assert.equal(model.progressOf(regression({ progress: { done: 53, total: 10, percent: 100 } })).percent, "73 %");
});

test("the pass rate leaves skips and live jobs out", () => {
  assert.equal(model.passRate(regression({ counts: counts({ pass: 3, fail: 1, skip: 9, live: 5 }) })), 0.75);
  assert.equal(model.passRate(regression({ counts: counts({ live: 5 }) })), null);
});

test("elapsed time runs from the server's figure, not from any publisher's clock", () => {
  assert.equal(model.regressionElapsed(regression({ started_at: "1999-01-01T00:00:00Z" }), NOW + 5000), 65_000);
  assert.equal(model.regressionElapsed(regression({ status: "complete" }), NOW + 5000), 60_000);
  assert.equal(model.regressionElapsed(regression(), NOW - 5000), 60_000);
});

test("where a publisher's start and the server's clock are apart, it is told when the server heard", () => {
  const words = (changes) => model.sinceWords(regression({ elapsed_ms: 30_000, read_at: NOW, ...changes }), NOW + 5000);
  assert.equal(words({ started_at: at(-80_000) }), "since 12:58:40");
  assert.equal(words({ started_at: at(-3_000_000) }), "first heard of 12:59:30");
  assert.equal(words({ started_at: at(-3_000_000), status: "complete", finished_at: at(-10_000) }),
    "first heard of 12:59:20");
});

test("the publisher's start is a fact of its own only where the server heard of the run at another time", () => {
  const labels = (start) => model.regressionFacts(regression({ started_at: start, fields: { starttime: start } }), NOW).map(([label]) => label);
  assert.deepEqual(labels(at(-60_000)), []);
  assert.deepEqual(labels(at(-3_000_000)), ["Start (publisher)"]);
});

test("an estimate is no more precise than it is known", () => {
  const short = (ms) => model.etaWords(regression({ eta_at: at(ms) }), NOW).short;
  const minutes = (n) => short(n * 60_000);
  assert.deepEqual([-9000, 4000, 12_000, 29_000, 44_000, 46_000].map(short),
    ["any moment", "any moment", "≈ 10 s", "≈ 30 s", "≈ 30 s", "≈ 1 min"]);
  assert.deepEqual([1, 13.6, 37, 83, 250, 700].map(minutes),
    ["≈ 1 min", "≈ 14 min", "≈ 35 min", "≈ 1 h 20 min", "≈ 4 h 10 min", "≈ 12 h"]);
  assert.equal(minutes(4 * 1440), "≈ 4 days");
  assert.equal(model.etaWords(regression({ eta_at: at(42 * 60_000) }), NOW).long, "about 13:42");
  assert.equal(short(-20_000), "overdue");
  const eta = { at: at(42 * 60_000), low: at(35 * 60_000), high: at(58 * 60_000), basis: "rate+history" };
  assert.equal(model.etaWords(regression({ eta }), NOW).long, "13:35 to 13:58, from the present rate and earlier runs");
  const passed = { at: at(-120_000), low: null, high: null, basis: "history" };
  assert.deepEqual(model.etaWords(regression({ eta: passed }), NOW), { short: "overdue", long: "expected 12:58; from earlier runs" });
  assert.deepEqual(model.etaWords(regression(), NOW), { short: "–", long: "not yet known" });
  assert.deepEqual(model.etaWords(regression({ status: "complete", eta_at: at(9) }), NOW), { short: "", long: "" });
});

test("a run that is stalled says since when, until it is heard of again", () => {
  const [stalled, later] = [-8, 0].map((minutes) => at(minutes * 60_000));
  const words = (heard) => model.etaWords(regression({ eta: null, stalled_since: stalled, last_activity_at: heard }), NOW);
  assert.deepEqual(words(stalled), { short: "stalled", long: "nothing heard since 12:52" });
  assert.equal(words(later).short, "–");
});

test("the list tells what to look at in a live run", () => {
  const told = (minutes, fresh, changes = {}) =>
    model.shortReason(regression({ last_activity_at: at(-minutes * 60_000), new_signatures: fresh, ...changes }), NOW);
  assert.equal(told(9, 0), "");
  assert.equal(told(24, 0), "silent 24 min");
  assert.equal(told(24, 1), "silent 24 min\n1 new signature");
  assert.equal(told(0, 25), "25 new signatures");
  assert.equal(told(24, 2, { slow: 1 }), "silent 24 min\n1 slow job\n2 new signatures");
  assert.deepEqual([119, 3000].map((minutes) => told(minutes, 0)), ["silent 1 h", "silent 2 days"]);
  assert.equal(told(24, 2, { status: "complete" }), "");
  assert.equal(model.shortReason(regression(), NOW), "");
});

test("a status comes with its reason", () => {
  const sentence = (changes) => model.statusSentence(regression(changes));
  assert.equal(sentence({}), "20 jobs live");
  assert.equal(sentence({ counts: counts() }), "waiting for jobs");
  assert.equal(sentence({ counts: counts({ pass: 100 }) }), "all submitted jobs have reported; waiting for the finish");
  assert.equal(sentence({ status: "complete", reason: "finish" }), "all jobs reported");
  assert.equal(sentence({ status: "aborted", reason: "timeout", counts: counts({ pass: 50, fail: 5, migrated: 5 }) }),
    "no message came for too long; 5 jobs cut off, 45 never seen");
  assert.equal(sentence({ status: "aborted", reason: "finish", counts: counts({ pass: 99 }) }), "it was finished; 1 never seen");
  assert.equal(sentence({ status: "tanked", reason: "licence server" }), "tanked by hand: licence server");
});

test("live regressions come first, then the newest", () => {
  const order = model.sortRegressions([
    regression({ id: 1, status: "live" }), regression({ id: 3, status: "complete" }),
    regression({ id: 2, status: "live" }), regression({ id: 4, status: "aborted" })]).map((item) => item.id);
  assert.deepEqual(order, [2, 1, 4, 3]);
});

test("a row that changed may no longer belong in the list", () => {
  assert.ok(!model.belongs(regression({ status: "complete" }), { status: "live" }));
  assert.ok(!model.belongs(regression({ status: "tanked" }), { status: "", tanked: "" }));
  assert.ok(model.belongs(regression({ status: "tanked" }), { status: "", tanked: "1" }));
  assert.ok(model.belongs(regression({ status: "tanked" }), { status: "tanked", tanked: "" }));
});

// --------------------------------------------------------------------------------------------------------------- jobs

test("a job's elapsed time ticks while it is live", () => {
  assert.equal(model.elapsedWords(job(1), NOW + 4000), "5 s");
  assert.equal(model.elapsedWords(job(1, { started_at: null }), NOW + 4000), "waiting 5 s");
  assert.equal(model.elapsedWords(job(1, { result: "pass", runtime_ms: 61_000 }), NOW), "1m 01s");
  assert.equal(model.elapsedWords(job(1, { result: "fail", runtime_ms: null, elapsed_ms: null }), NOW), "–");
});

test("a job that ended without a report says so, and took at least as long as the server saw it run", () => {
  const ended = (reason, changes = {}) => job(1, { result: "fail", reason, runtime_ms: null, elapsed_ms: null, started_at: at(-12_000), finished_at: at(0), ...changes });
  assert.equal(model.elapsedWords(ended("time-limit"), NOW), "> 12 s");
  assert.equal(model.elapsedWords(ended("missing", { started_at: null }), NOW), "–");
  assert.equal(model.elapsedWords(ended("killed", { runtime_ms: 3000 }), NOW), "3 s");
  assert.deepEqual(["time-limit", "missing", "timeout", "tanked", null].map((reason) => model.outcomeOf(ended(reason))[1]),
    ["time limit", "cut off", "cut off", "fail", "fail"]);
  assert.deepEqual(model.outcomeOf({ result: "pass", reason: "missing" }), ["pass", "pass"]);
});

test("a table of jobs leaves live ones to their own table, unless the reader wants all", () => {
  assert.equal(model.resultsShown("", counts({ live: 3 })), "done");
  assert.equal(model.resultsShown("", counts()), "all");
  assert.equal(model.resultsShown("all", counts({ live: 3 })), "all");
  assert.equal(model.resultsShown("", undefined), "all");
});

test("a job's progress is told as far as it is known", () => {
  assert.equal(model.jobProgress(null), null);
  assert.deepEqual(model.jobProgress({ done: 450, total: 1000, unit: "tests", rate: 12, note: "main" }),
    { fraction: 0.45, words: "450 of 1,000 tests, 12/s, main" });
  assert.deepEqual(model.jobProgress({ note: "elaborating" }), { fraction: null, words: "elaborating" });
  assert.equal(model.jobProgress({ done: 7, total: 5 }).fraction, 1);
  assert.equal(model.jobProgress({ done: 7, total: 0 }).fraction, null);
});

test("of hosts the domain that all have in common is left out", () => {
  const short = (hosts) => hosts.map((host) => model.shortHost(host, model.commonDomain(hosts)));
  assert.deepEqual(short(["n1.lab.example", null, "n2.lab.example"]), ["n1", "", "n2"]);
  assert.deepEqual(short(["n1.lab.example", "n1.farm.example"]), ["n1.lab.example", "n1.farm.example"]);
  assert.deepEqual(short(["n1.lab.example", "n1.lab.example"]), ["n1.lab.example", "n1.lab.example"]);
  assert.deepEqual(short(["10.0.0.1", "11.0.0.1"]), ["10.0.0.1", "11.0.0.1"]);
  assert.deepEqual(short(["n1", "n2"]), ["n1", "n2"]);
});

test("a job goes by the best name it has", () => {
  assert.equal(model.jobTitle({ id: 4, config: "make", name: null }), "make");
  assert.equal(model.jobTitle({ id: 4 }), "job 4");
  assert.equal(model.jobTitle({ id: 4, name: " \t ", config: " make x" }), "make x");
  assert.match(model.reasonSentence("missing"), /never reported/);
  assert.equal(model.reasonSentence("their own word"), "their own word");
});

// -------------------------------------------------------------------------------------------------------------- lists

const list = (from, to, next = null) => ({ items: Array.from({ length: to - from + 1 }, (_, n) => ({ id: to - n })), next });
const ids = ({ items }) => items.map((item) => item.id);

test("a re-read head keeps the rows that had been loaded below it", () => {
  const merged = model.mergeHead(list(1, 6, "old"), list(5, 8, "head"));
  assert.deepEqual(ids(merged), [8, 7, 6, 5, 4, 3, 2, 1]);
  assert.equal(merged.next, "old");
});

test("a head that no longer meets the rows below leaves no hole", () => {
  const merged = model.mergeHead(list(1, 6, "old"), list(20, 23, "head"));
  assert.deepEqual(ids(merged), [23, 22, 21, 20]);
  assert.equal(merged.next, "head");
});

test("a head that is the whole list replaces it", () => {
  assert.deepEqual(ids(model.mergeHead(list(1, 6), list(3, 6))), [6, 5, 4, 3]);
});

test("an answer that was under way does not undo what an event told meanwhile", () => {
  const old = { items: [{ id: 1, version: 9, result: "pass" }, { id: 2, version: 3, result: "live" }] };
  const read = { items: [{ id: 3, version: 4 }, { id: 1, version: 5, result: "live" }, { id: 2, version: 4, result: "fail" }], next: "n" };
  const kept = model.keepNewer(old, read);
  assert.deepEqual(kept.items.map((item) => item.result), [undefined, "pass", "fail"]);
  assert.equal(kept.next, "n");
  assert.equal(model.keepNewer(null, read).items.length, 3);
});

test("a page below adds no row twice", () => {
  assert.deepEqual(ids(model.appendPage(list(4, 6), list(2, 4, "more"))), [6, 5, 4, 3, 2]);
});

test("the fewest rows move", () => {
  const staying = (positions) => [...model.stayInPlace(positions)].sort((a, b) => a - b);
  assert.deepEqual(staying([0, 1, 2, 3]), [0, 1, 2, 3]);
  assert.deepEqual(staying([3, 0, 1, 2]), [1, 2, 3]);
  assert.deepEqual(staying([-1, 0, -1, 1]), [1, 3]);
  assert.deepEqual(staying([2, 0, 4, 1, 3]).length, 3);
  assert.deepEqual(staying([]), []);
});

test("rows that stay are in order, whatever the shuffle", () => {
  for (let round = 0; round < 200; round += 1) {
    const positions = Array.from({ length: round % 30 }, (_, n) => (n % 7 === 0 ? -1 : (n * 7919 + round * 104729) % 1009));
    const kept = [...model.stayInPlace(positions)].sort((a, b) => a - b).map((index) => positions[index]);
    assert.deepEqual(kept, [...kept].sort((a, b) => a - b));
    assert.ok(kept.every((position) => position >= 0));
  }
});

// ------------------------------------------------------------------------------------------------------------- events

test("a row shows what an event tells, and is not touched by another's", () => {
  const rows = [job(2), job(3, { result: "pass" })];
  const failed = model.patchRows(rows, event("job.failed", 2, { result: "fail", reason: "killed" }));
  assert.equal(failed[0].result, "fail");
  assert.equal(failed[0].reason, "killed");
  assert.equal(failed[0].last_seen_at, at(0));
  assert.equal(failed[1], rows[1]);
  assert.equal(model.patchRows(rows, event("job.failed", 9, { result: "fail" })), rows);
  assert.deepEqual(model.patchRows(rows, event("job.pruned", 2)), [rows[1]]);
});

test("what a live message changed is taken from the event", () => {
  const changed = { host: ["a", "b"], started_at: [null, at(-300)] };
  const patched = model.patchJob(job(1, { elapsed_ms: 90_000 }), event("job.updated", 1, { changed, result: "live" }));
  assert.equal(patched.host, "b");
  assert.equal(model.jobElapsed(patched, NOW), 300);
});

test("what is due of a live job is called what it is", () => {
  const due = (changes) => model.dueWords({ result: "live", time_limit_ms: 60_000, due_at: at(50_000), ...changes }, NOW);
  assert.equal(due({ started_at: at(-10_000) }), "time limit 13:00:50");
  assert.equal(due({ started_at: null }), "given up 13:00:50 without news");
  assert.equal(due({ started_at: at(-10_000), time_limit_ms: 900_000 }), "given up 13:00:50 without news");
  assert.equal(due({ started_at: at(-10_000), time_limit_ms: null }), "given up 13:00:50 without news");
  assert.equal(due({ due_at: null }), "");
});

test("an event that is older than the row changes nothing", () => {
  const newer = job(1, { version: 30, phase: "running" });
  assert.equal(model.patchJob(newer, event("job.updated", 1, { phase: "queued" })), newer);
});

test("only what an event moves is read again", () => {
  const moved = (type, data, isKnown = true) => model.movedBy(event(type, 9, data), isKnown);
  assert.deepEqual(moved("job.updated", { result: "live" }), []);
  assert.deepEqual(moved("job.updated", { result: "live" }, false), ["regression"]);
  assert.deepEqual(moved("job.updated", { result: "pass" }), ["jobs"]);
  assert.deepEqual(moved("job.live", { result: "live" }), ["regression", "jobs"]);
  assert.deepEqual(moved("job.failed", { result: "fail" }), ["regression", "signatures", "jobs"]);
  assert.ok(moved("job.revived", { result: "live" }).includes("live"));
  assert.deepEqual(model.movedBy(event("regression.updated", null), true), ["regression"]);
  assert.deepEqual(model.movedBy(event("regression.finished", null), true), ["regression", "live", "signatures", "jobs"]);
});

test("applying an event twice changes nothing the second time", () => {
  const news = event("job.failed", 2, { result: "fail" });
  const once = model.patchRows([job(2)], news);
  assert.equal(model.patchRows(once, news), once);
});

test("the overview reads a changed row, or the list for a new one", () => {
  const items = [regression()];
  assert.equal(model.applyToOverview(items, event("job.passed", 5)).wanted, 1);
  assert.equal(model.applyToOverview(items, event("job.passed", 5, {}, { regression_id: 2 })).wanted, "list");
  assert.equal(model.applyToOverview(items, event("job.updated", 5)).wanted, null);
});

test("a job's page follows its own job only", () => {
  assert.deepEqual(model.applyToJob(job(1), event("job.passed", 1, { result: "pass" })).wanted, ["job", "history"]);
  assert.deepEqual(model.applyToJob(job(1), event("job.passed", 2)).wanted, []);
});

// -------------------------------------------------------------------------------------------------------------- words

test("the title says what one wants to know without opening the tab", () => {
  const title = (changes) => model.titleOf({ kind: "regression" }, { regression: regression(changes) });
  assert.equal(title({}), "53 % · 3 fails · myrun/123");
  assert.equal(title({ counts: counts({ pass: 100 }), status: "complete" }), "complete · myrun/123");
  assert.equal(title({ submitted: 0, progress: { total: null } }), "live · 3 fails · myrun/123");
  assert.equal(model.titleOf({ kind: "overview" }, { list: { items: [regression()] } }), "1 live · simscoped");
  assert.equal(model.titleOf({ kind: "job" }, { job: job(1, { regression: "r", progress: { done: 1, total: 4 } }) }), "25 % · job 1 · r");
  assert.equal(model.titleOf({ kind: "job" }, { job: null }), "simscoped");
});

test("a name that runs right to left does not turn the title round", () => {
  assert.equal(model.titleOf({ kind: "regression" }, { regression: regression({ name: "\u202eevil" }) }), "53 % · 3 fails · ⟨U+202E⟩evil");
  assert.equal(model.titleOf({ kind: "regression" }, { regression: regression({ name: "שלום" }) }), "53 % · 3 fails · \u2068שלום\u2069");
});

test("the picture of the tab carries the state of the run", () => {
  const icon = (changes) => decodeURIComponent(model.faviconOf({ kind: "regression" }, { regression: regression(changes) }));
  assert.match(icon(), /fill="#c22f1f"/);
  assert.match(icon({ counts: counts({ pass: 50 }) }), /y="8" width="16" height="8" fill="#2a6bd0"/);
  assert.match(icon({ counts: counts({ pass: 100 }), status: "complete" }), /fill="#23834f"\/><path/);
  assert.equal(model.faviconOf({ kind: "overview" }, { list: null }), null);
});

test("a run of a strip and what has changed since the last one are words", () => {
  assert.equal(model.runWords({ status: "complete", pass: 196, fail: 4 }), "complete, 196 of 200 passed (98.0 %)");
  assert.equal(model.runWords({ status: "live", pass: 0, fail: 0 }), "live, no verdict");
  const since = { base: "n/1", counts: { new_signatures: 3, fixed_signatures: 0, newly_failing: 1, fixed: 2, slower: 41, faster: 0, missing: 5, added: 1 } };
  const words = (isLive) => model.sinceParts(since, isLive).map((part) => part.text);
  assert.deepEqual(words(false),
    ["3 signatures not in n/1", "1 newly failing test", "2 fixed tests", "41 slower tests", "5 missing tests", "1 added test"]);
  assert.deepEqual(words(true), ["3 signatures not in n/1", "1 newly failing test", "41 slower tests", "1 added test"]);
  assert.deepEqual(model.sinceParts(null, false), []);
});

test("the history of a run tells of its jobs, and of many alike only a few", () => {
  const own = [{ seq: 1, type: "regression.started", created: at(0) }, { seq: 99, type: "regression.finished", created: at(9) }];
  const missing = [10, 11, 12, 13, 14].map((seq) => event("job.missing", seq, { result: "fail", description: "why" }, { seq }));
  const story = model.storyOf(own, missing);
  assert.deepEqual(story.map((entry) => entry.seq), [1, 10, 11, 12, 99]);
  assert.equal(story[3].more, 2);
  assert.equal(story[1].job, 10);
  assert.equal(story[1].description, "why");
});

test("the line that runs a job again is the publisher's own", () => {
  assert.equal(model.rerunLine({ config: "make run" }), "make run");
  assert.equal(model.rerunLine({ config: "x", metadata: [["rerun", "make again"]] }), "make again");
  assert.equal(model.rerunLine({ config: "x", extra: { rerun: "sim -s 7" } }), "sim -s 7");
  assert.equal(model.rerunLine({}), null);
});

test("facts show every field that was told, unknown ones too", () => {
  const facts = model.regressionFacts(regression({
    component: "cpu", branch: "", stats: { compute_ms: 10_000, cycles: 9999, cycles_per_s: 499.7 },
    fields: { name: "myrun/123", model_version: "4f9", starttime: "0001-01-01T00:00:00Z", time_limit_hours: 8, ours: { x: 1 } },
  }), NOW);
  assert.deepEqual(facts, [["Component", "cpu"], ["Version", "4f9"], ["Compute", "10 s, 500 cycles/s"], ["Time limit", "8 h"], ["ours", '{"x":1}']]);
  assert.deepEqual(model.jobFacts(job(1, { category: "sim", exit_code: 0 })), [["Category", "sim"], ["Exit code", "0"]]);
  assert.deepEqual(model.jobFacts(job(1, { config: "make x" })), []);
  assert.deepEqual(model.jobFacts(job(1, { config: "x", extra: { rerun: "make x" } })), [["Config", "x"]]);
});

test("history says what changed", () => {
  assert.equal(model.historyWord({ type: "job.missing" }), "given up as missing");
  assert.equal(model.historyWord({ type: "job.new_kind" }), "job.new_kind");
  assert.equal(model.historyWord({ type: "regression.updated", progress: { running: 8 } }), "8 jobs running (publisher)");
  assert.deepEqual(["spool:20251121T130000-vm-1.json", "http:127.0.0.1", null].map(model.makerOf), ["by spool", "by http:127.0.0.1", ""]);
  const changed = (fields) => model.changedWords(fields, NOW);
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
  assert.equal(model.localTimes("last sign of life 2025-11-21T12:59:55.110Z; 2025-99-99T00Z", NOW),
    "last sign of life 12:59:55; 2025-99-99T00Z");
});

test("the first commands fit this server", () => {
  const { curl, spool } = model.teachCommands("https://host/sim/", { live_enabled: false, token_required: true });
  assert.match(curl, /https:\/\/host\/sim\/api\/v1\/publish\/job-finish\?regression=demo\/1/);
  assert.match(curl, /Bearer \$SIMSCOPE_TOKEN/);
  assert.match(spool, /"result":"pass"/);
  assert.match(model.teachCommands("/", {}).curl, /job-live/);
});

test("a problem is a sentence", () => {
  assert.equal(model.problemSentence({ status: 0 }), "The server did not answer.");
  assert.equal(model.problemSentence({ status: 404, detail: "no job 12" }), "no job 12.");
  assert.equal(model.problemSentence({ status: 500, title: "", detail: "" }), "The server answered 500.");
});
