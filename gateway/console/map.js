// The live map of one zone: walls drawn once, marks at each state, density on request; zoom and pan.

import { Walls } from "./walls.js";
import { drawDensity } from "./density.js";
import { colour } from "./format.js";

const HEADER_BYTES = 16;
const MARK_WORDS = 3;
const ZOOM_STEP = 1.3;
const PIXELS_PER_TILE_MAX = 48;

// By a mark's kind: its colour, its size in tiles and its least size in pixels. Drawn in `DRAW_ORDER`, the brightest last.
const KINDS = [
  { name: "player", tiles: 0.9, pixels: 4.8 },
  { name: "wandering", tiles: 0.7, pixels: 2.2 },
  { name: "chasing", tiles: 0.8, pixels: 4.2 },
  { name: "item", tiles: 0.4, pixels: 1.8 },
].map((kind) => ({ ...kind, ink: colour(kind.name) }));
const DRAW_ORDER = [3, 1, 2, 0];
const [PLAYER, ITEM] = [0, 3];

// How far the glow around players reaches, in their sizes, and how strong it is.
const GLOW_SIZES = 3.2;
const GLOW_ALPHA = 0.13;

export class MapView {
  #g;
  #walls = null;
  #state = null;
  #scale = 1;
  #centre = { x: 0, y: 0 };
  #fitted = true;
  #queued = false;
  #hidden = new Set();
  #density = false;

