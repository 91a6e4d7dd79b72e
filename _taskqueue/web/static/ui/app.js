// The shell: rail, bar, router, the stream, and one listener for every action. Views hold what they show; nothing else does.

import * as api from "./api.js";
import { help, notify, palette, signIn } from "./dialogs.js";
import { blank, button, copyText, h, icon, p, put, session, span } from "./dom.js";
import { drawSparks } from "./chart.js";
import { short, wallClock } from "./format.js";
import { keyboard, PAGES } from "./keys.js";
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
const VIEWS = new Map([["", overview], ...Object.entries({ failures, tasks, queues, schedules, workers, metrics, submit, settings })]);

// Where we are, within the dashboard.
const here = () => location.pathname.slice(new URL(document.baseURI).pathname.length).replace(/\/$/, "");

export const app = {
  view: null, drawer: null, queues: new Map(), failing: 0,

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
  renew() { app.refresh().catch(() => app.redraw()); }, // unasked, so what cannot be read again stays as it is
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
  const path = here(), [, id] = /^tasks\/([^/]+)$/.exec(path) ?? [];
  clearTimeout(app.view?.timer);
  app.closeDrawer();
  app.view = (id ? task : VIEWS.get(path) ?? missing)({ app, id, path, query: new URLSearchParams(location.search) });
  document.title = `${app.view.title} · Task queue`;
  rail();
  bar();
  put($("main"), p("muted", "Loading …"));
  $("main").setAttribute("aria-busy", "true");
  scrollTo(0, 0);
  return load(app.view);
}

const missing = ({ path }) => ({ title: "No such page", render: () => blank(`There is no page “${path}”.`, h("a", { href: "./" }, "To the overview")) });

function rail() {
  const [at] = here().split("/");
  const link = (path, name, image, minor, more) => h("a", { href: path || "./", "aria-current": at === path && "page", title: name, "data-key": name, class: minor && "minor" }, icon(image), span("", name), more);
  put($("rail"), h("a", { class: "brand", href: "./", "data-key": "brand" }, icon("tasks"), span("", "Task queue")),
    PAGES.map(([, path, name]) => link(path, name, path || "overview", false, path === "failures" && app.failing > 0 && h("b", { class: "count" }, short(app.failing)))),
    h("div", { class: "gap", "data-key": "gap" }), link("settings", "Settings", "settings", true), link("../docs", "API", "docs", true));
}

const LIGHTS = { live: "succeeded", paused: "cancelled", waiting: "retrying", lost: "error" };
const LIVE = { live: "live", paused: "paused", waiting: "connecting …", lost: "unreachable" };

function bar() {
  const tool = (act, title, label) => button(act, icon(act === "palette" ? "search" : act), { class: "quiet", title, "aria-label": label });
  put($("bar"), h("h1", {}, app.view?.title), span("clock", wallClock()),
    button("live", h("span", { class: "live", "data-state": stream.state }, h("i", { class: `s-${LIGHTS[stream.state]}` }), LIVE[stream.state]), { class: "quiet", title: "Pause or resume live updates (p)" }),
    tool("palette", "Jump to … (Ctrl K)", "Jump to a page, task or queue"), tool("theme", "Theme (t)", `Theme: ${prefs.theme}`), tool("help", "Keyboard (?)", "Keyboard shortcuts"));
}

// -- live --

function heard(name, data) {
  if (name === "stats" && deaf) { deaf = false; app.renew(); } // from here on everything is told; what came since the view was read is not
  if (name === "stats") { const failing = (data.dead ?? 0) + (data.retrying ?? 0); if (failing !== app.failing) { app.failing = failing; rail(); } }
  if (name === "queue") app.queues.set(data.queue, data);
  if (name === "reset") { app.renew(); return; }
  for (const view of [app.view, app.drawer]) if (view?.hears?.(name, data)) app.redraw();
}

const stream = new api.Stream(heard, () => bar());
let deaf = true;
function listen() { deaf = true; stream.open(); }
document.addEventListener("visibilitychange", () => { if (document.hidden) stream.close("paused"); else if (!app.pausedByHand) listen(); });

// -- acting --

const ACTS = {
  live() { app.pausedByHand = stream.state !== "paused"; if (app.pausedByHand) stream.close(); else listen(); },
  theme() { setPref("theme", { system: "light", light: "dark", dark: "system" }[prefs.theme]); bar(); },
  density() { setPref("density", { default: "compact", compact: "comfortable", comfortable: "default" }[prefs.density]); app.redraw(); },
  help, palette: () => palette(app),
  skip(element, event) { event.preventDefault(); $("main").focus(); },
  async copy(element) { await copyText(element.dataset.text); notify("Copied."); },
  close: () => app.closeDrawer(),
  async "stop-operation"(element) { await api.post(`operations/${element.dataset.id}/stop`); notify("Stopping; what is done stays done."); },
};

// Does what a button, a field or a form says, and draws what came of it.
async function act(name, element, event) {
  const view = $("drawer").contains(element) ? app.drawer : app.view;
  const action = view?.acts?.[name] ?? ACTS[name];
  if (!action) return;
  element.setAttribute?.("aria-busy", "true");
  try { await action(element, event); } catch (error) { notify(error.message, true); } finally { element.removeAttribute?.("aria-busy"); app.redraw(); }
}

document.addEventListener("click", (event) => {
  app.shift = event.shiftKey; // what follows a click, such as the change of a tick, does not say
  const link = event.target.closest("a[href]:not([data-act])");
  if (link?.href.startsWith(document.baseURI) && !event.metaKey && !event.ctrlKey && !event.shiftKey && event.button === 0) { event.preventDefault(); app.go(link.getAttribute("href")); return; }
  const element = event.target.closest("[data-act]");
  if (element && !element.dataset.on) act(element.dataset.act, element, event);
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
addEventListener("themed", () => { app.redraw(); for (const one of document.querySelectorAll(".chart")) one.chart.draw(); });
keyboard(app, ACTS);
setInterval(() => { bar(); if (app.view?.ticks) app.redraw(); }, 1000);

async function start() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) { history.replaceState(null, "", location.pathname); await api.post("session", { token: given }).catch(() => {}); }
  Object.assign(session, await api.get("session").catch(() => ({ scopes: ["read"] })));
  await route();
  if (session.scopes.includes("read")) listen(); else signIn(app);
}
app.start = start;
start();
