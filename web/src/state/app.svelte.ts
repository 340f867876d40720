/** The whole page: who is signed in, where we are, what is open. */

import { ApiError, api, failureFrom } from '../lib/api';
import { readRoute, routePath, type Route } from '../lib/route';
import type { Conversation, Failure, Session } from '../lib/types';
import { ConversationList } from './list.svelte';
import { Thread } from './thread.svelte';

const MODEL_KEY = 'headrace.model';

export class App {
  phase = $state<'loading' | 'ready' | 'signed-out' | 'failed'>('loading');
  failure = $state.raw<Failure | null>(null);
  session = $state.raw<Session | null>(null);
  readonly list = new ConversationList(() => this.#signedOut());
  thread = $state.raw() as Thread;
  #chosenModel = $state<string | null>(localStorage.getItem(MODEL_KEY));

  /** The model that answers next: the conversation's, else the chosen one, else the default. */
  model = $derived.by(() => {
    const models = this.session?.models ?? [];
    const wanted = this.thread.conversation?.model ?? this.#chosenModel;
    const known = models.find((model) => model.id === wanted) ?? null;
    return known?.id ?? this.session?.default_model ?? models[0]?.id ?? null;
  });

  constructor() {
    this.thread = this.#open(null);
    addEventListener('popstate', () => this.#show(readRoute(location.pathname)));
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden && this.phase === 'ready') void this.#catchUp();
    });
  }

  async start(): Promise<void> {
    this.phase = 'loading';
    try {
      this.session = await api.session();
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) return this.#signedOut();
      this.failure = failureFrom(error);
      this.phase = 'failed';
      return;
    }
    this.phase = 'ready';
    this.#show(readRoute(location.pathname));
    await this.list.refresh();
  }

  /** Goes to a place and remembers the way back. */
  go(route: Route): void {
    const path = routePath(route);
    if (path !== location.pathname) history.pushState(null, '', path);
    this.#show(route);
  }

  newChat(): void {
    this.go({ name: 'new' });
  }

  chooseModel(id: string): void {
    this.#chosenModel = id;
    localStorage.setItem(MODEL_KEY, id);
    if (this.thread.conversation) void this.thread.change({ model: id });
  }

  async rename(id: string, title: string): Promise<void> {
    if (id === this.thread.id) return this.thread.change({ title });
    this.list.put(await api.changeConversation(id, { title }));
  }

  async remove(id: string): Promise<void> {
    await api.deleteConversation(id);
    this.list.drop(id);
    if (id === this.thread.id) {
      history.replaceState(null, '', routePath({ name: 'new' }));
      this.#show({ name: 'new' });
    }
  }

  async signOut(): Promise<void> {
    await api.signOut();
    sessionStorage.clear();
    this.#signedOut();
  }

  #show(route: Route): void {
    const id = route.name === 'chat' ? route.id : null;
    if (id !== null && id === this.thread.id) return;
    if (id === null && this.thread.phase === 'new') return;
    this.thread.close();
    this.thread = this.#open(id);
  }

  #open(id: string | null): Thread {
    return new Thread(id, {
      changed: (conversation) => this.list.put(conversation),
      created: (conversation) => this.#created(conversation),
      stale: () => void this.#refresh(),
      signedOut: () => this.#signedOut(),
    });
  }

  #created(conversation: Conversation): void {
    this.list.put(conversation);
    if (conversation.id !== this.thread.id) return; // the person went elsewhere meanwhile
    history.pushState(null, '', routePath({ name: 'chat', id: conversation.id }));
  }

  /** Another device may have been at work while this page was hidden. */
  async #catchUp(): Promise<void> {
    if (this.thread.phase === 'ready' && !this.thread.running) void this.thread.load();
    await this.list.refresh();
  }

  async #refresh(): Promise<void> {
    await this.list.refresh();
    const thread = this.thread;
    thread.conversation = this.list.find(thread.id) ?? thread.conversation;
  }

  #signedOut(): void {
    this.thread.close();
    this.session = null;
    this.phase = 'signed-out';
  }
}
