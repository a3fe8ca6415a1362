// Objects as the API gives them, for tests of what the page makes of them; the reader's clock is UTC.

process.env.TZ = "UTC";

export const NOW = Date.parse("2025-11-21T13:00:00Z");
export const at = (ms) => new Date(NOW + ms).toISOString();

export const counts = (changes = {}) => ({ pass: 0, fail: 0, skip: 0, live: 0, migrated: 0, ...changes });

export function regression(changes = {}) {
  return {
    id: 1, name: "myrun/123", status: "live", reason: null, submitted: 100, counts: counts({ pass: 50, fail: 3, live: 20 }),
    progress: { done: 53, total: 100, percent: 53 }, eta_at: null, elapsed_ms: 60_000, read_at: NOW, version: 10, ...changes,
  };
}

export function job(id, changes = {}) {
  return { id, result: "live", name: `job ${id}`, started_at: at(-1000), elapsed_ms: 1000, read_at: NOW, version: 5, ...changes };
}

export const event = (type, job, data = {}, changes = {}) =>
  ({ seq: 20, at: at(0), type, regression: "myrun/123", regression_id: 1, job, data, ...changes });
