// Everything beside the map: tiles, charts, and the figures of journal and store.

import { Chart } from "./chart.js";
import { Passes } from "./passes.js";
import { bytes, colour, count, duration, element, many } from "./format.js";

const byId = (id) => document.getElementById(id);

export class Panels {
  #seconds = [];
  #charts = [];
  #passes;
  #tiles;
  #figures;

  constructor(node) {
    this.budgetUs = 1e6 / node.tick_hz;
    for (const id of ["ticks", "load", "disk", "tiles", "figures"]) byId(id).replaceChildren();
    for (let shard = 0; shard < node.shards; shard++) {
      // A second has too few ticks for a 99th percentile to be anything but the slowest.
      const of = (i) => (second) => second.tick_us[shard]?.[i] ?? null;
      this.#add("ticks", {
        title: `Shard ${shard}`,
        lines: [
          { label: "median", colour: colour("typical"), of: of(0), fill: true },
          { label: "slowest", colour: colour("worst"), of: of(2) },
        ],
        format: duration,
        log: [50, 60000],
        limit: this.budgetUs,
      });
    }
    this.#add("load", {
      title: "Players",
      lines: [{ label: "online", colour: colour("player"), of: (s) => s.players, fill: true }],
      format: count,
      floor: 10,
    });
    this.#add("load", {
      title: "Bytes a second",
      lines: [
        { label: "out", colour: colour("worst"), of: (s) => s.bytes_out, fill: true },
        { label: "in", colour: colour("item"), of: (s) => s.bytes_in },
      ],
      format: bytes,
      floor: 1024,
      base: 1024,
    });
    this.#add("disk", {
      title: "Store behind journal",
      lines: [{ label: "frames", colour: colour("chasing"), of: (s) => s.store_lag_frames, fill: true }],
      format: count,
      floor: 10,
    });
    this.#add("disk", {
      title: "Journal sync",
      lines: [{ label: "mean", colour: colour("typical"), of: (s) => s.sync_us, fill: true }],
      format: duration,
      floor: 1000,
    });
    this.#passes = new Passes(byId("passes"));
    this.#tiles = cells("tiles", ["Players", "Slowest tick", "Late ticks", "Shed ticks", "Out to clients", "Store lag"], true);
    this.#figures = cells("figures", ["Durable frame", "Applied frame", "Rows written", "Syncs / s", "Rows / s", "Store errors"]);
  }

  #add(id, options) {
    this.#charts.push(new Chart(byId(id), options));
  }

  // The node's history, on every (re)connection.
  restore(seconds) {
    this.#seconds = seconds;
    for (const chart of this.#charts) chart.show(seconds);
  }

  show(stats) {
    const { second } = stats;
    if (second && second.at_s > (this.#seconds.at(-1)?.at_s ?? -1)) {
      this.#seconds.push(second);
      this.restore(this.#seconds.filter(({ at_s: at }) => at > second.at_s - 120));
    }
    this.#showTiles(stats);
    this.#showFigures(stats);
    this.#passes.show(stats.shards);
  }

  #showTiles({ shards, zones, store }) {
    const sum = (list, key) => list.reduce((total, item) => total + item[key], 0);
    const lately = (key) => `${count(sum(this.#seconds, key))} in the last 2 min`;
    const second = this.#seconds.at(-1);
    const players = sum(zones, "players");
    const worst = second && Math.max(...second.tick_us.map((tick) => tick?.[2] ?? 0));
    const [late, shed] = [sum(shards, "late_ticks"), sum(shards, "shed_ticks")];
    const recent = (key) => this.#seconds.some((s) => s[key] > 0);
    const stale = shards.filter((shard) => shard.stale).length;
    const each = second && players ? `${bytes(second.bytes_out / players)}/s a player` : "";
    this.#tiles[0](count(players), `${many(sum(zones, "npcs"), "NPC")} · ${many(sum(zones, "items"), "item")}`);
    this.#tiles[1](
      duration(worst),
      stale ? `${many(stale, "shard")} standing still` : worst == null ? "" : `${((worst / this.budgetUs) * 100).toFixed(0)} % of ${duration(this.budgetUs)}`,
      stale || worst > this.budgetUs ? "bad" : worst > this.budgetUs / 2 ? "warn" : "",
    );
    this.#tiles[2](count(late), lately("late_ticks"), recent("late_ticks") ? "warn" : "");
    this.#tiles[3](count(shed), lately("shed_ticks"), recent("shed_ticks") ? "bad" : "");
    this.#tiles[4](second ? `${bytes(second.bytes_out)}/s` : "–", each);
    this.#tiles[5](count(store.lag_frames), "frames behind", store.errors ? "warn" : "");
  }

  #showFigures({ journal, store }) {
    const second = this.#seconds.at(-1);
    const values = [
      count(journal.durable_seq), count(store.applied_seq), count(store.rows),
      count(second?.syncs), count(second?.store_rows), count(store.errors),
    ];
    values.forEach((value, i) => this.#figures[i](value, null, i === 5 && store.errors ? "bad" : ""));
  }
}

// Named cells of a list; gives for each the function that fills it.
function cells(id, names, notes) {
  return names.map((name) => {
    const value = element("dd", { textContent: "–" });
    const cell = element("div", { className: notes ? "tile" : "" }, element("dt", { textContent: name }), value);
    const note = notes && element("dd", { className: "note", textContent: "\u00a0" });
    if (note) cell.append(note);
    byId(id).append(cell);
    return (text, remark, mood) => {
      value.textContent = text;
      if (note) note.textContent = remark || "\u00a0";
      cell.dataset.mood = mood ?? "";
    };
  });
}
