// Toasts, the confirmation, the palette, the keyboard map, signing in.

import * as api from "./api.js";
import { div, h, icon, p, span } from "./dom.js";
import { many } from "./format.js";
import { KEYS } from "./keys.js";

const $ = (id) => document.getElementById(id);
const TOAST_MS = 5000;

export function notify(text, bad = false, more = null) {
  const toast = h("div", { class: `toast ${bad ? "bad-state" : ""}`, role: bad ? "alert" : undefined }, span("grow", text), more);
  $("toasts").append(toast);
  setTimeout(() => toast.remove(), bad ? TOAST_MS * 2 : TOAST_MS);
}

function open(content, className = "") {
  const dialog = $("dialog");
  dialog.className = className;
  dialog.replaceChildren(content);
  dialog.returnValue = "";
  if (!dialog.open) dialog.showModal();
  return dialog;
}

// Asks by size: deletes always, others from a hundred tasks on; beyond a thousand the number must be typed.
export function confirmed({ verb, number, what = "task", destroys = false }) {
  if (!destroys && number <= 100) return Promise.resolve(true);
  const typed = number > 1000 ? h("input", { name: "number", autocomplete: "off", inputmode: "numeric" }) : null;
  const go = h("button", { class: `primary ${destroys ? "danger" : ""}`, value: "yes", disabled: Boolean(typed) }, `${verb} ${many(number, what)}`);
  typed?.addEventListener("input", () => { go.disabled = typed.value.replaceAll(/[ ,.]/g, "") !== String(number); });
  const dialog = open(h("form", { method: "dialog" }, h("h2", {}, `${verb} ${many(number, what)}?`), p("", destroys ? "This cannot be undone." : "It runs in the background, and can be stopped."), typed ? h("label", { class: "field" }, span("", `Type ${number} to go on`), typed) : null, div("buttons", h("button", { value: "", formnovalidate: true }, "Keep them"), go)));
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

export function ask(title, label, value = "") {
  const input = h("input", { name: "answer", value, autocomplete: "off" });
  const dialog = open(h("form", { method: "dialog" }, h("h2", {}, title), h("label", { class: "field" }, span("", label), input), div("buttons", h("button", { value: "", formnovalidate: true }, "Cancel"), h("button", { class: "primary", value: "yes" }, "OK"))));
  input.focus();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes" ? input.value : null), { once: true }));
}

export function help() {
  open(h("form", { method: "dialog" }, h("h2", {}, "Keyboard"), div("keys", KEYS.flatMap(([keys, what]) => [span("", keys.split(" ").map((key) => [h("kbd", {}, key), " "])), span("", what)])), div("buttons", h("button", {}, "Close"))));
}

export function signIn(app) {
  if ($("dialog").open) return;
  const input = h("input", { type: "password", name: "token", autocomplete: "current-password" }), note = h("p", { class: "error-note", role: "alert" });
  const form = h("form", {}, h("h2", {}, "Sign in"), p("muted", "This server needs a token. The first start logs one as a link; --tokens sets others."), h("label", { class: "field" }, span("", "Token"), input), note, div("buttons", h("button", { class: "primary" }, "Sign in")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try { await api.post("session", { token: input.value }); } catch (error) { note.textContent = error.message; return; }
    $("dialog").close();
    await app.start();
  });
  open(form);
  input.focus();
}

// Jump to a page, a queue, or a task by its id.
export function palette(app) {
  const list = h("ul", { role: "listbox", id: "palette-list" }), input = h("input", { placeholder: "Jump to a page, a queue or a task id", "aria-label": "Jump to", role: "combobox", "aria-expanded": "true", "aria-controls": "palette-list", autocomplete: "off" });
  const pages = ["", "failures", "tasks", "queues", "schedules", "workers", "metrics", "submit", "settings"].map((path) => ({ text: path ? path[0].toUpperCase() + path.slice(1) : "Overview", kind: "page", path: path || "./", icon: path || "overview" }));
  let at = 0, found = [];
  const show = () => {
    const word = input.value.trim().toLowerCase();
    const queues = [...app.queues.keys()].map((name) => ({ text: name, kind: "queue", path: `tasks?q=queue%3A${name}`, icon: "queues" }));
    found = [...(word.startsWith("task0") ? [{ text: input.value.trim(), kind: "task", path: `tasks/${input.value.trim()}`, icon: "tasks" }] : []), ...[...pages, ...queues].filter((one) => one.text.toLowerCase().includes(word)), ...(word ? [{ text: `Search tasks for “${input.value}”`, kind: "search", path: `tasks?q=${encodeURIComponent(input.value)}`, icon: "search" }] : [])].slice(0, 12);
    at = Math.min(at, found.length - 1);
    list.replaceChildren(...found.map((one, index) => h("li", { role: "option", "aria-selected": String(index === at), "data-index": index }, icon(one.icon), one.text, span("muted", one.kind))));
  };
  const pick = (index) => { $("dialog").close(); if (found[index]) app.go(found[index].path); };
  input.addEventListener("input", () => { at = 0; show(); });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") { at = (at + (event.key === "ArrowDown" ? 1 : -1) + found.length) % found.length; show(); event.preventDefault(); }
    if (event.key === "Enter") { event.preventDefault(); pick(at); }
  });
  list.addEventListener("click", (event) => { const item = event.target.closest("li"); if (item) pick(Number(item.dataset.index)); });
  open(div("", input, list), "palette");
  show();
  input.focus();
}

