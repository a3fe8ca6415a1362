// Numbers and times as people read them.

import assert from "node:assert/strict";
import { test } from "node:test";

process.env.TZ = "UTC";
const { ago, bytes, count, cut, duration, firstLine, fullTime, moment, parseTime, percent, plain, plural, rate, ticking } =
  await import("../../static/format.js");

const NOW = Date.parse("2025-11-21T13:00:00Z");

test("a time that is not set is no time", () => {
  for (const nothing of [null, undefined, "", "nonsense", "0001-01-01T00:00:00Z"]) assert.equal(parseTime(nothing), null);
  assert.equal(parseTime("2025-11-21T13:00:00.000Z"), NOW);
  assert.equal(parseTime("2025-11-21T14:00:00+01:00"), NOW);
});

test("durations have at most two steps", () => {
  const words = [0, 850, 2000, 2470, 45_900, 725_000, 3_852_000, 183_600_000].map(duration);
  assert.deepEqual(words, ["0s", "850 ms", "2s", "2.4s", "45s", "12m 05s", "1h 04m", "2d 03h"]);
  assert.equal(duration(null), "–");
  assert.equal(duration(-5), "0s");
});

test("a running duration ticks in whole seconds", () => {
  assert.equal(ticking(850), "0s");
  assert.equal(ticking(1999), "1s");
  assert.equal(ticking(-300), "0s");
});

test("ago says how long", () => {
  const words = [500, 12_000, 3_900_000, 86_400_000 * 3].map((ms) => ago(NOW - ms, NOW));
  assert.deepEqual(words, ["just now", "12s ago", "1h 05m ago", "3d 00h ago"]);
  assert.equal(ago(NOW + 5000, NOW), "just now");
});

test("a moment has as much of the date as it needs", () => {
  assert.equal(moment("2025-11-21T12:04:12Z", NOW), "12:04:12");
  assert.equal(moment("2025-11-20T23:59:00Z", NOW), "20 Nov 23:59");
  assert.equal(moment("2024-01-02T03:04:05Z", NOW), "2 Jan 2024");
  assert.equal(fullTime("2025-11-21T12:04:12Z"), "2025-11-21 12:04:12 +00:00");
});

test("a percentage is 100 only at the end and 0 only at the start", () => {
  assert.equal(percent(0, 2000), "0 %");
  assert.equal(percent(1, 2000), "< 1 %");
  assert.equal(percent(1240, 2000), "62 %");
  assert.equal(percent(2, 3), "67 %");
  assert.equal(percent(1999, 2000), "99.9 %");
  assert.equal(percent(999_999, 1_000_000), "99.9 %");
  assert.equal(percent(2000, 2000), "100 %");
  assert.equal(percent(3, 0), "–");
  assert.equal(percent(0.29, 1), "29 %");
});

test("one fail in a million is no full pass rate", () => {
  assert.equal(rate(0.999999), "99.9 %");
  assert.equal(rate(1), "100 %");
  assert.equal(rate(0.945), "94.5 %");
  assert.equal(rate(2 / 3), "66.7 %");
  assert.equal(rate(0.0001), "0.1 %");
  assert.equal(rate(0), "0.0 %");
  assert.equal(rate(null), "–");
});

test("counts are grouped, words agree", () => {
  assert.equal(count(1234567), "1,234,567");
  assert.equal(plural(1, "job"), "1 job");
  assert.equal(plural(2000, "job"), "2,000 jobs");
  assert.deepEqual([812, 14_200, 3e9].map(bytes), ["812 B", "14.2 kB", "3.0 GB"]);
});

test("text is cut between characters, never inside one", () => {
  assert.equal(firstLine("\n first\r\nsecond"), "first");
  assert.equal(firstLine(null), "");
  assert.equal(cut("abc", 3), "abc");
  assert.equal(cut("ab😀", 3), "ab…");
});

test("any value is text", () => {
  assert.equal(plain(null), "–");
  assert.equal(plain({ a: [1] }), '{"a":[1]}');
  assert.equal(plain(false), "false");
});
