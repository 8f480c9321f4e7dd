"""Running commands and their output logs; nothing here knows how bytes reach us or leave us."""
