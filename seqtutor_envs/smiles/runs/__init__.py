"""What runs of molecules add to `python -m agents`: options, a log of the molecules, files for chemists."""
