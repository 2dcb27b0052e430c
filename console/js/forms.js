// Forms. Owns fields: label, hint and error bound to their input, refused in place before anything
// is sent, and the server's own words put at the field that they are about.

import { button, fill, h, icon, iconButton, uid } from "./dom.js";
import { inert } from "./text.js";
import { problemBox } from "./notify.js";

// A field is left by pressing the button, and an error that shows at that moment moves the button
// from under the pointer: it shows when the pointer is up, behind the click.
let pressed = false;
let waiting = [];
addEventListener("pointerdown", () => (pressed = true), true);
for (const end of ["pointerup", "pointercancel"]) {
  addEventListener(
    end,
    () => {
      pressed = false;
      const checks = waiting;
      waiting = [];
      setTimeout(() => checks.forEach((check) => check()));
    },
    true,
  );
}

function settled(check) {
  if (pressed) waiting.push(check);
  else check();
}

/**
 * A field: `{ name, label, hint, type, value, required, check, options, rows, placeholder }`.
 * `check(text)` answers what is wrong, or null. An empty field that is not required is right.
 */
export function field(spec) {
  const id = uid("f");
  const [hintId, wrongId] = [`${id}-hint`, `${id}-wrong`];
  const input = control(spec, id);
  const wrong = h("div", { class: "wrong", id: wrongId, hidden: true });
  input.setAttribute("aria-describedby", spec.hint ? `${hintId} ${wrongId}` : wrongId);
  const note = spec.required || spec.plain ? null : h("span", { class: "optional" }, " (optional)");
  const label = h("label", { for: id }, spec.label, note);
  const hint = spec.hint && h("div", { class: "hint", id: hintId }, spec.hint);
  const shown = spec.type === "password" ? h("div", { class: "with-button" }, input, peek(input, spec)) : input;
  const node = h("div", { class: `field ${spec.class ?? ""}`.trim() }, label, hint, shown, wrong);
  const self = { name: spec.name, node, input, value: () => input.value.trim() };
  self.say = (message) => {
    wrong.hidden = !message;
    fill(wrong, message && icon("alert"), message && h("span", null, inert(message, 500)));
    if (message) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  };
  self.check = () => {
    const text = self.value();
    let message = null;
    if (!text) message = spec.required ? spec.missing ?? "This is needed." : null;
    else message = spec.check?.(text) ?? null;
    self.say(message);
    return !message;
  };
  input.addEventListener("change", () => settled(() => self.check()));
  input.addEventListener("input", () => {
    if (input.getAttribute("aria-invalid")) self.check();
  });
  return self;
}

function control(spec, id) {
  const props = { id, name: spec.name, required: spec.required || null };
  if (spec.options) {
    const options = spec.options.map((it) => {
      const [value, label] = Array.isArray(it) ? it : [it, it];
      return h("option", { value }, label);
    });
    return h("select", { ...props, value: spec.value ?? "" }, options);
  }
  const text = { ...props, value: spec.value ?? "", placeholder: spec.placeholder, autocomplete: "off", spellcheck: "false", autocapitalize: "none" };
  if (spec.rows) return h("textarea", { ...text, rows: spec.rows });
  return h("input", { ...text, type: spec.type ?? "text", inputmode: spec.inputmode, maxlength: spec.maxlength });
}

/** The button that shows what stands in a password field. */
function peek(input, spec) {
  const show = button("Show", { class: "compact", "aria-label": `Show ${spec.label}`, "aria-pressed": "false" }, () => {
    const hidden = input.type === "password";
    input.type = hidden ? "text" : "password";
    show.textContent = hidden ? "Hide" : "Show";
    show.setAttribute("aria-pressed", String(hidden));
  });
  return show;
}

