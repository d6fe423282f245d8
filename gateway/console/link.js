// The WebSocket to the node: opened again, ever more patiently, whenever it ends.

const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 15000;

export class Link {
  #socket = null;
  #zone = null;
  #retryMs = RETRY_MS_MIN;

  // `onState` hears "connecting", "live" or "reconnecting"; `onStats` a message's object; `onMap` an ArrayBuffer.
  constructor({ onState, onStats, onMap, prepare }) {
    Object.assign(this, { onState, onStats, onMap, prepare });
    this.onState("connecting");
    this.#open();
  }

  get isLive() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  watch(zone) {
    this.#zone = zone;
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ zone }));
  }

  async #open() {
    try {
      await this.prepare();
    } catch {
      this.#retry();
      return;
    }
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/stream`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#retryMs = RETRY_MS_MIN;
      this.onState("live");
      if (this.#zone !== null) this.watch(this.#zone);
    };
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.onStats(JSON.parse(data)) : this.onMap(data));
    socket.onclose = () => this.#retry();
    this.#socket = socket;
  }

  #retry() {
    this.onState("reconnecting", this.#retryMs);
    setTimeout(() => this.#open(), this.#retryMs * (0.75 + Math.random() / 2));
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS_MAX);
  }
}
