/** The console of those who work on the floor: signing in, the navigation, and which view is shown. */
import { html, nothing, svg } from "lit";
import { get } from "../common/api.js";
import { startTexts, t } from "../common/i18n.js";
import { otherPages, signOut, theStore, whoIsHere } from "../common/session.js";
import { Loaded, View, announce, place } from "../common/view.js";
import { VIEWS, maySee, worksHere } from "./roles.js";
import "./cameras.js";
import "./disputes.js";
import "./floor.js";
import "./reviews.js";
import "./visits.js";

/** @typedef {import("./roles.js").ViewName} ViewName */

const COUNT_EVERY_MS = 15_000;

const ICONS = {
  floor: svg`<path d="M3 5h18v14H3zM3 12h6m3 0h9M12 5v4m0 6v4" />`,
  cameras: svg`<path d="M3 7h12v10H3zM15 11l6-3v8l-6-3" />`,
  visits: svg`<path d="M4 6h16M4 12h16M4 18h10" />`,
  reviews: svg`<path d="M12 3a9 9 0 1 0 9 9M8 11l4 4 9-10" />`,
  disputes: svg`<path d="M4 5h16v11H11l-5 4v-4H4zM12 8v3m0 2v.5" />`,
};

/** @param {keyof typeof ICONS} name */
function icon(name) {
  return html`<svg viewBox="0 0 24 24" width="24" height="24" fill="none" stroke="currentColor" stroke-width="2" stroke-linejoin="round" stroke-linecap="round" aria-hidden="true">${ICONS[name]}</svg>`;
}

class StaffConsole extends View {
  static properties = { path: { state: true }, waiting: { state: true } };

  constructor() {
    super();
    this.path = place().path;
    /** @type {number | null} */
    this.waiting = null;
    this.who = new Loaded(this, whoIsHere);
    this.store = new Loaded(this, theStore);
    this.shown = "";
  }

