// Settings: what this browser prefers, what the process is set to, who did what.

import * as api from "../api.js";
import { body, button, choices, div, h, p, panel, row, session, span, table, td } from "../dom.js";
import { moment } from "../format.js";
import { prefs, setPref } from "../prefs.js";

const CHOICES = [["theme", "Theme", ["System", "Light", "Dark"]], ["density", "Rows", ["Compact", "Default", "Comfortable"]], ["times", "Times", ["Relative", "Local", "UTC"]]];

export function settings({ app }) {
  const view = {
    title: "Settings",

    async load() {
      view.version = await api.get("version");
      if (session.scopes.includes("admin")) [view.config, view.audit] = await Promise.all([api.list("config"), api.list("audit?limit=100")]);
    },

    render() {
      const { version, audit, config } = view;
      return [
        panel("This browser", null, div("body form",
          CHOICES.map(([name, label, values]) => div("field", span("", label), choices("choose", values.map((value) => [value.toLowerCase(), value]), prefs[name], { "data-name": name }))),
          h("label", { class: "check" }, h("input", { type: "checkbox", "data-act": "keys", "data-on": "change", checked: prefs.keys }), "Single-key shortcuts"))),
        panel("You", !session.open && button("sign-out", "Sign out"), body(session.open ? "Nobody needs a token here." : `Signed in as ${session.name}: ${session.scopes.join(", ") || "nothing allowed"}.`, version && p("muted", `taskqueue ${version.version}, Python ${version.python}, ${version.roles.join(" + ")}`))),
        audit && panel("Who did what", null, audit.length ? table(null, audit.map((one) => row(null, "", td("nowrap muted", moment(one.at)), td("nowrap strong", one.caller), td("cut mono", `${one.method} ${one.path}`), td("num", one.status), td("muted nowrap", one.address)))) : div("empty", "Nothing was changed yet.")),
        config && panel("This process", null, table(["Setting", "Value", "From"], config.map((one) => row(one.name, "", td("mono nowrap", `--${one.name}`), td("mono wrap", typeof one.value === "string" ? one.value : one.value === null ? "–" : JSON.stringify(one.value)), td("muted nowrap", one.source))), true)),
      ];
    },

    acts: {
      choose({ dataset }) { setPref(dataset.name, dataset.value); },
      keys(element) { setPref("keys", element.checked); },
      async "sign-out"() { await api.remove("session"); location.reload(); },
    },
  };
  return view;
}
