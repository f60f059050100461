/** The layout, plainly: its document as JSON, its versions, and which one counts on the floor. */
import { html, nothing } from "lit";
import { Problem, all, get, request, send } from "../common/api.js";
import { t, when } from "../common/i18n.js";
import { Loaded, View, attempt, confirmed, empty, toast } from "../common/view.js";
import { Intention } from "./intention.js";

const ASKS_EVERY_MS = 3000;

/** The document's text; places and sizes, which are lists of numbers, stand on one line. @param {any} document */
function written(document) {
  return JSON.stringify(document, null, 2).replaceAll(/\[\n[\s\d.,eE+-]+\]/g, (list) => list.replaceAll(/\s+/g, " ").replace("[ ", "[").replace(" ]", "]"));
}

/** @param {"now" | "when_empty"} wish */
function applying(wish) {
  return `${t("layout.apply")}: ${t(`layout.${wish}`)}`;
}

class OfficeLayout extends View {
  static properties = { opened: { state: true }, problem: { state: true }, busy: { state: true }, awaited: { state: true }, active: { state: true } };
  newest = new Loaded(this, async () => {
    const answer = await request("GET", "/v1/layout");
    this.tag = answer.headers.get("etag") ?? "";
    const layout = await answer.json();
    this.active = layout.active_version;
    if (!this.opened) this.opened = { version: layout.version, text: written(layout.document) };
    return layout;
  });
  versions = new Loaded(this, () => all("/v1/layout/versions?limit=100", 500));

  constructor() {
    super();
    this.tag = "";
    this.problem = "";
    this.busy = false;
    /** Which version the text was taken from, and the text as it was then. @type {{version: number, text: string} | undefined} */
    this.opened = undefined;
    /** @type {number | undefined} */
    this.active = undefined;
    /** Which version counts when nobody is inside any more. @type {number | undefined} */
    this.awaited = undefined;
    this.intention = new Intention();
  }

  connectedCallback() {
    super.connectedCallback();
    void this.#load();
    this.timer = setInterval(() => void this.#look(), ASKS_EVERY_MS);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    clearInterval(this.timer);
  }

  async #load() {
    await Promise.all([this.newest.load(), this.versions.load()]);
  }

