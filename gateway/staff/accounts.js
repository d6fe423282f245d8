// Accounts and characters, looked up while one types.

import { get } from "./api.js";
import { account, chip, element, link, pages, when } from "./parts.js";

const PAUSE_MS = 180;

export function banChip({ suspended_until_ms: until }) {
  return until != null && until > Date.now() ? chip("banned", "bad") : null;
}

const KINDS = {
  accounts: {
    label: "Accounts",
    hint: "Name, e-mail address or number",
    heads: ["Number", "Name", "E-mail address", "Made", ""],
    nothing: "No account begins like that.",
    row: (one) => [link(`#/accounts/${one.account}`, String(one.account)), link(`#/accounts/${one.account}`, one.name), one.email ?? element("span", { className: "quiet" }, "none"), when(one.created_ms), element("span", {}, one.role ? chip(one.role, "good") : "", " ", banChip(one) ?? "")],
  },
  characters: {
    label: "Characters",
    hint: "Name or number",
    heads: ["Number", "Name", "Account", "Zone", "Made"],
    nothing: "No character begins like that.",
    row: (one) => [link(`#/accounts/${one.account}`, String(one.character)), link(`#/accounts/${one.account}`, one.name), account(one.account), String(one.zone), when(one.created_ms)],
  },
};

export async function accountsPage(view, parameters) {
  let kind = parameters.get("kind") === "characters" ? "characters" : "accounts";
  let asking = null;
  let timer;
  const input = element("input", { id: "search", type: "search", value: parameters.get("search") ?? "", maxLength: 254, autocomplete: "off", spellcheck: false, "aria-describedby": "found", "aria-controls": "results" });
  const results = element("div", { id: "results" });
  const found = element("p", { id: "found", className: "unseen", role: "status", "aria-live": "polite" });
  const choices = Object.entries(KINDS).map(([name, { label }]) =>
    element("button", { type: "button", onclick: () => choose(name), "data-kind": name }, label));

  async function look() {
    clearTimeout(timer);
    asking?.abort();
    const { signal } = (asking = new AbortController());
    const { heads, nothing, row } = KINDS[kind];
    const search = input.value.trim();
    const query = new URLSearchParams({ ...(search && { search }), ...(kind === "characters" && { kind }) });
    history.replaceState(null, "", `#/accounts${String(query) && `?${query}`}`);
    try {
      const list = await pages(`${KINDS[kind].label} found`, heads, nothing, async (after) => {
        const page = await get(`/staff/${kind}`, { search, after }, after == null ? signal : undefined);
        return { rows: page[kind].map(row), next: page.next };
      });
      if (signal.aborted) return;
      results.replaceChildren(list);
      const count = list.querySelectorAll("tbody tr").length;
      found.textContent = count ? `${count} shown` : nothing;
    } catch (error) {
      if (error.name !== "AbortError") results.replaceChildren(element("p", { className: "failure" }, error.message));
    }
  }

  function choose(name) {
    kind = name;
    choices.forEach((choice) => choice.setAttribute("aria-pressed", choice.dataset.kind === kind));
    input.placeholder = KINDS[kind].hint;
    input.setAttribute("aria-label", `Look up ${kind}: ${KINDS[kind].hint}`);
    return look();
  }

  input.oninput = () => {
    clearTimeout(timer);
    timer = setTimeout(look, PAUSE_MS);
  };
  input.onkeydown = (event) => {
    if (event.key === "ArrowDown") {
      event.preventDefault();
      results.querySelector("a")?.focus();
    } else if (event.key === "Enter" && results.querySelectorAll("tbody tr").length === 1) {
      results.querySelector("a").click();
    }
  };
  view.replaceChildren(
    element("section", { className: "panel", "aria-label": "Look up" },
      element("div", { className: "search", role: "search" },
        element("div", { className: "box" }, input, element("kbd", { ariaHidden: "true" }, "/")),
        element("div", { className: "choice", role: "group", "aria-label": "What is looked up" }, ...choices)),
      found, results));
  await choose(kind);
  return input;
}
