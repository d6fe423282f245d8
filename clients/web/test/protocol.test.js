// The client against the cases that the server's own code wrote.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { decode, encode } from "../client/msgpack.js";
import { displacement, Predictor, step, TileMap } from "../client/motion.js";
import { TILE_UNITS } from "../client/protocol.js";

const cases = JSON.parse(readFileSync(new URL("cases.json", import.meta.url), "utf8"));
const bytes = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (byte) => parseInt(byte, 16));

// What JSON has no form for.
const revived = (value) => {
  if (Array.isArray(value)) return value.map(revived);
  if (value === null || typeof value !== "object") return value;
  if ("bytes" in value) return bytes(value.bytes);
  if ("bigint" in value) return BigInt(value.bigint);
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, revived(one)]));
};

test("messages are written and read as the server does", () => {
  assert.ok(cases.messages.length > 10);
  for (const { message, hex } of cases.messages) {
    const expected = revived(message);
    assert.deepEqual(decode(bytes(hex)), expected);
    // Fields may be in another order; each has the same shortest form.
    const written = encode(expected);
    assert.equal(written.length, hex.length / 2, `${message[0]} is written otherwise`);
    assert.deepEqual(decode(written), expected);
  }
});

test("whatever is written reads back the same", () => {
  for (const value of [
    null, true, false, "", "x".repeat(31), "x".repeat(32), "x".repeat(255), "x".repeat(256), "x".repeat(70000),
    0, 127, 128, 255, 256, 65535, 65536, 4294967295, 4294967296, -1, -32, -33, -128, -129, -32768, -32769, -2147483648, -2147483649,
    Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 2n ** 64n - 1n, -(2n ** 63n),
    new Uint8Array(0), new Uint8Array(300).fill(7), new Uint8Array(70000), [], Array(15).fill(1), Array(16).fill("a"), Array(70000).fill(0),
    {}, { a: { b: [1, { c: null }] } }, Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`k${i}`, i])),
  ]) assert.deepEqual(decode(encode(value)), value);
});

test("what cannot be written or read is refused", () => {
  for (const value of [0.5, NaN, Infinity, 2 ** 53, 2n ** 64n, -(2n ** 63n) - 1n]) assert.throws(() => encode(value), RangeError);
  for (const hex of ["", "c1", "ca3f800000", "d4", "91", "81a161", "a2c328", "dbffffffff78", "ddffffffff", "0000", "c4"]) {
    assert.throws(() => decode(bytes(hex)), `${hex} was read`);
  }
});

test("a walk among walls is predicted to the bit", () => {
  const { rows, speed, start, steps_each, headings, trail } = cases.walk;
  const map = new TileMap(rows[0].length, rows.length, new TextEncoder().encode(rows.join("")));
  let pos = { x: start[0], y: start[1] };
  const predictor = new Predictor(map, speed, pos);
  headings.forEach(([x, y], nth) => {
    for (let i = 0; i < steps_each; i++) {
      pos = step(map, pos, displacement(x, y, speed));
      predictor.step(x, y);
    }
    assert.deepEqual([pos.x, pos.y], trail[nth], `after heading ${nth}`);
    assert.equal(predictor.reconcile((nth + 1) * steps_each, pos), 0);
  });
});

test("a prediction that was wrong is made good", () => {
  const map = new TileMap(5, 3, new TextEncoder().encode("######...######"));
  const at = (x) => ({ x: x * TILE_UNITS, y: 1.5 * TILE_UNITS });
  const predictor = new Predictor(map, 100, at(1.5));
  for (let i = 1; i <= 4; i++) assert.equal(predictor.step(127, 0), i);
  assert.equal(predictor.reconcile(2, { x: at(1.5).x + 150, y: at(1.5).y }), 50);
  assert.equal(predictor.pos.x, at(1.5).x + 350);
  assert.throws(() => predictor.reconcile(1, at(1.5)), RangeError);
  assert.throws(() => predictor.reconcile(5, at(1.5)), RangeError);
  let steps = 4;
  while (predictor.step(0, 0)) steps++;
  assert.equal(steps, 256 + 2);
  assert.throws(() => new Predictor(map, 100, at(0.5)), RangeError);
});
