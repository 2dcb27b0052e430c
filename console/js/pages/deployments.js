// The deployments. Owns the list, its filters, and keeping each row as its deployment is now. Looks
// again at what an event names instead of guessing from it.

import { get, of } from "../api.js";
import { fill, h, icon, reconcile } from "../dom.js";
import { targets } from "../describe.js";
import { field } from "../forms.js";
import { count, title, when } from "../format.js";
import { guardedLink } from "../guard.js";
import { coalesce, listen } from "../live.js";
import { announce } from "../notify.js";
import { Pages, firstLook, moreButton, row, table } from "../paging.js";
import { heading, setQuery } from "../router.js";
import { lacks } from "../session.js";
import { badge, isActive, STATUSES } from "../status.js";
import { inert } from "../text.js";

const COLUMNS = [["Name"], ["Status"], ["Target", "tight"], ["Version", "tight"], ["Model", "roomy"], ["Changed", "num end"]];
const BUSY = ["launching", "updating", "restarting", "destroying"];
/** How many are looked at closer at once. */
const CLOSER = 8;
/** The most that a search by text looks through. */
const SEARCHED = 2000;

export function deploymentsPage({ main, query, signal }) {
  const filter = { status: query.status ?? "", target: query.target ?? "", q: query.q ?? "" };
  const pages = new Pages("/v1/deployments", () => ({ status: filter.status, target: filter.target }), signal);
  const place = h("div", { class: "card" });
  const summary = h("p", { class: "little soft", role: "status" });
  const list = table("Deployments", COLUMNS, "cards brief");
  const more = moreButton(pages, show, "deployments");
  const rows = new Map();

  const status = field({ name: "status", label: "Status", plain: true, value: filter.status, options: [["", "Any"], ...STATUSES.map((it) => [it, title(it)])] });
  const target = field({ name: "target", label: "Target", plain: true, value: filter.target, options: [["", "Any"], ...(filter.target ? [filter.target] : [])] });
  const text = field({ name: "q", label: "Search", plain: true, value: filter.q, type: "search", placeholder: "Name, model or address", class: "grow" });
  targets().then((known) => {
    for (const it of known) if (it !== filter.target) target.input.append(h("option", { value: it }, it));
  });
  const filters = h("form", { class: "filters", role: "search", "aria-label": "Deployments", on: { submit: (event) => event.preventDefault() } }, text.node, status.node, target.node);
  const narrow = () => {
    filter.status = status.value();
    filter.target = target.value();
    setQuery(filter);
    pages.clear();
    summary.textContent = "";
    firstLook(pages, place, show, "read").then(search);
  };
  status.input.addEventListener("change", narrow);
  target.input.addEventListener("change", narrow);
  text.input.addEventListener("input", () => {
    filter.q = text.value();
    setQuery(filter);
    if (pages.loaded) show();
    search();
  });

  // A search looks at what is loaded, so it loads more, up to a bound.
  const search = coalesce(async () => {
    while (filter.q && pages.next && pages.items.length < SEARCHED) {
      await pages.more(200);
      show();
    }
  }, signal);

  function matches(deployment) {
    const wanted = filter.q.toLowerCase();
    return !wanted || [deployment.name, deployment.model, deployment.url, deployment.version].some((it) => String(it ?? "").toLowerCase().includes(wanted));
  }

  // The list has no operations: those that are being worked on are looked at one by one, a few.
  function lookCloser() {
    const busy = pages.items.filter((it) => BUSY.includes(it.status) && it.operation === undefined);
    for (const it of busy.slice(0, CLOSER)) waiting.add(it.name);
    if (busy.length > 0) one();
  }

  function show() {
    const shown = pages.items.filter(matches);
    if (shown.length === 0) {
      summary.textContent = "";
      const narrowed = filter.q || filter.status || filter.target;
      fill(place, narrowed ? nothingFound() : nothingYet());
      return;
    }
    reconcile(list.body, shown, (it) => it.name, makeRow);
    more.update();
    if (!list.node.isConnected) fill(place, list.node, more);
    lookCloser();
    const many = count(shown.length, "deployment");
    summary.textContent = `${many}${pages.next ? " so far" : ""}${filter.q ? " found" : ""}`;
  }

  function nothingFound() {
    const clear = h("button", { type: "button" }, "Clear the filters");
    clear.addEventListener("click", () => {
      for (const it of [status, target, text]) it.input.value = "";
      filter.q = "";
      narrow();
      text.input.focus();
    });
    return h("div", { class: "empty" }, h("h2", null, "Nothing matches"), h("p", null, "No deployment has this status, target or text."), clear);
  }

  function makeRow(first) {
    const { node, cells } = row(COLUMNS, { class: "go" });
    const [name, state, where, version, model, changed] = cells;
    name.append(h("a", { href: `/deployments/${encodeURIComponent(first.name)}` }, inert(first.name)));
    let seen = null;
    const update = (it) => {
      const now = JSON.stringify(it);
      if (now === seen) return;
      const before = rows.get(it.name);
      if (before && before !== it.status) {
        announce(`${it.name} is ${it.status}`);
        node.classList.remove("fresh");
        requestAnimationFrame(() => node.classList.add("fresh"));
      }
      rows.set(it.name, it.status);
      seen = now;
      fill(state, badge(it.status), progressOf(it.operation));
      fill(where, inert(it.target), it.expose && h("span", { class: "sub" }, inert(it.expose)));
      fill(version, it.version ? inert(it.version, 60) : h("span", { class: "soft none" }, "—"));
      fill(model, it.model ? inert(it.model, 120) : h("span", { class: "soft none" }, "—"));
      fill(changed, when(it.updated_at));
    };
    return { node, update };
  }

  function progressOf(operation) {
    if (!operation || operation.status !== "running") return null;
    if (operation.interrupted) return h("span", { class: "sub" }, "Interrupted: open it to go on");
    const done = operation.steps.filter((it) => ["succeeded", "skipped"].includes(it.status)).length;
    const at = operation.steps.find((it) => it.status === "running");
    const bar = h("progress", { class: "mini", max: String(operation.steps.length || 1), value: done, "aria-label": `${title(operation.kind)} progress` });
    return [h("span", { class: "sub" }, at ? inert(at.message ?? at.name, 120) : "Begins…"), bar];
  }

  const again = coalesce(async () => {
    const before = new Map(pages.items.map((it) => [it.name, it.operation]));
    if (!(await pages.again())) return;
    // Until each is looked at again, its steps are those that were seen last.
    for (const it of pages.items) {
      if (!BUSY.includes(it.status) || it.operation) continue;
      it.operation = before.get(it.name);
      if (it.operation && waiting.size < CLOSER) waiting.add(it.name);
    }
    show();
    if (waiting.size > 0) one();
  }, signal);
  const waiting = new Set();
  const one = coalesce(async () => {
    const names = [...waiting];
    waiting.clear();
    // Many at once are one page's work.
    if (names.length > CLOSER || names.some((name) => !pages.items.some((it) => it.name === name))) {
      again();
      return;
    }
    await Promise.all(names.map(look));
    show();
  }, signal);

  async function look(name) {
    const at = () => pages.items.findIndex((it) => it.name === name);
    try {
      const fresh = await get(of(name), signal);
      const gone = (filter.status && fresh.status !== filter.status) || (filter.target && fresh.target !== filter.target);
      if (at() >= 0) pages.items.splice(at(), 1, ...(gone ? [] : [fresh]));
    } catch (problem) {
      if (at() < 0) return;
      if (problem?.status === 404) pages.items.splice(at(), 1);
      // Not to be looked at closer again and again.
      else pages.items[at()].operation ??= null;
    }
  }

  listen("event", signal, (event) => {
    if (!event.name || !pages.loaded) return;
    waiting.add(event.name);
    one();
  });
  listen("look", signal, () => pages.loaded && again());
  steady();
  // What an operation does between two events: its steps' ends.
  function steady() {
    const timer = setInterval(() => {
      if (document.hidden) return;
      for (const it of pages.items.filter((it) => isActive(it.operation)).slice(0, CLOSER)) {
        waiting.add(it.name);
        one();
      }
    }, 5000);
    signal.addEventListener("abort", () => clearInterval(timer));
  }

  fill(
    main,
    heading("Deployments", { actions: [guardedLink("Launch a gateway", "/new", "plus", lacks("deploy"), { class: "primary" })] }),
    filters,
    place,
    h("div", { class: "padded" }, summary),
  );
  firstLook(pages, place, show, "read").then(search);
}

function nothingYet() {
  const reason = lacks("deploy");
  return h(
    "div",
    { class: "empty" },
    h("img", { src: "/console/icon.svg", alt: "", width: "56", height: "56" }),
    h("h2", null, "Your first gateway is a minute away"),
    h("p", null, "Choose where it runs and give it a provider’s key. It is launched, proven to work, and its page opens in your browser."),
    reason ? h("p", null, reason) : h("a", { class: "button primary", href: "/new" }, icon("plus"), "Launch a gateway"),
  );
}
