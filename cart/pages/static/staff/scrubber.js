/** What the store saw of one interaction, all of it at the same instant: every camera's clip and the scales' curve. */
import { html, nothing, svg } from "lit";
import { picture } from "../common/api.js";
import { number, t } from "../common/i18n.js";
import { View } from "../common/view.js";
import { shortId, placeName, unitsOf } from "./format.js";
import { sureness } from "./cart.js";

/** @typedef {{evidence_id: string, interaction_id: string, kind: string, facts: any, media_type: string | null, media_url: string | null, captured_at: string}} Piece */
/** @typedef {{piece: Piece, address: string, from_s: number, video: HTMLVideoElement | null, failed: boolean}} Clip */

const FRAME_S = 1 / 15;
const STEP_S = 0.5;
const APART_S = 0.12;
const WIDTH = 1000;
const HEIGHT = 160;

/** Give it the pieces of one interaction; `keys` are heard by whoever holds it, through `press`. */
export class EvidenceScrubber extends View {
  static properties = { pieces: {}, known: {}, shopper: {}, at: { state: true }, playing: { state: true }, clips: { state: true } };

  constructor() {
    super();
    /** @type {Piece[]} */
    this.pieces = [];
    /** @type {Map<string, any> | undefined} */
    this.known = undefined;
    this.shopper = "";
    this.at = 0;
    this.playing = false;
    /** @type {Clip[]} */
    this.clips = [];
    this.turn = 0;
    this.shown = "";
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.turn++;
    this.shown = "";
    this.pause();
    this.#drop();
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (!changed.has("pieces")) return;
    const shown = this.pieces.map((each) => each.evidence_id).join();
    if (shown === this.shown) return;
    this.shown = shown;
    this.pause();
    void this.#load();
  }

  /** When the interaction began, milliseconds; the scrubber's zero. */
  get zero() {
    return Date.parse(this.pieces.find((each) => each.facts.weight)?.facts.started_at ?? this.pieces[0]?.facts.started_at ?? this.pieces[0]?.captured_at);
  }

  get weight() {
    return this.pieces.find((each) => each.facts.weight)?.facts.weight ?? null;
  }

  /** @returns {{from: number, to: number}} Seconds from the interaction's beginning. */
  get range() {
    let [from, to] = [-1, 1];
    for (const { facts, media_url } of this.pieces) {
      const [starts, ends] = [facts.started_at, facts.ended_at].map((each) => (Date.parse(each) - this.zero) / 1000);
      if (media_url || Number.isFinite(starts)) [from, to] = [Math.min(from, starts), Math.max(to, ends)];
    }
    const times = this.weight?.times_s ?? [];
    if (times.length) [from, to] = [Math.min(from, times[0]), Math.max(to, times.at(-1))];
    return { from, to };
  }

