// Who is told what happens. Owns the list of endpoints and adding one. The secret of a new one is
// shown once and kept nowhere here.

import { start } from "../api.js";
import { button, fill, h, reconcile } from "../dom.js";
import { ask, tell } from "../dialog.js";
import { field, secretOnce } from "../forms.js";
import { count, span } from "../format.js";
import { coalesce, listen } from "../live.js";
import { Pages, firstLook, moreButton, row, table } from "../paging.js";
import { heading } from "../router.js";
import { receiver } from "../rules.js";
import { lacks } from "../session.js";
import { badge } from "../status.js";
import { inert } from "../text.js";
import { problemBox } from "../notify.js";

const COLUMNS = [["Receiver"], ["Status"], ["Gets"], ["Waiting", "num"], ["Behind", "num"], ["Dead", "num"]];
const LOOK_MS = 5000;

/** How far behind an endpoint is. */
export function lag(endpoint) {
  const oldest = Date.parse(endpoint.oldest_pending_at ?? "");
  return Number.isNaN(oldest) ? "—" : span((Date.now() - oldest) / 1000);
}

/** What an endpoint is sent, in words. */
export function filterText({ events, names }) {
  const types = events?.length ? events.join(", ") : "every event";
  return names?.length ? `${types} of ${names.map((it) => `${it}…`).join(", ")}` : types;
}

export function deliveriesPage({ main, signal }) {
  const pages = new Pages("/v1/webhooks", () => ({}), signal);
  const place = h("div", { class: "card" });
  const list = table("Endpoints", COLUMNS);
  const more = moreButton(pages, show, "endpoints");
  const again = coalesce(async () => {
    if (await pages.again()) show();
  }, signal, 1000);
  const add = button("Add an endpoint", { icon: "plus", class: "primary" }, async () => {
    await addEndpoint();
    again();
  });

  function show() {
    if (pages.items.length === 0) {
      fill(place, h("div", { class: "empty" }, h("h2", null, "Nobody is told yet"), h("p", null, "Add an endpoint, and every event is sent to it: signed, in order, and tried again for a day if it is away.")));
      return;
    }
    reconcile(list.body, pages.items, (it) => it.id, makeRow);
    more.update();
    if (!list.node.isConnected) fill(place, list.node, more);
  }

  const reason = lacks("admin");
  fill(main, heading("Deliveries", { about: "Where events are sent. An endpoint that is away loses nothing and delays nobody else.", actions: reason ? [] : [add] }), place);
  if (reason) {
    fill(place, h("div", { class: "padded" }, problemBox({ message: "Deliveries are for administrators.", remedy: reason })));
    return;
  }
  firstLook(pages, place, show, "admin");
  listen("event", signal, () => pages.loaded && again());
  listen("look", signal, () => pages.loaded && again());
  const timer = setInterval(() => !document.hidden && pages.loaded && again(), LOOK_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
}

// The link is made once: one that is made anew under a pressed mouse button loses the click.
function makeRow(first) {
  const { node, cells } = row(COLUMNS, { class: "go" });
  const [url, state, gets, waiting, behind, dead] = cells;
  url.append(h("a", { href: `/deliveries/${encodeURIComponent(first.id)}` }, inert(first.url, 300)));
  return {
    node,
    update(it) {
      if (it.is_frontend && !url.querySelector(".sub")) url.append(h("span", { class: "sub" }, "the front end (FRONTEND_URL)"));
      fill(state, badge(it.status), it.reason && h("span", { class: "sub" }, inert(it.reason, 200)));
      fill(gets, inert(filterText(it), 300));
      fill(waiting, String(it.pending));
      fill(behind, lag(it));
      fill(dead, it.dead > 0 ? h("b", null, String(it.dead)) : "0");
    },
  };
}

const split = (text) => text.split(/[\s,]+/).filter(Boolean);

async function addEndpoint() {
  const fields = [
    field({ name: "url", label: "Address", required: true, check: receiver, placeholder: "https://…", hint: "https, and an address that everybody can reach. Events are posted there as JSON." }),
    field({ name: "events", label: "Only these events", placeholder: "completed, failed", hint: "Their types, with commas. Empty: all.", check: (text) => (split(text).every((it) => /^[a-z_]{1,40}$/.test(it)) ? null : "Types are lower case with _, such as completed, failed.") }),
    field({ name: "names", label: "Only names that begin with", placeholder: "team-", hint: "With commas. Empty: all.", check: (text) => (split(text).every((it) => /^[a-z0-9][a-z0-9-]{0,39}$/.test(it)) ? null : "A name’s beginning is a–z, 0–9 and -.") }),
  ];
  const added = await ask({
    title: "Add an endpoint",
    fields,
    submit: "Add",
    need: "admin",
    work: ({ url, events, names }, signal) => {
      const body = { url };
      if (events) body.events = split(events);
      if (names) body.names = split(names);
      return start("POST", "/v1/webhooks", body, signal);
    },
  });
  if (added?.secret) await tellSecret(added.secret);
}

/** Shows an endpoint's secret, once. */
export function tellSecret(secret) {
  return tell("Its signing secret", h("p", null, "The receiver checks each delivery’s signature with it (Standard Webhooks)."), secretOnce("Secret", secret));
}

/** "14 dead deliveries". */
export function deadText(n) {
  return count(n, "dead delivery", "dead deliveries");
}
