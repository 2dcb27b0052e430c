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

const COLUMNS = [["When"], ["Who"], ["What"], ["Deployment"], ["Outcome"], ["From", "tight"]];
const OUTCOMES = [["", "Any"], ["allowed", "Allowed"], ["denied", "Denied"], ["failed", "Failed"]];

export function auditPage({ main, query, signal }) {
  const filter = { actor: query.actor ?? "", name: query.name ?? "", outcome: query.outcome ?? "" };
  const pages = new Pages("/v1/audit", () => filter, signal);
  const place = h("div", { class: "card" });
  const list = table("Audit log, newest first", COLUMNS);
  const more = moreButton(pages, show, "entries");
  const actor = field({ name: "actor", label: "Who", plain: true, type: "search", value: filter.actor, placeholder: "A token’s id" });
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
    reconcile(list.body, pages.items, (it) => it.sequence, makeRow);
    more.update();
    if (!list.node.isConnected) fill(place, list.node, more);
  }

  const reason = lacks("admin");
  fill(main, heading("Audit", { about: "Who did what, and who was denied it." }), reason ? null : form, place);
  if (reason) fill(place, h("div", { class: "padded" }, problemBox({ message: "The audit log is for administrators.", remedy: reason })));
  else firstLook(pages, place, show, "admin");
}

function makeRow(it) {
  const { node, cells } = row(COLUMNS);
  const [at, who, what, where, outcome, from] = cells;
  const sub = (text, max) => (text ? h("span", { class: "sub" }, inert(text, max)) : "");
  at.append(when(it.at), h("span", { class: "sub" }, moment(it.at)));
  who.append(inert(it.actor_label || it.actor || "nobody", 120), it.actor_label ? sub(it.actor, 80) : "");
  what.append(inert(it.action, 120), sub(it.detail, 300));
  where.append(it.name ? inert(it.name, 60) : "—");
  // Denials that are alike are one line a minute.
  const often = it.times > 1 ? `${it.times} times` : "";
  outcome.append(badge(String(it.outcome)), sub([it.status || "by command", often].filter(Boolean).join(", "), 60));
  from.append(inert(it.address || "—", 80));
  return { node };
}
