/** UUID version 7 (RFC 9562): ids are made here, so that sending twice is safe. */

let lastMs = 0;
let counter = 0;

/** A fresh id. Ids of one page rise strictly, also within a millisecond. */
export function newId(nowMs: number = Date.now()): string {
  if (nowMs > lastMs) {
    lastMs = nowMs;
    counter = crypto.getRandomValues(new Uint8Array(1))[0] ?? 0;
  } else if (++counter > 0xfff) {
    lastMs += 1;
    counter = 0;
  }
  const random = crypto.getRandomValues(new Uint8Array(8));
  random[0] = ((random[0] ?? 0) & 0x3f) | 0x80;
  const tail = Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('');
  const head = lastMs.toString(16).padStart(12, '0') + '7' + counter.toString(16).padStart(3, '0');
  const hex = head + tail;
  return [8, 12, 16, 20, 32].map((end, at) => hex.slice([0, 8, 12, 16, 20][at], end)).join('-');
}