  constructor(canvas, place) {
    this.canvas = canvas;
    this.place = place;
    this.#g = canvas.getContext("2d");
    this.#listen();
    new ResizeObserver(() => (this.#fitted ? this.fit() : this.#queue())).observe(canvas);
  }

  // zone: as /api/node lists it; bits: a bit for each tile, from the lowest, 1 for a wall.
  open(zone, bits, unitsPerTile) {
    this.#walls = new Walls(zone.width_tiles, zone.height_tiles, bits);
    this.unitsPerTile = unitsPerTile;
    this.zone = zone.id;
    this.#state = null;
    this.fit();
  }

  // A state that arrives for another zone was under way when the zone was switched.
  show(buffer) {
    const head = new DataView(buffer);
    if (head.getUint16(0, true) !== this.zone) return;
    this.#state = new Uint16Array(buffer, HEADER_BYTES, head.getUint32(4, true) * MARK_WORDS);
    this.#queue();
  }

  toggleKind(kind) {
    if (!this.#hidden.delete(kind)) this.#hidden.add(kind);
    this.#queue();
    return !this.#hidden.has(kind);
  }

  toggleDensity() {
    this.#density = !this.#density;
    this.#queue();
    return this.#density;
  }

  fit() {
    if (!this.#walls) return;
    this.#fitted = true;
    this.#scale = this.#fitScale();
    this.#centre = { x: this.#walls.width / 2, y: this.#walls.height / 2 };
    this.#queue();
  }

  // Zooms by a factor, keeping the tile under (x, y) of the canvas, or its middle, where it is.
  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    if (!this.#walls) return;
    const before = this.#tileAt(x, y);
    const least = this.#fitScale() / 2;
    this.#scale = Math.min(Math.max(this.#scale * factor, least), Math.max(PIXELS_PER_TILE_MAX, least));
    const after = this.#tileAt(x, y);
    this.#move(before.x - after.x, before.y - after.y);
  }

  #fitScale() {
    const { clientWidth, clientHeight } = this.canvas;
    return Math.max(Math.min(clientWidth / this.#walls.width, clientHeight / this.#walls.height), 0.01);
  }

  #move(tilesX, tilesY) {
    this.#fitted = false;
    this.#centre.x = Math.min(Math.max(this.#centre.x + tilesX, 0), this.#walls.width);
    this.#centre.y = Math.min(Math.max(this.#centre.y + tilesY, 0), this.#walls.height);
    this.#queue();
  }

  #tileAt(x, y) {
    const { clientWidth, clientHeight } = this.canvas;
    return {
      x: (x - clientWidth / 2) / this.#scale + this.#centre.x,
      y: (y - clientHeight / 2) / this.#scale + this.#centre.y,
    };
  }

  #listen() {
    const { canvas } = this;
    const pointers = new Map();
    const spread = () => {
      const [a, b] = [...pointers.values()];
      return b && { size: Math.hypot(a.x - b.x, a.y - b.y), x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
    };
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.#walls) return;
      const here = { x: event.offsetX, y: event.offsetY };
      const tile = this.#tileAt(here.x, here.y);
      this.place.textContent = this.#walls.holds(tile) ? `tile ${Math.floor(tile.x)}, ${Math.floor(tile.y)}` : "";
      const before = pointers.get(event.pointerId);
      if (!before) return;
      const pinch = spread();
      pointers.set(event.pointerId, here);
      const share = this.#scale * pointers.size;
      this.#move((before.x - here.x) / share, (before.y - here.y) / share);
      if (pinch?.size) this.zoom(spread().size / pinch.size, pinch.x, pinch.y);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
    }
    canvas.addEventListener("pointerleave", () => (this.place.textContent = ""));
    canvas.addEventListener("keydown", (event) => {
      const step = 60 / this.#scale;
      const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
      if (!this.#walls || !(event.key in moves)) return;
      event.preventDefault();
      this.#move(...moves[event.key]);
    });
  }

  zoomIn() {
    this.zoom(ZOOM_STEP);
  }

  zoomOut() {
    this.zoom(1 / ZOOM_STEP);
  }

  #queue() {
    if (this.#queued) return;
    this.#queued = true;
    requestAnimationFrame(() => {
      this.#queued = false;
      this.#draw();
    });
  }

  #draw() {
    const { canvas } = this;
    const g = this.#g;
    const density = devicePixelRatio;
    const [width, height] = [Math.round(canvas.clientWidth * density), Math.round(canvas.clientHeight * density)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    g.setTransform(1, 0, 0, 1, 0, 0);
    g.clearRect(0, 0, width, height);
    if (!this.#walls) return;
    const scale = this.#scale * density;
    const left = Math.round(width / 2 - this.#centre.x * scale);
    const top = Math.round(height / 2 - this.#centre.y * scale);
    this.#walls.drawFloor(g, left, top, scale);
    if (this.#state && this.#density) {
      const shown = (kind) => kind !== ITEM && !this.#hidden.has(kind);
      drawDensity(g, this.#state, shown, this.#walls, this.unitsPerTile, left, top, scale);
    }
    this.#walls.draw(g, left, top, scale);
    let drawn = 0;
    for (const kind of DRAW_ORDER) {
      if (this.#state && !this.#hidden.has(kind)) drawn += this.#drawKind(kind, left, top, scale, density);
    }
    // For whoever cannot see the picture: tests, and people with the inspector.
    canvas.dataset.marks = drawn;
  }

  // Gives how many marks were in view.
  #drawKind(kind, left, top, scale, density) {
    const g = this.#g;
    const { ink, tiles, pixels } = KINDS[kind];
    const size = Math.max(tiles * scale, pixels * density);
    g.fillStyle = ink;
    if (kind === PLAYER) {
      g.globalAlpha = GLOW_ALPHA;
      this.#fillMarks(kind, size * GLOW_SIZES, left, top, scale, density);
    }
    g.globalAlpha = this.#density ? 0.5 : 1;
    const drawn = this.#fillMarks(kind, size, left, top, scale, density);
    g.globalAlpha = 1;
    return drawn;
  }

  #fillMarks(kind, size, left, top, scale, density) {
    const g = this.#g;
    const unit = scale / this.unitsPerTile;
    const marks = this.#state;
    const round = size > 4 * density;
    let drawn = 0;
    g.beginPath();
    for (let i = 0; i < marks.length; i += MARK_WORDS) {
      if ((marks[i + 2] & 0xff) !== kind) continue;
      const x = left + marks[i] * unit;
      const y = top + marks[i + 1] * unit;
      if (x < -size || y < -size || x > this.canvas.width + size || y > this.canvas.height + size) continue;
      if (round) {
        g.moveTo(x + size / 2, y);
        g.arc(x, y, size / 2, 0, 2 * Math.PI);
      } else {
        g.rect(x - size / 2, y - size / 2, size, size);
      }
      drawn++;
    }
    g.fill();
    return drawn;
  }
}
