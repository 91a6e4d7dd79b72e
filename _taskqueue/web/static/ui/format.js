// Numbers, times and states as people read them.

import { prefs } from "./prefs.js";
import { h, icon, span } from "./dom.js";

const whole = new Intl.NumberFormat("en-GB");
const compact = new Intl.NumberFormat("en-GB", { notation: "compact", maximumFractionDigits: 1 });
export const count = (number) => whole.format(number ?? 0);
export const short = (number) => (number < 10000 ? whole : compact).format(number);
export const perSecond = (rate) => (rate >= 10 ? short(Math.round(rate)) : rate > 0 && rate < 0.05 ? "< 0.1" : rate.toFixed(rate % 1 ? 1 : 0));

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.0005) return "0 ms";
  if (value < 1) return `${value < 0.01 ? (value * 1000).toFixed(1) : Math.round(value * 1000)} ms`;
  if (value < 60) return `${value < 10 && value % 1 ? value.toFixed(1) : Math.round(value)} s`;
  const parts = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];
  const at = parts.findIndex(([size]) => value >= size);
  const [size, unit] = parts[at];
  const [next, nextUnit] = parts[at + 1] ?? [1, "s"];
  const rest = Math.floor((value % size) / next);
  return `${Math.floor(value / size)}${unit}${rest ? ` ${rest}${nextUnit}` : ""}`;
}

export function bytes(value) {
  for (const [size, unit] of [[1073741824, "GiB"], [1048576, "MiB"], [1024, "KiB"]]) if (value >= size) return `${(value / size).toFixed(1)} ${unit}`;
  return `${value ?? 0} B`;
}

export const many = (number, what) => `${count(number)} ${what}${number === 1 ? "" : "s"}`;
export const since = (iso) => (iso ? (Date.now() - Date.parse(iso)) / 1000 : null);

function clock(iso, withDate) {
  const zone = prefs.times === "utc" ? "UTC" : undefined;
  const date = withDate ? { month: "short", day: "numeric" } : {};
  return new Intl.DateTimeFormat("en-GB", { ...date, hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false, timeZone: zone }).format(new Date(iso));
}

// To the minute, once it is one.
const coarse = (value) => seconds(value < 60 ? Math.round(value) : value - (value % 60));

export function moment(iso) {
  if (!iso) return "–";
  const ago = since(iso);
  let text;
  if (prefs.times !== "relative") text = clock(iso, Math.abs(ago) > 43200);
  else text = ago >= 0 ? `${coarse(Math.max(1, ago))} ago` : `in ${coarse(-ago)}`;
  return h("time", { datetime: iso, title: iso }, text);
}

export const wallClock = () => clock(new Date().toISOString(), false) + (prefs.times === "utc" ? " UTC" : "");

export const badge = (state, word = state) => span(`badge s-${state}`, icon(STATE_ICONS[state] ?? state), word);
const STATE_ICONS = { paused: "pause", blocked: "pending", ok: "succeeded", timeout: "scheduled", lost: "error", released: "retrying", snoozed: "scheduled" };

export const taskName = (task) => task.task ?? "(default)";
export const firstLine = (text) => (text ?? "").split("\n", 1)[0];
export const told = (error) => `${error.type}: ${firstLine(error.message)}`;
export const progress = ({ done, total, message }) => [h("progress", { value: done, max: total ?? 1, "aria-label": "Progress" }), ` ${message ?? ""}`];
export const tail = (id) => `…${id.slice(-6)}`;

export const taskLink = (task, text) => h("a", { href: `tasks/${task.task_id}`, title: task.task_id }, text);

// Where the tasks are listed that a filter means.
export const find = (filter) => (filter ? `tasks?q=${encodeURIComponent(filter)}` : "tasks");

// JSON with colours, from the text as it came: numbers too large for a double stay as they are.
export function highlight(text) {
  const parts = [];
  let last = 0;
  for (const match of text.matchAll(/("(?:[^"\\]+|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g)) {
    parts.push(text.slice(last, match.index));
    const kind = match[1] ? (match[2] ? "key" : "str") : "lit";
    parts.push(h("span", { class: kind }, match[1] ?? match[0]), match[1] && match[2] ? match[2] : "");
    last = match.index + match[0].length;
  }
  parts.push(text.slice(last));
  return parts;
}

// The text of one member of a JSON object, as it came.
export function member(text, name) {
  let depth = 0, last = "", key = null, from = 0;
  for (const { 0: token, index } of text.matchAll(/"(?:[^"\\]+|\\.)*"|[{}[\],:]/g)) {
    if (depth === 1 && (token === "," || token === "}")) { if (key === name) return text.slice(from, index); key = null; }
    if (depth === 1 && token === ":") { key = JSON.parse(last); from = index + 1; }
    if (token === "{" || token === "[") depth++; else if (token === "}" || token === "]") depth--;
    last = token;
  }
  return "";
}

// Indents JSON by its tokens, without reading its values.
export function indent(text) {
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  return text.replace(/"(?:[^"\\]+|\\.)*"|([{[])\s*([}\]])?|[}\],:]|\s+/g, (token, open, close) => {
    if (close) return open + close;
    if (open) { depth++; return open + line(); }
    if (token === "}" || token === "]") { depth--; return line() + token; }
    return { ",": `,${line()}`, ":": ": " }[token] ?? token.trim();
  });
}
