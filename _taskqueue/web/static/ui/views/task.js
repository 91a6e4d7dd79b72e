// One task: where its time went, every attempt, what came in and what came out, and the actions that fit its state.

import { ENDED, fits, VERBS } from "../acting.js";
import * as api from "../api.js";
import { confirmed, notify } from "../dialogs.js";
import { blank, body, button, choices, div, h, h2, icon, p, panel, pre, section, span } from "../dom.js";
import { badge, bytes, count, find, highlight, indent, many, member, moment, progress, seconds, since, tail, taskName, told } from "../format.js";

const TABS = ["Payload", "Result", "Options", "Log", "Raw"].map((name) => [name, name]);
const LOGS_MAX = 10, TEXT_MAX = 16384, COLOURED_MAX = 65536;
const CHUNKS = /[^]{1,16000}(?:\n|$)|[^\n]+(?:\n|$)/g; // that end where a line does

export function task({ app, id, inDrawer = false }) {
  const view = {
    title: `Task ${id.slice(-6)}`, task: null, why: null, logs: new Map(), tab: "Payload", whole: false, ticks: true, showsFailure: true,

    async load() {
      view.source = await api.source(`tasks/${id}?fields=payload`);
      view.task = JSON.parse(view.source);
      view.failed = null;
      view.title = `${taskName(view.task)} ${id.slice(-6)}`;
      [view.why] = await Promise.all([ENDED.includes(view.task.state) ? null : api.get(`tasks/${id}/explain`).catch(() => null), ...view.task.attempts.slice(-LOGS_MAX).map((one) => view.logs.has(one.number) || loadLog(one.number)), loadLog(0)]);
    },

    hears(name, data) {
      if (data.task_id === id) app.later(view, 150);
      return false;
    },

    render() {
      if (view.failed) return blank(view.failed.status === 404 ? "There is no such task" : "It cannot be shown", p("", view.failed.message), inDrawer && button("close", "Close"));
      return view.task ? [head(), explanation(), timeline(), attempts(), panel(null, choices("tab", TABS, view.tab), div("body stacked", tab()))] : p("muted", "Loading …");
    },

    acts: {
      retry: () => done("retry", {}),
      run: () => done("run"),
      cancel: () => done("cancel"),
      async delete() {
        if (!(await confirmed({ verb: "Delete", number: 1, destroys: true }))) return;
        await api.remove(`tasks/${id}`);
        notify("Deleted.");
        if (inDrawer) { app.closeDrawer(); await app.refresh(); } else app.go("tasks");
      },
      again: () => app.go(`submit?from=${id}`),
      tab(element) { view.tab = element.dataset.value; },
      whole() { view.whole = true; },
    },
  };

  async function loadLog(number) { view.logs.set(number, await api.get(`tasks/${id}/logs?attempt=${number}`).catch(() => "")); }

  async function done(verb, given) {
    const answer = await api.post(`tasks/${id}/${verb}`, given);
    notify(answer.cancel_requested ? "Asked to stop." : `It is ${answer.state} now.`);
    await view.load();
    app.redraw();
  }

  function head() {
    const { task } = view, { links } = task, name = taskName(task);
    const act = ([verb, { word, needs }]) => { const can = fits(verb, task); return (can || !inDrawer) && button(verb, word, { class: verb === "delete" ? "danger" : verb === "retry" && can && "primary", disabled: !can, title: !can && `not while it is ${task.state}`, needs }); };
    return section("panel", h("header", {}, badge(task.state), inDrawer ? h("h2", { tabindex: "-1" }, h("a", { href: `tasks/${id}` }, name)) : h2(name), Object.entries(VERBS).map(act), button("again", "Run again …", { needs: "submit", title: "A new task like this one" }), inDrawer && button("close", icon("error"), { class: "quiet", "aria-label": "Close" })),
      body(facts({
        Id: [span("mono", id), button("copy", icon("copy"), { class: "quiet", "data-text": id, "aria-label": "Copy the id" })], Queue: h("a", { href: find(`queue:${task.queue}`) }, task.queue), Priority: task.priority, Submitted: moment(task.created_at), Worker: task.worker && span("mono", task.worker), "Next run": task.next_run_at && moment(task.next_run_at), Reason: task.reason?.replaceAll("_", " "),
        Batch: links.batch && h("a", { href: find(`batch_id:${links.batch}`) }, links.batch), "Run again from": links.rerun_of && h("a", { href: `tasks/${links.rerun_of}` }, tail(links.rerun_of)), "Unique key": task.unique_key, Tags: task.tags.length > 0 && task.tags.map((tag) => [h("a", { class: "chip", href: find(`tag:${tag}`) }, tag), " "]),
      }, task.meta)));
  }

  // Names and values; what has no value is left out.
  const facts = (...groups) => h("dl", { class: "facts" }, groups.flatMap(Object.entries).filter(([, value]) => value || value === 0).map(([label, value]) => div("", h("dt", {}, label), h("dd", {}, value))));

  function explanation() {
    const { task, why } = view;
    if (task.state === "running") return task.progress && p("banner row s-running", progress(task.progress), task.progress.total && span("muted", `${count(task.progress.done)} of ${count(task.progress.total)}`));
    if (task.error && ["dead", "retrying"].includes(task.state)) return p("banner bad-state", h("strong", { class: "bad" }, task.error.type), " ", span("mono wrap", task.error.message), task.state === "retrying" && [" Next attempt ", moment(task.next_run_at), "."]);
    return why && p("banner", why.summary, why.starts_in_seconds !== null && why.held_by.length > 0 && ` Expected to start in ${seconds(why.starts_in_seconds)}.`);
  }

  // The bar is drawn to scale: waiting, each attempt, the pauses between.
  function timeline() {
    const { task } = view, running = task.state === "running", created = Date.parse(task.created_at), end = task.finished_at ? Date.parse(task.finished_at) : Date.now(), parts = [];
    let at = created, ran = 0;
    const add = (kind, until, title) => { const span = Math.max(0, until - at) / 1000; parts.push({ kind, span, title: `${title}: ${seconds(span)}` }); at = Math.max(at, until); };
    const runs = task.attempts.map((one) => ({ outcome: one.outcome, from: Date.parse(one.started_at), took: one.run_seconds })), from = Date.parse(task.started_at);
    if (task.started_at && !runs.some((run) => run.from === from)) runs.push({ outcome: task.state, from, took: task.run_seconds ?? Math.max(0, since(task.started_at)), now: running });
    runs.forEach(({ outcome, from, took, now }, index) => { add(index ? "gap" : "wait", from, index ? "back-off" : "waited"); ran += took; add(`s-${outcome}${now ? " now" : ""}`, from + took * 1000, `attempt ${index + 1}, ${outcome}`); });
    if (!running && !ENDED.includes(task.state)) add(runs.length ? "gap" : "wait", end, "waiting");
    const total = Math.max(0.001, (end - created) / 1000);
    return panel("Timeline", null, div("body stacked", h("div", { class: "timeline", role: "img", "aria-label": parts.map((part) => part.title).join("; ") }, parts.map((part) => h("i", { class: part.kind, title: part.title, style: { "--f": String(Math.max(2, (1000 * part.span) / total)) } }))),
      facts({ Waited: seconds(parts[0]?.kind === "wait" ? parts[0].span : 0), Ran: seconds(ran), Attempts: `${runs.length}${task.max_attempts ? ` of ${task.max_attempts}` : ""}`, "In all": seconds(total) })));
  }

  function attempts() {
    const failed = [...view.task.attempts].reverse();
    return failed.length > 0 && panel(many(failed.length, "failed attempt"), null, failed.map(({ number, outcome, error, worker, run_seconds, started_at }, at) => {
      const text = error && (error.traceback?.trimEnd() || `${error.type}: ${error.message}`), log = view.logs.get(number);
      return h("details", { class: "attempt", "data-key": `attempt-${number}`, open: at === 0 },
        h("summary", {}, h("strong", {}, `#${number}`), badge(outcome), span("grow bad mono line", error && told(error)), span("muted nowrap", seconds(run_seconds)), span("muted nowrap", moment(started_at))),
        div("stacked", text && pre("block", frames(text)), log && [p("muted small", "Its log"), pre("block", log.trimEnd())], div("row", text && button("copy", "Copy as text", { "data-text": text }), span("muted mono small", worker))));
    }));
  }

  // Frames of libraries are faint, so that one's own stand out.
  function frames(text) {
    let library = false;
    return text.split("\n").map((line) => {
      if (line.startsWith("  File ")) library = /site-packages|lib\/python|_taskqueue/.test(line); else if (!line.startsWith("    ")) library = false;
      return h("span", { class: library && "lib" }, `${line}\n`);
    });
  }

  function tab() {
    const { task, tab } = view, ended = ENDED.includes(task.state);
    if (tab === "Payload") return [code(task.payload, "payload"), p("muted small", bytes(task.payload_bytes))];
    if (tab === "Result") return task.state === "succeeded" ? code(task.result, "result") : p("muted", ended ? `It is ${task.state} and has no result.` : "There is no result yet.");
    if (tab === "Log") return view.logs.get(0) ? pre("block", view.logs.get(0)) : p("muted", "The handler logged nothing in its latest attempt (ctx.log).");
    if (tab === "Raw") return code(null, "");
    return facts({ "Attempts allowed": task.max_attempts ?? "as the handler says", Timeout: task.timeout_seconds ? seconds(task.timeout_seconds) : "as the handler says", Priority: task.priority, Crashes: task.crashes, "Cancel asked": task.cancel_requested ? "yes" : "no" });
  }

  // Shown from the text as it came: numbers too large for a double stay as they are. A megabyte is indented once, has no
  // colours, is laid out where one looks, and is not touched again while it stays the same.
  let shown = {}, made = 0;
  function code(value, name) {
    const plain = typeof value === "string", { source, whole } = view;
    if (shown.source !== source || shown.name !== name || shown.whole !== whole) {
      const text = plain ? value : indent(name ? member(source, name) : source);
      shown = { source, name, whole, text, keep: shown.text === text && shown.whole === whole ? shown.keep : `${inDrawer ? "drawer" : "page"}-${++made}` };
    }
    const { text, keep } = shown, part = whole ? text : text.slice(0, TEXT_MAX), drawn = document.querySelector(`[data-keep="${keep}"]`);
    return [h("pre", { class: "block", "data-keep": keep }, !drawn && (part.length > COLOURED_MAX ? part.match(CHUNKS).map((one) => span("chunk", one)) : plain ? part : highlight(part))), part !== text && button("whole", `Show all ${bytes(text.length)}`)];
  }

  return view;
}
