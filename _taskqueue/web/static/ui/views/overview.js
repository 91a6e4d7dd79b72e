// Overview: health in a sentence, five numbers, what happens now, where it hurts.

import * as api from "../api.js";
import { Chart, legend, spark } from "../chart.js";
import { notify } from "../dialogs.js";
import { button, choices, div, h, icon, p, section, span, td } from "../dom.js";
import { apiUrl } from "../api.js";
import { badge, count, firstLine, many, moment, seconds, short, taskLink, taskName } from "../format.js";
import { operate } from "./failures.js";
import { queueTable } from "./queues.js";

const POINTS = 300, ACTIVITY = 12;
const WINDOWS = [["5m", "5 min"], ["1h", "1 h"], ["24h", "24 h"], ["7d", "7 d"]];
const SERIES = [{ name: "failed", label: "Failed", key: "failed", hatched: true }, { name: "succeeded", label: "Succeeded", key: "done" }];

// What is wrong, the worst first, in words; nothing when all is well.
export function verdict(queues, workers) {
  const alive = workers.filter((worker) => worker.state !== "lost"), problems = [];
  for (const queue of queues) {
    const waiting = queue.counts.pending - queue.unroutable;
    if (queue.paused && waiting) problems.push([1, `Queue ${queue.queue} is paused with ${many(waiting, "task")} waiting.`, "queues"]);
    else if (waiting && !queue.workers) problems.push([3, `Queue ${queue.queue}: ${many(waiting, "task")} waiting, and no worker serves it.`, "workers"]);
    else if (queue.latency_seconds > 60) problems.push([2, `Queue ${queue.queue}: the oldest task has waited ${seconds(queue.latency_seconds)}.`, "queues"]);
    if (queue.unroutable) problems.push([1, `${many(queue.unroutable, "task")} on ${queue.queue} for a handler that no worker has.`, `tasks?q=state%3Apending+queue%3A${queue.queue}`]);
  }
  if (!alive.length) problems.push([3, "No worker is running.", "workers"]);
  for (const worker of alive) if (worker.lag_seconds > 1) problems.push([2, `Worker ${worker.worker}: a handler blocks its event loop for ${seconds(worker.lag_seconds)}.`, "workers"]);
  return problems.sort((one, other) => other[0] - one[0]);
}

