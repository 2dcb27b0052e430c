// Who asks to be let in, and who is. Owns approving, rejecting and removing. Everything that a device
// says of itself is its own claim, and is shown as a stranger's text.

import { call, of } from "../api.js";
import { fill, h, reconcile } from "../dom.js";
import { ask } from "../dialog.js";
import { count, when } from "../format.js";
import { guarded } from "../guard.js";
import { coalesce } from "../live.js";
import { announce, box, complain, problemBox, toast } from "../notify.js";
import { row, table } from "../paging.js";
import { UP, refusal } from "../status.js";
import { inert, plain } from "../text.js";

const PENDING = [["Device"], ["From", "tight"], ["Asks for"], ["Since", "tight"], ["(Decide)", "act"]];
/** A device that asks while nobody is on watch is in no event. */
const LOOK_MS = 5000;
const PAIRED = [["Device"], ["From", "tight"], ["May"], ["Since", "tight"], ["(Remove)", "act"]];

export function devices({ name, signal, deployment }) {
  let now = deployment;
  let loaded = false;
  const pending = table("Devices that ask to be let in", PENDING);
  const paired = table("Devices that are let in", PAIRED);
  const unreadable = h("div");
  const waiting = h("div", { class: "card" }, pending.node, unreadable);
  const inside = h("div", { class: "card" }, paired.node);
  const noneAsks = nobody("Nobody is asking", "A browser that opens the gateway’s page without being known appears here.");
  const noneIsIn = nobody("Nobody is let in yet", "Press Open to let this browser in.");
  const place = h("div");
  const parts = h("div", { class: "stack wide" }, part("Asking to be let in", waiting), part("Let in", inside));
  const again = coalesce(look, signal);

  async function look() {
    try {
      show(await call("GET", of(name, "/devices"), { signal }));
      loaded = true;
      fill(place);
      parts.hidden = false;
    } catch (problem) {
      if (signal.aborted || problem?.status === 401) return;
      if (!problem?.errors) throw problem;
      parts.hidden = !loaded;
      fill(place, problemBox(problem, { need: "read", retry: again }));
    }
  }

  function show(list) {
    reconcile(pending.body, list.pending, (it) => it.request_id, makePending);
    reconcile(paired.body, list.paired, (it) => it.device_id, makePaired);
    const unread = list.unreadable_pending > 0 && h("div", { class: "padded" }, box("warn", `${count(list.unreadable_pending, "more request")} could not be read, and so cannot be approved from here.`));
    fill(unreadable, unread);
    begin(waiting, list.pending.length > 0 ? pending.node : noneAsks);
    begin(inside, list.paired.length > 0 ? paired.node : noneIsIn);
  }

  const context = () => ({ name, signal, again });
  function makePending(it) {
    const { node, cells } = row(PENDING);
    const [device, from, asks, since, act] = cells;
    const label = it.device_id.slice(0, 12);
    fill(device, identity(it), !it.is_new && h("span", { class: "chip bad" }, "known device, asks for more"));
    from.append(inert(it.address ?? "unknown", 80));
    asks.append(chips(it.roles), chips(it.scopes));
    since.append(when(it.requested_at, "unknown"));
    const yes = guarded("Let in", { class: "compact primary", icon: "check", "aria-label": `Let in device ${label}` }, () => approve(context(), it));
    const no = guarded("Reject", { class: "compact", "aria-label": `Reject device ${label}` }, () => reject(context(), it));
    act.append(h("div", { class: "row" }, yes, no));
    const update = () => {
      for (const button of [yes, no]) button.refuse(refusal("approve", now));
    };
    return { node, update };
  }

  function makePaired(it) {
    const { node, cells } = row(PAIRED);
    const [device, from, may, since, act] = cells;
    fill(device, identity(it));
    from.append(inert(it.address ?? "unknown", 80));
    may.append(chips(it.roles), chips(it.scopes));
    since.append(when(it.paired_at, "unknown"));
    const out = guarded("Remove", { class: "compact danger", "aria-label": `Remove device ${it.device_id.slice(0, 12)}` }, () => remove(context(), it));
    act.append(h("div", { class: "row" }, out));
    return { node, update: () => out.refuse(refusal("approve", now)) };
  }

  look();
  const timer = setInterval(() => !document.hidden && loaded && UP.includes(now.status) && again(), LOOK_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
  return {
    node: h("section", { "aria-label": "Devices" }, h("h2", { class: "unseen" }, "Devices"), place, parts),
    update(next) {
      const changed = next.status !== now.status;
      now = next;
      if (!changed) return;
      for (const body of [pending.body, paired.body]) for (const it of body.kept?.values() ?? []) it.update();
      again();
    },
    event(event) {
      if (/^(pairing_|approve_|auto_)/.test(event.type)) again();
    },
    look: again,
  };
}

function part(title, card) {
  return h("section", { class: "stack", "aria-label": title }, h("h3", null, title), card);
}

/** Makes a node the first of a card's. One that is it already stays: the focus may be in it. */
function begin(card, node) {
  if (card.firstChild !== node) card.firstChild.replaceWith(node);
}

function nobody(title, text) {
  return h("div", { class: "empty" }, h("h3", null, title), h("p", null, text));
}

/** A device: its key's hash, which it cannot choose, before what it says of itself. */
function identity(it) {
  const claims = [it.display_name, it.platform].filter(Boolean).flatMap((text, index) => [index > 0 && ", ", inert(text, 120)]);
  return [h("span", { class: "mono", title: plain(it.device_id, 128) }, inert(it.device_id.slice(0, 12), 20)), h("span", { class: "sub" }, claims.length > 0 ? ["says it is ", claims] : "says nothing of itself")];
}

function chips(list) {
  return h("div", { class: "chips" }, (list ?? []).map((it) => h("span", { class: "chip" }, inert(it, 80))));
}

async function approve({ name, signal, again }, it) {
  try {
    const answer = await call("POST", of(name, "/approve"), { body: { request_id: it.request_id }, signal });
    const left = (answer.pending ?? []).find((other) => other.request_id === it.request_id);
    if (left) toast("The device was not let in", { tone: "warn", more: left.reason });
    else announce("The device is let in");
  } catch (problem) {
    complain(problem, "approve");
  }
  again();
}

async function reject({ name, signal, again }, it) {
  try {
    await call("POST", of(name, "/reject"), { body: { request_id: it.request_id }, signal });
    announce("The device is rejected");
  } catch (problem) {
    complain(problem, "approve");
  }
  again();
}

async function remove({ name, again }, it) {
  await ask({
    title: "Remove this device?",
    text: [h("p", null, "Device ", h("span", { class: "mono" }, inert(it.device_id.slice(0, 12), 20)), " is let in no more. It can ask again.")],
    submit: "Remove",
    tone: "danger",
    need: "approve",
    work: (_, signal) => call("DELETE", of(name, `/devices/${encodeURIComponent(it.device_id)}`), { signal }),
  });
  again();
}
