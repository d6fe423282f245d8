// QR codes (ISO/IEC 18004), drawn here so that a secret is shown to nobody else: bytes, error correction level M, versions 1 to 15.

// Of each version, from 1: codewords that correct errors in a block, and blocks.
const CORRECTION = [10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24];
const BLOCKS = [1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10];

const MASKS = [
  (x, y) => (x + y) % 2,
  (x, y) => y % 2,
  (x) => x % 3,
  (x, y) => (x + y) % 3,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2,
  (x, y) => ((x * y) % 2) + ((x * y) % 3),
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2,
];

// The modules of a text's code, row by row, true where they are dark. Null where the text is too long.
export function encode(text) {
  const bytes = new TextEncoder().encode(text);
  const version = CORRECTION.findIndex((_, i) => bits(bytes, i + 1) <= dataCodewords(i + 1) * 8) + 1;
  if (!version) return null;
  const words = interleave(codewords(bytes, version), version);
  const candidates = MASKS.map((_, mask) => draw(words, version, mask));
  const penalties = candidates.map(penalty);
  return candidates[penalties.indexOf(Math.min(...penalties))];
}

// The code as an SVG picture, with the quiet zone around it.
export function picture(text, label) {
  const modules = encode(text);
  if (!modules) return null;
  const size = modules.length + 8;
  const svg = (tag, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };
  const dark = modules.flatMap((row, y) => row.map((module, x) => (module ? `M${x + 4} ${y + 4}h1v1h-1z` : "")));
  const view = svg("svg", { viewBox: `0 0 ${size} ${size}`, class: "qr", role: "img", "aria-label": label, "shape-rendering": "crispEdges" });
  view.append(svg("rect", { width: size, height: size, fill: "#fff" }), svg("path", { d: dark.join(""), fill: "#000" }));
  return view;
}

const lengthBits = (version) => (version < 10 ? 8 : 16);
const bits = (bytes, version) => 4 + lengthBits(version) + bytes.length * 8;

function allCodewords(version) {
  let modules = (16 * version + 128) * version + 64;
  if (version >= 2) {
    const marks = Math.floor(version / 7) + 2;
    modules -= (25 * marks - 10) * marks - 55;
    if (version >= 7) modules -= 36;
  }
  return Math.floor(modules / 8);
}

const dataCodewords = (version) => allCodewords(version) - CORRECTION[version - 1] * BLOCKS[version - 1];

// Mode, length and bytes, filled up.
function codewords(bytes, version) {
  const stream = [];
  const push = (value, count) => {
    for (let bit = count - 1; bit >= 0; bit--) stream.push((value >>> bit) & 1);
  };
  push(4, 4);
  push(bytes.length, lengthBits(version));
  bytes.forEach((byte) => push(byte, 8));
  const room = dataCodewords(version) * 8;
  push(0, Math.min(4, room - stream.length));
  push(0, (8 - (stream.length % 8)) % 8);
  for (let pad = 0xec; stream.length < room; pad ^= 0xec ^ 0x11) push(pad, 8);
  return Array.from({ length: stream.length / 8 }, (_, i) => stream.slice(i * 8, i * 8 + 8).reduce((sum, bit) => sum * 2 + bit, 0));
}

// Splits into blocks, adds what corrects each, and takes one codeword of each block in turn.
function interleave(data, version) {
  const [count, correction] = [BLOCKS[version - 1], CORRECTION[version - 1]];
  const short = Math.floor(data.length / count);
  const longer = data.length % count;
  const divisor = generator(correction);
  const blocks = [];
  for (let block = 0, at = 0; block < count; block++) {
    const length = short + (block >= count - longer ? 1 : 0);
    const part = data.slice(at, at + length);
    blocks.push({ part, rest: remainder(part, divisor) });
    at += length;
  }
  const taken = [];
  for (let i = 0; i <= short; i++) blocks.forEach(({ part }) => i < part.length && taken.push(part[i]));
  for (let i = 0; i < correction; i++) blocks.forEach(({ rest }) => taken.push(rest[i]));
  return taken;
}

// The product in the field of 256 elements of x^8 + x^4 + x^3 + x^2 + 1.
function multiply(a, b) {
  let product = 0;
  for (let bit = 7; bit >= 0; bit--) {
    product = (product << 1) ^ ((product >>> 7) * 0x11d);
    product ^= ((b >>> bit) & 1) * a;
  }
  return product;
}

function generator(degree) {
  const result = [...Array(degree - 1).fill(0), 1];
  for (let i = 0, root = 1; i < degree; i++, root = multiply(root, 2)) {
    for (let j = 0; j < degree; j++) result[j] = multiply(result[j], root) ^ (result[j + 1] ?? 0);
  }
  return result;
}

function remainder(data, divisor) {
  const result = divisor.map(() => 0);
  for (const word of data) {
    const factor = word ^ result.shift();
    result.push(0);
    divisor.forEach((coefficient, i) => (result[i] ^= multiply(coefficient, factor)));
  }
  return result;
}

