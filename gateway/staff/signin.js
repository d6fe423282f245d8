// The way in: password and code, the second factor that staff must have, and what somebody sees who is no staff or is banned.

import { call } from "./api.js";
import { button, element, field, form } from "./parts.js";
import { picture } from "./qr.js";

const card = (title, ...children) => element("section", { className: "card", "aria-labelledby": "card-title" }, element("h2", { id: "card-title" }, title), ...children);

const note = (...children) => element("p", { className: "note" }, ...children);

const codeField = (hint) =>
  field({ name: "code", label: "Code", required: true, maxLength: 32, autocomplete: "one-time-code", inputMode: "numeric", spellcheck: false, hint });

// Shows the form; `done` is given the password, for what else asks for it.
export function signIn(view, { message, done }) {
  const loginField = field({ name: "login", label: "E-mail address or name", required: true, maxLength: 254, autocomplete: "username", spellcheck: false });
  const passwordField = field({ name: "password", label: "Password", kind: "password", required: true, maxLength: 128, autocomplete: "current-password" });
  const place = element("div");
  const onSubmit = async ({ login, password, code }) => {
    try {
      await call("POST", "/browser-session", code ? { login, password, code } : { login, password });
    } catch (error) {
      if (error.code === "second_factor_required") {
        const asked = codeField("Of your authenticator, or a recovery code.");
        place.replaceChildren(asked);
        asked.querySelector("input").focus();
        return;
      }
      if (error.code === "account_suspended" || error.code === "address_banned") return banned(view, error, { login, password });
      throw error;
    }
    await done(password);
  };
  view.replaceChildren(card("Sign in", message ? note(message) : null, form({ fields: [loginField, passwordField, place], verb: "Sign in", onSubmit })));
  view.querySelector("input").focus();
}

// Who is banned is told why, and may say something to it.
function banned(view, error, { login, password }) {
  const said = field({ name: "text", label: "What do you say to it?", kind: "textarea", rows: 4, required: true, maxLength: 500, hint: "Staff reads it. There is one appeal for each ban." });
  const onSubmit = async ({ text }) => {
    await call("POST", "/appeals", { login, password, text });
    view.replaceChildren(card("Thank you", note("Your appeal was filed. What is decided you read here, the next time you sign in.")));
  };
  const why = error.detail.replace(/^until (\d+)/, (_, ms) => `Until ${new Date(Number(ms)).toLocaleString()}`).replace(/^for/, "For");
  view.replaceChildren(card(error.code === "address_banned" ? "Your address is banned" : "Your account is suspended", element("p", { className: "failure" }, why), form({ fields: [said], verb: "Appeal", onSubmit })));
  view.querySelector("textarea").focus();
}

// Sets the second factor up; `password` is null where it must be asked for.
export async function enrol(view, { password, done }) {
  if (password === null) {
    const asked = field({ name: "password", label: "Password", kind: "password", required: true, maxLength: 128, autocomplete: "current-password" });
    const onSubmit = async (values) => begin(view, values.password, done);
    view.replaceChildren(card("Set up the second factor", note("Staff signs in with a code beside the password. It takes your password once more."), form({ fields: [asked], verb: "Go on", onSubmit })));
    view.querySelector("input").focus();
    return;
  }
  await begin(view, password, done);
}

async function begin(view, password, done) {
  const { secret, url } = await call("POST", "/me/second-factor", { password });
  const onSubmit = async ({ code }) => {
    const { recovery_codes: codes } = await call("POST", "/me/second-factor/confirm", { code });
    recovery(view, codes, done);
  };
  view.replaceChildren(
    card(
      "Set up the second factor",
      note("Staff signs in with a code beside the password. Take this into an authenticator, and type the code that it shows."),
      picture(url, "QR code of the second factor's secret"),
      element("p", { className: "secret" }, "Or type ", element("code", { id: "secret" }, secret.match(/.{1,4}/g).join(" "))),
      form({ fields: [codeField("Six digits.")], verb: "Turn on", onSubmit }),
    ),
  );
  view.querySelector("input").focus();
}

// Recovery codes, which are shown this once.
function recovery(view, codes, done) {
  const kept = field({ name: "kept", label: "I have kept them in a safe place", kind: "checkbox", required: true });
  const copy = navigator.clipboard && button("Copy", async () => {
    await navigator.clipboard.writeText(codes.join("\n"));
    copy.textContent = "Copied";
  });
  view.replaceChildren(
    card(
      "Recovery codes",
      note("Each is good once in place of a code, should your authenticator be lost. They are not shown again."),
      element("ol", { className: "codes", "aria-label": "Recovery codes" }, ...codes.map((code) => element("li", {}, element("code", {}, code)))),
      copy || null,
      form({ fields: [kept], verb: "Go on", onSubmit: done }),
    ),
  );
  view.querySelector("input").focus();
}

// For somebody who is signed in and no staff: the key makes the first administrator, while there is no staff.
export function noStaff(view, { me, done }) {
  if (me.staffed) {
    view.replaceChildren(card("Nothing for you here", note(`${me.name} is no account of the staff. An administrator can appoint it: its number is `, element("b", {}, String(me.account)), ".")));
    return;
  }
  const key = field({ name: "key", label: "Key of this server", kind: "password", required: true, maxLength: 256, autocomplete: "off", hint: "What the file holds that api.admin_key_file names." });
  const onSubmit = async (values) => {
    await call("POST", "/staff/first", values);
    await done();
  };
  view.replaceChildren(card("There is no staff yet", note(`With the key of this server ${me.name} becomes the first administrator.`), form({ fields: [key], verb: "Become administrator", onSubmit })));
  view.querySelector("input").focus();
}
