// The nodes that share a Redis, what was said lately in the zone that is shown, and announcements. Asked for from time to time:
// none of it comes with the node's own figures.

import { count, duration, element, uptime } from "./format.js";

const ASK_MS = 5000;
const byId = (id) => document.getElementById(id);

export class Cluster {
  #zone = null;
  #timer = null;
  // Which time it has begun or stopped to ask: what was asked before that counts no longer.
  #turn = 0;

  constructor() {
    byId("announce").onsubmit = (event) => {
      event.preventDefault();
      this.#announce();
    };
  }

  // Begins to ask, or begins anew; `zone` is a zone's description, or null.
  watch(zone) {
    if (zone) this.#zone = zone;
    this.pause();
    this.#ask(this.#turn);
  }

  // Asks no more, until it watches again.
  pause() {
    this.#turn += 1;
    clearTimeout(this.#timer);
  }

  async #ask(turn) {
    const zone = this.#zone;
    try {
      const nodes = await (await fetch("/api/nodes")).json();
      if (turn !== this.#turn) return;
      this.#showNodes(nodes);
      if (zone) {
        const said = await (await fetch(`/api/chat?zone=${zone.id}`)).json();
        if (turn !== this.#turn) return;
        this.#showChat(zone, said);
      }
    } catch {
      if (turn !== this.#turn) return;
      this.#say("the node does not answer", "bad");
    }
    this.#timer = setTimeout(() => this.#ask(turn), ASK_MS);
  }

  #showNodes({ hot, nodes, error }) {
    if (error) return this.#say(error.message, "bad");
    this.#say(hot.kind === "redis" ? "shared by Redis" : "no Redis: this node alone");
    const head = ["Node", "Players", "Tick p99", "Up", "Players' port", "Console"].map((name) => element("th", {}, name));
    const rows = nodes.map((node) => {
      const up = uptime((node.told_unix_ms - node.started_unix_ms) / 1000);
      const cells = [node.name, count(node.players), duration(node.tick_us_p99), up, node.listen, node.admin];
      return element("tr", { title: `${node.version} · ${node.commit}` }, ...cells.map((text) => element("td", {}, text)));
    });
    byId("nodes").replaceChildren(element("tr", {}, ...head), ...rows);
  }

  #showChat(zone, { lines }) {
    if (!lines) return;
    byId("said-title").textContent = `Said lately in ${zone.name}`;
    const said = lines.slice(-20).map(({ at_unix_ms: at, name, text }) => {
      const when = element("time", {}, new Date(at).toLocaleTimeString("en-GB"));
      return element("li", {}, when, element("b", {}, name), text);
    });
    byId("said").replaceChildren(...(said.length ? said : [element("li", { className: "unit" }, "nothing")]));
  }

  async #announce() {
    const [field, result] = [byId("announcement"), byId("announced")];
    const body = JSON.stringify({ text: field.value });
    const headers = { "Content-Type": "application/json" };
    try {
      const answer = await (await fetch("/api/announce", { method: "POST", headers, body })).json();
      result.textContent = answer.error?.message ?? `told the players of ${answer.reaches}`;
      if (!answer.error) field.value = "";
    } catch {
      result.textContent = "the node does not answer";
    }
  }

  #say(text, mood = "") {
    byId("hot").textContent = text;
    byId("hot").dataset.mood = mood;
  }
}
