/** Who is signed in, and signing in: with a passkey or a password. */
import { html, nothing } from "lit";
import { get, send, setToken, token, newKey, Problem } from "./api.js";
import { LANGUAGES, OWN_NAMES, currentLanguage, speak, t } from "./i18n.js";
import { View } from "./view.js";

/** @typedef {{account_id: string, email: string | null, name: string, role: string, status: string, locale: string, has_payment_method: boolean}} Account */
/** @typedef {{store_id: string, name: string, currency: string, time_zone: string, is_demo: boolean, has_passkeys: boolean, languages: string[], now: string}} Store */

const STORE = "tillfree.store";
/** @type {Store | undefined} */
let store;

/** What every visitor may know of the store; the last one known if the network is away. @returns {Promise<Store>} */
export async function theStore() {
  if (store) return store;
  try {
    store = await get("/v1/store");
    localStorage.setItem(STORE, JSON.stringify(store));
  } catch (error) {
    const known = localStorage.getItem(STORE);
    if (!known) throw error;
    store = JSON.parse(known);
  }
  return /** @type {Store} */ (store);
}

/** Who is signed in; null if nobody is. @returns {Promise<Account | null>} */
export async function whoIsHere() {
  return token() ? get("/v1/account") : null;
}

/** @param {string} email @param {string} password */
export async function signIn(email, password) {
  const issued = await send("POST", "/v1/tokens", { email, password, label: deviceName() });
  setToken(issued.token);
}

/** @param {string} email @param {string} password @param {string} name */
export async function openAccount(email, password, name) {
  const wish = { email, password, locale: currentLanguage(), ...(name ? { name } : {}) };
  await send("POST", "/v1/accounts", wish, { key: newKey() });
  await signIn(email, password);
}

/** Sign in with a passkey (WebAuthn level 3, JSON helpers). */
export async function signInWithPasskey() {
  const challenge = await send("POST", "/v1/passkeys/challenges");
  const publicKey = /** @type {any} */ (PublicKeyCredential).parseRequestOptionsFromJSON(challenge.public_key);
  const credential = /** @type {any} */ (await navigator.credentials.get({ publicKey }));
  const answer = { challenge_id: challenge.challenge_id, credential: credential.toJSON() };
  try {
    setToken((await send("POST", "/v1/passkeys/tokens", answer)).token);
  } catch (error) {
    // The store says the same of a wrong password, of which nobody has thought here.
    if (error instanceof Problem && error.status === 401) throw new Problem(401, error.title, "", "passkey-unknown");
    throw error;
  }
}

/** Add a passkey of this device to the account. */
export async function addPasskey() {
  const challenge = await send("POST", "/v1/passkeys/registrations");
  const publicKey = /** @type {any} */ (PublicKeyCredential).parseCreationOptionsFromJSON(challenge.public_key);
  const credential = /** @type {any} */ (await navigator.credentials.create({ publicKey }));
  const answer = { challenge_id: challenge.challenge_id, credential: credential.toJSON(), label: deviceName() };
  return send("POST", "/v1/passkeys", answer);
}

