// One account: what it is, what belongs to it, what was done to it, and what staff may do.

import { call, get } from "./api.js";
import { banRow, BAN_HEADS } from "./bans.js";
import { ask, reason, span, untilOf } from "./dialog.js";
import { button, chip, element, field, link, pages, panel, table, until, when } from "./parts.js";
import { DEED_HEADS, deedRow } from "./log.js";

const ROLES = [["support", "support: looks up, ends sessions, kicks"], ["moderator", "moderator: bans, decides appeals, announces as well"], ["administrator", "administrator: appoints, reads the whole log as well"]];

export async function accountPage(view, id, { me, again }) {
  const path = `/staff/accounts/${id}`;
  const [{ account, ban, characters, sessions }, { devices }] = await Promise.all([get(path), get(`${path}/devices`)]);
  const may = (permission) => me.permissions.includes(permission);
  const isOther = account.account !== me.account;
  const action = (text, options) =>
    button(text, async () => {
      const done = await ask(options);
      if (done) await again(options.said);
    }, { className: options.danger ? "danger" : "" });

  const actions = [
    may("end_sessions") && isOther && action("Kick…", {
      title: `Kick ${account.name}`,
      text: "Whoever plays with this account leaves the game, with the character saved. They may come back at once.",
      fields: [reason("It is in the log.")],
      verb: "Kick",
      said: "Kicked, if anybody played.",
      onSubmit: (values) => call("POST", `${path}/kick`, values),
    }),
    may("end_sessions") && isOther && sessions.length > 0 && action("End all sessions…", {
      title: `End all sessions of ${account.name}`,
      text: "They must sign in again, everywhere.",
      verb: "End sessions",
      said: "All sessions are over.",
      onSubmit: () => call("DELETE", `${path}/sessions`),
    }),
    may("suspend") && isOther && action(ban ? "Change ban…" : "Suspend or ban…", {
      title: `Ban ${account.name}`,
      text: ["Nobody signs in with this account until it is over, and whoever plays is thrown out.", ...(ban ? ["The ban that holds is replaced."] : [])],
      fields: [reason(), ...span()],
      verb: "Ban",
      danger: true,
      said: "Banned.",
      onSubmit: (values) => call("POST", "/staff/bans", { account: account.account, reason: values.reason, until_ms: untilOf(values) }),
    }),
    may("suspend") && isOther && ban && action("Lift ban…", {
      title: `Lift the ban of ${account.name}`,
      text: `It was put for: ${ban.reason}`,
      verb: "Lift",
      said: "The ban was lifted.",
      onSubmit: () => call("DELETE", `/staff/bans/${ban.ban}`),
    }),
    may("appoint") && isOther && action(account.role ? "Change role…" : "Appoint…", {
      title: `Appoint ${account.name}`,
      text: "Staff signs in with a second factor.",
      fields: [field({ name: "role", label: "Role", kind: "select", options: ROLES, value: account.role ?? "support" })],
      verb: "Appoint",
      said: "Appointed.",
      onSubmit: (values) => call("PUT", `/staff/members/${id}`, values),
    }),
    may("appoint") && isOther && account.role && action("Dismiss…", {
      title: `Dismiss ${account.name}`,
      text: `It is ${account.role} no longer.`,
      verb: "Dismiss",
      danger: true,
      said: "Dismissed.",
      onSubmit: () => call("DELETE", `/staff/members/${id}`),
    }),
  ].filter(Boolean);

  const facts = [
    ["Number", String(account.account)],
    ["E-mail address", account.email ?? "none"],
    ["Made", when(account.created_ms)],
    ["Second factor", account.second_factor ? "on" : "off"],
    ...(ban ? [["Banned until", until(ban.until_ms)], ["Why", ban.reason]] : []),
  ];
  const endSession = (session) =>
    may("end_sessions") && isOther
      ? button("End", async () => {
          const done = await ask({
            title: "End this session",
            text: `${session.agent || "An unnamed client"}, from ${session.address}.`,
            verb: "End session",
            onSubmit: () => call("DELETE", `${path}/sessions/${session.id}`),
          });
          if (done) await again("The session is over.");
        }, { className: "small", "aria-label": `End the session from ${session.address}` })
      : null;
  const banDevice = (device) =>
    may("suspend") && isOther
      ? button("Ban…", async () => {
          const done = await ask({
            title: `Ban the device ${device.name}`,
            text: "Its key signs nobody in and is enrolled by nobody until it is over. The account may come in by other ways.",
            fields: [reason("The device is told."), ...span()],
            verb: "Ban",
            danger: true,
            onSubmit: (values) => call("PUT", `/staff/devices/${device.id}/ban`, { reason: values.reason, until_ms: untilOf(values) }),
          });
          if (done) await again("The device is banned.");
        }, { className: "small", "aria-label": `Ban the device ${device.name}` })
      : null;
  const bans = await pages("Bans of the account", BAN_HEADS, "It was never banned.", async (before) => {
    const page = await get("/staff/bans", { account: id, before, limit: 5 });
    return { rows: page.bans.map((one) => banRow(one)), next: page.next };
  });
  const readsLog = may("read_log") || !account.role;
  const deeds = readsLog
    ? await pages("What staff did to the account", DEED_HEADS, "Staff has done nothing to it.", async (before) => {
        const page = await get("/staff/log", { subject: id, before, limit: 10 });
        return { rows: page.deeds.map(deedRow), next: page.next };
      })
    : element("p", { className: "nothing" }, "What was done to staff is read by administrators.");

  view.replaceChildren(
    element("div", { className: "page-head" },
      element("h2", {}, account.name),
      account.role ? chip(account.role, "good") : null,
      ban ? chip("banned", "bad") : null,
      isOther ? null : chip("you")),
    actions.length ? element("div", { className: "actions", role: "group", "aria-label": "Actions" }, ...actions) : null,
    element("div", { className: "columns" },
      panel("Account", element("dl", { className: "facts" }, ...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]))),
      panel("Characters", characters.length ? table("Characters", ["Number", "Name", "Zone", "Made"], characters.map((one) => [String(one.character), one.name, String(one.zone), when(one.created_ms)])) : element("p", { className: "nothing" }, "It has none."))),
    panel("Sessions", sessions.length ? table("Sessions", ["Client", "From", "Opened", "Last seen", "Ends", ""], sessions.map((one) => [one.agent || "–", element("code", {}, one.address), when(one.created_ms), when(one.seen_ms), when(one.expires_ms), endSession(one)])) : element("p", { className: "nothing" }, "Nobody is signed in.")),
    ...(devices.length ? [panel("Devices", table("Devices", ["Name", "Platform", "Enrolled", "Last seen", ""], devices.map((one) => [one.name, one.platform, when(one.enrolled_ms), when(one.seen_ms), banDevice(one)])))] : []),
    panel("Bans", bans),
    panel("Log", deeds),
    element("p", {}, link("#/accounts", "← All accounts")),
  );
}
