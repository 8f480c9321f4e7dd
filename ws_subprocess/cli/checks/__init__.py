"""What `ws-subprocess doctor` looks at. A check starts nothing and changes nothing; what it found is a `Finding`."""
