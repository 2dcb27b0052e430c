// Lists by page. Owns going on from a cursor, looking again at as much as is shown, and the button
// for more. Refuses to load without end by itself.

import { get, withQuery } from "./api.js";
import { fill, h } from "./dom.js";
import { complain, problemBox } from "./notify.js";

const PAGE = 50;
const LARGEST = 200;

export class Pages {
  /** `path` and `query()` say what is listed. */
  constructor(path, query, signal) {
    Object.assign(this, { path, query, signal });
    this.items = [];
    this.next = null;
    this.loaded = false;
    this.round = 0;
  }

  async page(cursor, limit) {
    return get(withQuery(this.path, { ...this.query(), limit, cursor }), this.signal);
  }

  /** Looks again, at as many as are shown. False: a later look was quicker. */
  async again() {
    this.round += 1;
    const mine = this.round;
    const wanted = Math.max(this.items.length, PAGE);
    const items = [];
    let cursor = null;
    do {
      const answer = await this.page(cursor, Math.min(LARGEST, Math.max(1, wanted - items.length)));
      items.push(...answer.items);
      cursor = answer.next_cursor ?? null;
    } while (cursor && items.length < wanted);
    if (mine !== this.round) return false;
    Object.assign(this, { items, next: cursor, loaded: true });
    return true;
  }

  /** The next page. */
  async more(limit = PAGE) {
    if (!this.next) return;
    const [mine, cursor] = [this.round, this.next];
    const answer = await this.page(cursor, limit);
    if (mine !== this.round || cursor !== this.next) return;
    this.items.push(...answer.items);
    this.next = answer.next_cursor ?? null;
  }

  /** Another list: nothing of the old one is shown. */
  clear() {
    this.round += 1;
    this.items = [];
    this.next = null;
    this.loaded = false;
  }
}

/** The button that loads more; it hides where there is no more. `show()` renders what is loaded. */
export function moreButton(pages, show, what) {
  const node = h("div", { class: "more", hidden: true });
  const load = h("button", { type: "button" }, `Load more ${what}`);
  node.append(load);
  load.addEventListener("click", async () => {
    if (load.getAttribute("aria-busy")) return;
    load.setAttribute("aria-busy", "true");
    try {
      await pages.more();
      show();
    } catch (problem) {
      complain(problem);
    }
    load.removeAttribute("aria-busy");
  });
  node.update = () => {
    node.hidden = !pages.next;
  };
  return node;
}

/** The first look at a list: a line while it lasts, and a problem in its place if it fails. */
export async function firstLook(pages, place, show, need) {
  fill(place, h("p", { class: "padded soft", role: "status" }, "Loading…"));
  try {
    if (await pages.again()) show();
  } catch (problem) {
    if (pages.signal.aborted) return;
    if (problem?.status === 401) return;
    if (!problem?.errors) throw problem;
    fill(place, h("div", { class: "padded" }, problemBox(problem, { need, retry: () => firstLook(pages, place, show, need) })));
  }
}

/** A table with its caption; `columns` are `[label, class]`. Rows become cards where it is narrow. */
export function table(caption, columns, look = "cards") {
  const body = h("tbody", { role: "rowgroup" });
  const head = columns.map(([label, name]) =>
    h("th", { scope: "col", role: "columnheader", class: name ?? null }, label.startsWith("(") ? h("span", { class: "unseen" }, label.slice(1, -1)) : label),
  );
  const node = h(
    "table",
    { role: "table", class: look },
    h("caption", { class: "unseen" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)),
    body,
  );
  return { node, body };
}

/** A row: the first cell is its heading. `cells` are what the cells hold, in the columns' order. */
export function row(columns, props = {}) {
  const cells = columns.map(() => h("div"));
  const around = columns.map(([label, name], index) =>
    index === 0
      ? h("th", { scope: "row", role: "rowheader", class: name ?? null }, cells[index])
      : h("td", { role: "cell", class: name ?? null, "data-label": label.startsWith("(") ? null : label }, cells[index]),
  );
  return { node: h("tr", { role: "row", ...props }, around), cells };
}
