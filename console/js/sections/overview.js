// What a deployment is and what is happening to it. Owns the steps of its operation as they run,
// and the facts about it.

import { cancel, protect, resume } from "../actions.js";
import { fill, h, icon, reconcile } from "../dom.js";
import { clock, count, lasted, moment, title, when } from "../format.js";
import { guarded } from "../guard.js";
import { reachedBy } from "../machines.js";
import { announce, box } from "../notify.js";
import { titleOf } from "../credentials.js";
import { isActive, operationBadge, refusal } from "../status.js";
import { inert } from "../text.js";

const MARKS = { succeeded: "check", failed_clean: "cross", unknown: "alert", skipped: "skip" };
const SAYS = {
  pending: "to do", running: "running", succeeded: "done", skipped: "not needed",
  failed_clean: "failed", unknown: "interrupted",
};

export function overview(context) {
  const operation = operationCard(context);
  const about = aboutCard(context);
  return {
    node: h("div", { class: "columns" }, operation.node, about.node),
    update(deployment) {
      operation.update(deployment);
      about.update(deployment);
    },
  };
}

function operationCard(context) {
  const head = h("h2");
  const state = h("span");
  const line = h("p", { class: "soft little" });
  const bar = h("progress", { "aria-label": "Progress", max: "1", value: 0 });
  const steps = h("ol", { class: "steps" });
  const end = h("div", { class: "stack" });
  const node = h("section", { class: "card", "aria-label": "Operation" }, h("header", null, head, state), h("div", { class: "padded stack" }, line, bar, steps, end));
  let now = null;
  let ended = "";
  let spoken = "";
  // Only the time goes on between two looks.
  const timer = setInterval(() => {
    if (isActive(now)) for (const it of steps.kept?.values() ?? []) it.tick();
  }, 500);
  context.signal.addEventListener("abort", () => clearInterval(timer));
  return {
    node,
    update(deployment) {
      const it = deployment.operation;
      node.hidden = !it;
      if (!it) return;
      const changed = JSON.stringify(it) !== JSON.stringify(now);
      now = it;
      if (!changed) return;
      head.textContent = title(it.kind);
      fill(state, operationBadge(it));
      const done = it.steps.filter((step) => ["succeeded", "skipped"].includes(step.status)).length;
      fill(line, summary(it, done));
      bar.hidden = it.status !== "running";
      bar.max = it.steps.length || 1;
      bar.value = done;
      reconcile(steps, it.steps, (step) => step.name, makeStep);
      // A button that is made anew under a pressed mouse button loses the click: not at every step.
      const ends = JSON.stringify([it.id, it.status, it.interrupted, it.error, refusal("cancel", deployment), refusal("resume", deployment)]);
      if (ends !== ended) fill(end, ending(context, deployment, it));
      ended = ends;
      speak(it);
    },
  };

  function speak(it) {
    const at = it.steps.findIndex((step) => step.status === "running");
    const text = isActive(it) && at >= 0
      ? `Step ${at + 1} of ${it.steps.length}: ${it.steps[at].message ?? it.steps[at].name}`
      : `${title(it.kind)} ${it.interrupted ? "was interrupted" : it.status}`;
    // What stood there when the page was opened is read with the page.
    if (spoken && text !== spoken) announce(text);
    spoken = text;
  }
}

function summary(it, done) {
  if (it.status === "running") {
    return [`${done} of ${count(it.steps.length, "step")} done, begun `, when(it.created_at)];
  }
  return ["Begun ", moment(it.created_at), `, took ${lasted(it.created_at, it.ended_at)}`];
}

function makeStep() {
  const mark = h("span", { class: "mark" });
  const says = h("span", { class: "unseen" });
  const what = h("div", { class: "what" });
  const took = h("span", { class: "took" });
  const node = h("li", null, mark, what, took);
  let step = null;
  const tick = () => {
    if (step?.status === "running") took.textContent = lasted(step.started_at, null);
  };
  return {
    node,
    tick,
    update(next) {
      step = next;
      node.dataset.status = next.status;
      const drawing = next.status === "running" ? icon("restart") : MARKS[next.status] && icon(MARKS[next.status]);
      drawing?.classList.toggle("spin", next.status === "running");
      fill(mark, drawing);
      says.textContent = `${SAYS[next.status] ?? next.status}: `;
      fill(what, says, h("b", null, inert(title(next.name), 80)), next.message && h("span", { class: "sub" }, inert(next.message, 600)));
      took.textContent = next.ended_at ? lasted(next.started_at, next.ended_at) : "";
      took.title = next.started_at ? `Begun ${clock(next.started_at).textContent}` : "";
      tick();
    },
  };
}

