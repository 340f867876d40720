/** Unsent text, kept in this tab over reloads. */

const key = (place: string) => `headrace.draft.${place}`;

export function readDraft(place: string): string {
  return sessionStorage.getItem(key(place)) ?? '';
}

export function writeDraft(place: string, text: string): void {
  if (text === '') sessionStorage.removeItem(key(place));
  else sessionStorage.setItem(key(place), text);
}
