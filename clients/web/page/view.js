// The world around the character: the ground, and on it whoever and whatever is in view, gliding from snapshot to snapshot.

import { TILE_UNITS } from "/client/protocol.js";
import { isPlayer, itemKind } from "/client/snapshot.js";
import { Ground } from "./ground.js";

const GLIDE_MS_MIN = 40;
const GLIDE_MS_MAX = 300;
/** Whoever goes further between two snapshots is not shown on the way. */
const GLIDE_TILES_MAX = 4;
const BUBBLE_MS = 6000;
const BUBBLE_LETTERS_MAX = 60;
const FONT = "12px system-ui, sans-serif";

/**
 * @import { Client } from "/client/vyuha.js"
 * @import { Entity } from "/client/snapshot.js"
 * @import { Pos } from "/client/motion.js"
 *
 * How an entity is drawn on its way.
 * @typedef {object} Track
 * @property {number} fromX In tiles, like all of these.
 * @property {number} fromY
 * @property {number} toX
 * @property {number} toY
 * @property {number} since
 * @property {number} glideMs
 * @property {number} x
 * @property {number} y
 */

/** The colour of an item, by its kind. @param {number} kind */
export const itemInk = (kind) => `hsl(${(kind * 67 + 20) % 360} 55% 68%)`;

export class View {
  #g;
  /** @type {Ground | null} */
  #ground = null;
  /** @type {Map<number, Track>} */
  #tracks = new Map();
  /** @type {Map<number, { text: string, until: number }>} */
  #bubbles = new Map();
  #left = 0;
  #top = 0;
  #scale = 1;
  /** Where the pointer is, in pixels of the page. @type {{ x: number, y: number } | null} */
  pointer = null;

  /** @param {HTMLCanvasElement} canvas @param {HTMLCanvasElement} minimap */
  constructor(canvas, minimap) {
    this.canvas = canvas;
    this.minimap = minimap;
    this.#g = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
  }

  /** Begins anew in the zone that the client is in. @param {Client} client */
  open(client) {
    this.#tracks.clear();
    this.#bubbles.clear();
    if (client.map && this.#ground?.map !== client.map) {
      this.#ground = new Ground(client.map);
      this.whole = this.#ground.picture();
    }
  }

  /** Takes note of where everybody is by a snapshot. @param {Client} client */
  note(client) {
    const now = performance.now();
    for (const { id, x: unitsX, y: unitsY } of client.world.entities.values()) {
      const [x, y] = [unitsX / TILE_UNITS, unitsY / TILE_UNITS];
      const track = this.#tracks.get(id);
      if (!track || Math.hypot(track.toX - x, track.toY - y) > GLIDE_TILES_MAX) {
        this.#tracks.set(id, { fromX: x, fromY: y, toX: x, toY: y, since: now, glideMs: GLIDE_MS_MIN, x, y });
      } else if (track.toX !== x || track.toY !== y) {
        const glideMs = Math.min(Math.max(1.2 * (now - track.since), GLIDE_MS_MIN), GLIDE_MS_MAX);
        Object.assign(track, { fromX: track.x, fromY: track.y, toX: x, toY: y, since: now, glideMs });
      }
    }
    for (const id of this.#tracks.keys()) {
      if (!client.world.entities.has(id)) this.#tracks.delete(id);
    }
  }

  /** @param {number} entity @param {string} text */
  say(entity, text) {
    const letters = [...text];
    const short = letters.length > BUBBLE_LETTERS_MAX ? `${letters.slice(0, BUBBLE_LETTERS_MAX).join("")}…` : text;
    this.#bubbles.set(entity, { text: short, until: performance.now() + BUBBLE_MS });
  }

