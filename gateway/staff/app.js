// The staff pages: who is signed in, which page is shown, and the keys that lead there.

import { accountPage } from "./account.js";
import { accountsPage } from "./accounts.js";
import { announcePage } from "./announce.js";
import { call, get, whenSignedOut } from "./api.js";
import { appealsPage } from "./appeals.js";
import { bansPage } from "./bans.js";
import { show } from "./dialog.js";
import { logPage } from "./log.js";
import { element, link, say } from "./parts.js";
import { enrol, noStaff, signIn } from "./signin.js";

const PAGES = [
  ["accounts", "Accounts", "look", accountsPage],
  ["bans", "Bans", "look", bansPage],
  ["appeals", "Appeals", "look", appealsPage],
  ["announcements", "Announcements", "announce", announcePage],
  ["log", "Log", "read_log", logPage],
];
const byId = (id) => document.getElementById(id);
const view = byId("view");

let me = null;
// The page that is wanted last: one that comes late shows nothing.
let wanted = 0;

const allowed = () => PAGES.filter(([, , permission]) => me.permissions.includes(permission));

function showBar(isIn) {
  byId("nav").hidden = byId("help").hidden = !isIn;
  byId("sign-out").hidden = !me;
  byId("who").textContent = me ? `${me.name}${me.role ? ` · ${me.role}` : ""}` : "";
  if (isIn) byId("nav").replaceChildren(...allowed().map(([name, title], i) => link(`#/${name}`, title)));
}

function signedOut(message) {
  me = null;
  wanted++;
  localStorage.removeItem(SIGNED_IN);
  showBar(false);
  document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
  signIn(view, { message, done: (password) => enter(password) });
}

// Whether somebody signed in here and not out: without, nobody need be asked who it is.
const SIGNED_IN = "vyuha-staff-signed-in";

// Goes on with whoever the cookie says it is. The password is at hand just after it was typed.
async function enter(password = null) {
  me = await get("/staff/me");
  localStorage.setItem(SIGNED_IN, "1");
  showBar(false);
  if (!me.role) return noStaff(view, { me, done: () => enter(password) });
  if (!me.second_factor) return enrol(view, { password, done: () => enter() });
  showBar(true);
  await route();
}

async function route() {
  if (!me?.role || !me.second_factor) return;
  const turn = ++wanted;
  const [path, query] = location.hash.slice(2).split("?");
  const [name, id] = path.split("/");
  const page = allowed().find(([known]) => known === (name || "accounts"));
  for (const one of byId("nav").children) {
    if (page && one.getAttribute("href") === `#/${page[0]}`) one.setAttribute("aria-current", "page");
    else one.removeAttribute("aria-current");
  }
  document.title = `${page?.[1] ?? "Nothing here"} · Vyuha staff`;
  // Each page is built aside, so that what shows is never half of one.
  const fresh = element("main", { id: "view", tabIndex: -1 });
  try {
    if (!page) fresh.append(element("p", { className: "nothing" }, "There is no such page, or your role does not lead there."));
    else if (page[0] === "accounts" && /^\d+$/.test(id ?? "")) await accountPage(fresh, Number(id), { me, again });
    else await page[3](fresh, new URLSearchParams(query), { me, again });
  } catch (error) {
    if (error.code === "unauthorized") return;
    fresh.replaceChildren(element("p", { className: "failure", role: "alert" }, error.message));
  }
  if (turn !== wanted) return;
  view.replaceChildren(...fresh.childNodes);
  scrollTo(0, 0);
  (view.querySelector("#search") ?? view).focus({ preventScroll: true });
}

// Shows the page anew after something was done, and says what.
async function again(said) {
  say(said);
  await route();
  // Not a field: there digits and `/` would be typed.
  view.querySelector(".actions button, .page-head button")?.focus();
}

const KEYS = [
  ["/", "look accounts up"],
  ["1–5", "the pages, as they stand above"],
  ["↓ ↑", "from row to row"],
  ["Enter", "open, or do"],
  ["Esc", "close a dialogue"],
  ["?", "this"],
];

const showKeys = () => show("Keys", element("dl", { className: "keys" }, ...KEYS.flatMap(([key, what]) => [element("dt", {}, element("kbd", {}, key)), element("dd", {}, what)])));

// Moves the focus to the first link or button of the next row, or of the one before.
function step(from, by) {
  const rows = [...view.querySelectorAll("tbody tr, .appeal")];
  const at = rows.findIndex((row) => row.contains(from));
  if (at < 0) return false;
  if (at + by < 0 && byId("search")) byId("search").focus();
  else rows[at + by]?.querySelector("a, button")?.focus();
  return true;
}

addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, select, textarea");
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog") || byId("nav").hidden) return;
  if ((event.key === "ArrowDown" || event.key === "ArrowUp") && !typing) {
    if (step(event.target, event.key === "ArrowDown" ? 1 : -1)) event.preventDefault();
    return;
  }
  if (typing) return;
  const digit = /^[1-9]$/.test(event.key) && byId("nav").children[Number(event.key) - 1];
  if (digit) digit.click();
  else if (event.key === "?") showKeys();
  else if (event.key === "/") {
    event.preventDefault();
    if (byId("search")) byId("search").select();
    else location.hash = "#/accounts";
  }
});

addEventListener("hashchange", route);
byId("help").onclick = showKeys;
byId("sign-out").onclick = async () => {
  try {
    await call("DELETE", "/browser-session");
    signedOut("You are signed out.");
  } catch (error) {
    if (error.code !== "unauthorized") view.prepend(element("p", { className: "failure", role: "alert" }, error.message));
  }
};
whenSignedOut(() => me && signedOut("Your session is over: sign in again."));

try {
  if (localStorage.getItem(SIGNED_IN)) await enter();
  else signedOut("");
} catch (error) {
  signedOut(error.code === "unauthorized" ? "Your session is over: sign in again." : error.message);
}
