import { describe, expect, it } from 'vitest';
import { BlockStream, renderWhole } from './blocks';
import { CORPUS } from './corpus';

/** Draws `text` pushed in `chunks` as a page would: finished blocks stay, the tail is replaced. */
function stream(chunks: readonly string[]): { live: string; final: string } {
  const blocks = new BlockStream();
  const kept: string[] = [];
  let tail = '';
  for (const chunk of chunks) {
    const drawn = blocks.push(chunk);
    kept.push(...drawn.finished);
    tail = drawn.tail;
  }
  const end = blocks.finish();
  const final = end.redrawn ? end.blocks.join('') : kept.join('') + end.blocks.join('');
  return { live: kept.join('') + tail, final };
}

describe.each(Object.entries(CORPUS))('%s', (_name, text) => {
  const whole = renderWhole(text);

  it('renders the same in one piece, and cut in two at every character', () => {
    for (let cut = 0; cut <= text.length; cut += 1) {
      expect(stream([text.slice(0, cut), text.slice(cut)]).final).toBe(whole);
    }
  });

  it('renders the same character by character', () => {
    expect(stream([...text]).final).toBe(whole);
  });

  it('shows at every moment what a whole render of the text so far would show', () => {
    const blocks = new BlockStream();
    let kept = '';
    let shown = '';
    for (const character of text) {
      const drawn = blocks.push(character);
      kept += drawn.finished.join('');
      shown += character;
      // A half CRLF is not shown yet; a later definition changes what is above it.
      if (character === '\r' || /\]:/.test(text)) continue;
      expect(kept + drawn.tail).toBe(renderWhole(shown));
    }
  });
});

it('never parses a finished block again', () => {
  const blocks = new BlockStream();
  const finished = [...'One.\n\nTwo.\n\nThree.\n\nFo'].flatMap((c) => blocks.push(c).finished);
  expect(finished).toEqual(['<p>One.</p>\n', '<p>Two.</p>\n']);
});