/** A tick box: `{ name, label, hint, checked }`. */
export function tick(spec) {
  const id = uid("f");
  const input = h("input", { type: "checkbox", id, name: spec.name, value: spec.value ?? "on", checked: spec.checked ?? false });
  if (spec.hint) input.setAttribute("aria-describedby", `${id}-hint`);
  const hint = spec.hint && h("div", { class: "hint little soft", id: `${id}-hint` }, spec.hint);
  const node = h("div", { class: "tick" }, input, h("label", { for: id }, spec.label), hint);
  return { name: spec.name, node, input, value: () => input.checked, check: () => true, say: () => {} };
}

/** One of a few, with a line about each: `options: [[value, label, hint]]`. */
export function choice(spec) {
  const name = uid("choice");
  const inputs = [];
  const boxes = spec.options.map(([value, label, hint]) => {
    const id = uid("f");
    const input = h("input", { type: "radio", name, id, value, checked: value === spec.value });
    if (hint) input.setAttribute("aria-describedby", `${id}-hint`);
    inputs.push(input);
    return h("label", { class: "choice", for: id }, input, h("b", null, label), hint && h("span", { id: `${id}-hint` }, hint));
  });
  const wrong = h("div", { class: "wrong", hidden: true });
  const node = h("fieldset", { class: "group" }, h("legend", null, spec.label), spec.hint && h("p", { class: "hint little soft" }, spec.hint), h("div", { class: "choices" }, boxes), wrong);
  const self = { name: spec.name, node, input: inputs[0] };
  self.value = () => inputs.find((it) => it.checked)?.value ?? "";
  self.say = (message) => {
    wrong.hidden = !message;
    fill(wrong, message && icon("alert"), message && h("span", null, inert(message, 500)));
  };
  self.check = () => {
    const message = spec.required && !self.value() ? "Choose one." : null;
    self.say(message);
    return !message;
  };
  for (const input of inputs) input.addEventListener("change", () => self.check());
  return self;
}

/** Opens what an input is folded into, and goes there. */
function visit(input) {
  for (let node = input.closest("details"); node; node = node.parentElement.closest("details")) node.open = true;
  input.focus();
}

/** Checks every field; the first that is wrong takes the focus. */
export function allRight(fields) {
  const wrong = fields.filter((it) => !it.check());
  if (wrong.length > 0) visit(wrong[0].input);
  return wrong.length === 0;
}

/** Puts a problem where it belongs: its errors at their fields, the rest into `place`. */
export function showProblem(problem, fields, place, need) {
  let first = null;
  let rest = problem.errors.length === 0;
  for (const { field: name, message } of problem.errors) {
    // `credentials.openai_api_key` is the field of the last part, or else of the first.
    const parts = String(name).split(/[.[\]]+/);
    const found = [name, parts.at(-1), parts[0]].map((it) => fields.find((one) => one.name === it)).find(Boolean);
    if (found) {
      found.say(message);
      first ??= found.input;
    } else rest = true;
  }
  fill(place, rest && problemBox(problem, { need }));
  if (first) visit(first);
  else place.scrollIntoView({ block: "nearest" });
}

/** A secret that is shown once, with a button that copies it. */
export function secretOnce(label, secret) {
  const id = uid("f");
  const input = h("input", { id, type: "text", value: secret, readonly: true, "aria-describedby": `${id}-hint` });
  input.addEventListener("focus", () => input.select());
  const copy = iconButton(`Copy ${label}`, "copy", { class: "" }, async () => {
    const copied = await copyText(secret, input);
    fill(copy, icon(copied ? "check" : "copy"));
    said.textContent = copied ? "Copied." : "Press Ctrl+C to copy.";
  });
  const said = h("span", { role: "status" });
  const hint = h("div", { class: "hint", id: `${id}-hint` }, "Shown this once. Keep it where secrets are kept. ", said);
  return h("div", { class: "field" }, h("label", { for: id }, label), h("div", { class: "secret" }, input, copy), hint);
}

async function copyText(text, input) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Over plain HTTP there is no clipboard; what is selected can be copied by hand.
    input.select();
    return false;
  }
}
