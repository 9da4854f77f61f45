// Runs before anything is drawn: sets the reader's choice of light or dark, and lets details open by buttons.
document.documentElement.classList.add("js");
try {
  const theme = localStorage.getItem("theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch { /* no storage: the system's choice counts */ }
