// Overview: health in a sentence, five numbers, what happens now, where it hurts.

import { operate, STATES } from "../acting.js";
import * as api from "../api.js";
import { Chart, legend, spark } from "../chart.js";
import { notify } from "../dialogs.js";
import { blank, body, button, cell, choices, div, h, icon, p, panel, pre, row, span, table, td } from "../dom.js";
import { badge, count, find, many, moment, perSecond, seconds, short, taskLink, taskName, told } from "../format.js";
import { errorCell, operateOn } from "./failures.js";
import { queueTable } from "./queues.js";

const POINTS = 300, ACTIVITY = 12;
const WINDOWS = [["5m", "5 min"], ["1h", "1 h"], ["24h", "24 h"], ["7d", "7 d"]];
const SERIES = [{ name: "failed", label: "Failed", key: "failed", hatched: true }, { name: "succeeded", label: "Succeeded", key: "done" }];

// What is wrong, the worst first, in words; nothing when all is well.
function verdict(queues, alive) {
  const problems = [];
  for (const { queue, counts, unroutable, paused, workers, latency_seconds: late } of queues) {
    const waiting = counts.pending - unroutable;
    if (paused && waiting) problems.push([1, `Queue ${queue} is paused with ${many(waiting, "task")} waiting.`, "queues"]);
    else if (waiting && !workers) problems.push([3, `Queue ${queue}: ${many(waiting, "task")} waiting, and no worker serves it.`, "workers"]);
    else if (late > 60) problems.push([2, `Queue ${queue}: the oldest task has waited ${seconds(late)}.`, "queues"]);
    if (unroutable) problems.push([1, `${many(unroutable, "task")} on ${queue} for a handler that no worker has.`, find(`state:pending queue:${queue}`)]);
  }
  if (!alive.length) problems.push([3, "No worker is running.", "workers"]);
  for (const { worker, lag_seconds: lag } of alive) if (lag > 1) problems.push([2, `Worker ${worker}: a handler blocks its event loop for ${seconds(lag)}.`, "workers"]);
  return problems.sort((one, other) => other[0] - one[0]);
}

