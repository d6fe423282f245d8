// MessagePack, as far as the protocols use it: nil, booleans, integers, texts, bytes, lists and maps; and floats, which only servers send.

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/**
 * @typedef {null | boolean | number | bigint | string | Uint8Array | Packable[] | { [name: string]: Packable }} Packable
 */

/**
 * The bytes of a value. Numbers must be whole; one that is not safe must be given as a bigint.
 * @param {Packable} value
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function encode(value) {
  const out = new Writer();
  out.value(value);
  return out.bytes.slice(0, out.length);
}

/**
 * The value of bytes, which must be all of it. Integers that a number cannot hold exactly come as bigints.
 * @param {Uint8Array} bytes
 * @returns {any}
 */
export function decode(bytes) {
  const reader = new Reader(bytes);
  const value = reader.value();
  if (reader.at !== bytes.length) throw new RangeError("bytes follow the value");
  return value;
}

class Writer {
  bytes = new Uint8Array(64);
  view = new DataView(this.bytes.buffer);
  length = 0;

  /** Makes room and gives where it begins. @param {number} count */
  #room(count) {
    const at = this.length;
    this.length += count;
    if (this.length > this.bytes.length) {
      const larger = new Uint8Array(Math.max(this.length, 2 * this.bytes.length));
      larger.set(this.bytes);
      this.bytes = larger;
      this.view = new DataView(larger.buffer);
    }
    return at;
  }

  /** @param {number} marker @param {number} width @param {number} number */
  #head(marker, width, number) {
    const at = this.#room(1 + width);
    this.view.setUint8(at, marker);
    if (width === 1) this.view.setUint8(at + 1, number);
    else if (width === 2) this.view.setUint16(at + 1, number);
    else if (width === 4) this.view.setUint32(at + 1, number);
  }

  /** A length, by the shortest of its forms. @param {number} length @param {[number, number, number][]} forms */
  #length(length, forms) {
    const form = forms.find(([most]) => length <= most);
    if (!form) throw new RangeError("too long for MessagePack");
    const [, marker, width] = form;
    this.#head(width ? marker : marker | length, width, length);
  }

  /** @param {Uint8Array} bytes */
  #append(bytes) {
    const at = this.#room(bytes.length);
    this.bytes.set(bytes, at);
  }

  /** @param {number} number */
  #integer(number) {
    if (!Number.isSafeInteger(number)) throw new RangeError(`${number} is no whole number, or not exact`);
    if (number >= 0) {
      if (number < 0x80) this.#head(number, 0, 0);
      else if (number <= 0xff) this.#head(0xcc, 1, number);
      else if (number <= 0xffff) this.#head(0xcd, 2, number);
      else if (number <= 0xffffffff) this.#head(0xce, 4, number);
      else this.#wide(BigInt(number));
    } else if (number >= -0x20) this.#head(number & 0xff, 0, 0);
    else if (number >= -0x80) this.#head(0xd0, 1, number);
    else if (number >= -0x8000) this.#head(0xd1, 2, number);
    else if (number >= -0x80000000) this.#head(0xd2, 4, number);
    else this.#wide(BigInt(number));
  }

  /** @param {bigint} number */
  #wide(number) {
    if (number !== (number < 0n ? BigInt.asIntN(64, number) : BigInt.asUintN(64, number))) {
      throw new RangeError(`${number} has more than 64 bits`);
    }
    const at = this.#room(9);
    this.view.setUint8(at, number < 0n ? 0xd3 : 0xcf);
    this.view.setBigUint64(at + 1, BigInt.asUintN(64, number));
  }

  /** @param {Packable} value */
  value(value) {
    if (value === null) this.#head(0xc0, 0, 0);
    else if (typeof value === "boolean") this.#head(value ? 0xc3 : 0xc2, 0, 0);
    else if (typeof value === "number") this.#integer(value);
    else if (typeof value === "bigint") this.#wide(value);
    else if (typeof value === "string") {
      const bytes = encoder.encode(value);
      this.#length(bytes.length, [[0x1f, 0xa0, 0], [0xff, 0xd9, 1], [0xffff, 0xda, 2], [0xffffffff, 0xdb, 4]]);
      this.#append(bytes);
    } else if (value instanceof Uint8Array) {
      this.#length(value.length, [[0xff, 0xc4, 1], [0xffff, 0xc5, 2], [0xffffffff, 0xc6, 4]]);
      this.#append(value);
    } else if (Array.isArray(value)) {
      this.#length(value.length, [[0xf, 0x90, 0], [0xffff, 0xdc, 2], [0xffffffff, 0xdd, 4]]);
      for (const one of value) this.value(one);
    } else {
      const fields = Object.entries(value);
      this.#length(fields.length, [[0xf, 0x80, 0], [0xffff, 0xde, 2], [0xffffffff, 0xdf, 4]]);
      for (const [name, one] of fields) {
        this.value(name);
        this.value(one);
      }
    }
  }
}

class Reader {
  at = 0;

  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Where so many bytes begin that are there. @param {number} count */
  #take(count) {
    const at = this.at;
    if (count > this.bytes.length - at) throw new RangeError("the value ends before it should");
    this.at += count;
    return at;
  }

  /** @param {number} width */
  #unsigned(width) {
    const at = this.#take(width);
    return width === 1 ? this.view.getUint8(at) : width === 2 ? this.view.getUint16(at) : this.view.getUint32(at);
  }

  /** @param {number} length */
  #bytes(length) {
    const at = this.#take(length);
    return this.bytes.subarray(at, at + length);
  }

  /** @param {number} length */
  #list(length) {
    const list = [];
    for (let i = 0; i < length; i++) list.push(this.value());
    return list;
  }

  /** @param {number} length */
  #map(length) {
    /** @type {[string, any][]} */
    const fields = [];
    for (let i = 0; i < length; i++) fields.push([String(this.value()), this.value()]);
    return Object.fromEntries(fields);
  }

  /** @returns {any} */
  value() {
    const marker = this.#unsigned(1);
    if (marker < 0x80) return marker;
    if (marker < 0x90) return this.#map(marker & 0xf);
    if (marker < 0xa0) return this.#list(marker & 0xf);
    if (marker < 0xc0) return decoder.decode(this.#bytes(marker & 0x1f));
    if (marker >= 0xe0) return marker - 0x100;
    switch (marker) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: case 0xc5: case 0xc6: return this.#bytes(this.#unsigned(1 << (marker - 0xc4)));
      case 0xcb: return this.view.getFloat64(this.#take(8));
      case 0xcc: case 0xcd: case 0xce: return this.#unsigned(1 << (marker - 0xcc));
      case 0xcf: return exact(this.view.getBigUint64(this.#take(8)));
      case 0xd0: return this.view.getInt8(this.#take(1));
      case 0xd1: return this.view.getInt16(this.#take(2));
      case 0xd2: return this.view.getInt32(this.#take(4));
      case 0xd3: return exact(this.view.getBigInt64(this.#take(8)));
      case 0xd9: case 0xda: case 0xdb: return decoder.decode(this.#bytes(this.#unsigned(1 << (marker - 0xd9))));
      case 0xdc: case 0xdd: return this.#list(this.#unsigned(2 << (marker - 0xdc)));
      case 0xde: case 0xdf: return this.#map(this.#unsigned(2 << (marker - 0xde)));
      default: throw new RangeError(`marker ${marker} is none of the protocol's`);
    }
  }
}

/** A number where that is exact. @param {bigint} wide @returns {number | bigint} */
function exact(wide) {
  const number = Number(wide);
  return Number.isSafeInteger(number) ? number : wide;
}