/** Whether this browser can do passkeys as the pages need it; no browser does for an address that is a number. */
export function canPasskeys() {
  const named = !/^[\d.]+$|^\[/.test(location.hostname);
  return named && typeof PublicKeyCredential !== "undefined" && "parseRequestOptionsFromJSON" in PublicKeyCredential;
}

/** Sign out, here and at the store. */
export async function signOut() {
  try {
    const { items } = await get("/v1/tokens");
    const own = items.find((/** @type {any} */ each) => each.is_this_one);
    if (own) await send("DELETE", `/v1/tokens/${own.token_id}`);
  } catch {
    // Out of reach: the token ends here all the same, and at the store when its time is over.
  }
  setToken(null);
}

function deviceName() {
  const kind = /iPhone|iPad|Android|Mac|Windows|Linux/.exec(navigator.userAgent)?.[0] ?? "browser";
  return `pages on ${kind}`;
}

/** Choose the language of the page. */
export class LanguageChoice extends View {
  render() {
    return html`<label class="visually-hidden" for="language">${t("language")}</label>
      <select
        id="language"
        class="button"
        .value=${currentLanguage()}
        @change=${(/** @type {any} */ event) => speak(event.target.value)}
      >
        ${LANGUAGES.map((each) => html`<option value=${each} lang=${each} ?selected=${each === currentLanguage()}>${OWN_NAMES[each]}</option>`)}
      </select>`;
  }
}
customElements.define("language-choice", LanguageChoice);

/** Which roles are offered which of the pages of those who work here. @type {Record<string, string[]>} */
const WORK = {
  staff: ["owner", "manager", "staff", "reviewer", "engineer", "viewer"],
  office: ["owner", "manager", "staff", "reviewer", "engineer", "viewer"],
  engineer: ["owner", "engineer"],
};

/** Links to the other pages that somebody's role is offered. @param {string} role */
export function otherPages(role) {
  const others = Object.keys(WORK).filter((each) => WORK[each].includes(role) && location.pathname !== `/${each}`);
  return others.length
    ? html`<nav class="row small others" aria-label=${t("pages.others")}>${others.map((each) => html`<a href="/${each}" data-test="page-${each}">${t(`pages.${each}`)}</a>`)}</nav>`
    : nothing;
}

/** The form to sign in or, for shoppers, to open an account. Fires `signed` on the window when it is done. */
export class SignInForm extends View {
  static properties = { opens: { type: Boolean }, isNew: { state: true }, busy: { state: true }, problem: { state: true } };

  constructor() {
    super();
    /** Whether new accounts may be opened here. */
    this.opens = false;
    this.isNew = false;
    this.busy = false;
    /** @type {string} */
    this.problem = "";
  }

  /** @param {SubmitEvent} event */
  async submit(event) {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const [email, password, name] = ["email", "password", "name"].map((each) => String(form.get(each) ?? ""));
    await this.attempt(() => (this.isNew ? openAccount(email, password, name) : signIn(email, password)));
  }

  /** @param {() => Promise<unknown>} act */
  async attempt(act) {
    this.busy = true;
    this.problem = "";
    try {
      await act();
    } catch (error) {
      if (error instanceof Problem) this.problem = error.errors[0]?.problem ?? error.text;
      else if (error instanceof DOMException) this.problem = t("signin.passkey_not_used");
      else throw error;
    } finally {
      this.busy = false;
    }
  }

  render() {
    return html`<form class="stack" @submit=${this.submit}>
      <div class="field">
        <label for="email">${t("signin.email")}</label>
        <input id="email" name="email" type="email" autocomplete="username webauthn" required dir="ltr" />
      </div>
      <div class="field">
        <label for="password">${t("signin.password")}</label>
        <input
          id="password"
          name="password"
          type="password"
          minlength="8"
          maxlength="128"
          required
          dir="ltr"
          autocomplete=${this.isNew ? "new-password" : "current-password"}
        />
      </div>
      ${this.isNew
        ? html`<div class="field">
            <label for="name">${t("signin.name")}</label>
            <input id="name" name="name" autocomplete="name" maxlength="100" />
          </div>`
        : nothing}
      ${this.problem ? html`<p class="notice bad" role="alert">${this.problem}</p>` : nothing}
      <button class="button primary wide" ?disabled=${this.busy}>${t(this.isNew ? "signin.open" : "signin.in")}</button>
      ${!this.isNew && canPasskeys()
        ? html`<button type="button" class="button wide" ?disabled=${this.busy} @click=${() => this.attempt(signInWithPasskey)}>
            ${t("signin.passkey")}
          </button>`
        : nothing}
      ${this.opens
        ? html`<button type="button" class="button plain" @click=${() => (this.isNew = !this.isNew)}>
            ${t(this.isNew ? "signin.have" : "signin.new")}
          </button>`
        : nothing}
    </form>`;
  }
}
customElements.define("sign-in-form", SignInForm);
