// Submit: a form made from what the handler takes, and the same as a line for the shell, Python and JavaScript.

import { ENDED } from "../acting.js";
import * as api from "../api.js";
import { body, button, choices, div, h, icon, p, panel, pre, row, span, table, td } from "../dom.js";
import { badge, seconds, taskLink, taskName, told } from "../format.js";

const OPTIONS = [["queue", "Queue"], ["priority", "Priority, 0 to 9"], ["delay", "Delay, such as 30s"], ["timeout", "Timeout"], ["max_attempts", "Attempts"], ["expires_in", "Expires in"], ["tags", "Tags, with commas"], ["batch_id", "Batch"]];
const MODES = [["form", "Form"], ["text", "JSON or text"]];
const FIRST_LOOK_MS = 700, LOOK_MS = 2000;

export function submit({ app, query }) {
  const view = {
    title: "Submit a task", handlers: [], task: "", mode: "form", fields: {}, text: "", options: {}, sent: [], language: "curl", note: "",

    async load() {
      view.handlers = await api.list("handlers");
      view.task ||= view.handlers.find((one) => one.task === "echo")?.task ?? view.handlers[0]?.task ?? "";
      const from = query.get("from");
      if (!from || view.text) return;
      const old = await api.get(`tasks/${from}?fields=payload`);
      Object.assign(view, { task: old.task ?? "", mode: "text", text: typeof old.payload === "string" ? old.payload : JSON.stringify(old.payload, null, 2), options: { queue: old.queue, priority: String(old.priority), tags: old.tags.join(",") } });
    },

    hears(name, data) {
      if (name === "task") { const one = view.sent.find((one) => one.task.task_id === data.task_id); if (one) look(one); }
      return false;
    },

    render: () => [div("columns", form(), code()), view.sent.length > 0 && panel("Sent from here", null, table(null, view.sent.map(line)))],

    acts: {
      task(element) { Object.assign(view, { task: element.value, fields: {} }); view.mode = properties().length ? "form" : "text"; },
      mode(element) { if (element.dataset.value === "text") view.text = JSON.stringify(payload(), null, 2) ?? view.text; view.mode = element.dataset.value; },
      field(element) { view.fields[element.name] = element.type === "checkbox" ? element.checked : element.value; },
      text(element) { view.text = element.value; },
      option(element) { view.options[element.name] = element.value; },
      language(element) { view.language = element.dataset.value; },
      async send() {
        view.note = "";
        try {
          const { task_id } = await api.post("tasks?strict=1", request());
          const one = { task: await api.get(`tasks/${task_id}`), asked: 0 };
          view.sent.unshift(one);
          setTimeout(look, FIRST_LOOK_MS, one);
        } catch (error) { view.note = error.message; }
      },
    },
  };

  // Reads a task that was sent again, and goes on until it has ended: an event may be left out when much happens. Of two
  // answers that come in the wrong order the one asked for last counts.
  async function look(one) {
    const asked = ++one.asked;
    clearTimeout(one.timer);
    const fresh = await api.get(`tasks/${one.task.task_id}`).catch(() => null);
    if (asked !== one.asked) return;
    if (fresh) one.task = fresh;
    if (app.view !== view) return;
    if (!ENDED.includes(one.task.state)) one.timer = setTimeout(look, LOOK_MS, one);
    app.redraw();
  }

  const handler = () => view.handlers.find((one) => one.task === view.task);

  function resolved(schema = {}, root = schema) {
    if (schema.$ref) return resolved(schema.$ref.split("/").slice(1).reduce((at, part) => at?.[part], root), root);
    return schema.anyOf ? resolved(schema.anyOf.find((one) => one.type !== "null"), root) : schema;
  }

  function properties() {
    const schema = handler()?.schema ?? {}, full = resolved(schema);
    return Object.entries(full.properties ?? {}).map(([name, one]) => ({ name, schema: resolved(one, schema), required: full.required?.includes(name) }));
  }

  const isNumber = (schema) => schema.type === "integer" || schema.type === "number";
  const parsed = (text) => { try { return JSON.parse(text); } catch { return text; } };

  function payload() {
    const known = properties(), found = {};
    if (view.mode === "text" || !known.length) return parsed(view.text);
    for (const { name, schema } of known) {
      const value = view.fields[name];
      if (value !== undefined && value !== "") found[name] = isNumber(schema) ? Number(value) : schema.type === "boolean" || schema.type === "string" ? value : parsed(value);
    }
    return found;
  }

  function request() {
    const found = { payload: payload(), task: view.task || undefined };
    for (const [name, value] of Object.entries(view.options)) if (value !== "") found[name] = name === "priority" || name === "max_attempts" ? Number(value) : name === "tags" ? value.split(",").map((tag) => tag.trim()).filter(Boolean) : value;
    return found;
  }

  const onInput = (act) => ({ "data-act": act, "data-on": "input", autocomplete: "off" });
  const onChange = (act) => ({ "data-act": act, "data-on": "change" });
  const labelled = (label, ...content) => h("label", {}, span("", label), content);

  function form() {
    const fields = properties(), text = view.mode === "text" || !fields.length, { task, note } = view, doc = handler()?.doc;
    return panel("New task", fields.length > 0 && choices("mode", MODES, view.mode),
      h("form", { class: "body form", "data-act": "send", "data-on": "submit" },
        labelled("Task", view.handlers.length ? h("select", onChange("task"), view.handlers.map((one) => h("option", { value: one.task, selected: one.task === task }, one.task))) : h("input", { value: task, ...onChange("task"), placeholder: "no worker has told its tasks yet" })),
        doc && p("muted", doc),
        text ? labelled("Payload: JSON, or any text", h("textarea", { rows: 8, ...onInput("text"), "data-keep": `text-${view.mode}-${task}` }, view.text)) : fields.map(({ name, schema, required }) => h("label", { "data-key": name }, span("", [name + (required ? " *" : ""), schema.type, schema.description].filter(Boolean).join(" · ")), control(name, schema))),
        h("details", {}, h("summary", {}, "Options"), div("pair", OPTIONS.map(([name, label]) => labelled(label, h("input", { name, value: view.options[name] ?? "", ...onInput("option") }))))),
        note && h("p", { class: "error-note", role: "alert" }, note),
        div("row", button(null, "Submit", { type: "submit", class: "primary", needs: "submit" }))));
  }

  function control(name, schema) {
    const typed = { name, ...onInput("field") }, picked = { name, ...onChange("field") };
    if (schema.enum) return h("select", picked, h("option", { value: "" }), schema.enum.map((one) => h("option", { value: one }, String(one))));
    if (schema.type === "boolean") return span("", h("input", { ...picked, type: "checkbox" }));
    if (isNumber(schema)) return h("input", { ...typed, type: "number", step: schema.type === "integer" ? 1 : "any", min: schema.minimum, max: schema.maximum, placeholder: schema.default });
    return schema.type === "string" ? h("input", { ...typed, placeholder: schema.default }) : h("textarea", { ...typed, rows: 3, placeholder: "JSON" });
  }

  function code() {
    const asked = request(), text = JSON.stringify(asked), url = api.apiUrl("tasks");
    const lines = {
      curl: `curl -X POST ${url} \\\n  -H "Content-Type: application/json" \\\n  -d '${text.replaceAll("'", "'\\''")}'`,
      Python: `import json, urllib.request\n\nbody = json.loads(${JSON.stringify(text)})\nrequest = urllib.request.Request("${url}", json.dumps(body).encode())\nprint(urllib.request.urlopen(request).read().decode())`,
      JavaScript: `const answer = await fetch("${url}", {\n  method: "POST",\n  body: JSON.stringify(${JSON.stringify(asked, null, 2).replaceAll("\n", "\n  ")}),\n});\nconsole.log((await answer.json()).task_id);`,
    };
    return panel("From elsewhere", [choices("language", Object.keys(lines).map((name) => [name, name]), view.language), button("copy", icon("copy"), { class: "quiet", "data-text": lines[view.language], "aria-label": "Copy" })], body(pre("block", lines[view.language])));
  }

  const line = ({ task }) => row(task.task_id, "", td("", badge(task.state)), td("nowrap", taskLink(task, taskName(task))), td(`cut mono ${task.error ? "bad" : ""}`, task.error ? told(task.error) : task.result !== null && JSON.stringify(task.result)), td("num nowrap", task.run_seconds !== null && seconds(task.run_seconds)));

  return view;
}
