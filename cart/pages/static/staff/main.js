import { html } from "lit";
import { startTexts, t } from "../common/i18n.js";
import { View } from "../common/view.js";

class StaffConsole extends View {
  render() {
    return html`<main id="main"><h1>${t("signin.title")}</h1></main>`;
  }
}

await startTexts(["staff"]);
customElements.define("staff-console", StaffConsole);
