// Announcements to those who play, and what was announced.

import { call, get } from "./api.js";
import { ask } from "./dialog.js";
import { account, element, field, form, pages, panel, when } from "./parts.js";

const BYTES_MAX = 200;

export async function announcePage(view, parameters, { me, again }) {
  const text = field({ name: "text", label: "What is announced", kind: "textarea", rows: 2, required: true, hint: `At most ${BYTES_MAX} bytes, on one line.` });
  const to = field({ name: "to", label: "To the players of", kind: "select", options: [["all", "every node"], ["node", "this node"]] });
  const [input, left] = [text.querySelector("textarea"), text.querySelector("small")];
  input.oninput = () => {
    input.value = input.value.replace(/\s*\n\s*/g, " ");
    const over = new TextEncoder().encode(input.value).length - BYTES_MAX;
    left.textContent = over > 0 ? `${over} bytes too long.` : `${-over} bytes left.`;
    input.setCustomValidity(over > 0 ? "That is too long." : "");
  };
  const onSubmit = async (values) => {
    const everywhere = values.to === "all";
    let reached;
    const done = await ask({
      title: "Announce this?",
      text: [`“${values.text}”`, `All who play on ${everywhere ? "every node" : "this node"} read it.`],
      verb: "Announce",
      onSubmit: async () => (reached = await call("POST", "/staff/announcements", { text: values.text, everywhere })),
    });
    if (!done) return;
    const told = `Told the players of ${reached.reaches.replace("_", " ")}.`;
    await again(reached.reason ? `${told} ${reached.reason}` : told);
  };
  const said = me.permissions.includes("read_log")
    ? panel("Announced", await pages("What was announced", ["When", "By", "What"], "Nothing was announced yet.", async (before) => {
        const page = await get("/staff/log", { action: "announce", before });
        return { rows: page.deeds.map((deed) => [when(deed.at_ms), account(deed.actor), deed.detail]), next: page.next };
      }))
    : null;
  view.replaceChildren(
    element("div", { className: "page-head" }, element("h2", {}, "Announcements")),
    panel("New announcement", form({ fields: [text, to], verb: "Announce…", onSubmit })),
    ...(said ? [said] : []),
  );
}
