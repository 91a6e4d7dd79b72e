// Workers: which processes live, how busy they are, what they run now.

import * as api from "../api.js";
import { confirmed, notify } from "../dialogs.js";
import { button, div, h, p, section, span, td, th } from "../dom.js";
import { badge, bytes, count, moment, seconds, since, taskLink, taskName } from "../format.js";

export function workers({ app }) {
  const view = {
    title: "Workers", items: null, running: [], ticks: true,

    async load() { const [found, running] = await Promise.all([api.get("workers"), api.get("tasks?state=running&limit=200")]); Object.assign(view, { items: found.items, running: running.items }); },

    hears(name, data) {
      if (name === "worker" && view.items) return api.upsert(view.items, "worker", data);
      if (name === "task" && ["running", "succeeded", "dead", "retrying", "cancelled"].includes(data.state)) app.later(view);
      return false;
    },

    render() {
      const alive = view.items.filter((one) => one.state !== "lost"), total = (field) => alive.reduce((sum, one) => sum + one[field], 0), versions = new Set(alive.map((one) => one.version));
      return [
        section("panel", h("header", {}, h("h2", {}, `${count(alive.length)} ${alive.length === 1 ? "process" : "processes"}`), span("muted", `${count(total("busy"))} of ${count(total("slots"))} slots busy · ${bytes(total("memory_bytes"))} of memory`)),
          versions.size > 1 ? div("body", p("banner", `Different versions run side by side: ${[...versions].join(", ")}.`)) : null,
          view.items.length ? table() : div("empty", h("h2", {}, "No worker is running"), h("pre", { class: "block" }, "make run-worker"))),
        section("panel", h("header", {}, h("h2", {}, "Running now"), span("muted", count(view.running.length))), view.running.length ? runs() : div("empty", "Nothing runs at this moment.")),
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
  }

  const STATES = { active: "succeeded", quiet: "paused", lost: "error" };
  const table = () => div("scroll", h("table", { class: "stack" },
    h("thead", {}, h("tr", {}, ["Worker", "State", "Queues"].map((label) => h("th", {}, label)), ["Slots", "Loop lag", "Memory"].map((label) => h("th", { class: "num" }, label)), h("th", {}, "Version"), h("th", {}, "Started"), h("th", {}, "Last beat"), th())),
    h("tbody", {}, view.items.map((one) => h("tr", { "data-key": one.worker, class: one.state === "lost" && "gone" },
      td("nowrap mono", one.worker), td("", badge(STATES[one.state] ?? "error", one.state)), td("", one.queues.slice(0, 6).map((name) => [span("chip", name), " "]), one.queues.length > 6 ? span("faint", `+${one.queues.length - 6}`) : null),
      td("num nowrap", `${count(one.busy)} / ${count(one.slots)} `, span("meter", h("i", { style: { "--w": `${(100 * one.busy) / Math.max(1, one.slots)}%` } }))), h("td", { class: `num nowrap ${one.lag_seconds > 1 ? "bad strong" : ""}`, "data-label": "lag" }, seconds(one.lag_seconds)), h("td", { class: "num nowrap", "data-label": "memory" }, bytes(one.memory_bytes)),
      td("muted", one.version), h("td", { class: "nowrap muted", "data-label": "started" }, moment(one.started_at)), h("td", { class: "nowrap muted", "data-label": "last beat" }, moment(one.last_beat_at)),
      td("", div("acts stay", one.state === "quiet" ? button("resume", "Resume", { disabled: !app.may("admin") }) : button("quiet", "Quiet", { disabled: !app.may("admin") || one.state === "lost" }), button("stop", "Stop", { class: "quiet danger", disabled: !app.may("admin") || one.state === "lost" }))))))));

  const runs = () => div("scroll", h("table", { class: "stack" }, h("tbody", {}, view.running.map((task) => h("tr", { "data-key": task.task_id }, td("nowrap", taskLink(task, taskName(task))), td("", span("chip", task.queue)), td("cut mono muted", task.payload_preview), td("nowrap", task.progress ? [h("progress", { value: task.progress.done, max: task.progress.total ?? 1 }), ` ${task.progress.message ?? ""}`] : null), td("num nowrap strong", task.started_at ? seconds(Math.max(0, since(task.started_at))) : "starting"), td("mono muted nowrap", task.worker))))));

  return view;
}
