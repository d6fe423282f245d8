// Where the player wants to go: keys held, a drag on the canvas as a stick, or a place that was clicked.

const FULL = 127;
/** A drag this far is full deflection; less than the first is a click. */
const STICK_PIXELS = 56;
const CLICK_PIXELS = 8;

/** @type {Record<string, [number, number]>} */
const KEYS = {
  KeyW: [0, -1], ArrowUp: [0, -1],
  KeyS: [0, 1], ArrowDown: [0, 1],
  KeyA: [-1, 0], ArrowLeft: [-1, 0],
  KeyD: [1, 0], ArrowRight: [1, 0],
};

/** Whether keys belong to somebody who types. @param {EventTarget | null} target */
const isTyping = (target) => target instanceof HTMLInputElement;

export class Controls {
  /** @type {Set<string>} */
  #held = new Set();
  /** @type {{ id: number, x: number, y: number, dx: number, dy: number, stick: boolean } | null} */
  #drag = null;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{ onClick: (x: number, y: number) => void, onMove: (pointer: { x: number, y: number } | null) => void,
   *   onSteer: () => void, onPickUp: () => void, onTalk: () => void }} listener
   */
  constructor(canvas, listener) {
    addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
      if (event.code in KEYS) {
        this.#held.add(event.code);
        listener.onSteer();
        event.preventDefault();
      } else if (event.target instanceof HTMLButtonElement) {
        return;
      } else if (event.code === "KeyE" || event.code === "Space") {
        if (!event.repeat) listener.onPickUp();
        event.preventDefault();
      } else if (event.code === "Enter" || event.code === "KeyT") {
        listener.onTalk();
        event.preventDefault();
      }
    });
    addEventListener("keyup", ({ code }) => this.#held.delete(code));
    addEventListener("blur", () => this.#held.clear());
    addEventListener("focusin", ({ target }) => isTyping(target) && this.#held.clear());

    canvas.addEventListener("pointerdown", (event) => {
      if (this.#drag || event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      canvas.focus({ preventScroll: true });
      this.#drag = { id: event.pointerId, x: event.clientX, y: event.clientY, dx: 0, dy: 0, stick: false };
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse") listener.onMove({ x: event.clientX, y: event.clientY });
      const drag = this.#drag;
      if (drag?.id !== event.pointerId) return;
      [drag.dx, drag.dy] = [event.clientX - drag.x, event.clientY - drag.y];
      if (!drag.stick && Math.hypot(drag.dx, drag.dy) > CLICK_PIXELS) {
        drag.stick = true;
        listener.onSteer();
      }
    });
    canvas.addEventListener("pointerleave", () => listener.onMove(null));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => {
        const { pointerId } = /** @type {PointerEvent} */ (event);
        if (this.#drag?.id !== pointerId) return;
        const { x, y, stick } = this.#drag;
        this.#drag = null;
        if (!stick && end === "pointerup") listener.onClick(x, y);
      });
    }
  }

  /** The heading asked for, ±127 an axis; null where none is. @returns {[number, number] | null} */
  heading() {
    if (this.#drag?.stick) {
      const { dx, dy } = this.#drag;
      const share = FULL / Math.max(Math.hypot(dx, dy), STICK_PIXELS);
      return [Math.trunc(dx * share), Math.trunc(dy * share)];
    }
    let [x, y] = [0, 0];
    for (const code of this.#held) {
      x += KEYS[code][0];
      y += KEYS[code][1];
    }
    return x || y ? [Math.sign(x) * FULL, Math.sign(y) * FULL] : null;
  }
}
