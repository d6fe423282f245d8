// The game's page: signs in, steers, and hands what is heard to the parts that show it.

import { itemKind, isPlayer } from "/client/snapshot.js";
import { fetchWorld, NOBODY, Refused } from "/client/vyuha.js";
import { Session } from "/client/session.js";
import { Controls } from "./controls.js";
import { Deals } from "./deals.js";
import { Bag, byId, Chat } from "./panels.js";
import { View } from "./view.js";

/** Steps made good at once after the page was held up. */
const STEPS_MAX = 3;
/** Steps without getting anywhere after which a clicked place is given up. */
const STUCK_STEPS_MAX = 15;
const CLICK_PIXELS = 26;
const HINT_MS = 3500;

/**
 * @import { Client } from "/client/vyuha.js"
 * @import { Entity } from "/client/snapshot.js"
 * @import { Pos } from "/client/motion.js"
 */

/** @type {HTMLCanvasElement} */
const canvas = byId("view");
const view = new View(canvas, byId("minimap"));
const chat = new Chat();
const deals = new Deals(attempt);
const bag = new Bag((slot, count, way) => attempt(use(slot, count, way)));
/** @type {Session | null} */
let session = null;
/** Where the character is to go by itself, and what it is to pick up there. @type {{ place: Pos, entity: number | null, stuck: number } | null} */
let goal = null;
/** Where the last step began, and the time that is left for the next. */
let before = { x: 0, y: 0 };
let leftMs = 0;
let lastMs = 0;

const controls = new Controls(canvas, {
  onClick,
  onMove: (pointer) => (view.pointer = pointer),
  onSteer: () => (goal = null),
  onPickUp() {
    const item = session?.client && nearest(session.client);
    if (item) pickUp(item.id);
    else hint("Nothing to pick up within reach");
  },
  onTalk: () => said.focus(),
});

// The door.

/** @type {HTMLFormElement} */
const door = byId("sign-in");
const field = (/** @type {string} */ name) => /** @type {HTMLInputElement} */ (door.elements.namedItem(name));
/** The account that was registered by an attempt that failed later. */
let registered = "";

door.onsubmit = async (event) => {
  event.preventDefault();
  const [account, password] = [field("account").value.trim().toLowerCase(), field("password").value];
  const wants = /** @type {HTMLButtonElement | null} */ (event.submitter)?.value;
  busy(true);
  byId("fault").textContent = "";
  try {
    const character = field("character").value.trim() || characterName(account);
    const opened = new Session(await fetchWorld(), { account, password, character }, listener);
    session = opened;
    const register = wants === "register" && registered !== account;
    await opened.open(register);
    field("password").value = "";
  } catch (why) {
    session = null;
    if (why instanceof Refused && (why.code === "CharacterNameTaken" || why.code === "CharacterNameInvalid")) {
      registered = account;
      byId("character-field").hidden = false;
      field("character").focus();
    }
    byId("fault").textContent = sentence(why);
  }
  busy(false);
};

/** @param {boolean} is */
function busy(is) {
  for (const button of door.querySelectorAll("button")) button.disabled = is;
}

/** An account's name as a character's: letters, digits and spaces. @param {string} account */
function characterName(account) {
  const name = account.replace(/[^a-z0-9]+/g, " ").trim().slice(0, 16).trim();
  return name.charAt(0).toUpperCase() + name.slice(1);
}

