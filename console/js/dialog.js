// Dialogs. Owns asking before what cannot be undone, and forms that stand over a page. The browser
// keeps the focus inside and gives it back; this adds the way out if the opener has gone.

import { button, fill, h, uid } from "./dom.js";
import { allRight, showProblem } from "./forms.js";

/**
 * Shows a form. `spec`: `title`, `text`, `fields`, `more` (nodes), `submit` (label), `tone`
 * ("danger"), `need`, `checked` (fields that stand in `more`), and `work(values, signal)`, which is
 * awaited; a problem it throws is shown at its field. Answers what the work answered, or null if it was left.
 */
export function ask(spec) {
  return new Promise((resolve) => {
    const titleId = uid("dialog");
    const fields = spec.fields ?? [];
    // Fields that stand in `more` are checked, and take the server's words, like the others.
    const checked = spec.checked ?? fields;
    const place = h("div");
    const opener = document.activeElement;
    const left = new AbortController();
    let answer = null;
    const submit = button(spec.submit, { type: "submit", class: `primary ${spec.tone ?? ""}` });
    const leave = button(spec.leave ?? "Cancel", {}, () => dialog.close());
    const send = async (event) => {
      event.preventDefault();
      if (submit.getAttribute("aria-busy") || !allRight(checked)) return;
      fill(place);
      submit.setAttribute("aria-busy", "true");
      submit.textContent = spec.busy ?? "One moment…";
      try {
        const values = Object.fromEntries(fields.map((it) => [it.name, it.value()]));
        answer = (await spec.work(values, left.signal)) ?? true;
        dialog.close();
      } catch (problem) {
        if (left.signal.aborted) return;
        if (!problem?.errors) throw problem;
        showProblem(problem, checked, place, spec.need);
      } finally {
        submit.removeAttribute("aria-busy");
        submit.textContent = spec.submit;
      }
    };
    const text = [spec.text ?? []].flat().map((line) => (typeof line === "string" ? h("p", null, line) : line));
    const form = h(
      "form",
      { novalidate: true, on: { submit: send } },
      h("h2", { id: titleId }, spec.title),
      text,
      fields.map((it) => it.node),
      spec.more ?? null,
      place,
      h("div", { class: "foot" }, leave, submit),
    );
    const dialog = h("dialog", { "aria-labelledby": titleId }, form);
    show(dialog, opener, () => {
      left.abort();
      resolve(answer);
    });
    // A question begins at its harmless end; a form at its first field.
    (fields[0]?.input ?? checked[0]?.input ?? leave).focus();
  });
}

/** Shows something once. */
export function tell(title, ...parts) {
  return new Promise((resolve) => {
    const titleId = uid("dialog");
    const done = button("Done", { class: "primary" }, () => dialog.close());
    const inner = h("div", { class: "inner" }, h("h2", { id: titleId }, title), parts, h("div", { class: "foot" }, done));
    const dialog = h("dialog", { "aria-labelledby": titleId }, inner);
    show(dialog, document.activeElement, resolve);
  });
}

function show(dialog, opener, closed) {
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (opener?.isConnected) opener.focus();
    else document.querySelector("main h1")?.focus();
    closed();
  });
  document.body.append(dialog);
  dialog.showModal();
}
