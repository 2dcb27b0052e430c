// Machines of a cloud. Owns which targets make one, what is asked of it, and what each answer means.

import { h } from "./dom.js";
import { choice, field } from "./forms.js";
import * as rules from "./rules.js";

/** Each target that makes a machine: what its sizes are called, and the one that is taken unless said. */
const MACHINES = {
  ec2: { kind: "instance type", size: "t3.medium" },
  lightsail: { kind: "bundle", size: "medium_3_0" },
};
const EXPOSE = {
  http: ["Everybody", "By its address, over plain HTTP: whoever sits between can read along."],
  tunnel: ["Everybody, by HTTPS", "Through a Cloudflare tunnel; its plain port is closed."],
  operator: ["The operator", "Only addresses that may reach the machine’s SSH, over plain HTTP."],
  none: ["Nobody", "Not from outside: only through a shell on the machine."],
};

/** Whether a target makes a machine for each deployment. */
export const hasMachine = (target) => target in MACHINES;

/** Who reaches a gateway, in words. */
export const reachedBy = (expose) => EXPOSE[expose]?.[0] ?? expose;

/** The fields that are asked for a machine alone. */
export const MACHINE_FIELDS = ["region", "size", "expose"];

/** The fields of a machine, made by `add`; the section that holds them, which shows for such targets. */
export function machineFields(add, listed) {
  const region = add("region", () => field({ name: "region", label: "Region", check: rules.region, placeholder: "us-west-2", hint: "Where in the world it stands. Empty: as the server is set." }));
  const size = add("size", () => field({ name: "size", label: "Size", check: rules.size, hint: " " }));
  const options = (listed("expose").length > 0 ? listed("expose") : Object.keys(EXPOSE)).map((it) => [it, ...(EXPOSE[it] ?? [it, null])]);
  const unsaid = ["", "As the server is set", "Everybody, unless its operator chose otherwise."];
  const expose = add("expose", () => choice({ name: "expose", label: "Who reaches its page", value: "", options: [unsaid, ...options], hint: "Being let in is another question, which the approval answers." }));
  const pair = [region, size].filter(Boolean).map((it) => it.node);
  return {
    parts: [h("div", { class: "pair" }, pair), expose?.node],
    show(target) {
      const { kind, size: usual } = MACHINES[target] ?? {};
      if (!kind || !size) return;
      size.input.placeholder = usual;
      size.node.querySelector(".hint").textContent = `The ${kind}. Empty: as the server is set.`;
    },
  };
}
