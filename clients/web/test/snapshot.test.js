// How snapshots change the world in view.

import assert from "node:assert/strict";
import { test } from "node:test";

import { CELL_UNITS } from "../client/protocol.js";
import { isPlayer, itemKind, World } from "../client/snapshot.js";

const NOWHERE = [65535, 65535];

/** A snapshot's bytes. */
function snapshot({ tick = 1, ack = 0, x = 0, y = 0, dropped = [], groups = [], blocks = [], zero = 0 }) {
  const bytes = [];
  const u16 = (...numbers) => numbers.forEach((n) => bytes.push(n & 255, n >> 8));
  const u32 = (...numbers) => numbers.forEach((n) => u16(n & 65535, n >>> 16));
  u32(tick, ack, x, y);
  u16(dropped.length, groups.length, blocks.length, zero);
  dropped.forEach((cell) => u16(...cell));
  const name = (id, name) => (u32(id), bytes.push(...new TextEncoder().encode(name.padEnd(16, "\0"))));
  for (const { group, members = [], names = [] } of groups) {
    u32(group, members.length, names.length);
    for (const [id, x, y, kind = 0, state = 0] of members) (u32(id, x, y), u16(kind, state));
    names.forEach((one) => name(...one));
  }
  for (const { cell, full = 0, updates = [], enters = [], names = [], leaves = [] } of blocks) {
    u16(...cell, full, 0);
    u32(updates.length, enters.length, names.length, leaves.length);
    for (const [id, x, y] of updates) (u32(id), u16(x, y));
    for (const [id, x, y, kind = 0, state = 0] of enters) (u32(id), u16(x, y, kind, state));
    names.forEach((one) => name(...one));
    for (const [id, to] of leaves) (u32(id), u16(...to));
  }
  return Uint8Array.from(bytes);
}

const held = (world) => [...world.entities.keys()].sort((a, b) => a - b);

test("a full block states everything in its cell", () => {
  const world = new World();
  const enters = [[1, 10, 20], [2, 30, 40, 5, 1], [3, 50, 60, 0x8007, 9]];
  const head = world.apply(snapshot({ tick: 7, ack: 3, x: 70000, y: 5, blocks: [{ cell: [1, 2], full: 1, enters, names: [[1, "Asha"]] }] }));
  assert.deepEqual(head, { tick: 7, inputAck: 3, x: 70000, y: 5 });
  const [asha, npc, item] = [1, 2, 3].map((id) => world.entities.get(id));
  assert.deepEqual([asha.name, asha.x, asha.y, isPlayer(asha)], ["Asha", CELL_UNITS + 10, 2 * CELL_UNITS + 20, true]);
  assert.deepEqual([npc.kind, npc.state, isPlayer(npc), itemKind(npc)], [5, 1, false, 0]);
  assert.deepEqual([itemKind(item), item.state], [7, 9]);

  // What it no longer names is gone; other cells are as they were.
  world.apply(snapshot({ blocks: [{ cell: [1, 2], full: 1, enters: [[2, 1, 1, 5]] }, { cell: [4, 4], enters: [[9, 0, 0]] }] }));
  assert.deepEqual(held(world), [2, 9]);
  world.apply(snapshot({ blocks: [{ cell: [1, 2], full: 1 }] }));
  assert.deepEqual(held(world), [9]);
});

test("a delta block states what changed", () => {
  const world = new World();
  world.apply(snapshot({ blocks: [{ cell: [0, 0], full: 1, enters: [[1, 0, 0], [2, 0, 0]] }] }));
  world.apply(snapshot({ blocks: [{ cell: [0, 0], updates: [[1, 500, 65535], [77, 1, 1]], leaves: [[2, NOWHERE]] }] }));
  assert.deepEqual(held(world), [1]);
  assert.deepEqual([world.entities.get(1).x, world.entities.get(1).y], [500, 65535]);
});

test("who walks from cell to cell is never absent in between", () => {
  const world = new World();
  const [west, east] = [[0, 0], [1, 0]];
  const both = [{ cell: west, full: 1, enters: [[1, 65535, 0]] }, { cell: east, full: 1 }];
  const crossing = [{ cell: west, leaves: [[1, east]] }, { cell: east, enters: [[1, 0, 0]], names: [[1, "Asha"]] }];
  for (const blocks of [crossing, crossing.toReversed()]) {
    world.apply(snapshot({ blocks: both }));
    world.apply(snapshot({ blocks }));
    assert.equal(world.entities.get(1)?.x, CELL_UNITS);
  }
});

