/**
 * Talks to the store. Every request carries the visitor's token, every repeat of one its idempotency key, and every error
 * arrives as a `Problem` with words for people.
 */
import { t, hasText } from "./i18n.js";

/** Who shops and who works here may be two people in one browser: the app and the other pages have a token each. */
const TOKEN = location.pathname === "/" ? "tillfree.token" : "tillfree.work";
const WAITS_MS = [300, 1000, 3000];
const LONGEST_PAUSE_MS = 10_000;

/** What went wrong, as the store says it (RFC 9457), or that it could not be reached (status 0). */
export class Problem extends Error {
  /** @param {number} status @param {string} title @param {string} [detail] @param {string} [type] @param {any} [errors] */
  constructor(status, title, detail = "", type = "about:blank", errors = []) {
    super(detail || title);
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.type = type;
    /** @type {{where: string, problem: string}[]} */
    this.errors = errors ?? [];
  }

  /** In the visitor's language where the page has words for it, else as the store says it. */
  get text() {
    const name = this.type.split(":").at(-1) ?? "";
    for (const key of [`problem.${name}`, `problem.${this.status}`]) if (hasText(key)) return t(key);
    return this.detail || this.title;
  }
}

/** The visitor's token; null if nobody is signed in. */
export function token() {
  return localStorage.getItem(TOKEN);
}

/** Remember who is signed in; null signs out. @param {string | null} secret */
export function setToken(secret) {
  if (secret === null) localStorage.removeItem(TOKEN);
  else localStorage.setItem(TOKEN, secret);
  window.dispatchEvent(new CustomEvent("signed"));
}

/**
 * Ask the store.
 * @param {string} method
 * @param {string} path Such as `/v1/receipts`.
 * @param {{body?: unknown, key?: string, signal?: AbortSignal, headers?: Record<string, string>, raw?: BodyInit}} [options]
 *   `key` is an idempotency key: with one the request is tried again when the network fails, as any GET is.
 * @returns {Promise<Response>} An answer that is good.
 */
export async function request(method, path, options = {}) {
  /** @type {Record<string, string>} */
  const headers = { ...options.headers };
  const secret = token();
  if (secret) headers.authorization = `Bearer ${secret}`;
  if (options.body !== undefined) headers["content-type"] = "application/json";
  if (options.key) headers["idempotency-key"] = options.key;
  const repeatable = method === "GET" || options.key !== undefined;
  for (let attempt = 0; ; attempt++) {
    let answer;
    try {
      answer = await fetch(path, {
        method,
        headers,
        body: options.body === undefined ? options.raw : JSON.stringify(options.body),
        signal: options.signal,
        cache: "no-store",
      });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      if (repeatable && attempt < WAITS_MS.length) {
        await pause(WAITS_MS[attempt]);
        continue;
      }
      throw new Problem(0, t("problem.0"));
    }
    if (answer.ok) return answer;
    if (repeatable && attempt < WAITS_MS.length && [502, 503, 504].includes(answer.status)) {
      await pause(WAITS_MS[attempt]);
      continue;
    }
    throw await problemOf(answer);
  }
}

/** @param {Response} answer */
async function problemOf(answer) {
  let said;
  try {
    said = await answer.json();
  } catch {
    said = {};
  }
  if (answer.status === 401 && token()) setToken(null);
  return new Problem(answer.status, said.title ?? answer.statusText, said.detail, said.type, said.errors);
}

/** Get something as JSON. @param {string} path @param {{signal?: AbortSignal}} [options] @returns {Promise<any>} */
export async function get(path, options) {
  return (await request("GET", path, options)).json();
}

/**
 * Send something as JSON; the answer as JSON, null if there is none. What creates or moves money wants a `key` (`newKey()`),
 * made once for what the visitor meant to do and not once a try.
 * @param {string} method @param {string} path @param {unknown} [body]
 * @param {{key?: string, signal?: AbortSignal, headers?: Record<string, string>}} [options] @returns {Promise<any>}
 */
export async function send(method, path, body, options = {}) {
  const answer = await request(method, path, { ...options, body });
  return answer.status === 204 ? null : answer.json();
}

/** A picture or clip as an address for `src`; give it to `URL.revokeObjectURL` when it is no longer shown. @param {string} path */
export async function picture(path) {
  return URL.createObjectURL(await (await request("GET", path)).blob());
}

/** All entries of a list that comes in pages, up to a limit. @param {string} path @param {number} [most] @returns {Promise<any[]>} */
export async function all(path, most = 500) {
  const found = [];
  let cursor = null;
  do {
    const mark = path.includes("?") ? "&" : "?";
    const page = await get(cursor === null ? path : `${path}${mark}cursor=${encodeURIComponent(cursor)}`);
    found.push(...page.items);
    cursor = page.next_cursor ?? null;
  } while (cursor !== null && found.length < most);
  return found;
}

/** A fresh idempotency key. */
export function newKey() {
  // Not randomUUID, which a page without encryption, as on a shop's own network, does not have.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {number} ms */
function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * Follow a stream of server-sent events (WHATWG HTML, 9.2) with the visitor's token, which `EventSource` cannot send. It
 * comes back by itself after a break, with `Last-Event-ID`, and says so.
 */
export class Stream {
  #abort = new AbortController();

  /**
   * @param {string} path
   * @param {(event: string, data: any) => void} hear
   * @param {(state: "open" | "lost" | "ended", problem?: Problem) => void} [tell] `lost` while it tries again.
   */
  constructor(path, hear, tell = () => {}) {
    this.path = path;
    this.hear = hear;
    this.tell = tell;
    this.lastId = "";
    this.#run();
  }

  /** Stop. */
  close() {
    this.#abort.abort();
  }

  async #run() {
    for (let failures = 0; !this.#abort.signal.aborted; ) {
      try {
        /** @type {Record<string, string>} */
        const headers = { accept: "text/event-stream" };
        if (this.lastId) headers["last-event-id"] = this.lastId;
        const answer = await request("GET", this.path, { headers, signal: this.#abort.signal });
        failures = 0;
        this.tell("open");
        if (await this.#read(/** @type {ReadableStream<Uint8Array>} */ (answer.body))) {
          this.tell("ended");
          return;
        }
      } catch (error) {
        if (this.#abort.signal.aborted) return;
        if (error instanceof Problem && error.status >= 400 && error.status < 500 && error.status !== 429) {
          this.tell("ended", error);
          return;
        }
      }
      if (this.#abort.signal.aborted) return;
      this.tell("lost");
      await pause(Math.min(500 * 2 ** failures++, LONGEST_PAUSE_MS) * (0.75 + Math.random() / 2));
    }
  }

  /** @param {ReadableStream<Uint8Array>} body @returns {Promise<boolean>} Whether the store said that this was all. */
  async #read(body) {
    const reader = body.pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return false;
      rest += value;
      const blocks = rest.split(/\r\n\r\n|\n\n|\r\r/);
      rest = blocks.pop() ?? "";
      for (const block of blocks) if (this.#take(block)) return true;
    }
  }

  /** @param {string} block */
  #take(block) {
    let event = "message";
    const data = [];
    for (const line of block.split(/\r\n|\n|\r/)) {
      const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line) ?? ["", "", ""];
      if (field === "event") event = value;
      else if (field === "data") data.push(value);
      else if (field === "id") this.lastId = value;
    }
    if (!data.length) return false;
    this.hear(event, JSON.parse(data.join("\n")));
    return event === "end";
  }
}
