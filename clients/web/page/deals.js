// What is worn, the bank and trades, under the bag.

import { byId, element } from "./panels.js";

const SLOT_NAMES = ["weapon", "shield", "head", "body", "legs", "hands", "feet", "neck", "ring", "ammunition", "back"];

/**
 * @import { Client } from "/client/vyuha.js"
 * @import { ItemSlot, TradeAsked } from "/client/protocol.js"
 */

export class Deals {
  #worn = byId("worn");
  #bank = byId("bank");
  #trade = byId("trade");
  /** @type {TradeAsked | null} */
  #asked = null;
  /** @type {(asked: Promise<unknown> | undefined) => void} */
  #attempt;

  /** @param {(asked: Promise<unknown> | undefined) => void} attempt shows why a request was refused */
  constructor(attempt) {
    this.#attempt = attempt;
  }

  /** Somebody asks to trade. @param {TradeAsked} asked */
  ask(asked) {
    this.#asked = asked;
  }

  /** @param {Client} client @param {(kind: number) => string} name */
  show(client, name) {
    const words = (/** @type {ItemSlot} */ { kind, count }) => (count > 0 ? `${name(kind)} × ${count}` : `kept for ${name(kind)}`);
    const worn = [...client.worn.values()].map((slot) =>
      this.#button(`${SLOT_NAMES[slot.slot]}: ${name(slot.kind)}`, "take off", () => client.unequip(slot.slot)));
    this.#fill(this.#worn, worn);
    const banked = [...(client.bank?.values() ?? [])].map((slot) =>
      this.#button(words(slot), "take out", () => client.withdraw(slot.slot, slot.count, false)));
    this.#fill(this.#bank, banked);
    this.#fill(this.#trade, this.#tradeParts(client, words));
  }

  /** @param {Client} client @param {(slot: ItemSlot) => string} words */
  #tradeParts(client, words) {
    const { trade } = client;
    if (trade) {
      this.#asked = null;
      const list = (/** @type {ItemSlot[]} */ slots) => slots.map(words).join(", ") || "nothing";
      const step = trade.your_step < 1 ? "Agree" : "Agree for good";
      return [
        element("p", {}, `You give ${list(trade.yours)} and get ${list(trade.theirs)}. ${["", "They agreed.", "They agreed for good."][trade.their_step]}`),
        this.#button(step, "confirm", () => client.confirmTrade()),
        this.#button("Call it off", "cancel", () => client.cancelTrade()),
      ];
    }
    const asked = this.#asked;
    return asked ? [this.#button(`Trade with ${asked.name}`, "accept", () => client.acceptTrade(asked.entity))] : [];
  }

  /** @param {string} text @param {string} title @param {() => Promise<unknown>} act */
  #button(text, title, act) {
    const button = element("button", { type: "button", title }, text);
    button.onclick = () => this.#attempt(act());
    return button;
  }

  /** @param {HTMLElement} list @param {Node[]} children */
  #fill(list, children) {
    list.hidden = children.length === 0;
    list.replaceChildren(...children);
  }
}
