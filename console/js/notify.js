// Telling the user. Owns notices, the spoken line for screen readers, and how a problem reads: a
// sentence and what to do. Refuses to interrupt: nothing here takes the focus.

import { h, icon, iconButton } from "./dom.js";
import { inert, plain } from "./text.js";
import { lacks } from "./session.js";

const STAY_MS = 9000;
const MOST = 4;

let unsaid = [];
let frame = 0;

/** Says a line to screen readers, politely. What comes at the same moment is said with it. */
export function announce(text) {
  const line = document.getElementById("announcer");
  // An unchanged text would not be read again.
  line.textContent = "";
  unsaid = [...unsaid, plain(text, 300)].slice(-MOST);
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    line.textContent = unsaid.splice(0).join(". ");
  });
}

const ICONS = { good: "check", bad: "alert", warn: "alert" };

/** A notice in the corner. `tone`: good, bad, warn or none; what went wrong stays until closed. */
export function toast(text, { tone = "", more = null } = {}) {
  const box = document.getElementById("toasts");
  const node = h("div", { class: `toast ${tone}`, role: tone === "bad" ? "alert" : "status" });
  const close = iconButton("Close this notice", "cross", { class: "quiet compact" }, () => node.remove());
  const body = h("div", null, inert(text, 600), more && h("span", { class: "soft" }, inert(more, 600)));
  while (box.children.length >= MOST) box.firstChild.remove();
  // A live region speaks of what is put into it once it is there.
  box.append(node);
  node.append(icon(ICONS[tone] ?? "info"), body, close);
  if (tone !== "bad") {
    let timer = setTimeout(() => node.remove(), STAY_MS);
    const hold = () => clearTimeout(timer);
    const go = () => {
      clearTimeout(timer);
      timer = setTimeout(() => node.remove(), STAY_MS / 2);
    };
    node.addEventListener("pointerenter", hold);
    node.addEventListener("focusin", hold);
    node.addEventListener("pointerleave", go);
    node.addEventListener("focusout", go);
  }
  return node;
}

/** What a problem says to do: the server's remedy, or what follows from the status. */
export function remedyOf(problem, need) {
  if (problem.remedy) return problem.remedy;
  if (problem.status === 403 && need) return lacks(need);
  if (problem.status === 429) return `Try again in ${problem.retryAfter ?? 1} s.`;
  if (problem.status >= 500) return "Try again; the server's log has more.";
  return null;
}

/** A problem as a notice. */
export function complain(problem, need) {
  if (problem?.name === "AbortError" || problem?.status === 401) return;
  toast(problem.message, { tone: "bad", more: remedyOf(problem, need) });
}

/** A box in the page. `parts` stand below its first line. */
export function box(tone, first, ...parts) {
  const name = { good: "check", warn: "alert", bad: "alert" }[tone] ?? "info";
  return h("div", { class: `note-box ${tone}` }, icon(name), h("div", null, first, ...parts));
}

/** A problem in the page, in place of what could not be shown. */
export function problemBox(problem, { need, retry } = {}) {
  const remedy = remedyOf(problem, need);
  const node = box(
    "bad",
    h("b", null, inert(problem.message, 800)),
    remedy && h("span", null, inert(remedy, 800)),
    problem.requestId && h("span", { class: "little" }, "Request ", h("code", null, inert(problem.requestId, 80))),
    retry && h("div", { class: "row" }, h("button", { type: "button", class: "compact", on: { click: retry } }, "Try again")),
  );
  node.setAttribute("role", "alert");
  return node;
}
