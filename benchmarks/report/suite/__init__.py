"""The report of a suite of experiments: tables, plots, melodies to hear, molecules to see, as functions of results."""
