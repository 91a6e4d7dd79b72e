// Metrics: the built-in history, three hours by the minute and a week by the hour; Prometheus has the rest.

import * as api from "../api.js";
import { Chart, legend } from "../chart.js";
import { button, choices, div, h, section, span, td } from "../dom.js";
import { short } from "../format.js";

const WINDOWS = [["1h", "1 h"], ["3h", "3 h"], ["24h", "24 h"], ["7d", "7 d"]];
const CHARTS = [
  { title: "Ended, by outcome", series: [["succeeded", "succeeded", "Succeeded"], ["dead", "dead", "Dead"], ["cancelled", "cancelled", "Cancelled"], ["expired", "retrying", "Expired"]] },
  { title: "Submitted and claimed", stacked: false, series: [["submitted", "pending", "Submitted"], ["claimed", "running", "Claimed"]] },
  { title: "Sent back to be tried again", series: [["retried", "retrying", "Retried"]] },
  { title: "Taken back from lost workers", series: [["lost", "failed", "Lost"]] },
];

export function metrics({ app }) {
  const charts = CHARTS.map((one) => new Chart({ label: one.title, stacked: one.stacked ?? true, height: "short", format: short }));
  const view = {
    title: "Metrics", window: "1h", stats: null, byQueue: null, tables: false,

    async load() {
      [view.stats, view.byQueue] = await Promise.all([api.get(`stats?window=${view.window}`), api.get(`stats?window=${view.window}&series=submitted,succeeded,retried,dead&group=queue`)]);
      const start = Date.parse(view.stats.start), step = view.stats.step_seconds * 1000, line = (name) => view.stats.lines.find((one) => one.series === name).values;
      CHARTS.forEach((one, at) => charts[at].set(line("succeeded").map((_, index) => start + index * step), one.series.map(([key, name, label]) => ({ name, label, values: line(key) }))));
      clearTimeout(view.timer);
      view.timer = setTimeout(() => app.view === view && view.load().then(() => app.redraw(), () => {}), 15000);
    },

    render() {
      return [
        div("row", choices("window", WINDOWS, view.window), span("grow"), button("tables", view.tables ? "Charts" : "Tables", { "aria-pressed": String(view.tables) }), span("muted", `counts per ${view.stats.step_seconds === 60 ? "minute" : "hour"}`)),
        div("charts", CHARTS.map((one, at) => h("section", { class: "panel", "data-key": one.title }, h("header", {}, h("h2", {}, one.title), legend(one.series.map(([, name, label]) => ({ name, label })))), div("body", view.tables ? h("div", { class: "scroll", tabindex: "0" }, charts[at].table()) : charts[at].element)))),
        perQueue(),
      ];
    },

    acts: {
      async window(element) { view.window = element.dataset.value; await view.load(); app.redraw(); },
      tables() { view.tables = !view.tables; app.redraw(); },
    },
  };

  function perQueue() {
    const sums = new Map();
    for (const { queue, series, values } of view.byQueue.lines) { const row = sums.get(queue) ?? {}; row[series] = values.reduce((sum, one) => sum + one, 0); sums.set(queue, row); }
    const rows = [...sums].sort((one, other) => other[1].succeeded - one[1].succeeded);
    return section("panel", h("header", {}, h("h2", {}, "By queue, in this window")), h("div", { class: "scroll", tabindex: "0" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "Queue"), ["Submitted", "Succeeded", "Retried", "Dead", "Failed attempts"].map((label) => h("th", { class: "num" }, label)))), h("tbody", {}, rows.map(([queue, row]) => { const failed = row.retried + row.dead, all = failed + row.succeeded; return h("tr", { "data-key": queue }, td("strong", queue), ["submitted", "succeeded", "retried", "dead"].map((name) => td("num", short(row[name]))), td(`num ${failed ? "bad" : "faint"}`, all ? `${((100 * failed) / all).toFixed(1)} %` : "–")); })))));
  }

  return view;
}
