// One deployment. Owns its head, its actions and its sections, and knowing it as it is now. Its
// sections own what they show; they are handed the deployment whenever it changes.

import { get, of, withQuery } from "../api.js";
import { fill, h, icon } from "../dom.js";
import { when } from "../format.js";
import { guarded } from "../guard.js";
import { coalesce, listen } from "../live.js";
import { announce, box } from "../notify.js";
import { setTitle } from "../router.js";
import { badge, isActive, refusal } from "../status.js";
import { inert } from "../text.js";
import * as actions from "../actions.js";
import { overview } from "../sections/overview.js";
import { events } from "../sections/events.js";
import { logs } from "../sections/logs.js";
import { devices } from "../sections/devices.js";
import { backups } from "../sections/backups.js";
import { history } from "../sections/history.js";

const SECTIONS = [
  ["", "Overview", overview],
  ["events", "Events", events],
  ["logs", "Logs", logs],
  ["devices", "Devices", devices],
  ["backups", "Backups", backups],
  ["history", "History", history],
];

/** Between two events: the ends of steps. */
const LOOK_MS = 2500;

export async function deploymentPage({ main, params, signal }) {
  const { name } = params;
  setTitle(name);
  const title = h("h1", { tabindex: "-1" }, inert(name, 80));
  const state = h("span");
  const glance = h("div", { class: "glance" });
  const notice = h("div", { class: "stack" });
  const tabs = h("nav", { class: "tabs", "aria-label": `Sections of ${name}` });
  const place = h("div");
  const bar = actionBar(name, signal, refresh, notice);
  const back = h("a", { class: "back", href: "/" }, icon("back"), "Deployments");
  const loading = h("p", { class: "soft", role: "status" }, "Loading…");
  fill(main, back, h("div", { class: "title" }, title, state), loading);

  let deployment = null;
  let section = null;
  let leave = null;

  const again = coalesce(refresh, signal);
  async function refresh() {
    const fresh = await look();
    if (deployment && deployment.status !== fresh.status) announce(`${name} is ${fresh.status}`);
    deployment = fresh;
    showHead(fresh);
    section?.update?.(fresh);
  }

  async function look() {
    try {
      return await get(of(name), signal);
    } catch (problem) {
      // What is destroyed is not there any more. Whoever watched it go is shown how it ended.
      if (problem?.status !== 404 || !deployment) throw problem;
      const known = deployment.status === "destroyed" && !isActive(deployment.operation);
      const operation = known ? deployment.operation : await lastOperation();
      if (deployment.status !== "destroyed") {
        fill(notice, box("", h("b", null, `${name} is destroyed`), h("span", null, "Its name is free again. Backups that were made of it are kept."), h("div", { class: "row" }, h("a", { class: "button compact", href: "/" }, "See the deployments"))));
      }
      return { ...deployment, status: "destroyed", url: null, urls_elsewhere: [], operation };
    }
  }

  /** What was done to it last: it may have begun and ended between two looks. */
  async function lastOperation() {
    const { items } = await get(withQuery("/v1/operations", { deployment: name, limit: 1 }), signal);
    return items.length > 0 ? get(`/v1/operations/${encodeURIComponent(items[0].id)}`, signal) : deployment.operation;
  }

  function showHead(it) {
    const big = badge(it.status, true);
    if (state.textContent !== big.textContent) fill(state, big);
    fill(glance, facts(it));
    bar.update(it);
  }

  function showTabs(current) {
    const links = SECTIONS.map(([key, label]) => {
      const link = h("a", { href: `/deployments/${encodeURIComponent(name)}${key && `/${key}`}`, "data-section": key }, label);
      if (key === current) link.setAttribute("aria-current", "page");
      return link;
    });
    // The focus stays on the link that was followed.
    const had = document.activeElement?.dataset?.section;
    fill(tabs, links);
    links.find((it) => it.dataset.section === had)?.focus({ preventScroll: true });
  }

  function open(key) {
    leave?.abort();
    leave = new AbortController();
    signal.addEventListener("abort", () => leave.abort(), { once: true });
    const [, label, make] = SECTIONS.find(([it]) => it === key) ?? SECTIONS[0];
    setTitle(key ? `${label} of ${name}` : name);
    showTabs(key);
    section = make({ name, signal: leave.signal, refresh, deployment });
    fill(place, section.node);
    section.update?.(deployment);
  }

  listen("event", signal, (event) => {
    if (event.name !== name) return;
    again();
    section?.event?.(event);
  });
  listen("look", signal, () => {
    again();
    section?.look?.();
  });
  const timer = setInterval(() => {
    if (!document.hidden && isActive(deployment?.operation)) again();
  }, LOOK_MS);
  signal.addEventListener("abort", () => clearInterval(timer));

  try {
    await refresh();
  } catch (problem) {
    if (problem?.status !== 404) throw problem;
    fill(main, back, h("div", { class: "empty" }, h("h1", { tabindex: "-1" }, "There is no such deployment"), h("p", null, inert(problem.message)), h("a", { class: "button", href: "/" }, "See the deployments")));
    main.querySelector("h1").focus();
    return null;
  }
  loading.replaceWith(glance, bar.node, notice, tabs, place);
  open(params.section ?? "");
  return {
    move(next) {
      if (next.name !== name) return false;
      open(next.section ?? "");
      return true;
    },
  };
}

function facts(it) {
  const part = (label, value) => value && h("span", null, `${label} `, h("b", null, inert(value, 200)));
  return [
    h("span", null, "on ", h("b", null, inert(it.target))),
    part("OpenClaw", it.version),
    part("model", it.model),
    it.url && part("at", it.url),
    it.protected && h("span", { class: "row" }, icon("lock"), h("b", null, "Protected")),
    h("span", null, "changed ", when(it.updated_at)),
  ].filter(Boolean);
}

/** The buttons. Each says why it cannot be pressed where it cannot. */
function actionBar(name, signal, refresh, notice) {
  let deployment = null;
  const now = () => deployment;
  const make = (key, label, props, work) => [key, guarded(label, props, () => work({ name, signal, refresh, deployment: now(), notice }))];
  const buttons = [
    make("open", "Open", { icon: "open", class: "primary" }, actions.open),
    make("stop", "Stop", { icon: "stop" }, actions.stop),
    make("start", "Start", { icon: "play" }, actions.start),
    make("restart", "Restart", { icon: "restart" }, actions.restart),
    make("update", "Update…", { icon: "update" }, actions.update),
    make("backup", "Back up", { icon: "archive" }, actions.backup),
    make("rotate", "New keys…", { icon: "key" }, actions.rotate),
    make("tunnel", "Tunnel…", { icon: "lock" }, actions.tunnel),
    make("untunnel", "Stop the tunnel…", { icon: "lock" }, actions.untunnel),
    make("destroy", "Destroy…", { icon: "trash", class: "danger end" }, actions.destroy),
  ];
  const node = h("div", { class: "actions", role: "group", "aria-label": "Actions" }, buttons.map(([, it]) => it));
  const resting = ["stopped", "failed", "degraded"];
  return {
    node,
    update(next) {
      deployment = next;
      for (const [key, it] of buttons) {
        it.refuse(refusal(key, next));
        // Only one of the two means anything at a time.
        if (key === "start") it.hidden = !resting.includes(next.status);
        if (key === "stop") it.hidden = next.status === "stopped";
        if (key === "tunnel") it.hidden = !next.expose || next.expose === "tunnel";
        if (key === "untunnel") it.hidden = next.expose !== "tunnel";
      }
    },
  };
}
