// A session whose connection breaks, against a server that is played by the test.

import assert from "node:assert/strict";
import { test } from "node:test";

import { decode, encode } from "../client/msgpack.js";
import { TILE_UNITS } from "../client/protocol.js";
import { Session } from "../client/session.js";
import { Client, Refused } from "../client/vyuha.js";

/** The connections that were opened, the newest last. @type {Line[]} */
const lines = [];

/** The server's end of a WebSocket. */
class Line {
  heard = [];

  constructor() {
    lines.push(this);
    queueMicrotask(() => this.onopen());
  }

  send(bytes) {
    if (!this.closed) this.heard.push(decode(bytes));
  }

  close() {
    if (this.closed) return;
    this.closed = true;
    queueMicrotask(() => this.onclose());
  }

  say(...message) {
    this.onmessage({ data: encode(message) });
  }
}

globalThis.WebSocket = Line;
// A room of three by three tiles with walls around.
globalThis.fetch = async () => ({ ok: true, arrayBuffer: async () => new TextEncoder().encode("######...##...##...######") });

const info = { version: "", content_hash: "09", zones: [{ id: 1, name: "Room", width_tiles: 5, height_tiles: 5, reach: 1 }], items: [], npcs: [] };
const ENTERED = { request: 4, zone: 1, tick_hz: 30, speed: 100, entity: 7, x: 1.5 * TILE_UNITS, y: 1.5 * TILE_UNITS, inventory: [], worn: [], nonce: 9 };
const ticket = (byte) => new Uint8Array(16).fill(byte);
const soon = () => new Promise((resolve) => setTimeout(resolve));
const last = () => lines.at(-1);
const names = (line) => line.heard.map(([name]) => name);

/** Connects; the server's last line is greeted. */
async function greeted(promise) {
  await soon();
  last().say("Welcome", { version: 1, build: "" });
  const done = await promise;
  return done;
}

/** A client in the world. */
async function playing(listener = {}) {
  const client = await greeted(Client.connect(info, listener, "http://game.test"));
  const entering = client.enter({ character: 5, name: "", zone: 1 });
  await soon();
  last().say("Ticket", { ticket: ticket(1) });
  last().say("EnteredZone", { ...ENTERED, request: 1 });
  await entering;
  return client;
}

test("every request is carried out once and every message counted", async () => {
  let closed = 0;
  const client = await playing({ onClose: () => closed++ });
  const [answered, lost] = [client.say("answered"), client.say("lost")];
  last().say("Said", { entity: 7, name: "", text: "answered" });
  last().say("Pong", { stamp: 0 });
  for (let i = 0; i < 10; i++) assert.equal(client.input(127, 0), true);
  last().close();
  await soon();
  assert.deepEqual([closed, client.canResume, client.input(127, 0)], [1, true, false]);
  const later = client.say("later");

  const back = client.resume();
  await soon();
  assert.deepEqual(names(last()), ["Hello"], "nothing is said before the welcome");
  await greeted();
  // EnteredZone and Said were numbered, Ticket and Pong not.
  assert.deepEqual(last().heard[1], ["Resume", { ticket: ticket(1), received: 2 }]);
  last().say("Resumed", { ticket: ticket(2), request: 2 });
  await back;
  assert.deepEqual(last().heard.slice(2, 5), [
    ["Acknowledge", { received: 2 }],
    ["Say", { request: 3, text: "lost" }],
    ["Say", { request: 4, text: "later" }],
  ]);
  const inputs = last().heard.slice(5);
  assert.deepEqual(inputs.map(([name, [sequence]]) => [name, sequence]), [3, 4, 5, 6, 7, 8, 9, 10].map((n) => ["Input", n]));
  last().say("Done", { request: 2 });
  last().say("Done", { request: 3 });
  last().say("Done", { request: 4 });
  await Promise.all([answered, lost, later]);
  assert.equal(client.input(127, 0), true);
  assert.deepEqual(last().heard.at(-1), ["Input", [11, 127, 0]]);

  // And once more, by the new ticket.
  last().close();
  await soon();
  const again = client.resume();
  await greeted();
  assert.deepEqual(last().heard[1], ["Resume", { ticket: ticket(2), received: 5 }]);
  last().say("Resumed", { ticket: ticket(3), request: 4 });
  await again;
});

