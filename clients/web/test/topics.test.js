// Topics over a connection that breaks, against a server that is played by the test.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { decode, encode } from "../client/msgpack.js";
import { SUBPROTOCOL, Topics } from "../client/topics.js";

/** The connections that were opened, the newest last. @type {Line[]} */
let lines = [];

/** The server's end of a WebSocket. */
class Line {
  static OPEN = 1;
  readyState = 1;
  heard = [];

  constructor(url, protocol) {
    assert.equal(protocol, SUBPROTOCOL);
    lines.push(this);
    queueMicrotask(() => this.onopen());
  }

  send(bytes) {
    this.heard.push(decode(bytes));
  }

  close(reason = "") {
    if (this.readyState === 3) return;
    this.readyState = 3;
    queueMicrotask(() => this.onclose({ reason }));
  }

  say(...message) {
    this.onmessage({ data: encode(message) });
  }

  /** What was asked last. */
  get asked() {
    return this.heard.at(-1);
  }
}

const real = globalThis.WebSocket;
const last = () => lines.at(-1);
const soon = async () => {
  for (let i = 0; i < 10; i++) await Promise.resolve();
};

beforeEach(() => {
  lines = [];
  globalThis.WebSocket = Line;
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
});

afterEach(() => {
  mock.timers.reset();
  globalThis.WebSocket = real;
});

/** Topics, and what they say. */
async function open(options = {}) {
  const told = [];
  const topics = new Topics("ws://game.test/api/v1/topics", {
    token: () => "token",
    onOpen: () => told.push("open"),
    onLost: () => told.push("lost"),
    onEnd: (code) => told.push(`end ${code}`),
    ...options,
  });
  await soon();
  return { topics, told };
}

/** A listener, and what it hears. */
function listener() {
  const heard = [];
  return {
    heard,
    onMessage: ({ seq, data }) => heard.push(`${seq}: ${data}`),
    onGap: () => heard.push("gap"),
    onEnd: (code) => heard.push(`end ${code}`),
  };
}

const welcome = (line, expires_ms = null) => line.say("Welcome", { account: 7, expires_ms, heartbeat_ms: 20000 });
const message = (topic, seq, data) => ["Message", { topic, seq, at_ms: 0, data }];

test("what is subscribed is heard, and goes on where it was", async () => {
  const { topics, told } = await open();
  const news = listener();
  topics.subscribe("world/events", news);
  assert.deepEqual(last().heard, [["Authenticate", { token: "token" }]]);
  welcome(last());
  assert.deepEqual(last().asked, ["Subscribe", { request: 1, topic: "world/events" }]);
  last().say("Subscribed", { request: 1, topic: "world/events", epoch: 5, seq: 3, gap: false });
  last().say(...message("world/events", 4, "a"));
  last().say(...message("other", 1, "x"));
  assert.deepEqual(topics.place("world/events"), { epoch: 5, seq: 4 });

  last().close();
  await soon();
  mock.timers.tick(500);
  await soon();
  welcome(last());
  assert.deepEqual(last().asked, ["Subscribe", { request: 2, topic: "world/events", after: { epoch: 5, seq: 4 } }]);
  last().say("Subscribed", { request: 2, topic: "world/events", epoch: 5, seq: 4, gap: false });
  last().say(...message("world/events", 5, "b"));
  last().say("Gap", { topic: "world/events", epoch: 6, seq: 7 });
  last().say(...message("world/events", 8, "c"));
  assert.deepEqual(news.heard, ["4: a", "5: b", "gap", "8: c"]);
  assert.deepEqual(topics.place("world/events"), { epoch: 6, seq: 8 });
  assert.deepEqual(told, ["open", "lost", "open"]);

  topics.close();
  await soon();
  mock.timers.tick(60000);
  assert.deepEqual([told.at(-1), lines.length], ["end ", 2]);
});

test("what was on its way is not heard twice", async () => {
  const { topics } = await open();
  const first = listener();
  const second = listener();
  topics.subscribe("a", first);
  welcome(last());
  last().say("Subscribed", { request: 1, topic: "a", epoch: 5, seq: 0, gap: false });
  last().say(...message("a", 1, "x"));
  const place = topics.place("a");
  topics.unsubscribe("a");
  topics.subscribe("a", second, place);
  last().say(...message("a", 2, "y"));
  last().say("Unsubscribed", { request: 2 });
  last().say("Subscribed", { request: 3, topic: "a", epoch: 5, seq: 1, gap: false });
  last().say(...message("a", 2, "y"));
  assert.deepEqual([first.heard, second.heard], [["1: x"], ["2: y"]]);
  assert.throws(() => topics.subscribe("a", second), /already/);
});

test("what is refused ends, and what may be had later is asked for again", async () => {
  const { topics, told } = await open();
  const [others, later] = [listener(), listener()];
  topics.subscribe("character/9/position", others);
  topics.subscribe("world/events", later);
  welcome(last());
  last().say("Refused", { request: 1, code: "forbidden" });
  last().say("Refused", { request: 2, code: "unavailable" });
  assert.deepEqual([others.heard, later.heard, told], [["end forbidden"], [], ["open", "lost"]]);
  mock.timers.tick(500);
  await soon();
  welcome(last());
  assert.deepEqual(last().heard.slice(1).map(([, fields]) => fields.topic), ["world/events"]);
  last().say("Subscribed", { request: 3, topic: "world/events", epoch: 1, seq: 0, gap: false });
  last().say("Ended", { topic: "world/events", code: "forbidden" });
  assert.deepEqual(later.heard, ["end forbidden"]);
});

test("a fresh token is shown before the old one is too old", async () => {
  let asked = 0;
  await open({ token: async () => `token ${++asked}` });
  welcome(last(), Date.now() + 900_000);
  for (let beat = 0; beat < 42; beat++) {
    mock.timers.tick(20_000);
    last().say("Heartbeat", { at_ms: 0 });
  }
  await soon();
  assert.deepEqual(last().heard.map(([name, { token }]) => `${name} ${token}`), ["Authenticate token 1", "Authenticate token 2"]);
  assert.equal(lines.length, 1);
});

test("a connection that says nothing is made anew, and one that was ended is not", async () => {
  const { told } = await open();
  welcome(last());
  mock.timers.tick(50_000);
  assert.deepEqual(told, ["open", "lost"]);
  mock.timers.tick(500);
  await soon();
  assert.equal(lines.length, 2);
  last().close("slow_subscriber");
  await soon();
  mock.timers.tick(1000);
  await soon();
  assert.equal(lines.length, 3);
  last().close("session_ended");
  await soon();
  mock.timers.tick(60_000);
  assert.deepEqual([told.at(-1), lines.length], ["end session_ended", 3]);
});

test("numbers with a fraction are read", () => {
  assert.equal(decode(Uint8Array.of(0xcb, 0x40, 0x02, 0, 0, 0, 0, 0, 0)), 2.25);
});
