// Who is signed in. Owns the session's state and what it may do. Refuses to keep the token: it is
// handed to the server once, which answers with a cookie that no script can read.

import { call, Problem } from "./api.js";

let principal = null;

/** Who it is: `{ label, scopes, kind }`, or null. */
export function who() {
  return principal;
}

/** Whether the server runs without a token, on loopback. */
export function isOpen() {
  return principal?.kind === "open";
}

/** Asks the server who this is. False: sign in first. */
export async function load() {
  try {
    principal = (await call("GET", "/v1/session", { quiet: true })).principal ?? null;
  } catch (problem) {
    if (!(problem instanceof Problem) || problem.status !== 401) throw problem;
    principal = null;
  }
  return principal !== null;
}

/** Exchanges a token for a session. */
export async function signIn(token) {
  const answer = await call("POST", "/v1/session", { body: { token }, quiet: true });
  principal = answer?.principal ?? null;
  if (!principal) await load();
}

/** Ends the session. */
export async function signOut() {
  await call("DELETE", "/v1/session", { quiet: true });
  principal = null;
}

/** The server no longer knows the session. */
export function forget() {
  principal = null;
}

/** Whether a scope is held; `admin` holds all. */
export function can(scope) {
  const scopes = principal?.scopes ?? [];
  return scopes.includes("admin") || scopes.includes(scope);
}

/** Why something that needs a scope is not offered; null: it is. */
export function lacks(scope) {
  if (can(scope)) return null;
  if (isOpen()) {
    return "Not offered while the server runs without a token. Start it with OPENCLAW_PIPELINE_API_TOKEN to have it.";
  }
  return `Needs the scope “${scope}”, which your token does not have.`;
}
