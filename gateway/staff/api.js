// The interface of the node, at the port that this page came from. The session is a cookie that no script can read.

export class Refused extends Error {
  constructor(status, problem, retryAfter) {
    super(problem.detail ? `${problem.title} ${sentence(problem.detail)}` : problem.title);
    Object.assign(this, { status, code: problem.code, detail: problem.detail ?? "", retryAfter });
  }
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

// Who is told that the session is over, wherever that shows.
let onSignedOut = () => {};
export const whenSignedOut = (listener) => (onSignedOut = listener);

// Calls an operation; what it answers, or null. A write has a key of its own, so that it is done once.
export async function call(method, path, body, signal) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET") headers["Idempotency-Key"] = key();
  let response;
  try {
    response = await fetch(`/api/v1${path}`, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, { title: "The node does not answer.", code: "away" });
  }
  const answer = await response.json().catch(() => null);
  if (response.ok) return answer;
  const problem = answer?.code ? answer : { title: `The node answered ${response.status}.`, code: "unknown" };
  if (problem.code === "unauthorized") onSignedOut();
  throw new Refused(response.status, problem, Number(response.headers.get("Retry-After")) || 0);
}

export const get = (path, parameters = {}, signal) => call("GET", withQuery(path, parameters), undefined, signal);

// What is empty is not asked for.
export function withQuery(path, parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value != null);
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

function key() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
