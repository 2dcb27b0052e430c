// One endpoint. Owns its deliveries by status, replaying them, and the endpoint's own life.

import { call, get, start } from "../api.js";
import { button, fill, h, icon, reconcile } from "../dom.js";
import { ask } from "../dialog.js";
import { field } from "../forms.js";
import { title, when } from "../format.js";
import { guarded } from "../guard.js";
import { coalesce, listen, untilEnded } from "../live.js";
import { announce, box, complain, toast } from "../notify.js";
import { Pages, firstLook, moreButton, row, table } from "../paging.js";
import { go, setQuery, setTitle } from "../router.js";
import { badge } from "../status.js";
import { inert } from "../text.js";
import { deadText, filterText, lag, tellSecret } from "./deliveries.js";

const COLUMNS = [["Event"], ["Status"], ["Tries", "num"], ["Last answer"], ["When", "num"], ["(Replay)", "act"]];
const STATES = ["pending", "dead", "delivered"];
const LOOK_MS = 5000;
/** Past every sequence number that there can be. */
const END = Number.MAX_SAFE_INTEGER;

export async function endpointPage({ main, params, query, signal }) {
  const path = `/v1/webhooks/${encodeURIComponent(params.id)}`;
  const filter = { status: STATES.includes(query.status) ? query.status : "" };
  let endpoint = null;
  const heading = h("h1", { tabindex: "-1" }, "Endpoint");
  setTitle("Endpoint");
  const state = h("span");
  const glance = h("div", { class: "glance" });
  const notice = h("div", { class: "stack" });
  const place = h("div", { class: "card" });
  const list = table("Deliveries", COLUMNS);
  const pages = new Pages(`${path}/deliveries`, () => ({ status: filter.status }), signal);
  const more = moreButton(pages, show, "deliveries");

  const enable = guarded("Enable", { class: "primary" }, () => act("POST", "/enable", "The endpoint is enabled"));
  const disable = guarded("Disable…", { icon: "pause" }, disableAsked);
  const allDead = guarded("Replay all dead", { icon: "restart" }, () => replayAsked("Replay every dead delivery?", "Each is sent again, in order. The receiver knows them by their ids.", { from_sequence: 1, to_sequence: END, dead: true }));
  const range = button("Replay a range…", {}, replayRange);
  const secret = button("New secret…", { icon: "key" }, newSecret);
  const remove = button("Delete…", { icon: "trash", class: "danger end" }, removeAsked);
  const actions = h("div", { class: "actions", role: "group", "aria-label": "Actions" }, enable, allDead, range, secret, disable, remove);

  const status = field({ name: "status", label: "Status", plain: true, value: filter.status, options: [["", "Any"], ...STATES.map((it) => [it, title(it)])] });
  status.input.addEventListener("change", () => {
    filter.status = status.value();
    setQuery(filter);
    pages.clear();
    firstLook(pages, place, show, "admin");
  });

  async function look() {
    endpoint = await get(path, signal);
    fill(heading, inert(endpoint.url, 300));
    setTitle(`Deliveries to ${endpoint.url.slice(0, 80)}`);
    fill(state, badge(endpoint.status, true));
    fill(glance, h("span", null, "gets ", h("b", null, inert(filterText(endpoint), 200))), h("span", null, h("b", null, String(endpoint.pending)), " waiting"), h("span", null, "behind ", h("b", null, lag(endpoint))), h("span", null, deadText(endpoint.dead)), endpoint.reason && h("span", null, inert(endpoint.reason, 300)));
    enable.hidden = endpoint.status === "enabled";
    disable.hidden = endpoint.status !== "enabled";
    allDead.refuse(endpoint.dead > 0 ? null : "Nothing is dead.");
    remove.hidden = endpoint.is_frontend;
  }

  function show() {
    if (pages.items.length === 0) {
      fill(place, h("div", { class: "empty" }, h("h2", null, filter.status ? `Nothing is ${filter.status}` : "Nothing was sent yet"), h("p", null, "Deliveries appear here by themselves.")));
      return;
    }
    reconcile(list.body, pages.items, (it) => it.id, makeRow);
    more.update();
    if (!list.node.isConnected) fill(place, list.node, more);
  }

  function makeRow() {
    const { node, cells } = row(COLUMNS);
    const [event, how, tries, last, at, act] = cells;
    const again = guarded("Replay", { class: "compact" }, () => replay({ delivery_id: node.dataset.id }));
    act.append(h("div", { class: "row" }, again));
    return {
      node,
      update(it) {
        node.dataset.id = it.id;
        again.setAttribute("aria-label", `Replay ${it.type} of ${it.name}, number ${it.sequence}`);
        again.refuse(it.status === "pending" ? "It is still being tried." : null);
        fill(event, inert(title(it.type), 60), h("span", { class: "sub" }, inert(it.name, 60), ` · number ${it.sequence}`));
        fill(how, badge(it.status), it.replay && h("span", { class: "sub" }, "replayed"));
        fill(tries, String(it.attempts));
        // What went wrong names the status.
        const answer = it.last_error ?? it.last_status;
        fill(last, answer ? inert(answer, 300) : h("span", { class: "soft" }, "—"));
        fill(at, when(it.ended_at ?? it.created_at), it.next_attempt_at && h("span", { class: "sub" }, "next ", when(it.next_attempt_at)));
      },
    };
  }

  const again = coalesce(async () => {
    await look();
    if (await pages.again()) show();
  }, signal, 800);

  async function act(method, rest, said) {
    try {
      const answer = await call(method, `${path}${rest}`, { signal });
      toast(said, { tone: "good" });
      again();
      return answer;
    } catch (problem) {
      complain(problem, "admin");
      return null;
    }
  }

  /** Starts a replay and follows it to its end. */
  async function replay(body) {
    try {
      const operation = await start("POST", `${path}/replay`, body, signal);
      follow(operation);
    } catch (problem) {
      complain(problem, "admin");
    }
  }

  async function follow(operation) {
    const line = h("span");
    const shown = box("", h("b", null, "Replaying"), line);
    shown.setAttribute("role", "status");
    fill(notice, shown);
    try {
      const end = await untilEnded(operation.id, signal, (it) => {
        const step = it.steps?.find((part) => part.status === "running");
        fill(line, inert(step?.message ?? step?.name ?? "", 300));
      });
      const good = end.status === "succeeded";
      fill(notice, box(good ? "good" : "bad", h("b", null, good ? "Replayed" : `The replay ${end.interrupted ? "was interrupted" : end.status}`), end.error && h("span", null, inert(end.error.message, 600))));
      announce(good ? "Replayed" : "The replay did not succeed");
    } catch (problem) {
      if (signal.aborted) return;
      fill(notice);
      complain(problem, "admin");
    }
    again();
  }

  function replayAsked(heading, text, body) {
    return ask({ title: heading, text, submit: "Replay", need: "admin", work: (_, within) => start("POST", `${path}/replay`, body, within) }).then((it) => it?.id && follow(it));
  }

  function replayRange() {
    const whole = (text) => (/^\d{1,15}$/.test(text) && Number(text) > 0 ? null : "A whole number above 0.");
    const from = field({ name: "from", label: "From number", required: true, inputmode: "numeric", check: whole, hint: "The sequence of the first event." });
    const to = field({ name: "to", label: "To number", required: true, inputmode: "numeric", check: (text) => whole(text) ?? (Number(text) < Number(from.value()) ? "Not before the first." : null), hint: "The sequence of the last one." });
    const only = field({ name: "only", label: "Which", plain: true, options: [["", "All of them"], ["dead", "Only the dead ones"]] });
    return ask({
      title: "Replay a range",
      text: "Events in the range are sent again to this endpoint, in order.",
      fields: [from, to, only],
      submit: "Replay",
      need: "admin",
      work: (values, within) => {
        const body = { from_sequence: Number(values.from), to_sequence: Number(values.to) };
        if (values.only) body.dead = true;
        return start("POST", `${path}/replay`, body, within);
      },
    }).then((it) => it?.id && follow(it));
  }

  async function newSecret() {
    const answer = await ask({ title: "Make a new secret?", text: "For a day, deliveries are signed with the old one and the new one, so that the receiver can change over.", submit: "Make it", need: "admin", work: (_, within) => start("POST", `${path}/rotate-secret`, undefined, within) });
    if (answer?.secret) await tellSecret(answer.secret);
  }

  async function disableAsked() {
    await ask({ title: "Disable this endpoint?", text: "Nothing more is sent to it until it is enabled again. What waits for it stays.", submit: "Disable", need: "admin", work: (_, within) => call("POST", `${path}/disable`, { signal: within }) });
    again();
  }

  async function removeAsked() {
    const gone = await ask({ title: "Delete this endpoint?", text: "What waits for it, and its dead deliveries, go with it.", submit: "Delete", tone: "danger", need: "admin", work: (_, within) => start("DELETE", path, undefined, within) });
    if (gone) go("/deliveries");
  }

  fill(
    main,
    h("a", { class: "back", href: "/deliveries" }, icon("back"), "Deliveries"),
    h("div", { class: "title" }, heading, state),
    glance,
    actions,
    notice,
    h("form", { class: "filters", "aria-label": "Deliveries", on: { submit: (event) => event.preventDefault() } }, status.node),
    place,
  );
  await look();
  firstLook(pages, place, show, "admin");
  listen("event", signal, () => pages.loaded && again());
  listen("look", signal, () => pages.loaded && again());
  const timer = setInterval(() => !document.hidden && pages.loaded && endpoint?.pending > 0 && again(), LOOK_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
}
