// Topics of a server: subscribes over one WebSocket, and goes on where it was after a lost connection. docs/topics.md has the protocol.

import { decode, encode } from "./msgpack.js";

/**
 * @typedef {object} Place A place in what a topic says.
 * @property {number} epoch
 * @property {number} seq
 *
 * @typedef {object} Message
 * @property {string} topic
 * @property {number} seq Its number, one more than the last one's.
 * @property {number} at_ms When it was said, milliseconds since 1970 UTC.
 * @property {any} data What: see {@link TopicData}.
 *
 * @typedef {object} Position `character/{id}/position`.
 * @property {number} zone
 * @property {number} x_m Metres from the zone's western edge.
 * @property {number} y_m Metres from the zone's northern edge.
 *
 * @typedef {object} Held A stack that a character has.
 * @property {number | bigint} item
 * @property {number} kind
 * @property {number} count
 * @property {"carried" | "worn"} place
 * @property {number} slot
 * @property {number} wear
 *
 * @typedef {object} InventoryChange `character/{id}/inventory`.
 * @property {string | null} reason
 * @property {Held[]} items Stacks that are there now.
 * @property {(number | bigint)[]} gone Stacks that are there no more; some may never have been.
 *
 * @typedef {{ kind: "signed_in", session: string, address: string }
 *   | { kind: "sessions_ended", sessions: string[], reason: string }
 *   | { kind: "password_changed" | "second_factor_on" | "second_factor_off" }
 *   | { kind: "identity_linked" | "identity_unlinked", provider: string }} Notification `player/{account}/notifications`.
 *
 * @typedef {{ text: string }} Announcement `server/announcements`.
 * @typedef {{ what: string, zone: number }} WorldEvent `world/events`.
 * @typedef {Position | InventoryChange | Notification | Announcement | WorldEvent} TopicData
 *
 * @typedef {object} TopicListener
 * @property {(message: Message) => void} onMessage Each once, and in order.
 * @property {() => void} [onGap] Something may have been missed before what comes next.
 * @property {(code: string) => void} [onEnd] It is heard no more: `forbidden`, `topic_unknown`, ...
 *
 * @typedef {object} Options
 * @property {() => string | Promise<string>} [token] A good access token; asked again before it is too old. Left out where the
 *   browser's cookie says who it is.
 * @property {() => void} [onOpen] It is connected, again or for the first time.
 * @property {(retryMs: number) => void} [onLost] The connection was lost; it is tried again after so long.
 * @property {(code: string) => void} [onEnd] It is over for good: `session_ended`, `unauthorized`, ... Empty after {@link Topics.close}.
 */

export const SUBPROTOCOL = "vyuha.topics.v1";

const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 30_000;
/** How long before a token is too old a fresh one is shown. */
const FRESH_MS = 60_000;
/** How often nothing may come when something should. */
const HEARTBEATS_MISSED = 2.5;
/** After these there is no use in coming back by oneself. */
const FINAL = ["session_ended", "unauthorized", "malformed", "too_many_requests", "too_many_connections"];
/** A subscription that was refused for these is tried again with the next connection. */
const PASSING = ["busy", "unavailable"];

export class Topics {
  /** @type {WebSocket | null} */
  #socket = null;
  /** What is heard; `live` once the connection says so. @type {Map<string, { listener: TopicListener, place: Place | null, live: boolean }>} */
  #topics = new Map();
  /** What was asked and not answered. @type {Map<number, string>} */
  #asked = new Map();
  #requests = 0;
  #welcome = false;
  #over = false;
  #retryMs = RETRY_MS_MIN;
  #heartbeatMs = 20_000;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retry;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #silence;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #freshen;

  /** @param {string} url `wss://.../api/v1/topics` @param {Options} options */
  constructor(url, options = {}) {
    this.url = url;
    this.options = options;
    this.#connect();
  }

