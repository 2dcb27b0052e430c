// Buttons that may not be pressed now. Owns saying why: the button stays reachable by keyboard and
// is not `disabled`, so that its reason is, too.

import { button, h, icon, uid } from "./dom.js";
import { toast } from "./notify.js";

/** A button with `refuse(reason | null)`; while there is a reason, a press tells it. */
export function guarded(label, props, click) {
  const why = h("span", { class: "unseen", id: uid("why") });
  let reason = null;
  const node = button(label, props, async (event) => {
    if (reason) {
      toast(reason, { tone: "warn" });
      return;
    }
    if (node.getAttribute("aria-busy")) return;
    node.setAttribute("aria-busy", "true");
    try {
      await click(event);
    } finally {
      node.removeAttribute("aria-busy");
    }
  });
  node.append(why);
  node.refuse = (next) => {
    reason = next;
    why.textContent = next ? ` (not now: ${next})` : "";
    node.title = next ?? "";
    if (next) node.setAttribute("aria-disabled", "true");
    else node.removeAttribute("aria-disabled");
    return node;
  };
  return node;
}

/** A link that looks like a button, or the button that says why it is none. */
export function guardedLink(label, href, name, reason, props) {
  if (!reason) return h("a", { class: `button ${props?.class ?? ""}`, href }, name && icon(name), label);
  return guarded(label, { ...props, icon: name }, () => {}).refuse(reason);
}
