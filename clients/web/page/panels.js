// Chat and bag: what stands beside the world, and works by keyboard alone.

import { itemInk } from "./view.js";

const SLOTS = 28;
const LINES_MAX = 60;

/** @template {HTMLElement} T @param {string} id @returns {T} */
export const byId = (id) => /** @type {T} */ (document.getElementById(id));

/** @param {string} name @param {Record<string, unknown>} fields @param {(Node | string)[]} children */
export function element(name, fields, ...children) {
  const made = Object.assign(document.createElement(name), fields);
  made.append(...children);
  return made;
}

export class Chat {
  #log = byId("said");

  /** @param {string} name @param {string} text @param {boolean} own */
  add(name, text, own) {
    this.#append(element("li", { className: own ? "own" : "" }, element("b", {}, name), ` ${text}`));
  }

  /** Something that nobody said. @param {string} text */
  note(text) {
    this.#append(element("li", { className: "note" }, text));
  }

  clear() {
    this.#log.replaceChildren();
  }

  /** @param {Node} line */
  #append(line) {
    this.#log.append(line);
    while (this.#log.children.length > LINES_MAX) this.#log.firstChild?.remove();
    this.#log.scrollTop = this.#log.scrollHeight;
  }
}

/** @import { InventorySlot } from "/client/protocol.js" */

export class Bag {
  #slots = byId("slots");
  /** @type {HTMLFormElement} */
  #chosen = byId("chosen");
  /** @type {HTMLInputElement} */
  #count = byId("chosen-count");
  /** @type {number | null} */
  #slot = null;
  /** @type {ReadonlyMap<number, InventorySlot>} */
  #inventory = new Map();
  /** @type {(kind: number) => string} */
  #name = () => "";

  /** @param {(slot: number, count: number, way: string) => void} onUse with "drop", "equip", "deposit" or "offer" */
  constructor(onUse) {
    for (let slot = 0; slot < SLOTS; slot++) {
      const button = element("button", { type: "button", disabled: true });
      button.onclick = () => this.#choose(this.#slot === slot ? null : slot);
      this.#slots.append(button);
    }
    this.#chosen.onsubmit = (event) => {
      event.preventDefault();
      const way = /** @type {HTMLButtonElement | null} */ (event.submitter)?.value || "drop";
      if (this.#slot !== null) onUse(this.#slot, this.#count.valueAsNumber, way);
    };
    const toggle = byId("bag-toggle");
    const open = (/** @type {boolean} */ is) => toggle.setAttribute("aria-expanded", String(is));
    toggle.onclick = () => open(toggle.getAttribute("aria-expanded") !== "true");
    open(!matchMedia("(max-width: 780px), (max-height: 520px)").matches);
  }

  /** @param {ReadonlyMap<number, InventorySlot>} inventory @param {(kind: number) => string} name */
  show(inventory, name) {
    this.#inventory = inventory;
    this.#name = name;
    [...this.#slots.children].forEach((child, slot) => {
      const button = /** @type {HTMLButtonElement} */ (child);
      const held = inventory.get(slot);
      button.disabled = !held;
      button.title = held ? `${name(held.kind)} × ${held.count.toLocaleString("en")}` : "";
      button.setAttribute("aria-label", held ? button.title : `slot ${slot + 1}, empty`);
      button.replaceChildren();
      if (!held) return;
      const icon = element("i", {});
      icon.style.setProperty("--ink", itemInk(held.kind));
      button.append(icon);
      if (held.count > 1) button.append(element("small", {}, short(held.count)));
    });
    byId("bag-count").textContent = `${inventory.size} of ${SLOTS}`;
    this.#choose(this.#slot !== null && inventory.has(this.#slot) ? this.#slot : null);
  }

  /** @param {number | null} slot */
  #choose(slot) {
    const held = slot === null ? undefined : this.#inventory.get(slot);
    [...this.#slots.children].forEach((button, nth) => button.setAttribute("aria-pressed", String(nth === slot)));
    this.#chosen.hidden = !held;
    // A button that is pressed by keyboard keeps the focus as long as there is something in its slot.
    if (this.#slot !== slot || !held || this.#count.valueAsNumber > held.count) this.#count.value = String(held?.count ?? 1);
    this.#slot = slot;
    byId("chosen-name").textContent = held ? this.#name(held.kind) : "";
    if (held) this.#count.max = String(held.count);
  }
}

/** A count in at most four letters. @param {number} count */
function short(count) {
  return count < 10000 ? String(count) : count < 1e6 ? `${Math.floor(count / 1000)}k` : `${Math.floor(count / 1e6)}M`;
}
