// The log of what staff did, to which is only ever added.

import { get } from "./api.js";
import { account, chip, element, field, pages, panel, when } from "./parts.js";

const ACTIONS = ["ban", "suspend", "lift", "ban_device", "lift_device_ban", "kick", "end_session", "end_sessions", "grant_appeal", "refuse_appeal", "announce", "appoint", "dismiss"];

export const DEED_HEADS = ["Number", "When", "Who", "What", "Whom", "Detail"];

// A time within what was said of a deed is read like every other.
const told = (detail) => {
  const [before, ms, after] = detail.split(/until (\d{12,14})(?=:)/);
  return ms ? element("span", {}, `${before}until `, when(Number(ms)), after) : detail;
};

export const deedRow = (deed) => [
  element("span", { title: `Sum over it and all before it: ${deed.chain}` }, String(deed.id)),
  when(deed.at_ms),
  account(deed.actor),
  chip(deed.action.replaceAll("_", " ")),
  deed.subject ? account(deed.subject) : "–",
  told(deed.detail),
];

export async function logPage(view, parameters, { again }) {
  const asked = Object.fromEntries(["actor", "subject", "action", "from", "to"].map((name) => [name, parameters.get(name) ?? ""]));
  const day = (text, days) => (text ? new Date(`${text}T00:00`).getTime() + days * 864e5 : null);
  const list = await pages("What staff did", DEED_HEADS, "Nothing was done that fits.", async (before) => {
    const { actor, subject, action, from, to } = asked;
    const page = await get("/staff/log", { actor, subject, action, since_ms: day(from, 0), until_ms: day(to, 1), before, limit: 50 });
    return { rows: page.deeds.map(deedRow), next: page.next };
  });
  const number = { kind: "number", min: 0, step: 1, inputMode: "numeric" };
  const filters = element("form", { className: "filters", "aria-label": "Which deeds" },
    field({ name: "actor", label: "Who (account)", value: asked.actor, ...number }),
    field({ name: "subject", label: "Whom (account)", value: asked.subject, ...number }),
    field({ name: "action", label: "What", kind: "select", options: [["", "everything"], ...ACTIONS.map((name) => [name, name.replaceAll("_", " ")])], value: asked.action }),
    field({ name: "from", label: "From", kind: "date", value: asked.from }),
    field({ name: "to", label: "To", kind: "date", value: asked.to }),
    element("button", { type: "submit", className: "primary" }, "Show"));
  filters.onsubmit = (event) => {
    event.preventDefault();
    const given = [...new FormData(filters)].filter(([, value]) => value);
    const hash = `#/log${given.length ? `?${new URLSearchParams(given)}` : ""}`;
    if (hash === location.hash) again("");
    else location.hash = hash;
  };
  view.replaceChildren(element("div", { className: "page-head" }, element("h2", {}, "Log")), panel("What staff did", filters, list));
}
