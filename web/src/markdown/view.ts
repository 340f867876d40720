/** One markdown text in the page: draws what is new, keeps what is finished. */

import { BlockStream } from './blocks';
import { highlightAll } from './highlight';
import { morph } from './morph';
import { safeNodes } from './safe';

export class MarkdownView {
  #blocks = new BlockStream();
  #shown = '';
  #ended = false;
  #finished: HTMLElement;
  #tail: HTMLElement;

  /** Draws into `host`, which it owns from now on. */
  constructor(host: HTMLElement) {
    this.#finished = document.createElement('div');
    this.#tail = document.createElement('div');
    host.replaceChildren(this.#finished, this.#tail);
  }

  /** Shows `text`; `ended` says that nothing will follow. Cheap where `text` only grew. */
  show(text: string, ended: boolean): void {
    if (text === this.#shown && ended === this.#ended) return;
    if (this.#ended || !text.startsWith(this.#shown)) this.#reset();
    if (text !== this.#shown) this.#grow(text.slice(this.#shown.length), ended);
    this.#shown = text;
    if (ended) this.#finish();
  }

  #reset(): void {
    this.#blocks = new BlockStream();
    this.#shown = '';
    this.#ended = false;
    this.#finished.replaceChildren();
    this.#tail.replaceChildren();
  }

  #grow(chunk: string, ended: boolean): void {
    const { finished, tail } = this.#blocks.push(chunk);
    for (const html of finished) this.#keep(html);
    if (!ended) morph(this.#tail, safeNodes(tail));
  }

  #finish(): void {
    this.#ended = true;
    const { redrawn, blocks } = this.#blocks.finish();
    if (redrawn) this.#finished.replaceChildren();
    this.#tail.replaceChildren();
    for (const html of blocks) this.#keep(html);
  }

  #keep(html: string): void {
    const nodes = safeNodes(html);
    const added = [...nodes.children];
    this.#finished.append(nodes);
    for (const element of added) void highlightAll(element);
  }
}
