// Tasks: one box that filters, the states with their counts, rows that stay where they are, actions on what was seen.

import * as api from "../api.js";
import { confirmed, notify } from "../dialogs.js";
import { button, copyText, div, h, icon, p, section, span, td, th } from "../dom.js";
import { badge, count, firstLine, moment, seconds, short, since, tail, taskName } from "../format.js";
import { operate } from "./failures.js";

const STATES = ["scheduled", "pending", "running", "retrying", "succeeded", "dead", "cancelled", "expired"];
const WORDS = ["state:", "queue:", "task:", "tag:", "meta.", "error:", "fingerprint:", "worker:", "batch_id:", "created_after:", "created_before:"];
const FITS = { retry: ["retrying", "dead", "cancelled", "expired"], run: ["scheduled", "retrying"], cancel: ["scheduled", "pending", "running", "retrying"], delete: STATES.filter((state) => state !== "running") };
const VERBS = { retry: "Retry", run: "Run now", cancel: "Cancel", delete: "Delete" };

export function tasks({ app, query }) {
  const view = {
    title: "Tasks", q: query.get("q") ?? "", order: query.get("order") ?? "desc", items: null, cursor: null, scanned: 0, complete: true,
    ticked: new Set(), everything: false, fresh: 0, at: -1, gone: new Set(), suggestions: [], picked: -1, handlers: [], showsFailure: true,

    async load() {
      const page = await api.get(`tasks?${api.query({ q: view.q, order: view.order, limit: 50 })}`);
      Object.assign(view, { items: page.items, cursor: page.next_cursor, scanned: page.scanned, complete: page.complete, fresh: 0, failed: null });
      view.gone.clear();
      if (!app.queues.size) for (const queue of (await api.get("queues")).items) app.queues.set(queue.queue, queue);
      view.handlers = (await api.get("handlers")).items.map((one) => one.task);
    },

    hears(name, data) {
      if (name === "queue" || name === "stats") return true;
      if (name === "busy") { view.fresh += data.tasks; return view.settle(); }
      if (name !== "task" || !view.items) return false;
      const row = view.items.find((task) => task.task_id === data.task_id);
      if (row) { view.stale ??= setTimeout(view.freshen, 400); (view.changed ??= new Set()).add(row.task_id); return false; }
      if (data.state === "pending" || data.state === "scheduled" || data.state === "running") view.fresh += 1;
      return view.settle();
    },

    // Rows that changed are read again by their ids and patched where they stand.
    async freshen() {
      view.stale = null;
      const ids = [...(view.changed ?? [])].slice(0, 50);
      view.changed = null;
      const found = await Promise.all(ids.map((id) => api.get(`tasks/${id}`).catch(() => null)));
      ids.forEach((id, at) => { const place = view.items.findIndex((task) => task.task_id === id); if (place >= 0) { if (found[at]) view.items[place] = found[at]; else view.gone.add(id); } });
      app.redraw();
    },

    // New rows come by themselves only while nobody points at the table, ticks, or has gone beyond the first page.
    settle() {
      const busy = view.ticked.size || app.drawer || document.querySelector("#main table:hover") || view.items?.length > 50 || scrollY > 80 || document.activeElement?.type === "search";
      if (!busy) app.later(view);
      return true;
    },

    render() {
      return [div("row", searchBox(), button("order", view.order === "desc" ? "Newest first" : "Oldest first", { title: "Order, by the time each state counts" })), segments(), view.failed ? h("p", { class: "error-note", role: "alert" }, view.failed.message) : null,
        view.fresh ? button("fresh", `${count(view.fresh)} new`, { class: "pill", "data-key": "fresh" }) : null, view.items === null ? null : view.items.length ? table() : empty(), footer()];
    },

    acts: {
      async filter(element) { await apply(element.querySelector("input").value); },
      type(element) { suggest(element.value); app.redraw(); },
      suggestion(element) { take(view.suggestions[Number(element.dataset.at)]); },
      async order() { view.order = view.order === "desc" ? "asc" : "desc"; await apply(view.q); },
      fresh: () => view.load(),
      async more() { const page = await api.get(`tasks?${api.query({ q: view.q, order: view.order, limit: 50, cursor: view.cursor })}`); view.items.push(...page.items); Object.assign(view, { cursor: page.next_cursor, scanned: view.scanned + page.scanned, complete: page.complete }); app.redraw(); },
      tick(element) { tick(element.closest("[data-key]").dataset.key, element.checked, app.shift); },
      "tick-all"(element) { view.everything = false; if (element.checked) view.items.forEach((task) => view.ticked.add(task.task_id)); else view.ticked.clear(); app.redraw(); },
      everything() { view.everything = true; app.redraw(); },
      none() { view.ticked.clear(); view.everything = false; app.redraw(); },
      bulk: (element) => runBulk(element.dataset.verb),
      one: (element) => runOne(element.dataset.verb, element.closest("[data-key]").dataset.key),
      peek(element, event) { if (!event.target.closest("a, button, input")) { view.at = view.items.findIndex((task) => task.task_id === element.dataset.key); app.openDrawer(element.dataset.key); app.redraw(); } },
    },

    key(key) {
      const task = view.items?.[view.at];
      if (key === "j" || key === "k") { view.at = Math.max(0, Math.min(view.items.length - 1, view.at + (key === "j" ? 1 : -1))); app.redraw(); requestAnimationFrame(() => document.querySelector("tr.cursor")?.scrollIntoView({ block: "nearest" })); if (app.drawer) app.openDrawer(view.items[view.at].task_id); return true; }
      if (key === "a") { view.items.forEach((one) => view.ticked.add(one.task_id)); app.redraw(); return true; }
      if (!task) return false;
      if (key === "Enter") app.openDrawer(task.task_id);
      else if (key === "o") app.go(`tasks/${task.task_id}`);
      else if (key === "x") tick(task.task_id, !view.ticked.has(task.task_id));
      else if (key === "y") copyText(task.task_id).then(() => notify("Copied."));
      else if (key === "r" || key === "c") runOne(key === "r" ? "retry" : "cancel", task.task_id).catch((error) => notify(error.message, true));
      else return false;
      return true;
    },

    painted(element) {
      const input = element.querySelector("input[type=search]");
      if (!input || input.wired) return;
      input.wired = true;
      input.addEventListener("keydown", (event) => {
        if (!view.suggestions.length) return;
        if (event.key === "ArrowDown" || event.key === "ArrowUp") { view.picked = (view.picked + (event.key === "ArrowDown" ? 1 : -1) + view.suggestions.length) % view.suggestions.length; event.preventDefault(); app.redraw(); }
        else if ((event.key === "Enter" || event.key === "Tab") && view.picked >= 0) { event.preventDefault(); take(view.suggestions[view.picked]); }
        else if (event.key === "Escape") { view.suggestions = []; app.redraw(); }
      });
      input.addEventListener("blur", () => setTimeout(() => { view.suggestions = []; app.redraw(); }, 150));
    },
  };

  async function apply(q) {
    Object.assign(view, { q: q.trim(), suggestions: [], at: -1, everything: false });
    view.ticked.clear();
    const search = api.query({ q: view.q, order: view.order === "desc" ? "" : view.order });
    app.go(`tasks${search ? `?${search}` : ""}`, true);
    try { await view.load(); } catch (error) { view.failed = error; view.items = []; }
    app.redraw();
  }

  const chosen = () => { const match = /(?:^|\s)state:(\S+)/.exec(view.q); return match ? match[1].split(",") : []; };
  const withState = (state) => { const rest = view.q.replace(/(?:^|\s)state:\S+/, "").trim(); return `${rest}${state ? ` state:${state}` : ""}`.trim(); };

  function suggest(text) {
    const word = text.slice(text.lastIndexOf(" ") + 1), [key, value = ""] = word.split(":");
    const values = { state: [...STATES, "failing"], queue: [...app.queues.keys()], task: view.handlers }[key];
    const found = word.includes(":") && values ? values.filter((one) => one.startsWith(value.split(",").at(-1))).map((one) => `${key}:${[...value.split(",").slice(0, -1), one].join(",")}`) : WORDS.filter((one) => word && one.startsWith(word));
    Object.assign(view, { suggestions: found.filter((one) => one !== word).slice(0, 10), picked: found.length ? 0 : -1 });
  }

  function take(suggestion) {
    const input = document.querySelector("#main input[type=search]"), text = input.value, start = text.lastIndexOf(" ") + 1;
    input.value = text.slice(0, start) + suggestion + (/[:.]$/.test(suggestion) ? "" : " ");
    input.focus();
    suggest(input.value);
    app.redraw();
  }

  const searchBox = () => h("form", { class: "search grow", role: "search", "data-act": "filter", "data-on": "submit" }, icon("search"),
    h("input", { type: "search", value: view.q, placeholder: "state:dead queue:emails error:TimeoutError any words", "aria-label": "Filter tasks", "data-act": "type", "data-on": "input", autocomplete: "off", spellcheck: "false", "data-live": true }), h("kbd", {}, "/"),
    view.suggestions.length ? h("ul", { class: "suggest", role: "listbox" }, view.suggestions.map((one, at) => h("li", { role: "option", "aria-selected": String(at === view.picked), "data-act": "suggestion", "data-at": at }, one))) : null);

  function segments() {
    const sum = (state) => [...app.queues.values()].reduce((total, queue) => total + queue.counts[state], 0), now = chosen();
    const item = (state, label, number) => h("a", { href: `tasks?${api.query({ q: withState(state) })}`, "aria-current": (state ? now.length === 1 && now[0] === state : !now.length) && "true" }, label, number === null ? null : h("b", {}, short(number)));
    return h("div", { class: "segments", role: "group", "aria-label": "By state" }, item("", "All", null), STATES.map((state) => item(state, state, sum(state))));
  }

  function table() {
    drawn = new Map([...document.querySelectorAll("#main tbody tr")].map((row) => [row.dataset.key, row.dataset.keep]));
    const all = view.items.every((task) => view.ticked.has(task.task_id));
    return h("section", { class: "panel", "data-key": "list" }, bulk(), div("scroll", h("table", { class: "stack" },
      h("thead", {}, h("tr", {}, h("th", {}, h("input", { type: "checkbox", "aria-label": "Tick all on this page", "data-act": "tick-all", "data-on": "change", checked: all })), ["State", "Task", "Id", "Queue", "Payload or error"].map((label) => h("th", {}, label)), ["Attempt", "Time", "When"].map((label) => h("th", { class: "num" }, label)), th())),
      h("tbody", {}, view.items.map((task, at) => rowOf(task, at))))));
  }

  // Five hundred rows are as cheap as one: a row is made again only when something in it would differ.
  let drawn = new Map();
  const ages = new WeakMap();
  let age = 0;
  function rowOf(task, at) {
    if (!ages.has(task)) ages.set(task, ++age);
    const when = moment(task.next_run_at ?? task.finished_at ?? task.started_at ?? task.created_at), ran = task.state === "running" && task.started_at ? Math.max(0, since(task.started_at)) : task.run_seconds;
    const same = [ages.get(task), at === view.at, view.ticked.has(task.task_id), view.gone.has(task.task_id), seconds(ran), when.textContent ?? when].join();
    return drawn.get(task.task_id) === same ? h("tr", { "data-key": task.task_id, "data-keep": same }) : fullRow(task, at, when, ran, same);
  }

  function fullRow(task, at, when, ran, same) {
    const fits = (verb) => FITS[verb].includes(task.state);
    return h("tr", { "data-key": task.task_id, "data-keep": same, "data-act": "peek", class: [at === view.at && "cursor", view.gone.has(task.task_id) && "gone"].filter(Boolean).join(" ") },
      td("", h("input", { type: "checkbox", "aria-label": `Tick ${task.task_id}`, "data-act": "tick", "data-on": "change", checked: view.ticked.has(task.task_id) })),
      td("", badge(task.state)), td("nowrap", h("a", { href: `tasks/${task.task_id}` }, taskName(task)), task.unroutable ? h("span", { class: "chip", title: "No worker knows this name" }, "no handler") : null),
      h("td", { class: "mono muted nowrap", title: task.task_id }, tail(task.task_id)), td("", span("chip", task.queue)),
      td("cut mono", task.error ? h("span", { class: "bad", title: task.error.message }, `${task.error.type}: ${firstLine(task.error.message)}`) : task.progress && task.state === "running" ? [h("progress", { value: task.progress.done, max: task.progress.total ?? 1 }), ` ${task.progress.message ?? ""}`] : span("muted", task.payload_preview), task.tags.map((tag) => [" ", span("chip", tag)])),
      td("num nowrap muted", task.attempt ? `${task.attempt}${task.max_attempts ? `/${task.max_attempts}` : ""}` : ""),
      td("num nowrap", ran === null ? "" : seconds(ran)),
      td("num nowrap muted", when),
      td("", div("acts", fits("retry") ? button("one", "Retry", { "data-verb": "retry", disabled: !app.may("operate") }) : null, task.state === "scheduled" ? button("one", "Run now", { "data-verb": "run", disabled: !app.may("operate") }) : null, fits("cancel") ? button("one", "Cancel", { "data-verb": "cancel", class: "quiet", disabled: !app.may("operate") }) : null)));
  }

  const empty = () => section("panel empty", h("h2", {}, view.q ? "No task matches" : "No tasks"), view.q ? [p("", "Commas mean or; different keys mean and. What has no key is looked for in ids, names, tags, payloads and errors."), h("a", { href: "tasks" }, "Show all")] : h("a", { href: "submit" }, "Submit one"));

  const footer = () => view.items?.length ? div("row muted", `Showing ${count(view.items.length)}, ${view.order === "desc" ? "newest" : "oldest"} first; looked at ${count(view.scanned)}.`, view.complete ? null : span("warn", " The search stopped at its limit."), view.cursor ? button("more", view.complete ? "Load more" : "Keep looking") : null) : null;

  function bulk() {
    const number = view.ticked.size;
    const picked = (view.items ?? []).filter((task) => view.ticked.has(task.task_id));
    const verb = (name) => { const fitting = view.everything ? null : picked.filter((task) => FITS[name].includes(task.state)).length; return button("bulk", `${VERBS[name]}${fitting ? ` ${count(fitting)}` : ""}`, { "data-verb": name, "data-key": name, class: name === "delete" && "danger", disabled: (!view.everything && !fitting) || !app.may(name === "delete" ? "admin" : "operate") }); };
    return h("div", { class: `bulk ${number ? "" : "idle"}`, role: "toolbar", "aria-label": "Actions on ticked tasks" }, h("span", { "data-key": "said" }, view.everything ? "Everything that matches" : number ? `${count(number)} ticked` : span("muted", "Nothing ticked")), number && view.cursor && !view.everything && number === view.items.length ? button("everything", "Select all that match", { class: "quiet", "data-key": "all" }) : null, number ? button("none", "None", { class: "quiet", "data-key": "none" }) : null, h("span", { class: "grow", "data-key": "gap" }), ["retry", "run", "cancel", "delete"].map(verb));
  }

  let lastTick = null;
  function tick(id, on, range) {
    const place = view.items.findIndex((task) => task.task_id === id);
    const rows = range && lastTick !== null ? view.items.slice(Math.min(place, lastTick), Math.max(place, lastTick) + 1) : [view.items[place]];
    for (const task of rows) if (on) view.ticked.add(task.task_id); else view.ticked.delete(task.task_id);
    lastTick = place;
    view.everything = false;
    app.redraw();
  }

  async function runBulk(verb) {
    if (view.everything) {
      const filter = Object.fromEntries([["q", view.q]].filter(([, text]) => text));
      const { matched, counted } = await api.post("operations", { action: verb, filter, dry_run: true });
      if (!matched) { notify(`No task here can be ${verb === "run" ? "run" : verb}.`, true); return; }
      if (counted ? await operate(app, verb, filter, matched, verb === "delete") : await confirmed({ verb: VERBS[verb], number: matched, destroys: verb === "delete" }) && (await api.post("operations", { action: verb, filter }))) { view.ticked.clear(); view.everything = false; }
    } else {
      const ids = view.items.filter((task) => view.ticked.has(task.task_id) && FITS[verb].includes(task.state)).map((task) => task.task_id);
      if (!(await confirmed({ verb: VERBS[verb], number: ids.length, destroys: verb === "delete" }))) return;
      const answer = await api.post("operations", { action: verb, ids });
      notify(`${VERBS[verb]}: ${count(answer.done)} done${answer.skipped ? `, ${count(answer.skipped)} had moved on` : ""}.`, answer.failed > 0);
      view.ticked.clear();
    }
    await view.load();
    app.redraw();
  }

  async function runOne(verb, id) {
    const fresh = await api.post(`tasks/${id}/${verb}`);
    const place = view.items.findIndex((task) => task.task_id === id);
    if (place >= 0) view.items[place] = fresh;
    notify(`${VERBS[verb]}: ${tail(id)} is ${fresh.state}${fresh.cancel_requested ? ", asked to stop" : ""}.`);
    app.redraw();
  }

  return view;
}
