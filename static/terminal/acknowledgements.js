/**
 * Flow control: tells the server which output has been dealt with, neither too late (it stops sending after its window)
 * nor for every key's echo.
 *
 * Law: an offset is acknowledged only when everything before it was dealt with; acknowledged offsets only grow.
 */

/** The server waits at 512 KiB past the last acknowledgement, so this leaves it three more steps. */
const STEP_BYTES = 128 * 1024;
/** When nothing more is coming, the rest is acknowledged after so long. */
const IDLE_MS = 200;

export class Acknowledgements {
  #send;
  #acknowledged = 0;
  #done = 0;
  #received = 0;
  #timer;

  /** @param {(offset: number) => void} send sends one acknowledgement */
  constructor(send) {
    this.#send = send;
  }

  /** The first output message starts at `offset`. */
  startAt(offset) {
    this.#acknowledged = this.#done = this.#received = offset;
  }

  /** Output up to `offset` has arrived. */
  received(offset) {
    this.#received = offset;
  }

  /** Output up to `offset`, and all before it, has been dealt with. */
  dealtWith(offset) {
    this.#done = Math.max(this.#done, offset);
    if (this.#done - this.#acknowledged >= STEP_BYTES) this.#acknowledge();
    else if (this.#done === this.#received) this.#timer ??= setTimeout(() => this.#acknowledge(), IDLE_MS);
  }

  /** Sends nothing more. */
  stop() {
    clearTimeout(this.#timer);
    this.#send = () => {};
  }

  #acknowledge() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#done === this.#acknowledged) return;
    this.#acknowledged = this.#done;
    this.#send(this.#done);
  }
}
