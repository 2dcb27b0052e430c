// The session's key. Owns where it is kept: in this origin's storage, which no other server's pages
// see, also not one on another port of this host, which is sent the cookie. Refuses to be enough: it
// is nothing without the cookie, which no script can read.

let kept = null;

/** Keeps the key of a session that was opened just now. */
export function keepKey(key) {
  kept = key;
  try {
    if (key) localStorage.setItem("session-key", key);
    else localStorage.removeItem("session-key");
  } catch {
    // Storage is off: the session lasts as long as this page.
  }
}

/** Forgets it: the session is over. */
export function forgetKey() {
  keepKey(null);
}

/** The headers that go with every call. */
export function keyHeaders() {
  let key = kept;
  try {
    // Another tab may have signed in, or out.
    key = localStorage.getItem("session-key") ?? null;
  } catch {
    // What this page was told has to do.
  }
  return key ? { "x-session-key": key } : {};
}
