// Who may do what. Owns listing, making and revoking tokens. A new token is shown once and kept
// nowhere here.

import { start } from "../api.js";
import { button, fill, h, reconcile } from "../dom.js";
import { ask, tell } from "../dialog.js";
import { field, secretOnce, tick } from "../forms.js";
import { when } from "../format.js";
import { guarded } from "../guard.js";
import { coalesce } from "../live.js";
import { problemBox, toast } from "../notify.js";
import { Pages, firstLook, moreButton, row, table } from "../paging.js";
import { heading } from "../router.js";
import * as rules from "../rules.js";
import { lacks } from "../session.js";
import { inert, plain } from "../text.js";

const COLUMNS = [["Token"], ["May"], ["Within"], ["Expires"], ["Last used"], ["(Revoke)", "act"]];
const SCOPES = [
  ["read", "Read", "See deployments, events, logs and backups."],
  ["deploy", "Deploy", "Launch, stop, start, update, back up, restore."],
  ["connect", "Connect", "Open a gateway, and let browsers in."],
  ["destroy", "Destroy", "Remove deployments and backups."],
  ["admin", "Admin", "Everything, and tokens, deliveries, audit."],
];
const LIVES = [["30", "In 30 days"], ["7", "In 7 days"], ["90", "In 90 days"], ["365", "In a year"], ["", "Never"]];

export function tokensPage({ main, signal }) {
  const pages = new Pages("/v1/tokens", () => ({}), signal);
  const place = h("div", { class: "card" });
  const list = table("Tokens", COLUMNS);
  const more = moreButton(pages, show, "tokens");
  const again = coalesce(async () => {
    if (await pages.again()) show();
  }, signal, 0);
  const make = button("Make a token", { icon: "plus", class: "primary" }, async () => {
    await makeToken();
    again();
  });

  function show() {
    if (pages.items.length === 0) {
      fill(place, h("div", { class: "empty" }, h("h2", null, "No token was made yet"), h("p", null, "Give each front end and each person one of their own, with no more than they need.")));
      return;
    }
    reconcile(list.body, pages.items, (it) => it.id, makeRow);
    more.update();
    if (!list.node.isConnected) fill(place, list.node, more);
  }

  function makeRow() {
    const { node, cells } = row(COLUMNS);
    const [label, may, within, expires, used, act] = cells;
    let token = null;
    const revoke = guarded("Revoke…", { class: "compact danger" }, async () => {
      await revokeAsked(token);
      again();
    });
    act.append(h("div", { class: "row" }, revoke));
    return {
      node,
      update(it) {
        token = it;
        const dead = it.revoked_at || (it.expires_at && Date.parse(it.expires_at) < Date.now());
        revoke.setAttribute("aria-label", `Revoke… ${plain(it.label, 120)}`);
        fill(label, inert(it.label, 120), h("span", { class: "sub" }, "made ", when(it.created_at), it.created_by && [" by ", inert(it.created_by, 80)]));
        fill(may, h("div", { class: "chips" }, it.scopes.map((scope) => h("span", { class: "chip" }, inert(scope, 80)))));
        fill(within, limitsOf(it));
        fill(expires, it.revoked_at ? h("span", null, h("b", null, "revoked "), when(it.revoked_at)) : it.expires_at ? [dead && h("b", null, "expired "), when(it.expires_at)] : "never");
        fill(used, when(it.last_used_at, "never"));
        revoke.hidden = Boolean(it.revoked_at);
      },
    };
  }

  const reason = lacks("tokens");
  fill(main, heading("Tokens", { about: "Each is stored as a hash, shown once, and can be revoked at any time.", actions: reason ? [] : [make] }), place);
  if (reason) fill(place, h("div", { class: "padded" }, problemBox({ message: "Tokens are for administrators.", remedy: reason })));
  else firstLook(pages, place, show, "tokens");
}

function limitsOf(it) {
  const limits = it.limits ?? {};
  const parts = [
    it.name_prefix && `names ${it.name_prefix}…`,
    limits.deployments != null && `${limits.deployments} deployments`,
    limits.launches != null && `${limits.launches} launches at once`,
    limits.monthly_price != null && `${limits.monthly_price} a month`,
    ...["targets", "sizes", "regions"].map((key) => limits[key]?.length && `${key}: ${limits[key].join(", ")}`),
    it.server_credentials && "the server’s own keys",
  ].filter(Boolean);
  return parts.length > 0 ? parts.map((part) => h("div", null, inert(part, 200))) : h("span", { class: "soft" }, "no limits");
}

