"""The command line: words to calls, nothing computed here. Each command imports what it needs when it runs."""
