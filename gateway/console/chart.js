// A small chart of the last two minutes, a point a second, crisp at any pixel density.

import { colour, element, onAxis } from "./format.js";

const SPAN_S = 120;
const PAD = { left: 50, right: 4, top: 7, bottom: 6 };
const LABEL_PIXELS = 13;
const HEADROOM = 1.05;

export class Chart {
  #seconds = [];
  #hover = null;

  // lines: [{ label, colour, of: second => number | null, fill }]; format: value => text.
  // log: [min, max] for a logarithmic scale with lines at each power of ten; otherwise the scale starts at 0.
  // limit: a value to be marked with a dashed line. floor: the least that a linear scale reaches. base: what the
  // units of a linear scale are powers of.
  constructor(parent, { title, lines, format, log, limit, floor = 1, base = 1000 }) {
    Object.assign(this, { lines, format, log, limit, floor, base });
    this.canvas = element("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `${title}, last two minutes`);
    this.values = lines.map(({ label, colour: dot }) => {
      const mark = element("i");
      mark.style.background = dot;
      const value = element("b", { textContent: "–" });
      return { node: element("span", { className: "value" }, mark, `${label} `, value), value };
    });
    const head = element("div", { className: "head" }, title, ...this.values.map(({ node }) => node));
    parent.append(element("div", { className: "chart" }, head, element("div", { className: "plot" }, this.canvas)));
    this.canvas.onpointermove = (event) => this.#point(event.offsetX);
    this.canvas.onpointerleave = () => this.#point(null);
    new ResizeObserver(() => this.#draw()).observe(this.canvas);
  }

  // seconds: the history, oldest first, each with its `at_s`.
  show(seconds) {
    this.#seconds = seconds;
    this.#draw();
  }

  #point(x) {
    this.#hover = x;
    this.#draw();
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const density = devicePixelRatio;
    this.canvas.width = Math.round(width * density);
    this.canvas.height = Math.round(height * density);
    const g = this.canvas.getContext("2d");
    g.scale(density, density);
    const newest = this.#seconds.at(-1)?.at_s ?? 0;
    const right = width - PAD.right;
    const x = (at) => right - ((newest - at) / (SPAN_S - 1)) * (right - PAD.left);
    const y = this.#scale(g, height, right);
    for (const line of [...this.lines].reverse()) this.#line(g, line, x, y, height - PAD.bottom);
    const shown = this.#hovered(x);
    if (shown && this.#hover !== null) {
      g.fillStyle = colour("faint");
      g.fillRect(Math.round(x(shown.at_s)), PAD.top, 1, height - PAD.top - PAD.bottom);
    }
    this.values.forEach(({ value }, i) => (value.textContent = this.format(shown && this.lines[i].of(shown))));
  }

  #hovered(x) {
    if (this.#hover === null) return this.#seconds.at(-1);
    const distance = (second) => Math.abs(x(second.at_s) - this.#hover);
    return this.#seconds.reduce((a, b) => (a && distance(a) <= distance(b) ? a : b), undefined);
  }

  // Draws the axis and gives the function from a value to its height.
  #scale(g, height, right) {
    const top = PAD.top;
    const bottom = height - PAD.bottom;
    let y;
    let marks;
    if (this.log) {
      const [low, high] = this.log.map(Math.log10);
      y = (v) => bottom - ((Math.min(Math.max(Math.log10(v), low), high) - low) / (high - low)) * (bottom - top);
      marks = [];
      for (let power = Math.ceil(low); power <= high; power++) marks.push(10 ** power);
      if (this.limit) marks = marks.filter((mark) => y(mark) - y(this.limit) > LABEL_PIXELS);
    } else {
      const values = this.#seconds.flatMap((second) => this.lines.map((line) => line.of(second) ?? 0));
      const most = roundUp(Math.max(this.floor, HEADROOM * Math.max(0, ...values)), this.base);
      y = (v) => bottom - (v / most) * (bottom - top);
      marks = [0, most / 2, most];
    }
    g.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    g.textAlign = "right";
    g.textBaseline = "middle";
    const label = (value, line, text, dash) => {
      const level = Math.round(y(value)) + 0.5;
      stroke(g, line, dash, PAD.left, level, right);
      g.fillStyle = text;
      g.fillText(onAxis(this.format)(value), PAD.left - 6, level);
    };
    for (const mark of marks) label(mark, colour("line"), colour("faint"), []);
    if (this.limit) label(this.limit, colour("bad"), colour("bad"), [4, 4]);
    return y;
  }

  #line(g, { of, colour: ink, fill }, x, y, bottom) {
    let run = [];
    const flush = () => {
      if (run.length) paint(g, run, ink, fill, bottom);
      run = [];
    };
    let before;
    for (const second of this.#seconds) {
      const value = of(second);
      if (value == null || (before !== undefined && second.at_s !== before + 1)) flush();
      if (value != null) run.push([x(second.at_s), y(value)]);
      before = second.at_s;
    }
    flush();
  }
}

function paint(g, run, ink, fill, bottom) {
  g.beginPath();
  run.forEach(([px, py]) => g.lineTo(px, py));
  g.strokeStyle = ink;
  g.lineWidth = 1.5;
  g.lineJoin = "round";
  if (run.length === 1) g.lineTo(run[0][0] - 1, run[0][1]);
  g.stroke();
  if (!fill) return;
  g.lineTo(run.at(-1)[0], bottom);
  g.lineTo(run[0][0], bottom);
  g.fillStyle = ink;
  g.globalAlpha = 0.12;
  g.fill();
  g.globalAlpha = 1;
}

function stroke(g, ink, dash, left, level, right) {
  g.beginPath();
  g.setLineDash(dash);
  g.moveTo(left, level);
  g.lineTo(right, level);
  g.strokeStyle = ink;
  g.lineWidth = 1;
  g.stroke();
  g.setLineDash([]);
}

// The next round number, counted in the largest unit that fits.
function roundUp(value, base) {
  const unit = base ** Math.floor(Math.log(value) / Math.log(base));
  const ten = 10 ** Math.floor(Math.log10(value / unit));
  return [1, 1.2, 1.6, 2, 3, 4, 6, 8, 10].find((n) => n * ten * unit >= value) * ten * unit;
}
