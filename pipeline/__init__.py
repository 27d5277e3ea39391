"""Which components run, in which order, with which settings; the command line."""
