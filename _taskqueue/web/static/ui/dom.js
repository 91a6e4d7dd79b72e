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
    if (child === undefined || child === null || child === false || child === "") continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

const tag = (name) => (className, ...children) => h(name, { class: className || null }, children);
export const [td, span, div, p, section] = ["td", "span", "div", "p", "section"].map(tag);

// The head of a column of buttons: its name is for those who cannot see them.
export const th = () => h("th", {}, h("span", { class: "sr" }, "Actions"));

export const icon = (name) => h("svg", { class: "icon", "aria-hidden": "true" }, h("use", { href: `icons.svg#i-${name}` }));

export const button = (act, label, props = {}) => h("button", { type: "button", "data-act": act, ...props }, label);

// A row of buttons of which one is down: pairs of value and label.
export const choices = (act, pairs, chosen, props = {}) => div("segments", pairs.map(([value, label]) => button(act, label, { "data-value": value, "aria-pressed": String(value === chosen), ...props })));

// Makes `old` equal to `fresh`. Children with data-key are matched by it, others by position and name. A button never
// turns into one that does something else: the pointer may be on its way to it.
export function morph(old, fresh) {
  if (old.nodeType === Node.ELEMENT_NODE && old.hasAttribute("data-keep") && old.getAttribute("data-keep") === fresh.getAttribute?.("data-keep")) return old;
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || differs(old, fresh, "data-act") || differs(old, fresh, "data-verb")) { old.replaceWith(fresh); return fresh; }
  if (old.nodeType === Node.TEXT_NODE) { if (old.data !== fresh.data) old.data = fresh.data; return old; }
  morphAttributes(old, fresh);
  morphChildren(old, fresh);
  return old;
}

const OWN = { CANVAS: ["width", "height"], DETAILS: ["open"] };

const differs = (old, fresh, name) => old.nodeType === Node.ELEMENT_NODE && old.getAttribute(name) !== fresh.getAttribute(name);
const keyOf = (node) => (node?.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null);

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
