/**
 * What views are built from: an element that draws itself into the page, so that one stylesheet and one accessibility tree
 * serve all; loading, empty and error states; the router; toasts; dialogs.
 */
import { LitElement, html, nothing, render } from "lit";
import { Problem } from "./api.js";
import { t } from "./i18n.js";

/** A view. It has no shadow root; it is drawn anew when the language changes. */
export class View extends LitElement {
  createRenderRoot() {
    return this;
  }

  #again = () => this.requestUpdate();

  connectedCallback() {
    super.connectedCallback();
    window.addEventListener("language", this.#again);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    window.removeEventListener("language", this.#again);
  }
}

/**
 * Something that is asked of the store: its value, that it is on its way, or what went wrong.
 * @template T
 */
export class Loaded {
  /** @type {T | undefined} */ value = undefined;
  /** @type {Problem | undefined} */ problem = undefined;
  loading = false;

  /** @param {LitElement} host Drawn anew when it changes. @param {(...args: any[]) => Promise<T>} ask */
  constructor(host, ask) {
    this.host = host;
    this.ask = ask;
    this.turn = 0;
  }

  /** Ask, or ask again; what was there stays until the answer comes. @param {any[]} args */
  async load(...args) {
    const turn = ++this.turn;
    this.args = args;
    this.loading = true;
    this.host.requestUpdate();
    try {
      const value = await this.ask(...args);
      if (turn !== this.turn) return;
      this.value = value;
      this.problem = undefined;
    } catch (error) {
      if (turn !== this.turn) return;
      this.problem = error instanceof Problem ? error : new Problem(-1, String(error));
      if (!(error instanceof Problem)) console.error(error);
    } finally {
      if (turn === this.turn) {
        this.loading = false;
        this.host.requestUpdate();
      }
    }
  }

  /**
   * Draw it: a skeleton, what went wrong with a way to try again, or its value.
   * @param {(value: T) => unknown} draw
   */
  show(draw) {
    const failed = this.problem
      ? html`<div class="notice bad" role="alert">
          <p>${this.problem.text}</p>
          <button class="button" @click=${() => this.load(...(this.args ?? []))}>${t("again")}</button>
        </div>`
      : nothing;
    if (this.value === undefined)
      return this.problem ? failed : html`<div class="skeleton" role="status" aria-label=${t("loading")}></div>`;
    return html`${failed}${draw(this.value)}`;
  }
}

/** What stands where there is nothing yet. @param {string} text @param {unknown} [more] */
export function empty(text, more = nothing) {
  return html`<div class="empty"><p>${text}</p>${more}</div>`;
}

/** Say something that goes away by itself. @param {string} text @param {"good" | "warn" | "bad" | ""} [kind] */
export function toast(text, kind = "good") {
  let place = document.getElementById("toasts");
  if (!place) {
    place = document.createElement("div");
    place.id = "toasts";
    place.setAttribute("role", "status");
    place.setAttribute("aria-live", "polite");
    document.body.append(place);
  }
  const note = document.createElement("div");
  note.className = `notice ${kind}`;
  note.textContent = text;
  place.append(note);
  setTimeout(() => note.remove(), 6000);
}

/**
 * Do something that was asked for, and say what went wrong if it did.
 * @template T @param {() => Promise<T>} act @returns {Promise<T | undefined>} Undefined if it failed.
 */
export async function attempt(act) {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    toast(error.text, "bad");
    return undefined;
  }
}

/**
 * Ask in a dialog.
 * @param {string} title @param {(close: (value?: any) => void) => unknown} draw What it holds; `close` ends it.
 * @returns {Promise<any>} What it was closed with; undefined if it was dismissed.
 */
export function ask(title, draw) {
  return new Promise((resolve) => {
    const dialog = document.createElement("dialog");
    const id = `dialog-${Math.random().toString(36).slice(2)}`;
    dialog.setAttribute("aria-labelledby", id);
    /** @type {any} */
    let answer;
    const close = (/** @type {any} */ value) => {
      answer = value;
      dialog.close();
    };
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
    document.body.append(dialog);
    render(html`<div class="stack"><h2 id=${id}>${title}</h2>${draw(close)}</div>`, dialog);
    dialog.showModal();
  });
}

/** Ask whether something is really meant. @param {string} title @param {string} text @param {string} yes @returns {Promise<boolean>} */
export async function confirmed(title, text, yes) {
  return (
    (await ask(
      title,
      (close) => html`<p>${text}</p>
        <div class="row">
          <button class="button danger" @click=${() => close(true)}>${yes}</button>
          <button class="button" autofocus @click=${() => close(false)}>${t("cancel")}</button>
        </div>`,
    )) === true
  );
}

/** Where one is: `#/receipts/12?x=1` is `{path: ["receipts", "12"], query}`. */
export function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { path: path.split("/").filter(Boolean).map(decodeURIComponent), query: new URLSearchParams(query) };
}

/** Go somewhere. @param {string} hash Such as `#/receipts`. */
export function go(hash) {
  location.hash = hash;
}

/**
 * Move the keyboard and the reader to the new view's heading, as a new page would.
 * @param {Element} root
 */
export function announce(root) {
  const heading = root.querySelector("h1");
  if (!heading) return;
  document.title = `${heading.textContent?.trim()} · Tillfree`;
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
}
