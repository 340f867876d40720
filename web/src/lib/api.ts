/** The typed client of the chat's HTTP contract. Every failure is an ApiError. */

import { readPart } from './parts';
import { FrameReader, type Frame } from './sse';
import type {
  Conversation, ConversationPage, Delta, Failure, Message, Session, StreamEvent, Thread,
} from './types';

/** What went wrong, in the server's words where it has any. `status` 0: it was not reached. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly failure: Failure,
  ) {
    super(failure.message);
    this.name = 'ApiError';
  }
}

export type Method = 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE';

const UNREACHED: Failure = {
  kind: 'unreachable',
  message: 'The server cannot be reached.',
  hint: 'Check that Headrace is running and that you are connected.',
};

async function failureOf(response: Response): Promise<Failure> {
  try {
    const body = (await response.json()) as { error?: Partial<Failure> };
    if (body.error?.message) {
      const { kind = 'internal', message, hint = null } = body.error;
      return { kind, message, hint };
    }
  } catch {
    // Not our JSON: something between us and the server answered.
  }
  return { kind: 'internal', message: `The server answered with status ${response.status}.` };
}

async function call(path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { credentials: 'same-origin', cache: 'no-store', ...init });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError(0, UNREACHED);
  }
  if (!response.ok) throw new ApiError(response.status, await failureOf(response));
  return response;
}

/** The JSON answer to a request; null where it has none. */
export async function ask<T>(
  method: Method, path: string, body?: unknown, read: (text: string) => T = JSON.parse,
): Promise<T> {
  const init: RequestInit =
    body === undefined
      ? { method }
      : { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const response = await call(path, init);
  const text = await response.text();
  return text ? read(text) : (null as T);
}

/** Parts come from a wire that may know more kinds than we do. */
function readMessage(message: Message): Message {
  return { ...message, parts: message.parts.map(readPart) };
}

function readThread(thread: Thread): Thread {
  return { ...thread, messages: thread.messages.map(readMessage) };
}

function readEvent(frame: Frame): StreamEvent | null {
  if (frame.event === 'delta') {
    const delta = JSON.parse(frame.data) as Delta;
    return { kind: 'delta', delta: { ...delta, part: readPart(delta.part) } };
  }
  if (frame.event === 'end') {
    const end = JSON.parse(frame.data) as { message: Message };
    return { kind: 'end', message: readMessage(end.message) };
  }
  return null; // a kind from a newer server
}

const chats = '/chat/conversations';
const chat = (id: string) => `${chats}/${id}`;
const messages = (id: string) => `${chat(id)}/messages`;

export const api = {
  session: () => ask<Session>('GET', '/chat/session'),

  signOut: () => ask<null>('POST', '/chat/sign-out'),

  conversations: (before: string | null) =>
    ask<ConversationPage>(
      'GET',
      `${chats}?limit=50${before === null ? '' : `&before=${encodeURIComponent(before)}`}`,
    ),

  createConversation: (id: string, model: string) =>
    ask<Conversation>('POST', chats, { id, model }),

  thread: async (id: string) => readThread(await ask<Thread>('GET', chat(id))),

  changeConversation: (id: string, change: { title?: string; model?: string }) =>
    ask<Conversation>('PATCH', chat(id), change),

  deleteConversation: (id: string) => ask<null>('DELETE', chat(id)),

  async send(
    conversation: string,
    turn: { id: string; reply_id: string; parent_id: string | null; text: string; model: string },
  ): Promise<{ message: Message; reply: Message }> {
    const made = await ask<{ message: Message; reply: Message }>(
      'POST', messages(conversation), turn,
    );
    return { message: readMessage(made.message), reply: readMessage(made.reply) };
  },

  async regenerate(conversation: string, message: string, replyId: string, model: string) {
    const path = `${messages(conversation)}/${message}/regenerate`;
    const made = await ask<{ reply: Message }>('POST', path, { reply_id: replyId, model });
    return readMessage(made.reply);
  },

  async resume(conversation: string, message: string) {
    const path = `${messages(conversation)}/${message}/continue`;
    return readMessage((await ask<{ reply: Message }>('POST', path)).reply);
  },

  stop: (conversation: string, message: string) =>
    ask<unknown>('POST', `${messages(conversation)}/${message}/stop`),

  setHead: async (conversation: string, message: string) =>
    readThread(await ask<Thread>('PUT', `${chat(conversation)}/head`, { message_id: message })),

  /** The events of a reply after `after`, until its end or until the connection closes. */
  async *stream(
    conversation: string, message: string, after: number, signal: AbortSignal,
  ): AsyncGenerator<StreamEvent> {
    const path = `${messages(conversation)}/${message}/stream?after=${after}`;
    const headers = { accept: 'text/event-stream', 'last-event-id': String(after) };
    const response = await call(path, { headers, signal });
    const body = response.body?.getReader();
    const reader = new FrameReader();
    for (let chunk = await body?.read(); chunk?.value; chunk = await body?.read()) {
      for (const frame of reader.feed(chunk.value)) {
        const event = readEvent(frame);
        if (event) yield event;
      }
    }
  },
};

/** Any thrown thing as words for the person. */
export function failureFrom(error: unknown): Failure {
  if (error instanceof ApiError) return error.failure;
  return { kind: 'internal', message: error instanceof Error ? error.message : String(error) };
}
