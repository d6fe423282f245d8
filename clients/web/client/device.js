// A device's way in: it signs in by its own Ed25519 key, and exchanges events with its account's other devices over a link
// (docs/devices.md). Node and every browser that knows Ed25519 and X25519 in WebCrypto run it. The private key never leaves
// WebCrypto: keep the CryptoKey itself, in IndexedDB.

const VERSION = 1;
const CLIENT_HELLO = 1;
const SERVER_HELLO = 2;
const CLIENT_AUTH = 3;
const SERVER_FINISH = 4;
const FRAME = 5;
const SERVER_HELLO_BYTES = 130;
const SERVER_FINISH_BYTES = 33;
/** Bytes of the server's first message before its signature. */
const SIGNED_BYTES = 66;

/** @typedef {Uint8Array<ArrayBuffer>} Bytes */
/** @typedef {{ stream: string, number: number, body: string, key?: string, after?: number, ttl_s?: number }} Publish */
/** @typedef {{ stream: string, sequence: number, device: string, number: number, key: string, body: string,
 *   created_ms: number, expires_ms: number }} DeviceEvent */
/** What goes into a handshake and is used once. @typedef {{ nonce: Bytes, ephemeral: CryptoKeyPair }} Fresh */

const { subtle } = globalThis.crypto;
const encoder = new TextEncoder();

/** @param {...(Bytes | string)} parts @returns {Bytes} */
function concat(...parts) {
  const bytes = parts.map((part) => (typeof part === "string" ? encoder.encode(part) : part));
  const whole = new Uint8Array(bytes.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of bytes) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** @param {...(Bytes | string)} parts */
const sha256 = async (...parts) => new Uint8Array(await subtle.digest("SHA-256", concat(...parts)));

/** Bytes of base64url. @param {string} text @returns {Bytes} */
export function fromBase64url(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (byte) => byte.charCodeAt(0));
}