test("who left for a cell that is told of later is held there meanwhile", () => {
  const world = new World();
  const [west, east, far] = [[0, 0], [1, 0], [9, 9]];
  const blocks = [{ cell: west, full: 1, enters: [[1, 65535, 0], [2, 0, 0]], names: [[1, "Asha"]] }, { cell: east, full: 1 }];
  world.apply(snapshot({ blocks }));
  world.apply(snapshot({ blocks: [{ cell: west, leaves: [[1, east], [2, far]] }] }));
  // Seen where it was last; whoever went where the client does not look is gone.
  assert.deepEqual([held(world), world.entities.get(1).x, world.entities.get(1).name], [[1], 65535, "Asha"]);
  // West has nothing more to say about it; east has.
  world.apply(snapshot({ blocks: [{ cell: west, updates: [[1, 3, 3]], leaves: [[1, NOWHERE]] }] }));
  assert.equal(world.entities.get(1).x, 65535);
  world.apply(snapshot({ blocks: [{ cell: east, enters: [[1, 4, 0]], names: [[1, "Asha"]] }] }));
  assert.equal(world.entities.get(1).x, CELL_UNITS + 4);
  world.apply(snapshot({ blocks: [{ cell: east, leaves: [[1, NOWHERE]] }] }));
  assert.deepEqual(held(world), []);
});

test("a cell that is told of first takes over, and the leave that follows changes nothing", () => {
  const world = new World();
  const [west, east] = [[0, 0], [1, 0]];
  world.apply(snapshot({ blocks: [{ cell: west, full: 1, enters: [[1, 1, 1]] }, { cell: east, full: 1 }] }));
  world.apply(snapshot({ blocks: [{ cell: east, enters: [[1, 2, 2]] }] }));
  world.apply(snapshot({ blocks: [{ cell: west, leaves: [[1, east]] }] }));
  assert.deepEqual([held(world), world.entities.get(1).x], [[1], CELL_UNITS + 2]);
});

test("a dropped cell takes with it what is still held there", () => {
  const world = new World();
  const blocks = [{ cell: [0, 0], full: 1, enters: [[1, 0, 0], [2, 0, 0], [3, 0, 0]] }, { cell: [1, 0], full: 1 }];
  world.apply(snapshot({ blocks }));
  const leaves = [[3, [0, 0]]];
  world.apply(snapshot({ dropped: [[0, 0]], blocks: [{ cell: [1, 0], enters: [[2, 5, 5], [3, 5, 5]], leaves }] }));
  // The third left for a cell that is not held any more.
  assert.deepEqual(held(world), [2]);
});

test("a group states its members in place of those told last", () => {
  const world = new World();
  const members = [[1, 70000, 5], [2, 3, 4, 0x8001, 9]];
  world.apply(snapshot({ groups: [{ group: 7, members, names: [[1, "Asha"]] }, { group: 8, members }] }));
  assert.deepEqual(world.groups.get(7)[0], { id: 1, x: 70000, y: 5, kind: 0, state: 0, name: "Asha" });
  assert.equal(world.groups.get(8).length, 2);
  assert.deepEqual(held(world), []);
  world.apply(snapshot({ groups: [{ group: 7, members: [[2, 1, 1]] }, { group: 8 }] }));
  assert.deepEqual([[...world.groups.keys()], world.groups.get(7).map(({ id }) => id)], [[7], [2]]);
});

test("a snapshot that is cut, goes on or has an unknown block is refused", () => {
  const groups = [{ group: 1, members: [[1, 2, 3]], names: [[1, "x"]] }];
  const whole = snapshot({ dropped: [[9, 9]], groups, blocks: [{ cell: [0, 0], updates: [[1, 1, 1]], enters: [[2, 0, 0]], names: [[2, "x"]], leaves: [[3, NOWHERE]] }] });
  new World().apply(whole);
  for (let cut = 0; cut < whole.length; cut++) assert.throws(() => new World().apply(whole.subarray(0, cut)), RangeError, `cut to ${cut}`);
  assert.throws(() => new World().apply(Uint8Array.from([...whole, 0])), RangeError);
  assert.throws(() => new World().apply(snapshot({ blocks: [{ cell: [0, 0], full: 2 }] })), RangeError);
  assert.throws(() => new World().apply(snapshot({ zero: 1 })), RangeError);
});