export function overview({ app }) {
  const chart = new Chart({ label: "Tasks ended", format: (value) => (value < 10 ? value.toFixed(value % 1 ? 1 : 0) : short(value)) });
  const view = {
    title: "Overview", queues: [], workers: [], groups: [], recent: [], live: [], window: "5m", minutes: null,

    async load() {
      const [queues, workers, failures, recent] = await Promise.all([api.get("queues"), api.get("workers"), api.get("failures"), latest()]);
      Object.assign(view, { queues: queues.items, workers: workers.items, groups: failures.items, recent: recent.items });
      for (const queue of view.queues) app.queues.set(queue.queue, queue);
      await view.loadMinutes();
    },

    async loadMinutes() {
      const window = view.window === "5m" ? "1h" : view.window;
      view.minutes = await api.get(`stats?window=${window}&series=submitted,succeeded,retried,dead`);
      view.drawChart();
    },

    hears(name, data) {
      if (name === "queue") return api.upsert(view.queues, "queue", data);
      if (name === "stats") { view.live.push({ at: Date.now(), ...data.per_second }); if (view.live.length > POINTS) view.live.shift(); view.drawChart(); return true; }
      if (name === "worker") return api.upsert(view.workers, "worker", data);
      if (name === "task" || name === "busy") view.reload();
      return false;
    },

    reload() {
      app.later(view, 2000, async () => { [view.recent, view.groups] = [(await latest()).items, (await api.get("failures")).items]; });
    },

    drawChart() {
      if (view.window === "5m") {
        const now = Date.now(), times = Array.from({ length: POINTS }, (_, at) => now - (POINTS - 1 - at) * 1000);
        const pad = times.slice(0, POINTS - view.live.length);
        chart.set(times, SERIES.map((one) => ({ ...one, values: [...pad.map((time) => perSecond(one.key, time)), ...view.live.map((point) => point[one.key] ?? 0)] })));
        return;
      }
      const line = (name) => view.minutes.lines.find((one) => one.series === name)?.values ?? [];
      const step = view.minutes.step_seconds, start = Date.parse(view.minutes.start), done = line("succeeded"), failed = done.map((_, at) => line("retried")[at] + line("dead")[at]);
      chart.set(done.map((_, at) => start + at * step * 1000), [{ ...SERIES[0], values: failed.map((one) => one / step) }, { ...SERIES[1], values: done.map((one) => one / step) }]);
    },

    render() {
      const sum = (state) => view.queues.reduce((total, queue) => total + queue.counts[state], 0);
      const states = ["scheduled", "pending", "running", "retrying", "succeeded", "dead", "cancelled", "expired"];
      if (!states.some(sum)) return firstRun();
      return [health(), tiles(sum), throughput(), div("columns", queuesPanel(), errorsPanel()), activity()];
    },

    acts: {
      async window(element) { view.window = element.dataset.value; await view.loadMinutes(); app.redraw(); },
      async "retry-failing"(element) { await operate(app, "retry", { state: "failing" }, Number(element.dataset.number)); },
      async "send-first"() { await api.post("tasks", { payload: "my_first_task" }); notify("Sent."); setTimeout(() => app.refresh(), 400); },
      async retry(element) { const group = view.groups.find((one) => one.fingerprint === element.dataset.print); await operate(app, "retry", { fingerprint: group.fingerprint, state: "failing" }, group.tasks); },
    },
  };

  const latest = () => api.get(`tasks?limit=${ACTIVITY}&state=running,succeeded,dead,retrying,cancelled,expired`);

  // Before this page was open only minutes are known: their mean.
  function perSecond(key, time) {
    if (!view.minutes) return 0;
    const at = Math.floor((time - Date.parse(view.minutes.start)) / 60000), line = (name) => view.minutes.lines.find((one) => one.series === name).values[at] ?? 0;
    return (key === "done" ? line("succeeded") : line("retried") + line("dead")) / 60;
  }

  const health = () => {
    const problems = verdict(view.queues, view.workers), worst = problems[0];
    if (!worst) {
      const alive = view.workers.filter((worker) => worker.state !== "lost"), slots = alive.reduce((sum, one) => sum + one.slots, 0), busy = view.queues.reduce((sum, one) => sum + one.counts.running, 0);
      return p("health", icon("succeeded"), `All queues are healthy. ${many(alive.length, "worker")}, ${slots ? Math.round((100 * busy) / slots) : 0} % busy.`);
    }
    return p(`health ${worst[0] > 1 ? "bad-state" : "warn-state"}`, icon("failures"), span("grow", h("a", { href: worst[2] }, worst[1])), problems.length > 1 ? span("muted", `and ${problems.length - 1} more`) : null);
  };

  const tile = (label, href, value, note, values, colour, more) => div("tile", span("label", h("a", { href }, label)), span(`value ${colour === "failed" && value !== "0" ? "bad" : ""}`, value), more ?? spark(values, colour), span("note", note));

  const tiles = (sum) => {
    const minutes = (name) => view.minutes?.lines.find((one) => one.series === name)?.values.slice(-60) ?? [0];
    const slots = view.workers.filter((worker) => worker.state !== "lost").reduce((total, one) => total + one.slots, 0), oldest = Math.max(0, ...view.queues.map((queue) => queue.latency_seconds)), failing = sum("dead") + sum("retrying"), perMinute = Math.round(view.queues.reduce((total, queue) => total + queue.rate_1m, 0) * 60);
    return h("div", { class: "tiles" },
      tile("Waiting", "tasks?q=state%3Apending", short(sum("pending")), `${count(sum("scheduled"))} scheduled`, minutes("submitted"), "pending"),
      tile("Running", "tasks?q=state%3Arunning", short(sum("running")), `of ${count(slots)} slots`, view.live.slice(-60).map((one) => one.running ?? 0).concat(sum("running")), "running"),
      tile("Oldest waiting", "queues", oldest ? seconds(oldest) : "–", "until a worker takes it", view.live.slice(-60).map((one) => one.oldest ?? 0).concat(oldest), "accent"),
      tile("Failing", "failures", short(failing), `${count(sum("dead"))} dead, ${count(sum("retrying"))} retrying`, minutes("dead"), "failed", failing ? button("retry-failing", `Retry all ${count(failing)}`, { "data-number": failing, disabled: !app.may("operate") }) : null),
      tile("Done a minute", "tasks?q=state%3Asucceeded", short(perMinute), "over the last minute", minutes("succeeded"), "succeeded"));
  };

  const throughput = () => section("panel", h("header", {}, h("h2", {}, "Tasks ended a second"), legend(SERIES), choices("window", WINDOWS, view.window)), div("body", chart.element));

  const queuesPanel = () => section("panel", h("header", {}, h("h2", {}, "Queues"), h("a", { href: "queues" }, "All")), queueTable([...view.queues].sort((one, other) => other.latency_seconds - one.latency_seconds || other.counts.pending - one.counts.pending).slice(0, 8), app, { brief: true }));

  const errorsPanel = () => section("panel", h("header", {}, h("h2", {}, "Top errors"), h("a", { href: "failures" }, "All")), view.groups.length ? h("table", { class: "stack" }, h("tbody", {}, view.groups.slice(0, 5).map((group) => h("tr", { "data-key": group.fingerprint }, td("cut", h("a", { class: "bad strong", href: `tasks?q=fingerprint%3A${group.fingerprint}` }, group.type), " ", span("mono muted", firstLine(group.message))), td("nowrap muted", group.task ?? ""), td("num strong", count(group.tasks)), td("", div("acts", button("retry", "Retry", { "data-print": group.fingerprint, disabled: !app.may("operate") }))))))) : div("empty", badge("succeeded", "Nothing fails")));

  const activity = () => section("panel", h("header", {}, h("h2", {}, "Latest tasks"), h("a", { href: "tasks" }, "All")), div("scroll", h("table", { class: "stack" }, h("tbody", {}, view.recent.map((task) => h("tr", { "data-key": task.task_id }, td("", badge(task.state)), td("nowrap", taskLink(task, taskName(task))), td("", span("chip", task.queue)), td("cut mono muted", task.error ? span("bad", `${task.error.type}: ${firstLine(task.error.message)}`) : task.payload_preview), td("num nowrap", task.run_seconds === null ? "" : seconds(task.run_seconds)), td("num nowrap muted", moment(task.finished_at ?? task.started_at ?? task.created_at))))))));

  const firstRun = () => {
    const line = `curl -X POST ${apiUrl("tasks")} -H "Content-Type: application/json" -d '{"payload": "my_first_task"}'`;
    return [health(), section("panel empty", h("h2", {}, "No task has been submitted yet"), p("", "From a shell, or from any language that can POST:"), h("pre", { class: "block" }, line), div("row", button("copy", [icon("copy"), "Copy"], { "data-text": line }), button("send-first", "Send it for me", { class: "primary", disabled: !app.may("submit") })), p("small", "It appears here the moment it arrives."))];
  };

  return view;
}