  /** The place, in position units, under a pixel of the page. @param {number} x @param {number} y @returns {Pos} */
  place(x, y) {
    const share = devicePixelRatio / this.#scale;
    return { x: (this.#left + x * share) * TILE_UNITS, y: (this.#top + y * share) * TILE_UNITS };
  }

  /** The page's pixel of a place in tiles. @param {number} x @param {number} y */
  #pixel(x, y) {
    const share = this.#scale / devicePixelRatio;
    return { x: Math.round((x - this.#left) * share), y: Math.round((y - this.#top) * share) };
  }

  /**
   * Draws everything.
   * @param {Client} client
   * @param {Pos} own Where the character is drawn.
   * @param {Entity | null} near The item that would be picked up.
   */
  draw(client, own, near) {
    const g = this.#g;
    const { canvas } = this;
    const density = devicePixelRatio;
    const [width, height] = [Math.round(canvas.clientWidth * density), Math.round(canvas.clientHeight * density)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const css = Math.min(Math.max(Math.min(canvas.clientWidth / 44, canvas.clientHeight / 26), 16), 36);
    this.#scale = Math.round(css * density);
    const [ownX, ownY] = [own.x / TILE_UNITS, own.y / TILE_UNITS];
    this.#left = ownX - width / 2 / this.#scale;
    this.#top = ownY - height / 2 / this.#scale;
    g.setTransform(1, 0, 0, 1, 0, 0);
    this.#ground?.draw(g, this.#left, this.#top, this.#scale);

    const counts = { players: 0, npcs: 0, items: 0 };
    const names = [];
    const now = performance.now();
    const standing = [];
    for (const entity of client.world.entities.values()) {
      const track = this.#tracks.get(entity.id);
      if (!track) continue;
      if (entity.id === client.entered?.entity) {
        Object.assign(track, { x: ownX, y: ownY });
      } else {
        const share = Math.min((now - track.since) / track.glideMs, 1);
        track.x = track.fromX + (track.toX - track.fromX) * share;
        track.y = track.fromY + (track.toY - track.fromY) * share;
      }
      if (itemKind(entity)) {
        counts.items++;
        this.#item(entity, track, entity === near);
      } else {
        if (isPlayer(entity)) {
          counts.players++;
          names.push(entity.name);
        } else counts.npcs++;
        standing.push({ entity, track });
      }
    }
    standing.sort((one, other) => one.track.y - other.track.y);
    for (const { entity, track } of standing) this.#body(entity, track, entity.id === client.entered?.entity);
    for (const { entity, track } of standing) this.#label(client, entity, track, entity.id === client.entered?.entity, now);
    if (near) this.#nameItem(client, near);
    this.#drawMinimap(client, own);

    // For whoever cannot see the picture: tests, and people with the inspector.
    const item = near && this.#tracks.get(near.id);
    const at = item && this.#pixel(item.x, item.y);
    Object.assign(canvas.dataset, {
      ...counts,
      names: names.sort().join(", "),
      place: `${Math.floor(ownX)},${Math.floor(ownY)}`,
      corrections: client.corrections,
      near: at ? `${at.x},${at.y}` : "",
    });
  }

  /** @param {Entity} entity @param {Track} track @param {boolean} near */
  #item(entity, track, near) {
    const g = this.#g;
    const size = this.#scale * 0.19;
    const [x, y] = [(track.x - this.#left) * this.#scale, (track.y - this.#top) * this.#scale];
    if (near) {
      g.strokeStyle = "#ffffffb0";
      g.lineWidth = this.#scale / 16;
      g.beginPath();
      g.arc(x, y, size * 2.1, 0, 2 * Math.PI);
      g.stroke();
    }
    g.fillStyle = "#0006";
    g.beginPath();
    g.ellipse(x, y + size * 0.95, size, size * 0.45, 0, 0, 2 * Math.PI);
    g.fill();
    g.fillStyle = itemInk(itemKind(entity));
    g.beginPath();
    g.moveTo(x, y - size * 1.2);
    g.lineTo(x + size, y);
    g.lineTo(x, y + size * 1.2);
    g.lineTo(x - size, y);
    g.fill();
    g.fillStyle = "#ffffff55";
    g.beginPath();
    g.moveTo(x, y - size * 1.2);
    g.lineTo(x, y);
    g.lineTo(x - size, y);
    g.fill();
  }

  /** @param {Entity} entity @param {Track} track @param {boolean} own */
  #body(entity, track, own) {
    const g = this.#g;
    const player = isPlayer(entity);
    const size = this.#scale * (player ? 0.36 : 0.29);
    const [x, y] = [(track.x - this.#left) * this.#scale, (track.y - this.#top) * this.#scale];
    g.fillStyle = "#0007";
    g.beginPath();
    g.ellipse(x, y + size * 0.75, size, size * 0.5, 0, 0, 2 * Math.PI);
    g.fill();
    g.fillStyle = own ? ink("self") : player ? ink("player") : `hsl(${(entity.kind * 47 + 10) % 360} 28% 62%)`;
    g.beginPath();
    g.arc(x, y, size, 0, 2 * Math.PI);
    g.fill();
    const chases = !player && entity.state > 0;
    g.strokeStyle = chases ? ink("chasing") : "#0b1016c0";
    g.lineWidth = this.#scale / (chases ? 9 : 18);
    g.stroke();
    g.fillStyle = "#ffffff40";
    g.beginPath();
    g.arc(x - size * 0.3, y - size * 0.32, size * 0.38, 0, 2 * Math.PI);
    g.fill();
  }

  /** @param {Client} client @param {Entity} entity @param {Track} track @param {boolean} own @param {number} now */
  #label(client, entity, track, own, now) {
    const bubble = this.#bubbles.get(entity.id);
    const pointed = this.pointer && this.#isUnder(track);
    if (isPlayer(entity)) this.#text(track, 0.58, entity.state ? `${entity.name} (away)` : entity.name, own ? ink("self") : "#c9d8f5");
    else if (pointed) this.#text(track, 0.5, client.info.npcs.find(({ id }) => id === entity.kind)?.name ?? "", "#d8c9b2");
    if (bubble && bubble.until > now) this.#bubble(track, bubble.text);
    else if (bubble) this.#bubbles.delete(entity.id);
  }

  /** @param {Track} track */
  #isUnder(track) {
    const at = this.#pixel(track.x, track.y);
    return this.pointer && Math.hypot(at.x - this.pointer.x, at.y - this.pointer.y) < 18;
  }

  /** Text above somebody, so many tiles up. @param {Track} track @param {number} up @param {string} text @param {string} colour */
  #text(track, up, text, colour) {
    const g = this.#g;
    const [x, y] = [(track.x - this.#left) * this.#scale, (track.y - this.#top - up) * this.#scale];
    this.#font();
    g.lineWidth = 3 * devicePixelRatio;
    g.strokeStyle = "#0b1016d0";
    g.strokeText(text, x, y);
    g.fillStyle = colour;
    g.fillText(text, x, y);
  }

  #font() {
    const g = this.#g;
    g.font = FONT.replace("12", String(12 * devicePixelRatio));
    g.textAlign = "center";
    g.textBaseline = "alphabetic";
    g.lineJoin = "round";
  }

  /** @param {Track} track @param {string} text */
  #bubble(track, text) {
    const g = this.#g;
    this.#font();
    const density = devicePixelRatio;
    const wide = g.measureText(text).width + 18 * density;
    const [x, y] = [(track.x - this.#left) * this.#scale, (track.y - this.#top - 1.15) * this.#scale];
    g.fillStyle = "#e9f0f7";
    g.beginPath();
    g.roundRect(x - wide / 2, y - 16 * density, wide, 22 * density, 9 * density);
    g.moveTo(x - 5 * density, y + 6 * density);
    g.lineTo(x, y + 11 * density);
    g.lineTo(x + 5 * density, y + 6 * density);
    g.fill();
    g.fillStyle = "#14202b";
    g.fillText(text, x, y - 1 * density);
  }

  /** @param {Client} client @param {Entity} near */
  #nameItem(client, near) {
    const track = this.#tracks.get(near.id);
    const name = client.info.items.find(({ id }) => id === itemKind(near))?.name ?? "";
    if (track) this.#text(track, 0.45, near.state > 1 ? `${name} × ${near.state.toLocaleString("en")}` : name, "#f4e9d0");
  }

  /** @param {Client} client @param {Pos} own */
  #drawMinimap(client, own) {
    const { minimap, whole } = this;
    const g = minimap.getContext("2d");
    if (!g || !whole) return;
    const share = Math.min(minimap.width / whole.width, minimap.height / whole.height);
    g.clearRect(0, 0, minimap.width, minimap.height);
    g.drawImage(whole, 0, 0, whole.width * share, whole.height * share);
    const dot = (/** @type {Pos} */ { x, y }, /** @type {string} */ colour, /** @type {number} */ size) => {
      g.fillStyle = colour;
      g.fillRect((x / TILE_UNITS) * share - size / 2, (y / TILE_UNITS) * share - size / 2, size, size);
    };
    for (const entity of client.world.entities.values()) if (isPlayer(entity)) dot(entity, ink("player"), 2.5);
    dot(own, "#ffffff", 5);
    dot(own, ink("self"), 4);
  }
}

/** A colour of the style sheet. @param {string} name */
const ink = (() => {
  /** @type {Map<string, string>} */
  const known = new Map();
  return (/** @type {string} */ name) => {
    const found = known.get(name) ?? getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
    known.set(name, found);
    return found;
  };
})();
