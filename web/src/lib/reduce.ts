/** The stream reducer: a reply and one event give the next reply, or tell of a gap. */

import { joinPart } from './parts';
import type { Delta, Message, Part, StreamEvent } from './types';

/** Some event was lost on the way: reconnect after the last seq that was seen. */
export class Gap extends Error {
  constructor(expected: number, got: number) {
    super(`expected event ${expected}, got ${got}`);
    this.name = 'Gap';
  }
}

function applyDelta(message: Message, delta: Delta): Message {
  if (delta.seq <= message.seq) return message; // replayed: already in the text
  if (delta.seq !== message.seq + 1) throw new Gap(message.seq + 1, delta.seq);
  const parts: Part[] = message.parts.slice();
  parts[delta.index] = joinPart(parts[delta.index], delta.part);
  return { ...message, parts, seq: delta.seq };
}

/**
 * Applies events in order.
 *
 * @throws Gap when an event is missing between two others. What came before is lost with the
 * throw, so callers apply events one by one where they want to keep it.
 */
export function reduce(message: Message, event: StreamEvent): Message {
  return event.kind === 'delta' ? applyDelta(message, event.delta) : event.message;
}