/** @param {Bytes} bytes */
export function toBase64url(bytes) {
  const text = btoa(String.fromCharCode(...bytes));
  return text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Bytes of hexadecimal digits. @param {string} text @returns {Bytes} */
export function fromHex(text) {
  return Uint8Array.from(text.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
}

/** A device's key, whose private part cannot be read. @returns {Promise<CryptoKeyPair>} */
export async function generateKey() {
  return /** @type {CryptoKeyPair} */ (await subtle.generateKey("Ed25519", false, ["sign", "verify"]));
}

/** @returns {Promise<Fresh>} */
async function fresh() {
  const nonce = crypto.getRandomValues(new Uint8Array(32));
  return { nonce, ephemeral: /** @type {CryptoKeyPair} */ (await subtle.generateKey("X25519", false, ["deriveBits"])) };
}

/** @param {CryptoKey} key */
const raw = async (key) => new Uint8Array(await subtle.exportKey("raw", key));

/** @param {CryptoKeyPair} key @param {string} context @param {...Bytes} message */
const sign = async (key, context, ...message) =>
  new Uint8Array(await subtle.sign("Ed25519", key.privateKey, concat(`${context}\0`, ...message)));

/** Somebody refused: `code` says why. */
export class DeviceRefused extends Error {
  /** @param {string} code @param {string} [detail] */
  constructor(code, detail) {
    super(detail ? `${code}: ${detail}` : code);
    this.code = code;
  }
}

/** @param {string} url @param {string} path @param {unknown} [body] @param {string} [token] */
async function post(url, path, body, token) {
  const headers = new Headers();
  if (body) headers.set("Content-Type", "application/json");
  if (token) headers.set("Authorization", `Bearer ${token}`);
  const request = { method: "POST", headers, body: body ? JSON.stringify(body) : undefined };
  const answer = await fetch(new URL(`/api/v1${path}`, url), request);
  const json = await answer.json();
  if (!answer.ok) throw new DeviceRefused(json.code, json.detail);
  return json;
}

/**
 * Enrols a key for the account that is signed in with this access token.
 * @param {string} url @param {string} token @param {number} account @param {CryptoKeyPair} key
 * @param {{ name: string, platform: string, password?: string, code?: string }} about
 * @returns {Promise<{ device: string, account: number, server_key: string }>}
 */
export async function enrol(url, token, account, key, about) {
  const server = (await (await fetch(new URL("/api/v1/devices/server-key", url))).json()).server_key;
  const { challenge } = await post(url, "/devices/challenges");
  const number = new Uint8Array(8);
  new DataView(number.buffer).setBigInt64(0, BigInt(account));
  const publicKey = await raw(key.publicKey);
  const parts = [fromBase64url(server), fromBase64url(challenge), number, publicKey];
  const signature = toBase64url(await sign(key, "vyuha device enrolment 1", ...parts));
  return post(url, "/me/devices", { challenge, public_key: toBase64url(publicKey), signature, ...about }, token);
}

/**
 * Signs a device in over HTTP.
 * @param {string} url @param {string} device @param {CryptoKeyPair} key @param {string} serverKey
 * @returns {Promise<{ access_token: string, expires_in: number, session: string, account: number }>}
 */
export async function signIn(url, device, key, serverKey) {
  const { challenge } = await post(url, "/devices/challenges");
  const parts = [fromBase64url(serverKey), fromBase64url(challenge), fromHex(device)];
  const signature = toBase64url(await sign(key, "vyuha device sign-in 1", ...parts));
  return post(url, "/devices/sign-in", { device, challenge, signature });
}

/** The device's side of a handshake: messages in, messages out. */
export class Handshake {
  /**
   * @param {string} device @param {CryptoKeyPair} key @param {string} serverKey
   * @param {Fresh | undefined} [once] as tests give it
   */
  static async begin(device, key, serverKey, once) {
    const { nonce, ephemeral } = once ?? (await fresh());
    const hello = concat(
      Uint8Array.of(CLIENT_HELLO, VERSION), fromHex(device), nonce, await raw(ephemeral.publicKey),
    );
    return new Handshake(key, fromBase64url(serverKey), ephemeral.privateKey, hello);
  }

  /** @private @param {CryptoKeyPair} key @param {Bytes} server @param {CryptoKey} ephemeral @param {Bytes} hello */
  constructor(key, server, ephemeral, hello) {
    this.key = key;
    this.server = server;
    this.ephemeral = ephemeral;
    this.hello = hello;
    /** What was said so far. */
    this.transcript = concat("vyuha device link 1\0", server, hello);
    /** @type {CryptoKey | undefined} */
    this.secret = undefined;
    /** @type {Bytes} */
    this.salt = new Uint8Array();
  }

  /** Takes the server's first message; the message to send. @param {Bytes} message */
  async answer(message) {
    if (message.length !== SERVER_HELLO_BYTES || message[0] !== SERVER_HELLO || message[1] !== VERSION) {
      throw new DeviceRefused("handshake_malformed");
    }
    const signed = await sha256(this.transcript, message.slice(0, SIGNED_BYTES));
    const serverKey = await subtle.importKey("raw", this.server, "Ed25519", false, ["verify"]);
    const signature = message.slice(SIGNED_BYTES);
    const said = concat("vyuha device link 1 server\0", signed);
    if (!(await subtle.verify("Ed25519", serverKey, signature, said))) throw new DeviceRefused("server_refused");
    const theirs = await subtle.importKey("raw", message.slice(34, SIGNED_BYTES), "X25519", false, []);
    // WebCrypto refuses a result of zeros.
    const shared = await subtle.deriveBits({ name: "X25519", public: theirs }, this.ephemeral, 256);
    this.transcript = concat(this.transcript, message);
    this.salt = await sha256(this.transcript);
    this.secret = await subtle.importKey("raw", shared, "HKDF", false, ["deriveBits"]);
    const confirmed = concat(
      Uint8Array.of(CLIENT_AUTH), await sign(this.key, "vyuha device link 1 client", this.salt),
    );
    const code = await subtle.sign(
      "HMAC", await this.codeKey("client finished", "sign"), await sha256(this.transcript, confirmed),
    );
    const auth = concat(confirmed, new Uint8Array(code));
    this.transcript = concat(this.transcript, auth);
    return auth;
  }

  /** Takes the server's second message; what follows is sealed. @param {Bytes} message */
  async finish(message) {
    const isWhole = message.length === SERVER_FINISH_BYTES && message[0] === SERVER_FINISH;
    const key = await this.codeKey("server finished", "verify");
    const said = await sha256(this.transcript);
    if (!isWhole || !(await subtle.verify("HMAC", key, message.slice(1), said))) {
      throw new DeviceRefused("server_refused");
    }
    /** @param {string} label @param {"encrypt" | "decrypt"} use */
    const direction = async (label, use) =>
      new Direction(await subtle.importKey("raw", await this.derive(label), "AES-GCM", false, [use]));
    return {
      sealer: await direction("client frames", "encrypt"),
      opener: await direction("server frames", "decrypt"),
    };
  }

  /** @private @param {string} label */
  derive(label) {
    if (!this.secret) throw new DeviceRefused("handshake_out_of_order");
    const info = encoder.encode(`vyuha device link 1 ${label}`);
    return subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt: this.salt, info }, this.secret, 256);
  }

  /** @private @param {string} label @param {"sign" | "verify"} use */
  async codeKey(label, use) {
    return subtle.importKey("raw", await this.derive(label), { name: "HMAC", hash: "SHA-256" }, false, [use]);
  }
}

