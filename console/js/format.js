// Numbers and times for reading. Owns how a moment, a span and a size are written, and keeps
// relative times on the page true as time goes by.

import { h } from "./dom.js";

const LANGUAGE = "en";
/** Day before month, 24 hours: nobody takes one for the other. */
const DATES = "en-GB";
const relative = new Intl.RelativeTimeFormat(LANGUAGE, { numeric: "auto", style: "long" });
const exact = new Intl.DateTimeFormat(DATES, { dateStyle: "medium", timeStyle: "medium" });
const day = new Intl.DateTimeFormat(DATES, { dateStyle: "medium" });
const clockForm = new Intl.DateTimeFormat(DATES, { timeStyle: "medium" });
const number = new Intl.NumberFormat(LANGUAGE);

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60]];

function ago(moment) {
  const seconds = Math.round((moment - Date.now()) / 1000);
  if (Math.abs(seconds) < 45) return seconds > 10 ? "in a moment" : "just now";
  if (Math.abs(seconds) > 86400 * 27) return day.format(moment);
  for (const [unit, length] of UNITS) {
    if (Math.abs(seconds) >= length * 0.95) return relative.format(Math.round(seconds / length), unit);
  }
  return relative.format(Math.sign(seconds), "minute");
}

function parse(text) {
  const moment = new Date(text ?? NaN);
  return Number.isNaN(moment.getTime()) ? null : moment;
}

/** How long ago something was, or is to be; the exact moment is its title. */
export function when(text, otherwise = "—") {
  const moment = parse(text);
  if (!moment) return otherwise;
  const props = { datetime: text, title: exact.format(moment), "data-relative": true };
  return h("time", props, ago(moment));
}

/** The exact moment. */
export function moment(text, otherwise = "—") {
  const at = parse(text);
  return at ? h("time", { datetime: text }, exact.format(at)) : otherwise;
}

/** The time of day, with the whole moment as its title. */
export function clock(text) {
  const at = parse(text);
  return at ? h("time", { datetime: text, title: exact.format(at) }, clockForm.format(at)) : "";
}

/** A number of seconds, as short as it can be read. */
export function span(seconds) {
  if (!Number.isFinite(seconds)) return "";
  const s = Math.max(0, seconds);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 100) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
  if (s < 86400 * 2) return `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
  return `${Math.round(s / 86400)} days`;
}

/** How long something took, or has taken so far. */
export function lasted(start, end) {
  const from = parse(start);
  if (!from) return "";
  return span(((parse(end) ?? new Date()) - from) / 1000);
}

/** A size. */
export function bytes(count) {
  if (!Number.isFinite(count)) return "—";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = count;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

/** A count with its noun: "1 device", "3 devices". */
export function count(n, one, many = `${one}s`) {
  return `${number.format(n)} ${n === 1 ? one : many}`;
}

/** A name of the API as words: `pairing_required` is "pairing required". */
export function words(name) {
  return String(name ?? "").replace(/_/g, " ");
}

/** The same, beginning a sentence. */
export function title(name) {
  const text = words(name);
  return text.charAt(0).toUpperCase() + text.slice(1);
}

setInterval(() => {
  for (const node of document.querySelectorAll("time[data-relative]")) {
    const text = ago(parse(node.dateTime));
    if (node.textContent !== text) node.textContent = text;
  }
}, 15_000);
