/** The office: signing in, the navigation, and which view is shown. */
import { html, nothing } from "lit";
import { live } from "lit/directives/live.js";
import { startTexts, t } from "../common/i18n.js";
import { otherPages, signOut, theStore, whoIsHere } from "../common/session.js";
import { Loaded, View, announce, place } from "../common/view.js";
import "./audit.js";
import "./catalogue.js";
import "./devices.js";
import "./figures.js";
import "./people.js";
import "./webhooks.js";

/** Which roles are offered a view; what they may do is decided by the store. @type {Record<string, string[]>} */
const ROLES = {
  figures: ["owner", "manager", "staff", "reviewer", "engineer", "viewer"],
  catalogue: ["owner", "manager"],
  devices: ["owner", "manager", "staff", "reviewer", "engineer", "viewer"],
  layout: ["owner", "manager", "engineer"],
  webhooks: ["owner", "manager"],
  people: ["owner", "manager"],
  audit: ["owner", "manager"],
};

class BackOffice extends View {
  who = new Loaded(this, whoIsHere);
  store = new Loaded(this, theStore);
  // What the layout is drawn with is large, and few come for it.
  layout = new Loaded(this, () => import("./layout.js"));
  shown = place().path[0];

  #moved = () => {
    this.requestUpdate();
    // Within a view one stays where one is.
    const [view] = place().path;
    if (view !== this.shown) setTimeout(() => announce(this));
    this.shown = view;
  };

  #skip = (/** @type {Event} */ event) => {
    event.preventDefault();
    /** @type {HTMLElement | null} */ (this.querySelector("#main"))?.focus();
  };

  #signed = () => {
    this.who.value = undefined;
    void this.who.load();
  };

  connectedCallback() {
    super.connectedCallback();
    window.addEventListener("hashchange", this.#moved);
    window.addEventListener("signed", this.#signed);
    void this.store.load();
    void this.who.load();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    window.removeEventListener("hashchange", this.#moved);
    window.removeEventListener("signed", this.#signed);
  }

  /** Which view is shown to somebody. @param {import("../common/session.js").Account} who */
  #view(who) {
    const views = Object.keys(ROLES).filter((each) => ROLES[each].includes(who.role));
    const [first = ""] = place().path;
    return { views, view: views.includes(first) ? first : views[0] };
  }

  updated() {
    const { layout } = this;
    if (this.who.value && this.#view(this.who.value).view === "layout" && !layout.value && !layout.loading && !layout.problem) void layout.load();
  }

  render() {
    const who = this.who.value;
    if (!who)
      return html`<main id="main" class="alone"><div class="card" data-test="signin">
        ${who === null ? html`<h1>${t("signin.title")}</h1><sign-in-form></sign-in-form>` : this.who.show(() => nothing)}
      </div><language-choice></language-choice></main>`;
    const { views, view } = this.#view(who);
    if (!views.length)
      return html`<main id="main" class="alone"><div class="card" data-test="not-for-you">
        <h1>${t("office.not_for_you")}</h1>
        <button class="button" data-test="signout" @click=${() => signOut()}>${t("signout")}</button>
      </div><language-choice></language-choice></main>`;
    const second = place().path[1] ?? "";
    return html`<a class="skip" href="#main" @click=${this.#skip}>${t("skip")}</a>
      <header class="top">
        <strong>${this.store.value?.name ?? "Tillfree"}</strong>
        <nav aria-label=${t("office.views")}>
          ${views.map((each) => html`<a class="button plain" href="#/${each}" aria-current=${each === view ? "page" : "false"} data-test="nav-${each}">${t(`office.${each}`)}</a>`)}
        </nav>
        ${otherPages(who.role)}
        <language-choice></language-choice>
        <button class="button" data-test="signout" @click=${() => signOut()}>${t("signout")}</button>
      </header>
      <main id="main" class="stack" tabindex="-1"><h1>${t(`office.${view}`)}</h1>
        ${view === "figures" ? html`<office-figures></office-figures>` : nothing}
        ${view === "catalogue" ? html`<office-catalogue .chosen=${second}></office-catalogue>` : nothing}
        ${view === "devices" ? html`<office-devices .own=${who}></office-devices>` : nothing}
        ${view === "layout" ? this.layout.show(() => html`<office-layout .tab=${live(second)}></office-layout>`) : nothing}
        ${view === "webhooks" ? html`<office-webhooks></office-webhooks>` : nothing}
        ${view === "people" ? html`<office-people .own=${who}></office-people>` : nothing}
        ${view === "audit" ? html`<office-audit></office-audit>` : nothing}
      </main>`;
  }
}

await startTexts(["office"]);
customElements.define("back-office", BackOffice);
