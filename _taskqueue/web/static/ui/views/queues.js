// Queues: how long, how late, how fast; pause, resume, limit, purge.

import * as api from "../api.js";
import { spark } from "../chart.js";
import { ask, confirmed, notify } from "../dialogs.js";
import { button, cell, div, h, panel, row, span, table, td } from "../dom.js";
import { badge, count, find, many, perSecond, seconds } from "../format.js";

const BRIEF = ["Queue", "#Oldest", "#Pending", "#Running", "#Failing", "#Per second"];
const HEADS = ["Queue", "#Oldest waiting", "#Pending", "#Running", "#Scheduled", "#Retrying", "#Dead", "Done, last hour", "#Per second", "#Workers", ""];
const WHY = "Why (others see it)";

// A row for each queue; without the `lines` of the last hour only what the overview has room for.
export function queueTable(queues, lines) {
  return table(lines ? HEADS : BRIEF, queues.map((queue) => {
    const { counts, paused_reason: why } = queue;
    const number = (state, value) => cell(state, "num", value ? h("a", { href: find(`queue:${queue.queue} state:${state}`) }, count(value)) : span("faint", "0"));
    return row(queue.queue, queue.paused && "paused",
      td("nowrap", h("a", { class: "strong", href: find(`queue:${queue.queue}`) }, queue.queue), " ", queue.paused && h("span", { title: why }, badge("paused", why ? `paused: ${why}` : "paused")), " ", queue.max_length !== null && span("chip", `≤ ${count(queue.max_length)}`)),
      cell("oldest", `num nowrap ${queue.latency_seconds > 60 ? "bad strong" : ""}`, counts.pending ? seconds(queue.latency_seconds) : "–"),
      number("pending", counts.pending), number("running", counts.running),
      lines ? ["scheduled", "retrying", "dead"].map((state) => number(state, counts[state])) : number("failing", counts.dead + counts.retrying),
      lines && td("", spark(lines.get(queue.queue) ?? [0], "succeeded")),
      cell("per second", "num nowrap", queue.rate_1m ? perSecond(queue.rate_1m) : span("faint", "0")),
      lines && [cell("workers", `num ${queue.workers ? "" : "bad strong"}`, count(queue.workers)), td("", div("acts stay",
        queue.paused ? button("resume", "Resume", { needs: "operate" }) : button("pause", "Pause", { needs: "operate" }),
        button("limit", "Limit …", { class: "quiet", needs: "admin" }), button("purge", "Purge …", { class: "quiet danger", needs: "admin", disabled: !counts.pending })))]);
  }));
}

export function queues({ app }) {
  const view = {
    title: "Queues", items: [], lines: new Map(),

    async load() {
      const [found, stats] = await Promise.all([api.list("queues"), api.get("stats?window=1h&series=succeeded&group=queue")]);
      Object.assign(view, { items: found, lines: new Map(stats.lines.map((line) => [line.queue, line.values])) });
    },

    hears: (name, data) => name === "queue" && api.upsert(view.items, "queue", data),

    render: () => panel(many(view.items.length, "queue"), [button("pause-all", "Pause all", { needs: "operate" }), view.items.some((queue) => queue.paused) && button("resume-all", "Resume all", { needs: "operate" })], view.items.length ? queueTable(view.items, view.lines) : div("empty", "A queue exists once a task was submitted to it.")),

    acts: {
      async pause(element) { const name = of(element).queue; if (await pause(`Pause ${name}`, [name])) notify(`${name} starts no more tasks.`); },
      async resume(element) { const name = of(element).queue; await api.post(`queues/${name}/resume`); await app.refresh(); notify(`${name} goes on.`); },
      "pause-all": () => pause(`Pause ${many(view.items.length, "queue")}`, view.items.map((one) => one.queue)),
      async "resume-all"() { for (const { queue, paused } of view.items) if (paused) await api.post(`queues/${queue}/resume`); await app.refresh(); },
      async limit(element) {
        const { queue, max_length } = of(element), text = await ask(`Limit ${queue}`, "Tasks that may wait; empty for no limit", String(max_length ?? ""));
        if (text === null) return;
        if (!/^\s*\d*\s*$/.test(text)) throw new Error(`“${text}” is not a number; the limit stays as it is.`);
        await api.patch(`queues/${queue}`, { max_length: text.trim() ? Number(text) : null });
        await app.refresh();
      },
      async purge(element) {
        const { queue, counts } = of(element);
        if (!(await confirmed({ verb: "Delete", number: counts.pending, what: "pending task", destroys: true }))) return;
        await api.remove(`queues/${queue}/tasks?state=pending`);
        notify("Purging in the background.");
        setTimeout(() => app.refresh(), 1500);
      },
    },
  };

  const of = (element) => view.items.find((one) => one.queue === element.closest("[data-key]").dataset.key);

  async function pause(title, names) {
    const reason = await ask(title, WHY);
    if (reason === null) return false;
    for (const name of names) await api.post(`queues/${name}/pause`, { reason });
    await app.refresh();
    return true;
  }

  return view;
}
