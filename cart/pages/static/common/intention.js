/** What somebody means to do that takes several requests. */
import { Problem, newKey } from "./api.js";

/** One intention: each of its parts is done once, under one idempotency key, however often it is tried. */
export class Intention {
  /** @type {Map<string, {content: string, key: string, answer?: Promise<any>}>} */
  #parts = new Map();

  /**
   * Do a part, unless it was done before with the same content.
   * @template T @param {string} name @param {unknown} content What is sent; another content is another thing to do.
   * @param {(key: string) => Promise<T>} act @returns {Promise<T>} The answer, also of before.
   */
  async once(name, content, act) {
    const text = JSON.stringify(content);
    let part = this.#parts.get(name);
    if (part?.content !== text) this.#parts.set(name, (part = { content: text, key: newKey() }));
    if (part.answer) return part.answer;
    try {
      const answer = await act(part.key);
      part.answer = Promise.resolve(answer);
      return answer;
    } catch (error) {
      // A refusal would be repeated under the same key; what may still be under way, or was not heard of, keeps its key.
      if (error instanceof Problem && error.status >= 400 && error.status < 500 && error.status !== 409) this.#parts.delete(name);
      throw error;
    }
  }
}
