/** Reads a streaming answer aloud, in whole sentences and not too often. */

import { textOf } from '../lib/parts';
import { lastSentenceEnd, spoken } from '../lib/sentences';
import { text as words } from '../text';
import type { Entry, Thread } from './thread.svelte';
import { ui } from './ui.svelte';

const PAUSE_MS = 2000;

class Reader {
  #at: number;
  #said = 0;

  constructor(private readonly entry: Entry) {
    this.#at = textOf(entry.message.parts).length; // what stood there before is not news
  }

  /** Says what was finished since the last time; gives whether the answer goes on. */
  tick(): boolean {
    const message = this.entry.message;
    const whole = textOf(message.parts);
    const running = message.status === 'running';
    if (running && Date.now() - this.#said < PAUSE_MS) return true;
    const end = running ? lastSentenceEnd(whole, this.#at) : whole.length;
    const news = spoken(whole.slice(this.#at, end));
    if (running && !news) return true;
    this.#at = end;
    this.#said = Date.now();
    ui.spoken = running ? news : `${news} ${outcome(message.status)}`.trim();
    return running;
  }
}

function outcome(status: string): string {
  if (status === 'done') return words.answered;
  if (status === 'stopped') return words.stopped;
  return status === 'interrupted' ? words.interrupted : words.failed;
}

/** To be called while a component is set up: speaks as long as it lives. */
export function speak(thread: () => Thread): void {
  const running = $derived(thread().running);
  $effect(() => {
    const entry = running;
    if (!entry) return;
    const reader = new Reader(entry);
    const timer = setInterval(() => reader.tick(), PAUSE_MS / 4);
    return () => {
      clearInterval(timer);
      if (entry.message.status !== 'running') reader.tick();
    };
  });
}
