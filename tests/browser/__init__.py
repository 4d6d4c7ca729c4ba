"""The pages in a real browser, over the whole system: few tests, and the pictures for the docs."""
