// Tasks: one box that filters, the states with their counts, rows that stay where they are, actions on what was seen.

import { fits, operate, STATES, VERBS } from "../acting.js";
import * as api from "../api.js";
import { confirmed, notify } from "../dialogs.js";
import { blank, button, copyText, div, h, icon, p, span, table, td } from "../dom.js";
import { badge, count, find, moment, progress, seconds, short, since, tail, taskLink, taskName, told } from "../format.js";

const WORDS = ["state:", "queue:", "task:", "tag:", "meta.", "error:", "fingerprint:", "worker:", "batch_id:", "created_after:", "created_before:"];
const HEADS = ["State", "Task", "Id", "Queue", "Payload or error", "#Attempt", "#Time", "#When", ""];
const LIMIT = 50, LIMIT_MAX = 200, ROWS_MAX = 500;

export function tasks({ app, query }) {
  const view = {
    title: "Tasks", q: query.get("q") ?? "", order: query.get("order") ?? "desc", items: null, scanned: 0, complete: true,
    cursor: "", from: "", before: 0, // where the next rows are, where those on the page began, how many came before them
    ticked: new Set(), everything: false, fresh: 0, at: -1, gone: new Set(), changed: new Set(), suggestions: [], picked: -1, handlers: [], showsFailure: true,

    // As many rows as there were, so that who has gone far down keeps their place; those that are the same stay the same.
    async load() {
      const asked = view.asked = {}, old = new Map(view.items?.map((task) => [task.task_id, task])), found = await read(view.from, old.size);
      while (found.items.length < old.size && found.cursor) join(found, await read(found.cursor, old.size - found.items.length));
      if (asked !== view.asked) return; // something else was asked for meanwhile
      found.items = found.items.map((task) => { const before = old.get(task.task_id); return before && JSON.stringify(before) === JSON.stringify(task) ? before : task; });
      Object.assign(view, found, { fresh: 0, failed: null });
      view.gone.clear();
      if (!app.queues.size) for (const queue of await api.list("queues")) app.queues.set(queue.queue, queue);
      view.handlers = (await api.list("handlers")).map((one) => one.task);
    },

    hears(name, data) {
      if (name === "queue" || name === "stats") return true;
      if (name === "busy") { view.fresh += data.tasks; return settle(); }
      if (name !== "task" || !view.items) return false;
      if (place(data.task_id) >= 0) { view.stale ??= setTimeout(freshen, 400); view.changed.add(data.task_id); return false; }
      if (["pending", "scheduled", "running"].includes(data.state)) view.fresh += 1;
      return settle();
    },

    render() {
      const newest = view.order === "desc";
      return [div("row", searchBox(), button("order", newest ? "Newest first" : "Oldest first", { title: "Order, by the time each state counts" })), segments(), view.failed && h("p", { class: "error-note", role: "alert" }, view.failed.message),
        view.fresh > 0 && button("fresh", `${count(view.fresh)} new`, { class: "pill", "data-key": "fresh" }), view.items && (view.items.length ? list() : empty()),
        view.items?.length > 0 && div("row muted", `Showing ${view.before ? `${count(view.before + 1)} to ` : ""}${count(view.before + view.items.length)}, ${newest ? "newest" : "oldest"} first; looked at ${count(view.scanned)}.`, !view.complete && span("warn", "The search stopped at its limit."), view.cursor && button("more", !view.complete ? "Keep looking" : view.items.length < ROWS_MAX ? "Load more" : "Next page"), view.before > 0 && button("fresh", "From the start", { "data-key": "start" }))];
    },

    acts: {
      async filter(element) { await apply(element.querySelector("input").value); },
      type(element) { suggest(element.value); },
      suggestion(element) { take(view.suggestions[Number(element.dataset.at)]); },
      async order() { view.order = view.order === "desc" ? "asc" : "desc"; await apply(view.q); },
      fresh: () => (view.before ? again() : view.load()),
      async more() {
        if (view.items.length < ROWS_MAX) join(view, await read(view.cursor));
        else { view.before += view.items.length; await again(view.cursor); scrollTo(0, 0); }
      },
      tick(element) { tick(element.closest("tr").dataset.key, element.checked, app.shift); },
      "tick-all"(element) { tickAll(element.checked); },
      everything() { view.everything = true; },
      none() { tickAll(false); },
      bulk: (element) => runBulk(element.dataset.verb),
      one: (element) => runOne(element.dataset.verb, element.closest("tr").dataset.key),
      peek(element, event) { if (!event.target.closest("a, button, input")) { view.at = place(element.dataset.key); app.openDrawer(element.dataset.key); } },
    },

    key(key) {
      if (key === "a") { tickAll(true); return true; }
      if ((key === "j" || key === "k") && view.items?.length) {
        view.at = Math.max(0, Math.min(view.items.length - 1, view.at + (key === "j" ? 1 : -1)));
        app.redraw();
        requestAnimationFrame(() => document.querySelector("tr.cursor")?.scrollIntoView({ block: "nearest" }));
        if (app.drawer) app.openDrawer(view.items[view.at].task_id);
        return true;
      }
      const id = view.items?.[view.at]?.task_id;
      if (!id) return false;
      if (key === "Enter") app.openDrawer(id);
      else if (key === "o") app.go(`tasks/${id}`);
      else if (key === "x") tick(id, !view.ticked.has(id));
      else if (key === "y") copyText(id).then(() => notify("Copied."));
      else if (key === "r" || key === "c") runOne(key === "r" ? "retry" : "cancel", id).catch((error) => notify(error.message, true));
      else return false;
      return true;
    },

    painted(element) {
      const input = element.querySelector("input[type=search]");
      if (!input || input.wired) return;
      input.wired = true;
      input.addEventListener("keydown", (event) => {
        const number = view.suggestions.length, step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
        if (!number) return;
        if (step) { view.picked = (view.picked + step + number) % number; event.preventDefault(); app.redraw(); }
        else if ((event.key === "Enter" || event.key === "Tab") && view.picked >= 0) { event.preventDefault(); take(view.suggestions[view.picked]); }
        else if (event.key === "Escape") { view.suggestions = []; app.redraw(); }
      });
      input.addEventListener("blur", () => setTimeout(() => { view.suggestions = []; app.redraw(); }, 150));
    },
  };

  async function read(from, rows = 0) {
    const limit = Math.min(LIMIT_MAX, Math.max(LIMIT, rows)), { items, next_cursor: cursor, scanned, complete } = await api.get(`tasks?${api.query({ q: view.q, order: view.order, limit, cursor: from })}`);
    return { items, cursor, scanned, complete };
  }

  const join = (first, more) => Object.assign(first, more, { items: [...first.items, ...more.items], scanned: first.scanned + more.scanned });

  // From the start, or, since a page of thousands of rows is slow, from where this one ends.
  async function again(from = "") {
    Object.assign(view, { from, before: from && view.before, items: [], everything: false });
    view.ticked.clear();
    await view.load();
    app.redraw();
  }

  const place = (id) => view.items.findIndex((task) => task.task_id === id);

  // Rows that changed are read again by their ids and patched where they stand.
  async function freshen() {
    view.stale = null;
    const ids = [...view.changed].slice(0, LIMIT);
    view.changed.clear();
    const found = await Promise.all(ids.map((id) => api.get(`tasks/${id}`).catch(() => null)));
    ids.forEach((id, at) => { if (!found[at]) view.gone.add(id); else if (place(id) >= 0) view.items[place(id)] = found[at]; });
    app.redraw();
  }

  // New rows come by themselves only while nobody points at the table, ticks, or has gone beyond the first page.
  function settle() {
    const busy = view.ticked.size || app.drawer || document.querySelector("#main table:hover") || view.items?.length > LIMIT || view.before || scrollY > 80 || document.activeElement?.type === "search";
    if (!busy) app.later(view);
    return true;
  }

  async function apply(q) {
    Object.assign(view, { q: q.trim(), suggestions: [], at: -1 });
    const search = api.query({ q: view.q, order: view.order === "desc" ? "" : view.order });
    app.go(`tasks${search ? `?${search}` : ""}`, true);
    try { await again(); } catch (error) { view.failed = error; app.redraw(); }
  }

  // -- the box --

  function suggest(text) {
    const word = text.slice(text.lastIndexOf(" ") + 1), [key, value] = word.split(":"), before = (value ?? "").split(","), last = before.pop();
    const values = value !== undefined && { state: [...STATES, "failing"], queue: [...app.queues.keys()], task: view.handlers }[key];
    const found = values ? values.filter((one) => one.startsWith(last)).map((one) => `${key}:${[...before, one].join(",")}`) : WORDS.filter((one) => word && one.startsWith(word));
    Object.assign(view, { suggestions: found.filter((one) => one !== word).slice(0, 10), picked: found.length ? 0 : -1 });
  }

  function take(suggestion) {
    const input = document.querySelector("#main input[type=search]"), text = input.value;
    input.value = text.slice(0, text.lastIndexOf(" ") + 1) + suggestion + (/[:.]$/.test(suggestion) ? "" : " ");
    input.focus();
    suggest(input.value);
    app.redraw();
  }

  const searchBox = () => h("form", { class: "search grow", role: "search", "data-act": "filter", "data-on": "submit" }, icon("search"),
    h("input", { type: "search", value: view.q, placeholder: "state:dead queue:emails error:TimeoutError any words", "aria-label": "Filter tasks", "data-act": "type", "data-on": "input", autocomplete: "off", spellcheck: "false", "data-live": true }), h("kbd", {}, "/"),
    view.suggestions.length > 0 && h("ul", { class: "suggest", role: "listbox" }, view.suggestions.map((one, at) => h("li", { role: "option", "aria-selected": String(at === view.picked), "data-act": "suggestion", "data-at": at }, one))));

  function segments() {
    const chosen = /(?:^|\s)state:(\S+)/.exec(view.q)?.[1], rest = view.q.replace(/(?:^|\s)state:\S+/, "").trim();
    const item = (state, label, number) => h("a", { class: `s-${state}`, href: find(`${rest}${state && ` state:${state}`}`.trim()), "aria-current": (chosen ?? "") === state && "true" }, label, number);
    return h("div", { class: "segments", role: "group", "aria-label": "By state" }, item("", "All"), STATES.map((state) => item(state, state, h("b", {}, short([...app.queues.values()].reduce((total, queue) => total + queue.counts[state], 0))))));
  }

  // -- the list --

  // Five hundred rows are as cheap as one: a row is made again only when something in it would differ.
  let drawn = new Map();
  const ages = new WeakMap();
  let age = 0;

  function list() {
    drawn = new Map([...document.querySelectorAll("#main tbody tr")].map((row) => [row.dataset.key, row.dataset.keep]));
    const box = h("input", { type: "checkbox", "aria-label": "Tick all on this page", "data-act": "tick-all", "data-on": "change", checked: view.items.every((task) => view.ticked.has(task.task_id)) });
    return h("section", { class: "panel", "data-key": "list" }, bulk(), table([box, ...HEADS], view.items.map(line)));
  }

  function line(task, at) {
    const id = task.task_id;
    if (!ages.has(task)) ages.set(task, ++age);
    const when = moment(task.next_run_at ?? task.finished_at ?? task.started_at ?? task.created_at), ran = seconds(task.state === "running" && task.started_at ? Math.max(0, since(task.started_at)) : task.run_seconds);
    const ticked = view.ticked.has(id), look = `${at === view.at ? "cursor" : ""} ${view.gone.has(id) ? "gone" : ""}`.trim(), same = [ages.get(task), look, ticked, ran, when.textContent ?? when].join();
    return h("tr", { "data-key": id, "data-keep": same, "data-act": "peek", class: look || null }, drawn.get(id) !== same && [
      td("", h("input", { type: "checkbox", "aria-label": `Tick ${id}`, "data-act": "tick", "data-on": "change", checked: ticked })),
      td("", badge(task.state)), td("nowrap", taskLink(task, taskName(task)), task.unroutable && h("span", { class: "chip", title: "No worker knows this name" }, "no handler")),
      h("td", { class: "mono muted nowrap", title: id }, tail(id)), td("", span("chip", task.queue)), td("cut mono", gist(task), task.tags.map((tag) => [" ", span("chip", tag)])),
      td("num nowrap muted", task.attempt > 0 && `${task.attempt}${task.max_attempts ? `/${task.max_attempts}` : ""}`), td("num nowrap", ran !== "–" && ran), td("num nowrap muted", when),
      td("", div("acts", act("retry", task), task.state === "scheduled" && act("run", task), act("cancel", task, "quiet"))),
    ]);
  }

  // What one would ask first: how far it is, else why it fails, else what it is about.
  function gist(task) {
    if (task.state === "running" && task.progress) return progress(task.progress);
    return task.error && task.state !== "running" ? h("span", { class: "bad", title: task.error.message }, told(task.error)) : span("muted", task.payload_preview);
  }

  const act = (verb, task, className) => fits(verb, task) && button("one", VERBS[verb].word, { "data-verb": verb, class: className, needs: VERBS[verb].needs });

  const empty = () => view.q ? blank("No task matches", p("", "Commas mean or; different keys mean and. What has no key is looked for in ids, names, tags, payloads and errors."), h("a", { href: "tasks" }, "Show all")) : blank("No tasks", h("a", { href: "submit" }, "Submit one"));

  // -- acting --

  function bulk() {
    const number = view.ticked.size, picked = view.items.filter((task) => view.ticked.has(task.task_id));
    const keyed = (act, label) => button(act, label, { class: "quiet", "data-key": act });
    return h("div", { class: `bulk ${number ? "" : "idle"}`, role: "toolbar", "aria-label": "Actions on ticked tasks" }, h("span", { "data-key": "said", class: !number && "muted" }, view.everything ? "Everything that matches" : number ? `${count(number)} ticked` : "Nothing ticked"),
      number > 0 && view.cursor && !view.everything && number === view.items.length && keyed("everything", "Select all that match"), number > 0 && keyed("none", "None"), h("span", { class: "grow", "data-key": "gap" }),
      Object.entries(VERBS).map(([verb, { word, needs, destroys }]) => {
        const fitting = !view.everything && picked.filter((task) => fits(verb, task)).length;
        return button("bulk", `${word}${fitting ? ` ${count(fitting)}` : ""}`, { "data-verb": verb, "data-key": verb, class: destroys && "danger", disabled: fitting === 0, needs });
      }));
  }

  function tickAll(on) { view.everything = false; view.ticked = new Set(on ? view.items.map((task) => task.task_id) : []); app.redraw(); }

  let lastTick = null;
  function tick(id, on, range) {
    const at = place(id), from = range && lastTick !== null ? lastTick : at;
    for (const task of view.items.slice(Math.min(at, from), Math.max(at, from) + 1)) if (on) view.ticked.add(task.task_id); else view.ticked.delete(task.task_id);
    lastTick = at;
    view.everything = false;
    app.redraw();
  }

  async function runBulk(verb) {
    const { word, destroys } = VERBS[verb];
    if (view.everything) {
      if (!(await operate(app, verb, view.q ? { q: view.q } : {}))) return;
    } else {
      const ids = view.items.filter((task) => view.ticked.has(task.task_id) && fits(verb, task)).map((task) => task.task_id);
      if (!(await confirmed({ verb: word, number: ids.length, destroys }))) return;
      const { done, skipped, failed } = await api.post("operations", { action: verb, ids });
      notify(`${word}: ${count(done)} done${skipped ? `, ${count(skipped)} had moved on` : ""}.`, failed > 0);
    }
    tickAll(false);
    await view.load();
    app.redraw();
  }

  async function runOne(verb, id) {
    const fresh = await api.post(`tasks/${id}/${verb}`);
    if (place(id) >= 0) view.items[place(id)] = fresh;
    notify(`${VERBS[verb].word}: ${tail(id)} is ${fresh.state}${fresh.cancel_requested ? ", asked to stop" : ""}.`);
    app.redraw();
  }

  return view;
}
