/** What a gate shows: it reads codes with the device's camera, asks the store, and says open or not. */
import { html, nothing } from "lit";
import { Problem, newKey, send, setToken } from "../common/api.js";
import { hasText, startTexts, t } from "../common/i18n.js";
import "../common/session.js";
import { View } from "../common/view.js";

const LOOKS_EVERY_MS = 120;
const SHOWS_MS = 3000;
const FORGETS_MS = 30_000;
const WIDEST = 800;

/** @typedef {{decision: "open" | "refuse", reason: string}} Answer */

class GateScreen extends View {
  static properties = {
    camera: { state: true },
    answer: { state: true },
    problem: { state: true },
    checking: { state: true },
    needsToken: { state: true },
    mirrored: { state: true },
  };

  constructor() {
    super();
    this.gate = new URLSearchParams(location.search).get("gate") ?? "entrance";
    /** @type {"starting" | "on" | "none" | "denied"} */
    this.camera = "starting";
    /** @type {Answer | undefined} */
    this.answer = undefined;
    /** @type {Problem | undefined} */
    this.problem = undefined;
    this.checking = false;
    this.needsToken = false;
    this.mirrored = false;
    /** The code read last, which is not asked about again while it is held there. */
    this.last = { text: "", at_ms: 0 };
    this.canvas = document.createElement("canvas");
  }

  firstUpdated() {
    this.start();
  }

  async start() {
    this.camera = "starting";
    if (!navigator.mediaDevices?.getUserMedia) {
      this.camera = "none";
      return;
    }
    try {
      const video = { facingMode: "environment", width: { ideal: 1280 }, height: { ideal: 720 } };
      const stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
      const shown = /** @type {HTMLVideoElement} */ (this.querySelector("video"));
      const [track] = stream.getVideoTracks();
      this.mirrored = track.getSettings().facingMode === "user";
      track.addEventListener("ended", () => (this.camera = "none"));
      shown.srcObject = stream;
      await shown.play();
      // The reader is loaded only where there is a camera to read with.
      const { prepareZXingModule, readBarcodes } = await import("zxing-wasm/reader");
      prepareZXingModule({
        overrides: { locateFile: (/** @type {string} */ name) => `/vendor/zxing-wasm/dist/reader/${name}` },
      });
      this.read = readBarcodes;
      this.camera = "on";
      this.watch(shown);
    } catch (error) {
      if (!(error instanceof DOMException)) console.error(error);
      this.camera = error instanceof DOMException && error.name === "NotAllowedError" ? "denied" : "none";
    }
  }

  /** @param {HTMLVideoElement} video */
  async watch(video) {
    while (this.camera === "on" && this.isConnected) {
      if (!this.answer && !this.problem && !this.checking && !this.needsToken && video.videoWidth) {
        const text = await this.readFrame(video);
        const now_ms = Date.now();
        if (text && (text !== this.last.text || now_ms - this.last.at_ms > FORGETS_MS)) {
          this.last = { text, at_ms: now_ms };
          await this.scan(text);
        }
      }
      await new Promise((resolve) => setTimeout(resolve, LOOKS_EVERY_MS));
    }
  }

  /** @param {HTMLVideoElement} video @returns {Promise<string>} The code's text; nothing if none is seen. */
  async readFrame(video) {
    const scale = Math.min(1, WIDEST / video.videoWidth);
    this.canvas.width = Math.round(video.videoWidth * scale);
    this.canvas.height = Math.round(video.videoHeight * scale);
    const drawn = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d", { willReadFrequently: true }));
    drawn.drawImage(video, 0, 0, this.canvas.width, this.canvas.height);
    const picture = drawn.getImageData(0, 0, this.canvas.width, this.canvas.height);
    const read = /** @type {typeof import("zxing-wasm/reader").readBarcodes} */ (this.read);
    const found = await read(picture, { formats: ["QRCode"], maxNumberOfSymbols: 1, tryHarder: true });
    return found[0]?.isValid ? found[0].text : "";
  }