/** Frames of one direction, each sealed with the next count. */
class Direction {
  /** @param {CryptoKey} key */
  constructor(key) {
    this.key = key;
    this.count = 0n;
  }

  /** @private */
  next() {
    const iv = new Uint8Array(12);
    new DataView(iv.buffer).setBigUint64(4, this.count);
    this.count += 1n;
    return { name: "AES-GCM", iv, additionalData: Uint8Array.of(FRAME) };
  }

  /** @param {string} message @returns {Promise<Bytes>} */
  async seal(message) {
    const sealed = await subtle.encrypt(this.next(), this.key, encoder.encode(message));
    return concat(Uint8Array.of(FRAME), new Uint8Array(sealed));
  }

  /** @param {Bytes} frame @returns {Promise<string>} */
  async open(frame) {
    if (frame[0] !== FRAME) throw new DeviceRefused("frame_invalid");
    return new TextDecoder().decode(await subtle.decrypt(this.next(), this.key, frame.slice(1)));
  }
}

/**
 * A link. It gives each event of a stream once and in order, to `onEvent`, from the sequences on that `seen` holds: keep that with what the
 * events did, and pass it in the next time.
 */
export class Link {
  /**
   * @param {string} url @param {string} device @param {CryptoKeyPair} key @param {string} serverKey
   * @param {{ onEvent?: (event: DeviceEvent) => void, onGap?: (stream: string) => void, onClose?: (reason: string) => void }} hooks
   * @param {Map<string, number>} [seen]
   */
  static async connect(url, device, key, serverKey, hooks = {}, seen = new Map()) {
    const at = new URL("/api/v1/devices/link", url);
    at.protocol = at.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(at);
    socket.binaryType = "arraybuffer";
    const inbox = new Inbox(socket);
    await inbox.opened;
    const handshake = await Handshake.begin(device, key, serverKey);
    socket.send(handshake.hello);
    socket.send(await handshake.answer(await inbox.next()));
    const { sealer, opener } = await handshake.finish(await inbox.next());
    const welcome = JSON.parse(await opener.open(await inbox.next()));
    const link = new Link(socket, sealer, welcome, hooks, seen);
    void link.run(inbox, opener);
    for (const { stream, sequence } of welcome.streams) await link.catchUp(stream, sequence);
    return link;
  }

  /** @private @param {WebSocket} socket @param {Direction} sealer @param {any} welcome @param {any} hooks @param {Map<string, number>} seen */
  constructor(socket, sealer, welcome, hooks, seen) {
    this.socket = socket;
    this.sealer = sealer;
    this.welcome = welcome;
    this.hooks = hooks;
    this.seen = seen;
    this.requests = 0;
    /** @type {Map<number, { resolve: (answer: any) => void, reject: (error: Error) => void }>} */
    this.asked = new Map();
    /** What is sent goes out in the order of its counts. @type {Promise<void>} */
    this.sending = Promise.resolve();
    /** Streams that are being caught up with. @type {Map<string, Promise<void>>} */
    this.catching = new Map();
  }

