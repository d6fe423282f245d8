// Bans of accounts and of addresses.

import { call, get } from "./api.js";
import { ask, reason, span, untilOf } from "./dialog.js";
import { account, button, chip, element, field, pages, panel, until, when } from "./parts.js";

export const BAN_HEADS = ["Number", "Whom", "Why", "Since", "Until", "By", ""];

const holds = (ban) => ban.ended_ms == null && (ban.until_ms == null || ban.until_ms > Date.now());

// The cells of a ban; with what lifts it, where that is given.
export function banRow(ban, lift) {
  const target = ban.account != null ? account(ban.account) : element("code", {}, ban.addresses);
  const state = holds(ban) ? lift?.(ban) ?? chip("holds", "bad") : chip(ban.ended_ms != null ? "lifted" : "over");
  return [String(ban.ban), target, ban.reason, ban.since_ms ? when(ban.since_ms) : "–", until(ban.until_ms), account(ban.actor), state];
}

export async function bansPage(view, parameters, { me, again }) {
  const may = me.permissions.includes("suspend");
  const [all, kind] = [parameters.get("all") === "true", parameters.get("kind") ?? ""];
  const lift = (ban) =>
    button("Lift…", async () => {
      const done = await ask({
        title: `Lift ban ${ban.ban}`,
        text: `It was put for: ${ban.reason}`,
        verb: "Lift",
        onSubmit: () => call("DELETE", `/staff/bans/${ban.ban}`),
      });
      if (done) await again("The ban was lifted.");
    }, { className: "small", "aria-label": `Lift ban ${ban.ban}` });
  const put = button("Ban addresses…", async () => {
    const addresses = field({ name: "addresses", label: "Address or range", required: true, maxLength: 64, spellcheck: false, placeholder: "192.0.2.0/24", hint: "No wider than /16 of IPv4 or /32 of IPv6." });
    const done = await ask({
      title: "Ban addresses",
      text: "Nobody signs in, registers or comes into the game from there. Who plays already plays on.",
      fields: [addresses, reason(), ...span("24")],
      verb: "Ban",
      danger: true,
      onSubmit: (values) => call("POST", "/staff/bans", { addresses: values.addresses.trim(), reason: values.reason, until_ms: untilOf(values) }),
    });
    if (done) await again("Banned.");
  }, { className: "danger" });
  const list = await pages("Bans", BAN_HEADS, all ? "Nothing was ever banned." : "No ban holds.", async (before) => {
    const page = await get("/staff/bans", { before, kind, in_force: all ? null : true });
    return { rows: page.bans.map((ban) => banRow(ban, may ? lift : undefined)), next: page.next };
  });
  const go = (name, value) => {
    const next = new URLSearchParams(parameters);
    if (value) next.set(name, value);
    else next.delete(name);
    location.hash = `#/bans${String(next) && `?${next}`}`;
  };
  const filter = (options) => {
    const view = field(options);
    view.querySelector("select").onchange = ({ target }) => go(target.name, target.value);
    return view;
  };
  view.replaceChildren(
    element("div", { className: "page-head" }, element("h2", {}, "Bans"), element("span", { className: "spacer" }), ...(may ? [put] : [])),
    panel("All bans",
      element("div", { className: "filters", role: "group", "aria-label": "Which bans" },
        filter({ name: "kind", label: "Whom", kind: "select", options: [["", "everybody"], ["account", "accounts"], ["address", "addresses"]], value: kind }),
        filter({ name: "all", label: "When", kind: "select", options: [["", "those that hold"], ["true", "all there were"]], value: all ? "true" : "" })),
      list),
  );
}
