// The house of the page: what each module says of itself, who imports whom, what the frame names.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

const STATIC = new URL("../../static/", import.meta.url);
const read = (name) => readFileSync(new URL(name, STATIC), "utf8");
const modules = readdirSync(STATIC).filter((name) => name.endsWith(".js"));
const sources = new Map(modules.map((name) => [name, read(name)]));
const importsOf = (name) => [...sources.get(name).matchAll(/^(?:import .*|[ }].*) from "\.\/([\w-]+\.js)";$/gm)].map(([, other]) => other);

/** What computes, and touches neither the document nor a clock nor the network. */
const PURE = modules.filter((name) => /^(model-.*|address|charts|format|livejobs|ticks)\.js$/.test(name));

test("every module is checked by tsc and begins by saying what it is for", () => {
  for (const [name, source] of sources) assert.match(source, /^\/\/ @ts-check\n\/\*\*[\s\S]{40,}?\*\/\n/, name);
});

test("modules import one another in one direction", () => {
  const done = new Set();
  const walk = (name, path) => {
    assert.ok(!path.includes(name), [...path, name].join(" -> "));
    if (done.has(name)) return;
    importsOf(name).forEach((other) => walk(other, [...path, name]));
    done.add(name);
  };
  modules.forEach((name) => walk(name, []));
  assert.ok(done.size > 30);
});

test("pure modules import pure modules only, and use no document, clock or network", () => {
  for (const name of PURE) {
    const code = sources.get(name).replace(/\/\*[\s\S]*?\*\//g, "").replace(/`[^`]*`|"[^"]*"/g, "");
    assert.doesNotMatch(code, /\b(document|window|fetch|EventSource|setTimeout|Date\.now|new Date\(\)|performance)\b/, name);
    assert.deepEqual(importsOf(name).filter((other) => !PURE.includes(other)), [], name);
  }
});

test("the entry reaches every module, and the frame loads each of them at once", () => {
  const named = [...read("index.html").matchAll(/rel="modulepreload" href="\{\{ROOT\}\}static\/([\w-]+\.js)"/g)].map(([, name]) => name);
  const reached = new Set();
  const walk = (name) => reached.has(name) || (reached.add(name), importsOf(name).forEach(walk));
  walk("page.js");
  assert.deepEqual([...reached].sort(), modules.filter((name) => name !== "types.js"));
  assert.deepEqual(["page.js", ...named].sort(), [...reached].sort());
});

test("no module is a hall", () => {
  for (const [name, source] of sources) {
    const lines = source.split("\n").length;
    assert.ok(lines <= 300 || name === "types.js", `${name} has ${lines} lines`);
  }
});

test("columns have their widths by class, not by place", () => {
  for (const name of readdirSync(STATIC).filter((file) => file.endsWith(".css"))) {
    assert.doesNotMatch(read(name), /t[hdr][^{},]*:nth-child/, name);
  }
});

test("durations are written in one way", () => {
  for (const [name, source] of sources) {
    const texts = source.replace(/\/\*[\s\S]*?\*\//g, "").match(/`[^`]*`|"[^"]*"/g) ?? [];
    for (const text of texts) assert.doesNotMatch(text, /[\d}] (s|min|h|sec|hours?|minutes?|seconds?|days?)\b(?!")/, `${name}: ${text}`);
  }
});
