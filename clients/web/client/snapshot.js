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
 * @property {number} heldIn The cell whose blocks decide over it.
 * @property {number} stated The last snapshot that named it.
 */

/** @typedef {Pick<Entity, "id" | "x" | "y" | "kind" | "state" | "name">} Member Of a group, wherever in the zone. */

/** @typedef {{ tick: number, inputAck: number, x: number, y: number }} SnapshotHead */

/** @param {{ kind: number }} entity */
export const isPlayer = ({ kind }) => kind === 0;
/** The kind of item, or 0 for what is none. @param {{ kind: number }} entity */
export const itemKind = ({ kind }) => (kind & ITEM_BIT ? kind & ~ITEM_BIT : 0);

/** The entities in view, and the members of groups. */
export class World {
  /** @type {Map<number, Entity>} */
  entities = new Map();
  /** The members of each group that the client is told of. @type {Map<number, Member[]>} */
  groups = new Map();
  /** The cells that the client holds. @type {Set<number>} */
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
    read.zero();
    /** Cells that state or drop all they hold, and the snapshot that must have named what is to stay. @type {Map<number, number>} */
    const cleared = new Map();
    /** @type {[number, number, number][]} */
    const leaves = [];
    for (let i = 0; i < dropped; i++) {
      const cell = read.cell();
      this.#cells.delete(cell);
      cleared.set(cell, Infinity);
    }
    for (let i = 0; i < groups; i++) this.#group(read);
    for (let i = 0; i < blocks; i++) this.#block(read, cleared, leaves);
    if (read.at !== bytes.length) throw new RangeError("the snapshot goes on after what it announces");
    for (const [id, cell, to] of leaves) {
      const entity = this.entities.get(id);
      if (entity?.heldIn !== cell) continue;
      // A full block of that cell in this same snapshot would have named it.
      if (this.#cells.has(to) && !cleared.has(to)) entity.heldIn = to;
      else this.entities.delete(id);
    }
    if (cleared.size > 0) {
      for (const { id, heldIn, stated } of this.entities.values()) {
        const since = cleared.get(heldIn);
        if (since !== undefined && stated < since) this.entities.delete(id);
      }
    }
    return head;
  }

  /** @param {Records} read */
  #group(read) {
    const [group, count, names] = [read.u32(), read.u32(), read.u32()];
    /** @type {Member[]} */
    const members = [];
    for (let i = 0; i < count; i++) {
      members.push({ id: read.u32(), x: read.u32(), y: read.u32(), kind: read.u16(), state: read.u16(), name: "" });
    }
    for (let i = 0; i < names; i++) {
      const [id, name] = [read.u32(), read.name()];
      const member = members.find((one) => one.id === id);
      if (member) member.name = name;
    }
    if (members.length > 0) this.groups.set(group, members);
    else this.groups.delete(group);
  }

  /** @param {Records} read @param {Map<number, number>} cleared @param {[number, number, number][]} leaves */
  #block(read, cleared, leaves) {
    const cell = read.cell();
    const mode = read.u16();
    if (mode > BLOCK_FULL) throw new RangeError("a block of the snapshot has an unknown mode");
    read.zero();
    const [updates, enters, names, left] = [read.u32(), read.u32(), read.u32(), read.u32()];
    if (mode === BLOCK_FULL) {
      this.#cells.add(cell);
      cleared.set(cell, this.#applications);
    }
    for (let i = 0; i < updates; i++) {
      const [entity, local] = [this.entities.get(read.u32()), read.u32()];
      if (entity?.heldIn === cell) this.#place(entity, cell, local);
    }
    for (let i = 0; i < enters; i++) {
      const [id, local, kind, state] = [read.u32(), read.u32(), read.u16(), read.u16()];
      const entity = this.entities.get(id) ?? { id, x: 0, y: 0, kind, state, name: "", heldIn: cell, stated: 0 };
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

  /** @param {Entity} entity @param {number} cell @param {number} local */
  #place(entity, cell, local) {
    entity.x = (cell & 0xffff) * CELL_UNITS + (local & 0xffff);
    entity.y = (cell >>> 16) * CELL_UNITS + (local >>> 16);
    entity.heldIn = cell;
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

  zero() {
    if (this.u16() !== 0) throw new RangeError("what is kept free in the snapshot is not zero");
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
