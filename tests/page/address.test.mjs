// Address bar <-> view.

import assert from "node:assert/strict";
import { test } from "node:test";

import { addressOf, apiPath, encodeRef, isFilter, isLatest, parseAddress, refOf, regressionAddress, safeLink, searchText } from "../../static/address.js";

test("every name survives its address, at any prefix", () => {
  const names = ["myrun/123", "a b&c=d?e#f", "50%", "שלום/7", "<b>", "series/$", "a//b", "x".repeat(512)];
  for (const root of ["/", "/sim/scope/"]) {
    for (const name of names) {
      const address = new URL(addressOf(root, { kind: "regression", ref: name }), "http://host");
      assert.deepEqual(parseAddress(root, address.pathname, address.search).ref, name);
    }
  }
});

test("a name with plain slashes is understood", () => {
  assert.equal(parseAddress("/", "/r/myrun/123", "").ref, "myrun/123");
});

test("names that a path would swallow, or that look like ids, are linked by id", () => {
  for (const name of ["123", ".", ".."]) assert.equal(refOf({ id: 7, name }), "7");
  assert.equal(refOf({ id: 7, name: "v1.2" }), "v1.2");
  assert.equal(regressionAddress("/", { id: 7, name: ".." }), "/r/7");
});

test("views and what is none", () => {
  const kind = (path) => parseAddress("/p/", path, "").kind;
  assert.equal(kind("/p/"), "overview");
  assert.equal(kind("/p/j/12"), "job");
  assert.equal(kind("/p/j/x"), "unknown");
  assert.equal(kind("/p/r/"), "unknown");
  assert.equal(kind("/p/r/%E0%A4%A"), "unknown");
  assert.equal(kind("/elsewhere"), "unknown");
});

test("filters stand in the address, defaults do not", () => {
  const view = parseAddress("/", "/", "?q=a+b&status=live&tanked=1&other=x");
  assert.deepEqual(view.filter, { q: "a b", status: "live", series: "", branch: "", component: "", tanked: "1" });
  assert.equal(addressOf("/", view), "/?q=a+b&status=live&tanked=1");
  const regression = parseAddress("/", "/r/x", "");
  assert.equal(addressOf("/", regression), "/r/x");
  assert.equal(addressOf("/", { ...regression, filter: { ...regression.filter, sort: "longest" } }), "/r/x?sort=longest");
});

test("paths of the API leave out what is empty", () => {
  assert.equal(apiPath("jobs", { limit: 20, q: "", after: null, host: undefined, n: 0 }), "api/v1/jobs?limit=20&n=0");
  assert.equal(encodeRef("SERIES/$"), "SERIES%2F%24");
});

test("a value that is a list stands once for each", () => {
  assert.equal(apiPath("series", { series: ["a", "b/c"], limit: 1 }), "api/v1/series?series=a&series=b%2Fc&limit=1");
});

test("what looks like a term of the filter language is one, all else is text to search for", () => {
  for (const text of ["result=fail", " !host=~^n1", "runtime>10m", "metadata.corner = slow", "cps<=5, a=b",
    "result!=fail", "message!~UVM", "message!=~UVM", "message~FIFO", "addr=0x10"]) assert.ok(isFilter(text), text);
  for (const text of ["overflow", "+seed=4711", "UVM_ERROR @ 10", "a b=c", "", "::x=1", '"addr=0x10"', "really? no!"]) assert.ok(!isFilter(text), text);
});

test("a quote in front makes it text to search for", () => {
  assert.equal(searchText('"addr=0x10"'), "addr=0x10");
  assert.equal(searchText(' "addr=0x10 data'), "addr=0x10 data");
  assert.equal(searchText(' said "no" '), 'said "no"');
  assert.equal(searchText('"a=1" "b=2"'), "a=1 b=2");
  assert.equal(searchText('"a=1" b  "c d'), "a=1 b c d");
  assert.equal(searchText('"'), "");
});

test("the latest of a series, with any separator", () => {
  assert.ok(isLatest("nightly/$"));
  assert.ok(isLatest("nightly:$"));
  assert.ok(!isLatest("cost$"));
  assert.ok(!isLatest("/$"));
});

test("only http and https become links", () => {
  assert.equal(safeLink("https://host/a b"), "https://host/a%20b");
  for (const text of ["javascript:alert(1)", " https://x", "file:///etc", "/proj/run", "http://", null, undefined]) {
    assert.equal(safeLink(text), null);
  }
});