test("where there is nothing to take up, open requests are told", async () => {
  for (const closing of [false, true]) {
    const client = await playing();
    const asked = assert.rejects(client.say("?"), (why) => why instanceof Refused && why.code === "ResumeRefused");
    last().close();
    await soon();
    const refused = assert.rejects(client.resume(), (why) => why instanceof Refused && why.code === "ResumeRefused");
    await greeted();
    last().say("Error", { request: 0, code: 27, closing, text: "no" });
    if (closing) last().close();
    await Promise.all([asked, refused]);
    assert.equal(client.canResume, false);
  }
});

test("a server that cannot be reached, or is busy, is asked again", async () => {
  const client = await playing();
  last().close();
  await soon();
  const unreached = assert.rejects(client.resume(), /cannot be reached/);
  await soon();
  last().close();
  await unreached;
  const full = assert.rejects(client.resume(), (why) => why instanceof Refused && why.closing);
  await soon();
  last().say("Error", { request: 0, code: 12, closing: true, text: "full" });
  await full;
  const broken = assert.rejects(client.resume(), /is over/);
  await greeted();
  last().close();
  await broken;
  assert.equal(client.canResume, true);
});

test("a session is over with its last word, with a fault, and when it is closed", async () => {
  const ends = [
    [() => last().say("Error", { request: 0, code: 13, closing: true, text: "out" }), false],
    [() => last().say("LoggedOut", { request: 2 }), false],
    [() => last().say("Done", { request: 99 }), false],
    [(client) => client.close(), false],
    [() => {}, true],
  ];
  const { error } = console;
  console.error = () => {};
  for (const [end, canResume] of ends) {
    const client = await playing();
    const asked = client.logOut().then(() => true, () => false);
    end(client);
    last().close();
    await soon();
    assert.equal(client.canResume, canResume);
    if (canResume) client.close();
    await asked;
    await assert.rejects(client.say("?"), /is over/);
    await assert.rejects(client.resume(), /no session/);
  }
  console.error = error;
});

test("what comes is acknowledged from time to time", async () => {
  const client = await playing();
  const before = last().heard.length;
  for (let i = 0; i < 20; i++) last().say("Said", { entity: 7, name: "Abe", text: "x".repeat(60) });
  // An empty snapshot, where the character stands.
  const head = new Uint8Array(24);
  const view = new DataView(head.buffer);
  view.setUint32(0, 1, true);
  view.setInt32(8, ENTERED.x, true);
  view.setInt32(12, ENTERED.y, true);
  last().say("Snapshot", head);
  assert.deepEqual(last().heard.slice(before), [["Acknowledge", { received: 21 }]]);
  client.close();
});

test("a session comes back to where it was, and signs in again where that is gone", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  let [played, lost] = [0, 0];
  const session = new Session(info, { account: "abe", password: "p", character: "Abe" }, { onPlaying: () => played++, onLost: () => lost++ });
  session.info = info;
  globalThis.location = { origin: "http://game.test" };
  const signIn = async () => {
    await turn();
    last().say("Welcome", { version: 1, build: "" });
    await turn();
    last().say("LoggedIn", { request: 1, account: 4 });
    await turn();
    last().say("Characters", { request: 2, characters: [{ character: 5, name: "Abe", zone: 1 }] });
    await turn();
    last().say("Ticket", { ticket: ticket(1) });
    last().say("EnteredZone", { ...ENTERED, request: 3 });
    await turn();
  };
  const opening = session.open(false);
  await signIn();
  await opening;
  const { client } = session;
  assert.ok(client);

  last().close();
  await turn();
  assert.deepEqual([session.client, lost], [null, 1]);
  context.mock.timers.tick(1000);
  await turn();
  last().say("Welcome", { version: 1, build: "" });
  await turn();
  assert.equal(names(last()).at(-1), "Resume");
  last().say("Resumed", { ticket: ticket(2), request: 3 });
  await turn();
  assert.equal(session.client, client);

  last().close();
  await turn();
  context.mock.timers.tick(2000);
  await turn();
  last().say("Welcome", { version: 1, build: "" });
  await turn();
  last().say("Error", { request: 0, code: 27, closing: false, text: "gone" });
  await signIn();
  assert.ok(session.client && session.client !== client);
  assert.deepEqual([played, lost], [3, 2]);
  session.client.close();
});