/** What went wrong, as a sentence. @param {unknown} why */
function sentence(why) {
  const text = why instanceof Error ? why.message : String(why);
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

// The game.

const listener = {
  onPlaying() {
    const client = session?.client;
    if (!client?.entered) return;
    const { entered } = client;
    document.body.dataset.stage = "game";
    delete document.body.dataset.lost;
    showLink("live", "live");
    byId("zone").textContent = client.info.zones.find(({ id }) => id === entered.zone)?.name ?? "";
    goal = null;
    before = client.pos;
    view.open(client);
    view.note(client);
    listener.onInventory();
    canvas.focus();
  },
  onSnapshot() {
    if (session?.client) view.note(session.client);
  },
  /** @param {import("/client/protocol.js").Said} said */
  onSaid({ entity, name, text }) {
    if (!name) return chat.note(text);
    chat.add(name, text, entity === session?.client?.entered?.entity);
    if (entity !== NOBODY) view.say(entity, text);
  },
  /** @param {import("/client/protocol.js").Away} away */
  onAway({ away, closing_s }) {
    const limit = closing_s ? `: move within ${Math.ceil(closing_s / 60)} min to stay` : "";
    showLink("live", away ? `away${limit}` : "live");
  },
  onInventory() {
    const client = session?.client;
    if (!client) return;
    const name = (/** @type {number} */ kind) => client.info.items.find(({ id }) => id === kind)?.name ?? `item ${kind}`;
    bag.show(client.inventory, name);
    deals.show(client, name);
  },
  /** @param {import("/client/protocol.js").TradeAsked} asked */
  onTradeAsked(asked) {
    deals.ask(asked);
    hint(`${asked.name} asks to trade`);
    listener.onInventory();
  },
  /** @param {string} [why] */
  onTrade(why) {
    if (why) hint(`The trade is off: ${why}`);
    listener.onInventory();
  },
  /** @param {number} retryMs */
  onLost(retryMs) {
    document.body.dataset.lost = "";
    showLink("lost", `connection lost, trying again in ${Math.ceil(retryMs / 1000)} s`);
  },
  /** @param {Error | null} why */
  onEnd(why) {
    session = null;
    chat.clear();
    document.body.dataset.stage = "door";
    delete document.body.dataset.lost;
    byId("fault").textContent = why ? sentence(why) : "";
    field(why ? "password" : "account").focus();
  },
};

/** @param {string} state @param {string} text */
function showLink(state, text) {
  byId("link").dataset.state = state;
  byId("link").textContent = text;
}

byId("leave").onclick = () => session?.leave();

/** @type {HTMLFormElement} */
const say = byId("say");
const said = /** @type {HTMLInputElement} */ (say.elements.namedItem("text"));
say.onsubmit = (event) => {
  event.preventDefault();
  const text = said.value.trim();
  said.value = "";
  if (text) attempt(session?.client?.say(text));
  canvas.focus();
};
said.onkeydown = ({ key }) => {
  if (key === "Escape") canvas.focus();
};

let hinted = 0;
/** @param {string} text */
function hint(text) {
  byId("hint").textContent = text;
  clearTimeout(hinted);
  hinted = setTimeout(() => (byId("hint").textContent = ""), HINT_MS);
}

/** Shows why a request was refused. @param {Promise<unknown> | undefined} asked */
function attempt(asked) {
  asked?.catch((why) => hint(sentence(why)));
}

/** What is to be done with an inventory slot. @param {number} slot @param {number} count @param {string} way */
function use(slot, count, way) {
  const client = session?.client;
  switch (way) {
    case "equip": return client?.equip(slot);
    case "deposit": return client?.deposit(slot, count, 0);
    case "offer": return client?.offer(slot, count);
    default: return client?.drop(slot, count);
  }
}

byId("open-bank").onclick = () => attempt(session?.client?.openBank());
byId("ask-trade").onclick = () => {
  const client = session?.client;
  const other = client && nearest(client, (entity) => isPlayer(entity) && entity.id !== client.entered?.entity);
  if (other) attempt(client.askTrade(other.id));
  else hint("Nobody to trade with within reach");
};

/** @param {number} entity */
function pickUp(entity) {
  attempt(session?.client?.pickUp(entity));
}

/** @param {Client} client */
function reach(client) {
  return client.info.zones.find(({ id }) => id === client.entered?.zone)?.reach ?? 0;
}

/** The nearest item, or what else is looked for, within reach. @param {Client} client @param {(entity: Entity) => boolean} [looked] @returns {Entity | null} */
function nearest(client, looked = (entity) => itemKind(entity) > 0) {
  let [found, best] = [/** @type {Entity | null} */ (null), reach(client)];
  for (const entity of client.world.entities.values()) {
    const distance = looked(entity) ? Math.hypot(entity.x - client.pos.x, entity.y - client.pos.y) : Infinity;
    if (distance <= best) [found, best] = [entity, distance];
  }
  return found;
}

/** Goes to the place that was clicked; an item there is picked up. @param {number} x @param {number} y */
function onClick(x, y) {
  const client = session?.client;
  if (!client) return;
  const place = view.place(x, y);
  const units = view.place(x + CLICK_PIXELS, y).x - place.x;
  let [item, best] = [/** @type {Entity | null} */ (null), units];
  for (const entity of client.world.entities.values()) {
    const distance = itemKind(entity) ? Math.hypot(entity.x - place.x, entity.y - place.y) : Infinity;
    if (distance < best) [item, best] = [entity, distance];
  }
  goal = { place: item ? { x: item.x, y: item.y } : place, entity: item?.id ?? null, stuck: 0 };
}

/** The heading of the next step. @param {Client} client @returns {[number, number] | null} */
function heading(client) {
  const asked = controls.heading();
  if (asked || !goal) return asked;
  const [dx, dy] = [goal.place.x - client.pos.x, goal.place.y - client.pos.y];
  const distance = Math.hypot(dx, dy);
  if (goal.entity !== null && distance <= reach(client)) {
    pickUp(goal.entity);
    goal = null;
    return null;
  }
  if (distance < (client.entered?.speed ?? 0) || goal.stuck > STUCK_STEPS_MAX) {
    goal = null;
    return null;
  }
  return [Math.round((127 * dx) / distance), Math.round((127 * dy) / distance)];
}

/** Takes the steps that are due. @param {Client} client @param {number} elapsedMs */
function walk(client, elapsedMs) {
  const stepMs = 1000 / (client.entered?.tick_hz ?? 1);
  leftMs = Math.min(leftMs + elapsedMs, STEPS_MAX * stepMs);
  while (leftMs >= stepMs) {
    leftMs -= stepMs;
    before = client.pos;
    const wanted = heading(client);
    if (!wanted) continue;
    client.input(...wanted);
    if (goal && before.x === client.pos.x && before.y === client.pos.y) goal.stuck++;
  }
  // Between the last two steps, so that it moves at every frame.
  const share = leftMs / stepMs;
  return { x: before.x + (client.pos.x - before.x) * share, y: before.y + (client.pos.y - before.y) * share };
}

/** @param {number} nowMs */
function frame(nowMs) {
  requestAnimationFrame(frame);
  const elapsedMs = nowMs - lastMs;
  lastMs = nowMs;
  const client = session?.client;
  if (!client) return;
  const own = walk(client, elapsedMs);
  view.draw(client, own, nearest(client));
  let players = 0;
  for (const entity of client.world.entities.values()) players += isPlayer(entity) ? 1 : 0;
  const company = players > 1 ? `${players - 1} near you` : "nobody near you";
  if (byId("company").textContent !== company) byId("company").textContent = company;
}

requestAnimationFrame(frame);
field("account").focus();
