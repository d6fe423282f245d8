// Snapshots: what a client is told of the world, every tick. docs/protocol.md says how they are laid out and applied.

import { CELL_UNITS } from "./protocol.js";

const BLOCK_FULL = 1;
const ITEM_BIT = 1 << 15;
const decoder = new TextDecoder();

/**
 * Whatever stands in a zone.
 * @typedef {object} Entity
 * @property {number} id
 * @property {number} x Position units from the western edge.
 * @property {number} y Position units from the northern edge.
 * @property {number} kind
 * @property {number} state Of an item, how many; of an NPC, 1 while it chases somebody.
 * @property {string} name A player's.
 * @property {number} cell The cell that it is held in: the one it was seen in last, or the one it went to.
 * @property {number} stated The last snapshot that named it.
 */

/**
 * A member of a group, wherever in the zone it is.
 * @typedef {object} Member
 * @property {number} id
 * @property {number} x Position units from the western edge.
 * @property {number} y Position units from the northern edge.
 * @property {number} kind
 * @property {number} state
 * @property {string} name A player's.
 */

/** @typedef {{ tick: number, inputAck: number, x: number, y: number }} SnapshotHead */

/** @param {{ kind: number }} entity */
export const isPlayer = ({ kind }) => kind === 0;
/** The kind of item, or 0 for what is none. @param {{ kind: number }} entity */
export const itemKind = ({ kind }) => (kind & ITEM_BIT ? kind & ~ITEM_BIT : 0);

/** The entities in view. */
export class World {
  /** @type {Map<number, Entity>} */
  entities = new Map();
  /** By number, the members of the groups that the client is told of; 1 are the zone's landmarks. @type {Map<number, Member[]>} */
  groups = new Map();
  /** The cells that are held: from a full block until they are dropped. @type {Set<number>} */
  #cells = new Set();
  #applications = 0;

  /**
   * Applies a snapshot's bytes.
   * @param {Uint8Array} bytes
   * @returns {SnapshotHead}
   */
  apply(bytes) {
    const read = new Records(bytes);
    this.#applications++;
    const head = { tick: read.u32(), inputAck: read.u32(), x: read.u32(), y: read.u32() };
    const [dropped, groups, blocks] = [read.u16(), read.u16(), read.u16()];
    if (read.u16() !== 0) throw new RangeError("a reserved field of the snapshot is not zero");
    /** Cells that state or drop all they hold. @type {Map<number, number>} */
    const cleared = new Map();
    /** @type {[number, number, number][]} */
    const leaves = [];
    for (let i = 0; i < dropped; i++) {
      const cell = read.cell();
      cleared.set(cell, Infinity);
      this.#cells.delete(cell);
    }
    for (let i = 0; i < groups; i++) this.#group(read);
    for (let i = 0; i < blocks; i++) this.#block(read, cleared, leaves);
    if (read.at !== bytes.length) throw new RangeError("the snapshot goes on after what it announces");
    for (const [id, cell, to] of leaves) {
      const entity = this.entities.get(id);
      if (entity?.cell !== cell) continue;
      if (this.#cells.has(to)) entity.cell = to;
      else this.entities.delete(id);
    }
    if (cleared.size > 0) {
      for (const { id, cell, stated } of this.entities.values()) {
        const since = cleared.get(cell);
        if (since !== undefined && stated < since) this.entities.delete(id);
      }
    }
    return head;
  }

  /** @param {Records} read @param {Map<number, number>} cleared @param {[number, number, number][]} leaves */
  #block(read, cleared, leaves) {
    const cell = read.cell();
    const mode = read.u16();
    if (mode > BLOCK_FULL || read.u16() !== 0) throw new RangeError("a block of the snapshot has an unknown mode");
    const [updates, enters, names, left] = [read.u32(), read.u32(), read.u32(), read.u32()];
    if (mode === BLOCK_FULL) {
      cleared.set(cell, this.#applications);
      this.#cells.add(cell);
    }
    for (let i = 0; i < updates; i++) {
      const [entity, local] = [this.entities.get(read.u32()), read.u32()];
      if (entity?.cell === cell) this.#place(entity, cell, local);
    }
    for (let i = 0; i < enters; i++) {
      const [id, local, kind, state] = [read.u32(), read.u32(), read.u16(), read.u16()];
      const entity = this.entities.get(id) ?? { id, x: 0, y: 0, kind, state, name: "", cell, stated: 0 };
      Object.assign(entity, { kind, state, name: "" });
      this.#place(entity, cell, local);
      this.entities.set(id, entity);
    }
    for (let i = 0; i < names; i++) {
      const [entity, name] = [this.entities.get(read.u32()), read.name()];
      if (entity) entity.name = name;
    }
    for (let i = 0; i < left; i++) leaves.push([read.u32(), cell, read.cell()]);
  }

  /** @param {Records} read */
  #group(read) {
    const [group, members, names] = [read.u32(), read.u32(), read.u32()];
    /** @type {Map<number, Member>} */
    const all = new Map();
    for (let i = 0; i < members; i++) {
      const [id, x, y, kind, state] = [read.u32(), read.u32(), read.u32(), read.u16(), read.u16()];
      all.set(id, { id, x, y, kind, state, name: "" });
    }
    for (let i = 0; i < names; i++) {
      const [member, name] = [all.get(read.u32()), read.name()];
      if (member) member.name = name;
    }
    if (members > 0) this.groups.set(group, [...all.values()]);
    else this.groups.delete(group);
  }

  /** @param {Entity} entity @param {number} cell @param {number} local */
  #place(entity, cell, local) {
    entity.x = (cell & 0xffff) * CELL_UNITS + (local & 0xffff);
    entity.y = (cell >>> 16) * CELL_UNITS + (local >>> 16);
    entity.cell = cell;
    entity.stated = this.#applications;
  }
}

/** Reads records one after the other; all little-endian. */
class Records {
  at = 0;

  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u16() {
    this.at += 2;
    return this.view.getUint16(this.at - 2, true);
  }

  u32() {
    this.at += 4;
    return this.view.getUint32(this.at - 4, true);
  }

  /** A cell as one number: x in the low half, y in the high half. */
  cell() {
    return this.u32();
  }

  name() {
    const bytes = this.bytes.subarray(this.at, (this.at += 16));
    const end = bytes.indexOf(0);
    return decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
  }
}
