// Who did what. Owns reading the audit log, denials included, with its filters.

import { fill, h, reconcile } from "../dom.js";
import { field } from "../forms.js";
import { moment, when } from "../format.js";
import { problemBox } from "../notify.js";
import { Pages, firstLook, moreButton, row, table } from "../paging.js";
import { heading, setQuery } from "../router.js";
import { lacks } from "../session.js";
import { badge } from "../status.js";
import { inert } from "../text.js";

const COLUMNS = [["When"], ["Who"], ["What"], ["Deployment"], ["Outcome"], ["From"]];
const OUTCOMES = [["", "Any"], ["allowed", "Allowed"], ["denied", "Denied"], ["failed", "Failed"]];

export function auditPage({ main, query, signal }) {
  const filter = { actor: query.actor ?? "", name: query.name ?? "", outcome: query.outcome ?? "" };
  const pages = new Pages("/v1/audit", () => filter, signal);
  const place = h("div", { class: "card" });
  const list = table("Audit log, newest first", COLUMNS);
  const more = moreButton(pages, show, "entries");
  const actor = field({ name: "actor", label: "Who", plain: true, type: "search", value: filter.actor });
  const name = field({ name: "name", label: "Deployment", plain: true, type: "search", value: filter.name });
  const outcome = field({ name: "outcome", label: "Outcome", plain: true, value: filter.outcome, options: OUTCOMES });
  const narrow = (event) => {
    event?.preventDefault();
    Object.assign(filter, { actor: actor.value(), name: name.value(), outcome: outcome.value() });
    setQuery(filter);
    pages.clear();
    firstLook(pages, place, show, "admin");
  };
  outcome.input.addEventListener("change", narrow);
  const form = h("form", { class: "filters", role: "search", "aria-label": "Audit log", on: { submit: narrow } }, actor.node, name.node, outcome.node, h("button", { type: "submit" }, "Filter"));

  function show() {
    if (pages.items.length === 0) {
      fill(place, h("div", { class: "empty" }, h("h2", null, "Nothing matches"), h("p", null, "No entry has this actor, deployment and outcome.")));
      return;
    }
    reconcile(list.body, pages.items, (it) => it.id, makeRow);
    more.update();
    if (!list.node.isConnected) fill(place, list.node, more);
  }

  const reason = lacks("admin");
  fill(main, heading("Audit", { about: "Who did what, and who was denied it." }), reason ? null : form, place);
  if (reason) fill(place, h("div", { class: "padded" }, problemBox({ message: "The audit log is for administrators.", remedy: reason })));
  else firstLook(pages, place, show, "admin");
}

/** The first of these that is there: the same thing by the names that it may have. */
const first = (it, ...names) => names.map((key) => it[key]).find((value) => value !== null && value !== undefined && value !== "");

function makeRow(it) {
  const { node, cells } = row(COLUMNS);
  const [at, who, what, where, outcome, from] = cells;
  const stamp = first(it, "at", "timestamp", "created_at");
  at.append(when(stamp), h("span", { class: "sub" }, moment(stamp)));
  const actor = first(it, "actor", "actor_label", "token");
  who.append(inert(typeof actor === "object" ? first(actor, "label", "id") : actor ?? "nobody", 120));
  what.append(inert(first(it, "action", "what", "call") ?? "—", 120), it.detail ? h("span", { class: "sub" }, inert(it.detail, 300)) : "");
  where.append(it.name ? h("a", { href: `/deployments/${encodeURIComponent(it.name)}` }, inert(it.name, 60)) : "—");
  outcome.append(badge(String(it.outcome)), it.status ? h("span", { class: "sub" }, String(it.status)) : "");
  from.append(inert(first(it, "address", "remote_address", "from") ?? "—", 80));
  return { node };
}