  /**
   * Hears a topic from now on, or from after a place that was heard before.
   * @param {string} topic @param {TopicListener} listener @param {Place | null} after
   */
  subscribe(topic, listener, after = null) {
    if (this.#topics.has(topic)) throw new Error(`${topic} is heard already`);
    this.#topics.set(topic, { listener, place: after, live: false });
    if (this.#welcome) this.#ask("Subscribe", topic, after);
  }

  /** Hears a topic no more. @param {string} topic */
  unsubscribe(topic) {
    if (this.#topics.delete(topic) && this.#welcome) this.#ask("Unsubscribe", topic);
  }

  /** Where a topic stands, to subscribe after it another time. @param {string} topic @returns {Place | null} */
  place(topic) {
    return this.#topics.get(topic)?.place ?? null;
  }

  /** Ends it for good. */
  close() {
    this.#end("");
  }

  #connect() {
    const socket = new WebSocket(this.url, SUBPROTOCOL);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#welcome = false;
    this.#asked.clear();
    for (const entry of this.#topics.values()) entry.live = false;
    this.#listen();
    socket.onopen = () => this.#authenticate(socket);
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      this.#listen();
      const [name, fields] = decode(new Uint8Array(data));
      this.#hear(name, fields);
    };
    socket.onclose = ({ reason }) => {
      if (socket === this.#socket) this.#lost(reason);
    };
  }

  /** Shows a token, where there is one to show. @param {WebSocket} socket */
  async #authenticate(socket) {
    if (!this.options.token) return;
    try {
      const token = await this.options.token();
      if (socket === this.#socket && socket.readyState === WebSocket.OPEN) this.#send("Authenticate", { token });
    } catch {
      // There may be one the next time.
      if (socket === this.#socket) this.#lost("");
    }
  }

  /** @param {string} name @param {any} fields */
  #hear(name, fields) {
    if (name === "Message") return this.#message(fields);
    const topic = this.#asked.get(fields.request) ?? fields.topic;
    this.#asked.delete(fields.request);
    const entry = this.#topics.get(topic);
    if (name === "Welcome") this.#welcomed(fields);
    else if (name === "Subscribed" && entry) {
      entry.place = { epoch: fields.epoch, seq: fields.seq };
      entry.live = true;
      if (fields.gap) entry.listener.onGap?.();
    } else if (name === "Gap" && entry?.live) {
      entry.place = { epoch: fields.epoch, seq: fields.seq };
      entry.listener.onGap?.();
    } else if (name === "Ended" || (name === "Refused" && !PASSING.includes(fields.code))) {
      if (!entry) return;
      this.#topics.delete(topic);
      entry.listener.onEnd?.(fields.code);
    } else if (name === "Refused" && entry) {
      // The connection is made anew after a while, and with it what it was to hear.
      this.#lost("");
    }
  }

  /** @param {Message} message */
  #message(message) {
    const entry = this.#topics.get(message.topic);
    // What was on its way when it was unsubscribed is of nobody.
    if (!entry?.live || !entry.place) return;
    entry.place = { epoch: entry.place.epoch, seq: message.seq };
    entry.listener.onMessage(message);
  }

  /** @param {{ expires_ms: number | null, heartbeat_ms: number }} fields */
  #welcomed({ expires_ms, heartbeat_ms }) {
    this.#heartbeatMs = heartbeat_ms;
    this.#retryMs = RETRY_MS_MIN;
    clearTimeout(this.#freshen);
    if (expires_ms !== null) {
      // A clock that is wrong asks too often or too late, and then the connection is made anew.
      const wait = Math.max(expires_ms - Date.now() - FRESH_MS, FRESH_MS / 4);
      const socket = this.#socket;
      this.#freshen = setTimeout(() => socket && this.#authenticate(socket), wait);
    }
    if (this.#welcome) return;
    this.#welcome = true;
    this.options.onOpen?.();
    for (const [topic, { place }] of this.#topics) this.#ask("Subscribe", topic, place);
  }

  /** @param {string} name @param {string} topic @param {Place | null} [after] */
  #ask(name, topic, after) {
    const request = ++this.#requests;
    if (name === "Subscribe") this.#asked.set(request, topic);
    this.#send(name, after ? { request, topic, after } : { request, topic });
  }

  /** @param {string} name @param {any} fields */
  #send(name, fields) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(encode([name, fields]));
  }

  /** Something came: when should the next thing? */
  #listen() {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#lost(""), HEARTBEATS_MISSED * this.#heartbeatMs);
  }

  /** @param {string} code */
  #lost(code) {
    if (FINAL.includes(code)) return this.#end(code);
    this.#leave();
    this.options.onLost?.(this.#retryMs);
    this.#retry = setTimeout(() => this.#connect(), this.#retryMs * (0.5 + Math.random() / 2));
    this.#retryMs = Math.min(2 * this.#retryMs, RETRY_MS_MAX);
  }

  /** @param {string} code */
  #end(code) {
    if (this.#over) return;
    this.#over = true;
    this.#leave();
    clearTimeout(this.#retry);
    this.options.onEnd?.(code);
  }

  #leave() {
    const socket = this.#socket;
    this.#socket = null;
    this.#welcome = false;
    clearTimeout(this.#silence);
    clearTimeout(this.#freshen);
    socket?.close();
  }
}
