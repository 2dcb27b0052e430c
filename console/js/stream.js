// Following the server. Owns one stream of server-sent events: reading, resuming without a gap,
// noticing that it went silent, and trying again ever more slowly. It reads with `fetch`, because
// the browser's EventSource hides why a stream was refused (410, 401, 429). Refuses lines past a
// bound.

import { Problem, pause, problemOf, signals } from "./api.js";
import { keyHeaders } from "./key.js";

/** The server sends a comment every 15 s: three missed ones mean that nobody is there. */
const SILENCE_MS = 50_000;
const LONGEST_WAIT_MS = 30_000;
const MAX_BUFFER = 4 << 20;

/**
 * A page that was left is kept for the way back, with its streams open, and the browser has only six
 * connections for one server: a few such pages, and nothing loads any more.
 */
let left = new AbortController();
addEventListener("pagehide", () => left.abort());
addEventListener("pageshow", (event) => {
  if (event.persisted) left = new AbortController();
});

/** Waits until the page is there again. */
function back(signal) {
  return new Promise((resolve) => {
    if (!left.signal.aborted) resolve();
    addEventListener("pageshow", resolve, { once: true });
    signal.addEventListener("abort", resolve, { once: true });
  });
}

/**
 * Follows `path` until `signal` is aborted.
 * `on`: `event({ id, type, data })`, `state("live" | "waiting")`, `gone()` (the history that was
 * asked for is no longer kept), `refused(problem)` (trying again is of no use), and `ended()`,
 * which says whether to try again (default: yes).
 */
export async function follow(path, signal, on) {
  let lastId = null;
  let failures = 0;
  while (!signal.aborted) {
    let wait = null;
    try {
      await once(path, signal, lastId, {
        event(message) {
          failures = 0;
          if (message.id) lastId = message.id;
          on.event(message);
        },
        open() {
          on.state?.("live");
        },
      });
      if (on.ended && !on.ended()) return;
    } catch (problem) {
      if (signal.aborted) return;
      const stale = problem instanceof Problem && (problem.status === 410 || (problem.status === 400 && lastId));
      if (stale) {
        // Pruned, or of another history than this server's: what is shown has to be read anew.
        lastId = null;
        on.gone?.();
        wait = 0;
      } else if (problem instanceof Problem && problem.status === 429) {
        wait = problem.retryAfter * 1000;
      } else if (problem instanceof Problem && problem.status === 401) {
        signals.dispatchEvent(new CustomEvent("unauthorized"));
        return;
      } else if (problem instanceof Problem && [400, 403, 404].includes(problem.status)) {
        on.refused?.(problem);
        return;
      }
    }
    on.state?.("waiting");
    if (left.signal.aborted) {
      await back(signal);
      continue;
    }
    failures += 1;
    const slow = Math.min(LONGEST_WAIT_MS, 500 * 2 ** Math.min(failures, 7));
    await rest(wait ?? slow * (0.5 + Math.random() / 2), signal);
  }
}

/** Waits, but not longer than until the machine is back online. */
async function rest(ms, signal) {
  const early = new AbortController();
  const wake = () => early.abort();
  addEventListener("online", wake, { once: true });
  try {
    await pause(ms, AbortSignal.any([signal, early.signal]));
  } catch {
    // Left, or back online: the loop looks which.
  }
  removeEventListener("online", wake);
}

async function once(path, signal, lastId, on) {
  const silence = new AbortController();
  let timer = null;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), SILENCE_MS);
  };
  heard();
  try {
    const headers = { accept: "text/event-stream", ...keyHeaders() };
    if (lastId) headers["last-event-id"] = lastId;
    const response = await fetch(path, {
      headers,
      cache: "no-store",
      credentials: "same-origin",
      redirect: "error",
      signal: AbortSignal.any([signal, silence.signal, left.signal]),
    });
    if (!response.ok) throw await problemOf(response);
    signals.dispatchEvent(new CustomEvent("reached"));
    on.open();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const parser = new Parser(on.event);
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      parser.take(value);
    }
  } finally {
    clearTimeout(timer);
  }
}

/** The event stream format: fields by line, an empty line ends a message. */
export class Parser {
  constructor(deliver) {
    this.deliver = deliver;
    this.rest = "";
    this.clear();
  }

  clear() {
    this.message = { id: null, type: "message", data: null };
  }

  take(text) {
    this.rest += text;
    if (this.rest.length > MAX_BUFFER) throw new Error("a line past every bound");
    // A carriage return at the end may be half of a line's end.
    const lines = this.rest.split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop();
    for (const line of lines) this.line(line);
  }

  line(line) {
    if (line === "") {
      if (this.message.data !== null) this.deliver(this.message);
      this.clear();
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") {
      this.message.data = this.message.data === null ? value : `${this.message.data}\n${value}`;
    } else if (field === "event") this.message.type = value;
    else if (field === "id" && !value.includes("\0")) this.message.id = value;
  }
}
