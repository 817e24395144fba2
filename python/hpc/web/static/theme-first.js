// The stored theme, set before the first paint so that nothing flashes. theme.js changes it later.
try {
  const theme = localStorage.getItem("hpc.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // A browser that stores nothing follows the system's theme.
}
