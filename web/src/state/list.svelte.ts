/** The list of conversations, newest first, read page by page. */

import { ApiError, api, failureFrom } from '../lib/api';
import type { Conversation, Failure } from '../lib/types';

const POLL_MS = 5000;

/** `held` with `fresh` put over it: each once, newest first. */
export function mergeConversations(
  held: readonly Conversation[], fresh: readonly Conversation[],
): Conversation[] {
  const byId = new Map([...held, ...fresh].map((item) => [item.id, item]));
  return [...byId.values()].sort(
    (a, b) => b.updated_ms - a.updated_ms || (a.id < b.id ? 1 : -1),
  );
}

export class ConversationList {
  items = $state.raw<Conversation[]>([]);
  phase = $state<'loading' | 'ready' | 'failed'>('loading');
  failure = $state.raw<Failure | null>(null);
  next = $state<string | null>(null);
  #busy = false;
  #poll: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly signedOut: () => void) {}

  /** Reads the newest page and puts it over what is held. */
  async refresh(): Promise<void> {
    await this.#read(null, (page) => {
      const first = this.phase !== 'ready';
      // What the newest page should show and does not was deleted elsewhere.
      const oldest = page.conversations.at(-1)?.updated_ms ?? -1;
      const kept = first || page.next === null
        ? [] : this.items.filter((item) => item.updated_ms < oldest);
      this.items = mergeConversations(kept, page.conversations);
      if (first || kept.length === 0) this.next = page.next;
    });
    clearTimeout(this.#poll);
    if (this.items.some((item) => item.running)) {
      this.#poll = setTimeout(() => void this.refresh(), POLL_MS);
    }
  }

  async more(): Promise<void> {
    if (this.next === null) return;
    await this.#read(this.next, (page) => {
      this.items = mergeConversations(this.items, page.conversations);
      this.next = page.next;
    });
  }

  put(conversation: Conversation): void {
    this.items = mergeConversations(this.items, [conversation]);
  }

  drop(id: string): void {
    this.items = this.items.filter((item) => item.id !== id);
  }

  find(id: string): Conversation | undefined {
    return this.items.find((item) => item.id === id);
  }

  async #read(
    before: string | null,
    take: (page: Awaited<ReturnType<typeof api.conversations>>) => void,
  ): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    try {
      take(await api.conversations(before));
      this.phase = 'ready';
      this.failure = null;
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) this.signedOut();
      this.failure = failureFrom(error);
      if (this.phase === 'loading') this.phase = 'failed';
    } finally {
      this.#busy = false;
    }
  }
}
