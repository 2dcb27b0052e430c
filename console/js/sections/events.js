// What happened to a deployment. Owns its events, newest first, each as the server told it. The API
// lists them oldest first, so that the newest are at the end of its pages: all are read, to a bound.

import { of } from "../api.js";
import { fill, h, reconcile } from "../dom.js";
import { clock, title, when } from "../format.js";
import { Pages, firstLook, moreButton } from "../paging.js";
import { eventTone } from "../status.js";
import { inert } from "../text.js";

/** The most that are read at once, and the most that are shown. */
const READ = 4000;
const MOST = 1000;

export function events({ name, signal }) {
  const pages = new Pages(of(name, "/events"), () => ({}), signal);
  const place = h("div", { class: "card" });
  const feed = h("ol", { class: "feed", "aria-label": `Events of ${name}, newest first` });
  const more = moreButton(pages, show, "events");

  function show() {
    const newest = [...pages.items].sort((a, b) => b.sequence - a.sequence).slice(0, MOST);
    if (newest.length === 0) {
      fill(place, h("div", { class: "empty" }, h("h2", null, "Nothing has happened yet"), h("p", null, "Events appear here by themselves.")));
      return;
    }
    reconcile(feed, newest, (it) => it.id, makeEvent);
    more.update();
    if (!feed.isConnected) fill(place, feed, more);
  }

  async function rest() {
    while (pages.next && pages.items.length < READ) await pages.more(200);
    show();
  }

  firstLook(pages, place, show, "read").then(rest).catch(() => {});
  return {
    node: h("section", { "aria-label": "Events" }, h("h2", { class: "unseen" }, "Events"), place),
    event(event) {
      if (!pages.loaded || pages.items.some((it) => it.id === event.id)) return;
      pages.items.unshift(event);
      show();
    },
    look: () => pages.again().then((fresh) => fresh && rest()).catch(() => {}),
  };
}

function makeEvent(it) {
  const outside = it.source === "external" && h("span", { class: "chip" }, "from outside");
  const what = h("div", null, h("div", { class: "row" }, h("b", null, inert(title(it.type), 60)), outside), h("span", { class: "soft" }, inert(it.message, 1000)));
  const at = h("div", { class: "at" }, clock(it.timestamp), " · ", when(it.timestamp));
  return { node: h("li", { "data-tone": eventTone(it.type) }, what, at) };
}
