// Launching. Owns the form: what each field means, refusing what the server would refuse, and
// sending only what was filled in. Which fields there are, and which targets, is the server's to
// say (describe.js).

import { call, idempotencyKey } from "../api.js";
import { CREDENTIALS } from "../credentials.js";
import { fieldsOf } from "../describe.js";
import { button, fill, h, icon } from "../dom.js";
import { allRight, choice, field, showProblem, tick } from "../forms.js";
import { MACHINE_FIELDS, hasMachine, machineFields } from "../machines.js";
import { announce, problemBox } from "../notify.js";
import { go, heading } from "../router.js";
import * as rules from "../rules.js";
import { lacks } from "../session.js";

const TARGETS = {
  docker: ["Docker", "A container of the server’s own Docker engine."],
  process: ["Process", "A process on the server itself, supervised by it."],
  ec2: ["EC2", "A machine of its own at Amazon EC2, paid for by the hour."],
  lightsail: ["Lightsail", "A machine of its own at Amazon Lightsail, at a fixed price a month."],
  eks: ["EKS", "A pod in a Kubernetes cluster at Amazon."],
};
const APPROVAL = { auto: "auto: the first browsers are let in", ask: "ask: tell that one asks, and wait", off: "off: by hand only" };
const ASK = { on: "on: ask before each command", off: "off: no questions" };
/** What the form shows where the server’s description cannot be read. */
const LEAST = ["name", "target", "model", "env", "token", ...CREDENTIALS.slice(0, 4).map(([variable]) => variable.toLowerCase())];

export async function launchPage({ main, signal }) {
  const back = h("a", { class: "back", href: "/" }, icon("back"), "Deployments");
  const head = heading("Launch a gateway", {
    back,
    about: "It is put in place, proven to work the way its user reaches it, and then its page opens in your browser.",
    name: "Launch",
  });
  const place = h("div", { class: "stack wide" }, h("p", { class: "soft", role: "status" }, "Loading…"));
  fill(main, head, place);
  const reason = lacks("deploy");
  if (reason) {
    fill(place, problemBox({ message: "You cannot launch here.", remedy: reason }));
    return;
  }
  const known = await fieldsOf("post", "/v1/deployments");
  if (signal.aborted) return;
  const form = launchForm(known, signal);
  fill(place, form.node);
}

