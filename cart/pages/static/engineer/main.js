/** What engineers see: recordings, their replays, one or two of them instant by instant. */
import { html, nothing } from "lit";
import { get, send } from "../common/api.js";
import { percent, startTexts, t, when } from "../common/i18n.js";
import { otherPages, signOut, whoIsHere } from "../common/session.js";
import { Loaded, View, announce, attempt, confirmed, empty, go, place } from "../common/view.js";
import "./player.js";

const SENSORS = ["cameras", "scales", "bodies", "gates"];
const ASKS_EVERY_MS = 1000;

/** @typedef {{replay_id: string, recording: string, label: string, without: string[], status: string, progress: number, duration_s: number, detail: string, created_at: string}} Replay */

class ReplayList extends View {
  static properties = { chosen: { state: true } };

  constructor() {
    super();
    /** @type {string[]} */
    this.chosen = [];
    this.recordings = new Loaded(this, async () => /** @type {{name: string}[]} */ ((await get("/v1/recordings")).items));
    this.replays = new Loaded(this, async () => /** @type {Replay[]} */ ((await get("/v1/replays")).items));
  }

  connectedCallback() {
    super.connectedCallback();
    void this.recordings.load();
    void this.replays.load();
    this.timer = setInterval(() => {
      if (!document.hidden && this.replays.value?.some((each) => ["waiting", "running"].includes(each.status))) void this.replays.load();
    }, ASKS_EVERY_MS);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    clearInterval(this.timer);
  }