function draw(words, version, mask) {
  const size = version * 4 + 17;
  const modules = Array.from({ length: size }, () => Array(size).fill(false));
  const fixed = Array.from({ length: size }, () => Array(size).fill(false));
  const set = (x, y, dark) => {
    modules[y][x] = Boolean(dark);
    fixed[y][x] = true;
  };
  for (let i = 0; i < size; i++) {
    set(6, i, i % 2 === 0);
    set(i, 6, i % 2 === 0);
  }
  const rings = (cx, cy, reach, dark) => {
    for (let dy = -reach; dy <= reach; dy++) {
      for (let dx = -reach; dx <= reach; dx++) {
        const [x, y] = [cx + dx, cy + dy];
        if (x >= 0 && x < size && y >= 0 && y < size) set(x, y, dark(Math.max(Math.abs(dx), Math.abs(dy))));
      }
    }
  };
  for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]]) rings(x, y, 4, (ring) => ring !== 2 && ring !== 4);
  const marks = places(version, size);
  const last = marks.length - 1;
  marks.forEach((x, i) =>
    marks.forEach((y, j) => {
      const isFinder = (i === 0 && j === 0) || (i === 0 && j === last) || (i === last && j === 0);
      if (!isFinder) rings(x, y, 2, (ring) => ring !== 1);
    }),
  );
  drawFormat(set, size, mask);
  if (version >= 7) drawVersion(set, size, version);
  // Upwards and downwards in turn, two columns at a time, from the right.
  let bit = 0;
  for (let right = size - 1; right >= 1; right -= 2) {
    if (right === 6) right = 5;
    for (let step = 0; step < size; step++) {
      for (const x of [right, right - 1]) {
        const y = ((right + 1) & 2) === 0 ? size - 1 - step : step;
        if (fixed[y][x]) continue;
        const dark = bit < words.length * 8 && ((words[bit >>> 3] >>> (7 - (bit & 7))) & 1) === 1;
        modules[y][x] = dark !== (MASKS[mask](x, y) === 0);
        bit++;
      }
    }
  }
  return modules;
}

// The centres of the alignment marks, along either side.
function places(version, size) {
  if (version === 1) return [];
  const count = Math.floor(version / 7) + 2;
  const step = Math.floor((version * 8 + count * 3 + 5) / (count * 4 - 4)) * 2;
  const from = Array.from({ length: count - 1 }, (_, i) => size - 7 - i * step);
  return [6, ...from.reverse()];
}

// Level M (00) and the mask, twice, with what corrects them.
function drawFormat(set, size, mask) {
  let rest = mask;
  for (let i = 0; i < 10; i++) rest = (rest << 1) ^ ((rest >>> 9) * 0x537);
  const code = ((mask << 10) | rest) ^ 0x5412;
  const bit = (i) => (code >>> i) & 1;
  for (let i = 0; i <= 5; i++) set(8, i, bit(i));
  set(8, 7, bit(6));
  set(8, 8, bit(7));
  set(7, 8, bit(8));
  for (let i = 9; i < 15; i++) set(14 - i, 8, bit(i));
  for (let i = 0; i < 8; i++) set(size - 1 - i, 8, bit(i));
  for (let i = 8; i < 15; i++) set(8, size - 15 + i, bit(i));
  set(8, size - 8, true);
}

function drawVersion(set, size, version) {
  let rest = version;
  for (let i = 0; i < 12; i++) rest = (rest << 1) ^ ((rest >>> 11) * 0x1f25);
  const code = (version << 12) | rest;
  for (let i = 0; i < 18; i++) {
    const [a, b] = [size - 11 + (i % 3), Math.floor(i / 3)];
    set(a, b, (code >>> i) & 1);
    set(b, a, (code >>> i) & 1);
  }
}

// How hard a code is to read, by the standard's four rules: long runs, squares, false finders, more of one kind.
function penalty(modules) {
  const size = modules.length;
  let sum = 0;
  let dark = 0;
  for (let i = 0; i < size; i++) {
    for (const line of [modules[i], modules.map((row) => row[i])]) {
      let run = 0;
      for (let j = 0; j < size; j++) {
        run = j && line[j] === line[j - 1] ? run + 1 : 1;
        if (run === 5) sum += 3;
        else if (run > 5) sum += 1;
      }
      const text = line.map(Number).join("");
      for (let j = 0; j + 11 <= size; j++) {
        const part = text.slice(j, j + 11);
        if (part === "10111010000" || part === "00001011101") sum += 40;
      }
    }
    dark += modules[i].filter(Boolean).length;
  }
  for (let y = 0; y + 1 < size; y++) {
    for (let x = 0; x + 1 < size; x++) {
      const one = modules[y][x];
      if (one === modules[y][x + 1] && one === modules[y + 1][x] && one === modules[y + 1][x + 1]) sum += 3;
    }
  }
  return sum + Math.floor(Math.abs((dark * 20) / (size * size) - 10)) * 10;
}
