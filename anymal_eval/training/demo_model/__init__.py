"""The recipe of the demo model: every part of it made from the demo world's training split alone."""