const split = (text) => text.split(/[\s,]+/).filter(Boolean);
const whole = (text) => (/^\d{1,9}$/.test(text) && Number(text) > 0 ? null : "A whole number above 0.");
const listOf = (text) => (split(text).every((it) => /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(it)) ? null : "Words with commas between them.");

async function makeToken() {
  const label = field({ name: "label", label: "What it is for", required: true, maxlength: 80, missing: "Say what it is for.", hint: "You will know it by this when you look here again.", placeholder: "front end" });
  const scopes = SCOPES.map(([scope, name, hint]) => ({ scope, ...tick({ name: `scope ${scope}`, label: name, hint, checked: scope === "read" }) }));
  const events = field({ name: "events", label: "Or only events from outside of", check: rules.name, hint: "A deployment’s name: the token can post that one’s progress and nothing else." });
  const prefix = field({ name: "name_prefix", label: "Only names that begin with", check: (text) => (/^[a-z0-9][a-z0-9-]{0,39}$/.test(text) ? null : "A name’s beginning is a–z, 0–9 and -."), placeholder: "team-" });
  const life = field({ name: "life", label: "Expires", plain: true, value: "30", options: LIVES });
  const deployments = field({ name: "deployments", label: "Most deployments", inputmode: "numeric", check: whole });
  const launches = field({ name: "launches", label: "Most launches at once", inputmode: "numeric", check: whole });
  const price = field({ name: "monthly_price", label: "Most US dollars a month", inputmode: "numeric", check: whole });
  const targets = field({ name: "targets", label: "Only these targets", check: listOf, hint: "With commas." });
  const sizes = field({ name: "sizes", label: "Only these sizes", check: listOf, hint: "With commas." });
  const regions = field({ name: "regions", label: "Only these regions", check: listOf, hint: "With commas." });
  const own = tick({ name: "server_credentials", label: "May use the server’s own provider keys", hint: "Launches without a key of their own are then paid by the server’s." });
  const check = label.check;
  label.check = () => {
    const right = check();
    const any = events.value() || scopes.some((it) => it.value());
    if (right && !any) label.say("Tick at least one thing that it may do.");
    return right && Boolean(any);
  };
  const made = await ask({
    title: "Make a token",
    more: [
      label.node,
      h("fieldset", { class: "group" }, h("legend", null, "What it may do"), scopes.map((it) => it.node)),
      h("div", { class: "pair" }, prefix.node, life.node),
      h("details", { class: "fold" }, h("summary", null, "Limits ", h("span", { class: "soft" }, "none unless said")), h("div", null, h("div", { class: "pair" }, deployments.node, launches.node, price.node, targets.node, sizes.node, regions.node), own.node, events.node)),
    ],
    checked: [label, events, prefix, life, deployments, launches, price, targets, sizes, regions],
    submit: "Make it",
    need: "tokens",
    work: (_, signal) => {
      const body = { label: label.value(), scopes: scopes.filter((it) => it.value()).map((it) => it.scope) };
      if (events.value()) body.scopes = [`events:${events.value()}`];
      if (prefix.value()) body.name_prefix = prefix.value();
      if (life.value()) body.expires_at = new Date(Date.now() + Number(life.value()) * 86_400_000).toISOString();
      const limits = {};
      for (const it of [deployments, launches, price]) if (it.value()) limits[it.name] = Number(it.value());
      for (const it of [targets, sizes, regions]) if (it.value()) limits[it.name] = split(it.value());
      if (Object.keys(limits).length > 0) body.limits = limits;
      if (own.value()) body.server_credentials = true;
      return start("POST", "/v1/tokens", body, signal);
    },
  });
  if (made?.token) await tell("The new token", h("p", null, "Whoever holds it can do what it may. Hand it over by a way that you trust."), secretOnce("Token", made.token));
}

async function revokeAsked(token) {
  const done = await ask({
    title: "Revoke this token?",
    text: [h("p", null, "“", inert(token.label, 120), "” is refused from now on, and so are sessions made with it. This cannot be undone.")],
    submit: "Revoke",
    tone: "danger",
    need: "tokens",
    work: (_, signal) => start("DELETE", `/v1/tokens/${encodeURIComponent(token.id)}`, undefined, signal),
  });
  if (done) toast("The token is revoked", { tone: "good" });
}
