// @ts-check
/**
 * Address bar <-> view, and the addresses of the API. Pure.
 *
 * `ROOT` is the path below which the daemon is served, ending in `/`. A view is
 * `{kind: "overview"|"regression"|"job"|"unknown", ref, filter}`: `ref` is a regression's name (or id, or
 * `SERIES/$`) or a job's id, `filter` what the reader has chosen to see of it.
 */

/** @import {Aim, Filter, Query, View} from "./types.js" */

/** What may stand in the query string of each view, with its default. @type {Record<View["kind"], Filter>} */
const FILTERS = {
  overview: { q: "", status: "", series: "", branch: "", component: "", tanked: "" },
  regression: {
    tab: "", result: "", signature: "", q: "", sort: "newest", live: "", livesort: "", slow: "", group: "",
    base: "", by: "", slower: "20", from: "", to: "",
  },
  job: {},
  unknown: {},
};

/** The view that an address asks for. @param {string} root @param {string} pathname @param {string} search
 * @returns {View}
 */
export function parseAddress(root, pathname, search) {
  const path = pathname.startsWith(root) ? pathname.slice(root.length) : "?";
  const { kind, ref } = parsePath(path);
  return { kind, ref, filter: parseFilter(kind, search) };
}

/** @param {string} path @returns {{kind: View["kind"], ref: string}} */
function parsePath(path) {
  if (path === "" || path === "index.html") return { kind: "overview", ref: "" };
  const [, where, rest] = /^([rj])\/(.+)$/.exec(path) ?? [];
  const ref = rest === undefined ? "" : decode(rest) ?? "";
  if (where === "r" && ref) return { kind: "regression", ref };
  if (where === "j" && /^\d+$/.test(ref)) return { kind: "job", ref };
  return { kind: "unknown", ref: path };
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

/** @param {View["kind"]} kind @param {string} search */
function parseFilter(kind, search) {
  const given = new URLSearchParams(search);
  /** @type {Filter} */
  const filter = {};
  for (const [key, standard] of Object.entries(FILTERS[kind])) filter[key] = given.get(key) ?? standard;
  return filter;
}

/**
 * The address of a view; only what differs from the default is written.
 * @param {string} root
 * @param {Aim} view
 */
export function addressOf(root, view) {
  const { kind, ref = "" } = view;
  const path = { overview: "", regression: `r/${encodeRef(ref)}`, job: `j/${ref}`, unknown: ref }[kind];
  const query = new URLSearchParams();
  for (const [key, standard] of Object.entries(FILTERS[kind])) {
    const value = view.filter?.[key] ?? standard;
    if (value !== standard) query.set(key, value);
  }
  const text = query.toString();
  return root + path + (text ? `?${text}` : "");
}

/** A reference as one path segment. @param {string|number} ref */
export function encodeRef(ref) {
  return encodeURIComponent(String(ref));
}

/**
 * How a link names a regression: by name, except where a name would be read as an id or as a path step.
 * @param {{id: number, name: string}} regression
 */
export function refOf(regression) {
  return /^(\d+|\.{1,2})$/.test(regression.name) ? String(regression.id) : regression.name;
}

/**
 * Address of a regression's page.
 * @param {string} root
 * @param {{id: number, name: string}} regression
 * @param {Filter} [filter]
 */
export function regressionAddress(root, regression, filter) {
  return addressOf(root, { kind: "regression", ref: refOf(regression), filter });
}

/** Address of a job's page. @param {string} root @param {number|string} id */
export function jobAddress(root, id) {
  return addressOf(root, { kind: "job", ref: String(id) });
}

/**
 * A path of the API with its query; empty values are left out, those of an array stand one by one.
 * @param {string} path
 * @param {Query} [query]
 */
export function apiPath(path, query = {}) {
  const used = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (Array.isArray(value)) value.forEach((each) => used.append(key, String(each)));
    else if (value !== "" && value !== null && value !== undefined) used.set(key, String(value));
  }
  const text = used.toString();
  return `api/v1/${path}${text ? `?${text}` : ""}`;
}

/**
 * Is what was typed a filter (`result=fail, host=~^n1`), or meant to be one, rather than words to search for?
 * @param {string} text
 */
export function isFilter(text) {
  return /^\s*!?\s*[a-z_]+(\.[^\s=<>!~]+)?\s*(!=|!~|=~?|~|>=?|<=?)/i.test(text);
}

/**
 * The words to search for: what begins with a quote is no filter, whatever it looks like, and quotes in it part words.
 * @param {string} text
 */
export function searchText(text) {
  const words = text.trim();
  return words.startsWith('"') ? words.split(/["\s]+/).join(" ").trim() : words;
}

/** Does `ref` mean "the latest of a series" (`SERIES/$`)? @param {string} ref */
export function isLatest(ref) {
  return /.[^\p{L}\p{N}]\$$/u.test(ref);
}

/**
 * The text as a link if it is an http or https address, else null: `javascript:` and `file:` stay text.
 * @param {string|null|undefined} text
 */
export function safeLink(text) {
  if (!text || !/^https?:\/\//i.test(text)) return null;
  try {
    return new URL(text).href;
  } catch {
    return null;
  }
}
