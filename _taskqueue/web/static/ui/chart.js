// Charts on a canvas: stacked areas or lines over time, a crosshair, and the numbers as a table for those who want them.

import { div, h, span, td } from "./dom.js";
import { count } from "./format.js";

const colour = (element, name) => getComputedStyle(element).getPropertyValue(`--${name}`).trim() || "#888";

function nice(max) {
  if (max <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(max));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= max);
}

function prepare(canvas) {
  const ratio = devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) { canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio); }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

function hatch(pen, ink) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const brush = tile.getContext("2d");
  Object.assign(brush, { strokeStyle: ink, lineWidth: 1.5 });
  brush.beginPath(); brush.moveTo(-1, 7); brush.lineTo(7, -1); brush.stroke();
  return pen.createPattern(tile, "repeat");
}

// series: [{ name, label, values }]; the last series is drawn on top. Values of undefined are gaps.
export class Chart {
  constructor({ label, format = count, stacked = true, height = "" }) {
    Object.assign(this, { label, format, stacked, series: [], times: [], peak: 1, shrinkAt: 0 });
    this.canvas = h("canvas", {});
    this.box = h("div", { class: "value-box", hidden: true });
    this.element = h("div", { class: `chart ${height}`, "data-keep": label, role: "img", "aria-label": label, tabindex: "0" }, this.canvas, this.box);
    this.element.addEventListener("pointermove", (event) => this.#point(event.offsetX));
    this.element.addEventListener("pointerleave", () => this.#point(null));
    this.element.addEventListener("keydown", (event) => { if (event.key === "ArrowLeft" || event.key === "ArrowRight") { this.#step(event.key === "ArrowLeft" ? -1 : 1); event.preventDefault(); } });
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  set(times, series) { Object.assign(this, { times, series }); this.draw(); }

  draw() { if (!this.frame) this.frame = requestAnimationFrame(() => { this.frame = 0; this.#paint(); }); }

  #top(at) { return this.series.reduce((sum, one) => (this.stacked ? sum + (one.values[at] ?? 0) : Math.max(sum, one.values[at] ?? 0)), 0); }

  #scale() {
    const peak = nice(Math.max(0, ...this.times.map((_, at) => this.#top(at))));
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
      pen.beginPath(); pen.moveTo(left, line); pen.lineTo(right, line); pen.stroke();
      pen.fillText(this.format(peak * part), left - 6, line);
    }
    pen.textBaseline = "alphabetic";
    for (const part of width < 480 ? [0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1]) {
      const at = Math.round(last * part);
      pen.textAlign = part === 0 ? "left" : part === 1 ? "right" : "center";
      pen.fillText(new Date(this.times[at]).toTimeString().slice(0, last && this.times[last] - this.times[0] < 700000 ? 8 : 5), x(at), height - 4);
    }
    if (this.stacked) this.#areas(pen, x, y); else this.#lines(pen, x, y);
    if (this.at !== undefined && this.at !== null) { Object.assign(pen, { strokeStyle: colour(this.element, "muted") }); pen.beginPath(); pen.moveTo(x(this.at), top); pen.lineTo(x(this.at), bottom); pen.stroke(); }
  }

  #areas(pen, x, y) {
    const base = this.times.map(() => 0);
    for (const one of this.series) {
      const upper = this.times.map((_, at) => base[at] + (one.values[at] ?? 0)), ink = colour(this.element, one.name);
      const edge = () => upper.forEach((value, at) => pen.lineTo(x(at), y(value)));
      pen.beginPath(); pen.moveTo(x(0), y(base[0])); edge();
      for (let at = base.length - 1; at >= 0; at--) pen.lineTo(x(at), y(base[at]));
      pen.globalAlpha = one.hatched ? 0.7 : 0.28; pen.fillStyle = one.hatched ? hatch(pen, ink) : ink; pen.fill(); pen.globalAlpha = 1;
      Object.assign(pen, { strokeStyle: ink, lineWidth: 1.5 });
      pen.beginPath();
      upper.forEach((value, at) => { if (one.values[at] || one.values[at - 1]) pen.lineTo(x(at), y(value)); else pen.moveTo(x(at), y(value)); });
      pen.stroke();
      upper.forEach((value, at) => { base[at] = value; });
    }
  }

  #lines(pen, x, y) {
    for (const one of this.series) {
      Object.assign(pen, { strokeStyle: colour(this.element, one.name), lineWidth: 1.5 });
      pen.beginPath();
      let drawing = false;
      one.values.forEach((value, at) => { if (value === undefined || value === null) drawing = false; else { if (drawing) pen.lineTo(x(at), y(value)); else pen.moveTo(x(at), y(value)); drawing = true; } });
      pen.stroke();
    }
  }

  #step(by) { const last = this.times.length - 1; this.at = Math.min(last, Math.max(0, (this.at ?? last) + by)); this.#show(); }

  #point(offset) {
    if (offset === null || !this.times.length) { this.at = null; this.box.hidden = true; this.draw(); return; }
    const last = this.times.length - 1;
    this.at = Math.min(last, Math.max(0, Math.round(((offset - this.left) / (this.right - this.left)) * last)));
    this.#show();
  }

  #show() {
    const lines = this.series.map((one) => div("", `${one.label} ${this.format(one.values[this.at] ?? 0)}`));
    this.box.replaceChildren(div("muted", new Date(this.times[this.at]).toTimeString().slice(0, 8)), ...lines);
    this.box.hidden = false;
    const right = this.x(this.at) > this.element.clientWidth / 2;
    this.box.style.left = right ? "auto" : `${this.x(this.at) + 10}px`;
    this.box.style.right = right ? `${this.element.clientWidth - this.x(this.at) + 10}px` : "auto";
    this.draw();
  }

  table() {
    const rows = this.times.map((time, at) => h("tr", {}, td("", new Date(time).toTimeString().slice(0, 8)), this.series.map((one) => td("num", this.format(one.values[at] ?? 0)))));
    return h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "Time"), this.series.map((one) => h("th", { class: "num" }, one.label)))), h("tbody", {}, rows.reverse()));
  }
}

export const legend = (series) => div("legend", series.map((one) => span("", h("i", { style: { "--c": `var(--${one.name})` } }), one.label)));

export function spark(values, name = "accent") {
  const canvas = h("canvas", { class: "spark", "aria-hidden": "true", "data-spark": values.join(","), "data-colour": name });
  return canvas;
}

// Draws every sparkline that is new or has changed.
export function drawSparks(within) {
  for (const canvas of within.querySelectorAll("canvas.spark")) {
    if (canvas.drawn === canvas.dataset.spark || !canvas.clientWidth) continue;
    canvas.drawn = canvas.dataset.spark;
    const values = canvas.dataset.spark.split(",").map(Number), { pen, width, height } = prepare(canvas), peak = Math.max(1, ...values);
    const x = (at) => 2 + ((width - 6) * at) / Math.max(1, values.length - 1), y = (value) => height - 3 - ((height - 6) * value) / peak, ink = colour(canvas, canvas.dataset.colour);
    Object.assign(pen, { strokeStyle: ink, fillStyle: ink, lineWidth: 1.2 });
    pen.beginPath(); values.forEach((value, at) => pen.lineTo(x(at), y(value))); pen.stroke();
    pen.beginPath(); pen.arc(x(values.length - 1), y(values.at(-1) ?? 0), 1.8, 0, 7); pen.fill();
  }
}
