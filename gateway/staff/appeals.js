// The queue of appeals, oldest first, and those that were decided.

import { call, get } from "./api.js";
import { ask } from "./dialog.js";
import { account, button, chip, element, field, link, panel, when } from "./parts.js";

export async function appealsPage(view, parameters, { me, again }) {
  const decided = parameters.get("decided") === "true";
  const may = me.permissions.includes("suspend");
  const list = element("div", {});
  const decide = (one, granted) =>
    button(granted ? "Grant…" : "Refuse…", async () => {
      const done = await ask({
        title: granted ? "Grant this appeal" : "Refuse this appeal",
        text: granted ? "The ban is lifted." : "The ban goes on. There is no second appeal against it.",
        fields: [field({ name: "answer", label: "Answer", kind: "textarea", rows: 3, required: true, maxLength: 500, hint: "The person is told." })],
        verb: granted ? "Grant" : "Refuse",
        danger: !granted,
        onSubmit: ({ answer }) => call("PUT", `/staff/appeals/${one.appeal}/decision`, { granted, answer }),
      });
      if (done) await again(granted ? "Granted." : "Refused.");
    }, { className: granted ? "primary" : "", "aria-label": `${granted ? "Grant" : "Refuse"} the appeal of account ${one.account}` });

  const show = (one) =>
    element("article", { className: "appeal", "aria-label": `Appeal of account ${one.account}` },
      element("div", { className: "head" }, element("span", {}, "Account ", account(one.account)), element("span", { className: "quiet" }, `against ban ${one.ban}`), when(one.filed_ms), one.decided_ms != null ? chip(one.granted ? "granted" : "refused", one.granted ? "good" : "bad") : null),
      element("p", { className: "quiet" }, `Banned for: ${one.reason}`),
      element("blockquote", {}, one.text),
      one.decided_ms != null
        ? element("p", {}, account(one.decided_by), " answered ", when(one.decided_ms), `: ${one.answer}`)
        : may ? element("div", { className: "actions" }, decide(one, true), decide(one, false)) : null);

  const more = button("Show more", () => next(), { className: "more", hidden: true });
  let after = null;
  async function next() {
    const page = await get("/staff/appeals", { decided: decided || null, after });
    list.append(...page.appeals.map(show));
    after = page.next;
    more.hidden = after == null;
  }
  await next();
  if (!list.children.length) list.append(element("p", { className: "nothing" }, decided ? "None was decided yet." : "Nobody waits for a decision."));
  view.replaceChildren(
    element("div", { className: "page-head" },
      element("h2", {}, "Appeals"), element("span", { className: "spacer" }),
      link(decided ? "#/appeals" : "#/appeals?decided=true", decided ? "Those that wait" : "Those that were decided")),
    panel(decided ? "Decided" : "Waiting", list, more),
  );
}
