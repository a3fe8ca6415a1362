// A clock and an EventSource that do what a test says.

/** A clock that only goes on when told. */
export function fakeClock() {
  let now = 0;
  let nextId = 1;
  const timers = new Map();
  return {
    now: () => now,
    setTimeout: (work, ms) => (timers.set(nextId, { at: now + ms, work }), nextId++),
    clearTimeout: (id) => timers.delete(id),
    random: () => 0.5,
    async pass(ms) {
      const end = now + ms;
      for (;;) {
        const [id, due] = [...timers].filter(([, timer]) => timer.at <= end).sort((a, b) => a[1].at - b[1].at)[0] ?? [];
        if (id === undefined) break;
        timers.delete(id);
        now = Math.max(now, due.at);
        due.work();
        await settled();
      }
      now = end;
      await settled();
    },
  };
}

export const settled = () => new Promise((resolve) => setImmediate(resolve));

/** An EventSource that a test speaks through; `all` are those that were opened, newest last. */
export class FakeSource {
  static all = [];
  constructor(url) {
    this.url = url;
    this.readyState = 0;
    this.listeners = {};
    FakeSource.all.push(this);
  }
  addEventListener(type, work) {
    this.listeners[type] = work;
  }
  close() {
    this.readyState = 2;
  }
  accept() {
    this.readyState = 1;
    this.onopen();
  }
  send(seq, data) {
    this.onmessage({ lastEventId: String(seq), data: typeof data === "string" ? data : JSON.stringify(data) });
  }
  cut(readyState = 0) {
    this.readyState = readyState;
    this.onerror();
  }
}
