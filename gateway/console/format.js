// Numbers as people read them, and colours as the style sheet names them.

const styles = getComputedStyle(document.documentElement);

export const colour = (name) => styles.getPropertyValue(`--${name}`).trim();

export const count = (n) => (n == null ? "–" : Math.round(n).toLocaleString("en-GB").replaceAll(",", "\u202f"));

export const many = (n, one) => `${count(n)} ${one}${n === 1 ? "" : "s"}`;

export function duration(us) {
  if (us == null) return "–";
  return us < 1000 ? `${us < 10 ? us.toFixed(1) : Math.round(us)} µs` : `${(us / 1000).toFixed(us < 10000 ? 2 : 1)} ms`;
}

export function bytes(n) {
  if (n == null) return "–";
  const power = Math.min(Math.max(Math.floor(Math.log2(n) / 10), 0), 3);
  const value = n / 1024 ** power;
  return `${power && value < 10 ? value.toFixed(1) : Math.round(value)} ${["B", "KiB", "MiB", "GiB"][power]}`;
}

// A round number on an axis: the same unit, and no more digits than it needs.
export const onAxis = (format) => (value) => format(value).replace(/\.0+ /, " ");

export function uptime(seconds) {
  const s = Math.floor(seconds);
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([size]) => s >= size);
  if (first < 0) return "0 s";
  return parts
    .slice(first, first + 2)
    .map(([size, unit], i) => `${Math.floor((i ? s % parts[first][0] : s) / size)} ${unit}`)
    .join(" ");
}

export function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}
