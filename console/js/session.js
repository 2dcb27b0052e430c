// Who is signed in. Owns the session's state and what it may do. Refuses to keep the token: it is
// handed to the server once, which answers with a cookie that no script can read, and a key.

import { call, Problem } from "./api.js";
import { forgetKey, keepKey } from "./key.js";

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
  keepKey(answer?.key ?? null);
  principal = answer?.principal ?? null;
  if (!principal) await load();
}

/** Ends the session. */
export async function signOut() {
  await call("DELETE", "/v1/session", { quiet: true });
  forget();
}

/** The server no longer knows the session. */
export function forget() {
  forgetKey();
  principal = null;
}

/** What is needed, and the scope that meets it. */
const SCOPES = { read: "read", deploy: "deploy", approve: "connect", access: "connect", destroy: "destroy", tokens: "admin", admin: "admin" };
/** What is not offered to whoever comes without a token: any program of the machine can be that. */
const WITH_TOKEN = ["access", "destroy", "tokens"];

/** Whether they may do what needs this. */
export function can(need) {
  return lacks(need) === null;
}

/** Why something is not offered; null: it is. `admin` holds every scope. */
export function lacks(need) {
  if (isOpen() && WITH_TOKEN.includes(need)) {
    return "Not offered while the server runs without a token. Start it with OPENCLAW_PIPELINE_API_TOKEN to have it.";
  }
  const scopes = principal?.scopes ?? [];
  if (scopes.includes("admin") || scopes.includes(SCOPES[need])) return null;
  return `Needs the scope “${SCOPES[need]}”, which your token does not have.`;
}
