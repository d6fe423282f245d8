// The law of motion, to the bit as the server has it, and the prediction made with it.

import { STEP_UNITS_MAX, TILE_UNITS } from "./protocol.js";

const HEADING_FULL = 127;
/** Most inputs that may wait to be acknowledged. */
export const INPUTS_PENDING_MAX = 256;

/** @typedef {{ x: number, y: number }} Pos Position units from the north-western corner; y grows southward. */

/** Which tiles of a zone are blocked. */
export class TileMap {
  /**
   * @param {number} width
   * @param {number} height
   * @param {Uint8Array} tiles A character a tile, row by row.
   */
  constructor(width, height, tiles) {
    if (tiles.length !== width * height) throw new RangeError("the map is not as large as it is said to be");
    this.width = width;
    this.height = height;
    this.tiles = tiles;
  }

  /** The tile's character; outside, a wall's. @param {number} x @param {number} y */
  tile(x, y) {
    const inside = x >= 0 && y >= 0 && x < this.width && y < this.height;
    return inside ? String.fromCharCode(this.tiles[y * this.width + x]) : "#";
  }

  /** @param {number} x @param {number} y */
  isWall(x, y) {
    return "#T~".includes(this.tile(x, y));
  }

  /** @param {Pos} pos */
  isOpen({ x, y }) {
    return !this.isWall(Math.floor(x / TILE_UNITS), Math.floor(y / TILE_UNITS));
  }
}

/**
 * The displacement of one step in a heading, ±127 an axis, at a speed in units a step.
 * @param {number} x
 * @param {number} y
 * @param {number} speed
 * @returns {Pos}
 */
export function displacement(x, y, speed) {
  const squared = x * x + y * y;
  const length = Math.floor(Math.sqrt(squared));
  // The root is rounded down; one more keeps the result within the disc.
  const divisor = length >= HEADING_FULL ? length + (length * length < squared ? 1 : 0) : HEADING_FULL;
  return { x: Math.trunc((x * speed) / divisor), y: Math.trunc((y * speed) / divisor) };
}

/**
 * One step from an open place: along x, then along y, each stopping at the edge of a blocked tile.
 * @param {TileMap} map
 * @param {Pos} from
 * @param {Pos} by
 * @returns {Pos}
 */
export function step(map, from, by) {
  const tileX = Math.floor(from.x / TILE_UNITS);
  const tileY = Math.floor(from.y / TILE_UNITS);
  let x = from.x + by.x;
  if (Math.floor(x / TILE_UNITS) !== tileX && map.isWall(Math.floor(x / TILE_UNITS), tileY)) {
    x = by.x > 0 ? tileX * TILE_UNITS + (TILE_UNITS - 1) : tileX * TILE_UNITS;
  }
  let y = from.y + by.y;
  if (Math.floor(y / TILE_UNITS) !== tileY && map.isWall(Math.floor(x / TILE_UNITS), Math.floor(y / TILE_UNITS))) {
    y = by.y > 0 ? tileY * TILE_UNITS + (TILE_UNITS - 1) : tileY * TILE_UNITS;
  }
  return { x, y };
}

/** Runs ahead of the snapshots by the inputs that they do not yet acknowledge. */
export class Predictor {
  /** @type {[number, number][]} */
  #pending = [];
  #sequence = 0;

  /** @param {TileMap} map @param {number} speed @param {Pos} pos */
  constructor(map, speed, pos) {
    if (speed > STEP_UNITS_MAX || !map.isOpen(pos)) throw new RangeError("no such step, or not from there");
    this.map = map;
    this.speed = speed;
    this.pos = pos;
  }

  /** Goes on in another zone: inputs that are not acknowledged are carried out there. @param {TileMap} map @param {number} speed */
  goOn(map, speed) {
    this.map = map;
    this.speed = speed;
  }

  /** Takes a step: its sequence number, or 0 and no step while too many are not acknowledged. @param {number} x @param {number} y */
  step(x, y) {
    if (this.#pending.length === INPUTS_PENDING_MAX) return 0;
    this.#pending.push([x, y]);
    this.pos = step(this.map, this.pos, displacement(x, y, this.speed));
    return ++this.#sequence;
  }

  /** The newest inputs that are not acknowledged, as they were sent. @param {number} count @returns {[number, number, number][]} */
  lastPending(count) {
    const last = this.#pending.slice(-count);
    return last.map(([x, y], nth) => [this.#sequence - last.length + 1 + nth, x, y]);
  }

  /**
   * Takes a snapshot's word: `pos` is where the character stood after the input `ack`. Gives how far the prediction was off.
   * @param {number} ack
   * @param {Pos} pos
   */
  reconcile(ack, pos) {
    const acknowledged = this.#sequence - this.#pending.length;
    if (ack < acknowledged || ack > this.#sequence) throw new RangeError("the server acknowledges what was not sent");
    this.#pending.splice(0, ack - acknowledged);
    const before = this.pos;
    this.pos = this.#pending.reduce((from, [x, y]) => step(this.map, from, displacement(x, y, this.speed)), pos);
    return Math.ceil(Math.hypot(this.pos.x - before.x, this.pos.y - before.y));
  }
}