  #drop() {
    for (const each of this.clips) if (each.address) URL.revokeObjectURL(each.address);
    this.clips = [];
  }

  async #load() {
    const turn = ++this.turn;
    this.#drop();
    this.at = 0;
    this.clips = this.pieces
      .filter((each) => each.media_url)
      .map((piece) => ({ piece, address: "", from_s: (Date.parse(piece.facts.started_at) - this.zero) / 1000, video: null, failed: false }));
    await Promise.all(
      this.clips.map(async (clip) => {
        try {
          const address = await picture(/** @type {string} */ (clip.piece.media_url));
          if (turn !== this.turn) URL.revokeObjectURL(address);
          else clip.address = address;
        } catch {
          clip.failed = true;
        }
        this.requestUpdate();
      }),
    );
  }

  /** Go to an instant. @param {number} at Seconds from the interaction's beginning. */
  seek(at) {
    const { from, to } = this.range;
    this.at = Math.min(to, Math.max(from, at));
    this.#align(true);
  }

  /** @param {boolean} exactly */
  #align(exactly) {
    for (const { video, from_s } of this.clips) {
      if (!video || video.readyState < 1) continue;
      const wanted = Math.min(Math.max(0, this.at - from_s), video.duration || 0);
      if (exactly || Math.abs(video.currentTime - wanted) > APART_S) video.currentTime = wanted;
    }
  }

  pause() {
    this.playing = false;
    for (const { video } of this.clips) video?.pause();
  }

  play() {
    const { from, to } = this.range;
    if (this.at >= to - FRAME_S) this.at = from;
    this.playing = true;
    this.#align(true);
    for (const { video } of this.clips) void video?.play().catch(() => {});
    let before = performance.now();
    const tick = (/** @type {number} */ now) => {
      if (!this.playing) return;
      this.at += (now - before) / 1000;
      before = now;
      if (this.at >= to) {
        this.at = to;
        this.pause();
        return;
      }
      this.#align(false);
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  /** A key was pressed; whether it was one of ours. @param {string} key */
  press(key) {
    /** @type {Record<string, () => void>} */
    const does = {
      " ": () => (this.playing ? this.pause() : this.play()),
      ArrowLeft: () => this.seek(this.at - STEP_S),
      ArrowRight: () => this.seek(this.at + STEP_S),
      ",": () => (this.pause(), this.seek(this.at - FRAME_S)),
      ".": () => (this.pause(), this.seek(this.at + FRAME_S)),
      Home: () => this.seek(this.range.from),
      End: () => this.seek(this.range.to),
    };
    does[key]?.();
    return key in does;
  }

  updated() {
    // Videos come and go with their addresses; each is told once where it belongs.
    for (const clip of this.clips) {
      const video = /** @type {HTMLVideoElement | null} */ (this.querySelector(`video[data-piece="${clip.piece.evidence_id}"]`));
      if (video === clip.video) continue;
      clip.video = video;
      video?.addEventListener("loadedmetadata", () => this.#align(true), { once: true });
    }
  }

  render() {
    const { from, to } = this.range;
    const said = t("scrub.at", { at: number(this.at, { minimumFractionDigits: 2, maximumFractionDigits: 2, signDisplay: "exceptZero" }) });
    return html`<div class="scrubber stack tight" data-test="scrubber">
      <div class="clips" data-test="clips">
        ${this.clips.length ? this.clips.map((each) => this.#clip(each)) : html`<p class="empty">${t("scrub.no_clips")}</p>`}
      </div>
      ${this.#curve(from, to)}
      <div class="row transport" dir="ltr">
        <button class="button" data-test="play" aria-label=${t(this.playing ? "scrub.pause" : "scrub.play")} @click=${() => this.press(" ")}>
          <svg viewBox="0 0 24 24" width="20" height="20" fill="currentColor" aria-hidden="true">${this.playing ? svg`<path d="M6 4h4v16H6zM14 4h4v16h-4z" />` : svg`<path d="M6 4l14 8-14 8z" />`}</svg>
        </button>
        <input class="grow" type="range" data-test="scrub" aria-label=${t("scrub.label")} aria-valuetext=${said} min=${from} max=${to} step="0.01" .value=${String(this.at)}
          @input=${(/** @type {any} */ event) => (this.pause(), this.seek(Number(event.target.value)))} />
        <output class="numbers small" dir="auto" data-test="scrub-at">${said}</output>
      </div>
      ${this.#candidates()}
    </div>`;
  }

  /** @param {Clip} clip */
  #clip(clip) {
    const name = clip.piece.facts.camera_id ?? clip.piece.facts.cameras?.[0] ?? "";
    const isVideo = clip.piece.media_type?.startsWith("video/");
    return html`<figure>
      ${clip.failed
        ? html`<p class="notice warn small">${t("scrub.clip_failed")}</p>`
        : !clip.address
          ? html`<div class="skeleton frame" role="status" aria-label=${t("loading")}></div>`
          : isVideo
            ? html`<video class="frame" muted playsinline preload="auto" .muted=${true} src=${clip.address} data-piece=${clip.piece.evidence_id} aria-label=${t("scrub.clip", { camera: name })}></video>`
            : html`<img class="frame" src=${clip.address} alt=${t("scrub.picture", { camera: name })} />`}
      <figcaption class="small muted"><bdi>${name}</bdi></figcaption>
    </figure>`;
  }

  /** @param {number} from @param {number} to */
  #curve(from, to) {
    const { weight } = this;
    if (!weight) return html`<p class="muted small">${t("scrub.no_scale")}</p>`;
    const [low, high] = [Math.min(0, ...weight.grams), Math.max(0, ...weight.grams)];
    const room = Math.max(high - low, 20) * 1.15;
    const x = (/** @type {number} */ time) => ((time - from) / (to - from)) * WIDTH;
    const y = (/** @type {number} */ grams) => ((high + room * 0.065 - grams) / room) * HEIGHT;
    const path = weight.times_s.map((/** @type {number} */ time, /** @type {number} */ i) => `${i ? "L" : "M"}${x(time).toFixed(1)} ${y(weight.grams[i]).toFixed(1)}`).join("");
    // The reading at the instant is the last one before it.
    const index = Math.max(0, weight.times_s.findLastIndex((/** @type {number} */ time) => time <= this.at));
    const ended = (Date.parse(this.pieces[0]?.facts.ended_at) - this.zero) / 1000;
    return html`<figure class="curve" dir="ltr">
      <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label=${t("scrub.curve", { grams: Math.round(weight.grams.at(-1)) })} data-test="curve" @pointerdown=${this.#drag} @pointermove=${this.#drag}>
        <rect class="hand" x=${x(0)} y="0" width=${Math.max(2, x(ended) - x(0))} height=${HEIGHT} />
        <line class="zero" x1="0" x2=${WIDTH} y1=${y(0)} y2=${y(0)} />
        <path d=${path} />
        <line class="now" x1=${x(this.at)} x2=${x(this.at)} y1="0" y2=${HEIGHT} />
      </svg>
      <figcaption class="small row spread"><span class="muted" dir="auto">${t("scrub.scale")}</span><bdi class="numbers" data-test="grams">${t("scrub.grams", { grams: number(Math.round(weight.grams[index]), { signDisplay: "exceptZero" }) })}</bdi></figcaption>
    </figure>`;
  }

  #drag = (/** @type {PointerEvent} */ event) => {
    if (event.type === "pointermove" && event.buttons !== 1) return;
    const box = /** @type {Element} */ (event.currentTarget).getBoundingClientRect();
    const { from, to } = this.range;
    this.pause();
    this.seek(from + ((event.clientX - box.left) / box.width) * (to - from));
  };

  #candidates() {
    const facts = this.pieces.find((each) => each.facts.candidates?.length)?.facts;
    if (!facts) return nothing;
    return html`<details class="candidates" open data-test="candidates">
      <summary>${t("candidates.title", { place: placeName(facts.place) })}</summary>
      <ul class="lines">
        ${facts.candidates.map(
          (/** @type {any} */ each) =>
            html`<li>
              <span class="grow" dir="auto">${unitsOf(each.sku, each.quantity, this.known, "something that is not known")}</span>
              <span class=${each.shopper === this.shopper ? "badge info" : "badge"}>${each.shopper === this.shopper ? t("candidates.this") : html`${t("candidates.other")} <bdi class="mono">${shortId(each.shopper)}</bdi>`}</span>
              ${sureness(each.probability)}
            </li>`,
        )}
      </ul>
    </details>`;
  }
}
customElements.define("evidence-scrubber", EvidenceScrubber);
