// Metrics: the built-in history, three hours by the minute and a week by the hour; Prometheus has the rest.

import * as api from "../api.js";
import { Chart, legend } from "../chart.js";
import { body, button, choices, div, panel, row, span, table, td } from "../dom.js";
import { short } from "../format.js";

const WINDOWS = [["1h", "1 h"], ["3h", "3 h"], ["24h", "24 h"], ["7d", "7 d"]];
const CHARTS = [
  { label: "Ended, by outcome", series: [["succeeded", "succeeded", "Succeeded"], ["dead", "dead", "Dead"], ["cancelled", "cancelled", "Cancelled"], ["expired", "scheduled", "Expired"]] },
  { label: "Submitted and claimed", stacked: false, series: [["submitted", "pending", "Submitted"], ["claimed", "running", "Claimed"]] },
  { label: "Sent back to be tried again", series: [["retried", "retrying", "Retried"]] },
  { label: "Taken back from lost workers", series: [["lost", "failed", "Lost"]] },
];
const COLUMNS = ["submitted", "succeeded", "retried", "dead"];
const HEADS = ["Queue", "#Submitted", "#Succeeded", "#Retried", "#Dead", "#Failed attempts"];

export function metrics({ app, query }) {
  const charts = CHARTS.map((one) => new Chart({ ...one, height: "short", format: short }));
  const view = {
    title: "Metrics", window: query.get("window") ?? "1h", tables: false,

    async load() {
      const { window } = view, found = await Promise.all([api.get(`stats?window=${view.window}`), api.get(`stats?window=${view.window}&series=${COLUMNS}&group=queue`)]);
      if (window !== view.window) return;
      [view.stats, view.byQueue] = found;
      const start = Date.parse(view.stats.start), step = view.stats.step_seconds * 1000, line = (name) => view.stats.lines.find((one) => one.series === name).values;
      CHARTS.forEach((one, at) => charts[at].set(line("succeeded").map((_, index) => start + index * step), one.series.map(([key, name, label]) => ({ name, label, values: line(key) }))));
      clearTimeout(view.timer);
      view.timer = setTimeout(() => app.view === view && view.load().then(app.redraw, () => {}), 15000);
    },

    render: () => [
      div("row", choices("window", WINDOWS, view.window), span("grow muted", `per ${view.stats.step_seconds === 60 ? "minute" : "hour"}`), button("tables", "Tables", { "aria-pressed": String(view.tables) })),
      div("charts", charts.map((chart) => panel(chart.label, legend(chart.series), view.tables ? chart.table() : body(chart.element)))),
      panel("By queue, in this window", null, table(HEADS, perQueue(), true)),
    ],

    acts: {
      async window(element) { view.window = element.dataset.value; app.go(`metrics?window=${view.window}`, true); await view.load(); },
      tables() { view.tables = !view.tables; },
    },
  };

  function perQueue() {
    const sums = new Map();
    for (const { queue, series, values } of view.byQueue.lines) sums.set(queue, { ...sums.get(queue), [series]: values.reduce((sum, one) => sum + one, 0) });
    return [...sums].sort((one, other) => other[1].succeeded - one[1].succeeded).map(([queue, sum]) => {
      const failed = sum.retried + sum.dead, all = failed + sum.succeeded;
      return row(queue, "", td("strong", queue), COLUMNS.map((name) => td("num", short(sum[name]))), td(`num ${failed ? "bad" : "faint"}`, all ? `${((100 * failed) / all).toFixed(1)} %` : "–"));
    });
  }

  return view;
}
