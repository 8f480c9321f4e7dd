"""The program `ws-subprocess`: reads the command line, builds the settings, starts and ends the daemon."""