  /** See whether the floor has changed over. */
  async #look() {
    if (this.awaited === undefined || document.hidden) return;
    try {
      this.active = (await get(`/v1/layout/versions/${this.awaited}`)).active_version;
    } catch (error) {
      if (!(error instanceof Problem)) throw error; // else it is asked again soon
    }
    if (this.active === this.awaited) this.awaited = undefined;
  }

  get area() {
    return /** @type {HTMLTextAreaElement} */ (this.querySelector("#document"));
  }

  /** @param {number} version @param {"now" | "when_empty"} wish @param {string} [key] */
  async #changeOver(version, wish, key) {
    const told = await send("POST", `/v1/layout/versions/${version}/apply`, { when: wish }, key ? { key } : {});
    this.active = told.active_version;
    this.awaited = this.active === version ? undefined : version;
  }

  /** What the document's text says; null if it is no JSON object, which is told. @param {string} text */
  #parsed(text) {
    try {
      const found = JSON.parse(text);
      if (found !== null && typeof found === "object" && !Array.isArray(found)) return found;
      this.problem = t("layout.no_object");
    } catch (error) {
      const said = error instanceof Error ? error.message : String(error);
      this.problem = t("layout.no_json", { problem: said });
      const at = /position (\d+)/.exec(said);
      if (at) this.area.setSelectionRange(Number(at[1]), Number(at[1]) + 1);
    }
    this.area.focus();
    return null;
  }

  /** @param {SubmitEvent} event */
  async #save(event) {
    event.preventDefault();
    if (this.busy) return;
    this.problem = "";
    const form = /** @type {HTMLFormElement} */ (event.target);
    const fields = new FormData(form);
    const document = this.#parsed(this.area.value);
    if (!document) return;
    const wish = /** @type {"now" | "when_empty" | "later"} */ (String(fields.get("apply")));
    if (wish === "now" && !(await this.#sure())) return;
    const note = String(fields.get("note")).trim();
    this.busy = true;
    const { intention } = this;
    try {
      // Kept first and applied then: where the floor refuses a version, it is kept all the same.
      const saved = await intention.once("save", [document, note], (key) =>
        send("PUT", "/v1/layout", { document, note, apply: "later" }, { key, headers: { "if-match": this.tag } }));
      this.opened = { version: saved.version, text: this.area.value };
      if (wish !== "later") await intention.once("apply", [saved.version, wish], (key) => this.#changeOver(saved.version, wish, key));
      this.intention = new Intention();
      form.reset();
      toast(t("saved"));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      const places = error.errors.map((each) => `${each.where}: ${each.problem}`);
      this.problem = error.status === 412 ? t("layout.changed") : [error.text, ...places].join("\n");
      this.area.focus();
    } finally {
      this.busy = false;
    }
    await this.#load();
  }

  #sure() {
    return confirmed(applying("now"), t("layout.now.more"), applying("now"));
  }

  /** @param {any} each @param {"now" | "when_empty"} wish */
  async #apply(each, wish) {
    if (this.busy || (wish === "now" && !(await this.#sure()))) return;
    this.busy = true;
    await attempt(() => this.#changeOver(each.version, wish));
    this.busy = false;
    await this.versions.load();
  }

  /** @param {any} each */
  async #open(each) {
    const changed = this.area && this.opened && this.area.value !== this.opened.text;
    if (changed && !(await confirmed(t("layout.discard"), t("layout.discard.more"), t("layout.discard")))) return;
    const found = await attempt(() => get(`/v1/layout/versions/${each.version}`));
    if (!found) return;
    this.problem = "";
    this.opened = { version: found.version, text: written(found.document) };
    this.area.value = this.opened.text;
    this.area.focus();
  }

  /** @param {any} each */
  #row(each) {
    const name = t("layout.version", { n: each.version });
    const act = (/** @type {string} */ key, /** @type {string} */ word, /** @type {() => void} */ what) =>
      html`<button class="button" data-test=${key} ?disabled=${this.busy} aria-label=${`${word}: ${name}`} @click=${what}>${word}</button>`;
    const wished = (/** @type {"now" | "when_empty"} */ wish) => act(`layout.${wish}`, applying(wish), () => this.#apply(each, wish));
    return html`<li class="card" data-test="version"><div class="row"><strong>${name}</strong>
        ${each.version === this.active ? html`<span class="badge good">${t("layout.active")}</span>` : nothing}
        ${each.version === this.awaited ? html`<span class="badge info">${t("layout.awaited")}</span>` : nothing}
        <span class="muted">${each.created_at ? when(each.created_at) : nothing}</span></div>
      ${each.note ? html`<p dir="auto">${each.note}</p>` : nothing}
      <div class="row">${act("layout.open", t("layout.open"), () => this.#open(each))}
        ${each.version === this.active ? nothing : html`${wished("when_empty")}${wished("now")}`}</div></li>`;
  }

  render() {
    const { opened } = this;
    return html`<div class="stack" data-test="layout"><p class="notice">${t("layout.plain")}</p>
      ${this.newest.show(() => opened ? html`<form class="card" data-test="layout-form" aria-busy=${this.busy} @submit=${this.#save}>
        <div class="field"><label for="document">${t("layout.document", { n: opened.version })}</label>
          <textarea id="document" class="document" dir="ltr" spellcheck="false" autocomplete="off" required aria-invalid=${this.problem ? "true" : "false"} aria-describedby="document-problem" data-test="document" .defaultValue=${opened.text}></textarea>
          <p id="document-problem" class="error" role="alert" dir="auto" data-test="document-problem">${this.problem}</p></div>
        <div class="field"><label for="note">${t("layout.note")}</label><input id="note" name="note" maxlength="200" data-test="layout-note" /></div>
        <div class="field"><label for="apply">${t("layout.apply")}</label><select id="apply" name="apply" data-test="layout-apply">
          ${["later", "when_empty", "now"].map((each) => html`<option value=${each}>${t(`layout.${each}`)}</option>`)}</select></div>
        <div class="row"><button class="button primary" data-test="layout-save" ?disabled=${this.busy}>${t(this.busy ? "saving" : "save")}</button></div></form>` : nothing)}
      <h2>${t("layout.versions")}</h2>
      ${this.versions.show((items) => items.length ? html`<ul class="stack">${items.map((each) => this.#row(each))}</ul>` : empty(t("nothing")))}</div>`;
  }
}
customElements.define("office-layout", OfficeLayout);