export function overview({ app }) {
  const chart = new Chart({ label: "Tasks ended", format: perSecond });
  const view = {
    title: "Overview", queues: [], workers: [], groups: [], recent: [], live: [], window: "5m",

    async load() {
      [view.queues, view.workers] = await Promise.all([api.list("queues"), api.list("workers"), view.loadTasks(), view.loadMinutes()]);
      for (const queue of view.queues) app.queues.set(queue.queue, queue);
    },

    async loadTasks() { [view.groups, view.recent] = await Promise.all([api.list("failures"), api.list(`tasks?limit=${ACTIVITY}&state=running,succeeded,dead,retrying,cancelled,expired`)]); },

    async loadMinutes() {
      const { window } = view, found = await api.get(`stats?window=${view.window === "5m" ? "1h" : view.window}&series=submitted,succeeded,retried,dead`);
      if (window !== view.window) return;
      view.minutes = found;
      view.drawChart();
    },

    hears(name, data) {
      if (name === "queue") return api.upsert(view.queues, "queue", data);
      if (name === "stats") { view.live.push({ at: Date.now(), ...data.per_second }); if (view.live.length > POINTS) view.live.shift(); view.drawChart(); return true; }
      if (name === "worker") return api.upsert(view.workers, "worker", data);
      if (name === "task" || name === "busy") app.later(view, 2000, view.loadTasks);
      return false;
    },

    // The last five minutes come by the second while the page is open; of the time before only minutes are known: their mean.
    drawChart() {
      if (!view.minutes) return;
      const start = Date.parse(view.minutes.start), step = view.minutes.step_seconds, done = line("succeeded"), dead = line("dead");
      const minutes = { done: done.map((one) => one / step), failed: line("retried").map((one, at) => (one + dead[at]) / step) };
      if (view.window !== "5m") { chart.set(done.map((_, at) => start + at * step * 1000), SERIES.map((one) => ({ ...one, values: minutes[one.key] }))); return; }
      const now = Date.now(), times = Array.from({ length: POINTS }, (_, at) => now - (POINTS - 1 - at) * 1000), before = times.slice(0, POINTS - view.live.length);
      chart.set(times, SERIES.map((one) => ({ ...one, values: [...before.map((time) => minutes[one.key][Math.floor((time - start) / 60000)] ?? 0), ...view.live.map((point) => point[one.key] ?? 0)] })));
    },

    render: () => STATES.some(sum) ? [health(), tiles(),
      panel("Tasks ended a second", [legend(SERIES), choices("window", WINDOWS, view.window)], body(chart.element)),
      div("columns",
        panel("Queues", all("queues"), queueTable([...view.queues].sort((one, other) => other.latency_seconds - one.latency_seconds || other.counts.pending - one.counts.pending).slice(0, 8))),
        panel("Top errors", all("failures"), view.groups.length ? table(null, view.groups.slice(0, 5).map(errorLine)) : div("empty", badge("succeeded", "Nothing fails")))),
      panel("Latest tasks", all("tasks"), table(null, view.recent.map(latest)))] : firstRun(),

    acts: {
      async window(element) { view.window = element.dataset.value; await view.loadMinutes(); },
      "retry-failing": () => operate(app, "retry", { state: "failing" }),
      retry: (element) => operateOn(app, "retry", element),
      async "send-first"() { await api.post("tasks", { payload: "my_first_task" }); notify("Sent."); setTimeout(() => app.refresh(), 400); },
    },
  };

  const line = (name) => view.minutes?.lines.find((one) => one.series === name)?.values ?? [];
  const sum = (state) => view.queues.reduce((total, queue) => total + queue.counts[state], 0);
  const alive = () => view.workers.filter((worker) => worker.state !== "lost");
  const slots = () => alive().reduce((total, one) => total + one.slots, 0);
  const all = (path) => h("a", { href: path }, "All");

  function health() {
    const [worst, ...more] = verdict(view.queues, alive());
    if (!worst) return p("health", icon("succeeded"), `All queues are healthy. ${many(alive().length, "worker")}, ${Math.round((100 * sum("running")) / Math.max(1, slots()))} % busy.`);
    return p(`health ${worst[0] > 1 ? "bad-state" : "warn-state"}`, icon("failures"), h("a", { class: "grow", href: worst[2] }, worst[1]), more.length > 0 && span("muted", `and ${more.length} more`));
  }

  const tile = (label, href, value, note, beside, bad) => div("tile", span("label", h("a", { href }, label)), span(`value ${bad ? "bad" : ""}`, value), beside, span("note", note));

  function tiles() {
    const minutes = (name, colour) => spark(line(name).slice(-60), colour), live = (name, now, colour) => spark([...view.live.slice(-60).map((one) => one[name] ?? 0), now], colour);
    const oldest = Math.max(0, ...view.queues.map((queue) => queue.latency_seconds)), failing = sum("dead") + sum("retrying"), rate = view.queues.reduce((total, queue) => total + queue.rate_1m, 0);
    return div("tiles",
      tile("Waiting", find("state:pending"), short(sum("pending")), `${count(sum("scheduled"))} scheduled`, minutes("submitted", "pending")),
      tile("Running", find("state:running"), short(sum("running")), `of ${count(slots())} slots`, live("running", sum("running"), "running")),
      tile("Oldest waiting", "queues", oldest ? seconds(oldest) : "–", "until a worker takes it", live("oldest", oldest, "accent")),
      tile("Failing", "failures", short(failing), `${count(sum("dead"))} dead, ${count(sum("retrying"))} retrying`, failing ? button("retry-failing", `Retry all ${count(failing)}`, { needs: "operate" }) : minutes("dead", "failed"), failing),
      tile("Done a minute", find("state:succeeded"), short(Math.round(rate * 60)), "over the last minute", minutes("succeeded", "succeeded")));
  }

  const errorLine = (group) => row(group.fingerprint, "", errorCell(group), td("nowrap muted", group.task), cell("tasks", "num strong", count(group.tasks)), td("", div("acts", button("retry", "Retry", { needs: "operate" }))));

  const latest = (task) => row(task.task_id, "", td("", badge(task.state)), td("nowrap", taskLink(task, taskName(task))), td("", span("chip", task.queue)), td(`cut mono ${task.error ? "bad" : "muted"}`, task.error ? told(task.error) : task.payload_preview), td("num nowrap", task.run_seconds !== null && seconds(task.run_seconds)), td("num nowrap muted", moment(task.finished_at ?? task.started_at ?? task.created_at)));

  function firstRun() {
    const curl = `curl -X POST ${api.apiUrl("tasks")} -H "Content-Type: application/json" -d '{"payload": "my_first_task"}'`;
    return [health(), blank("No task has been submitted yet", p("", "From a shell, or from any language that can POST:"), pre("block", curl), div("row", button("copy", [icon("copy"), "Copy"], { "data-text": curl }), button("send-first", "Send it for me", { class: "primary", needs: "submit" })), p("small", "It appears here the moment it arrives."))];
  }

  return view;
}
