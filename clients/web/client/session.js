// A session: signs in, enters the world, and comes back by itself where the connection is lost: to where it was if the server still
// holds that, or by signing in again.

import { Client, Refused } from "./vyuha.js";

const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 15000;

/** After these there is no use in coming back by oneself. @type {(string | undefined)[]} */
const FINAL = ["SignedInElsewhere", "VersionMismatch", "ContentMismatch", "CredentialsWrong", "CharacterUnknown", "Flood"];

/**
 * @import { Listener, WorldInfo } from "./vyuha.js"
 *
 * @typedef {object} Credentials
 * @property {string} account
 * @property {string} password
 * @property {string} character What the character is to be called if the account has none yet.
 *
 * @typedef {object} SessionListener
 * @property {() => void} [onPlaying] The character is in the world, again or for the first time.
 * @property {(retryMs: number) => void} [onLost] The connection was lost; it is tried again after so long.
 * @property {(why: Error | null) => void} [onEnd] It is over for good; null after {@link Session.leave}.
 */

export class Session {
  /** @type {Client | null} */
  client = null;
  /** One whose connection was lost, to be taken up again. @type {Client | null} */
  #lost = null;
  #retryMs = RETRY_MS_MIN;
  #sinceMs = 0;
  #over = false;

  /** @param {WorldInfo} info @param {Credentials} credentials @param {Listener & SessionListener} listener */
  constructor(info, credentials, listener) {
    this.info = info;
    this.credentials = credentials;
    this.listener = listener;
  }

  /**
   * Signs in, with an account that is registered first if asked to, and enters the world. What is refused here is thrown; from
   * then on the listener hears what happens.
   * @param {boolean} register
   */
  async open(register) {
    const { account, password, character } = this.credentials;
    /** @type {Client | null} */
    let client = null;
    const listener = { ...this.listener, onClose: (/** @type {Refused | null} */ why) => this.#closed(client, why) };
    client = await Client.connect(this.info, listener);
    try {
      if (register) await client.register(account, password);
      await client.logIn(account, password);
      let characters = await client.characters();
      if (characters.length === 0) {
        await client.createCharacter(character);
        characters = await client.characters();
      }
      await client.enter(characters[0]);
    } catch (why) {
      client.close();
      throw why;
    }
    this.#play(client);
  }

  /** @param {Client} client */
  #play(client) {
    if (this.#over) return client.close();
    this.client = client;
    this.#sinceMs = performance.now();
    this.listener.onPlaying?.();
  }

  /** Goes on where it was, or else signs in again. */
  async #comeBack() {
    const lost = this.#lost;
    if (lost?.canResume) {
      try {
        await lost.resume();
        this.#lost = null;
        return this.#play(lost);
      } catch (why) {
        if (lost.canResume) throw why;
      }
    }
    this.#lost = null;
    if (!this.#over) await this.open(false);
  }

  /** Leaves in good order. */
  async leave() {
    this.#over = true;
    try {
      await this.client?.logOut();
    } catch {
      // Lost on the way out: the server saves the character all the same.
    }
    this.client?.close();
    this.#lost?.close();
    this.listener.onEnd?.(null);
  }

  /** @param {Client | null} client @param {Refused | null} why */
  #closed(client, why) {
    // One that never got as far as to play is told to whoever opened it.
    if (this.#over || client === null || client !== this.client) return client?.close();
    this.client = null;
    this.#lost = client;
    // One that is lost again and again is waited for ever longer.
    if (performance.now() - this.#sinceMs > RETRY_MS_MAX) this.#retryMs = RETRY_MS_MIN;
    this.#retry(why);
  }

  /** @param {unknown} why */
  #retry(why) {
    if (why instanceof Refused && FINAL.includes(why.code)) {
      this.#over = true;
      this.#lost?.close();
      this.listener.onEnd?.(why);
      return;
    }
    const afterMs = this.#retryMs * (0.75 + Math.random() / 2);
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS_MAX);
    this.listener.onLost?.(afterMs);
    setTimeout(() => {
      if (!this.#over) this.#comeBack().catch((again) => this.#retry(again));
    }, afterMs);
  }
}
