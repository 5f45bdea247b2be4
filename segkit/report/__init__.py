"""Reports: curves, exploration plots and HTML pages. Drawing over images is in segkit.data.overlay, which predict needs."""
