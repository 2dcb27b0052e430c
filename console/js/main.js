// The console's beginning. Owns the frame around every page: navigation, the theme, who is signed
// in, whether the page is live, and what is said when the server is away.

import { fill, h, icon, iconButton } from "./dom.js";
import { signals } from "./api.js";
import * as session from "./session.js";
import { live, startLive, stopLive } from "./live.js";
import { announce, complain, toast } from "./notify.js";
import { define, go, isPage, render } from "./router.js";
import { deploymentsPage } from "./pages/deployments.js";
import { deploymentPage } from "./pages/deployment.js";
import { launchPage } from "./pages/launch.js";
import { deliveriesPage } from "./pages/deliveries.js";
import { endpointPage } from "./pages/endpoint.js";
import { tokensPage } from "./pages/tokens.js";
import { auditPage } from "./pages/audit.js";
import { signInPage } from "./pages/signin.js";

const PAGES = [
  { pattern: /^\/$/, page: deploymentsPage, nav: "deployments" },
  { pattern: /^\/new$/, page: launchPage, nav: "deployments" },
  { pattern: /^\/deployments\/(?<name>[^/]+)(?:\/(?<section>events|logs|devices|backups|history))?$/, page: deploymentPage, nav: "deployments" },
  { pattern: /^\/deliveries$/, page: deliveriesPage, nav: "deliveries" },
  { pattern: /^\/deliveries\/(?<id>[^/]+)$/, page: endpointPage, nav: "deliveries" },
  { pattern: /^\/tokens$/, page: tokensPage, nav: "tokens" },
  { pattern: /^\/audit$/, page: auditPage, nav: "audit" },
  { pattern: /^\/sign-in$/, page: signInPage, nav: "" },
];

const NAV = [
  ["deployments", "/", "Deployments", "boxes", "read"],
  ["deliveries", "/deliveries", "Deliveries", "send", "admin"],
  ["tokens", "/tokens", "Tokens", "key", "tokens"],
  ["audit", "/audit", "Audit", "list", "admin"],
];

/** The frame as it is for who is signed in, or for nobody. */
function frame() {
  const who = session.who();
  const nav = document.getElementById("nav");
  nav.hidden = !who;
  fill(
    nav,
    NAV.filter(([, , , , need]) => session.can(need)).map(([key, href, label, name]) => h("a", { href, "data-nav": key }, icon(name), label)),
  );
  document.getElementById("live").hidden = !who;
  const account = document.getElementById("account");
  account.hidden = !who;
  if (!who) return;
  if (session.isOpen()) {
    fill(account, h("div", { class: "who" }, h("b", null, "Open server"), h("span", { class: "soft little" }, "Nobody needs a token on this machine.")));
    return;
  }
  const scopes = who.scopes?.join(", ") ?? "";
  fill(
    account,
    h("div", { class: "who" }, h("b", null, who.label), h("span", { class: "soft little" }, scopes)),
    iconButton(`Sign out (${who.label})`, "out", null, leave),
  );
}

async function leave() {
  try {
    await session.signOut();
  } catch (problem) {
    if (problem?.status !== 401) {
      complain(problem);
      return;
    }
  }
  session.forget();
  stopLive();
  frame();
  go("/sign-in");
  announce("Signed out");
}

/** Where to go after signing in. Never to another origin, and never in a circle. */
function afterSignIn(next) {
  return next && isPage(next) && !next.startsWith("/sign-in") ? next : "/";
}

/** Signed in: the frame, the stream, and the page that was wanted. */
function entered(next) {
  frame();
  startLive();
  go(afterSignIn(next), { replace: true });
}

function turnedAway() {
  if (location.pathname === "/sign-in") return;
  const was = session.who() !== null;
  session.forget();
  stopLive();
  frame();
  const next = location.pathname + location.search;
  go(next === "/" ? "/sign-in" : `/sign-in?next=${encodeURIComponent(next)}`, { replace: true });
  if (was) toast("Your session has ended. Sign in again to go on where you were.", { tone: "warn" });
}

const THEMES = [
  ["auto", "auto", "Theme: as the system"],
  ["light", "sun", "Theme: light"],
  ["dark", "moon", "Theme: dark"],
];

function themes() {
  const toggle = document.getElementById("theme");
  const show = () => {
    const now = document.documentElement.dataset.theme ?? "auto";
    const [, name, label] = THEMES.find(([key]) => key === now) ?? THEMES[0];
    toggle.setAttribute("aria-label", label);
    toggle.title = label;
    fill(toggle, icon(name));
  };
  toggle.addEventListener("click", () => {
    const now = document.documentElement.dataset.theme ?? "auto";
    const [next, , label] = THEMES[(THEMES.findIndex(([key]) => key === now) + 1) % THEMES.length];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      if (next === "auto") localStorage.removeItem("theme");
      else localStorage.setItem("theme", next);
    } catch {
      // Storage is off: the choice lasts as long as the page.
    }
    show();
    announce(label);
  });
  show();
}

const LIVE = { live: "Live", waiting: "Reconnecting…", off: "Paused" };

function liveness() {
  const node = document.getElementById("live");
  const show = () => {
    const state = liveNow;
    node.dataset.state = state;
    const text = LIVE[state];
    if (node.textContent !== text) node.textContent = text;
  };
  let liveNow = "off";
  live.addEventListener("state", (event) => {
    liveNow = event.detail;
    show();
  });
  show();
}

function banner() {
  const node = document.getElementById("banner");
  let away = false;
  const show = () => {
    const offline = navigator.onLine === false;
    node.hidden = !offline && !away;
    if (node.hidden) fill(node);
    else if (!node.firstChild) {
      const text = offline ? "This machine is offline. What is shown may be old." : "The server does not answer. What is shown may be old; trying again by itself.";
      fill(node, icon("alert"), h("span", null, text));
    }
  };
  signals.addEventListener("unreachable", () => {
    away = true;
    show();
  });
  signals.addEventListener("reached", () => {
    away = false;
    show();
  });
  addEventListener("online", show);
  addEventListener("offline", show);
}

async function begin() {
  themes();
  liveness();
  banner();
  let last = 0;
  signals.addEventListener("waiting", ({ detail }) => {
    if (Date.now() - last < 5000) return;
    last = Date.now();
    toast(`The server asks to wait ${Math.ceil(detail.seconds)} s. Going on by itself after that.`, { tone: "warn" });
  });
  signals.addEventListener("unauthorized", turnedAway);
  signals.addEventListener("entered", ({ detail }) => entered(detail));
  define(PAGES);
  for (;;) {
    try {
      await session.load();
      break;
    } catch (problem) {
      if (await waitOrLeave(problem)) return;
    }
  }
  frame();
  if (session.who()) {
    startLive();
    if (location.pathname === "/sign-in") go(afterSignIn(new URLSearchParams(location.search).get("next")), { replace: true });
    else render(true);
  } else if (location.pathname === "/sign-in") render(true);
  else turnedAway();
}

/** The server cannot say who this is: show why, and try again on request. */
function waitOrLeave(problem) {
  return new Promise((resolve) => {
    const main = document.getElementById("main");
    const again = h("button", { type: "button", class: "primary", on: { click: () => resolve(false) } }, "Try again");
    fill(main, h("div", { class: "empty" }, h("h1", { tabindex: "-1" }, "The server does not answer"), h("p", null, problem.message ?? String(problem)), again));
    addEventListener("online", () => resolve(false), { once: true });
  });
}

begin();
