// Talking to the server. Owns how a call is made and what an answer means: problems with their
// remedy, waiting where the server asks for it, and the same idempotency key for the same try.
// Refuses to keep anything: no cache, no token, no answer outlives its page.

import { keyHeaders } from "./key.js";

/** A call that did not succeed, said for the reader. */
export class Problem extends Error {
  constructor(status, body, more = {}) {
    super(body?.detail || body?.error || body?.title || more.detail || `The server answered ${status}.`);
    this.status = status;
    this.kind = String(body?.type ?? "").replace("urn:openclaw-pipeline:", "");
    this.remedy = body?.remedy ?? more.remedy ?? null;
    this.errors = Array.isArray(body?.errors) ? body.errors : [];
    this.requestId = body?.request_id ?? null;
    this.retryAfter = more.retryAfter ?? null;
    this.oldest = body?.oldest ?? null;
  }
}

/** Tells `unauthorized`, `reached`, `unreachable` and `waiting` (with `detail.seconds`). */
export const signals = new EventTarget();

function tell(name, detail) {
  signals.dispatchEvent(new CustomEvent(name, { detail }));
}

const TIMEOUT_MS = 120_000;
/** The longest that a page waits by itself when it is asked to. */
const PATIENCE_S = 60;

/** A key for one try of one piece of work. `randomUUID` is missing over plain HTTP. */
export function idempotencyKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function seconds(response) {
  const value = Number(response.headers.get("retry-after"));
  return Number.isFinite(value) && value > 0 ? value : 1;
}

/** What a response that is no success means. */
export async function problemOf(response) {
  let body = null;
  try {
    body = await response.json();
  } catch {
    // Something between here and the server answered instead of it.
  }
  const retryAfter = response.status === 429 || response.status === 503 ? seconds(response) : null;
  return new Problem(response.status, body, { retryAfter });
}

/** Waits, unless the page is left. */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const end = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", end);
      resolve();
    }, ms);
    if (signal?.aborted) end();
    else signal?.addEventListener("abort", end, { once: true });
  });
}

/** One try: the response, with its text where that is an answer. */
async function attempt(method, path, options) {
  const headers = { accept: "application/json", ...keyHeaders() };
  const init = { method, headers, cache: "no-store", credentials: "same-origin", redirect: "error" };
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  init.signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
  if (options.body !== undefined) {
    headers["content-type"] = "application/json";
    init.body = JSON.stringify(options.body);
  }
  if (options.key) headers["idempotency-key"] = options.key;
  try {
    const response = await fetch(path, init);
    const text = response.ok && response.status !== 204 ? await response.text() : "";
    tell("reached");
    return { response, text };
  } catch (error) {
    if (options.signal?.aborted) throw error;
    // The browser gives calls up when the machine's network changes.
    if (options.again > 0 && !timeout.aborted) return null;
    tell("unreachable");
    throw new Problem(0, null, {
      detail: timeout.aborted
        ? "The server took longer than two minutes to answer."
        : "The server cannot be reached.",
      remedy: "Check that it runs and that this machine is connected, then try again.",
    });
  }
}

/**
 * One call. `options`: `body`, `signal`, `key` (idempotency), `quiet` (a 401 is the caller's).
 * Answers the parsed body, or null where there is none; throws a `Problem`.
 */
export async function call(method, path, options = {}) {
  // What changes something is not asked for once more, unless the server would know it again.
  let again = method === "GET" || options.key ? 2 : 0;
  for (let tries = 0; ; tries += 1) {
    const answered = await attempt(method, path, { ...options, again });
    if (!answered) {
      again -= 1;
      await pause(500, options.signal);
      continue;
    }
    const { response, text } = answered;
    if (response.ok) return text ? JSON.parse(text) : null;
    const problem = await problemOf(response);
    if (problem.status === 429 && tries < 3 && problem.retryAfter <= PATIENCE_S) {
      tell("waiting", { seconds: problem.retryAfter });
      await pause(problem.retryAfter * 1000, options.signal);
      continue;
    }
    if (problem.status === 401 && !options.quiet) tell("unauthorized");
    throw problem;
  }
}

export const get = (path, signal) => call("GET", path, { signal });

/** Work that the server starts: a repetition by accident is the same work. */
export const start = (method, path, body, signal) =>
  call(method, path, { body, signal, key: idempotencyKey() });

/** A path with its query; what is empty is left out. */
export function withQuery(path, query) {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") search.set(key, value);
  }
  const text = search.toString();
  return text ? `${path}?${text}` : path;
}

/** The path of a deployment's resource. */
export function of(name, rest = "") {
  return `/v1/deployments/${encodeURIComponent(name)}${rest}`;
}
