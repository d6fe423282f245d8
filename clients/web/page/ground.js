// The ground of a zone, drawn once a piece of 32 by 32 tiles and kept while it is near.

const PIECE_TILES = 32;
const PIECES_MAX = 24;

/** Hue, saturation and lightness of open ground and water, and how much the lightness wavers. @type {Record<string, [number, number, number, number]>} */
const INKS = {
  ".": [158, 22, 13.5, 2.6],
  ",": [33, 13, 19.5, 2],
  ":": [221, 16, 18, 1.6],
  "~": [200, 58, 17.5, 2.4],
};
const [WALL_TOP, WALL_SIDE, WALL_LIGHT] = ["#4b5668", "#2c3441", "#647187"];

/** The same number, 0 to 1, for the same tile. @param {number} x @param {number} y @param {number} salt */
function noise(x, y, salt = 0) {
  let n = Math.imul(x, 374761393) ^ Math.imul(y, 668265263) ^ Math.imul(salt, 1442695041);
  n = Math.imul(n ^ (n >>> 13), 1274126177);
  return ((n ^ (n >>> 16)) >>> 0) / 2 ** 32;
}

/** The same between tiles: without edges, so that ground wavers over some tiles at a time. @param {number} x @param {number} y */
function waver(x, y) {
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const [u, v] = [x - left, y - top];
  const row = (/** @type {number} */ dy) => noise(left, top + dy, 9) * (1 - u) + noise(left + 1, top + dy, 9) * u;
  return row(0) * (1 - v) + row(1) * v;
}

/** @import { TileMap } from "/client/motion.js" */

export class Ground {
  /** @type {Map<string, OffscreenCanvas>} */
  #pieces = new Map();
  #scale = 0;

  /** @param {TileMap} map */
  constructor(map) {
    this.map = map;
  }

  /**
   * Draws what is in view.
   * @param {CanvasRenderingContext2D} g
   * @param {number} left Tiles from the western edge at the canvas's left.
   * @param {number} top
   * @param {number} scale Pixels a tile, a whole number.
   */
  draw(g, left, top, scale) {
    if (scale !== this.#scale) {
      this.#pieces.clear();
      this.#scale = scale;
    }
    const side = PIECE_TILES * scale;
    const { width, height } = g.canvas;
    for (let y = Math.floor(top / PIECE_TILES); (y * PIECE_TILES - top) * scale < height; y++) {
      for (let x = Math.floor(left / PIECE_TILES); (x * PIECE_TILES - left) * scale < width; x++) {
        g.drawImage(this.#piece(x, y), Math.round((x * PIECE_TILES - left) * scale), Math.round((y * PIECE_TILES - top) * scale), side, side);
      }
    }
  }

  /** The whole zone, a pixel a tile. */
  picture() {
    const { width, height, tiles } = this.map;
    const image = new ImageData(width, height);
    const inks = { ".": [27, 42, 36], ",": [70, 62, 52], ":": [46, 52, 65], "#": [98, 111, 132], T: [34, 80, 63], "~": [22, 66, 88] };
    tiles.forEach((tile, at) => {
      const ink = inks[/** @type {keyof typeof inks} */ (String.fromCharCode(tile))] ?? inks["#"];
      image.data.set([...ink, 255], at * 4);
    });
    const picture = new OffscreenCanvas(width, height);
    picture.getContext("2d")?.putImageData(image, 0, 0);
    return picture;
  }

  /** @param {number} x @param {number} y */
  #piece(x, y) {
    const key = `${x},${y}`;
    const known = this.#pieces.get(key);
    // Taken out and put back, so that the first of all is the one not drawn for longest.
    this.#pieces.delete(key);
    const piece = known ?? this.#paint(x * PIECE_TILES, y * PIECE_TILES);
    this.#pieces.set(key, piece);
    if (this.#pieces.size > PIECES_MAX) this.#pieces.delete([...this.#pieces.keys()][0]);
    return piece;
  }

  /** @param {number} left @param {number} top */
  #paint(left, top) {
    const s = this.#scale;
    const piece = new OffscreenCanvas(PIECE_TILES * s, PIECE_TILES * s);
    const g = /** @type {OffscreenCanvasRenderingContext2D} */ (piece.getContext("2d"));
    g.translate(-left * s, -top * s);
    /** @param {(x: number, y: number, tile: string) => void} paint */
    const each = (paint) => {
      // One tile beyond the edges: what stands there reaches in.
      for (let y = top - 1; y <= top + PIECE_TILES; y++) {
        for (let x = left - 1; x <= left + PIECE_TILES; x++) paint(x, y, this.map.tile(x, y));
      }
    };
    each((x, y, tile) => this.#floor(g, x, y, tile));
    each((x, y, tile) => {
      if (tile === "#") this.#wall(g, x, y);
      else if (tile === "T") this.#tree(g, x, y);
    });
    return piece;
  }

  /** @param {OffscreenCanvasRenderingContext2D} g @param {number} x @param {number} y @param {string} tile */
  #floor(g, x, y, tile) {
    const s = this.#scale;
    const [hue, saturation, lightness, amount] = INKS[tile] ?? INKS[this.#around(x, y)];
    const light = lightness + amount * (1.5 * waver(x / 5, y / 5) + 0.5 * noise(x, y) - 1);
    g.fillStyle = `hsl(${hue} ${saturation}% ${light}%)`;
    g.fillRect(x * s, y * s, s, s);
    if (tile === ".") {
      g.fillStyle = "#2b4337";
      for (let i = 0; i < 3; i++) {
        if (noise(x, y, i + 1) > 0.6) g.fillRect((x + noise(x, y, i + 4)) * s, (y + noise(x, y, i + 7)) * s, s / 14, s / 5);
      }
    } else if (tile === ":") {
      g.strokeStyle = "#1f242e";
      g.lineWidth = Math.max(1, s / 24);
      g.strokeRect(x * s, y * s, s, s);
    } else if (tile === "~") {
      g.fillStyle = "#2a6a86";
      for (const [dx, dy, w, h] of [[0, -1, s, s / 8], [0, 1, s, s / 8], [-1, 0, s / 8, s], [1, 0, s / 8, s]]) {
        if (!"~#".includes(this.map.tile(x + dx, y + dy))) g.fillRect(x * s + (dx > 0 ? s - w : 0), y * s + (dy > 0 ? s - h : 0), w, h);
      }
      if (noise(x, y, 2) > 0.7) g.fillRect((x + 0.2) * s, (y + noise(x, y, 3)) * s, s * 0.4, s / 18);
    }
  }

  /** What kind of open ground a blocked tile stands on. @param {number} x @param {number} y @returns {"." | "," | ":"} */
  #around(x, y) {
    const near = [[0, 1], [1, 0], [-1, 0], [0, -1]].map(([dx, dy]) => this.map.tile(x + dx, y + dy));
    return near.includes(":") && !near.includes(".") ? ":" : ".";
  }

