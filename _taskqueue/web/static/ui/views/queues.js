// Queues: how long, how late, how fast; pause, resume, limit, purge.

import * as api from "../api.js";
import { spark } from "../chart.js";
import { ask, confirmed, notify } from "../dialogs.js";
import { button, div, h, section, span, td, th } from "../dom.js";
import { badge, count, many, seconds } from "../format.js";

const link = (queue, state, number) => (number ? h("a", { href: `tasks?q=${encodeURIComponent(`queue:${queue} state:${state}`)}` }, count(number)) : span("faint", "0"));

export function queueTable(queues, app, { brief = false, lines = new Map() } = {}) {
  const head = brief ? ["Queue", "Oldest", "Pending", "Running", "Failing", "Per second"] : ["Queue", "Oldest waiting", "Pending", "Running", "Scheduled", "Retrying", "Dead", "Done, last hour", "Per second", "Workers", ""];
  const row = (queue) => {
    const { counts } = queue, late = queue.latency_seconds > 60;
    const name = td("nowrap", h("a", { class: "strong", href: `tasks?q=queue%3A${queue.queue}` }, queue.queue), " ", queue.paused ? h("span", { title: queue.paused_reason ?? "" }, badge("paused", queue.paused_reason ? `paused: ${queue.paused_reason}` : "paused")) : null, queue.max_length !== null ? span("chip", `≤ ${count(queue.max_length)}`) : null);
    const oldest = h("td", { class: `num nowrap ${late ? "bad strong" : ""}`, "data-label": "oldest" }, counts.pending ? seconds(queue.latency_seconds) : "–"), rate = h("td", { class: "num nowrap", "data-label": "per second" }, queue.rate_1m ? (queue.rate_1m < 0.05 ? "< 0.1" : queue.rate_1m.toFixed(queue.rate_1m < 10 ? 1 : 0)) : span("faint", "0"));
    const cell = (state) => h("td", { class: "num", "data-label": state }, link(queue.queue, state, counts[state]));
    if (brief) return h("tr", { "data-key": queue.queue, class: queue.paused && "paused" }, name, oldest, cell("pending"), cell("running"), h("td", { class: "num", "data-label": "failing" }, link(queue.queue, "failing", counts.dead + counts.retrying)), rate);
    return h("tr", { "data-key": queue.queue, class: queue.paused && "paused" }, name, oldest, cell("pending"), cell("running"), cell("scheduled"), cell("retrying"), cell("dead"), td("", spark(lines.get(queue.queue) ?? [0], "succeeded")), rate, h("td", { class: `num ${queue.workers ? "" : "bad"}`, "data-label": "workers" }, count(queue.workers)),
      td("", div("acts stay", queue.paused ? button("resume", "Resume", { disabled: !app.may("operate") }) : button("pause", "Pause", { disabled: !app.may("operate") }), button("limit", "Limit …", { class: "quiet", disabled: !app.may("admin") }), button("purge", "Purge …", { class: "quiet danger", disabled: !app.may("admin") || !counts.pending }))));
  };
  return div("scroll", h("table", { class: "stack" }, h("thead", {}, h("tr", {}, head.map((label, at) => (label ? h("th", { class: at && label !== "Done, last hour" && "num" }, label) : th())))), h("tbody", {}, queues.map(row))));
}

export function queues({ app }) {
  const view = {
    title: "Queues", items: null, lines: new Map(),

    async load() {
      const [found, stats] = await Promise.all([api.get("queues"), api.get("stats?window=1h&series=succeeded&group=queue")]);
      view.items = found.items;
      view.lines = new Map(stats.lines.map((line) => [line.queue, line.values]));
    },

    hears(name, data) {
      return name === "queue" && view.items ? api.upsert(view.items, "queue", data) : false;
    },

    render() {
      const paused = view.items.some((queue) => queue.paused);
      return section("panel", h("header", {}, h("h2", {}, many(view.items.length, "queue")), button("pause-all", "Pause all", { disabled: !app.may("operate") }), paused ? button("resume-all", "Resume all", { disabled: !app.may("operate") }) : null), view.items.length ? queueTable(view.items, app, { lines: view.lines }) : div("empty", "A queue exists once a task was submitted to it."));
    },

    acts: {
      async pause(element) { const reason = await ask(`Pause ${name(element)}`, "Why (others see it)"); if (reason !== null) { await api.post(`queues/${name(element)}/pause`, { reason }); await app.refresh(); notify(`${name(element)} starts no more tasks.`); } },
      async resume(element) { await api.post(`queues/${name(element)}/resume`); await app.refresh(); notify(`${name(element)} goes on.`); },
      async "pause-all"() { const reason = await ask("Pause every queue", "Why (others see it)"); if (reason === null) return; for (const queue of view.items) await api.post(`queues/${queue.queue}/pause`, { reason }); await app.refresh(); },
      async "resume-all"() { for (const queue of view.items.filter((one) => one.paused)) await api.post(`queues/${queue.queue}/resume`); await app.refresh(); },
      async limit(element) {
        const queue = view.items.find((one) => one.queue === name(element)), text = await ask(`Limit ${queue.queue}`, "Tasks that may wait; empty for no limit", String(queue.max_length ?? ""));
        if (text === null) return;
        if (!/^\s*\d*\s*$/.test(text)) throw new Error(`“${text}” is not a number; the limit stays as it is.`);
        await api.patch(`queues/${queue.queue}`, { max_length: text.trim() ? Number(text) : null });
        await app.refresh();
      },
      async purge(element) {
        const queue = view.items.find((one) => one.queue === name(element));
        if (!(await confirmed({ verb: "Delete", number: queue.counts.pending, what: "pending task", destroys: true }))) return;
        await api.remove(`queues/${queue.queue}/tasks?state=pending`);
        notify("Purging in the background.");
        setTimeout(() => app.refresh(), 1500);
      },
    },
  };
  const name = (element) => element.closest("[data-key]").dataset.key;
  return view;
}
