// Where the user is. Owns the addresses of the pages, going from one to the next without loading
// anything again, and the focus and title that go with it. Refuses addresses of other origins.

import { fill, h } from "./dom.js";
import { problemBox } from "./notify.js";

const PRODUCT = "OpenClaw Pipeline";
let routes = [];
let current = null;
let shown = null;

/** The pages: `[{ pattern, page, nav }]`; `page(context)` may answer `{ move(params, query) }`. */
export function define(table) {
  routes = table;
  addEventListener("popstate", () => {
    if (shown !== here()) render();
  });
  document.addEventListener("click", clicked);
}

function here() {
  return location.pathname + location.search;
}

function clicked(event) {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target.closest?.("a[href]");
  if (!link || link.target || link.hasAttribute("download")) return;
  const url = new URL(link.href, location.href);
  if (url.origin !== location.origin || !match(url.pathname)) return;
  if (url.hash && url.pathname + url.search === here()) return;
  event.preventDefault();
  go(url.pathname + url.search);
}

function match(path) {
  for (const route of routes) {
    const found = route.pattern.exec(path);
    if (found) {
      try {
        return { route, params: Object.fromEntries(Object.entries(found.groups ?? {}).map(([key, value]) => [key, value && decodeURIComponent(value)])) };
      } catch {
        return null;
      }
    }
  }
  return null;
}

/** Whether a path is one of the console's own pages. */
export function isPage(path) {
  return path.startsWith("/") && !path.startsWith("//") && match(path.split("?")[0]) !== null;
}

/** Goes to a page. */
export function go(path, { replace = false } = {}) {
  if (path !== here()) history[replace ? "replaceState" : "pushState"](null, "", path);
  render();
}

/** Changes the address's query without going anywhere: a page's own filters. */
export function setQuery(query) {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value) search.set(key, value);
  const text = search.toString();
  history.replaceState(null, "", text ? `${location.pathname}?${text}` : location.pathname);
  shown = here();
}

/** Names the page, in the tab and for screen readers. */
export function setTitle(text) {
  document.title = text ? `${text} · ${PRODUCT}` : PRODUCT;
}

function mark(nav) {
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.dataset.nav === nav) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** Shows the page of the present address. `first` leaves the focus where the browser put it. */
export async function render(first = false) {
  const main = document.getElementById("main");
  const found = match(location.pathname) ?? { route: { page: lost, nav: "" }, params: {} };
  const query = Object.fromEntries(new URLSearchParams(location.search));
  shown = here();
  if (current?.page === found.route.page && current.handle?.move?.(found.params, query)) return;
  current?.controller.abort();
  const controller = new AbortController();
  const mine = { page: found.route.page, controller, handle: null };
  current = mine;
  mark(found.route.nav);
  fill(main);
  scrollTo(0, 0);
  const context = { main, params: found.params, query, signal: controller.signal };
  try {
    const showing = found.route.page(context);
    mine.handle = showing instanceof Promise ? null : showing;
    if (!first) main.querySelector("h1")?.focus({ preventScroll: true });
    const handle = await showing;
    if (current === mine) mine.handle = handle;
  } catch (problem) {
    if (controller.signal.aborted || problem?.status === 401) return;
    fill(main, h("h1", { tabindex: "-1" }, "This page could not be shown"), h("div", { class: "padded" }), problemBox(problem.errors ? problem : { message: String(problem), status: 0 }, { retry: () => render() }));
  }
}

function lost({ main }) {
  setTitle("Not found");
  fill(
    main,
    h("div", { class: "empty" }, h("h1", { tabindex: "-1" }, "There is nothing here"), h("p", null, "The address may be mistyped, or what it named is gone."), h("a", { class: "button", href: "/" }, "See the deployments")),
  );
}

/** A page's heading. Every page has one, and it takes the focus when the page is gone to. */
export function heading(text, { about = null, back = null, actions = [], name = text } = {}) {
  setTitle(name);
  const title = h("h1", { tabindex: "-1" }, text);
  return h(
    "div",
    { class: "head" },
    h("div", null, back, title, about && h("p", null, about)),
    actions.length > 0 && h("div", { class: "row" }, actions),
  );
}
