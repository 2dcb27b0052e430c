// Signing in. Owns handing the token to the server, once. Refuses to keep it: the field is emptied
// before anything else happens, and nothing of it is stored.

import { button, fill, h } from "../dom.js";
import { signals } from "../api.js";
import { field, allRight, showProblem } from "../forms.js";
import { setTitle } from "../router.js";
import { signIn } from "../session.js";

export function signInPage({ main, query }) {
  setTitle("Sign in");
  const token = field({
    name: "token",
    label: "API token",
    type: "password",
    required: true,
    plain: true,
    missing: "Paste the token that you were given.",
    hint: "It begins with ocp_, or is the one that the server was started with.",
  });
  const place = h("div");
  const submit = button("Sign in", { type: "submit", class: "primary" });
  const form = h("form", { novalidate: true, class: "stack", "aria-label": "Sign in", on: { submit: send } }, token.node, place, submit);
  async function send(event) {
    event.preventDefault();
    if (submit.getAttribute("aria-busy") || !allRight([token])) return;
    submit.setAttribute("aria-busy", "true");
    const text = token.value();
    try {
      await signIn(text);
      token.input.value = "";
      signals.dispatchEvent(new CustomEvent("entered", { detail: query.next ?? "/" }));
    } catch (problem) {
      if (!problem?.errors) throw problem;
      token.input.value = "";
      if (problem.status === 401) problem.remedy ??= "Check that the whole of it was pasted.";
      showProblem(problem, [token], place);
      token.input.focus();
    } finally {
      submit.removeAttribute("aria-busy");
    }
  }
  fill(
    main,
    h(
      "div",
      { class: "sign" },
      h("h1", { tabindex: "-1" }, "Sign in"),
      h("p", { class: "soft", id: "sign-about" }, "Launch OpenClaw gateways, watch them, and let people in."),
      h("div", { class: "card" }, form),
      h("p", { class: "soft little" }, "No token yet? On the server: ", h("code", null, "openclaw-pipeline tokens create --label NAME --scope admin")),
    ),
  );
}