  /** Publishes an event; its sequence. @param {Publish} event @returns {Promise<number | null>} */
  async publish(event) {
    const { stream, sequence } = await this.ask("publish", { event });
    // Others may have come before it.
    if (sequence === (this.seen.get(stream) ?? 0) + 1) this.seen.set(stream, sequence);
    else if (sequence !== null) await this.catchUp(stream, sequence);
    return sequence;
  }

  /** Says that a stream's events up to what was seen are needed no more. @param {string} stream */
  async acknowledge(stream) {
    await this.ask("acknowledge", { stream, sequence: this.seen.get(stream) ?? 0 });
  }

  /** A new access token. @returns {Promise<string>} */
  async token() {
    return (await this.ask("token", {})).access_token;
  }

  close() {
    this.socket.close();
  }

  /** @private @param {string} type @param {object} fields @returns {Promise<any>} */
  ask(type, fields) {
    const request = ++this.requests;
    return new Promise((resolve, reject) => {
      this.asked.set(request, { resolve, reject });
      this.sending = this.sending.then(async () => {
        this.socket.send(await this.sealer.seal(JSON.stringify({ type, request, ...fields })));
      });
    });
  }

  /** Takes a stream's events that were not seen. @private @param {string} stream @param {number} sequence its last one */
  catchUp(stream, sequence) {
    const under_way = this.catching.get(stream) ?? Promise.resolve();
    const then = under_way.then(async () => {
      let more = (this.seen.get(stream) ?? 0) < sequence;
      while (more) {
        const caught = await this.ask("catch_up", { stream, after: this.seen.get(stream) ?? 0 });
        if (caught.gap) this.hooks.onGap?.(stream);
        for (const event of caught.events) this.take(event);
        more = caught.more;
        if (!more) this.seen.set(stream, Math.max(this.seen.get(stream) ?? 0, caught.sequence));
      }
    });
    this.catching.set(stream, then);
    return then;
  }

  /** @private @param {DeviceEvent} event */
  take(event) {
    if (event.sequence <= (this.seen.get(event.stream) ?? 0)) return;
    this.seen.set(event.stream, event.sequence);
    this.hooks.onEvent?.(event);
  }

  /** @private @param {Inbox} inbox @param {Direction} opener */
  async run(inbox, opener) {
    let reason = "frame_invalid";
    try {
      for (;;) this.told(JSON.parse(await opener.open(await inbox.next())));
    } catch (error) {
      if (error instanceof DeviceRefused) reason = error.code;
    }
    this.socket.close();
    for (const { reject } of this.asked.values()) reject(new DeviceRefused(reason));
    this.hooks.onClose?.(reason);
  }

  /** @private @param {any} message */
  told(message) {
    switch (message.type) {
      case "event": {
        const { stream, sequence } = message.event;
        if (sequence === (this.seen.get(stream) ?? 0) + 1) this.take(message.event);
        else this.catchUp(stream, sequence).catch(() => {});
        return;
      }
      case "behind":
        this.catchUp(message.stream, message.sequence).catch(() => {});
        return;
      default: {
        const asked = this.asked.get(message.request);
        this.asked.delete(message.request);
        if (message.type === "refused") asked?.reject(new DeviceRefused(message.code, message.detail));
        else asked?.resolve(message);
      }
    }
  }
}

/** A socket's messages, one after the other. */
class Inbox {
  /** @param {WebSocket} socket */
  constructor(socket) {
    /** @type {Bytes[]} */
    this.messages = [];
    /** @type {{ resolve: (message: Bytes) => void, reject: (error: Error) => void } | undefined} */
    this.waiting = undefined;
    /** @type {DeviceRefused | undefined} */
    this.closed = undefined;
    this.opened = new Promise((resolve, reject) => {
      socket.onopen = () => resolve(undefined);
      socket.onclose = ({ reason }) => {
        this.closed = new DeviceRefused(reason || "closed");
        reject(this.closed);
        this.waiting?.reject(this.closed);
      };
    });
    socket.onmessage = ({ data }) => {
      const message = new Uint8Array(data);
      if (this.waiting) this.waiting.resolve(message);
      else this.messages.push(message);
      this.waiting = undefined;
    };
  }

  /** @returns {Promise<Bytes>} */
  next() {
    const message = this.messages.shift();
    if (message) return Promise.resolve(message);
    if (this.closed) return Promise.reject(this.closed);
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject };
    });
  }
}
