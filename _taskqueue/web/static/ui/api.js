// The public API, as anybody may use it: requests that end in a value or a Problem, and the one stream of events.

const root = new URL("..", document.baseURI);

class Problem extends Error {
  constructor(status, { detail }) {
    super(detail ?? `The server answered ${status}.`);
    this.status = status;
  }
}

async function request(method, path, body, raw = false) {
  let answer;
  try {
    answer = await fetch(new URL(path, root), { method, body: JSON.stringify(body) });
  } catch {
    throw new Problem(0, { detail: "The API cannot be reached." });
  }
  const text = await answer.text();
  const json = answer.headers.get("content-type")?.includes("json");
  if (answer.status === 401) document.dispatchEvent(new CustomEvent("signed-out"));
  if (!answer.ok) throw new Problem(answer.status, json ? JSON.parse(text) : {});
  return json && text && !raw ? JSON.parse(text) : text;
}

export const get = (path) => request("GET", path);
export const list = async (path) => (await get(path)).items;
export const source = (path) => request("GET", path, undefined, true);
export const post = (path, body) => request("POST", path, body);
export const patch = (path, body) => request("PATCH", path, body);
export const remove = (path) => request("DELETE", path);
export const apiUrl = (path) => new URL(path, root).href;

// Puts what arrived in the place of what it replaces.
export function upsert(items, key, data) {
  const at = items.findIndex((one) => one[key] === data[key]);
  if (at >= 0) items[at] = data; else items.push(data);
  return true;
}
export const query = (values) => new URLSearchParams(Object.entries(values).filter(([, value]) => (value ?? "") !== ""));

// One stream a tab carries every topic. The browser reconnects by itself and says where it stopped.
export class Stream {
  #source = null;
  state = "waiting";

  constructor(heard, changed) { Object.assign(this, { heard, changed, at: 0 }); }

  open() {
    if (this.#source) return;
    this.#source = new EventSource(new URL("events", root));
    this.#source.onopen = () => this.#set("live");
    this.#source.onerror = () => { this.#set(Date.now() - this.at > 15000 ? "lost" : "waiting"); if (this.#source?.readyState === EventSource.CLOSED) { this.close("lost"); setTimeout(() => this.open(), 5000); } };
    for (const name of ["stats", "queue", "task", "progress", "worker", "operation", "busy", "reset", "bye"]) {
      this.#source.addEventListener(name, (event) => { this.at = Date.now(); this.#set("live"); this.heard(name, JSON.parse(event.data)); });
    }
  }

  close(state = "paused") { this.#source?.close(); this.#source = null; this.#set(state); }

  #set(state) { if (this.state !== state) { this.state = state; this.changed(state); } }
}
