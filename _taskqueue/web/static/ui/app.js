// The shell: rail, bar, router, the stream, and one listener for every action. Views hold what they show; nothing else does.

import * as api from "./api.js";
import { help, notify, palette, signIn } from "./dialogs.js";
import { button, copyText, div, h, icon, p, put, span } from "./dom.js";
import { drawSparks } from "./chart.js";
import { wallClock } from "./format.js";
import { keyboard } from "./keys.js";
import { prefs, setPref } from "./prefs.js";
import { failures } from "./views/failures.js";
import { metrics } from "./views/metrics.js";
import { overview } from "./views/overview.js";
import { queues } from "./views/queues.js";
import { schedules } from "./views/schedules.js";
import { settings } from "./views/settings.js";
import { submit } from "./views/submit.js";
import { task } from "./views/task.js";
import { tasks } from "./views/tasks.js";
import { workers } from "./views/workers.js";

const $ = (id) => document.getElementById(id);
const RAIL = [["", "overview", "Overview"], ["failures", "failures", "Failures"], ["tasks", "tasks", "Tasks"], ["queues", "queues", "Queues"], ["schedules", "schedules", "Schedules"], ["workers", "workers", "Workers"], ["metrics", "metrics", "Metrics"], ["submit", "submit", "Submit"]];
const ROUTES = [[/^$/, overview], [/^failures$/, failures], [/^tasks$/, tasks], [/^tasks\/(?<id>[^/]+)$/, task], [/^queues$/, queues], [/^schedules$/, schedules], [/^workers$/, workers], [/^metrics$/, metrics], [/^submit$/, submit], [/^settings$/, settings]];

export const app = {
  view: null, drawer: null, stats: {}, queues: new Map(), session: { scopes: [] }, failing: 0,

  may(scope) { return app.session.scopes.includes(scope); },

  // Draws what a view holds, at most once a frame.
  redraw() {
    if (app.frame) return;
    app.frame = requestAnimationFrame(() => {
      app.frame = 0;
      if (app.view?.loaded) { paint($("main"), app.view); $("main").removeAttribute("aria-busy"); }
      if (app.drawer?.loaded) paint($("drawer"), app.drawer);
    });
  },

  go(path, replace = false) {
    const url = new URL(path, document.baseURI);
    if (replace) history.replaceState(null, "", url); else if (url.href !== location.href) history.pushState(null, "", url);
    if (!replace) route();
  },

  openDrawer(id) {
    clearTimeout(app.drawer?.timer);
    app.drawer = task({ app, id, inDrawer: true });
    $("drawer").hidden = false;
    load(app.drawer).then(() => $("drawer").querySelector("h2, a")?.focus?.());
  },

  closeDrawer() { clearTimeout(app.drawer?.timer); app.drawer = null; $("drawer").hidden = true; put($("drawer")); },

  // Loads a view again soon, however often it is asked to meanwhile.
  later(view, wait = 1000, load = view.load) {
    view.timer ??= setTimeout(async () => { view.timer = null; try { await load(); } catch (error) { if (view.showsFailure) view.failed = error; } app.redraw(); }, wait);
  },

  async refresh() { await Promise.all([app.view, app.drawer].filter(Boolean).map((view) => view.load?.())); app.redraw(); },
};

function paint(element, view) {
  put(element, view.failed && !view.showsFailure ? h("p", { class: "error-note", role: "alert" }, view.failed.message) : view.render());
  drawSparks(element);
  view.painted?.(element);
}

async function load(view) {
  try { await view.load?.(); } catch (error) { if (error.status !== 401) view.failed = error; }
  view.loaded = true;
  app.redraw();
}

function route() {
  const path = location.pathname.slice(new URL(document.baseURI).pathname.length).replace(/\/$/, "");
  const [match, view] = ROUTES.map(([pattern, one]) => [pattern.exec(path), one]).find(([found]) => found) ?? [null, null];
  clearTimeout(app.view?.timer);
  app.closeDrawer();
  app.view = view ? view({ app, ...match.groups, query: new URLSearchParams(location.search) }) : missing(path);
  document.title = `${app.view.title} · Task queue`;
  rail();
  bar();
  put($("main"), p("muted", "Loading …"));
  $("main").setAttribute("aria-busy", "true");
  scrollTo(0, 0);
  return load(app.view);
}

const missing = (path) => ({ title: "No such page", render: () => div("panel empty", h("h2", {}, `There is no page “${path}”.`), h("a", { href: "" }, "To the overview")) });