  /** @param {OffscreenCanvasRenderingContext2D} g @param {number} x @param {number} y */
  #wall(g, x, y) {
    const s = this.#scale;
    const isWall = (/** @type {number} */ dx, /** @type {number} */ dy) => this.map.tile(x + dx, y + dy) === "#";
    g.fillStyle = WALL_TOP;
    g.fillRect(x * s, y * s, s, s);
    if (!isWall(0, 1)) {
      g.fillStyle = WALL_SIDE;
      g.fillRect(x * s, (y + 0.55) * s, s, s * 0.45 + 1);
      g.fillStyle = "#0006";
      g.fillRect(x * s, (y + 1) * s, s, s * 0.22);
    }
    g.fillStyle = WALL_LIGHT;
    if (!isWall(0, -1)) g.fillRect(x * s, y * s, s, Math.max(1, s / 14));
    if (!isWall(-1, 0)) g.fillRect(x * s, y * s, Math.max(1, s / 20), isWall(0, 1) ? s : s * 0.55);
  }

  /** @param {OffscreenCanvasRenderingContext2D} g @param {number} x @param {number} y */
  #tree(g, x, y) {
    const s = this.#scale;
    const [cx, cy] = [(x + 0.42 + 0.16 * noise(x, y, 5)) * s, (y + 0.4 + 0.16 * noise(x, y, 6)) * s];
    const radius = s * (0.52 + 0.16 * noise(x, y, 7));
    const hue = 150 + 16 * waver(x / 7, y / 7) + 10 * noise(x, y, 8);
    const blob = (/** @type {number} */ dx, /** @type {number} */ dy, /** @type {number} */ share, /** @type {string} */ ink) => {
      g.fillStyle = ink;
      g.beginPath();
      g.arc(cx + dx * radius, cy + dy * radius, radius * share, 0, 2 * Math.PI);
      g.fill();
    };
    blob(0.16, 0.32, 1, "#0006");
    blob(0, 0, 1, `hsl(${hue} 38% 14%)`);
    // Leaves in three heaps, the lightest towards the light.
    const turn = 6.28 * noise(x, y, 10);
    for (let i = 0; i < 3; i++) {
      const angle = turn + i * 2.1;
      blob(0.36 * Math.cos(angle) - 0.06, 0.36 * Math.sin(angle) - 0.08, 0.56, `hsl(${hue} 36% ${18 + 2 * i}%)`);
    }
    blob(-0.22, -0.26, 0.34, `hsl(${hue} 34% 26%)`);
  }
}
