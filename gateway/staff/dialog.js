// Dialogues: what an action asks before it is done. Escape closes them, and the focus goes back to where it was.

import { element, field, form } from "./parts.js";

let numbered = 0;

// A click beside a dialogue closes it.
function closeBeside({ target, currentTarget }) {
  if (target === currentTarget) currentTarget.close();
}

// Opens a dialogue; true once `onSubmit` went through, false where it was closed.
export function ask({ title, text, fields = [], verb, danger, onSubmit }) {
  const id = `dialog-${++numbered}`;
  return new Promise((resolve) => {
    const view = element("dialog", { "aria-labelledby": id });
    const done = async (values, of) => {
      await onSubmit(values, of);
      view.returnValue = "done";
      view.close("done");
    };
    view.append(
      element("h2", { id }, title),
      ...[text].flat().map((line) => element("p", {}, line)),
      form({ fields, verb, danger, onSubmit: done, onCancel: () => view.close() }),
    );
    view.onclose = () => {
      view.remove();
      resolve(view.returnValue === "done");
    };
    view.onclick = closeBeside;
    document.body.append(view);
    view.showModal();
    (view.querySelector("form :is(input, select, textarea)") ?? view.querySelector("button")).focus();
  });
}

// Tells something that is closed again.
export function show(title, ...children) {
  const id = `dialog-${++numbered}`;
  const close = element("button", { type: "button", className: "primary" }, "Close");
  const view = element("dialog", { "aria-labelledby": id }, element("h2", { id }, title), ...children, element("div", { className: "buttons" }, close));
  close.onclick = () => view.close();
  view.onclose = () => view.remove();
  view.onclick = closeBeside;
  document.body.append(view);
  view.showModal();
}

export const reason = (hint = "The person is told.") =>
  field({ name: "reason", label: "Reason", kind: "textarea", rows: 3, maxLength: 500, required: true, hint });

const HOUR_MS = 36e5;
const SPANS = [["1", "1 hour"], ["24", "1 day"], ["72", "3 days"], ["168", "7 days"], ["720", "30 days"], ["", "for good"], ["date", "until a date…"]];

// How long something holds. [`untilOf`] reads it.
export function span(value = "168") {
  const date = field({ name: "date", label: "Until", kind: "datetime-local" });
  const choice = field({ name: "hours", label: "For", kind: "select", options: SPANS, value });
  date.hidden = true;
  choice.querySelector("select").onchange = ({ target }) => {
    date.hidden = target.value !== "date";
    date.querySelector("input").required = !date.hidden;
  };
  return [choice, date];
}

// Until when, by the values of [`span`]; null for good.
export function untilOf({ hours, date }) {
  if (hours === "") return null;
  return hours === "date" ? new Date(date).getTime() : Date.now() + Number(hours) * HOUR_MS;
}
