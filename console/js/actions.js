// What can be done to a deployment. Owns the questions that come first and the calls that follow.
// Refuses to keep a link that lets somebody in: it goes from the answer into the new tab.

import { call, of, start as begin, withQuery } from "./api.js";
import { fill, h } from "./dom.js";
import { ask } from "./dialog.js";
import { field, tick } from "./forms.js";
import { clock, moment } from "./format.js";
import { announce, box, complain, toast } from "./notify.js";
import { CREDENTIALS, titleOf } from "./credentials.js";
import * as rules from "./rules.js";

/** Starts work and shows it. */
async function run(context, method, path, body, said, need = "deploy") {
  try {
    await begin(method, path, body, context.signal);
    announce(said);
    await context.refresh();
  } catch (problem) {
    complain(problem, need);
  }
}

export const stop = (c) => run(c, "POST", of(c.name, "/stop"), undefined, `Stopping ${c.name}`);
export const start = (c) => run(c, "POST", of(c.name, "/start"), undefined, `Starting ${c.name}`);
export const restart = (c) => run(c, "POST", of(c.name, "/restart"), undefined, `Restarting ${c.name}`);
export const backup = (c) => run(c, "POST", of(c.name, "/backups"), undefined, `Backing up ${c.name}`);
export const cancel = (c, id) => run(c, "POST", `/v1/operations/${encodeURIComponent(id)}/cancel`, undefined, "Cancelling");
export const resume = (c, id) => run(c, "POST", `/v1/operations/${encodeURIComponent(id)}/resume`, undefined, "Going on");

