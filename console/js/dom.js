// Building the page. Owns the one way in which elements are made: by name, with text as text.
// Refuses markup in strings, handlers and styles as attributes, and addresses that are no http(s).

const FORBIDDEN = /^(on.*|style|srcdoc|innerhtml|outerhtml)$/i;
const PROPERTIES = new Set(["value", "checked", "selected", "disabled", "indeterminate"]);

/** An element: `h("a", { href, class, on: { click } }, "text", node, [more], null)`. */
export function h(tag, props, ...children) {
  const node = document.createElement(tag);
  const late = [];
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "on") {
      for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    } else if (PROPERTIES.has(key)) late.push([key, value]);
    else if (FORBIDDEN.test(key)) throw new Error(`${key} is not set here`);
    else if (key === "href") node.setAttribute("href", address(value));
    else node.setAttribute(key, value === true ? "" : value);
  }
  append(node, children);
  for (const [key, value] of late) node[key] = value;
  return node;
}

function append(node, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(node, child);
    else node.append(child);
  }
}

/** Replaces what stands in a node. */
export function fill(node, ...children) {
  node.replaceChildren();
  append(node, children);
  return node;
}

/** An address that may be followed: http(s), or a path of this server. */
export function address(text) {
  try {
    const url = new URL(text, location.origin);
    if (url.protocol === "http:" || url.protocol === "https:") return String(text);
  } catch {
    // No address at all.
  }
  return "#";
}

/** A drawing of the sprite in index.html. It says nothing by itself. */
export function icon(name) {
  const sprite = document.getElementById("icons").content;
  const drawing = sprite.querySelector(`[data-icon="${name}"]`).cloneNode(true);
  drawing.setAttribute("aria-hidden", "true");
  drawing.setAttribute("focusable", "false");
  return drawing;
}

/** A button. `props.icon` puts a drawing before the label. */
export function button(label, props, click) {
  const { icon: name, ...rest } = props ?? {};
  const on = click ? { click } : undefined;
  return h("button", { type: "button", ...rest, on }, name && icon(name), label);
}

/** A button that is a drawing alone; its label is for those who cannot see it. */
export function iconButton(label, name, props, click) {
  const more = { type: "button", "aria-label": label, title: label, ...props };
  more.class = `square ${props?.class ?? "quiet"}`;
  return h("button", { ...more, on: { click } }, icon(name));
}

/**
 * Makes the children of `parent` those of `items`, keeping the elements that stay, so that focus,
 * selection and what is unfolded stay too. `make(item)` answers `{ node, update(item) }`.
 */
export function reconcile(parent, items, keyOf, make) {
  const known = parent.kept ?? new Map();
  const kept = new Map();
  // First what goes: what stays would be moved past it, and loses the focus when it is moved.
  const wanted = new Set(items.map(keyOf));
  for (const [key, part] of known) {
    if (wanted.has(key)) continue;
    handOn(part.node);
    part.node.remove();
  }
  let place = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    if (kept.has(key)) continue;
    let part = known.get(key);
    if (!part) part = make(item);
    part.update?.(item);
    kept.set(key, part);
    if (part.node === place) place = place.nextSibling;
    else parent.insertBefore(part.node, place);
  }
  parent.kept = kept;
}

/**
 * Gives the focus of what is about to go to what stands beside it: to its heading and to no button,
 * because a key that is pressed once more must not decide about another one.
 */
function handOn(node) {
  if (!node.contains(document.activeElement)) return;
  const beside = node.nextElementSibling ?? node.previousElementSibling;
  const heading = beside?.querySelector("th, summary") ?? document.querySelector("main h1");
  if (!heading) return;
  if (heading.localName !== "summary") heading.setAttribute("tabindex", "-1");
  heading.focus({ preventScroll: true });
}

let counter = 0;
/** An id that nothing else on the page has. */
export function uid(prefix = "x") {
  counter += 1;
  return `${prefix}-${counter}`;
}