  /** @param {SubmitEvent} event */
  async #start(event) {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const label = String(form.get("label") ?? "").trim();
    const body = { recording: form.get("recording"), without: form.getAll("without"), label: label || null };
    await attempt(() => send("POST", "/v1/replays", body));
    await this.replays.load();
  }

  /** @param {Replay} each */
  async #delete(each) {
    if (!(await confirmed(t("replays.delete"), t("replays.delete.more"), t("replays.delete")))) return;
    await attempt(() => send("DELETE", `/v1/replays/${each.replay_id}`));
    this.chosen = this.chosen.filter((id) => id !== each.replay_id);
    await this.replays.load();
  }

  /** @param {string} id @param {boolean} wanted */
  #choose(id, wanted) {
    this.chosen = wanted ? [...this.chosen, id].slice(-2) : this.chosen.filter((each) => each !== id);
  }

  render() {
    return html`<div class="stack">
      <h1>${t("replays.title")}</h1>
      ${this.recordings.show((found) =>
        found.length === 0
          ? empty(t("recordings.none"))
          : html`<form class="card" @submit=${this.#start}>
              <h2>${t("replays.new")}</h2>
              <div class="field"><label for="recording">${t("replays.recording")}</label>
                <select id="recording" name="recording">${found.map((each) => html`<option value=${each.name}>${each.name}</option>`)}</select></div>
              <div class="field"><label for="label">${t("replays.label")}</label><input id="label" name="label" maxlength="100" /></div>
              <fieldset class="row"><legend>${t("replays.without")}</legend>
                ${SENSORS.map((each) => html`<label class="check"><input type="checkbox" name="without" value=${each} />${t(`sensor.${each}`)}</label>`)}
              </fieldset>
              <div class="row"><button class="button primary" data-test="start">${t("replays.start")}</button></div>
            </form>`,
      )}
      <div class="row"><button class="button" data-test="compare" ?disabled=${this.chosen.length !== 2} @click=${() => go(`#/compare/${this.chosen.join("/")}`)}>${t("replays.compare")}</button>
        <span class="muted">${t("replays.compare.more")}</span></div>
      ${this.replays.show((found) =>
        found.length === 0 ? empty(t("replays.none")) : html`<ul class="stack" aria-live="polite">${found.map((each) => this.#row(each))}</ul>`,
      )}
    </div>`;
  }

  /** @param {Replay} each */
  #row(each) {
    const name = each.label || each.recording;
    return html`<li class="card"><div class="row spread">
      <label class="check"><input type="checkbox" ?disabled=${each.status !== "done"} .checked=${this.chosen.includes(each.replay_id)}
        @change=${(/** @type {any} */ event) => this.#choose(each.replay_id, event.target.checked)} /><strong dir="auto">${name}</strong></label>
      <span class="badge ${each.status === "done" ? "good" : each.status === "failed" ? "bad" : "info"}">${t(`status.${each.status}`)}</span>
      <span class="muted">${when(each.created_at)}${each.without.length ? html` · ${t("replays.without")}: ${each.without.map((sensor) => t(`sensor.${sensor}`)).join(", ")}` : nothing}</span>
      <span class="row">
        ${each.status === "done" ? html`<a class="button" data-test="open" aria-label=${`${t("replays.open")}: ${name}`} href="#/replay/${each.replay_id}">${t("replays.open")}</a>` : nothing}
        <button class="button danger" aria-label=${`${t("replays.delete")}: ${name}`} @click=${() => this.#delete(each)}>${t("replays.delete")}</button></span></div>
      ${each.status === "running" ? html`<progress max="1" .value=${each.progress} aria-label=${percent(each.progress)}></progress>` : nothing}
      ${each.detail ? html`<p class="notice bad" dir="ltr">${each.detail}</p>` : nothing}
    </li>`;
  }
}
customElements.define("replay-list", ReplayList);

class EngineerView extends View {
  constructor() {
    super();
    this.who = new Loaded(this, whoIsHere);
  }

  connectedCallback() {
    super.connectedCallback();
    window.addEventListener("hashchange", this.#moved);
    window.addEventListener("signed", this.#signed);
    window.addEventListener("online", this.#again);
    window.addEventListener("offline", this.#again);
    void this.who.load();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    window.removeEventListener("hashchange", this.#moved);
    window.removeEventListener("signed", this.#signed);
    window.removeEventListener("online", this.#again);
    window.removeEventListener("offline", this.#again);
  }

  #again = () => this.requestUpdate();

  #moved = () => {
    this.requestUpdate();
    setTimeout(() => announce(this));
  };

  #signed = () => {
    this.who.value = undefined;
    void this.who.load();
  };

  render() {
    return html`<a class="skip" href="#main" @click=${this.#skip}>${t("skip")}</a>
      ${navigator.onLine ? nothing : html`<p class="offline" role="status">${t("connection.offline")}</p>`}
      <header class="bar"><img src="/static/icons/icon.svg" alt="" width="28" height="28" />
        <nav class="grow"><a href="#/">${t("replays.title")}</a></nav>${this.who.value ? otherPages(this.who.value.role) : nothing}<language-choice></language-choice>
        ${this.who.value ? html`<button class="button" data-test="signout" @click=${() => signOut()}>${t("signout")}</button>` : nothing}</header>
      <main id="main" tabindex="-1">${this.who.show((who) => this.#for(who))}</main>`;
  }

  #skip = (/** @type {Event} */ event) => {
    event.preventDefault();
    /** @type {HTMLElement | null} */ (this.querySelector("#main"))?.focus();
  };

  /** @param {import("../common/session.js").Account | null} who */
  #for(who) {
    if (who === null) return html`<div class="card alone" data-test="signin"><h1>${t("signin.title")}</h1><sign-in-form></sign-in-form></div>`;
    if (!["owner", "engineer"].includes(who.role))
      return html`<div class="card alone" data-test="not-for-you"><h1>${t("engineer.not_for_you")}</h1><p>${t("engineer.not_for_you.more")}</p></div>`;
    const [view, ...ids] = place().path;
    if ((view === "replay" || view === "compare") && ids.length) return html`<replay-player .ids=${ids.slice(0, 2).join("/")}></replay-player>`;
    return html`<replay-list></replay-list>`;
  }
}

await startTexts(["engineer"]);
customElements.define("engineer-view", EngineerView);