function rail() {
  const here = location.pathname.slice(new URL(document.baseURI).pathname.length).split("/")[0];
  const link = ([path, name, label], minor) => h("a", { href: path || "./", "aria-current": here === path && "page", title: label, "data-key": name, class: minor && "minor" }, icon(name), span("", label), name === "failures" && app.failing ? h("b", { class: "count" }, app.failing > 999 ? "999+" : app.failing) : null);
  put($("rail"), h("a", { class: "brand", href: "./", "data-key": "brand" }, h("svg", { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, h("use", { href: "icons.svg#i-tasks" })), span("", "Task queue")), RAIL.map((one) => link(one)), h("div", { class: "gap", "data-key": "gap" }), link(["settings", "settings", "Settings"], true), h("a", { href: "../docs", class: "minor", title: "API", "data-key": "docs" }, icon("docs"), span("", "API")));
}

const LIVE = { live: "live", paused: "paused", waiting: "connecting …", lost: "unreachable" };

function bar() {
  put($("bar"), h("h1", {}, app.view?.title ?? ""), span("clock", wallClock()),
    button("live", h("span", { class: "live", "data-state": stream.state }, h("i", {}), LIVE[stream.state]), { class: "quiet", title: "Pause or resume live updates (p)" }),
    button("palette", icon("search"), { class: "quiet", title: "Jump to … (Ctrl K)", "aria-label": "Jump to a page, task or queue" }),
    button("theme", icon("theme"), { class: "quiet", title: "Theme (t)", "aria-label": `Theme: ${prefs.theme}` }),
    button("help", icon("help"), { class: "quiet", title: "Keyboard (?)", "aria-label": "Keyboard shortcuts" }));
}

// -- live ------------------------------------------------------------------------------------------------------------

function heard(name, data) {
  if (name === "stats") { app.stats = data; const failing = (data.dead ?? 0) + (data.retrying ?? 0); if (failing !== app.failing) { app.failing = failing; rail(); } }
  if (name === "queue") app.queues.set(data.queue, data);
  if (name === "reset") { app.refresh(); return; }
  for (const view of [app.view, app.drawer]) if (view?.hears?.(name, data)) app.redraw();
}

const stream = new api.Stream(heard, () => bar());
document.addEventListener("visibilitychange", () => { if (document.hidden) stream.close("paused"); else if (!app.pausedByHand) { stream.open(); app.refresh(); } });

// -- acting ----------------------------------------------------------------------------------------------------------

const ACTS = {
  live() { app.pausedByHand = stream.state !== "paused"; if (app.pausedByHand) stream.close(); else { stream.open(); app.refresh(); } },
  theme() { setPref("theme", { system: "light", light: "dark", dark: "system" }[prefs.theme]); bar(); app.redraw(); document.querySelectorAll(".chart").forEach((one) => dispatchEvent(new Event("resize"))); },
  density() { setPref("density", { default: "compact", compact: "comfortable", comfortable: "default" }[prefs.density]); app.redraw(); },
  help, palette: () => palette(app),
  skip(element, event) { event.preventDefault(); $("main").focus(); },
  async copy(element) { await copyText(element.dataset.text); notify("Copied."); },
  close: () => app.closeDrawer(),
  async "stop-operation"(element) { await api.post(`operations/${element.dataset.id}/stop`); notify("Stopping; what is done stays done."); },
};

async function act(name, element, event) {
  const view = $("drawer").contains(element) ? app.drawer : app.view;
  const action = view?.acts?.[name] ?? ACTS[name];
  if (!action) return;
  element.setAttribute?.("aria-busy", "true");
  try { await action(element, event); } catch (error) { notify(error.message, true); } finally { element.removeAttribute?.("aria-busy"); }
}
app.act = act;

document.addEventListener("click", (event) => {
  app.shift = event.shiftKey; // what follows a click, such as the change of a tick, does not say
  const link = event.target.closest("a[href]:not([data-act])");
  if (link?.href.startsWith(document.baseURI) && !event.metaKey && !event.ctrlKey && !event.shiftKey && event.button === 0) { event.preventDefault(); app.go(link.getAttribute("href")); return; }
  const element = event.target.closest("[data-act]");
  if (element && element.nodeName !== "FORM" && element.dataset.on !== "change" && element.dataset.on !== "input") act(element.dataset.act, element, event);
});
for (const kind of ["submit", "change", "input"]) {
  document.addEventListener(kind, (event) => {
    const element = event.target.closest(`[data-act][data-on=${kind}]`);
    if (!element) return;
    if (kind === "submit") event.preventDefault();
    act(element.dataset.act, element, event);
  });
}
document.addEventListener("signed-out", () => signIn(app));
addEventListener("popstate", route);
keyboard(app, ACTS);
setInterval(() => { bar(); if (app.view?.ticks) app.redraw(); }, 1000);

async function start() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) { history.replaceState(null, "", location.pathname); await api.post("session", { token: given }).catch(() => {}); }
  app.session = await api.get("session").catch(() => ({ scopes: ["read"] }));
  await route();
  if (app.may("read")) stream.open(); else signIn(app);
}
app.start = start;
start();
