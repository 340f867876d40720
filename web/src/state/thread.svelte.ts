/** The open conversation: its active path, and what a person does to it. */

import { ApiError, api, failureFrom } from '../lib/api';
import { newId } from '../lib/ids';
import { textOf } from '../lib/parts';
import type { Conversation, Failure, Message, Thread as Loaded } from '../lib/types';
import { follow } from './follow';

/** A message in the page. Only what changes is drawn again. */
export class Entry {
  message = $state.raw() as Message;
  /** Set while the server has not confirmed a message, and after it could not be sent. */
  delivery = $state<'sent' | 'sending' | 'failed'>('sent');
  failure = $state.raw<Failure | null>(null);
  /** Whether its stream is followed. */
  live = $state(false);
  /** The id of the answer to a message of the person: sending again asks for the same one. */
  readonly replyId = newId();

  constructor(message: Message) {
    this.message = message;
  }
}

function draft(role: Message['role'], id: string, parent: string | null, text: string): Message {
  return {
    id, parent_id: parent, role, model: null, seq: 0, error: null, generation_id: null,
    status: role === 'user' ? 'done' : 'running', receipt: null, siblings: [id],
    parts: text ? [{ type: 'text', text }] : [], created_ms: Date.now(),
  };
}

export interface ThreadEvents {
  /** Title, model or running state of the conversation may have changed. */
  changed(conversation: Conversation): void;
  /** The first message of a new conversation is on its way. */
  created(conversation: Conversation): void;
  /** Something happened after which title and order of the list may be new. */
  stale(): void;
  signedOut(): void;
}

export class Thread {
  readonly id: string;
  conversation = $state.raw<Conversation | null>(null);
  entries = $state.raw<Entry[]>([]);
  phase = $state<'new' | 'loading' | 'ready' | 'failed'>('new');
  failure = $state.raw<Failure | null>(null);
  /** A failed action (stop, regenerate, ...); shown until the next one. */
  notice = $state.raw<Failure | null>(null);
  reconnecting = $state(false);
  #events: ThreadEvents;
  #closed = new AbortController();

  running = $derived(this.entries.findLast((entry) => entry.message.status === 'running') ?? null);

  constructor(id: string | null, events: ThreadEvents) {
    this.id = id ?? newId();
    this.#events = events;
    if (id !== null) void this.load();
  }

  /** Reads the conversation from the server and follows what runs. */
  async load(): Promise<void> {
    if (this.phase === 'new' || this.phase === 'failed') this.phase = 'loading';
    try {
      this.#take(await api.thread(this.id));
      this.phase = 'ready';
    } catch (error) {
      this.#blame(error, (failure) => {
        this.failure = failure;
        this.phase = 'failed';
      });
    }
  }

  /** Leaves the conversation. Its replies go on at the server. */
  close(): void {
    this.#closed.abort();
  }

  async send(text: string, model: string): Promise<void> {
    const parent = this.entries.at(-1)?.message.id ?? null;
    const entry = new Entry(draft('user', newId(), parent, text));
    await this.#deliver(entry, text, model);
  }

  /** Sends a message again that did not arrive; its ids are kept, so nothing comes twice. */
  async retry(entry: Entry, model: string): Promise<void> {
    this.discard(entry);
    await this.#deliver(entry, textOf(entry.message.parts), model);
  }

  /** Takes back a message that did not arrive. */
  discard(entry: Entry): void {
    this.entries = this.entries.filter((other) => other !== entry);
  }

  async stop(): Promise<void> {
    const entry = this.running;
    if (entry) await this.#act(() => api.stop(this.id, entry.message.id));
  }

  async regenerate(entry: Entry, model: string): Promise<void> {
    await this.#act(async () => {
      const reply = await api.regenerate(this.id, entry.message.id, newId(), model);
      const at = this.entries.indexOf(entry);
      this.#append(this.entries.slice(0, at), reply);
    });
  }

  async resume(entry: Entry): Promise<void> {
    await this.#act(async () => {
      entry.message = await api.resume(this.id, entry.message.id);
      void this.#follow(entry);
    });
  }

  async showSibling(id: string): Promise<void> {
    await this.#act(async () => this.#take(await api.setHead(this.id, id)));
  }

  async change(change: { title?: string; model?: string }): Promise<void> {
    await this.#act(async () => {
      this.#changed(await api.changeConversation(this.id, change));
    });
  }

  #take(loaded: Loaded): void {
    const held = new Map(this.entries.map((entry) => [entry.message.id, entry]));
    this.entries = loaded.messages.map((message) => {
      const entry = held.get(message.id);
      if (!entry) return new Entry(message);
      const behind = entry.live && message.status === 'running' && message.seq < entry.message.seq;
      if (!behind) entry.message = message;
      return entry;
    });
    this.#changed(loaded.conversation);
    for (const entry of this.entries) {
      if (entry.message.status === 'running' && !entry.live) void this.#follow(entry);
    }
  }

  async #deliver(entry: Entry, text: string, model: string): Promise<void> {
    const reply = new Entry(draft('assistant', entry.replyId, entry.message.id, ''));
    entry.delivery = 'sending';
    entry.failure = null;
    this.notice = null;
    this.entries = [...this.entries, entry, reply];
    this.phase = 'ready';
    const { id, parent_id } = entry.message;
    try {
      if (this.conversation === null) {
        const made = await api.createConversation(this.id, model);
        this.conversation = made;
        this.#events.created(made);
      }
      const turn = { id, reply_id: reply.message.id, parent_id, text, model };
      const made = await api.send(this.id, turn);
      entry.message = made.message;
      entry.delivery = 'sent';
      reply.message = made.reply;
      this.#changed({ ...this.conversation, running: true, updated_ms: Date.now() });
      this.#events.stale();
      void this.#follow(reply);
    } catch (error) {
      this.entries = this.entries.filter((other) => other !== reply);
      entry.delivery = 'failed';
      this.#blame(error, (failure) => (entry.failure = failure));
    }
  }

  #append(before: Entry[], reply: Message): void {
    const entry = new Entry(reply);
    this.entries = [...before, entry];
    if (this.conversation) this.#changed({ ...this.conversation, running: true });
    void this.#follow(entry);
  }

  async #follow(entry: Entry): Promise<void> {
    if (entry.message.status !== 'running') return;
    entry.live = true;
    try {
      const show = (message: Message) => (entry.message = message);
      const connecting = (waiting: boolean) => (this.reconnecting = waiting);
      const ended = await follow(this.id, entry.message, { show, connecting }, this.#closed.signal);
      if (ended) this.#events.stale();
      entry.live = false;
    } catch (error) {
      entry.live = false;
      // The place in the stream is gone, as after a crash: what is stored stands.
      if (error instanceof ApiError && error.status === 404) await this.load();
      else this.#blame(error, (failure) => (this.notice = failure));
    } finally {
      this.reconnecting = false;
    }
  }

  #changed(conversation: Conversation): void {
    this.conversation = conversation;
    this.#events.changed(conversation);
  }

  async #act(work: () => Promise<unknown>): Promise<void> {
    this.notice = null;
    try {
      await work();
    } catch (error) {
      this.#blame(error, (failure) => (this.notice = failure));
    }
  }

  #blame(error: unknown, tell: (failure: Failure) => void): void {
    if (error instanceof ApiError && error.status === 401) this.#events.signedOut();
    else tell(failureFrom(error));
  }
}
