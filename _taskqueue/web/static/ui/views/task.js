// One task: where its time went, every attempt, what came in and what came out, and the actions that fit its state.

import * as api from "../api.js";
import { confirmed, notify } from "../dialogs.js";
import { button, choices, div, h, icon, p, section, span } from "../dom.js";
import { badge, bytes, count, highlight, indent, member, moment, seconds, since, taskName } from "../format.js";

const TABS = ["Payload", "Result", "Options", "Log", "Raw"];
const ENDED = ["succeeded", "dead", "cancelled", "expired"];
const RULES = { retry: ["Retry", ["retrying", "dead", "cancelled", "expired"], "operate"], run: ["Run now", ["scheduled", "retrying"], "operate"], cancel: ["Cancel", ["scheduled", "pending", "running", "retrying"], "operate"], delete: ["Delete", ["scheduled", "pending", "retrying", ...ENDED], "admin"] };

export function task({ app, id, inDrawer = false }) {
  const view = {
    title: `Task ${id.slice(-6)}`, task: null, why: null, log: "", tab: "Payload", whole: false, ticks: true, showsFailure: true,

    async load() {
      view.source = await api.source(`tasks/${id}?fields=payload`);
      view.task = JSON.parse(view.source);
      view.failed = null;
      view.title = `${taskName(view.task)} ${id.slice(-6)}`;
      view.why = ENDED.includes(view.task.state) ? null : await api.get(`tasks/${id}/explain`).catch(() => null);
      if (view.tab === "Log") view.log = await api.get(`tasks/${id}/logs`).catch(() => "");
    },

    hears(name, data) {
      if (data.task_id === id) app.later(view, 150);
      return false;
    },

    render() {
      if (view.failed) return section("panel empty", h("h2", {}, view.failed.status === 404 ? "There is no such task" : "It cannot be shown"), p("", view.failed.message), inDrawer ? button("close", "Close") : null);
      if (!view.task) return p("muted", "Loading …");
      return [head(), explanation(), timeline(), attempts(), details()];
    },

    acts: {
      async retry() { await done(api.post(`tasks/${id}/retry`, {})); },
      async run() { await done(api.post(`tasks/${id}/run`)); },
      async cancel() { await done(api.post(`tasks/${id}/cancel`)); },
      async delete() {
        if (!(await confirmed({ verb: "Delete", number: 1, destroys: true }))) return;
        await api.remove(`tasks/${id}`);
        notify("Deleted.");
        if (inDrawer) { app.closeDrawer(); await app.refresh(); } else app.go("tasks");
      },
      again: () => app.go(`submit?from=${id}`),
      async tab(element) { view.tab = element.dataset.value; if (view.tab === "Log") await view.load(); app.redraw(); },
      whole() { view.whole = true; app.redraw(); },
    },
  };

  async function done(promise) {
    const answer = await promise;
    notify(answer.cancel_requested ? "Asked to stop." : `It is ${answer.state} now.`);
    await view.load();
    app.redraw();
  }

  function head() {
    const { task } = view;
    const acts = Object.entries(RULES).filter(([, [, states]]) => !inDrawer || states.includes(task.state)).map(([verb, [label, states, scope]]) => button(verb, label, { class: verb === "delete" ? "danger" : verb === "retry" && states.includes(task.state) ? "primary" : "", disabled: !states.includes(task.state) || !app.may(scope), title: !app.may(scope) ? `needs the scope ${scope}` : states.includes(task.state) ? "" : `not while it is ${task.state}` }));
    return section("panel", h("header", {}, badge(task.state), inDrawer ? h("h2", { tabindex: "-1" }, h("a", { href: `tasks/${id}` }, taskName(task))) : h("h2", {}, taskName(task)), acts, button("again", "Run again …", { disabled: !app.may("submit"), title: "A new task like this one" }), inDrawer ? button("close", icon("error"), { class: "quiet", "aria-label": "Close" }) : null),
      div("body", h("dl", { class: "facts" }, fact("Id", [span("mono", id), button("copy", icon("copy"), { class: "quiet", "data-text": id, "aria-label": "Copy the id" })]), fact("Queue", h("a", { href: `tasks?q=queue%3A${task.queue}` }, task.queue)), fact("Priority", task.priority), fact("Submitted", moment(task.created_at)), task.worker ? fact("Worker", span("mono", task.worker)) : null, task.next_run_at ? fact("Next run", moment(task.next_run_at)) : null, task.reason ? fact("Reason", task.reason.replaceAll("_", " ")) : null, task.links.batch ? fact("Batch", h("a", { href: `tasks?q=batch_id%3A${task.links.batch}` }, task.links.batch)) : null, task.links.rerun_of ? fact("Run again from", h("a", { href: `tasks/${task.links.rerun_of}` }, `…${task.links.rerun_of.slice(-6)}`)) : null, task.unique_key ? fact("Unique key", task.unique_key) : null, task.tags.length ? fact("Tags", task.tags.map((tag) => [h("a", { class: "chip", href: `tasks?q=tag%3A${encodeURIComponent(tag)}` }, tag), " "])) : null, Object.entries(task.meta).map(([key, value]) => fact(key, value)))));
  }

  const fact = (label, value) => div("", h("dt", {}, label), h("dd", {}, value));

  function explanation() {
    const { task, why } = view;
    if (task.error && ["dead", "retrying"].includes(task.state)) return p("banner", h("strong", { class: "bad" }, task.error.type), " ", span("mono wrap", task.error.message), task.state === "retrying" ? [" Next attempt ", moment(task.next_run_at), "."] : null);
    if (!why || task.state === "running") return task.progress && task.state === "running" ? p("row", h("progress", { value: task.progress.done, max: task.progress.total ?? 1 }), `${count(task.progress.done)}${task.progress.total ? ` of ${count(task.progress.total)}` : ""} ${task.progress.message ?? ""}`) : null;
    return p("banner", why.summary, why.starts_in_seconds !== null && why.held_by.length ? ` Expected to start in ${seconds(why.starts_in_seconds)}.` : "");
  }

  // The bar is drawn to scale: waiting, each attempt, the pauses between.
  function timeline() {
    const { task } = view, parts = [], end = task.finished_at ? Date.parse(task.finished_at) : Date.now();
    let at = Date.parse(task.created_at), ran = 0;
    const add = (kind, until, title) => { const span = Math.max(0, until - at) / 1000; parts.push({ kind, span, title: `${title}: ${seconds(span)}` }); at = Math.max(at, until); };
    const runs = task.attempts.map((one) => ({ outcome: one.outcome, from: Date.parse(one.started_at), took: one.run_seconds }));
    if (task.started_at && !runs.some((run) => run.from === Date.parse(task.started_at))) runs.push({ outcome: task.state === "running" ? "running" : task.state, from: Date.parse(task.started_at), took: task.run_seconds ?? Math.max(0, since(task.started_at)), now: task.state === "running" });
    runs.forEach((run, index) => { add(index ? "gap" : "wait", run.from, index ? "back-off" : "waited"); ran += run.took; add(`s-${run.outcome}${run.now ? " now" : ""}`, run.from + run.took * 1000, `attempt ${index + 1}, ${run.outcome}`); });
    if (!ENDED.includes(task.state) && task.state !== "running") add(runs.length ? "gap" : "wait", end, "waiting");
    const total = Math.max(0.001, (end - Date.parse(task.created_at)) / 1000);
    return section("panel", h("header", {}, h("h2", {}, "Timeline")), div("body stacked", h("div", { class: "timeline", role: "img", "aria-label": parts.map((part) => part.title).join("; ") }, parts.map((part) => h("i", { class: part.kind, title: part.title, style: { "--f": String(Math.max(2, (1000 * part.span) / total)) } }))), h("dl", { class: "facts" }, fact("Waited", seconds(parts[0]?.kind === "wait" ? parts[0].span : 0)), fact("Ran", seconds(ran)), fact("Attempts", `${runs.length}${task.max_attempts ? ` of ${task.max_attempts}` : ""}`), fact("In all", seconds(total)))));
  }

  function attempts() {
    const { task } = view;
    if (!task.attempts.length) return null;
    return section("panel", h("header", {}, h("h2", {}, `${count(task.attempts.length)} failed ${task.attempts.length === 1 ? "attempt" : "attempts"}`)), [...task.attempts].reverse().map((one, at) => h("details", { class: "attempt", "data-key": `attempt-${one.number}`, open: at === 0 }, h("summary", {}, h("strong", {}, `#${one.number}`), badge(one.outcome), span("grow bad mono line", one.error ? `${one.error.type}: ${one.error.message}` : ""), span("muted nowrap", seconds(one.run_seconds)), span("muted nowrap", moment(one.started_at))), div("", p("muted mono small", one.worker ?? ""), one.error ? [h("pre", { class: "block" }, frames(one.error.traceback || `${one.error.type}: ${one.error.message}`)), div("", button("copy", "Copy as text", { "data-text": one.error.traceback || one.error.message }))] : null))));
  }

  // Frames of libraries are faint, so that one's own stand out.
  const frames = (text) => { let library = false; return text.split("\n").map((line) => { if (line.startsWith("  File ")) library = /site-packages|lib\/python|_taskqueue/.test(line); else if (!line.startsWith("    ")) library = false; return h("span", { class: library && "lib" }, `${line}\n`); }); };

  function details() {
    return section("panel", h("header", {}, choices("tab", TABS.map((name) => [name, name]), view.tab)), div("body", tab()));
  }

  function tab() {
    const { task } = view;
    if (view.tab === "Payload") return [code(task.payload, "payload"), p("muted small", bytes(task.payload_bytes))];
    if (view.tab === "Result") return task.state === "succeeded" ? code(task.result, "result") : p("muted", ENDED.includes(task.state) ? `It is ${task.state} and has no result.` : "There is no result yet.");
    if (view.tab === "Log") return view.log ? h("pre", { class: "block" }, view.log) : p("muted", "The handler logged nothing in its latest attempt (ctx.log).");
    if (view.tab === "Raw") return code(null, "");
    return h("dl", { class: "facts" }, fact("Attempts allowed", task.max_attempts ?? "as the handler says"), fact("Timeout", task.timeout_seconds ? seconds(task.timeout_seconds) : "as the handler says"), fact("Priority", task.priority), fact("Crashes", task.crashes), fact("Cancel asked", task.cancel_requested ? "yes" : "no"));
  }

  // Shown from the text as it came: numbers too large for a double stay as they are.
  function code(value, name) {
    const text = typeof value === "string" ? value : indent(name ? member(view.source, name) : view.source);
    const limit = view.whole ? Infinity : 16384;
    return [h("pre", { class: "block" }, typeof value === "string" ? text.slice(0, limit) : highlight(text, limit)), text.length > limit ? button("whole", `Show all ${bytes(text.length)}`) : null];
  }

  return view;
}
