/** What the chat's HTTP contract carries. Unknown fields and kinds are kept, never refused. */

export type Part =
  | { type: 'text'; text: string }
  | { type: 'thinking'; text: string }
  | { type: 'tool_call'; id: string; name: string; arguments: string }
  | { type: 'unknown'; type_name: string; raw: unknown };

export type Status = 'running' | 'done' | 'interrupted' | 'stopped' | 'error';

/** The receipt of one answer. Money is integer nano-dollars. */
export interface Receipt {
  input_tokens: number;
  cached_tokens: number;
  output_tokens: number;
  first_token_ms: number | null;
  duration_ms: number | null;
  cost_nano: number;
  stop: string | null;
  release_digest?: string | null;
}

export interface Failure {
  kind: string;
  message: string;
  hint?: string | null;
}

/** One message of the tree. `seq` is the last stream event that `parts` already covers. */
export interface Message {
  id: string;
  parent_id: string | null;
  role: 'user' | 'assistant' | 'system';
  model: string | null;
  status: Status;
  parts: Part[];
  seq: number;
  error: Failure | null;
  generation_id: string | null;
  receipt: Receipt | null;
  siblings: string[];
  created_ms: number;
}

export interface Conversation {
  id: string;
  title: string;
  model: string;
  created_ms: number;
  updated_ms: number;
  running: boolean;
}

export interface Thread {
  conversation: Conversation;
  messages: Message[];
}

export interface Model {
  id: string;
  display_name: string;
  context_tokens: number | null;
  abilities: string[];
}

export interface Session {
  account: { id: string; name: string; role: string };
  organisation: { id: string; name: string };
  models: Model[];
  default_model: string | null;
  version: string;
}

export interface ConversationPage {
  conversations: Conversation[];
  next: string | null;
}

export interface Delta {
  v: number;
  seq: number;
  index: number;
  part: Part;
}

/** What a reply's stream says. */
export type StreamEvent =
  | { kind: 'delta'; delta: Delta }
  | { kind: 'end'; message: Message };
