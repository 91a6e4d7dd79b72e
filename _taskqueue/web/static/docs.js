// The API's page about itself. Everything shown comes from openapi.json, and goes into the page as text, never as markup.

const $ = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

let components = {};

function resolve(schema) {
  return schema?.$ref ? (components[schema.$ref.split("/").pop()] ?? {}) : (schema ?? {});
}

function typeName(schema) {
  if (!schema || Object.keys(schema).length === 0) return "any";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeName).filter((name) => name !== "null").join(" | ");
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.type === "array") return `list of ${typeName(schema.items)}`;
  return Array.isArray(schema.type) ? schema.type.join(" | ") : (schema.type ?? "object");
}

function rules(schema) {
  const found = [];
  if (schema.description) found.push(schema.description);
  if (schema.default !== undefined && schema.default !== null && schema.default !== "") found.push(`default ${JSON.stringify(schema.default)}`);
  if (schema.minimum !== undefined || schema.maximum !== undefined) found.push(`${schema.minimum ?? "…"} to ${schema.maximum ?? "…"}`);
  if (schema.maxLength !== undefined) found.push(`up to ${schema.maxLength} characters`);
  return found.join("; ");
}

function fieldTable(schema) {
  const full = resolve(schema);
  const rows = Object.entries(full.properties ?? {}).map(([name, one]) =>
    make("tr", {}, make("td", {}, name + (full.required?.includes(name) ? " *" : "")), make("td", {}, typeName(one)), make("td", {}, rules(one))));
  return rows.length ? make("table", {}, make("tbody", {}, ...rows)) : make("p", {}, typeName(schema));
}

function parameterTable(parameters) {
  return make("table", {}, make("tbody", {}, ...parameters.map((one) =>
    make("tr", {}, make("td", {}, one.name + (one.required ? " *" : "")), make("td", {}, one.in), make("td", {}, [typeName(one.schema), rules(one.schema)].filter(Boolean).join(" · "))))));
}

function answers(responses) {
  const good = Object.entries(responses).filter(([status]) => status < "400");
  const bad = Object.keys(responses).filter((status) => status >= "400").join(", ");
  return [
    ...good.flatMap(([status, one]) => {
      const [[kind, media] = []] = Object.entries(one.content ?? {});
      return [make("h3", {}, `${status} ${one.description}${kind ? ` · ${kind}` : ""}`), media ? fieldTable(media.schema.anyOf?.[0] ?? media.schema) : null];
    }),
    make("p", {}, `Problems (application/problem+json): ${bad}`),
  ];
}

const EXAMPLES = { "/tasks": '{"payload": "hello"}', "/tasks/batch": '{"tasks": [{"payload": "one"}, {"payload": "two"}]}',
  "/operations": '{"action": "retry", "filter": {"state": "dead"}, "dry_run": true}' };

function tryForm(method, path, operation) {
  const inputs = operation.parameters.filter((one) => one.in !== "header").map((one) => ({ one, input: make("input", { name: one.name, autocomplete: "off" }) }));
  const body = operation.requestBody ? make("textarea", { "aria-label": "Body", spellcheck: "false" }) : null;
  if (body) body.value = EXAMPLES[path] ?? "{}";
  const output = make("pre", { hidden: true, tabindex: "0" });
  const send = async (event) => {
    event.preventDefault();
    let url = path.slice(1);
    const query = new URLSearchParams();
    for (const { one, input } of inputs) {
      if (one.in === "path") url = url.replace(`{${one.name}}`, encodeURIComponent(input.value));
      else if (input.value !== "") query.set(one.name, input.value);
    }
    output.hidden = false;
    output.textContent = "…";
    try {
      const answer = await fetch(url + (query.size ? `?${query}` : ""), { method: method.toUpperCase(), body: body?.value });
      const text = await answer.text();
      let shown = text;
      try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: as it is */ }
      output.textContent = `${answer.status} ${answer.headers.get("content-type") ?? ""}\n\n${shown.slice(0, 50000)}`;
    } catch (error) {
      output.textContent = `No answer: ${error.message}`;
    }
  };
  return make("form", { class: "try", onsubmit: send }, ...inputs.map(({ one, input }) => make("label", {}, one.name, input)), body,
    make("div", {}, make("button", {}, "Send it")), output);
}

function routeBlock(method, path, operation) {
  const block = make("details", { "data-text": `${method} ${path} ${operation.summary}`.toLowerCase() },
    make("summary", {}, make("b", { class: method }, method.toUpperCase()), make("code", {}, path), make("span", {}, operation.summary)));
  block.addEventListener("toggle", () => {
    if (!block.open || block.querySelector("section")) return;
    const content = operation.requestBody?.content?.["application/json"];
    block.append(make("section", {},
      operation.description ? make("p", {}, operation.description.replaceAll("`", "")) : null,
      ...(operation.parameters.length ? [make("h3", {}, "Parameters"), parameterTable(operation.parameters)] : []),
      ...(content ? [make("h3", {}, "Body"), fieldTable(content.schema)] : []),
      ...answers(operation.responses),
      ...(path === "/events" ? [] : [make("h3", {}, "Try it"), tryForm(method, path, operation)])));
  });
  return block;
}

function show(document_) {
  components = document_.components.schemas;
  const groups = new Map();
  for (const [path, methods] of Object.entries(document_.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(routeBlock(method, path, operation));
    }
  }
  $("routes").replaceChildren(...[...groups].flatMap(([tag, blocks]) => [make("h2", { id: `resource-${tag}` }, tag), ...blocks]));
  $("nav").replaceChildren(...[...groups.keys()].map((tag) => make("a", { href: `#resource-${tag}` }, tag)));
}

async function signIn(token) {
  const answer = await fetch("session", { method: "POST", body: JSON.stringify({ token }) });
  if (!answer.ok) $("caller").textContent = "This token is not known.";
  return answer.ok;
}

async function showCaller() {
  const session = await (await fetch("session")).json();
  $("caller").textContent = session.open ? "Open: no token is needed here." : `Signed in as ${session.name}.`;
  $("sign-in").hidden = session.open || session.name !== "nobody";
}

$("find").addEventListener("input", (event) => {
  const word = event.target.value.trim().toLowerCase();
  for (const block of document.querySelectorAll("details")) block.hidden = !block.dataset.text.includes(word);
});

$("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await signIn($("token").value)) await showCaller();
});

const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  history.replaceState(null, "", location.pathname);
  await signIn(given);
}
show(await (await fetch("openapi.json")).json());
await showCaller();
