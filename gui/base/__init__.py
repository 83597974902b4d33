"""What every part of the window uses: theme, words, files, undo."""
