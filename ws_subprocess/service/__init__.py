"""The waist: credentials and a request go in, a conversation with a session comes out. Doors use only this."""
