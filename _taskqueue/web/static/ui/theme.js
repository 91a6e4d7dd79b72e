// Before the first paint, so that no light page flashes in the dark; and whenever the system changes its mind.
{
  const dark = matchMedia("(prefers-color-scheme: dark)"), root = document.documentElement;
  window.applyPrefs = () => {
    const { theme = "system", density = "default" } = JSON.parse(localStorage.getItem("taskqueue") ?? "{}");
    root.dataset.theme = theme === "system" ? (dark.matches ? "dark" : "light") : theme;
    root.dataset.density = density;
    dispatchEvent(new Event("themed"));
  };
  dark.addEventListener("change", window.applyPrefs);
  window.applyPrefs();
}
