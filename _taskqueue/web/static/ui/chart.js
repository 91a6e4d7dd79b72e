// Charts on a canvas: stacked areas or lines over time, a crosshair, and the numbers as a table for those who want them.

import { div, h, row, span, table, td } from "./dom.js";
import { count } from "./format.js";

const clock = (time, length = 8) => new Date(time).toTimeString().slice(0, length);
const colour = (element, name) => getComputedStyle(element).getPropertyValue(`--${name}`).trim() || "#888";

function nice(max) {
  if (max <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(max));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= max);
}

function prepare(canvas) {
  const ratio = devicePixelRatio, { clientWidth: width, clientHeight: height } = canvas, wide = Math.round(width * ratio), high = Math.round(height * ratio);
  if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

function stroke(pen, from, to) { pen.beginPath(); pen.moveTo(...from); pen.lineTo(...to); pen.stroke(); }

function hatch(pen, ink) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const brush = tile.getContext("2d");
  Object.assign(brush, { strokeStyle: ink, lineWidth: 1.5 });
  stroke(brush, [-1, 7], [7, -1]);
  return pen.createPattern(tile, "repeat");
}

// series: [{ name, label, values }]; the last series is drawn on top. Values of undefined are gaps.
export class Chart {
  constructor({ label, format = count, stacked = true, height = "" }) {
    Object.assign(this, { label, format, stacked, series: [], times: [], peak: 1, shrinkAt: 0, at: null });
    this.canvas = h("canvas", {});
    this.box = h("div", { class: "value-box", hidden: true });
    this.element = h("div", { class: `chart ${height}`, "data-keep": label, role: "img", "aria-label": label, tabindex: "0" }, this.canvas, this.box);
    this.element.chart = this;
    this.element.addEventListener("pointermove", (event) => this.#point(event.offsetX));
    this.element.addEventListener("pointerleave", () => this.#point(null));
    this.element.addEventListener("keydown", (event) => { const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]; if (step) { this.#show((this.at ?? this.times.length) + step); event.preventDefault(); } });
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  set(times, series) { Object.assign(this, { times, series }); this.draw(); }

  draw() { if (!this.frame) this.frame = requestAnimationFrame(() => { this.frame = 0; this.#paint(); }); }

  #scale() {
    const tops = this.times.map((_, at) => this.series.reduce((top, { values: { [at]: value = 0 } }) => (this.stacked ? top + value : Math.max(top, value)), 0));
    const peak = nice(Math.max(0, ...tops));
    if (peak >= this.peak) { this.peak = peak; this.shrinkAt = Date.now() + 10000; } else if (Date.now() > this.shrinkAt) this.peak = peak;
    return this.peak;
  }

  #paint() {
    const { pen, width, height } = prepare(this.canvas);
    if (!width || !this.times.length) return;
    const left = 44, right = width - 8, top = 8, bottom = height - 20, peak = this.#scale(), last = this.times.length - 1;
    const x = (at) => (last ? left + ((right - left) * at) / last : right), y = (value) => bottom - ((bottom - top) * value) / peak;
    Object.assign(this, { x, left, right });
    Object.assign(pen, { font: "11px system-ui, sans-serif", fillStyle: colour(this.element, "faint"), strokeStyle: colour(this.element, "border"), lineWidth: 1, textAlign: "right", textBaseline: "middle" });
    for (const part of [0, 0.5, 1]) {
      const line = Math.round(y(peak * part)) + 0.5;
      stroke(pen, [left, line], [right, line]);
      pen.fillText(this.format(peak * part), left - 6, line);
    }
    pen.textBaseline = "alphabetic";
    for (const part of width < 480 ? [0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1]) {
      const at = Math.round(last * part);
      pen.textAlign = part === 0 ? "left" : part === 1 ? "right" : "center";
      pen.fillText(clock(this.times[at], last && this.times[last] - this.times[0] < 700000 ? 8 : 5), x(at), height - 4);
    }
    if (this.stacked) this.#areas(pen, x, y); else this.#lines(pen, x, y);
    if (this.at !== null) { pen.strokeStyle = colour(this.element, "muted"); stroke(pen, [x(this.at), top], [x(this.at), bottom]); }
  }

  // The areas first, then their edges, so that the lower ones are not hidden.
  #areas(pen, x, y) {
    let base = this.times.map(() => 0);
    const layers = this.series.map((one) => { const lower = base; base = lower.map((value, at) => value + (one.values[at] ?? 0)); return { one, lower, upper: base, ink: colour(this.element, one.name) }; });
    for (const { one, lower, upper, ink } of layers) {
      pen.beginPath();
      upper.forEach((value, at) => pen.lineTo(x(at), y(value)));
      for (let at = lower.length - 1; at >= 0; at--) pen.lineTo(x(at), y(lower[at]));
      Object.assign(pen, one.hatched ? { globalAlpha: 0.7, fillStyle: hatch(pen, ink) } : { globalAlpha: 0.28, fillStyle: ink });
      pen.fill();
    }
    pen.globalAlpha = 1;
    for (const { one: { values }, upper, ink } of layers.reverse()) this.#edge(pen, ink, upper, (at) => values[at] || values[at - 1], x, y);
  }

  #lines(pen, x, y) {
    for (const { name, values } of this.series) this.#edge(pen, colour(this.element, name), values, (at) => at && values[at - 1] !== undefined, x, y);
  }

  #edge(pen, strokeStyle, values, isDrawn, x, y) {
    Object.assign(pen, { strokeStyle, lineWidth: 1.5 });
    pen.beginPath();
    values.forEach((value, at) => { if (isDrawn(at)) pen.lineTo(x(at), y(value)); else pen.moveTo(x(at), y(value)); });
    pen.stroke();
  }

  #point(offset) {
    if (offset !== null && this.times.length) this.#show(Math.round(((offset - this.left) / (this.right - this.left)) * (this.times.length - 1)));
    else { this.at = null; this.box.hidden = true; this.draw(); }
  }

  // The numbers of one moment, beside it.
  #show(at) {
    this.at = Math.min(this.times.length - 1, Math.max(0, at));
    this.box.replaceChildren(div("muted", clock(this.times[this.at])), ...this.series.map((one) => div("", `${one.label} ${this.format(one.values[this.at] ?? 0)}`)));
    this.box.hidden = false;
    const x = this.x(this.at), width = this.element.clientWidth, before = x > width / 2;
    Object.assign(this.box.style, before ? { left: "auto", right: `${width - x + 10}px` } : { left: `${x + 10}px`, right: "auto" });
    this.draw();
  }

  table() {
    const line = (time, at) => row(null, "", td("", clock(time)), this.series.map((one) => td("num", this.format(one.values[at] ?? 0))));
    return table(["Time", ...this.series.map((one) => `#${one.label}`)], this.times.map(line).reverse(), true);
  }
}

export const legend = (series) => div("legend", series.map((one) => span("", h("i", { style: { "--c": `var(--${one.name})` } }), one.label)));

export const spark = (values, name = "accent") => h("canvas", { class: "spark", "aria-hidden": "true", "data-spark": values.join(","), "data-colour": name });

// Draws every sparkline that is new, or whose numbers or theme have changed.
export function drawSparks(within) {
  for (const canvas of within.querySelectorAll("canvas.spark")) {
    const now = canvas.dataset.spark + document.documentElement.dataset.theme;
    if (canvas.drawn === now || !canvas.clientWidth) continue;
    canvas.drawn = now;
    const values = canvas.dataset.spark.split(",").map(Number), { pen, width, height } = prepare(canvas), peak = Math.max(1, ...values);
    const x = (at) => width - 4 - ((width - 6) * (values.length - 1 - at)) / Math.max(1, values.length - 1), y = (value) => height - 3 - ((height - 6) * value) / peak, ink = colour(canvas, canvas.dataset.colour);
    Object.assign(pen, { strokeStyle: ink, fillStyle: ink, lineWidth: 1.2 });
    pen.beginPath(); values.forEach((value, at) => pen.lineTo(x(at), y(value))); pen.stroke();
    pen.beginPath(); pen.arc(x(values.length - 1), y(values.at(-1) ?? 0), 1.8, 0, 7); pen.fill();
  }
}