function launchForm(known, signal) {
  const has = (name) => (known ? name in known : LEAST.includes(name));
  const listed = (name) => (known?.[name]?.enum ?? []).filter((it) => typeof it === "string");
  const pick = (name, label, hint, texts, first) =>
    field({ name, label, hint, options: [["", first], ...(listed(name).length > 0 ? listed(name) : Object.keys(texts)).map((it) => [it, texts[it] ?? it])] });
  const fields = {};
  const add = (name, make) => {
    if (has(name)) fields[name] = make();
    return fields[name];
  };

  add("name", () => field({ name: "name", label: "Name", required: true, value: "main", check: rules.name, maxlength: 60, hint: "How you call it here. 1 to 40 of a–z, 0–9 and -. It cannot be changed later." }));
  const places = listed("target").length > 0 ? listed("target") : ["docker", "process"];
  add("target", () => choice({ name: "target", label: "Where it runs", required: true, value: places.includes("docker") ? "docker" : places[0], options: places.map((it) => [it, ...(TARGETS[it] ?? [it, null])]) }));

  const keys = CREDENTIALS.map(([variable, label, example]) => {
    const name = variable.toLowerCase();
    return add(name, () => field({ name, label, type: "password", check: rules.key, placeholder: example }));
  }).filter(Boolean);
  const provider = () => fields.provider?.value() ?? "";
  add("model", () => field({ name: "model", label: "Model", check: rules.model(provider), placeholder: "anthropic/claude-sonnet-5", hint: "Written as provider/model. Empty: the best known one of the first key given." }));
  add("provider", () => field({ name: "provider", label: "Provider", check: rules.provider, hint: "Only where the model’s name does not say it." }));

  const machine = machineFields(add, listed);
  add("port", () => field({ name: "port", label: "Port", inputmode: "numeric", check: rules.port, placeholder: "18789", hint: "Empty: the next free one, and 18789 on a machine of its own." }));
  add("version", () => field({ name: "version", label: "OpenClaw version", check: rules.version, placeholder: "2026.9.6", hint: "One exact version, for targets that install it. Empty: the one this server was tested with." }));
  add("image", () => field({ name: "image", label: "Image", check: rules.image, placeholder: "ghcr.io/openclaw/openclaw:latest", hint: "For targets that run one. Empty: the official image." }));
  add("memory", () => field({ name: "memory", label: "Memory limit", check: rules.memory, placeholder: "2g", hint: "At least 1g. Empty: 2 GiB." }));
  add("token", () => field({ name: "token", label: "Gateway token", type: "password", check: rules.gatewayToken, hint: "16 to 512 printable characters. Empty: a strong one is made, which is best." }));
  add("approval", () => pick("approval", "Letting browsers in", "What happens when a new browser opens the page after the launch.", APPROVAL, "As the server is set"));
  add("exec_ask", () => pick("exec_ask", "Commands of the agent", "Whether it asks before it runs one.", ASK, "As the server is set (on)"));
  add("heartbeat", () => field({ name: "heartbeat", label: "Heartbeat", check: rules.heartbeat, placeholder: "off", hint: "How often the idle agent thinks, and spends: 30m, for example. Empty: off." }));
  add("env", () =>
    field({ name: "env", label: "Further variables", rows: 5, placeholder: "TELEGRAM_BOT_TOKEN=…\nBRAVE_API_KEY=…", check: (text) => rules.variables(text).wrong ?? null, hint: "One KEY=VALUE a line, for channels and plugins. They are sealed like keys and never shown again." }),
  );
  add("allow_no_credential", () => tick({ name: "allow_no_credential", label: "Launch without a key", hint: "For targets that refuse one without. The agent cannot answer until it has one." }));

  add("protected", () => tick({ name: "protected", label: "Protect it", hint: "Only an administrator can destroy it then." }));

  const nodes = (...names) => names.map((it) => fields[it]?.node).filter(Boolean);
  const more = nodes("port", "version", "image", "memory", "approval", "exec_ask", "heartbeat", "provider", "token");
  const wide = nodes("env", "protected", "allow_no_credential");
  const place = h("div");
  const submit = button("Launch", { type: "submit", class: "primary", icon: "play" });
  const section = (title, about, ...parts) => h("fieldset", { class: "card padded" }, h("legend", { class: "unseen" }, title), h("div", null, h("h2", { "aria-hidden": "true" }, title), about && h("p", { class: "soft little" }, about)), parts);
  const machineCard = section("Its machine", "It is made for this gateway alone, and removed with it. It costs money for as long as it is there, stopped or not.", machine.parts);
  const target = () => fields.target?.value() ?? "";
  const shown = () => {
    machineCard.hidden = !hasMachine(target()) || !MACHINE_FIELDS.some(has);
    machine.show(target());
  };
  fields.target?.node.addEventListener("change", shown);
  shown();
  /** What counts for the target that is chosen. */
  const counting = () => Object.entries(fields).filter(([name]) => hasMachine(target()) || !MACHINE_FIELDS.includes(name));
  const form = h(
    "form",
    { novalidate: true, "aria-label": "Launch", class: "stack wide form", autocomplete: "off", on: { submit: send } },
    section("Its name and place", null, nodes("name", "target")),
    machineCard,
    section(
      "Provider keys",
      "At least one, or the agent cannot think. They are sealed at rest, handed to this gateway alone, and never shown again.",
      h("div", { class: "pair" }, keys.slice(0, 4).map((it) => it.node)),
      keys.length > 4 && h("details", { class: "fold" }, h("summary", null, "Further providers ", h("span", { class: "soft" }, "OpenRouter, xAI, Groq, Mistral")), h("div", null, h("div", { class: "pair" }, keys.slice(4).map((it) => it.node)))),
      nodes("model"),
    ),
    (more.length > 0 || wide.length > 0) && h("details", { class: "fold" }, h("summary", null, "Advanced ", h("span", { class: "soft" }, "Everything here has a good default")), h("div", null, h("div", { class: "pair" }, more), wide)),
    place,
    h("div", { class: "row" }, submit, h("a", { class: "button quiet", href: "/" }, "Cancel")),
  );

  function body() {
    const out = {};
    for (const [name, it] of counting()) {
      const value = it.value();
      if (name === "env") {
        const { variables } = rules.variables(value);
        if (Object.keys(variables).length === 0) continue;
        out.env = known?.env?.type === "array" ? Object.entries(variables).map(([key, text]) => `${key}=${text}`) : variables;
      } else if (name === "port") {
        if (value) out.port = Number(value);
      } else if (value !== "" && value !== false) out[name] = value;
    }
    return out;
  }

  let sent = null;
  async function send(event) {
    event.preventDefault();
    const all = counting().map(([, it]) => it);
    if (submit.getAttribute("aria-busy") || !allRight(all)) return;
    fill(place);
    submit.setAttribute("aria-busy", "true");
    const asked = body();
    const text = JSON.stringify(asked);
    // The same launch sent twice is one launch: the answer may have been lost on its way.
    if (sent?.text !== text) sent = { text, key: idempotencyKey() };
    try {
      await call("POST", "/v1/deployments", { body: asked, key: sent.key, signal });
      announce(`Launching ${asked.name}`);
      go(`/deployments/${encodeURIComponent(asked.name)}`);
    } catch (problem) {
      if (signal.aborted) return;
      if (!problem?.errors) throw problem;
      if (problem.status !== 0) sent = null;
      showProblem(problem, all, place, "deploy");
    } finally {
      submit.removeAttribute("aria-busy");
    }
  }
  return { node: form };
}
