"""Parameters and what is measured of them: names, selection, and series."""
