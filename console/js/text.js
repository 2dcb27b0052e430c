// Strangers' text. Owns how what a gateway, a device or a receiver said is shown: as it is, cut to
// a bound, with everything that hides or moves other text made visible. Refuses to guess what was
// meant, and never makes markup of it.

import { h } from "./dom.js";

// Controls, bidirectional overrides, zero-width and other characters without a shape of their own.
const HIDDEN =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb]|[\u{e0000}-\u{e0fff}]/u;

const CONTROLS = "NUL SOH STX ETX EOT ENQ ACK BEL BS TAB LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US".split(" ");

function picture(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return CONTROLS[code];
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

function bounded(text, max) {
  const plain = String(text ?? "");
  return plain.length > max ? `${plain.slice(0, max)}…` : plain;
}

/** The pieces of a text: what can be shown as it is, and pictures of what cannot. */
export function pieces(text, max = 2000) {
  const out = [];
  let plain = "";
  for (const character of bounded(text, max)) {
    if (character === "\t" || !HIDDEN.test(character)) {
      plain += character;
      continue;
    }
    if (plain) out.push(plain);
    plain = "";
    out.push(h("span", { class: "ctl" }, picture(character)));
  }
  if (plain) out.push(plain);
  return out;
}

/** A stranger's text as an element that keeps to itself, whatever its direction. */
export function inert(text, max) {
  return h("bdi", null, pieces(text, max));
}

/** The same as a plain string, for labels and titles. */
export function plain(text, max = 200) {
  let out = "";
  for (const character of bounded(text, max)) {
    out += HIDDEN.test(character) ? picture(character) : character;
  }
  return out;
}
