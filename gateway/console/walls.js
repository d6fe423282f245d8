// A zone's walls as a picture of one pixel a tile, drawn once and scaled from then on; the floor is what shows through.

import { colour } from "./format.js";

export class Walls {
  constructor(width, height, bits) {
    Object.assign(this, { width, height });
    const wall = (x, y) => {
      if (x < 0 || y < 0 || x >= width || y >= height) return true;
      const tile = y * width + x;
      return (bits[tile >> 3] >> (tile & 7)) & 1;
    };
    const inks = [0, packed(colour("wall")), packed(colour("wall-edge"))];
    const pixels = new Uint32Array(width * height);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const edge = !wall(x - 1, y) || !wall(x + 1, y) || !wall(x, y - 1) || !wall(x, y + 1);
        pixels[y * width + x] = inks[wall(x, y) ? 1 + edge : 0];
      }
    }
    this.picture = new OffscreenCanvas(width, height);
    const image = new ImageData(new Uint8ClampedArray(pixels.buffer), width, height);
    this.picture.getContext("2d").putImageData(image, 0, 0);
  }

  holds({ x, y }) {
    return x >= 0 && y >= 0 && x < this.width && y < this.height;
  }

  drawFloor(g, left, top, scale) {
    g.fillStyle = colour("floor");
    g.fillRect(left, top, Math.round(this.width * scale), Math.round(this.height * scale));
  }

  // Tiles of less than two pixels are smoothed: unsmoothed, some would be twice as wide as others.
  draw(g, left, top, scale) {
    g.imageSmoothingEnabled = scale < 2;
    g.imageSmoothingQuality = "high";
    g.drawImage(this.picture, left, top, Math.round(this.width * scale), Math.round(this.height * scale));
  }
}

// "#rrggbb" as a pixel of an ImageData on a little-endian machine.
function packed(hex) {
  const rgb = parseInt(hex.slice(1), 16);
  return ((0xff << 24) | ((rgb & 0xff) << 16) | (rgb & 0xff00) | (rgb >> 16)) >>> 0;
}
