"""Pure codecs between a client's messages and events."""
