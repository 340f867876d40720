import { describe, expect, it } from 'vitest';
import { textOf } from './parts';
import { Gap, reduce } from './reduce';
import type { Message, StreamEvent } from './types';

const blank: Message = {
  id: 'm', parent_id: null, role: 'assistant', model: 'x', status: 'running', parts: [], seq: 0,
  error: null, generation_id: null, receipt: null, siblings: ['m'], created_ms: 0,
};
const delta = (seq: number, text: string, index = 0): StreamEvent => ({
  kind: 'delta', delta: { v: 1, seq, index, part: { type: 'text', text } },
});

describe('reduce', () => {
  it('appends text in order', () => {
    const message = [delta(1, 'a'), delta(2, 'b')].reduce(reduce, blank);
    expect(textOf(message.parts)).toBe('ab');
    expect(message.seq).toBe(2);
  });

  it('ignores what was replayed', () => {
    const message = [delta(1, 'a'), delta(1, 'a'), delta(2, 'b'), delta(1, 'a')].reduce(reduce, blank);
    expect(textOf(message.parts)).toBe('ab');
  });

  it('goes on from the seq a materialised message covers', () => {
    const loaded: Message = { ...blank, seq: 7, parts: [{ type: 'text', text: 'held' }] };
    expect(textOf(reduce(reduce(loaded, delta(7, 'x')), delta(8, '!')).parts)).toBe('held!');
  });

  it('refuses a gap', () => {
    expect(() => reduce(blank, delta(2, 'b'))).toThrow(Gap);
  });

  it('keeps parts of different kinds apart', () => {
    const think: StreamEvent = {
      kind: 'delta', delta: { v: 1, seq: 1, index: 0, part: { type: 'thinking', text: 'hm' } },
    };
    const message = [think, delta(2, 'yes', 1)].reduce(reduce, blank);
    expect(message.parts).toEqual([{ type: 'thinking', text: 'hm' }, { type: 'text', text: 'yes' }]);
  });

  it('takes the final message as it is', () => {
    const final: Message = { ...blank, status: 'done', seq: 9 };
    expect(reduce(blank, { kind: 'end', message: final })).toBe(final);
  });
});
