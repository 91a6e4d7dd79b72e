// The keyboard. Single keys do nothing while something is typed, and can be switched off in the settings (WCAG 2.1.4).

import { prefs } from "./prefs.js";

// The views: the key after g, the path, the name.
export const PAGES = [["o", "", "Overview"], ["f", "failures", "Failures"], ["t", "tasks", "Tasks"], ["q", "queues", "Queues"], ["s", "schedules", "Schedules"], ["w", "workers", "Workers"], ["m", "metrics", "Metrics"], ["n", "submit", "Submit"]];
export const KEYS = [...PAGES.map(([key, , name]) => [`g ${key}`, name]), ["/", "Filter"], ["j k", "Next, previous row"], ["Enter", "Open beside the list"], ["o", "Open as a page"], ["x", "Tick"], ["a", "Tick all on the page"], ["r", "Retry"], ["c", "Cancel"], ["y", "Copy the id"], ["p", "Pause live updates"], ["t", "Theme"], ["d", "Density"], ["Ctrl K", "Jump to …"], ["Esc", "Close"], ["?", "This list"]];
const GLOBAL = { "?": "help", p: "live", t: "theme", d: "density" };

export function keyboard(app, acts) {
  let before = "";
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") { event.preventDefault(); acts.palette(); return; }
    const typing = event.target.closest?.("input:not([type=checkbox]), textarea, select, dialog[open]");
    if (event.key === "Escape") { if (typing && !event.target.closest("dialog")) event.target.blur(); else if (app.drawer) app.closeDrawer(); return; }
    if (typing || !prefs.keys || event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key;
    const page = before === "g" && PAGES.find(([one]) => one === key);
    before = key;
    if (page) { before = ""; event.preventDefault(); app.go(page[1] || "./"); return; }
    if (key === "Enter" && event.target.closest?.("a, button, summary")) return;
    const input = key === "/" && document.querySelector("#main input[type=search]");
    if (input) { event.preventDefault(); input.focus(); input.select(); return; }
    if (app.view?.key?.(key)) { event.preventDefault(); return; }
    if (GLOBAL[key]) acts[GLOBAL[key]](document.body, event);
  });
}
