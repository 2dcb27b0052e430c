// What a status means: its colour, and what may be done in it. Owns the console's one table of
// actions. Refuses to decide: it only spares a click that the server would refuse.

import { h } from "./dom.js";
import { lacks } from "./session.js";
import { title } from "./format.js";

const TONES = {
  launching: "busy", running: "good", degraded: "warn", updating: "busy", restarting: "busy",
  stopped: "idle", failed: "bad", destroying: "busy", destroyed: "idle",
  succeeded: "good", cancelled: "idle", interrupted: "warn",
  enabled: "good", disabled: "bad", delivered: "good", pending: "busy", dead: "bad",
  allowed: "good", denied: "bad",
};

/** The statuses of what is there; `destroyed` is there no more. */
export const STATUSES = ["launching", "running", "degraded", "updating", "restarting", "stopped", "failed", "destroying"];

export function tone(status) {
  return TONES[status] ?? "idle";
}

/** A status as a badge: its word, and a shape that says it without colour. */
export function badge(status, big = false) {
  return h("span", { class: `badge ${tone(status)}${big ? " big" : ""}` }, title(status));
}

/** The status of an operation; one that waits to be gone on with is not running. */
export function operationStatus(operation) {
  return operation.interrupted ? "interrupted" : operation.status;
}

export function operationBadge(operation) {
  const status = operationStatus(operation);
  const node = badge(status);
  // `running` is good for a deployment; for an operation it means that it is being worked on.
  if (status === "running") node.className = "badge busy";
  return node;
}

const EVENTS = {
  good: ["completed", "approve_success", "updated", "restarted", "started", "rotated", "backed_up", "restored", "cloudflare_ready"],
  bad: ["failed", "approve_failed"],
  warn: ["pairing_required", "cancelled"],
  idle: ["stopped", "destroyed"],
};

export function eventTone(type) {
  return Object.keys(EVENTS).find((key) => EVENTS[key].includes(type)) ?? "busy";
}

/** Whether an operation is being worked on. */
export function isActive(operation) {
  return operation?.status === "running" && !operation.interrupted;
}

/** The statuses of a gateway that can be asked. */
export const UP = ["running", "degraded"];

function busyWith(deployment) {
  if (!isActive(deployment.operation)) return null;
  return `A ${title(deployment.operation.kind).toLowerCase()} is under way. Wait for its end, or cancel it.`;
}

const GONE = "It is destroyed.";
const anywhere = (d) => (d.status === "destroyed" ? GONE : null);
const up = (d) => (UP.includes(d.status) ? null : `It is ${d.status}, not running.`);

/** What can be done: what it needs, and why its status does not allow it (null: it does). */
export const ACTIONS = {
  open: { need: "access", alone: false, why: up },
  stop: { need: "deploy", alone: true, why: (d) => (d.status === "stopped" ? "It is stopped already." : anywhere(d)) },
  start: { need: "deploy", alone: true, why: (d) => (d.status === "running" ? "It is running already." : anywhere(d)) },
  restart: { need: "deploy", alone: true, why: anywhere },
  update: { need: "deploy", alone: true, why: anywhere },
  rotate: { need: "deploy", alone: true, why: anywhere },
  tunnel: { need: "deploy", alone: true, why: up },
  untunnel: { need: "deploy", alone: true, why: up },
  backup: { need: "deploy", alone: true, why: anywhere },
  restore: { need: "deploy", alone: true, why: anywhere },
  destroy: { need: "destroy", alone: true, why: anywhere },
  deleteBackup: { need: "destroy", alone: false, why: () => null },
  approve: { need: "approve", alone: false, why: up },
  protect: { need: "admin", alone: false, why: anywhere },
  cancel: { need: "deploy", alone: false, why: () => null },
  resume: { need: "deploy", alone: false, why: () => null },
};

/** Why an action is not offered now; null: it is. */
export function refusal(action, deployment) {
  const { need, alone, why } = ACTIONS[action];
  if (action === "destroy" && deployment.protected) {
    const admin = lacks("admin");
    if (admin) return `It is protected. ${admin}`;
  }
  return lacks(need) ?? (alone ? busyWith(deployment) : null) ?? why(deployment);
}
