// A deployment's backups. Owns listing, making, restoring and deleting them.

import * as actions from "../actions.js";
import { of } from "../api.js";
import { fill, h, reconcile } from "../dom.js";
import { bytes, clock, moment, when } from "../format.js";
import { guarded } from "../guard.js";
import { coalesce } from "../live.js";
import { Pages, firstLook, moreButton, row, table } from "../paging.js";
import { refusal } from "../status.js";
import { inert, plain } from "../text.js";

const COLUMNS = [["Made"], ["Why"], ["Version", "tight"], ["Size", "num"], ["SHA-256", "tight"], ["(What to do)", "act"]];

export function backups(context) {
  const { name, signal } = context;
  let now = context.deployment;
  const pages = new Pages(of(name, "/backups"), () => ({}), signal);
  const list = table(`Backups of ${name}`, COLUMNS);
  const place = h("div", { class: "card" });
  const more = moreButton(pages, show, "backups");
  const make = guarded("Back up now", { icon: "archive" }, () => actions.backup(context));
  const again = coalesce(async () => {
    if (await pages.again()) show();
  }, signal);

  function show() {
    if (pages.items.length === 0) {
      fill(place, h("div", { class: "empty" }, h("h3", null, "No backup yet"), h("p", null, "One is made before every update, and whenever you ask for it. Each is verified and sealed.")));
      return;
    }
    reconcile(list.body, pages.items, (it) => it.id, makeRow);
    more.update();
    if (!list.node.isConnected) fill(place, list.node, more);
  }

  function makeRow(it) {
    const { node, cells } = row(COLUMNS);
    const [made, why, version, size, hash, act] = cells;
    made.append(when(it.created_at), h("span", { class: "sub" }, clock(it.created_at)));
    why.append(inert(it.reason, 200));
    version.append(inert(it.version ?? "—", 60));
    size.append(bytes(it.bytes));
    hash.append(h("span", { class: "mono", title: plain(it.sha256, 80) }, inert(String(it.sha256).slice(0, 12), 20)));
    const which = `the backup of ${moment(it.created_at).textContent ?? ""}, ${plain(it.sha256).slice(0, 12)}`;
    const back = guarded("Restore…", { class: "compact", "aria-label": `Restore… ${which}` }, () => actions.restore(context, it));
    const gone = guarded("Delete…", { class: "compact danger", "aria-label": `Delete… ${which}` }, async () => {
      await actions.deleteBackup(context, it);
      again();
    });
    act.append(h("div", { class: "row" }, back, gone));
    const update = () => {
      back.refuse(refusal("restore", now));
      gone.refuse(refusal("deleteBackup", now));
    };
    return { node, update };
  }

  firstLook(pages, place, show, "read");
  return {
    node: h("section", { class: "stack", "aria-label": "Backups" }, h("div", { class: "row apart" }, h("h2", null, "Backups"), make), place),
    update(next) {
      now = next;
      make.refuse(refusal("backup", next));
      if (pages.loaded) show();
    },
    event(event) {
      if (["backed_up", "updated", "restored"].includes(event.type)) again();
    },
    look: again,
  };
}
