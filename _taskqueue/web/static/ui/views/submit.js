// Submit: a form made from what the handler takes, and the same as a line for the shell, Python and JavaScript.

import * as api from "../api.js";
import { button, choices, div, h, icon, p, section, span, td } from "../dom.js";
import { badge, seconds, taskLink } from "../format.js";

const OPTIONS = [["queue", "Queue"], ["priority", "Priority, 0 to 9"], ["delay", "Delay, such as 30s"], ["timeout", "Timeout"], ["max_attempts", "Attempts"], ["expires_in", "Expires in"], ["tags", "Tags, with commas"], ["batch_id", "Batch"]];

export function submit({ app, query }) {
  const view = {
    title: "Submit a task", handlers: [], task: "", mode: "form", fields: {}, text: "", options: {}, sent: [], language: "curl", note: "",

    async load() {
      view.handlers = (await api.get("handlers")).items;
      view.task ||= view.handlers.find((one) => one.task === "echo")?.task ?? view.handlers[0]?.task ?? "";
      const from = query.get("from");
      if (!from || view.text) return;
      const old = await api.get(`tasks/${from}?fields=payload`);
      Object.assign(view, { task: old.task ?? "", mode: "text", text: typeof old.payload === "string" ? old.payload : JSON.stringify(old.payload, null, 2), options: { queue: old.queue, priority: String(old.priority), tags: old.tags.join(",") } });
    },

    hears(name, data) {
      if (name === "task" && view.sent.some((one) => one.task_id === data.task_id)) look(data.task_id);
      return false;
    },

    render: () => [div("columns", form(), code()), view.sent.length ? sent() : null],

    acts: {
      task(element) { Object.assign(view, { task: element.value, fields: {} }); view.mode = properties().length ? "form" : "text"; app.redraw(); },
      mode(element) { if (element.dataset.value === "text") view.text = JSON.stringify(payload(), null, 2) ?? view.text; view.mode = element.dataset.value; app.redraw(); },
      field(element) { view.fields[element.name] = element.type === "checkbox" ? element.checked : element.value; app.redraw(); },
      text(element) { view.text = element.value; app.redraw(); },
      option(element) { view.options[element.name] = element.value; app.redraw(); },
      language(element) { view.language = element.dataset.value; app.redraw(); },
      async send() {
        view.note = "";
        try {
          const { task_id } = await api.post("tasks?strict=1", body());
          view.sent.unshift(await api.get(`tasks/${task_id}`));
          setTimeout(look, 700, task_id);
        } catch (error) { view.note = error.message; }
        app.redraw();
      },
    },
  };

  // Reads one task again, and puts it where it stands: others may have been sent meanwhile.
  async function look(id) {
    const fresh = await api.get(`tasks/${id}`).catch(() => null);
    if (fresh) view.sent = view.sent.map((one) => (one.task_id === id ? fresh : one));
    app.redraw();
  }

  const handler = () => view.handlers.find((one) => one.task === view.task);

  function resolved(schema, root = schema) {
    if (schema?.$ref) return resolved(schema.$ref.split("/").slice(1).reduce((at, part) => at?.[part], root) ?? {}, root);
    if (schema?.anyOf) { const kinds = schema.anyOf.filter((one) => one.type !== "null"); return resolved(kinds[0], root); }
    return schema ?? {};
  }

  function properties() {
    const schema = handler()?.schema, full = resolved(schema);
    return Object.entries(full.properties ?? {}).map(([name, one]) => ({ name, schema: resolved(one, schema), required: full.required?.includes(name) }));
  }

  function payload() {
    if (view.mode === "text" || !properties().length) { try { return JSON.parse(view.text); } catch { return view.text; } }
    const found = {};
    for (const { name, schema } of properties()) {
      const value = view.fields[name];
      if (value === undefined || value === "") continue;
      if (schema.type === "integer" || schema.type === "number") found[name] = Number(value);
      else if (schema.type === "boolean" || schema.type === "string") found[name] = value;
      else try { found[name] = JSON.parse(value); } catch { found[name] = value; }
    }
    return found;
  }

  function body() {
    const found = { payload: payload(), ...(view.task ? { task: view.task } : {}) };
    for (const [name, value] of Object.entries(view.options)) if (value !== "") found[name] = name === "priority" || name === "max_attempts" ? Number(value) : name === "tags" ? value.split(",").map((tag) => tag.trim()).filter(Boolean) : value;
    return found;
  }

  function form() {
    const fields = properties(), text = view.mode === "text" || !fields.length;
    return section("panel", h("header", {}, h("h2", {}, "New task"), fields.length ? choices("mode", [["form", "Form"], ["text", "JSON or text"]], view.mode) : null),
      h("form", { class: "body form", "data-act": "send", "data-on": "submit" },
        h("label", {}, span("", "Task"), view.handlers.length ? h("select", { "data-act": "task", "data-on": "change" }, view.handlers.map((one) => h("option", { value: one.task, selected: one.task === view.task }, one.task))) : h("input", { value: view.task, "data-act": "task", "data-on": "change", placeholder: "no worker has told its tasks yet" })),
        handler()?.doc ? p("muted", handler().doc) : null,
        text ? h("label", {}, span("", "Payload: JSON, or any text"), h("textarea", { rows: 8, "data-act": "text", "data-on": "input", "data-keep": `text-${view.mode}-${view.task}` }, view.text)) : fields.map(({ name, schema, required }) => h("label", { "data-key": name }, span("", name + (required ? " *" : ""), schema.type ? ` · ${schema.type}` : "", schema.description ? ` · ${schema.description}` : ""), control(name, schema))),
        h("details", {}, h("summary", {}, "Options"), div("pair", OPTIONS.map(([name, label]) => h("label", {}, span("", label), h("input", { name, value: view.options[name] ?? "", "data-act": "option", "data-on": "input", autocomplete: "off" }))))),
        view.note ? h("p", { class: "error-note", role: "alert" }, view.note) : null,
        div("row", h("button", { class: "primary", disabled: !app.may("submit") }, "Submit"))));
  }

  function control(name, schema) {
    const more = { name, "data-act": "field", "data-on": "input", autocomplete: "off" };
    if (schema.enum) return h("select", { ...more, "data-on": "change" }, h("option", { value: "" }), schema.enum.map((one) => h("option", { value: one }, String(one))));
    if (schema.type === "boolean") return span("", h("input", { ...more, type: "checkbox", "data-on": "change" }));
    if (schema.type === "integer" || schema.type === "number") return h("input", { ...more, type: "number", step: schema.type === "integer" ? "1" : "any", min: schema.minimum, max: schema.maximum, placeholder: schema.default });
    if (schema.type === "string") return h("input", { ...more, placeholder: schema.default });
    return h("textarea", { ...more, rows: 3, placeholder: "JSON" });
  }

  function code() {
    const text = JSON.stringify(body()), url = api.apiUrl("tasks");
    const lines = { curl: `curl -X POST ${url} \\\n  -H "Content-Type: application/json" \\\n  -d '${text.replaceAll("'", "'\\''")}'`, Python: `import json, urllib.request\n\nbody = json.loads(${JSON.stringify(text)})\nrequest = urllib.request.Request("${url}", json.dumps(body).encode())\nprint(urllib.request.urlopen(request).read().decode())`, JavaScript: `const answer = await fetch("${url}", {\n  method: "POST",\n  body: JSON.stringify(${JSON.stringify(body(), null, 2).replaceAll("\n", "\n  ")}),\n});\nconsole.log((await answer.json()).task_id);` };
    return section("panel", h("header", {}, h("h2", {}, "From elsewhere"), choices("language", Object.keys(lines).map((name) => [name, name]), view.language), button("copy", icon("copy"), { class: "quiet", "data-text": lines[view.language], "aria-label": "Copy" })), div("body", h("pre", { class: "block" }, lines[view.language])));
  }

  const sent = () => section("panel", h("header", {}, h("h2", {}, "Sent from here")), h("table", { class: "stack" }, h("tbody", {}, view.sent.map((one) => h("tr", { "data-key": one.task_id }, td("", badge(one.state)), td("nowrap", taskLink(one, one.task ?? "(default)")), td("cut mono", one.error ? span("bad", `${one.error.type}: ${one.error.message}`) : one.result === null || one.result === undefined ? "" : JSON.stringify(one.result)), td("num nowrap", one.run_seconds === null ? "" : seconds(one.run_seconds)))))));

  return view;
}
