// The console: fetches what the node is, then follows its stream and hands each message to the part that shows it.

import { Cluster } from "./cluster.js";
import { Link } from "./link.js";
import { MapView } from "./map.js";
import { Panels } from "./panels.js";
import { Scan } from "./scan.js";
import { count, duration, element, many, uptime } from "./format.js";

const KINDS = [["player", "players"], ["wandering", "NPCs wandering"], ["chasing", "NPCs chasing"], ["item", "items"]];
// The node searches every few minutes, or as its operator has it.
const SCAN_MS = 5000;
const byId = (id) => document.getElementById(id);

const cluster = new Cluster();
const map = new MapView(byId("map"), byId("place"));
let node = null;
let panels = null;
let zone = null;
let built = null;

async function get(path, as) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response[as]();
}

// A node that was restarted may be another: whatever is shown is built anew unless it is the same.
async function prepare() {
  const [fresh, history] = await Promise.all([get("/api/node", "json"), get("/api/history", "json")]);
  if (fresh.started_unix_ms !== built) {
    node = fresh;
    panels = new Panels(node);
    byId("build").textContent = `${node.version} · ${node.commit.replace("-dirty", "+")}`;
    byId("build").title = node.commit.endsWith("-dirty") ? "The commit it was built from, and uncommitted changes" : "The commit it was built from";
    byId("shards").textContent = `${many(node.shards, "shard")} · ${node.tick_hz} Hz`;
    byId("staff").hidden = !node.staff;
    byId("staff").href = node.staff ?? "";
    byId("zones").replaceChildren(...node.zones.map(zoneButton));
    const wanted = Number(location.hash.slice(1));
    const first = node.zones.find(({ id }) => id === wanted) ?? node.zones[0];
    if (first) await choose(first);
    built = node.started_unix_ms;
  }
  panels.restore(history);
  await scan.look();
}

function zoneButton(info) {
  const button = element("button", {}, info.name, element("small", { title: "players" }));
  button.onclick = () => choose(info).catch(() => (byId("place").textContent = "the zone's walls cannot be fetched"));
  return button;
}

async function choose(info) {
  zone = info;
  cluster.watch(info);
  history.replaceState(null, "", `#${info.id}`);
  [...byId("zones").children].forEach((button, i) => button.setAttribute("aria-pressed", node.zones[i] === info));
  const walls = new Uint8Array(await get(`/api/zones/${info.id}/walls`, "arrayBuffer"));
  if (zone !== info) return;
  map.open(info, walls, node.units_per_tile);
  link.watch(info.id);
}

function showZone(zones) {
  const of = (id) => zones.find((report) => report.zone === id);
  node.zones.forEach(({ id, width_tiles: width, height_tiles: height }, i) => {
    const [button, report] = [byId("zones").children[i], of(id)];
    button.lastChild.textContent = count(report?.players);
    const cost = report ? `on shard ${report.shard}, ${duration(report.tick_us)} of a tick, ` : "";
    button.title = `Zone ${id} ${cost}${width} × ${height} tiles`;
  });
  const here = of(zone?.id);
  if (!here) return;
  const inside = [many(here.players, "player"), many(here.npcs, "NPC"), many(here.items, "item")];
  const counts = [...inside, `shard ${here.shard}`].join(" · ");
  byId("zone-counts").textContent = counts;
  byId("map").setAttribute("aria-label", `Live map of ${zone.name}: ${counts}`);
}

function toggle(label, className, pressed, onToggle) {
  const button = element("button", { className }, element("i"), label);
  button.setAttribute("aria-pressed", pressed);
  button.onclick = () => button.setAttribute("aria-pressed", onToggle());
  return button;
}

const density = toggle("density", "density", false, () => map.toggleDensity());
byId("legend").append(...KINDS.map(([name, label], kind) => toggle(label, name, true, () => map.toggleKind(kind))), density);
byId("zoom-in").onclick = () => map.zoomIn();
byId("zoom-out").onclick = () => map.zoomOut();
byId("fit").onclick = () => map.fit();

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target instanceof HTMLInputElement) return;
  const keys = { "+": () => map.zoomIn(), "=": () => map.zoomIn(), "-": () => map.zoomOut(), 0: () => map.fit(), d: () => density.click() };
  const digit = /^[1-9]$/.test(event.key) && byId("zones").children[Number(event.key) - 1];
  if (digit) digit.click();
  else keys[event.key.toLowerCase()]?.();
});

const scan = new Scan(byId("scan"), () => get("/api/scan", "json"));
setInterval(() => link.isLive && scan.look(), SCAN_MS);

const link = new Link({
  prepare,
  onState(state, retryMs) {
    byId("link").dataset.state = state;
    if (state === "live") cluster.watch(null);
    else cluster.pause();
    byId("link").textContent = state === "reconnecting" ? `reconnecting in ${Math.ceil(retryMs / 1000)} s` : state;
    document.querySelector("main").classList.toggle("away", state === "reconnecting");
  },
  onStats(stats) {
    byId("uptime").textContent = uptime(stats.uptime_s);
    panels.show(stats);
    showZone(stats.zones);
  },
  onMap: (state) => map.show(state),
});
