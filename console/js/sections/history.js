// What was done to a deployment. Owns its operations, newest first. The list has no steps: those of
// one are asked for when it is unfolded.

import { get, of } from "../api.js";
import { fill, h, reconcile } from "../dom.js";
import { lasted, moment, title, when, words } from "../format.js";
import { coalesce } from "../live.js";
import { complain } from "../notify.js";
import { Pages, firstLook, moreButton } from "../paging.js";
import { operationBadge } from "../status.js";
import { inert } from "../text.js";

export function history({ name, signal }) {
  const pages = new Pages(of(name, "/operations"), () => ({}), signal);
  const place = h("div");
  const list = h("div", { class: "stack" });
  const more = moreButton(pages, show, "operations");
  const again = coalesce(async () => {
    if (await pages.again()) show();
  }, signal);

  function show() {
    if (pages.items.length === 0) {
      fill(place, h("div", { class: "card empty" }, h("h3", null, "Nothing was done yet")));
      return;
    }
    const newest = [...pages.items].sort((a, b) => String(b.created_at).localeCompare(String(a.created_at)));
    reconcile(list, newest, (it) => it.id, () => makeOperation(signal));
    more.update();
    if (!list.isConnected) fill(place, list, more);
  }

  firstLook(pages, place, show, "read");
  return {
    node: h("section", { "aria-label": "History" }, h("h2", { class: "unseen" }, "History of operations"), place),
    event: again,
    look: again,
  };
}

function makeOperation(signal) {
  const head = h("span", { class: "row" });
  const body = h("div");
  const node = h("details", { class: "fold" }, h("summary", null, head), body);
  let seen = "";
  let listed = null;
  const look = async () => {
    if (!node.open || !listed) return;
    try {
      showBody(await get(`/v1/operations/${encodeURIComponent(listed.id)}`, signal));
    } catch (problem) {
      if (!signal.aborted) complain(problem, "read");
    }
  };
  node.addEventListener("toggle", look);
  function showBody(it) {
    const error = it.error && h("p", null, h("b", null, inert(it.error.message, 1200)), it.error.remedy && h("span", { class: "sub" }, inert(it.error.remedy, 800)));
    const steps = it.steps.map((step) =>
      h("li", { class: "row apart" }, h("span", null, h("b", null, inert(title(step.name), 80)), " ", h("span", { class: "soft" }, inert(step.message ?? "", 400))), h("span", { class: "soft little nowrap" }, `${words(step.status)}${step.ended_at ? `, ${lasted(step.started_at, step.ended_at)}` : ""}`)),
    );
    fill(
      body,
      error,
      h("ol", { class: "stack" }, steps),
      h("p", { class: "soft little" }, moment(it.created_at), it.ended_at && `, took ${lasted(it.created_at, it.ended_at)}`, " · ", h("span", { class: "mono" }, inert(it.id, 80))),
    );
  }
  return {
    node,
    update(it) {
      const now = JSON.stringify(it);
      if (now === seen) return;
      seen = now;
      listed = it;
      fill(head, title(it.kind), " ", operationBadge(it), h("span", { class: "soft" }, when(it.created_at)));
      if (it.steps?.length > 0) showBody(it);
      else look();
    },
  };
}
