// Failures: what fails now, one row for each error, however many tasks have it.

import * as api from "../api.js";
import { confirmed, notify } from "../dialogs.js";
import { button, div, h, p, span, td, th } from "../dom.js";
import { badge, count, firstLine, many, moment } from "../format.js";
import { prefs, setPref } from "../prefs.js";

export async function operate(app, action, filter, number, destroys = false) {
  const verb = { retry: "Retry", run: "Run", cancel: "Cancel", delete: "Delete" }[action];
  if (!(await confirmed({ verb, number, destroys }))) return false;
  const operation = await api.post("operations", { action, filter, ...(number <= 5000 ? { expected: number } : {}) });
  notify(`${verb}: ${count(operation.matched)} tasks, in the background.`, false, button("stop-operation", "Stop", { "data-id": operation.operation_id }));
  setTimeout(() => app.refresh(), 1500);
  return true;
}

export function failures({ app }) {
  const view = {
    title: "Failures", groups: null, hidden: false,

    async load() { view.groups = (await api.get("failures")).items; },

    hears(name, data) {
      if ((name === "task" && ["dead", "retrying", "succeeded", "pending", "removed"].includes(data.state)) || name === "operation" || name === "busy") view.reload();
      return false;
    },

    reload() { app.later(view); },

    render() {
      const isDismissed = (group) => (prefs.dismissed[group.fingerprint] ?? "") >= group.last_at;
      const shown = view.groups.filter((group) => isDismissed(group) === view.hidden);
      const dismissed = view.groups.filter(isDismissed).length, total = shown.reduce((sum, group) => sum + group.tasks, 0);
      return h("section", { class: "panel" },
        h("header", {}, h("h2", {}, view.hidden ? "Dismissed errors" : `${count(total)} ${total === 1 ? "task fails" : "tasks fail"} with ${many(shown.length, "error")}`),
          div("segments", button("tab", "Active", { "aria-pressed": String(!view.hidden), "data-hidden": "" }), button("tab", ["Dismissed ", h("b", {}, dismissed)], { "aria-pressed": String(view.hidden), "data-hidden": "1" })),
          h("a", { class: "button", href: "tasks?q=state%3Adead" }, "Dead letters")),
        shown.length ? table(shown) : empty());
    },

    acts: {
      tab(element) { view.hidden = Boolean(element.dataset.hidden); app.redraw(); },
      async retry(element) { const group = find(element); await operate(app, "retry", { fingerprint: group.fingerprint, state: "failing" }, group.tasks); },
      async delete(element) { const group = find(element); await operate(app, "delete", { fingerprint: group.fingerprint, state: "failing" }, group.tasks, true); },
      dismiss(element) {
        const group = find(element);
        const rest = { ...prefs.dismissed };
        if (view.hidden) delete rest[group.fingerprint]; else rest[group.fingerprint] = group.last_at;
        setPref("dismissed", rest);
        app.redraw();
      },
    },
  };

  const find = (element) => view.groups.find((group) => group.fingerprint === element.closest("[data-key]").dataset.key);

  const empty = () => div("empty", badge("succeeded", view.hidden ? "Nothing is dismissed" : "Nothing fails"), p("", "When attempts fail, their tasks appear here, grouped by error."));

  const table = (groups) => div("scroll", h("table", { class: "stack" },
    h("thead", {}, h("tr", {}, h("th", {}, "Error"), h("th", {}, "Task"), h("th", {}, "Queues"), h("th", { class: "num" }, "Tasks"), h("th", { class: "num" }, "Ever"), h("th", {}, "First"), h("th", {}, "Last"), th())),
    h("tbody", {}, groups.map((group) => h("tr", { "data-key": group.fingerprint },
      td("cut", h("a", { class: "strong bad", href: `tasks?q=fingerprint%3A${group.fingerprint}` }, group.type), " ", h("span", { class: "mono muted", title: group.message }, firstLine(group.message))),
      td("nowrap", group.task ?? "(default)"), td("nowrap", Object.keys(group.queues).map((name) => [span("chip", name), " "])),
      h("td", { class: "num strong", "data-label": "tasks" }, count(group.tasks)), h("td", { class: "num muted", "data-label": "ever" }, count(group.occurrences)), h("td", { class: "nowrap muted", "data-label": "first" }, moment(group.first_at)), h("td", { class: "nowrap", "data-label": "last" }, moment(group.last_at)),
      td("", div("acts stay", button("retry", `Retry ${count(group.tasks)}`, { disabled: !app.may("operate") }), button("dismiss", view.hidden ? "Restore" : "Dismiss", { class: "quiet" }), button("delete", "Delete", { class: "quiet danger", disabled: !app.may("admin") }))))))));

  return view;
}
