// The colours of page.css in both schemes: text 4.5:1, marks of the bar 3:1 (WCAG AA).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const css = readFileSync(new URL("../../static/page.css", import.meta.url), "utf8");
const [light, dark] = [...css.matchAll(/:root(?::not\(\[data-paper\]\))? \{([^}]*)\}/g)].map(([, block]) =>
  Object.fromEntries([...block.matchAll(/--([\w-]+): (#[0-9a-f]{6})/g)].map(([, name, colour]) => [name, colour])));

const INKS = ["ink", "muted", "link", "pass-ink", "fail-ink", "skip-ink", "live-ink", "warn-ink"];

function luminance(colour) {
  const [r, g, b] = [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16) / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a, b) {
  const [dim, bright] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (bright + 0.05) / (dim + 0.05);
}

for (const [name, scheme] of [["light", light], ["dark", dark]]) {
  const holds = (front, back, least) => {
    const found = contrast(scheme[front], scheme[back]);
    assert.ok(found >= least, `${name}: ${front} on ${back} is ${found.toFixed(2)}:1, not ${least}:1`);
  };

  test(`${name}: text can be read on every ground`, () => {
    for (const ink of INKS) for (const ground of ["ground", "surface", "raised", "live-wash"]) holds(ink, ground, 4.5);
    for (const kind of ["pass", "fail", "skip", "live", "warn"]) holds(`${kind}-ink`, `${kind}-wash`, 4.5);
    holds("on-accent", "link", 4.5);
    holds("on-accent", "fail", 4.5);
  });

  test(`${name}: marks stand out from the page and from what is to come`, () => {
    for (const mark of ["pass", "fail", "skip", "live", "edge", "focus"]) {
      for (const ground of ["ground", "surface"]) holds(mark, ground, 3);
    }
    for (const mark of ["pass", "fail", "skip", "live"]) holds(mark, "track", 3);
  });
}
