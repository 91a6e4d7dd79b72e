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

export const td = (className, ...children) => h("td", { class: className || null }, children);

// The head of a column of buttons: its name is for those who cannot see them.
export const th = () => h("th", {}, h("span", { class: "sr" }, "Actions"));

export const icon = (name) => h("svg", { class: "icon", "aria-hidden": "true" }, h("use", { href: `icons.svg#i-${name}` }));

export const button = (act, label, props = {}) => h("button", { type: "button", "data-act": act, ...props }, label);

// Makes `old` equal to `fresh`. Children with data-key are matched by it, others by position and name. A button never
// turns into one that does something else: the pointer may be on its way to it.
export function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.dataset?.act !== fresh.dataset?.act || old.dataset?.verb !== fresh.dataset?.verb) { old.replaceWith(fresh); return fresh; }
  if (old.nodeType === Node.TEXT_NODE) { if (old.data !== fresh.data) old.data = fresh.data; return old; }
  if (old.hasAttribute("data-keep") && fresh.getAttribute("data-keep") === old.getAttribute("data-keep")) return old;
  morphAttributes(old, fresh);
  morphChildren(old, fresh);
  return old;
}

function morphAttributes(old, fresh) {
  const own = old.nodeName === "CANVAS" ? ["width", "height"] : old.nodeName === "DETAILS" ? ["open"] : [];
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "style" && !own.includes(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) if (name !== "style" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  if (fresh.style && old.style.cssText !== fresh.style.cssText) old.style.cssText = fresh.style.cssText;
  if (old.nodeName === "INPUT" && old !== document.activeElement) {
    if (old.type === "checkbox") old.checked = fresh.hasAttribute("checked");
    else if (fresh.hasAttribute("data-live")) old.value = fresh.value;
  }
}

function morphChildren(old, fresh) {
  const keyed = new Map();
  for (const child of old.children) if (child.dataset?.key) keyed.set(child.dataset.key, child);
  let at = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const key = wanted.dataset?.key;
    if (key) {
      const found = keyed.get(key);
      keyed.delete(key);
      if (!found) { old.insertBefore(wanted, at); continue; }
      if (found !== at) old.insertBefore(found, at); else at = at.nextSibling;
      morph(found, wanted);
    } else if (at && !at.dataset?.key) {
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
