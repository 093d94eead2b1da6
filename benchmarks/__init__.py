"""What the library is like, measured: one demonstration to hear, see and read, and its speed."""
