// The client: a connection to the game over WebSocket, and what it knows of the world.

import { decode, encode } from "./msgpack.js";
import { Predictor, TileMap } from "./motion.js";
import { ERROR_NAMES, PROTOCOL_VERSION, SUBPROTOCOL } from "./protocol.js";
import { World } from "./snapshot.js";

/** A sign of life is sent where nothing else was for so long: well within the server's patience. */
const PING_MS = 5000;
/** Bytes of numbered messages after which they are acknowledged, with the next snapshot. */
const ACKNOWLEDGE_BYTES = 1024;
/** Inputs that are sent again when a session goes on: as many as a server queues. */
const INPUTS_SENT_AGAIN_MAX = 8;

/** {@link Said.entity} of what nobody near said. */
export const NOBODY = 0xffffffff;

/** What a server does not count: see "A connection that breaks" in docs/protocol.md. @type {(keyof ServerMessages)[]} */
const UNNUMBERED = ["Welcome", "Ticket", "Resumed", "Pong", "Snapshot"];

const PLACE_INVENTORY = 0;
const PLACE_BANK = 3;

/** Each request and the message that answers it. */
const ANSWERS = /** @type {const} */ ({
  RegisterAccount: "AccountRegistered",
  Login: "LoggedIn",
  ListCharacters: "Characters",
  CreateCharacter: "CharacterCreated",
  SelectCharacter: "EnteredZone",
  Say: "Done",
  PickUp: "PickedUp",
  Drop: "Dropped",
  Move: "SlotsChanged",
  Equip: "SlotsChanged",
  Unequip: "SlotsChanged",
  OpenBank: "BankOpened",
  Deposit: "SlotsChanged",
  Withdraw: "SlotsChanged",
  AskTrade: "Done",
  AcceptTrade: "Done",
  Offer: "Done",
  ConfirmTrade: "Done",
  CancelTrade: "Done",
  Logout: "LoggedOut",
});

/**
 * @import { Away, CharacterSummary, ClientMessages, EnteredZone, ErrorName, InventorySlot, Int64, ItemSlot, Said, ServerMessage, ServerMessages, TradeAsked, TradeChanged } from "./protocol.js"
 * @import { Pos } from "./motion.js"
 * @import { Packable } from "./msgpack.js"
 * @import { SnapshotHead } from "./snapshot.js"
 *
 * @typedef {keyof typeof ANSWERS} RequestName
 *
 * What a client must hold before it plays: /world.json.
 * @typedef {object} WorldInfo
 * @property {string} version
 * @property {string} content_hash
 * @property {ZoneInfo[]} zones
 * @property {{ id: number, name: string }[]} items
 * @property {{ id: number, name: string }[]} npcs
 *
 * @typedef {object} ZoneInfo
 * @property {number} id
 * @property {string} name
 * @property {number} width_tiles
 * @property {number} height_tiles
 * @property {number} reach Position units within which an item can be picked up.
 *
 * What happens; each may be left out.
 * @typedef {object} Listener
 * @property {(head: SnapshotHead) => void} [onSnapshot] A snapshot was applied.
 * @property {(said: Said) => void} [onSaid] Somebody near said something; or, of {@link NOBODY} near, what was
 *   said in the zone lately or, without a name, an announcement.
 * @property {() => void} [onInventory] The inventory, what is worn or the bank changed.
 * @property {(asked: TradeAsked) => void} [onTradeAsked] Somebody asks to trade.
 * @property {(why?: ErrorName) => void} [onTrade] The trade changed, or is over: without effect if it says why.
 * @property {(away: Away) => void} [onAway] The server takes the player to be away, or back.
 * @property {(why: Refused | null) => void} [onClose] The connection is over; null where the server did not say why. Where
 *   {@link Client.canResume}, requests wait for {@link Client.resume} or {@link Client.close}; otherwise they are rejected.
 */

/** A request was refused, or the connection ended. */
export class Refused extends Error {
  /** @param {number} code @param {string} text @param {boolean} closing */
  constructor(code, text, closing) {
    super(text);
    /** The stable name; undefined for a code that is newer than this client. @type {ErrorName | undefined} */
    this.code = ERROR_NAMES[code];
    this.closing = closing;
  }
}

