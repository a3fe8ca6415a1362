// Requests: pages of lists, problems, the token.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Problem, createApi } from "../../static/api.js";

const answer = (status, body) => ({
  ok: status < 400,
  status,
  statusText: "words",
  json: async () => (typeof body === "string" ? JSON.parse(body) : body),
});

function apiWith(answers, tokens = []) {
  const asked = [];
  const stored = new Map();
  const api = createApi("/p/", {
    fetch: async (url, options) => {
      asked.push({ url, ...options });
      const next = answers.shift();
      if (next instanceof Error) throw next;
      return next;
    },
    storage: { getItem: (key) => stored.get(key) ?? null, setItem: (key, value) => stored.set(key, value) },
    askToken: async () => tokens.shift() ?? null,
  });
  return { api, asked };
}

test("a list is read in steps of 500 up to the wanted length", async () => {
  const rows = (n) => Array.from({ length: n }, (_, id) => ({ id }));
  const { api, asked } = apiWith([answer(200, { items: rows(500), next: "b" }), answer(200, { items: rows(100), next: "c" })]);
  const { items, next } = await api.list("jobs", { limit: 600, q: "" });
  assert.equal(items.length, 600);
  assert.equal(next, "c");
  assert.deepEqual(asked.map((request) => request.url), ["/p/api/v1/jobs?limit=500", "/p/api/v1/jobs?limit=100&after=b"]);
});

test("problems keep what the server said", async () => {
  const { api } = apiWith([answer(410, { title: "Gone", detail: "job 7 was pruned", reason: "pruned" })]);
  await assert.rejects(api.read("jobs/7"), (problem) => problem instanceof Problem && problem.status === 410 && problem.reason === "pruned");
});

test("an answer that is no JSON is a problem too", async () => {
  const { api } = apiWith([answer(502, "<html>"), answer(200, "<html>"), new TypeError("network")]);
  await assert.rejects(api.read("jobs"), { status: 502, title: "The server answered 502 words" });
  await assert.rejects(api.read("jobs"), { status: 0 });
  await assert.rejects(api.read("jobs"), { status: 0 });
});

test("an aborted reading is not a problem, before the answer comes or while it does", async () => {
  const aborted = () => Object.assign(new Error("aborted"), { name: "AbortError" });
  const cutShort = { ...answer(200, {}), json: () => Promise.reject(aborted()) };
  const { api } = apiWith([aborted(), cutShort]);
  await assert.rejects(api.read("jobs"), { name: "AbortError" });
  await assert.rejects(api.read("jobs"), { name: "AbortError" });
});

test("the token is asked for when it is needed, and kept", async () => {
  const no = () => answer(401, { title: "Unauthorized" });
  const { api, asked } = apiWith([no(), no(), answer(200, { id: 1 }), answer(200, { id: 1 })], ["wrong", "right"]);
  assert.deepEqual(await api.write("regressions/1/tank", { reason: "x" }), { id: 1 });
  await api.write("regressions/1/untank");
  assert.deepEqual(asked.map((request) => request.headers.Authorization), [undefined, "Bearer wrong", "Bearer right", "Bearer right"]);
  assert.deepEqual([asked[0].url, asked[0].method, asked[0].body], ["/p/api/v1/regressions/1/tank", "POST", '{"reason":"x"}']);
  assert.equal(asked[3].body, "{}");
});

test("without a token nothing is changed, and that is said", async () => {
  const { api } = apiWith([answer(401, {})]);
  await assert.rejects(api.write("x"), /Nothing was changed/);
});

test("what the server says is wrong with it; silence says nothing", async () => {
  const { api, asked } = apiWith([answer(503, { reasons: ["spool: gone"] }), answer(200, { reasons: [] }), new TypeError("refused")]);
  assert.deepEqual(await api.health(), ["spool: gone"]);
  assert.deepEqual(await api.health(), []);
  assert.deepEqual(await api.health(), []);
  assert.equal(asked[0].url, "/p/healthz");
});
