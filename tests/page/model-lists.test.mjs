// Lists as they change.

import assert from "node:assert/strict";
import { test } from "node:test";

import { event, regression } from "./objects.mjs";
import {
  appendPage, belongs, keepNewer, mergeHead, sortRegressions, stayInPlace,
} from "../../static/model-lists.js";

const list = (from, to, next = null) => ({ items: Array.from({ length: to - from + 1 }, (_, n) => ({ id: to - n })), next });
const ids = ({ items }) => items.map((item) => item.id);

test("live regressions come first, then the newest", () => {
  const order = sortRegressions([
    regression({ id: 1, status: "live" }), regression({ id: 3, status: "complete" }),
    regression({ id: 2, status: "live" }), regression({ id: 4, status: "aborted" })]).map((item) => item.id);
  assert.deepEqual(order, [2, 1, 4, 3]);
});

test("a row that changed may no longer belong in the list", () => {
  assert.ok(!belongs(regression({ status: "complete" }), { status: "live" }));
  assert.ok(!belongs(regression({ status: "tanked" }), { status: "", tanked: "" }));
  assert.ok(belongs(regression({ status: "tanked" }), { status: "", tanked: "1" }));
  assert.ok(belongs(regression({ status: "tanked" }), { status: "tanked", tanked: "" }));
});

test("a re-read head keeps the rows that had been loaded below it", () => {
  const merged = mergeHead(list(1, 6, "old"), list(5, 8, "head"));
  assert.deepEqual(ids(merged), [8, 7, 6, 5, 4, 3, 2, 1]);
  assert.equal(merged.next, "old");
});

test("a head that no longer meets the rows below leaves no hole", () => {
  const merged = mergeHead(list(1, 6, "old"), list(20, 23, "head"));
  assert.deepEqual(ids(merged), [23, 22, 21, 20]);
  assert.equal(merged.next, "head");
});

test("a head that is the whole list replaces it", () => {
  assert.deepEqual(ids(mergeHead(list(1, 6), list(3, 6))), [6, 5, 4, 3]);
});

test("an answer that was under way does not undo what an event told meanwhile", () => {
  const old = { items: [{ id: 1, version: 9, result: "pass" }, { id: 2, version: 3, result: "live" }] };
  const read = { items: [{ id: 3, version: 4 }, { id: 1, version: 5, result: "live" }, { id: 2, version: 4, result: "fail" }], next: "n" };
  const kept = keepNewer(old, read);
  assert.deepEqual(kept.items.map((item) => item.result), [undefined, "pass", "fail"]);
  assert.equal(kept.next, "n");
  assert.equal(keepNewer(null, read).items.length, 3);
});

test("a page below adds no row twice", () => {
  assert.deepEqual(ids(appendPage(list(4, 6), list(2, 4, "more"))), [6, 5, 4, 3, 2]);
});

test("the fewest rows move", () => {
  const staying = (positions) => [...stayInPlace(positions)].sort((a, b) => a - b);
  assert.deepEqual(staying([0, 1, 2, 3]), [0, 1, 2, 3]);
  assert.deepEqual(staying([3, 0, 1, 2]), [1, 2, 3]);
  assert.deepEqual(staying([-1, 0, -1, 1]), [1, 3]);
  assert.deepEqual(staying([2, 0, 4, 1, 3]).length, 3);
  assert.deepEqual(staying([]), []);
});

test("rows that stay are in order, whatever the shuffle", () => {
  for (let round = 0; round < 200; round += 1) {
    const positions = Array.from({ length: round % 30 }, (_, n) => (n % 7 === 0 ? -1 : (n * 7919 + round * 104729) % 1009));
    const kept = [...stayInPlace(positions)].sort((a, b) => a - b).map((index) => positions[index]);
    assert.deepEqual(kept, [...kept].sort((a, b) => a - b));
    assert.ok(kept.every((position) => position >= 0));
  }
});