/**
 * Fetches what a client must hold.
 * @param {string} [base] Where the server is; the page's own by default.
 * @returns {Promise<WorldInfo>}
 */
export async function fetchWorld(base = "") {
  return (await get(`${base}/world.json`)).json();
}

/** @param {string} path */
async function get(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

export class Client {
  /** The zone and where in it the character stands; null before it entered. @type {EnteredZone | null} */
  entered = null;
  /** Its map, once fetched. @type {TileMap | null} */
  map = null;
  world = new World();
  /** What the character carries, by slot. @type {Map<number, InventorySlot>} */
  inventory = new Map();

  /** What the character wears, by equipment slot. @type {Map<number, ItemSlot>} */
  worn = new Map();

  /** What lies in the bank, by slot; null before it was opened. @type {Map<number, ItemSlot> | null} */
  bank = null;

  /** The trade as it stands; null while there is none. @type {TradeChanged | null} */
  trade = null;
  /** Where the character is predicted to stand. @type {Pos} */
  pos = { x: 0, y: 0 };
  /** How far the prediction was off in all, in position units. */
  corrections = 0;

  /** @type {Map<number, { answer: string, message: Packable, resolve: (fields: any) => void, reject: (why: Error) => void }>} */
  #open = new Map();
  #request = 0;
  #sentMs = 0;
  /** @type {Predictor | null} */
  #predictor = null;
  /** @type {Refused | null} */
  #why = null;
  /** @type {Map<number, Promise<TileMap>>} */
  #maps = new Map();
  /** @type {() => void} */
  #welcome = () => {};
  /**
   * What outlives connections: the newest ticket, how many numbered messages came, and how many bytes of them were not acknowledged.
   * @type {{ ticket: Uint8Array, received: number, bytes: number } | null}
   */
  #session = null;
  /** Requests are sent at once: the connection is there, and the session, if there is one, goes on on it. */
  #speaks = false;
  /** The server was asked to take the session up again and has not answered. @type {{ resolve: () => void, reject: (why: Error) => void } | null} */
  #resuming = null;

  /**
   * Connects and says hello. Rejects with what the server says, or where it cannot be reached.
   * @param {WorldInfo} info
   * @param {Listener} [listener]
   * @param {string} [base] Where the server is, beginning with `http`; the page's own by default.
   * @returns {Promise<Client>}
   */
  static async connect(info, listener = {}, base = location.origin) {
    const client = new Client(info, listener, base);
    await client.#dial();
    client.#speaks = true;
    return client;
  }

  /** Use {@link Client.connect}. @param {WorldInfo} info @param {Listener} listener @param {string} base */
  constructor(info, listener, base) {
    this.info = info;
    this.listener = listener;
    this.base = base;
    /** @type {WebSocket | null} */
    this.socket = null;
  }

  /** Opens a connection and says hello; rejects with what the server says, or where it cannot be reached. @returns {Promise<void>} */
  #dial() {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(`${this.base.replace(/^http/, "ws")}/play`, SUBPROTOCOL);
      const hash = Uint8Array.from(this.info.content_hash.match(/../g) ?? [], (byte) => parseInt(byte, 16));
      this.socket = socket;
      this.#why = null;
      this.#welcome = () => {
        socket.onclose = () => this.#end();
        resolve();
      };
      socket.binaryType = "arraybuffer";
      socket.onopen = () => this.send("Hello", { version: PROTOCOL_VERSION, content_hash: hash });
      socket.onclose = () => reject(this.#why ?? new Error("the server cannot be reached"));
      socket.onmessage = ({ data }) => {
        try {
          const bytes = new Uint8Array(data);
          this.#hear(decode(bytes), bytes.length);
        } catch (fault) {
          this.#fail(fault);
        }
      };
    });
  }

  /** What cannot be followed leaves nothing to go on with. @param {unknown} fault */
  #fail(fault) {
    console.error(fault);
    this.#session = null;
    this.socket?.close();
  }

  /** Whether there is a session that outlives its connection, as far as is known here. */
  get canResume() {
    return this.#session !== null;
  }

  /**
   * Takes the session up on a new connection once {@link Listener.onClose} was called. Open requests are answered then, each once, and
   * nothing that was said is missing. Rejects where the server cannot be reached; and where it has nothing to take up any more, after
   * which `canResume` is false and open requests are rejected too.
   * @returns {Promise<void>}
   */
  async resume() {
    if (this.#session) await this.#dial();
    // It may have been closed meanwhile.
    const session = this.#session;
    if (!session) throw new Error("there is no session to take up");
    return new Promise((resolve, reject) => {
      this.#resuming = { resolve, reject };
      this.send("Resume", { ticket: session.ticket, received: session.received });
    });
  }

  /**
   * Sends a message.
   * @template {keyof ClientMessages} Name
   * @param {Name} name
   * @param {ClientMessages[Name]} fields
   */
  send(name, fields) {
    this.#write(/** @type {any} */ ([name, fields]));
  }

  /**
   * Sends a request and waits for its answer; rejects with {@link Refused}.
   * @template {RequestName} Name
   * @param {Name} name
   * @param {Omit<ClientMessages[Name], "request">} fields
   * @returns {Promise<ServerMessages[(typeof ANSWERS)[Name]]>}
   */
  request(name, fields) {
    return new Promise((resolve, reject) => {
      if (!this.#speaks && !this.#session) return reject(new Error("the connection is over"));
      const request = ++this.#request;
      const message = /** @type {any} */ ([name, { request, ...fields }]);
      this.#open.set(request, { answer: ANSWERS[name], message, resolve, reject });
      // Otherwise it is sent when the session goes on, behind those that were lost.
      if (this.#speaks) this.#write(message);
    });
  }

  /** @param {string} account @param {string} password */
  register(account, password) {
    return this.request("RegisterAccount", { account, password });
  }

  /** @param {string} account @param {string} password */
  logIn(account, password) {
    return this.request("Login", { account, password });
  }

  /** @returns {Promise<CharacterSummary[]>} */
  async characters() {
    return (await this.request("ListCharacters", {})).characters;
  }

  /** Its id. @param {string} name @returns {Promise<Int64>} */
  async createCharacter(name) {
    return (await this.request("CreateCharacter", { name })).character;
  }

  /** Enters the world with a character of the list; snapshots follow. @param {CharacterSummary} character */
  async enter({ character, zone }) {
    // Fetched first, so that the first step can be predicted.
    await this.#fetchMap(zone);
    const entered = await this.request("SelectCharacter", { character });
    this.map = await this.#fetchMap(entered.zone);
    this.#predictor = new Predictor(this.map, entered.speed, this.pos);
    return entered;
  }

  /**
   * Takes one step in a heading, ±127 an axis. To be called at the zone's `tick_hz`; false where no step is possible just now.
   * @param {number} x
   * @param {number} y
   */
  input(x, y) {
    const sequence = this.#speaks ? (this.#predictor?.step(x, y) ?? 0) : 0;
    if (!this.#predictor || sequence === 0) return false;
    this.pos = this.#predictor.pos;
    // The fields in their order: the form that is shorter.
    this.#write(["Input", [sequence, x, y]]);
    return true;
  }

  /** @param {string} text */
  say(text) {
    return this.request("Say", { text });
  }

  /** @param {number} entity */
  pickUp(entity) {
    return this.request("PickUp", { nonce: this.#nonce(), entity });
  }

  /** @param {number} slot @param {number} count */
  drop(slot, count) {
    return this.request("Drop", { nonce: this.#nonce(), slot, count });
  }

  /** Puts on what an inventory slot holds. @param {number} slot */
  equip(slot) {
    return this.request("Equip", { nonce: this.#nonce(), slot });
  }

  /** Takes off what is worn in an equipment slot. @param {number} slot */
  unequip(slot) {
    return this.request("Unequip", { nonce: this.#nonce(), slot });
  }

  /** Lets two slots of a place become one stack or change places. @param {number} place @param {number} from @param {number} to */
  move(place, from, to) {
    return this.request("Move", { nonce: this.#nonce(), place, from, to });
  }

  /** Looks into the bank; only near one. */
  openBank() {
    return this.request("OpenBank", {});
  }

  /** @param {number} slot @param {number} count @param {number} tab */
  deposit(slot, count, tab) {
    return this.request("Deposit", { nonce: this.#nonce(), slot, count, tab });
  }

  /** @param {number} slot @param {number} count @param {boolean} keep whether a placeholder stays */
  withdraw(slot, count, keep) {
    return this.request("Withdraw", { nonce: this.#nonce(), slot, count, keep });
  }

  /** @param {number} entity */
  askTrade(entity) {
    return this.request("AskTrade", { entity });
  }

  /** @param {number} entity */
  acceptTrade(entity) {
    return this.request("AcceptTrade", { entity });
  }

  /** @param {number} slot @param {number} count 0 for none */
  offer(slot, count) {
    return this.request("Offer", { nonce: this.#nonce(), slot, count });
  }

  /** Confirms the next step of the trade as it was last told. */
  confirmTrade() {
    const { revision, your_step } = this.trade ?? { revision: 0, your_step: 0 };
    return this.request("ConfirmTrade", { nonce: this.#nonce(), revision, step: your_step + 1 });
  }

  cancelTrade() {
    return this.request("CancelTrade", {});
  }

  /** Leaves in good order; the server closes. */
  logOut() {
    return this.request("Logout", {});
  }

  /** Ends the connection without a word, and takes up the session no more. */
  close() {
    this.#forget(new Error("the connection was closed"));
    this.socket?.close();
  }

  /** @param {Packable} message */
  #write(message) {
    this.#sentMs = performance.now();
    this.socket?.send(encode(message));
  }

  #acknowledge() {
    if (!this.#session) return;
    this.#session.bytes = 0;
    this.send("Acknowledge", { received: this.#session.received });
  }

  /** @param {number} zone */
  #fetchMap(zone) {
    const known = this.#maps.get(zone);
    if (known) return known;
    const fetched = (async () => {
      const about = this.info.zones.find(({ id }) => id === zone);
      if (!about) throw new Error(`the world has no zone ${zone}`);
      const tiles = await (await get(`${this.base}/maps/${this.info.content_hash}/${zone}`)).arrayBuffer();
      return new TileMap(about.width_tiles, about.height_tiles, new Uint8Array(tiles));
    })();
    this.#maps.set(zone, fetched);
    return fetched;
  }

  /** @param {ServerMessage} message @param {number} bytes */
  #hear([name, fields], bytes) {
    if (this.#session && !UNNUMBERED.includes(name) && !(name === "Error" && fields.closing)) {
      this.#session.received++;
      this.#session.bytes += bytes;
    }
    switch (name) {
      case "Snapshot": return this.#snapshot(fields);
      case "Welcome": return this.#welcome();
      case "Pong": return;
      case "Ticket":
        this.#session = { ticket: fields.ticket, received: 0, bytes: 0 };
        return;
      case "Resumed": return this.#resumed(fields);
      case "Said": return this.listener.onSaid?.(fields);
      case "TradeAsked": return this.listener.onTradeAsked?.(fields);
      case "TradeChanged":
        this.trade = fields;
        return this.listener.onTrade?.();
      case "TradeDone":
        this.trade = null;
        this.#slots(fields.slots);
        return this.listener.onTrade?.();
      case "TradeEnded":
        this.trade = null;
        return this.listener.onTrade?.(ERROR_NAMES[fields.code]);
      case "Away": return this.listener.onAway?.(fields);
      case "Error": {
        const why = new Refused(fields.code, fields.text, fields.closing);
        if (fields.closing) this.#why = why;
        if (!this.#speaks) {
          // On the way in, or back in.
          if (why.code === "ResumeRefused") this.#forget(why);
          this.#why = why;
          this.socket?.close();
        } else if (fields.closing) {
          // Whoever fell silent may come back; after any other last word the session is over.
          if (why.code !== "IdleTimeout") this.#session = null;
        } else {
          this.#settle(fields.request)?.reject(why);
        }
        return;
      }
    }
    if (name === "EnteredZone" && fields.request === 0) {
      this.#walkInto(fields).catch((fault) => this.#fail(fault));
      return;
    }
    if (name === "SlotsChanged" && fields.request === 0) return this.#slots(fields.slots);
    const asked = this.#settle(fields.request);
    if (asked?.answer !== name) throw new Error(`${name} answers nothing that was asked`);
    if (name === "EnteredZone") this.#enter(fields);
    else if (name === "PickedUp" || name === "Dropped") this.#slot(fields.slot);
    else if (name === "SlotsChanged") this.#slots(fields.slots);
    else if (name === "BankOpened") {
      this.bank = new Map(fields.slots.map((slot) => [slot.slot, slot]));
      this.listener.onInventory?.();
    }
    else if (name === "LoggedOut") this.#session = null;
    asked.resolve(fields);
  }

  /** @param {number} request */
  #settle(request) {
    const asked = this.#open.get(request);
    this.#open.delete(request);
    return asked;
  }

  /** The session goes on: what the server did not get is sent again. @param {ServerMessages["Resumed"]} resumed */
  #resumed({ ticket, request }) {
    if (!this.#resuming || !this.#session) throw new Error("Resumed answers nothing that was asked");
    const { resolve } = this.#resuming;
    this.#resuming = null;
    this.#speaks = true;
    this.#session.ticket = ticket;
    this.world = new World();
    this.#acknowledge();
    for (const [asked, { message }] of this.#open) if (asked > request) this.#write(message);
    for (const input of this.#predictor?.lastPending(INPUTS_SENT_AGAIN_MAX) ?? []) this.#write(["Input", input]);
    resolve();
  }

  /** @param {EnteredZone} entered */
  #enter(entered) {
    this.entered = entered;
    this.pos = { x: entered.x, y: entered.y };
    this.world = new World();
    this.inventory = new Map(entered.inventory.map((slot) => [slot.slot, slot]));
    this.worn = new Map(entered.worn.map((slot) => [slot.slot, slot]));
    this.listener.onInventory?.();
  }

  /** The character walked through a gate. @param {EnteredZone} entered */
  async #walkInto(entered) {
    const predictor = this.#predictor;
    // Until the map is there nothing can be predicted.
    this.#predictor = null;
    this.entered = { ...entered, inventory: this.entered?.inventory ?? [] };
    this.pos = { x: entered.x, y: entered.y };
    this.world = new World();
    const map = await this.#fetchMap(entered.zone);
    if (this.entered.zone !== entered.zone || !predictor) return;
    this.map = map;
    predictor.goOn(map, entered.speed);
    this.#predictor = predictor;
  }

  /** @param {InventorySlot} slot */
  #slot(slot) {
    if (slot.count > 0) this.inventory.set(slot.slot, slot);
    else this.inventory.delete(slot.slot);
    this.listener.onInventory?.();
  }

  /** @param {ItemSlot[]} slots */
  #slots(slots) {
    for (const slot of slots) {
      const { place, slot: number, kind, count } = slot;
      if (place === PLACE_INVENTORY) {
        if (count > 0) this.inventory.set(number, { slot: number, kind, count });
        else this.inventory.delete(number);
      } else {
        const held = place === PLACE_BANK ? this.bank : this.worn;
        if (kind > 0) held?.set(number, slot);
        else held?.delete(number);
      }
    }
    this.listener.onInventory?.();
  }

  /** What commands about items carry: the session's number. */
  #nonce() {
    return this.entered?.nonce ?? 0;
  }

  /** @param {Uint8Array} bytes */
  #snapshot(bytes) {
    const head = this.world.apply(bytes);
    if (this.#predictor) {
      this.corrections += this.#predictor.reconcile(head.inputAck, head);
      this.pos = this.#predictor.pos;
    } else {
      this.pos = { x: head.x, y: head.y };
    }
    // Here rather than by a timer: browsers hold back those of pages that are not in front.
    if (performance.now() - this.#sentMs > PING_MS) this.send("Ping", { stamp: 0 });
    if ((this.#session?.bytes ?? 0) >= ACKNOWLEDGE_BYTES) this.#acknowledge();
    this.listener.onSnapshot?.(head);
  }

  /** The connection is over. */
  #end() {
    const why = this.#why ?? new Error("the connection is over");
    this.#speaks = false;
    if (!this.#session) this.#forget(why);
    if (this.#resuming) {
      const { reject } = this.#resuming;
      this.#resuming = null;
      reject(why);
    } else {
      this.listener.onClose?.(this.#why);
    }
  }

  /** There is no session any more. @param {Error} why */
  #forget(why) {
    this.#session = null;
    for (const { reject } of this.#open.values()) reject(why);
    this.#open.clear();
  }
}
