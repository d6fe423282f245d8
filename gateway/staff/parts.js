// The parts that the pages are made of: elements, times, tables and lists that go on.

export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const two = (n) => String(n).padStart(2, "0");

// A time as it is read here, to the minute; the second and the distance from now are its title.
export function when(ms) {
  if (ms == null) return element("span", { className: "quiet" }, "–");
  const date = new Date(ms);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const minute = `${two(date.getHours())}:${two(date.getMinutes())}`;
  return element("time", { dateTime: date.toISOString(), title: `${day} ${minute}:${two(date.getSeconds())}, ${distance(ms)}` }, `${day} ${minute}`);
}

// How far a time is from now: `in 3 days`, `5 minutes ago`.
export function distance(ms, nowMs = Date.now()) {
  const sizes = [["year", 31536e6], ["day", 864e5], ["hour", 36e5], ["minute", 6e4]];
  const far = Math.abs(ms - nowMs);
  const [unit, size] = sizes.find(([, size]) => far >= size) ?? ["minute", 6e4];
  const count = Math.round(far / size);
  if (!count) return "now";
  const text = `${count} ${unit}${count === 1 ? "" : "s"}`;
  return ms > nowMs ? `in ${text}` : `${text} ago`;
}

export const until = (ms) => (ms == null ? element("span", {}, "for good") : element("span", {}, when(ms), element("small", {}, ` ${distance(ms)}`)));

export const link = (href, ...children) => element("a", { href }, ...children);

export const account = (id, name) => (id ? link(`#/accounts/${id}`, name ?? `#${id}`) : element("span", { className: "quiet" }, "another server"));

export const chip = (text, mood = "") => element("span", { className: "chip", "data-mood": mood }, text);

export function button(text, onclick, properties = {}) {
  return element("button", { type: "button", onclick, ...properties }, text);
}

export function panel(title, ...children) {
  const id = `title-${title.toLowerCase().replaceAll(" ", "-")}`;
  return element("section", { className: "panel", "aria-labelledby": id }, element("h2", { id }, title), ...children);
}

// A table with a caption for those who do not see its heading; `rows` are lists of what goes into the cells.
export function table(caption, heads, rows) {
  const cells = (row) => element("tr", {}, ...row.map((cell) => element("td", {}, cell ?? "")));
  return element(
    "div",
    { className: "scroll" },
    element(
      "table",
      {},
      element("caption", { className: "unseen" }, caption),
      element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
      element("tbody", {}, ...rows.map(cells)),
    ),
  );
}

// A table that is fetched page by page: `fetchPage(cursor)` gives `{ rows, next }`.
export async function pages(caption, heads, nothing, fetchPage) {
  const first = await fetchPage(null);
  if (!first.rows.length) return element("p", { className: "nothing" }, nothing);
  const view = table(caption, heads, first.rows);
  const body = view.querySelector("tbody");
  let { next } = first;
  const more = button("Show more", async () => {
    more.disabled = true;
    try {
      const page = await fetchPage(next);
      const begun = body.children.length;
      body.append(...page.rows.map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, cell ?? "")))));
      next = page.next;
      more.hidden = next == null;
      body.children[begun]?.querySelector("a, button")?.focus();
    } catch (error) {
      say(error.message, "bad");
    }
    more.disabled = false;
  }, { className: "more", hidden: next == null });
  return element("div", {}, view, more);
}

let quiet;
// Tells in passing what was done, or why not.
export function say(text, mood = "") {
  const toast = document.getElementById("toast");
  clearTimeout(quiet);
  toast.textContent = text;
  toast.dataset.mood = mood;
  quiet = setTimeout(() => (toast.textContent = ""), 6000);
}

let numbered = 0;
// A labelled field. `kind` is a type of input, `textarea` or `select`.
export function field({ name, label, kind = "text", options = [], hint, ...rest }) {
  const id = `field-${++numbered}`;
  const tag = kind === "textarea" || kind === "select" ? kind : "input";
  const properties = { id, name, ...rest };
  if (tag === "input") properties.type = kind;
  if (hint) properties["aria-describedby"] = `${id}-hint`;
  const input = element(tag, properties, ...options.map(([value, text]) => element("option", { value }, text)));
  if (rest.value !== undefined) input.value = rest.value;
  const note = hint && element("small", { id: `${id}-hint` }, hint);
  const title = element("label", { htmlFor: id }, label);
  const row = kind === "checkbox" ? [element("span", { className: "check" }, input, title)] : [title, input];
  return element("div", { className: `field ${kind}` }, ...row, note || null);
}

// A form whose refusals show in it: `onSubmit` is given the values, and the button waits for it.
export function form({ fields, verb, danger, onSubmit, onCancel }) {
  const failure = element("p", { className: "failure", role: "alert" });
  const submit = element("button", { type: "submit", className: danger ? "danger" : "primary" }, verb);
  const cancel = onCancel && button("Cancel", onCancel);
  const view = element("form", {}, ...fields, failure, element("div", { className: "buttons" }, cancel || null, submit));
  view.onsubmit = async (event) => {
    event.preventDefault();
    failure.textContent = "";
    submit.disabled = true;
    const named = [...view.elements].filter((input) => input.name);
    const values = Object.fromEntries(named.map((input) => [input.name, input.type === "checkbox" ? input.checked : input.value]));
    try {
      await onSubmit(values, view);
    } catch (error) {
      failure.textContent = error.message;
    }
    submit.disabled = false;
  };
  return view;
}
