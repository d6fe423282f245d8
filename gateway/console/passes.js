// Where the time of a tick goes: a bar a shard and a row a pass, built once and then only filled.

import { duration, element } from "./format.js";

const INKS = ["#5eead4", "#e3d26f", "#b79cf7", "#f2a65a", "#f27d9b", "#8fd16a", "#6fc3df", "#9aa8b8", "#d08d6a", "#7aa7ff"];

// What the passes are called here, and what they do; one that is not listed is shown by its own name.
const KNOWN = {
  receive: ["receive", "What the sockets brought, newcomers, and replies that have become durable"],
  movement: ["movement", "Players take their steps"],
  npcs: ["NPCs", "NPCs choose where to go"],
  integrate: ["integrate", "Entities move, and walls stop them"],
  regrid: ["regrid", "Entities change cells of the grid"],
  encode: ["encode", "Each cell is encoded once, for all who see it"],
  hash: ["hash", "The state is hashed"],
  rules: ["other rules", "What lies about is replaced, and whatever else runs once a tick"],
  "hand out": ["commit", "Transactions go to the journal, and replies to the sockets' queues"],
  send: ["send", "Snapshots are put together and sent"],
};
// How much of each report the shown mean takes in: about a second's worth, so that it can be read.
const SHARE = 0.2;

export class Passes {
  #parent;
  #built = "";
  // By shard: its total, and by pass the mean in microseconds, the bar and the figure.
  #shards = new Map();

  constructor(parent) {
    this.#parent = parent;
  }

  // reports: of each shard its number and `passes: [[name, microseconds], ...]`.
  show(reports) {
    const names = [...new Set(reports.flatMap(({ passes }) => passes.map(([name]) => name)))];
    const layout = JSON.stringify([names, reports.map(({ shard }) => shard)]);
    if (layout !== this.#built) this.#build(names, reports);
    this.#built = layout;
    for (const { shard, passes } of reports) {
      for (const [name, us] of passes) {
        const pass = this.#shards.get(shard).passes.get(name);
        pass.us = pass.us === null ? us : pass.us + (us - pass.us) * SHARE;
      }
    }
    const sum = ({ passes }) => [...passes.values()].reduce((total, { us }) => total + us, 0);
    const most = Math.max(...[...this.#shards.values()].map(sum), 1);
    for (const shard of this.#shards.values()) {
      shard.total.textContent = duration(sum(shard));
      for (const { us, bar, figure } of shard.passes.values()) {
        bar.style.width = `${(us / most) * 100}%`;
        figure.textContent = duration(us);
      }
    }
  }

  #build(names, reports) {
    const label = (name) => KNOWN[name]?.[0] ?? name;
    const ink = (name) => INKS[names.indexOf(name) % INKS.length];
    this.#shards = new Map(
      reports.map(({ shard }) => {
        const parts = names.map((name) => {
          const bar = element("span", { title: label(name) });
          bar.style.background = ink(name);
          return [name, { us: null, bar, figure: element("td") }];
        });
        return [shard, { total: element("b"), passes: new Map(parts) }];
      }),
    );
    const stacks = [...this.#shards].map(([shard, { total, passes }]) => {
      const bars = element("div", { className: "bars" }, ...[...passes.values()].map(({ bar }) => bar));
      return element("div", { className: "stack" }, `Shard ${shard}`, bars, total);
    });
    const heads = reports.map(({ shard }) => element("th", { textContent: `shard ${shard}` }));
    const rows = names.map((name) => {
      const dot = element("i");
      dot.style.background = ink(name);
      const figures = [...this.#shards.values()].map(({ passes }) => passes.get(name).figure);
      return element("tr", { title: KNOWN[name]?.[1] ?? "" }, element("td", {}, dot, label(name)), ...figures);
    });
    const table = element("table", { className: "passes" }, element("tr", {}, element("th"), ...heads), ...rows);
    this.#parent.replaceChildren(...stacks, table);
  }
}
