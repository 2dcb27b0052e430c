// A gateway's log as it is written. Owns following, pausing and bounding it. Everything in it is a
// stranger's text: shown as it is, with what would hide or move other text made visible.

import { of, withQuery } from "../api.js";
import { button, fill, h, icon } from "../dom.js";
import { field } from "../forms.js";
import { count } from "../format.js";
import { problemBox } from "../notify.js";
import { follow } from "../stream.js";
import { pieces } from "../text.js";

/** The most lines that are kept, on the page or while it is paused. */
const MOST = 5000;
const LONGEST = 4000;

export function logs({ name, signal, deployment }) {
  let status = deployment.status;
  let tail = 200;
  let paused = false;
  let stuck = true;
  let filter = "";
  let queue = [];
  let frame = 0;
  let stream = null;

  const log = h("div", { class: "log", role: "log", "aria-live": "off", "aria-label": `Log of ${name}`, tabindex: "0" });
  const state = h("span", { class: "badge idle", role: "status" }, "Connecting…");
  const pause = button("Pause", { class: "compact", icon: "pause" }, () => setPaused(!paused));
  const wrap = button("Wrap lines", { class: "compact", "aria-pressed": "true" }, () => {
    const wraps = !log.classList.toggle("long");
    wrap.setAttribute("aria-pressed", String(wraps));
  });
  const newest = button("To the newest", { class: "compact", icon: "down" }, () => {
    stuck = true;
    bottom();
  });
  newest.hidden = true;
  const find = field({ name: "find", label: "Only lines with", plain: true, type: "search" });
  find.node.firstChild.className = "unseen";
  find.input.placeholder = "Only lines with…";
  find.input.addEventListener("input", () => {
    filter = find.value().toLowerCase();
    for (const line of log.children) line.hidden = hides(line);
    if (stuck) bottom();
  });
  const lines = field({ name: "tail", label: "Begin with", plain: true, value: "200", options: [["200", "Last 200 lines"], ["1000", "Last 1,000 lines"], ["5000", "Last 5,000 lines"]] });
  lines.node.firstChild.className = "unseen";
  lines.input.addEventListener("change", () => {
    tail = Number(lines.value());
    restart();
  });
  const place = h("div");
  const node = h(
    "section",
    { class: "card", "aria-label": "Log" },
    h("h2", { class: "unseen" }, "Log"),
    h("div", { class: "logbar" }, state, find.node, lines.node, pause, wrap, newest),
    place,
    log,
  );

  log.addEventListener("scroll", () => {
    stuck = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    newest.hidden = stuck;
  });

  function hides(line) {
    return filter !== "" && !line.classList.contains("note") && !line.textContent.toLowerCase().includes(filter);
  }

  function bottom() {
    log.scrollTop = log.scrollHeight;
  }

  function take(text, note = false) {
    queue.push({ text, note });
    if (queue.length > MOST) queue = queue.slice(-MOST);
    if (paused) showState();
    else frame ||= requestAnimationFrame(flush);
  }

  function flush() {
    frame = 0;
    const fresh = document.createDocumentFragment();
    for (const { text, note } of queue.splice(0)) {
      const line = h("div", { class: note ? "note" : null }, pieces(text, LONGEST));
      line.hidden = hides(line);
      fresh.append(line);
    }
    log.append(fresh);
    while (log.childElementCount > MOST) log.firstChild.remove();
    if (stuck) bottom();
  }

  function setPaused(next) {
    paused = next;
    fill(pause, icon(paused ? "play" : "pause"), paused ? "Go on" : "Pause");
    if (!paused) flush();
    showState();
  }

  let streaming = "waiting";
  function showState() {
    const [text, tone] = paused
      ? [`Paused, ${count(queue.length, "new line")}`, "warn"]
      : { live: ["Following", "good"], waiting: ["Connecting…", "busy"], ended: ["Ended", "idle"] }[streaming];
    state.className = `badge ${tone}`;
    if (state.textContent !== text) state.textContent = text;
  }

  function restart() {
    stream?.abort();
    stream = new AbortController();
    const mine = stream;
    signal.addEventListener("abort", () => mine.abort(), { once: true });
    queue = [];
    fill(log);
    fill(place);
    stuck = true;
    let opened = 0;
    follow(withQuery(of(name, "/logs"), { tail, follow: "true" }), mine.signal, {
      event: (message) => {
        if (message.type === "error") return take(`— ${message.data} —`, true);
        for (const line of message.data.split("\n")) take(line);
      },
      state(next) {
        streaming = next;
        if (next === "live") {
          opened += 1;
          if (opened > 1) take("— connected again; the last lines may stand here twice —", true);
        }
        showState();
      },
      ended() {
        if (["running", "degraded", "restarting", "launching", "updating"].includes(status)) return true;
        streaming = "ended";
        showState();
        take("— the log ends here: the gateway does not run —", true);
        return false;
      },
      refused(problem) {
        streaming = "ended";
        showState();
        fill(place, h("div", { class: "padded" }, problemBox(problem, { need: "read", retry: restart })));
      },
    });
  }

  restart();
  return {
    node,
    update(next) {
      const woke = next.status === "running" && status !== "running" && streaming === "ended";
      status = next.status;
      if (woke) restart();
    },
  };
}