/** Opens the gateway's page in a tab of its own. */
export async function open(context) {
  // At once, while the browser still knows that somebody pressed a button.
  const tab = window.open("/console/opening.html", "_blank");
  try {
    const { url, kind, expires_at: expires } = await call("POST", of(context.name, "/access"), { signal: context.signal });
    if (!/^https?:\/\//i.test(url)) throw new TypeError("no address to open");
    const plain = url.startsWith("http:") && !/^http:\/\/(127\.0\.0\.1|localhost|\[::1\])[:/]/.test(url);
    if (tab && !tab.closed) {
      tab.opener = null;
      tab.location.replace(url);
      told(context, kind, expires, plain);
    } else await openByHand(url, () => told(context, kind, expires, plain));
  } catch (problem) {
    tab?.close();
    complain(problem, "access");
  }
}

/** The browser refused the tab: the press of this button is one that it takes. */
async function openByHand(url, then) {
  const opened = await ask({
    title: "The gateway is ready to be opened",
    text: "This browser held back the new tab. Open it from here.",
    submit: "Open",
    work: async () => window.open(url, "_blank", "noopener,noreferrer") ?? true,
  });
  if (opened) then();
}

function told(context, kind, expires, plain) {
  const once = kind === "one_time";
  const about = once
    ? ["The link works once", expires && [", until ", clock(expires)], ". Press Open again for another browser."]
    : ["The link carries the gateway’s own token: whoever sees it can get in, for as long as the token lasts."];
  const risk = plain && h("span", null, "It went over plain HTTP, so it can be read on its way.");
  const node = box(once && !plain ? "good" : "warn", h("b", null, "Opened in a new tab"), h("span", null, about), risk);
  node.setAttribute("role", "status");
  fill(context.notice, node);
}

/** Another version or image. */
export function update(context) {
  const { deployment } = context;
  const image = deployment.image
    ? field({ name: "image", label: "Image", hint: `Now: ${deployment.image}`, check: rules.image, placeholder: "ghcr.io/openclaw/openclaw:2026.9.6" })
    : null;
  const version = field({
    name: "version",
    label: "Version",
    hint: deployment.version ? `Now: ${deployment.version}. Left empty: the newest this server knows.` : "Left empty: the newest this server knows.",
    check: rules.version,
    placeholder: "2026.9.6",
  });
  if (image) {
    const check = image.check;
    image.check = () => {
      const both = image.value() && version.value();
      if (both) image.say("Give a version or an image, not both.");
      return !both && check();
    };
  }
  return ask({
    title: `Update ${context.name}`,
    text: "A backup is made and verified first. If the new version does not prove to work, the old one is put back with it.",
    fields: [version, image].filter(Boolean),
    submit: "Back up and update",
    need: "deploy",
    work: async (values, signal) => {
      const body = {};
      if (values.version) body.version = values.version;
      if (values.image) body.image = values.image;
      const answer = await begin("POST", of(context.name, "/update"), body, signal);
      await context.refresh();
      return answer;
    },
  });
}

/** A tunnel with HTTPS in front of it. */
export function tunnel(context) {
  const hostname = field({ name: "hostname", label: "Host name", check: rules.host, placeholder: "ai.example.com", hint: "Of a named tunnel. Left empty: a quick one, whose name is new at each start." });
  const token = field({ name: "token", label: "Its token", type: "password", check: rules.key, hint: "Of the same tunnel, which leads to http://openclaw-gateway:18789." });
  return ask({
    title: `A tunnel for ${context.name}`,
    text: "A Cloudflare tunnel is started beside the gateway and proven over HTTPS. Then its plain port is closed; the gateway restarts for that.",
    fields: [hostname, token],
    submit: "Start the tunnel",
    need: "deploy",
    work: async (values, signal) => {
      const body = {};
      if (values.hostname) body.hostname = values.hostname;
      if (values.token) body.token = values.token;
      const answer = await begin("POST", of(context.name, "/tunnel"), body, signal);
      await context.refresh();
      return answer;
    },
  });
}

/** Back to the plain port. */
export function untunnel(context) {
  return ask({
    title: "Stop the tunnel?",
    text: "The gateway is reached by its address over plain HTTP again: whoever sits between can read along.",
    submit: "Stop the tunnel",
    tone: "danger",
    leave: "Keep it",
    need: "deploy",
    work: async (_, signal) => {
      const answer = await begin("DELETE", of(context.name, "/tunnel"), undefined, signal);
      await context.refresh();
      return answer;
    },
  });
}

/** New token, new keys. */
export function rotate(context) {
  const { deployment } = context;
  const fresh = tick({ name: "new_token", label: "Make a new gateway token", hint: "Links and browsers that use the old one are let in no more.", checked: true });
  const own = field({ name: "token", label: "Or use this token", type: "password", check: rules.gatewayToken, hint: "16 to 512 printable characters. Rather have one made." });
  const held = deployment.credentials ?? [];
  const keys = CREDENTIALS.map(([variable, title]) =>
    field({ name: variable.toLowerCase(), label: title, type: "password", check: rules.key, hint: held.includes(variable) ? "Held now. Empty: it stays." : null }),
  );
  const drops = held.map((variable) => tick({ name: `drop ${variable}`, label: `Take ${titleOf(variable)} away` }));
  const check = own.check;
  own.check = () => {
    const both = own.value() && fresh.value();
    if (both) own.say("A new token is to be made already. Untick that, or leave this empty.");
    return !both && check();
  };
  const folded = (summary, parts) => parts.length > 0 && h("details", { class: "fold" }, h("summary", null, summary), h("div", null, parts.map((it) => it.node)));
  const all = [fresh, own, ...keys, ...drops];
  return ask({
    title: `New keys for ${context.name}`,
    text: "The gateway is restarted with them and proven to work.",
    more: [fresh.node, own.node, folded("Provider keys", keys), folded("Take keys away", drops)],
    submit: "Rotate",
    need: "deploy",
    checked: all,
    work: async (_, signal) => {
      const credentials = Object.fromEntries(keys.filter((it) => it.value()).map((it) => [it.name, it.value()]));
      const drop = held.filter((_, index) => drops[index].value());
      const body = { new_token: fresh.value() || own.value() !== "", credentials, drop };
      if (own.value()) body.token = own.value();
      const answer = await begin("POST", of(context.name, "/rotate"), body, signal);
      await context.refresh();
      return answer;
    },
  });
}

/** Removes it, after its name was typed. */
export function destroy(context) {
  const { name } = context;
  const typed = field({
    name: "name",
    label: "Type its name to go on",
    required: true,
    plain: true,
    missing: `Type ${name}.`,
    check: (text) => (text === name ? null : `That is not ${name}.`),
  });
  const last = tick({ name: "backup", label: "Make a last backup first", hint: "It is kept on the server and can be restored into a new deployment.", checked: true });
  return ask({
    title: `Destroy ${name}?`,
    text: ["The gateway, its conversations and its workspace are removed. This cannot be undone."],
    fields: [typed, last],
    submit: "Destroy",
    tone: "danger",
    leave: "Keep it",
    need: "destroy",
    work: async (values, signal) => {
      const path = withQuery(of(name), { backup: values.backup ? "true" : "false" });
      const answer = await begin("DELETE", path, undefined, signal);
      await context.refresh();
      return answer;
    },
  });
}

/** Puts a backup back, after a question. */
export function restore(context, it) {
  return ask({
    title: "Go back to this backup?",
    text: [
      h("p", null, "The gateway’s state, configuration and version become those of ", moment(it.created_at), ". What was written since then is gone."),
    ],
    submit: "Restore",
    tone: "danger",
    need: "deploy",
    work: async (_, signal) => {
      const answer = await begin("POST", of(context.name, "/backups/restore"), { backup: it.id }, signal);
      await context.refresh();
      return answer;
    },
  });
}

/** Removes a backup, after a question. */
export function deleteBackup(context, it) {
  return ask({
    title: "Delete this backup?",
    text: "It cannot be brought back.",
    submit: "Delete",
    tone: "danger",
    need: "destroy",
    work: (_, signal) => begin("DELETE", of(context.name, `/backups/${encodeURIComponent(it.id)}`), undefined, signal),
  });
}

/** Protected deployments need `admin` to be destroyed. */
export async function protect(context, on) {
  try {
    await call("PATCH", of(context.name), { body: { protected: on }, signal: context.signal });
    toast(on ? `${context.name} is protected` : `${context.name} is no longer protected`, { tone: "good" });
    await context.refresh();
  } catch (problem) {
    complain(problem, "admin");
  }
}
