/** The shopper's app. */
import { html, nothing } from "lit";
import { Problem, get, send, token } from "../common/api.js";
import { currentLanguage, startTexts, t } from "../common/i18n.js";
import { theStore } from "../common/session.js";
import { View, announce, place } from "../common/view.js";
import "./home.js";
import "./me.js";
import { icon } from "./pieces.js";
import "./receipts.js";
import { setTheme, theme } from "./theme.js";

/** @typedef {import("../common/session.js").Account} Account */

const ACCOUNT = "tillfree.account";

class ShopperApp extends View {
  static properties = { store: { state: true }, account: { state: true }, problem: { state: true }, offline: { state: true } };

  constructor() {
    super();
    /** @type {import("../common/session.js").Store | undefined} */
    this.store = undefined;
    /** @type {Account | null | undefined} */
    this.account = undefined;
    /** @type {Problem | undefined} */
    this.problem = undefined;
    this.offline = !navigator.onLine;
    this.addEventListener("account", (event) => this.keep(/** @type {CustomEvent} */ (event).detail));
    window.addEventListener("signed", () => this.load());
    window.addEventListener("language", () => this.tellLanguage());
    window.addEventListener("online", () => {
      this.offline = false;
      this.load();
    });
    window.addEventListener("offline", () => (this.offline = true));
    window.addEventListener("hashchange", async () => {
      this.requestUpdate();
      await this.updateComplete;
      // The view below draws itself after this one.
      requestAnimationFrame(() => announce(this));
      window.scrollTo(0, 0);
    });
    this.load();
  }

  async load() {
    try {
      this.store = await theStore();
      this.problem = undefined;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.problem = error;
      return;
    }
    if (!token()) {
      localStorage.removeItem(ACCOUNT);
      this.account = null;
      return;
    }
    const known = localStorage.getItem(ACCOUNT);
    // What was known last is drawn at once: the code must be there without a network.
    if (known) this.account = JSON.parse(known);
    try {
      this.keep(await get("/v1/account"));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (!known) this.problem = error;
    }
  }

  /** @param {Account} account */
  keep(account) {
    localStorage.setItem(ACCOUNT, JSON.stringify(account));
    this.account = account;
  }

  /** Letters and receipts are written in the language that is chosen here. */
  tellLanguage() {
    const locale = currentLanguage();
    if (!this.account || !token() || this.account.locale === locale) return;
    send("PATCH", "/v1/account", { locale }).then(
      (account) => this.keep(account),
      () => undefined,
    );
  }

  view() {
    const { path } = place();
    const account = /** @type {Account} */ (this.account);
    const store = /** @type {import("../common/session.js").Store} */ (this.store);
    if (path[0] === "receipts" && path[1]) return html`<one-receipt .visit=${path[1].slice(0, 36)} data-key=${path[1]}></one-receipt>`;
    if (path[0] === "receipts") return html`<past-visits></past-visits>`;
    if (path[0] === "me") return html`<shopper-account .account=${account} .store=${store}></shopper-account>`;
    return html`<shopper-home .account=${account} .isDemo=${store.is_demo}></shopper-home>`;
  }

  render() {
    const here = place().path[0] ?? "";
    const items = /** @type {const} */ ([["", "code"], ["receipts", "visits"], ["me", "me"]]);
    return html`<a class="skip" href="#main" @click=${(/** @type {Event} */ event) => {
        event.preventDefault();
        this.querySelector("h1")?.focus();
      }}>${t("skip")}</a>
      ${this.offline ? html`<p class="offline" role="status" data-test="offline">${t("connection.offline")}</p>` : nothing}
      <header class="top"><span class="brand"><img src="/static/icons/icon.svg" alt="" width="28" height="28" /> <bdi>${this.store?.name ?? "Tillfree"}</bdi></span>
        ${this.store?.is_demo ? html`<span class="badge warn">${t("demo")}</span>` : nothing}
        ${this.account === null ? html`<language-choice></language-choice>` : nothing}</header>
      <main id="main">
        ${this.problem && !this.account
          ? html`<div class="notice bad" role="alert"><p>${this.problem.text}</p><button class="button" @click=${() => this.load()}>${t("again")}</button></div>`
          : this.account === undefined
            ? html`<div class="skeleton" role="status" aria-label=${t("loading")}></div>`
            : this.account === null
              ? html`<div class="stack"><h1>${t("welcome.title")}</h1><p class="muted">${t("welcome.text")}</p><sign-in-form .opens=${true}></sign-in-form></div>`
              : this.view()}
      </main>
      ${this.account
        ? html`<nav class="bottom" aria-label=${t("nav.label")}>
            ${items.map(([path, name]) => html`<a href="#/${path}" aria-current=${here === path ? "page" : nothing} data-test="nav-${name}">${icon(name)}<span>${t(`nav.${name}`)}</span></a>`)}
          </nav>`
        : nothing}`;
  }
}

setTheme(theme());
await startTexts(["shopper"]);
customElements.define("shopper-app", ShopperApp);
if ("serviceWorker" in navigator) navigator.serviceWorker.register("/sw.js").catch(console.warn);
