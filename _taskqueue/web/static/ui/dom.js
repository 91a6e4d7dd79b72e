// Elements from plain calls, and a patch that changes only what differs: rows keep their place, focus and selection.

export function h(tag, props, ...children) {
  const element = tag === "svg" || tag === "use" ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== undefined && child !== null && child !== false && child !== "") element.append(child);
  }
}

const tag = (name) => (className, ...children) => h(name, { class: className || null }, children);
export const [td, span, div, p, section, pre] = ["td", "span", "div", "p", "section", "pre"].map(tag);
export const h2 = (...text) => h("h2", {}, text);

export const icon = (name) => h("svg", { class: "icon", "aria-hidden": "true" }, h("use", { href: `icons.svg#i-${name}` }));

// What the caller may do; the buttons know it.
export const session = { scopes: [] };

// A button that does `act`. One that needs a scope the caller has not cannot be pressed, and says so.
export function button(act, label, { needs, ...props } = {}) {
  const refused = needs && !session.scopes.includes(needs) && { disabled: true, title: `needs the scope ${needs}` };
  return h("button", { type: "button", "data-act": act, ...props, ...refused }, label);
}

// A row of buttons of which one is down: pairs of value and label.
export const choices = (act, pairs, chosen, props = {}) => div("segments", pairs.map(([value, label]) => button(act, label, { "data-value": value, "aria-pressed": String(value === chosen), ...props })));

// A panel: its title, what stands beside the title, what is in it.
export const panel = (title, beside, ...content) => section("panel", h("header", {}, title && h2(title), beside), content);
export const body = (...content) => div("body", content);
export const blank = (title, ...content) => section("panel empty", h2(title), content);

// A table by its heads and rows. A head that begins with # is over numbers; an empty one is over buttons, and its name is
// for those who cannot see them. On a telephone each row becomes a few lines, unless it is `wide`.
export function table(heads, rows, wide = false) {
  const head = (label) => label ? h("th", { class: label.startsWith("#") && "num" }, label.replace("#", "")) : h("th", {}, span("sr", "Actions"));
  return h("div", { class: "scroll", tabindex: wide && "0" }, h("table", { class: !wide && "stack" }, heads && h("thead", {}, h("tr", {}, heads.map((label) => label instanceof Node ? h("th", {}, label) : head(label)))), h("tbody", {}, rows)));
}
export const row = (key, className, ...cells) => h("tr", { "data-key": key, class: className || null }, cells);

// A cell whose name stands before it where there is no head.
export const cell = (label, className, ...children) => h("td", { class: className, "data-label": label }, children);

// Makes `old` equal to `fresh`. Children with data-key are matched by it, others by position and name. A button never
// turns into one that does something else: the pointer may be on its way to it.
function morph(old, fresh) {
  if (old.dataset?.keep && old.dataset.keep === fresh.dataset?.keep) return old;
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.dataset?.act !== fresh.dataset?.act || old.dataset?.verb !== fresh.dataset?.verb) { old.replaceWith(fresh); return fresh; }
  if (old.nodeType === Node.TEXT_NODE) { if (old.data !== fresh.data) old.data = fresh.data; return old; }
  morphAttributes(old, fresh);
  morphChildren(old, fresh);
  return old;
}

const OWN = { CANVAS: ["width", "height"], DETAILS: ["open"] };

const keyOf = (node) => node?.dataset?.key;

function morphAttributes(old, fresh) {
  for (const name of old.getAttributeNames()) {
    if (!fresh.hasAttribute(name) && name !== "style" && !OWN[old.nodeName]?.includes(name)) old.removeAttribute(name);
  }
  for (const name of fresh.getAttributeNames()) {
    const value = fresh.getAttribute(name);
    if (old.getAttribute(name) === value) continue;
    if (name === "style") old.style.cssText = value; else old.setAttribute(name, value);
  }
  if (old.nodeName === "INPUT" && old !== document.activeElement) {
    if (old.type === "checkbox") old.checked = fresh.hasAttribute("checked");
    else if (fresh.hasAttribute("data-live")) old.value = fresh.value;
  }
}

function morphChildren(old, fresh) {
  const keyed = new Map();
  for (const child of old.children) if (keyOf(child)) keyed.set(keyOf(child), child);
  let at = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const key = keyOf(wanted);
    if (key) {
      const found = keyed.get(key);
      keyed.delete(key);
      if (!found) { old.insertBefore(wanted, at); continue; }
      if (found !== at) old.insertBefore(found, at); else at = at.nextSibling;
      morph(found, wanted);
    } else if (at && !keyOf(at)) {
      const next = at.nextSibling;
      morph(at, wanted);
      at = next;
    } else old.insertBefore(wanted, at);
  }
  while (at) { const next = at.nextSibling; at.remove(); at = next; }
}

export function put(element, ...children) {
  const fresh = element.cloneNode(false);
  append(fresh, children);
  morphChildren(element, fresh);
}

export async function copyText(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  const area = h("textarea", { value: text, "aria-hidden": "true" });
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
