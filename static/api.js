// @ts-check
/**
 * Requests to the daemon: JSON in and out, errors as `Problem`, the token kept for this tab only.
 */

/** @import {Query, Read, Told} from "./types.js" */

import { apiPath } from "./address.js";

/**
 * Why a request failed. `status` 0: nothing answered (offline, refused, cut); otherwise the members of the
 * server's problem+json: `title`, `detail`, `reason` and `path`, each "" if not told.
 */
export class Problem extends Error {
  /** @param {number} status @param {Told} [told] */
  constructor(status, told = {}) {
    super(told.detail || told.title || `status ${status}`);
    this.status = status;
    this.title = told.title ?? "";
    this.detail = told.detail ?? "";
    this.reason = told.reason ?? "";
    this.path = told.path ?? "";
  }
}

/** Was a request given up by us? @param {unknown} error */
export function isAbort(error) {
  return error instanceof Error && error.name === "AbortError";
}

/**
 * @typedef {object} ApiEnv
 * @property {(url: string, options: RequestInit) => Promise<Response>} fetch
 * @property {Pick<Storage, "getItem"|"setItem">} storage
 * @property {(again: boolean) => Promise<string|null>} askToken
 */

const TOKEN_KEY = "simscoped.token";

/**
 * The daemon as seen from the page.
 * @param {string} root path below which it is served, ending in `/`
 * @param {ApiEnv} env
 */
export function createApi(root, env) {
  // Never from the browser's cache: an ETag stands for what events tell, and a sign of life is no event.
  /** @type {Read} */
  const read = (path, query, signal) => request(env.fetch, root + apiPath(path, query), { cache: "no-store", signal });
  /** @param {string} path @param {object} [body] */
  const write = (path, body) => writeWithToken(env, root + apiPath(path), body ?? {});
  /** @param {string} path @param {Query & {limit: number}} query @param {AbortSignal} [signal] */
  const list = (path, query, signal) => readList(read, path, query, signal);
  const health = () => readHealth(env.fetch, `${root}healthz`);
  return { read, list, write, health };
}

/**
 * A list of up to `query.limit` rows, in steps of 500, the most that the server gives at once.
 * @param {Read} read
 * @param {string} path
 * @param {Query & {limit: number}} query
 * @param {AbortSignal|undefined} signal
 */
async function readList(read, path, query, signal) {
  const items = [];
  /** @type {any} */
  let next = query.after ?? null;
  do {
    const limit = Math.min(500, query.limit - items.length);
    const page = await read(path, { ...query, limit, after: next }, signal);
    items.push(...page.items);
    next = page.next ?? null;
  } while (next && items.length < query.limit);
  return { items, next };
}

/**
 * What the server says is wrong with it, as sentences; none if it is well, or does not answer.
 * @param {ApiEnv["fetch"]} fetch
 * @param {string} url
 */
async function readHealth(fetch, url) {
  try {
    const response = await fetch(url, { cache: "no-store" });
    return response.status === 503 ? (await problemOf(response)).reasons ?? [] : [];
  } catch {
    return [];
  }
}

/** @param {ApiEnv} env @param {string} url @param {object} body */
async function writeWithToken(env, url, body) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await request(env.fetch, url, writing(body, env.storage.getItem(TOKEN_KEY)));
    } catch (problem) {
      if (!(problem instanceof Problem) || problem.status !== 401) throw problem;
      const token = await env.askToken(tries > 0);
      if (token === null) throw new Problem(401, { title: "Nothing was changed: this needs the server's token." });
      env.storage.setItem(TOKEN_KEY, token);
    }
  }
}

/** @param {object} body @param {string|null} token */
function writing(body, token) {
  /** @type {Record<string, string>} */
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  return { method: "POST", headers, body: JSON.stringify(body) };
}

/** @param {ApiEnv["fetch"]} fetch @param {string} url @param {RequestInit} options */
async function request(fetch, url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new Problem(0);
  }
  if (!response.ok) throw new Problem(response.status, await problemOf(response));
  return bodyOf(response);
}

/** @param {Response} response */
async function problemOf(response) {
  try {
    const told = await response.json();
    return told && typeof told === "object" ? told : {};
  } catch {
    return { title: `The server answered ${response.status} ${response.statusText}`.trim() };
  }
}

/** @param {Response} response */
async function bodyOf(response) {
  try {
    return await response.json();
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new Problem(0);
  }
}
