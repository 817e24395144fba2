"""Ways to start a Hub, relays and monitors from a program; here: on this machine, for a while."""
