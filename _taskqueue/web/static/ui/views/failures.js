// Failures: what fails now, one row for each error, however many tasks have it.

import { operate } from "../acting.js";
import * as api from "../api.js";
import { button, cell, choices, div, h, p, panel, row, span, table, td } from "../dom.js";
import { badge, count, find, firstLine, many, moment, taskName } from "../format.js";
import { prefs, setPref } from "../prefs.js";

const HEADS = ["Error", "Task", "Queues", "#Tasks", "#Ever", "First", "Last", ""];
const CHANGING = ["dead", "retrying", "succeeded", "pending", "removed"];

// An error in a row: its name leads to the tasks that have it.
export const errorCell = (group) => td("cut", h("a", { class: "strong bad", href: find(`fingerprint:${group.fingerprint}`) }, group.type), " ", h("span", { class: "mono muted", title: group.message }, firstLine(group.message)));

export const operateOn = (app, verb, element) => operate(app, verb, { fingerprint: element.closest("[data-key]").dataset.key, state: "failing" });

export function failures({ app, query }) {
  const view = {
    title: "Failures", groups: [], shown: query.get("show") ?? "",

    async load() { view.groups = await api.list("failures"); },

    hears(name, data) {
      if ((name === "task" && CHANGING.includes(data.state)) || name === "operation" || name === "busy") app.later(view);
      return false;
    },

    render() {
      const isDismissed = (group) => (prefs.dismissed[group.fingerprint] ?? "") >= group.last_at;
      const shown = view.groups.filter((group) => isDismissed(group) === Boolean(view.shown));
      const dismissed = view.groups.filter(isDismissed).length, total = shown.reduce((sum, group) => sum + group.tasks, 0);
      return panel(view.shown ? "Dismissed errors" : !shown.length ? "No failures" : `${count(total)} ${total === 1 ? "task fails" : "tasks fail"} with ${many(shown.length, "error")}`,
        [choices("tab", [["", "Active"], ["dismissed", ["Dismissed ", h("b", {}, dismissed)]]], view.shown), h("a", { class: "button", href: find("state:dead") }, "Dead letters")],
        shown.length ? table(HEADS, shown.map(line)) : div("empty", badge("succeeded", view.shown ? "Nothing is dismissed" : "Nothing fails"), p("", "When attempts fail, their tasks appear here, grouped by error.")));
    },

    acts: {
      tab(element) { view.shown = element.dataset.value; app.go(view.shown ? "failures?show=dismissed" : "failures", true); },
      retry: (element) => operateOn(app, "retry", element),
      delete: (element) => operateOn(app, "delete", element),
      dismiss(element) {
        const { [element.dataset.print]: gone, ...rest } = prefs.dismissed;
        setPref("dismissed", view.shown ? rest : { ...rest, [element.dataset.print]: element.dataset.last });
      },
    },
  };

  const line = (group) => row(group.fingerprint, "",
    errorCell(group), td("nowrap", taskName(group)), td("nowrap", Object.keys(group.queues).map((name) => [span("chip", name), " "])),
    cell("tasks", "num strong", count(group.tasks)), cell("ever", "num muted", count(group.occurrences)), cell("first", "nowrap muted", moment(group.first_at)), cell("last", "nowrap", moment(group.last_at)),
    td("", div("acts stay", button("retry", `Retry ${count(group.tasks)}`, { needs: "operate" }), button("dismiss", view.shown ? "Restore" : "Dismiss", { class: "quiet", "data-print": group.fingerprint, "data-last": group.last_at }), button("delete", "Delete", { class: "quiet danger", needs: "admin" }))));

  return view;
}
