"""Results as tables, pictures and a page. Everything here is a function of results; nothing trains or measures."""
