// The server's rules for what is typed, so that a form can refuse before it sends. Owns no decision:
// the server checks all of it again, and what only it can know stays with it.

const NAME = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
const PRINTABLE = /^[\x21-\x7e]+$/;

export function name(text) {
  if (text.length > 40 || !NAME.test(text)) {
    return "A name is 1 to 40 of a–z, 0–9 and -, starting and ending with a letter or digit.";
  }
  return text === "server" ? "The name “server” is the pipeline’s own machine’s. Choose another one." : null;
}

export function port(text) {
  const ok = /^\d{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= 65535;
  return ok ? null : "A port is a number from 1 to 65535.";
}

export function host(text) {
  const ok = text.length <= 253 && /^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]*[a-z][a-z0-9-]*$/i.test(text);
  return ok ? null : "A host name is letters, digits and hyphens with dots between, such as ai.example.com.";
}

export function key(text) {
  if (!PRINTABLE.test(text)) return "A key is printable characters without blanks or line breaks. Copy it again.";
  if (/^["']|["']$/.test(text)) return "Take the quotes off.";
  return text.length > 4096 ? "A key is at most 4,096 characters." : null;
}

export function gatewayToken(text) {
  if (!PRINTABLE.test(text)) return "A token is printable characters without blanks.";
  return text.length < 16 || text.length > 512 ? "A token has 16 to 512 characters." : null;
}

const INFERRED = /^(claude-|gemini-|gpt-|o1(-|$)|o3(-|$))/;

export function model(provider) {
  return (text) => {
    if (text.length > 200 || !/^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$/.test(text) || text.endsWith("/")) {
      return "A model is letters, digits and . _ : / @ + -, such as anthropic/claude-sonnet-5.";
    }
    if (!text.includes("/") && !INFERRED.test(text) && !provider()) {
      return "The provider cannot be told from this name. Write it as provider/model.";
    }
    return null;
  };
}

export function provider(text) {
  return /^[a-z0-9][a-z0-9._-]{0,63}$/.test(text) ? null : "A provider is a–z, 0–9, -, _ and ., such as anthropic.";
}

export function version(text) {
  const found = /^(20\d\d)\.(\d{1,2})\.(\d{1,4})(-[a-z0-9]+(\.[a-z0-9]+)*)?$/.exec(text);
  if (!found || Number(found[2]) < 1 || Number(found[2]) > 12) {
    return "One exact version, such as 2026.9.6. No tag like latest, no range.";
  }
  const order = Number(found[1]) * 100 + Number(found[2]);
  return order < 202608 || (order === 202608 && Number(found[3]) < 1) ? "OpenClaw before 2026.8.1 is too old to be launched." : null;
}

const PART = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const HOST = "(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\\[[0-9A-Fa-f:]+\\])(?::\\d{1,5})?";
const IMAGE = new RegExp(
  `^(?:${HOST}/)?${PART}(?:/${PART})*(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@sha256:[a-f0-9]{64}|@sha512:[a-f0-9]{128})?$`,
);

export function image(text) {
  const ok = text.length <= 255 && (IMAGE.test(text) || /^sha256:[a-f0-9]{64}$/.test(text));
  return ok ? null : "An image is host/path:tag or host/path@sha256:…, such as ghcr.io/openclaw/openclaw:latest.";
}

export function heartbeat(text) {
  if (/^(off|0|0s|0m|0h)$/i.test(text)) return null;
  const found = /^(\d{1,4})([mh])$/i.exec(text);
  const minutes = found ? Number(found[1]) * (found[2].toLowerCase() === "h" ? 60 : 1) : 0;
  return minutes >= 1 && minutes <= 1440 ? null : "off, or whole minutes or hours from 1m to 24h, such as 30m.";
}

export function region(text) {
  return /^[a-z]{2}(-[a-z]+)+-\d$/.test(text) ? null : "A region’s name, such as us-west-2.";
}

export function size(text) {
  return /^[a-z0-9][a-z0-9._-]{0,39}$/.test(text) ? null : "A size as its provider calls it, such as t3.medium or medium_3_0.";
}

export function memory(text) {
  const found = /^(\d{1,7})(m|mb|mib|g|gb|gib)?$/i.exec(text);
  const mib = found ? Number(found[1]) * (/^g/i.test(found[2] ?? "") ? 1024 : 1) : 0;
  if (!found || mib > 1 << 20) return "A whole number of MiB, or one with m or g behind it, such as 2g.";
  return mib < 1024 ? "At least 1024 MiB: a gateway with less is killed when it starts." : null;
}

const MANAGED = new Set(
  ("PATH HOME USER LOGNAME SHELL PWD TMPDIR HOSTNAME ENV BASH_ENV IFS NODE_OPTIONS NODE_PATH NAME GATEWAY_PORT GATEWAY_BIND " +
    "DEFAULT_MODEL DEFAULT_PROVIDER EXEC_ASK HEARTBEAT SKIP_APPROVAL CLAUDE_CODE_OAUTH_TOKEN ANTHROPIC_OAUTH_TOKEN " +
    "ANTHROPIC_API_KEY GEMINI_API_KEY OPENAI_API_KEY GROQ_API_KEY XAI_API_KEY MISTRAL_API_KEY OPENROUTER_API_KEY").split(" "),
);

/** The variables of a text of KEY=VALUE lines: `{ variables }`, or `{ wrong }`. */
export function variables(text) {
  const found = {};
  const lines = text.split(/\r?\n/);
  for (const [index, raw] of lines.entries()) {
    const line = raw.trim();
    const at = `Line ${index + 1}`;
    if (!line || line.startsWith("#")) continue;
    const [key, value] = [line.split("=", 1)[0].trim(), line.slice(line.indexOf("=") + 1)];
    if (!line.includes("=")) return { wrong: `${at} has no =. Write KEY=VALUE.` };
    if (key.length > 256 || !/^[A-Za-z_][A-Za-z0-9_]*$/.test(key)) {
      return { wrong: `${at}: a key is letters, digits and _, and does not start with a digit.` };
    }
    if (MANAGED.has(key.toUpperCase()) || /^(OPENCLAW_|XDG_|LD_|DYLD_)/i.test(key)) {
      return { wrong: `${at}: ${key} is managed by the pipeline. Set it in its own field, or leave it out.` };
    }
    if (value.length > 65_000 || value.includes("\0")) return { wrong: `${at}: the value of ${key} is too long.` };
    found[key] = value;
  }
  if (Object.keys(found).length > 200) return { wrong: "At most 200 variables." };
  return { variables: found };
}

export function receiver(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    return "A full address, such as https://hooks.team.example/openclaw.";
  }
  if (url.protocol !== "https:" && url.protocol !== "http:") return "An address begins with https:, and its host.";
  if (url.username || url.password) return "No user name or password in the address: the signature proves who sent it.";
  return url.hash ? "Leave out what follows the #." : null;
}
