// The exchange of docs/devices.md, by another implementation than the one that wrote it; and a link to a server that is played here.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { DeviceRefused, Handshake, Link, fromBase64url, fromHex, toBase64url } from "../client/device.js";

const { subtle } = globalThis.crypto;
const DEVICE = "07".repeat(16);

/** What the document says of a name. */
const document = await readFile(new URL("../../../docs/devices.md", import.meta.url), "utf8");
const said = (name) => fromHex(document.match(new RegExp(`^    ${name} +([0-9a-f]+)$`, "m"))[1]);
const serverKey = toBase64url(said("server key"));

/** A key pair of these private bytes: in PKCS #8 as RFC 8410 has it. */
async function pair(algorithm, byte) {
  const oid = algorithm === "Ed25519" ? 0x70 : 0x6e;
  const head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, oid, 4, 0x22, 4, 0x20];
  const use = algorithm === "Ed25519" ? "sign" : "deriveBits";
  const secret = Uint8Array.from([...head, ...new Array(32).fill(byte)]);
  const privateKey = await subtle.importKey("pkcs8", secret, algorithm, true, [use]);
  const { kty, crv, x } = await subtle.exportKey("jwk", privateKey);
  const publicKey = await subtle.importKey("jwk", { kty, crv, x }, algorithm, true, use === "sign" ? ["verify"] : []);
  return { privateKey, publicKey };
}

const begin = async () => {
  const fresh = { nonce: new Uint8Array(32).fill(3), ephemeral: await pair("X25519", 0xa6) };
  return Handshake.begin(DEVICE, await pair("Ed25519", 2), serverKey, fresh);
};

test("the documented exchange is what WebCrypto makes of it", async () => {
  const handshake = await begin();
  assert.deepEqual(handshake.hello, said("ClientHello"));
  assert.deepEqual(await handshake.answer(said("ServerHello")), said("ClientAuth"));
  const { opener } = await handshake.finish(said("ServerFinish"));
  assert.equal(await opener.open(said("frame")), "{}");
});

test("a server that is another, or a message that was changed, is refused", async () => {
  for (const at of [2, 40, 66, 129]) {
    const forged = said("ServerHello");
    forged[at] ^= 1;
    await assert.rejects((await begin()).answer(forged), DeviceRefused);
  }
  await assert.rejects((await begin()).answer(said("ServerHello").slice(1)), DeviceRefused);
  const handshake = await begin();
  await handshake.answer(said("ServerHello"));
  await assert.rejects(handshake.finish(new Uint8Array(33).fill(4)), DeviceRefused);
  await assert.rejects((await begin()).finish(said("ServerFinish")), DeviceRefused);
});

test("a frame is opened once, and in its order", async () => {
  const opener = async () => {
    const handshake = await begin();
    await handshake.answer(said("ServerHello"));
    return (await handshake.finish(said("ServerFinish"))).opener;
  };
  const twice = await opener();
  await twice.open(said("frame"));
  await assert.rejects(twice.open(said("frame")));
  const changed = said("frame");
  changed[1] ^= 1;
  await assert.rejects((await opener()).open(changed));
});

/** A link to a server that is played here, which seals nothing. */
function link(answers) {
  const told = [];
  const plain = { seal: async (text) => text };
  const socket = { send: (text) => queueMicrotask(() => answers(JSON.parse(text), it)), close() {} };
  const hooks = { onEvent: (event) => told.push(event.body), onGap: (stream) => told.push(`gap in ${stream}`) };
  const it = new Link(socket, plain, {}, hooks, new Map());
  return { it, told };
}

const event = (sequence) => ({ stream: "s", sequence, body: `${sequence}` });

test("events come once and in order, however they are delivered", async () => {
  const { it, told } = link(({ request, after }, it) => {
    const events = [1, 2, 3, 4, 5].filter((sequence) => sequence > after).slice(0, 2).map(event);
    const more = events.length === 2 && events[1].sequence < 5;
    it.told({ type: "events", request, stream: "s", events, sequence: 5, more, gap: false });
  });
  it.told({ type: "event", event: event(1) });
  it.told({ type: "event", event: event(1) });
  it.told({ type: "event", event: event(4) });
  it.told({ type: "event", event: event(3) });
  await it.catching.get("s");
  it.told({ type: "event", event: event(5) });
  it.told({ type: "event", event: event(6) });
  it.told({ type: "behind", stream: "s", sequence: 6 });
  await it.catching.get("s");
  assert.deepEqual(told, ["1", "2", "3", "4", "5", "6"]);
  assert.equal(it.seen.get("s"), 6);
});

test("a gap is told, and what is refused is an error with its code", async () => {
  const { it, told } = link(({ type, request }, it) => {
    if (type === "publish") it.told({ type: "refused", request, code: "event_conflict" });
    else it.told({ type: "events", request, stream: "s", events: [event(9)], sequence: 9, more: false, gap: true });
  });
  it.told({ type: "behind", stream: "s", sequence: 9 });
  await it.catching.get("s");
  assert.deepEqual(told, ["gap in s", "9"]);
  await assert.rejects(it.publish({ stream: "s", number: 1, body: "" }), { code: "event_conflict" });
});

test("base64url is without padding", () => {
  for (const [bytes, text] of [[[], ""], [[251, 255], "-_8"], [[1, 2, 3], "AQID"]]) {
    assert.equal(toBase64url(Uint8Array.from(bytes)), text);
    assert.deepEqual(fromBase64url(text), Uint8Array.from(bytes));
  }
});
