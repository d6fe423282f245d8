// Where the crowds are: marks counted in square cells, drawn as a soft overlay from cool to warm.

const CELLS_ACROSS = 64;
const STOPS = [[30, 58, 104], [36, 92, 138], [52, 148, 152], [238, 180, 96], [255, 92, 66]];

// shown: kind => whether it counts.
export function drawDensity(g, marks, shown, { width, height }, unitsPerTile, left, top, scale) {
  const tiles = Math.max(1, Math.ceil(Math.max(width, height) / CELLS_ACROSS));
  const columns = Math.ceil(width / tiles);
  const rows = Math.ceil(height / tiles);
  let counts = new Float32Array(columns * rows);
  for (let i = 0; i < marks.length; i += 3) {
    if (!shown(marks[i + 2] & 0xff)) continue;
    const column = Math.min(Math.floor(marks[i] / unitsPerTile / tiles), columns - 1);
    const row = Math.min(Math.floor(marks[i + 1] / unitsPerTile / tiles), rows - 1);
    counts[row * columns + column]++;
  }
  for (let pass = 0; pass < 2; pass++) counts = spread(counts, columns, rows);
  const most = Math.max(1, ...counts);
  const image = new ImageData(columns, rows);
  counts.forEach((n, i) => image.data.set(ink(n / most), i * 4));
  const picture = new OffscreenCanvas(columns, rows);
  picture.getContext("2d").putImageData(image, 0, 0);
  g.imageSmoothingEnabled = true;
  g.imageSmoothingQuality = "high";
  g.drawImage(picture, left, top, columns * tiles * scale, rows * tiles * scale);
}

// Each cell as the mean of its neighbourhood, so that a crowd is one warm place and not many cells.
function spread(counts, columns, rows) {
  return counts.map((_, cell) => {
    const [column, row] = [cell % columns, Math.floor(cell / columns)];
    let sum = 0;
    let cells = 0;
    for (let y = Math.max(row - 1, 0); y <= Math.min(row + 1, rows - 1); y++) {
      for (let x = Math.max(column - 1, 0); x <= Math.min(column + 1, columns - 1); x++) {
        sum += counts[y * columns + x];
        cells++;
      }
    }
    return sum / cells;
  });
}

function ink(heat) {
  const place = heat * (STOPS.length - 1);
  const lower = Math.min(Math.floor(place), STOPS.length - 2);
  const mix = STOPS[lower].map((from, i) => from + (STOPS[lower + 1][i] - from) * (place - lower));
  return [...mix, 230 * Math.min(1, heat * 1.5)];
}
