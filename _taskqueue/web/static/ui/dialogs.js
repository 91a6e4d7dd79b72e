// Toasts, the confirmation, the palette, the keyboard map, signing in.

import * as api from "./api.js";
import { div, h, h2, icon, p, span } from "./dom.js";
import { find, many } from "./format.js";
import { KEYS, PAGES } from "./keys.js";

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
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

const form = (props, title, ...content) => h("form", props, h2(title), content);
const field = (label, input) => h("label", { class: "field" }, span("", label), input);
const leave = (label) => h("button", { value: "", formnovalidate: true }, label);
const asks = { method: "dialog" };

// Asks by size: deletes always, others from a hundred tasks on; beyond a thousand the number must be typed.
export async function confirmed({ verb, number, what = "task", destroys = false }) {
  if (!destroys && number <= 100) return true;
  const deed = `${verb} ${many(number, what)}`, typed = number > 1000 && h("input", { name: "number", autocomplete: "off", inputmode: "numeric" });
  const go = h("button", { class: `primary ${destroys ? "danger" : ""}`, value: "yes", disabled: Boolean(typed) }, deed);
  if (typed) typed.addEventListener("input", () => { go.disabled = typed.value.replaceAll(/[ ,.]/g, "") !== String(number); });
  return open(form(asks, `${deed}?`, p("", destroys ? "This cannot be undone." : "It runs in the background, and can be stopped."), typed && field(`Type ${number} to go on`, typed), div("buttons", leave("Keep them"), go)));
}

export async function ask(title, label, value = "") {
  const input = h("input", { name: "answer", value, autocomplete: "off" });
  const answered = open(form(asks, title, field(label, input), div("buttons", leave("Cancel"), h("button", { class: "primary", value: "yes" }, "OK"))));
  input.focus();
  return (await answered) ? input.value : null;
}

export const help = () => open(form(asks, "Keyboard", div("keys", KEYS.map(([keys, what]) => [span("", keys.split(" ").map((key) => [h("kbd", {}, key), " "])), span("", what)])), div("buttons", leave("Close"))));

export function signIn(app) {
  if ($("dialog").open) return;
  const input = h("input", { type: "password", name: "token", autocomplete: "current-password" }), note = h("p", { class: "error-note", role: "alert" });
  const asking = form({}, "Sign in", p("muted", "This server needs a token. The first start logs one as a link; --tokens sets others."), field("Token", input), note, div("buttons", h("button", { class: "primary" }, "Sign in")));
  asking.addEventListener("submit", async (event) => {
    event.preventDefault();
    try { await api.post("session", { token: input.value }); } catch (error) { note.textContent = error.message; return; }
    $("dialog").close();
    await app.start();
  });
  open(asking);
  input.focus();
}

// Jump to a page, a queue, or a task by its id.
export function palette(app) {
  const list = h("ul", { role: "listbox", id: "palette-list" }), input = h("input", { placeholder: "Jump to a page, a queue or a task id", "aria-label": "Jump to", role: "combobox", "aria-expanded": "true", "aria-controls": "palette-list", autocomplete: "off" });
  const item = (kind, text, path, icon) => ({ kind, text, path, icon });
  const pages = [...PAGES, ["", "settings", "Settings"], ["", "../docs", "API"]].map(([, path, name]) => item("page", name, path || "./", path === "../docs" ? "docs" : path || "overview"));
  let at = 0, found = [];
  const show = () => {
    const text = input.value.trim(), word = text.toLowerCase(), named = [...pages, ...[...app.queues.keys()].map((name) => item("queue", name, find(`queue:${name}`), "queues"))];
    found = [word.startsWith("task0") && item("task", text, `tasks/${text}`, "tasks"), ...named.filter((one) => one.text.toLowerCase().includes(word)), word && item("search", `Search tasks for “${text}”`, find(text), "search")].filter(Boolean).slice(0, 12);
    at = Math.min(at, found.length - 1);
    list.replaceChildren(...found.map((one, index) => h("li", { role: "option", "aria-selected": String(index === at), "data-index": index }, icon(one.icon), one.text, span("muted", one.kind))));
  };
  const pick = (index) => { $("dialog").close(); if (found[index]) app.go(found[index].path); };
  input.addEventListener("input", () => { at = 0; show(); });
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) { at = (at + step + found.length) % found.length; show(); event.preventDefault(); }
    if (event.key === "Enter") { event.preventDefault(); pick(at); }
  });
  list.addEventListener("click", (event) => { const item = event.target.closest("li"); if (item) pick(Number(item.dataset.index)); });
  open(div("", input, list), "palette");
  show();
  input.focus();
}