  connectedCallback() {
    super.connectedCallback();
    window.addEventListener("hashchange", this.#moved);
    window.addEventListener("signed", this.#signed);
    window.addEventListener("decided", this.#count);
    window.addEventListener("online", this.#again);
    window.addEventListener("offline", this.#again);
    this.timer = setInterval(this.#count, COUNT_EVERY_MS);
    void this.store.load();
    void this.who.load().then(this.#count);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    window.removeEventListener("hashchange", this.#moved);
    window.removeEventListener("signed", this.#signed);
    window.removeEventListener("decided", this.#count);
    window.removeEventListener("online", this.#again);
    window.removeEventListener("offline", this.#again);
    clearInterval(this.timer);
  }

  #again = () => this.requestUpdate();

  #moved = () => {
    this.path = place().path;
  };

  #signed = () => {
    this.who.value = undefined;
    void this.who.load().then(this.#count);
  };

  #count = async () => {
    const role = this.who.value?.role;
    if (!role || !maySee(role, "reviews") || document.hidden) return;
    try {
      const page = await get("/v1/reviews?limit=100");
      this.waiting = page.items.length;
    } catch {
      // The number is only a hint; the view itself says what went wrong.
      this.waiting = null;
    }
  };

  /** @returns {ViewName} */
  get view() {
    const [first] = this.path;
    return VIEWS.includes(/** @type {any} */ (first)) ? /** @type {ViewName} */ (first) : "floor";
  }

  /** @param {Map<string, unknown>} changed */
  updated(changed) {
    if (!this.who.value || !changed.has("path")) return;
    const shown = this.path.join("/");
    if (shown === this.shown) return;
    const first = this.shown === "";
    this.shown = shown;
    // Views draw themselves a moment later; their heading is there then.
    if (!first) setTimeout(() => announce(this));
  }

  render() {
    return html`<a class="skip" href="#main" @click=${this.#skip}>${t("skip")}</a>
      ${navigator.onLine ? nothing : html`<p class="offline" role="status">${t("connection.offline")}</p>`}
      ${this.who.value === undefined ? html`<main id="main" class="alone" tabindex="-1">${this.who.show(() => nothing)}</main>` : this.#for(this.who.value)}`;
  }

  #skip = (/** @type {Event} */ event) => {
    event.preventDefault();
    /** @type {HTMLElement | null} */ (this.querySelector("#main"))?.focus();
  };

  /** @param {import("../common/session.js").Account | null} who */
  #for(who) {
    if (who === null)
      return html`<main id="main" class="alone" tabindex="-1" data-test="signin">
        <div class="card">
          <h1>${t("staff.signin")}</h1>
          <p class="muted">${this.store.value?.name ?? " "}</p>
          <sign-in-form></sign-in-form>
        </div>
        <div class="row"><language-choice></language-choice></div>
      </main>`;
    if (!worksHere(who.role))
      return html`<main id="main" class="alone" tabindex="-1" data-test="not-for-you">
        <div class="card">
          <h1>${t("staff.not_for_you")}</h1>
          <p>${t("staff.not_for_you.more")}</p>
          <div class="row">
            <a class="button primary" href="/">${t("staff.to_the_app")}</a>
            <button class="button" data-test="signout" @click=${() => signOut()}>${t("signout")}</button>
          </div>
        </div>
        <div class="row"><language-choice></language-choice></div>
      </main>`;
    const { view } = this;
    return html`<div class="console">
      <header class="side">
        <div class="brand"><img src="/static/icons/icon.svg" alt="" width="28" height="28" /><span>${this.store.value?.name ?? "Tillfree"}</span></div>
        <nav aria-label=${t("staff.views")}>
          <ul>
            ${VIEWS.filter((each) => maySee(who.role, each)).map(
              (each) =>
                html`<li>
                  <a href="#/${each}" aria-current=${each === view ? "page" : "false"} data-test="nav-${each}">
                    ${icon(each)}<span>${t(`nav.${each}`)}</span>
                    ${each === "reviews" && this.waiting
                      ? html`<span class="badge warn numbers" data-test="waiting" aria-label=${t("reviews.waiting", { n: this.waiting })}>${this.waiting > 99 ? "99+" : this.waiting}</span>`
                      : nothing}
                  </a>
                </li>`,
            )}
          </ul>
        </nav>
        <div class="me">
          <p class="small who" data-test="me"><strong dir="auto">${who.name || who.email}</strong><br /><span class="muted">${t(`role.${who.role}`)}</span></p>
          ${otherPages(who.role)}
          <language-choice></language-choice>
          <button class="button" data-test="signout" @click=${() => signOut()}>${t("signout")}</button>
        </div>
      </header>
      <main id="main" tabindex="-1">${maySee(who.role, view) ? this.#view(view, who.role) : this.#refused(view)}</main>
    </div>`;
  }

  /** @param {ViewName} view */
  #refused(view) {
    return html`<div class="card" data-test="refused">
      <h1>${t(`nav.${view}`)}</h1>
      <p>${t("staff.refused")}</p>
      <div class="row"><a class="button" href="#/floor">${t("nav.floor")}</a></div>
    </div>`;
  }

  /** @param {ViewName} view @param {string} role */
  #view(view, role) {
    const [, id = ""] = this.path;
    const currency = this.store.value?.currency ?? "EUR";
    switch (view) {
      case "floor":
        return html`<staff-floor .role=${role}></staff-floor>`;
      case "cameras":
        return html`<staff-cameras></staff-cameras>`;
      case "visits":
        return id
          ? html`<staff-visit .id=${id} .role=${role}></staff-visit>`
          : html`<staff-visits .zone=${this.store.value?.time_zone ?? "UTC"}></staff-visits>`;
      case "reviews":
        return html`<staff-reviews .id=${id}></staff-reviews>`;
      case "disputes":
        return id
          ? html`<staff-dispute .id=${id} .currency=${currency}></staff-dispute>`
          : html`<staff-disputes></staff-disputes>`;
    }
  }
}

await startTexts(["staff"]);
customElements.define("staff-console", StaffConsole);
