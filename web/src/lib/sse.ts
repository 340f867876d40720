/** A reader of `text/event-stream` bytes (WHATWG HTML, section 9.2.6), cut anywhere. */

export interface Frame {
  event: string;
  data: string;
  id: string | null;
}

export class FrameReader {
  #decoder = new TextDecoder();
  #held = '';
  #event = '';
  #data: string[] = [];
  #id: string | null = null;

  /** Takes the next bytes; gives the events that are whole now. */
  feed(bytes: Uint8Array): Frame[] {
    this.#held += this.#decoder.decode(bytes, { stream: true });
    // A CR at the very end may be half of a CRLF: it waits for what follows.
    const complete = this.#held.endsWith('\r') ? this.#held.length - 1 : this.#held.length;
    const lines = this.#held.slice(0, complete).split(/\r\n|\n|\r/);
    this.#held = (lines.pop() ?? '') + this.#held.slice(complete);
    return lines.flatMap((line) => this.#line(line));
  }

  #line(line: string): Frame[] {
    if (line === '') return this.#dispatch();
    const colon = line.indexOf(':');
    if (colon === 0) return []; // a comment: keep-alive
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') this.#event = value;
    else if (field === 'data') this.#data.push(value);
    else if (field === 'id') this.#id = value;
    return [];
  }

  #dispatch(): Frame[] {
    const frame = { event: this.#event || 'message', data: this.#data.join('\n'), id: this.#id };
    const whole = this.#data.length > 0;
    this.#event = '';
    this.#data = [];
    return whole ? [frame] : [];
  }
}