/** What stands below the steps: why it failed, and how to go on or stop. */
function ending(context, deployment, it) {
  const stop = () => guarded("Cancel it", { class: "compact" }, () => cancel(context, it.id)).refuse(refusal("cancel", deployment));
  if (it.interrupted) {
    const go = guarded("Go on", { class: "compact primary", icon: "play" }, () => resume(context, it.id)).refuse(refusal("resume", deployment));
    return box("warn", h("b", null, "It was interrupted"), h("span", null, "Nothing is lost: going on looks at what is there first, and does the rest."), h("div", { class: "row" }, go, stop()));
  }
  if (it.status === "running") return h("div", { class: "row" }, stop());
  if (!it.error) return null;
  const { message, remedy } = it.error;
  return box("bad", h("b", null, inert(message, 1200)), remedy && h("span", null, inert(remedy, 800)));
}

function aboutCard(context) {
  const facts = h("dl", { class: "facts" });
  const foot = h("div", { class: "stack" });
  const node = h("section", { class: "card", "aria-label": "About" }, h("header", null, h("h2", null, "About")), h("div", { class: "padded stack" }, facts, foot));
  let seen = "";
  let guarding = "";
  return {
    node,
    update(it) {
      const now = JSON.stringify(it);
      if (now === seen) return;
      seen = now;
      fill(facts, rows(it).map(([label, value]) => value && [h("dt", null, label), h("dd", null, value)]));
      const guards = JSON.stringify([it.protected, refusal("protect", it)]);
      if (guards === guarding) return;
      guarding = guards;
      const flip = guarded(it.protected ? "Unprotect" : "Protect", { class: "compact", icon: "lock" }, () => protect(context, !it.protected));
      flip.refuse(refusal("protect", it));
      fill(foot, h("div", { class: "row apart" }, h("span", { class: "soft little" }, it.protected ? "Only an admin can destroy it." : "Whoever may destroy can destroy it."), flip));
    },
  };
}

function rows(it) {
  const text = (value) => (value ? inert(value, 300) : null);
  const approval = it.approval;
  const keys = it.credentials ?? [];
  return [
    ["Address", it.url ? h("span", { class: "mono" }, inert(it.url, 300)) : h("span", { class: "soft" }, it.status === "destroyed" ? "none any more" : "none yet")],
    ["On its way", it.readable_on_its_way && it.expose ? h("span", { class: "soft" }, "Plain HTTP can be read on its way. A tunnel gives it HTTPS.") : null],
    ["Elsewhere", (it.urls_elsewhere ?? []).length > 0 ? it.urls_elsewhere.map((url) => h("div", { class: "mono" }, inert(url, 300))) : null],
    ["Target", text(it.target)],
    ["Machine", it.region && (it.address ? h("span", { class: "mono" }, inert(it.address, 60)) : h("span", { class: "soft" }, "not made yet"))],
    ["Region", text(it.region)],
    ["Size", text(it.size)],
    ["Reached by", it.expose && text(reachedBy(it.expose))],
    ["Port", text(it.port)],
    ["Version", text(it.version)],
    ["Image", it.image ? h("span", { class: "mono" }, inert(it.image, 300)) : null],
    ["Model", text(it.model)],
    ["Keys", keys.length > 0 ? h("div", { class: "chips" }, keys.map((key) => h("span", { class: "chip" }, inert(titleOf(key), 80)))) : h("span", { class: "soft" }, "none")],
    ["Approval", approval && approvalText(approval)],
    ["Proven", it.proven_at ? when(it.proven_at) : h("span", { class: "soft" }, "not yet")],
    ["Launched", when(it.created_at)],
  ];
}

function approvalText({ mode, window_s: seconds, devices }) {
  if (mode === "auto") return `Automatic: up to ${count(devices, "browser")} within ${Math.round(seconds / 60)} min of the launch`;
  return mode === "ask" ? "A person is asked about each browser" : "Off: browsers are approved by hand";
}