  /** @param {string} code */
  async scan(code) {
    this.checking = true;
    try {
      const path = `/v1/gates/${encodeURIComponent(this.gate)}/scans`;
      this.answer = await send("POST", path, { code: code.trim() }, { key: newKey() });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.needsToken = error.status === 401;
      if (!this.needsToken) this.problem = error;
    } finally {
      this.checking = false;
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.answer = undefined;
      this.problem = undefined;
    }, SHOWS_MS);
  }

  /** @param {SubmitEvent} event */
  async typed(event) {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.target);
    const code = String(new FormData(form).get("code") ?? "");
    if (!code.trim()) return;
    await this.scan(code);
    form.reset();
  }

  /** @param {SubmitEvent} event */
  takeToken(event) {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    setToken(String(form.get("token") ?? "").trim());
    this.needsToken = false;
    this.last = { text: "", at_ms: 0 };
  }

  drawAnswer() {
    if (this.problem)
      return html`<div class="answer refuse" data-test="answer" data-decision="failed"><span class="sign" aria-hidden="true">!</span>
        <p class="word">${t("gate.failed")}</p><p class="reason">${this.problem.text}</p></div>`;
    if (!this.answer) return nothing;
    const { decision, reason } = this.answer;
    const key = `reason.${reason}`;
    return html`<div class="answer ${decision}" data-test="answer" data-decision=${decision} data-reason=${reason}>
      <svg class="sign" viewBox="0 0 48 48" aria-hidden="true">
        <circle cx="24" cy="24" r="21"></circle>
        <path d=${decision === "open" ? "m14 25 7 7 14-16" : "M16 16l16 16M32 16 16 32"}></path>
      </svg>
      <p class="word">${t(decision === "open" ? "gate.open" : "gate.refused")}</p>
      <p class="reason">${hasText(key) ? t(key) : reason}</p>
    </div>`;
  }

  render() {
    return html`<main id="main" data-test="gate" data-camera=${this.camera}>
      <header class="row spread"><h1>${t("gate.title", { gate: this.gate })}</h1><language-choice></language-choice></header>
      <section class="stage" aria-label=${t("gate.ready")}>
        <video class=${this.mirrored ? "mirrored" : ""} muted playsinline aria-hidden="true" ?hidden=${this.camera === "none" || this.camera === "denied"}></video>
        ${this.camera === "on" ? html`<div class="frame" aria-hidden="true"></div>` : nothing}
        <div class="say" role="status">
          ${this.camera === "on"
            ? html`<p class="ready">${t(this.checking ? "gate.checking" : "gate.ready")}</p><p>${t("gate.hint")}</p>`
            : html`<p class="ready">${t("gate.ready")}</p>
                <p>${t({ starting: "gate.starting", none: "gate.no_camera", denied: "gate.denied" }[this.camera])}</p>
                ${this.camera === "starting" ? nothing : html`<button class="button" @click=${this.start} data-test="retry-camera">${t("gate.retry")}</button>`}`}
        </div>
        <div aria-live="assertive">${this.drawAnswer()}</div>
      </section>
      ${this.needsToken
        ? html`<form class="card" @submit=${this.takeToken}>
            <div class="field"><label for="token">${t("gate.token")}</label><input id="token" name="token" type="password" autocomplete="off" dir="ltr" required /></div>
            <p class="small muted">${t("gate.token_hint")}</p><button class="button primary">${t("gate.token_save")}</button>
          </form>`
        : html`<form class="typed" @submit=${this.typed}>
            <div class="field grow"><label for="code">${t("gate.type")}</label>
              <input id="code" name="code" class="mono" dir="ltr" autocomplete="off" autocapitalize="characters" spellcheck="false" maxlength="512" data-test="typed-code" /></div>
            <button class="button primary" ?disabled=${this.checking} data-test="check-code">${t("gate.check")}</button>
          </form>`}
    </main>`;
  }
}

await startTexts(["gate"]);
document.title = `${t("gate.title", { gate: new URLSearchParams(location.search).get("gate") ?? "entrance" })} · Tillfree`;
customElements.define("gate-screen", GateScreen);
