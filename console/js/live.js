// What happens, as it happens. Owns the one stream of events of this tab and its state, and says
// when a page has to look for itself. Refuses to hold a connection for a tab that nobody sees: the
// browser has only six for one server.

import { get } from "./api.js";
import { follow } from "./stream.js";

/** Tells `event` (with the event as detail), `state` and `look` (what is shown may be old). */
export const live = new EventTarget();

const HIDDEN_MS = 20_000;
let running = null;
let state = "off";
let opened = 0;
let hiding = null;

export function liveState() {
  return state;
}

function say(name, detail) {
  live.dispatchEvent(new CustomEvent(name, { detail }));
}

function become(next) {
  if (state === next) return;
  state = next;
  say("state", next);
}

function open() {
  if (running) return;
  running = new AbortController();
  become("waiting");
  const on = {
    event(message) {
      try {
        say("event", JSON.parse(message.data));
      } catch {
        // No event of the contract's shape: the page looks for itself.
        say("look");
      }
    },
    state(next) {
      become(next);
      // Without an id to resume from, what happened before the stream was open is not in it.
      if (next === "live") {
        opened += 1;
        if (opened > 1) say("look");
      }
    },
    gone: () => say("look"),
    refused: () => become("off"),
  };
  follow("/v1/events", running.signal, on);
}

function close() {
  running?.abort();
  running = null;
  become("off");
}

function visibility() {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(close, HIDDEN_MS);
  else open();
}

/** Begins to follow. */
export function startLive() {
  document.addEventListener("visibilitychange", visibility);
  visibility();
}

/** Ends it, at signing out. */
export function stopLive() {
  document.removeEventListener("visibilitychange", visibility);
  clearTimeout(hiding);
  close();
  opened = 0;
}

/** Listens until the page is left. */
export function listen(name, signal, handler) {
  live.addEventListener(name, (event) => handler(event.detail), { signal });
}

/**
 * A function that runs `work` soon, once for however many calls, and never twice at a time: a
 * storm of events is one look. What fails is left to the next look.
 */
export function coalesce(work, signal, gap = 250) {
  let busy = false;
  let again = false;
  const run = async () => {
    if (signal.aborted) return;
    again = false;
    try {
      await work();
    } catch {
      // The page shows what it knows; the banner says that the server is away.
    }
    busy = again && !signal.aborted;
    if (busy) setTimeout(run, gap * 2);
  };
  return () => {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    setTimeout(run, gap);
  };
}

/** Follows an operation without a deployment of its own until it has ended. */
export async function untilEnded(id, signal, tell) {
  for (;;) {
    const operation = await get(`/v1/operations/${encodeURIComponent(id)}`, signal);
    tell(operation);
    if (operation.status !== "running" || operation.interrupted) return operation;
    await new Promise((resolve) => setTimeout(resolve, 1000));
    if (signal.aborted) throw signal.reason;
  }
}
