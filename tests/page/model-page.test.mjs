// The tab's title and icon, first commands, problems.

import assert from "node:assert/strict";
import { test } from "node:test";

import { counts, job, regression } from "./objects.mjs";
import { faviconOf, problemSentence, teachCommands, titleOf } from "../../static/model-page.js";

test("the title says what one wants to know without opening the tab", () => {
  const title = (changes) => titleOf({ kind: "regression" }, { regression: regression(changes) });
  assert.equal(title({}), "53 % · 3 fails · myrun/123");
  assert.equal(title({ counts: counts({ pass: 100 }), status: "complete" }), "complete · myrun/123");
  assert.equal(title({ submitted: 0, progress: { total: null } }), "live · 3 fails · myrun/123");
  assert.equal(titleOf({ kind: "overview" }, { list: { items: [regression()] } }), "1 live · simscoped");
  assert.equal(titleOf({ kind: "job" }, { job: job(1, { regression: "r", progress: { done: 1, total: 4 } }) }), "25 % · job 1 · r");
  assert.equal(titleOf({ kind: "job" }, { job: null }), "simscoped");
});

test("a name that runs right to left does not turn the title round", () => {
  assert.equal(titleOf({ kind: "regression" }, { regression: regression({ name: "\u202eevil" }) }), "53 % · 3 fails · ⟨U+202E⟩evil");
  assert.equal(titleOf({ kind: "regression" }, { regression: regression({ name: "שלום" }) }), "53 % · 3 fails · \u2068שלום\u2069");
});

test("the picture of the tab carries the state of the run", () => {
  const icon = (changes) => decodeURIComponent(faviconOf({ kind: "regression" }, { regression: regression(changes) }));
  assert.match(icon(), /fill="#c22f1f"/);
  assert.match(icon({ counts: counts({ pass: 50 }) }), /y="8" width="16" height="8" fill="#2a6bd0"/);
  assert.match(icon({ counts: counts({ pass: 100 }), status: "complete" }), /fill="#23834f"\/><path/);
  assert.equal(faviconOf({ kind: "overview" }, { list: null }), null);
});

test("the first commands fit this server", () => {
  const { curl, spool } = teachCommands("https://host/sim/", { live_enabled: false, token_required: true });
  assert.match(curl, /https:\/\/host\/sim\/api\/v1\/publish\/job-finish\?regression=demo\/1/);
  assert.match(curl, /Bearer \$SIMSCOPE_TOKEN/);
  assert.match(spool, /"result":"pass"/);
  assert.match(teachCommands("/", {}).curl, /job-live/);
});

test("a problem is a sentence", () => {
  assert.equal(problemSentence({ status: 0 }), "The server did not answer.");
  assert.equal(problemSentence({ status: 404, detail: "no job 12" }), "no job 12.");
  assert.equal(problemSentence({ status: 500, title: "", detail: "" }), "The server answered 500.");
});
