import { describe, expect, it } from 'vitest';
import { FrameReader, type Frame } from './sse';

const STREAM =
  ': hello\n\nid: 1\nevent: delta\ndata: {"t":"grüß 💧"}\n\n' +
  'id: 2\r\nevent: delta\r\ndata: a\r\ndata: b\r\n\r\n' +
  ':\n\nevent: ignored without data\n\ndata\n\nid: 3\nevent: end\ndata: {}\n\n';
const FRAMES: Frame[] = [
  { event: 'delta', data: '{"t":"grüß 💧"}', id: '1' },
  { event: 'delta', data: 'a\nb', id: '2' },
  { event: 'message', data: '', id: '2' },
  { event: 'end', data: '{}', id: '3' },
];

describe('FrameReader', () => {
  it('reads the same events wherever the bytes are cut', () => {
    const bytes = new TextEncoder().encode(STREAM);
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      const reader = new FrameReader();
      const frames = [...reader.feed(bytes.slice(0, cut)), ...reader.feed(bytes.slice(cut))];
      expect(frames).toEqual(FRAMES);
    }
  });

  it('reads the same events byte by byte', () => {
    const reader = new FrameReader();
    const bytes = new TextEncoder().encode(STREAM);
    expect([...bytes].flatMap((byte) => reader.feed(Uint8Array.of(byte)))).toEqual(FRAMES);
  });

  it('holds back an event that is not whole', () => {
    expect(new FrameReader().feed(new TextEncoder().encode('data: x\n'))).toEqual([]);
  });
});
