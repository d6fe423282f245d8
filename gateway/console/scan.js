// What the node's own search for doubled and lost items found last.

import { count, many, uptime } from "./format.js";

// Findings that are shown; /api/scan has more of them, and how each came about.
const SHOWN_MAX = 5;

export class Scan {
  #node;
  #ask;

  constructor(node, ask) {
    this.#node = node;
    this.#ask = ask;
  }

  // What cannot be fetched is shown as it was: the link says that the node is gone.
  async look() {
    const standing = await this.#ask().catch(() => null);
    if (!standing) return;
    const { last, error } = standing;
    const found = last?.findings_total ?? 0;
    this.#node.dataset.mood = found ? "bad" : error ? "warn" : "good";
    const lines = last?.findings.slice(0, SHOWN_MAX).map(({ what }) => what) ?? [];
    if (found > lines.length) lines.push(`and ${count(found - lines.length)} more: see /api/scan`);
    this.#node.textContent = [headline(last, error), ...lines].join("\n");
  }
}

function headline(last, error) {
  const failed = error ? `Items could not be compared with the ledger: ${error}` : "";
  if (!last) return failed || "Items have not been compared with the ledger yet";
  const ago = uptime(Math.max(0, (Date.now() - last.began_unix_ms) / 1000));
  const outcome = last.findings_total ? `${many(last.findings_total, "finding")}` : "nothing doubled or lost";
  return [`${many(last.items, "item")} compared with the ledger ${ago} ago: ${outcome}`, failed].filter(Boolean).join(" · ");
}
