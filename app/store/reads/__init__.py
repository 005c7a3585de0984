"""Named reads: each is one page or one answer, by key and by index, never by counting a million rows."""
