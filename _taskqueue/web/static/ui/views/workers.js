// Workers: which processes live, how busy they are, what they run now.

import * as api from "../api.js";
import { confirmed, notify } from "../dialogs.js";
import { body, button, cell, div, h, p, panel, pre, row, span, table, td } from "../dom.js";
import { badge, bytes, count, moment, progress, seconds, since, taskLink, taskName } from "../format.js";

const HEADS = ["Worker", "State", "Queues", "#Slots", "#Loop lag", "#Memory", "Version", "Started", "Last beat", ""];
const RUNS = ["Task", "Queue", "Payload", "Progress", "#For", "Worker"];
const LOOKS = { active: "succeeded", quiet: "paused" };
const CHANGING = ["running", "succeeded", "dead", "retrying", "cancelled"];
const QUEUES_MAX = 6;

export function workers({ app }) {
  const view = {
    title: "Workers", items: [], running: [], ticks: true,

    async load() { [view.items, view.running] = await Promise.all([api.list("workers"), api.list("tasks?state=running&limit=200")]); },

    hears(name, data) {
      if (name === "worker") return api.upsert(view.items, "worker", data);
      if ((name === "task" && CHANGING.includes(data.state)) || name === "busy") app.later(view);
      return false;
    },

    render() {
      const { items, running } = view, alive = items.filter((one) => one.state !== "lost"), total = (field) => alive.reduce((sum, one) => sum + one[field], 0), versions = new Set(alive.map((one) => one.version));
      return [
        panel(`${count(alive.length)} ${alive.length === 1 ? "process" : "processes"}`, span("muted", `${count(total("busy"))} of ${count(total("slots"))} slots busy · ${bytes(total("memory_bytes"))} of memory`),
          versions.size > 1 && body(p("banner", `Different versions run side by side: ${[...versions].join(", ")}.`)),
          items.length ? table(HEADS, items.map(line)) : div("empty", "No worker is running. One is started with", pre("block", "make run-worker"))),
        panel("Running now", span("muted", count(running.length)), running.length ? table(RUNS, running.map(run)) : div("empty", "Nothing runs at this moment.")),
      ];
    },

    acts: {
      quiet: (element) => order(element, "quiet", "starts no more tasks with its next beat."),
      resume: (element) => order(element, "resume", "goes on with its next beat."),
      async stop(element) { if (await confirmed({ verb: "Stop", number: 1, what: "worker", destroys: true })) await order(element, "stop", "finishes what it runs, then ends."); },
    },
  };

  async function order(element, verb, text) {
    const worker = element.closest("[data-key]").dataset.key;
    await api.post(`workers/${encodeURIComponent(worker)}/${verb}`);
    notify(`${worker} ${text}`);
    setTimeout(() => app.refresh(), 1500);
  }

  function line(one) {
    const lost = one.state === "lost", more = one.queues.length - QUEUES_MAX;
    return row(one.worker, lost && "gone",
      td("nowrap mono", one.worker), td("", badge(LOOKS[one.state] ?? "error", one.state)), td("", one.queues.slice(0, QUEUES_MAX).map((name) => [span("chip", name), " "]), more > 0 && span("faint", `+${more}`)),
      td("num nowrap", `${count(one.busy)} / ${count(one.slots)} `, span("meter", h("i", { style: { "--w": `${(100 * one.busy) / Math.max(1, one.slots)}%` } }))),
      cell("lag", `num nowrap ${one.lag_seconds > 1 ? "bad strong" : ""}`, seconds(one.lag_seconds)), cell("memory", "num nowrap", bytes(one.memory_bytes)),
      td("muted", one.version), cell("started", "nowrap muted", moment(one.started_at)), cell("last beat", "nowrap muted", moment(one.last_beat_at)),
      td("", div("acts stay", one.state === "quiet" ? button("resume", "Resume", { needs: "admin" }) : button("quiet", "Quiet", { needs: "admin", disabled: lost }), button("stop", "Stop", { class: "quiet danger", needs: "admin", disabled: lost }))));
  }

  const run = (task) => row(task.task_id, "", td("nowrap", taskLink(task, taskName(task))), td("", span("chip", task.queue)), td("cut mono muted", task.payload_preview), td("nowrap", task.progress && progress(task.progress)), td("num nowrap strong", task.started_at ? seconds(Math.max(0, since(task.started_at))) : "starting"), td("mono muted nowrap", task.worker));

  return view;
}
