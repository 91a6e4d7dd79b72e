// What this browser remembers; the server remembers nothing of it.

const KEY = "taskqueue";
export const prefs = { theme: "system", density: "default", times: "relative", every: 1, keys: true, dismissed: {}, ...JSON.parse(localStorage.getItem(KEY) ?? "{}") };

export function setPref(name, value) {
  prefs[name] = value;
  localStorage.setItem(KEY, JSON.stringify(prefs));
  const root = document.documentElement;
  if (prefs.theme === "system") delete root.dataset.theme; else root.dataset.theme = prefs.theme;
  if (prefs.density === "default") delete root.dataset.density; else root.dataset.density = prefs.density;
}
